"""A way between two peers on this machine that delays each datagram, and loses some by chance."""

from __future__ import annotations

import random
import select
import socket
import threading
import time
from collections import deque
from types import TracebackType
from typing import Final

BUFFERS: Final = 1 << 22
MOST: Final = 2048
"""Bytes of a datagram: none is longer."""


class LossyWay:
    """Datagrams for `port` go on to the server's, its answers to the address that came last.

    delay: seconds one way. loss: share of them, each way. seed: the same one loses the same places of the row.
    """

    def __init__(self, server: int, *, delay: float, loss: float, seed: int) -> None:
        self._delay, self._loss, self._chance = delay, loss, random.Random(seed)
        self._front = self._udp()
        self._back = self._udp()
        self._back.connect(("127.0.0.1", server))
        self._client: tuple[str, int] | None = None
        self._late: deque[tuple[float, bool, bytes]] = deque()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = int(self._front.getsockname()[1])

    def __enter__(self) -> LossyWay:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._front.close()
        self._back.close()

    @staticmethod
    def _udp() -> socket.socket:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            udp.setsockopt(socket.SOL_SOCKET, option, BUFFERS)
        udp.bind(("127.0.0.1", 0))
        udp.setblocking(False)
        return udp

    def _run(self) -> None:
        while not self._ended.is_set():
            left = max(self._late[0][0] - time.monotonic(), 0.0) if self._late else 0.1
            for ready in select.select([self._front, self._back], [], [], left)[0]:
                self._take(ready)
            while self._late and self._late[0][0] <= time.monotonic():
                self._deliver(*self._late.popleft()[1:])

    def _take(self, ready: socket.socket) -> None:
        is_there = ready is self._front
        while True:
            try:
                data, source = ready.recvfrom(MOST)
            except (BlockingIOError, ConnectionRefusedError):  # nothing more, or the server has ended
                return
            if is_there:
                self._client = source
            if self._chance.random() >= self._loss:
                self._late.append((time.monotonic() + self._delay, is_there, data))

    def _deliver(self, is_there: bool, data: bytes) -> None:
        try:
            if is_there:
                self._back.send(data)
            elif self._client is not None:
                self._front.sendto(data, self._client)
        except (BlockingIOError, ConnectionRefusedError):
            return

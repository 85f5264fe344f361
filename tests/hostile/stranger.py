"""A session with a room that does what an attack wants: the handshake is right, nothing after it needs to be.

Bytes that a room sends are dropped unopened, or not even read (`deaf`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from typing import Any

from ssbfast.errors import SSBError
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.wire.box_stream import Boxer
from ssbfast.wire.handshake import ClientHandshake, Completed

STREAM, END, JSON = 0x08, 0x04, 0x02
HIGH = 256 * 1024
"""Bytes that wait in a transport of ours before `send` waits."""
_BIND_ADDRESS_NO_PORT = 24
_RESET = struct.pack("ii", 1, 0)


class Cut(Exception):
    """The room has ended the connection, or never took it."""


def packet(flags: int, req: int, body: bytes, length: int | None = None) -> bytes:
    """length: what the head says, if it is to lie."""
    return struct.pack(">BIi", flags, len(body) if length is None else length, req) + body


def call(req: int, kind: str, name: str, *args: Any) -> bytes:
    body = {"name": name.split("."), "args": list(args), "type": kind}
    flags = JSON if kind == "async" else STREAM | JSON
    return packet(flags, req, json.dumps(body, separators=(",", ":")).encode())


def end(req: int) -> bytes:
    return packet(STREAM | END | JSON, req, b"true")


def bound(address: str, receive_buffer: int = 0) -> socket.socket:
    """A TCP socket that will dial from `address`. receive_buffer: bytes; 0 leaves it to the system."""
    sock = socket.socket()
    sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.bind((address, 0))
    sock.setblocking(False)
    return sock


class Stranger(asyncio.Protocol):
    """One session. deaf: it reads nothing once the handshake is done."""

    sent = 0
    """Bytes of all strangers of this process, before sealing."""

    def __init__(self, room: FeedId, me: Keypair | None = None, *, deaf: bool = False) -> None:
        self.me = Keypair.generate() if me is None else me
        self._deaf = deaf
        self._handshake: ClientHandshake | None = ClientHandshake(self.me, room)
        self._room = room
        self._boxer: Boxer
        self._writable = asyncio.Event()
        self._gone = False
        self.transport: asyncio.Transport
        self.proven: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def dial(self, address: str, host: str, port: int, seconds: float = 5.0) -> Stranger:
        """Connect from `address` and prove the key. Raises Cut."""
        loop = asyncio.get_running_loop()
        sock = bound(address, 4096 if self._deaf else 0)
        try:
            await asyncio.wait_for(loop.sock_connect(sock, (host, port)), seconds)
            await loop.create_connection(lambda: self, sock=sock)
            await asyncio.wait_for(self.proven, seconds)
        except (Cut, OSError, asyncio.TimeoutError):
            if hasattr(self, "transport"):
                self.transport.abort()
            sock.close()
            raise Cut from None
        return self

    # ------------------------------------------------------------ what attacks do

    @property
    def is_gone(self) -> bool:
        return self._gone

    async def send(self, plain: bytes) -> None:
        """Seal and write; waits while much is waiting. Raises Cut."""
        if self._gone:
            raise Cut
        self.transport.write(self._boxer.seal(plain))
        Stranger.sent += len(plain)
        if not self._writable.is_set():
            await self._writable.wait()
        if self._gone:
            raise Cut

    def reset(self) -> None:
        """End with an RST."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None and not self._gone:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    async def wait_gone(self) -> None:
        while not self._gone:
            await asyncio.sleep(0.02)

    # ------------------------------------------------------------ asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) and self._handshake is not None
        self.transport = transport
        self._writable.set()
        transport.set_write_buffer_limits(high=HIGH)
        transport.write(self._handshake.start())

    def data_received(self, data: bytes) -> None:
        if self._handshake is None:
            self.received(data)
            return
        try:
            events = self._handshake.receive(data)
        except SSBError:
            self.transport.abort()
            return
        for event in events:
            if isinstance(event, Completed):
                self._handshake = None
                self._boxer = Boxer(event.session.send_key, event.session.send_nonce)
                self.opened(event)
                if self._deaf:
                    self.transport.pause_reading()
                if not self.proven.done():
                    self.proven.set_result(None)
            else:
                self.transport.write(event.data)  # type: ignore[union-attr]  # a client knows Send and Completed only

    def opened(self, event: Completed) -> None:
        """The handshake is done."""

    def received(self, data: bytes) -> None:
        """Boxes from the room."""

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._gone = True
        self._writable.set()
        if not self.proven.done():
            self.proven.set_exception(Cut())
            self.proven.exception()

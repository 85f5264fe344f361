"""A UDP service through a session: what arrives of so many datagrams a second, there and back, and what it costs whom.

    python -m benchmarks.datagrams [RATE [SECONDS]]     100 and 1,300 bytes, by the relay and directly

Room, both peers and the echo are a process each; this one sends at the given rate and reads the answers. Loss is what
has not come back; late is what came behind a newer one. CPU is seconds of each process for a second of sending.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

from benchmarks.children import CALLER, NETWORK, TARGET
from benchmarks.processes import ROOT, Child, Room, room
from ssbfast.client.direct_paths import Direct
from ssbfast.client.room_client import RoomClient
from ssbfast.net.api import Api
from ssbfast.net.endpoints import UdpEndpoint
from ssbfast.net.forward.datagram_listener import DatagramListener
from ssbfast.net.forward.service import Service
from ssbfast.net.forward.tcp_server import ServiceServer
from ssbfast.room.tunnel_auth import AllowList

SIZES: Final = (100, 1300)
RATE: Final = 5000
SECONDS: Final = 10.0
_BUFFER: Final = 4 << 20
_AT_ONCE: Final = 0.001
_REST: Final = 1.0
"""Seconds in which the last answers come."""


# ---------------------------------------------------------------- the processes


def say(**facts: Any) -> None:
    print(json.dumps({"event": "ready", **facts}), flush=True)


def udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    return sock


def echo() -> None:
    """Answer every datagram with itself until the parent ends us."""
    sock = udp()
    sock.bind(("127.0.0.1", 0))
    say(port=sock.getsockname()[1])
    while True:
        sock.sendto(*sock.recvfrom(65_536))


async def share(address: str, path: str, port: int) -> None:
    """Offer the echo to the caller."""
    api = Api()
    direct = Direct(loopback=True) if path == "direct" else None
    async with (
        ServiceServer([Service(UdpEndpoint("127.0.0.1", port), "echo")]) as services,
        RoomClient(TARGET, network=NETWORK, admission=AllowList([CALLER.id]), api=api, direct=direct) as client,
    ):
        services.register(api)
        await client.join(address)
        say()
        await _until_closed(lambda: {"dropped": services._flows.dropped})


async def use(address: str, path: str) -> None:
    """Lead a local port to it, once the session goes by that path."""
    moved = asyncio.Event()
    direct = Direct(loopback=True) if path == "direct" else None

    def told(event: dict[str, Any]) -> None:
        if event["event"] == "path" and event["path"] == "direct":
            moved.set()

    friends = AllowList([TARGET.id])
    async with RoomClient(CALLER, network=NETWORK, admission=friends, direct=direct, on_event=told) as client:
        await client.join(address, announce=False)
        listener = DatagramListener("127.0.0.1", 0, service="echo")
        await listener.start()
        listener.peer = await client.connect(TARGET.id)
        if direct is not None:
            await asyncio.wait_for(moved.wait(), 30)
        say(port=listener.place.port)
        await _until_closed(lambda: {"dropped": listener.dropped})
        await listener.close()


async def _until_closed(report: Any) -> None:
    """Answer each line with a report, until there is no more."""
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(report()), flush=True)


def _child(*args: object) -> Child:
    return Child([sys.executable, "-m", "benchmarks.datagrams", *map(str, args)], ROOT)


@contextlib.contextmanager
def closing(child: Child) -> Iterator[Child]:
    try:
        yield child
    finally:
        child.close()


# ---------------------------------------------------------------- the measurement


class Answers:
    """Answers that have come back."""

    def __init__(self, sock: socket.socket, size: int) -> None:
        self._sock = sock
        self._size = size
        self.seen: set[int] = set()
        self.late = self.wrong = 0
        self._newest = -1

    def read(self) -> None:
        """Take what is there."""
        with contextlib.suppress(BlockingIOError):
            while True:
                data = self._sock.recv(65_536)
                number = int.from_bytes(data[:4], "big")
                if data != content(number, self._size) or number in self.seen:
                    self.wrong += 1
                self.seen.add(number)
                self.late += number < self._newest
                self._newest = max(number, self._newest)


def content(number: int, size: int) -> bytes:
    return (number.to_bytes(4, "big") * (size // 4 + 1))[:size]


def measure(where: Room, path: str, size: int, rate: int, seconds: float) -> dict[str, float]:
    """Send for so long, and count."""
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(closing(_child("echo")))
        there = stack.enter_context(closing(_child("share", where.address, path, service.ready["port"])))
        here = stack.enter_context(closing(_child("use", where.address, path)))
        sock = stack.enter_context(udp())
        sock.connect(("127.0.0.1", here.ready["port"]))
        for _ in range(20):  # the flow is there, and goes by the path that it stays on
            sock.send(b"")
            sock.recv(16)
            time.sleep(0.02)
        sock.setblocking(False)
        answers = Answers(sock, size)
        processes = {"caller": here, "target": there, "room": where.process, "echo": service}
        before = {name: process.cpu() for name, process in processes.items()}
        own = time.process_time()
        count, sent, began = int(rate * seconds), 0, time.perf_counter()
        while sent < count:
            while sent < min(count, (time.perf_counter() - began) * rate):
                sock.send(content(sent, size))
                sent += 1
            answers.read()
            time.sleep(_AT_ONCE)
        took, until = time.perf_counter() - began, time.perf_counter() + _REST
        while time.perf_counter() < until:
            answers.read()
            time.sleep(_AT_ONCE)
        spent = {name: (process.cpu() - before[name]) / took for name, process in processes.items()}
        dropped = {f"drops {name}": process.asked({})["dropped"] for name, process in list(processes.items())[:2]}
        return {
            "loss %": 100 * (1 - len(answers.seen) / count),
            "late": answers.late,
            "wrong": answers.wrong,
            **dropped,
            "rate": count / took,
            **spent,
            "sender": (time.process_time() - own) / took,
        }


def main(rate: int, seconds: float, paths: tuple[str, ...]) -> None:
    for path in paths:
        for size in SIZES:
            with room("ssbfast") as where:
                found = measure(where, path, size, rate, seconds)
            print(f"{path:6} {size:5} bytes  " + "  ".join(f"{name} {value:.2f}" for name, value in found.items()))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["echo"]:
            echo()
        case ["share", address, path, port]:
            asyncio.run(share(address, path, int(port)))
        case ["use", address, path]:
            asyncio.run(use(address, path))
        case [*given]:
            numbers = [float(one) for one in given if one.isdecimal()]
            paths = tuple(one for one in given if not one.isdecimal()) or ("tunnel", "direct")
            main(int(numbers[0]) if numbers else RATE, numbers[1] if len(numbers) > 1 else SECONDS, paths)

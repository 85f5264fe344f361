"""Attacks with connections: silent ones, false ones, proven ones without number (A5, A6, A7)."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import Any

from tests.helpers.handshakes import Forger
from tests.hostile.stranger import Cut, bound
from tests.hostile.world import ADDRESSES, AttackProcess, paced


class _Silent(asyncio.Protocol):
    """Says `hello` and no more."""

    def __init__(self, hello: bytes, over: Callable[[], None], on_made: Callable[[Any], None] | None) -> None:
        self._hello = hello
        self._over = over
        self._on_made = on_made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._hello:
            transport.write(self._hello)  # type: ignore[attr-defined]
        if self._on_made is not None:
            self._on_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._over()


def no_hello() -> bytes:
    return b""


def half_hello() -> bytes:
    """Right as far as it goes, one byte short."""
    return valid_hello()[:-1]


_HELLO = Forger().hello


def valid_hello() -> bytes:
    """A right client hello: the room answers it and waits for message 3."""
    return _HELLO


def garbage_hello() -> bytes:
    return os.urandom(64)


def connections(
    hello: Callable[[], bytes],
    hold: int,
    rate: float,
    addresses: tuple[str, ...] = ADDRESSES,
    *,
    on_made: Callable[[Any], None] | None = None,
) -> Any:
    """Open connections until `hold` are there, at most `rate` a second; those that the room ends are opened again."""

    async def attack(world: AttackProcess) -> None:
        loop = asyncio.get_running_loop()
        there = 0

        def over() -> None:
            nonlocal there
            there -= 1

        async def one(address: str) -> None:
            nonlocal there
            sock = bound(address)
            there += 1
            try:
                await asyncio.wait_for(loop.sock_connect(sock, (world.host, world.port)), 5)
                await loop.create_connection(lambda: _Silent(hello(), over, on_made), sock=sock)
                world.did["connections"] += 1
            except (OSError, asyncio.TimeoutError):
                sock.close()
                over()
                world.did["not let in"] += 1

        await world.go()
        tasks: set[asyncio.Task[None]] = set()
        async for n in paced(rate):
            if there < hold:
                task = asyncio.create_task(one(addresses[n % len(addresses)]))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            world.did["most at once"] = max(world.did["most at once"], there)

    return attack


class _Drips:
    """The right hello, a byte a second: for as many connections as come."""

    def __init__(self) -> None:
        self._sent: dict[asyncio.WriteTransport, int] = {}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(1)
            for transport, n in list(self._sent.items()):
                if transport.is_closing() or n == len(_HELLO) - 1:
                    del self._sent[transport]
                else:
                    transport.write(_HELLO[n : n + 1])
                    self._sent[transport] = n + 1

    def add(self, transport: asyncio.WriteTransport) -> None:
        self._sent[transport] = 0


def slow(hold: int, rate: float, addresses: tuple[str, ...] = ADDRESSES) -> Any:
    """Connections that say the right hello, a byte a second."""

    async def attack(world: AttackProcess) -> None:
        drips = _Drips()
        await asyncio.gather(drips.run(), connections(no_hello, hold, rate, addresses, on_made=drips.add)(world))

    return attack


def handshakes(rate: float, addresses: tuple[str, ...] = ADDRESSES) -> Any:
    """Proven sessions, each with a key of its own, that leave at once."""

    async def attack(world: AttackProcess) -> None:
        await world.go()
        tasks: set[asyncio.Task[None]] = set()

        async def one(address: str) -> None:
            with contextlib.suppress(Cut):
                (await world.dial(address)).transport.close()

        async for n in paced(rate):
            task = asyncio.create_task(one(addresses[n % len(addresses)]))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    return attack


def joins(rate: float, addresses: tuple[str, ...], hold: int = 20_000) -> Any:
    """Proven sessions, each with a key of its own, that stay."""

    async def attack(world: AttackProcess) -> None:
        await world.go()
        there: list[Any] = []
        tasks: set[asyncio.Task[None]] = set()

        async def one(address: str) -> None:
            try:
                there.append(await world.dial(address))
            except Cut:
                return

        async for n in paced(rate):
            if len(tasks) < 64 and len(there) < hold:
                task = asyncio.create_task(one(addresses[n % len(addresses)]))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            if n % 50 == 0:
                there = [stranger for stranger in there if not stranger.is_gone]
                world.did["most at once"] = max(world.did["most at once"], len(there))

    return attack

"""Attacks with connections: silent ones, false ones, proven ones without number (A5, A6, A7)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from tests.helpers.handshakes import Forger
from tests.hostile.stranger import Cut, bound
from tests.hostile.world import ADDRESSES, AttackProcess, paced


class _Silent(asyncio.Protocol):
    """Says `hello` and no more."""

    def __init__(self, hello: bytes, over: Callable[[], None]) -> None:
        self._hello = hello
        self._over = over

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._hello:
            transport.write(self._hello)  # type: ignore[attr-defined]

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


def connections(hello: Callable[[], bytes], hold: int, rate: float, addresses: tuple[str, ...] = ADDRESSES) -> Any:
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
                await loop.create_connection(lambda: _Silent(hello(), over), sock=sock)
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

"""Attacks in sessions: calls without end, answers that nobody reads, messages that are never whole (A1-A3, A9)."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

from tests.hostile.stranger import JSON, STREAM, Cut, Stranger, call, end, packet
from tests.hostile.world import ADDRESSES, AttackProcess, paced, spread

BLOCK = 500
"""Calls that are written at a time."""
KiB, MiB = 1024, 1024 * 1024

Work = Callable[[Stranger], Awaitable[None]]


# ---------------------------------------------------------------- calls, pipelined


_NO_CALLS = (
    b"{",
    b"[1]",
    b'{"name":[]}',
    b'{"name":"x","args":[]}',
    b'{"name":["a"],"args":{},"type":"source"}',
    b"\xff",
)


def _malformed(req: int) -> bytes:
    flags = JSON if req % 2 else STREAM | JSON
    return packet(flags, req, _NO_CALLS[req % len(_NO_CALLS)])


CALLS: dict[str, Callable[[int], bytes]] = {
    "metadata": lambda req: call(req, "async", "room.metadata", {}),
    "manifest": lambda req: call(req, "async", "manifest"),
    "whoami": lambda req: call(req, "async", "whoami"),
    "unknown": lambda req: call(req, "async", "blobs.has", "x"),
    "malformed": _malformed,
    "history": lambda req: call(req, "source", "createHistoryStream", {"id": "@x"}),
    "nobody": lambda req: call(req, "duplex", "tunnel.connect", {"target": "nobody"}),
    "attendants": lambda req: call(req, "source", "room.attendants") + end(req),
    "endpoints": lambda req: call(req, "source", "tunnel.endpoints") + end(req),
    "ping": lambda _req: packet(STREAM | JSON, 1, b"1700000000000"),
}
MIXED = tuple(name for name in CALLS if name not in ("attendants", "endpoints"))


@functools.lru_cache(maxsize=256)
def block(kinds: tuple[str, ...], number: int) -> bytes:
    """`BLOCK` calls, the numbers of which follow those of the block before. Request 1 is a gossip.ping."""
    opening = call(1, "duplex", "gossip.ping", {"timeout": 300_000}) if number == 0 else b""
    first = 2 + number * BLOCK
    return opening + b"".join(CALLS[kinds[req % len(kinds)]](req) for req in range(first, first + BLOCK))


def pipelining(kinds: tuple[str, ...], blocks: int | None = None) -> Work:
    """blocks: how many; None goes on for ever."""

    async def work(stranger: Stranger) -> None:
        number = 0
        while blocks is None or number < blocks:
            await stranger.send(block(kinds, number))
            number += 1
            await asyncio.sleep(0)

    return work


def calls(kinds: tuple[str, ...], sessions: int, *, addresses: tuple[str, ...], blocks: int | None = None) -> Any:
    """Sessions that pipeline calls and read no answer."""

    async def attack(world: AttackProcess) -> None:
        for number in range(20):
            block(kinds, number)
        await world.attackers(spread(sessions, addresses), pipelining(kinds, blocks), deaf=True)

    return attack


# ---------------------------------------------------------------- messages that are never whole


async def _unfinished_answer(stranger: Stranger) -> None:
    await _unfinished(stranger, packet(JSON, -1, b"", 4 * MiB), 4 * MiB - 1)


async def _unfinished_call(stranger: Stranger) -> None:
    await _unfinished(stranger, packet(JSON, 1, b"", 64 * KiB), 64 * KiB - 1)


async def _unfinished(stranger: Stranger, head: bytes, length: int) -> None:
    await stranger.send(head)
    for at in range(0, length, 64 * KiB):
        await stranger.send(bytes(min(64 * KiB, length - at)))


def unfinished(answers: int, half_calls: int, unread: int, addresses: tuple[str, ...]) -> Any:
    """Answers of 4 MiB and calls of 64 KiB that lack their last byte, and sessions that do not read."""

    async def attack(world: AttackProcess) -> None:
        parts = (
            (answers, _unfinished_answer, False),
            (half_calls, _unfinished_call, False),
            (unread, pipelining(("attendants",)), True),
        )
        crowds = [await world.crowd(spread(count, addresses), deaf=deaf) for count, _, deaf in parts]
        await world.go()
        works = []
        for (count, work, deaf), crowd in zip(parts, crowds, strict=True):
            there = crowd + [None] * (count - len(crowd))
            for address, first in zip(spread(count, addresses), there, strict=True):
                works.append(world.again_and_again(address, work, first, deaf=deaf))
        await asyncio.gather(*works)

    return attack


# ---------------------------------------------------------------- announcements


def announcing(subscribers: int, loops: int, addresses: tuple[str, ...] = ADDRESSES) -> Any:
    """Announce and leave without a pause, which everybody who listens has to be told."""

    async def loop(stranger: Stranger) -> None:
        req = 1
        while True:
            pairs = b"".join(
                call(n, "async", "tunnel.announce") + call(n + 1, "async", "tunnel.leave")
                for n in range(req, req + 100, 2)
            )
            await stranger.send(pairs)
            req += 100
            await asyncio.sleep(0.01)

    async def listen(stranger: Stranger) -> None:
        await stranger.send(call(1, "source", "room.attendants", {"announce": False}))

    async def attack(world: AttackProcess) -> None:
        there = await world.crowd(spread(subscribers, addresses))
        for stranger in there:
            await listen(stranger)
        await world.attackers(spread(loops, addresses), loop)

    return attack


# ---------------------------------------------------------------- RST


def resets(rate: float, addresses: tuple[str, ...] = ADDRESSES) -> Any:
    """Sessions to which the room is writing end with an RST, at a moment of their own."""

    async def attack(world: AttackProcess) -> None:
        await world.go()

        async def one(address: str) -> None:
            try:
                stranger = await world.dial(address, deaf=world.rng.random() < 0.5)
                wait = world.rng.uniform(0, 0.05)
                for number in range(world.rng.randint(1, 6)):
                    await asyncio.wait_for(stranger.send(block(("attendants", "manifest"), number)), 0.5)
            except (Cut, asyncio.TimeoutError):
                return
            await asyncio.sleep(wait)
            stranger.reset()
            world.did["resets"] += 1

        under_way: set[asyncio.Task[None]] = set()
        async for n in paced(rate):
            if len(under_way) < 200:
                task = asyncio.create_task(one(addresses[n % len(addresses)]))
                under_way.add(task)
                task.add_done_callback(under_way.discard)

    return attack

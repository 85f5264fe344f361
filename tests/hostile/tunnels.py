"""Attacks with tunnels: many, busy ones, and those that knock at the honest listener's door (A3, A4)."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.hostile.stranger import STREAM, Cut, Stranger, call, end, packet
from tests.hostile.world import ADDRESSES, World, paced, spread

_CHUNK = packet(STREAM, 1, bytes(4087)) * 8


def _connect(world: World, req: int, target: Stranger) -> bytes:
    return call(req, "duplex", "tunnel.connect", {"portal": str(world.room), "target": str(target.me.id)})


async def _pairs(world: World, count: int, addresses: tuple[str, ...]) -> list[tuple[Stranger, Stranger]]:
    """Callers and targets of our own; the targets are announced."""
    there: list[Stranger] = await world.crowd(spread(2 * count, addresses))
    pairs = list(zip(there[::2], there[1::2], strict=False))
    for _, target in pairs:
        await target.send(call(1, "async", "tunnel.announce"))
    await asyncio.sleep(0.2)
    return pairs


def many_tunnels(pairs: int, rate: float, *, close: bool, addresses: tuple[str, ...] = ADDRESSES) -> Any:
    """Open tunnels between own sessions, `rate` a second in all. close: end each at once; else they stay."""

    async def attack(world: World) -> None:
        own = await _pairs(world, pairs, addresses)
        await world.go()

        async def fill(caller: Stranger, target: Stranger) -> None:
            at_a_time = 20
            async for n in paced(rate / pairs / at_a_time):
                reqs = range(1 + n * at_a_time, 1 + (n + 1) * at_a_time)
                packets = b"".join(_connect(world, req, target) + (end(req) if close else b"") for req in reqs)
                try:
                    await caller.send(packets)
                except Cut:
                    world.did["cut"] += 1
                    return
                world.did["opened"] += at_a_time

        await asyncio.gather(*(fill(*pair) for pair in own))
        await asyncio.Event().wait()

    return attack


def busy_tunnels(pairs: int, tunnels: int, bytes_per_second: float, addresses: tuple[str, ...] = ADDRESSES) -> Any:
    """Tunnels between own sessions that carry as much as they can, up to so many bytes a second in all."""

    async def attack(world: World) -> None:
        own = await _pairs(world, pairs, addresses)
        for caller, target in own:
            await caller.send(b"".join(_connect(world, req, target) for req in range(1, tunnels + 1)))
        await world.go()

        async def push(caller: Stranger) -> None:
            data = [packet(STREAM, req, bytes(4087)) * 8 for req in range(1, tunnels + 1)]
            try:
                async for n in paced(bytes_per_second / pairs / len(_CHUNK)):
                    await caller.send(data[n % tunnels])
            except Cut:
                world.did["cut"] += 1

        await asyncio.gather(*(push(caller) for caller, _ in own))
        await asyncio.Event().wait()

    return attack


def knocks(keys: int, rate: float, addresses: tuple[str, ...] = ADDRESSES) -> Any:
    """Tunnels to the honest listener that say nothing, `rate` a second in all, from so many keys."""

    async def attack(world: World) -> None:
        there: list[Any] = await world.crowd(spread(keys, addresses))
        await world.go()
        while not there:
            await asyncio.sleep(0.1)
            there = await world.crowd(spread(keys, addresses))
        reqs = [1] * len(there)
        target = {"portal": str(world.room), "target": str(world.listener)}
        async for n in paced(rate):
            which = n % len(there)
            try:
                await there[which].send(call(reqs[which], "duplex", "tunnel.connect", target))
                reqs[which] += 1
                world.did["knocks"] += 1
            except Cut:
                world.did["cut"] += 1
                try:
                    there[which], reqs[which] = await world.dial(addresses[which % len(addresses)]), 1
                except Cut:
                    await asyncio.sleep(0.1)

    return attack

"""Queue memory that runs out, with a room in this process: everybody waits, nobody dies but who does not read."""

from __future__ import annotations

import asyncio
import os

from ssbfast.errors import RemoteError
from ssbfast.limits import MiB
from tests.helpers.livingroom import LivingRoom, living_room
from tests.helpers.rawpeer import RawTunnel, eventually

Ends = tuple[RawTunnel, RawTunnel]


async def stalled_tunnels(room: LivingRoom, n: int) -> tuple[list[Ends], list[asyncio.Task[None]]]:
    """n pairs of peers whose targets do not read, and callers that send until somebody stops them."""
    pairs, pouring = [], []
    for _ in range(n):
        pair = await room.tunnel(await room.raw(), await room.raw())
        pair[1].peer.link.hold("test")
        pouring.append(asyncio.create_task(pour(pair[0])))
        pairs.append(pair)
    return pairs, pouring


async def pour(tunnel: RawTunnel) -> None:
    data = os.urandom(64 * 1024)
    while tunnel.ended is None and not tunnel.peer.gone.is_set():
        await tunnel.send(data)
        await asyncio.sleep(0)


async def test_stalled_targets_that_use_up_the_pool_lose_their_tunnels_and_no_session() -> None:
    async with living_room(pool=4 * MiB, stall_seconds=1.0) as room:
        pairs, pouring = await stalled_tunnels(room, 12)
        for here, _ in pairs:
            error = await here.wait_ended()
            assert isinstance(error, RemoteError) and error.message == "the other end does not read"
        await asyncio.gather(*pouring)
        assert {event["reason"] for event in room.named("tunnel_closed")} == {"stalled"}
        assert not room.named("left")
        for _, there in pairs:
            there.peer.link.release("test")
        for _, there in pairs:
            await there.wait_ended()
        here, there = await room.tunnel(pairs[0][0].peer, pairs[1][1].peer)
        data = os.urandom(2 * MiB)
        sending = asyncio.create_task(here.send(data[:MiB]))
        await sending
        assert await there.read(MiB) == data[:MiB]
        await eventually(lambda: not room.server.relay._waiting)


async def test_a_source_that_dies_while_it_waits_is_forgotten() -> None:
    async with living_room(stall_seconds=60) as room:
        pairs, pouring = await stalled_tunnels(room, 1)
        await eventually(lambda: room.server.relay._waiting)
        await pairs[0][0].peer.kill()
        for task in pouring:
            task.cancel()
        pairs[0][1].peer.link.release("test")
        assert isinstance(await pairs[0][1].wait_ended(), RemoteError)


async def test_a_target_that_dies_while_a_source_waits_for_it_lets_the_source_go_on() -> None:
    async with living_room(stall_seconds=60) as room:
        caller = await room.raw()
        here, there = await room.tunnel(caller, await room.raw())
        other = await room.tunnel(caller, await room.raw())
        there.peer.link.hold("test")
        pouring = asyncio.create_task(pour(here))
        await eventually(lambda: room.server.relay._waiting)
        await there.peer.kill()
        assert isinstance(await here.wait_ended(), RemoteError)
        await pouring
        other[0].write(b"alive")
        assert await other[1].read(5) == b"alive"

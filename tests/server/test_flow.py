"""Slow and stalled targets, through a real room in a process of its own. Nothing here is decided by how fast it is."""

from __future__ import annotations

import asyncio
import hashlib
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from ssbfast.errors import RemoteError, SSBError
from ssbfast.keys import Keypair
from ssbfast.limits import MiB
from ssbfast.net.relay import Relay
from tests.helpers.rawpeer import PATIENCE, RawPeer, RawTunnel, eventually
from tests.helpers.room_process import RoomProcess, room_process

PIECE = bytes(range(256)) * 128  # 32 KiB


class Party:
    """Raw peers at a room that is elsewhere; each has a relay of its own, so that none waits for another."""

    def __init__(self, room: RoomProcess) -> None:
        self.room = room
        self.peers: list[RawPeer] = []

    async def raw(self) -> RawPeer:
        peer = RawPeer(Keypair.generate(), Relay(pool=8 * MiB, stall_seconds=600))
        self.peers.append(peer)
        return await peer.join(self.room.port, self.room.id)

    async def tunnel(self, caller: RawPeer | None = None, target: RawPeer | None = None) -> tuple[RawTunnel, RawTunnel]:
        caller, target = caller or await self.raw(), target or await self.raw()
        here = caller.connect(self.room.id, target.id)
        return here, await target.accept()


@asynccontextmanager
async def party(stall_seconds: float, **environment: str) -> AsyncIterator[Party]:
    async with room_process(stall_seconds, **environment) as room:
        guests = Party(room)
        try:
            yield guests
        finally:
            for peer in guests.peers:
                if not peer.gone.is_set():
                    await peer.kill()


async def pour(tunnel: RawTunnel, total: int) -> str:
    """Send `total` bytes and the end, as fast as they are taken. Returns their SHA-256."""
    digest = hashlib.sha256()
    for at in range(0, total, len(PIECE)):
        piece = at.to_bytes(8, "big") + PIECE[8:]
        digest.update(piece)
        await tunnel.send(piece)
        if tunnel.ended is not None:
            break
        await asyncio.sleep(0)
    tunnel.end()
    return digest.hexdigest()


def digesting(tunnel: RawTunnel) -> hashlib._Hash:
    digest = hashlib.sha256()
    tunnel.keep = False
    tunnel.on_data = digest.update
    return digest


async def round_trips(here: RawTunnel, there: RawTunnel, n: int) -> float:
    """Median seconds of n round trips through a tunnel."""
    loop = asyncio.get_running_loop()
    here.keep = there.keep = False
    there.on_data = there.write
    times = []
    for _ in range(n):
        back = asyncio.Event()
        here.on_data = lambda _data, back=back: back.set()
        began = loop.time()
        here.write(b"ping")
        await asyncio.wait_for(back.wait(), PATIENCE)
        times.append(loop.time() - began)
    return statistics.median(times)


async def sample(room: RoomProcess, found: list[int]) -> None:
    """The room's resident memory, every 100 ms."""
    while True:
        found.append(room.rss)
        await asyncio.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_target_that_stops_reading_costs_the_room_no_memory_and_others_no_time() -> None:
    async with party(stall_seconds=4) as guests:
        room = guests.room
        here, there = await guests.tunnel()
        beside = await guests.tunnel(here.peer, there.peer)
        others = await guests.tunnel()
        there.keep = False
        await round_trips(*others, 50)
        before = await round_trips(*others, 200)
        memory: list[int] = []
        sampling = asyncio.create_task(sample(room, memory))
        pouring = asyncio.create_task(pour(here, 400 * MiB))
        await eventually(lambda: there.count > 60 * MiB, 60)
        there.peer.link.hold("test")
        during = []
        while not room.named("tunnel_closed"):
            during.append(await round_trips(*others, 20))
            await asyncio.sleep(0.05)
        error = await here.wait_ended()
        assert isinstance(error, RemoteError) and error.message == "the other end does not read"
        await pouring
        assert there.count < 400 * MiB
        await works_beside(guests, there, beside)
        sampling.cancel()
        with suppress(asyncio.CancelledError):
            await sampling
        assert max(memory) - memory[0] <= 16 * MiB
        assert statistics.median(during) <= 5 * before + 0.020


async def works_beside(guests: Party, stalled: RawTunnel, beside: tuple[RawTunnel, RawTunnel]) -> None:
    """The target reads again: only that tunnel is lost."""
    stalled.peer.link.release("test")
    assert isinstance(await stalled.wait_ended(), RemoteError)
    beside[0].write(b"alive")
    assert await beside[1].read(5) == b"alive"
    later = await guests.tunnel(beside[0].peer, beside[1].peer)
    later[1].write(b"later")
    assert await later[0].read(5) == b"later"
    assert [event["reason"] for event in guests.room.named("tunnel_closed")] == ["stalled"]
    assert not guests.room.named("left")


@pytest.mark.slow
async def test_a_slow_target_gets_every_byte() -> None:
    """About a megabyte a second: it reads for a moment, then not for a longer one."""
    async with party(stall_seconds=3) as guests:
        here, there = await guests.tunnel()
        link, digest = there.peer.link, digesting(there)
        pouring = asyncio.create_task(pour(here, 14 * MiB))

        async def dribble() -> None:
            mark = 0
            while there.ended is None:
                link.hold("test")
                await asyncio.sleep(min(2.0, (there.count - mark) / MiB))
                mark = there.count
                link.release("test")
                await eventually(lambda mark=mark: there.count > mark or there.ended is not None)

        await asyncio.wait_for(dribble(), 60)
        assert await there.wait_ended() is None
        assert digest.hexdigest() == await pouring
        assert there.count == 14 * MiB


@pytest.mark.slow
async def test_a_pause_just_under_the_limit_loses_nothing() -> None:
    async with party(stall_seconds=3) as guests:
        here, there = await guests.tunnel()
        digest = digesting(there)
        pouring = asyncio.create_task(pour(here, 60 * MiB))
        for part in (5 * MiB, 20 * MiB):
            await eventually(lambda part=part: there.count > part)
            there.peer.link.hold("test")
            await asyncio.sleep(2.0)
            there.peer.link.release("test")
        assert await there.wait_ended(60) is None
        assert digest.hexdigest() == await pouring
        assert there.count == 60 * MiB


async def test_who_stays_away_loses_that_tunnel_and_no_other() -> None:
    async with party(stall_seconds=1) as guests:
        here, there = await guests.tunnel()
        beside = await guests.tunnel(here.peer, there.peer)
        there.keep = False
        pouring = asyncio.create_task(pour(here, 60 * MiB))
        await eventually(lambda: there.count > MiB)
        there.peer.link.hold("test")
        assert isinstance(await here.wait_ended(), RemoteError)
        await pouring
        await works_beside(guests, there, beside)


async def test_a_source_waits_for_its_stalled_tunnel_once_and_then_goes_on() -> None:
    """Two tunnels of one caller: the stalled one delays the other, for `stall_seconds` at the most."""
    async with party(stall_seconds=1) as guests:
        caller = await guests.raw()
        here, there = await guests.tunnel(caller)
        good = await guests.tunnel(caller)
        there.peer.link.hold("test")
        pouring = asyncio.create_task(pour(here, 60 * MiB))
        digest = digesting(good[1])
        second = asyncio.create_task(pour(good[0], 8 * MiB))
        assert await good[1].wait_ended() is None
        assert digest.hexdigest() == await second
        await pouring
        assert [event["reason"] for event in guests.room.named("tunnel_closed")] == ["stalled"]


@pytest.mark.slow
async def test_tiny_whole_packets_for_a_target_that_does_not_read_keep_nobody_busy() -> None:
    """They fill a lane with memory long before their bytes do; the room has to wait for it, not to spin."""
    async with party(stall_seconds=4) as guests:
        here, there = await guests.tunnel()
        there.peer.link.hold("test")
        flags, _req, body = here.peer.mux.item(here.req, {"a": 1})

        async def flood() -> None:
            with suppress(SSBError):
                while here.ended is None:
                    while not here.lane.full and here.lane.packet(flags, body):
                        pass
                    here.peer.link.touched()
                    await asyncio.sleep(0)

        flooding = asyncio.create_task(flood())
        memory = guests.room.rss
        taken = -1
        while here.lane.taken != taken:  # until the room reads no more
            taken = here.lane.taken
            await asyncio.sleep(0.5)
        used = guests.room.ps.cpu_times()
        await asyncio.sleep(1.5)
        now = guests.room.ps.cpu_times()
        assert here.ended is None
        assert now.user + now.system - used.user - used.system < 0.2
        assert isinstance(await here.wait_ended(), RemoteError)
        await flooding
        assert guests.room.rss - memory <= 16 * MiB


async def test_a_stalled_target_in_the_plain_python_backend() -> None:
    async with party(stall_seconds=1, SSBFAST_BACKEND="pure") as guests:
        here, there = await guests.tunnel()
        beside = await guests.tunnel(here.peer, there.peer)
        there.peer.link.hold("test")
        pouring = asyncio.create_task(pour(here, 20 * MiB))
        assert isinstance(await here.wait_ended(), RemoteError)
        await pouring
        await works_beside(guests, there, beside)

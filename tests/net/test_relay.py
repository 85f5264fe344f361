"""Queue memory that runs out, with a room in this process: everybody waits, nobody dies but who does not read."""

from __future__ import annotations

import asyncio
import os

import pytest

from ssbfast import limits, native
from ssbfast.errors import RemoteError, SSBError
from ssbfast.keys import Keypair
from ssbfast.limits import MiB
from ssbfast.net.link import Link
from ssbfast.net.relay import Relay
from ssbfast.pure import Opener, Sealer
from ssbfast.wire.handshake import ServerHandshake, Session
from tests.helpers.rawpeer import RawTunnel, eventually, settle
from tests.helpers.served_room import ServedRoom, served_room
from tests.helpers.traffic import raw

Ends = tuple[RawTunnel, RawTunnel]


async def stalled_tunnels(room: ServedRoom, n: int) -> tuple[list[Ends], list[asyncio.Task[None]]]:
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
    async with served_room(pool=4 * MiB, stall_seconds=1.0) as room:
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
    async with served_room(stall_seconds=60) as room:
        pairs, pouring = await stalled_tunnels(room, 1)
        await eventually(lambda: room.server.relay._waiting)
        await pairs[0][0].peer.kill()
        for task in pouring:
            task.cancel()
        pairs[0][1].peer.link.release("test")
        assert isinstance(await pairs[0][1].wait_ended(), RemoteError)


async def test_a_target_that_dies_while_a_source_waits_for_it_lets_the_source_go_on() -> None:
    async with served_room(stall_seconds=60) as room:
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


# ---------------------------------------------------------------- when things are sent


class Wire(asyncio.Transport):
    """What a link has sent, write by write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is no buffer."""

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """Nothing is read here."""

    def resume_reading(self) -> None:
        """Nothing is read here."""


class Nobody:
    """Owns a link and does not care."""

    def on_open(self, link: Link) -> None: ...

    def on_packet(self, link: Link, flags: int, req: int, body: bytes) -> None: ...

    def on_chunk(self, link: Link, req: int, data: bytes) -> None: ...

    def on_close(self, link: Link, error: SSBError | None) -> None: ...


SESSION = Session(Keypair.generate().id, b"k" * 32, bytes(24), b"k" * 32, bytes(24), b"")
FRAME = raw(native.STREAM, 1, b"frame")


def several(relay: Relay, n: int) -> tuple[list[Link], Wire, list[native.Lane]]:
    """n links whose req 1 leads to one more, and what that one sends."""
    links = []
    for _ in range(n + 1):
        link = Link(relay, ServerHandshake(Keypair.generate()), Nobody())
        wire = Wire()
        link._transport = wire
        link.completed(SESSION, b"")
        links.append(link)
    lanes = [native.Lane(links[-1].core, 10 + i) for i in range(n)]
    for link, lane in zip(links, lanes, strict=False):
        native.Inlet(link.core, 1, lane)
    return links[:-1], wire, lanes


def arrives(relay: Relay, link: Link, sealer: Sealer) -> None:
    data = sealer.seal(FRAME)
    relay.buffer[: len(data)] = data
    link.buffer_updated(len(data))


async def test_a_lonely_frame_leaves_within_its_read_and_costs_no_turn_of_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    relay = Relay()
    (link,), wire, _lanes = several(relay, 1)
    sealer = Sealer(b"k" * 32, bytes(24))
    await settle()
    planned: list[object] = []
    call_soon = relay.loop.call_soon
    monkeypatch.setattr(relay.loop, "call_soon", lambda *args, **more: planned.append(args) or call_soon(*args, **more))
    looked = []
    for i in range(64):
        arrives(relay, link, sealer)
        assert len(wire.writes) == i + 1
        looked.append(relay.is_planned)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert all(looked[:8]) and looked[8:].count(True) == 7  # one in eight looks whether it is still alone
    relay.close()


async def test_frames_of_one_tick_merge_all_but_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TICK_SECONDS", 60.0)  # however slow the machine is
    relay = Relay()
    links, wire, _lanes = several(relay, 20)
    sealers = [Sealer(b"k" * 32, bytes(24)) for _ in links]
    for _ in range(5):
        before = len(wire.writes)
        for link, sealer in zip(links, sealers, strict=True):
            arrives(relay, link, sealer)
        await settle()
        assert len(wire.writes) == before + 2
    bodies = Opener(b"k" * 32, bytes(24)).open(b"".join(wire.writes))
    assert len(bodies) == len(wire.writes)  # a box each
    assert sum(len(body) for body in bodies) == 5 * 20 * len(FRAME)
    relay.close()

"""Tunnels through a room on real sockets: bytes, ends, deaths. The peers are raw, so that nothing hides a packet."""

from __future__ import annotations

import asyncio
import os
import random

import pytest

from ssbfast import limits, native
from ssbfast.errors import RemoteError, SessionEndedError
from ssbfast.keys import Keypair
from ssbfast.server.limit_table import RoomCaps
from tests.helpers.pairs import listening_in
from tests.helpers.rawpeer import RawPeer, RawTunnel, eventually, settle
from tests.helpers.room_process import room_process
from tests.helpers.served_room import ServedRoom, served_room

_END = native.STREAM | native.END | native.JSON


async def two_tunnels(room: ServedRoom) -> tuple[RawPeer, RawPeer, list[tuple[RawTunnel, RawTunnel]]]:
    """One to test, and another that must not notice."""
    caller, target = await room.raw(), await room.raw()
    return caller, target, [await room.tunnel(caller, target) for _ in range(2)]


async def works(here: RawTunnel, there: RawTunnel) -> None:
    """Bytes get through both ways."""
    for source, sink in ((here, there), (there, here)):
        before, data = len(sink.received), os.urandom(10_000)
        await source.send(data)
        assert (await sink.read(before + len(data)))[before:] == data


async def test_bytes_of_two_tunnels_arrive_whole_and_apart() -> None:
    async with served_room() as room:
        _, _, ((a, b), (c, d)) = await two_tunnels(room)
        sent = [os.urandom(n) for n in (300_000, 200_001, 4087, 1)]
        for tunnel, data in zip((a, c, b, d), sent, strict=True):
            tunnel.write(data)
        for tunnel, data in zip((b, d, a, c), sent, strict=True):
            assert await tunnel.read(len(data)) == data
        assert room.splices == 4  # each is known to both of its sessions


@pytest.mark.parametrize("ender", [0, 1], ids=["caller", "target"])
async def test_clean_end_comes_behind_all_bytes_and_leaves_the_other_direction_open(ender: int) -> None:
    async with served_room() as room:
        _, _, (pair, other) = await two_tunnels(room)
        here, there = pair[ender], pair[1 - ender]
        data = os.urandom(200_000)
        here.write(data)
        here.end()
        assert await there.wait_ended() is None
        assert there.received == data
        assert here.ended is None
        there.write(b"still here")
        assert await here.read(10) == b"still here"
        there.end()
        assert await here.wait_ended() is None
        await eventually(lambda: room.splices == 2)
        assert [event["reason"] for event in room.named("tunnel_closed")] == ["closed"]
        assert room.named("tunnel_closed")[0]["bytes"] >= len(data) + 10
        await works(*other)


@pytest.mark.parametrize("ender", [0, 1], ids=["caller", "target"])
async def test_error_end_ends_both_directions_with_the_same_error(ender: int) -> None:
    async with served_room() as room:
        _, _, (pair, other) = await two_tunnels(room)
        here, there = pair[ender], pair[1 - ender]
        here.write(b"last words")
        here.end("no more")
        error = await there.wait_ended()
        assert isinstance(error, RemoteError) and error.message == "no more"
        assert there.received == b"last words"
        assert isinstance(await here.wait_ended(), RemoteError)  # echoed: the stream is over
        await eventually(lambda: room.splices == 2)
        assert [event["reason"] for event in room.named("tunnel_closed")] == ["error"]
        await works(*other)


@pytest.mark.parametrize("body", [b"not json", b"\xff\xfe", b"[" * 3000, b'{"message":'])
async def test_an_end_that_is_no_json_is_not_passed_on(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served_room() as room:
        _, _, (pair, other) = await two_tunnels(room)
        here, there = pair
        bodies: list[bytes] = []
        listening_in(monkeypatch, there.peer.mux, lambda body: not bodies.append(body))  # type: ignore[func-returns-value]
        here.lane.packet(_END, body)
        here.peer.link.touched()
        error = await there.wait_ended()
        assert isinstance(error, RemoteError)
        assert body not in bodies
        await works(*other)


async def test_what_comes_behind_an_end_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served_room() as room:
        caller, target, (pair, other) = await two_tunnels(room)
        here, there = pair
        ends: list[bytes] = []
        listening_in(monkeypatch, target.mux, lambda body: not ends.append(body))  # type: ignore[func-returns-value]
        here.end()
        assert await there.wait_ended() is None
        for _ in range(3000):
            here.lane.packet(_END, b"true")
            here.lane.packet(native.STREAM, b"late")
        caller.link.touched()
        await eventually(lambda: not here.lane.queued)
        assert await caller.call("whoami") == {"id": str(room.server.me.id)}  # all of it has been read
        assert room.server.relay.hub.lent == 0
        assert await target.call("whoami") == {"id": str(room.server.me.id)}
        assert there.received == b"" and ends.count(b"true") == 1
        there.end()
        assert await here.wait_ended() is None
        await works(*other)


@pytest.mark.parametrize("victim", [0, 1], ids=["caller", "target"])
@pytest.mark.parametrize("how", ["killed", "goodbye"])
async def test_a_session_that_dies_takes_its_tunnels_along_and_no_others(victim: int, how: str) -> None:
    async with served_room() as room:
        caller, target, pairs = await two_tunnels(room)
        bystander = await room.raw()
        other = await room.tunnel(bystander, (caller, target)[1 - victim])
        dying = (caller, target)[victim]
        for pair in pairs:
            pair[victim].write(b"last words")
        await eventually(lambda: all(len(pair[1 - victim].received) == 10 for pair in pairs))
        await (dying.kill() if how == "killed" else dying.leave())
        for pair in pairs:
            error = await pair[1 - victim].wait_ended()
            assert isinstance(error, RemoteError) and error.message == "the other end is gone"
        await eventually(lambda: room.splices == 2)
        assert {event["reason"] for event in room.named("tunnel_closed")} == {"gone"}
        await works(*other)


async def test_a_killed_room_ends_every_tunnel_at_once() -> None:
    async with room_process() as process, served_room() as room:
        peers = [RawPeer(Keypair.generate(), room.relay) for _ in range(2)]
        room.peers += peers
        for peer in peers:
            await peer.join(process.port, process.id)
        here = peers[0].connect(process.id, peers[1].id)
        there = await peers[1].accept()
        await works(here, there)
        process.process.kill()
        for tunnel in (here, there):
            assert isinstance(await tunnel.wait_ended(), SessionEndedError)


async def test_the_hello_may_ride_in_the_segment_of_the_call() -> None:
    async with served_room() as room:
        caller, target = await room.raw(), await room.raw()
        hello = os.urandom(64)
        boxes: list[int] = []
        transport = caller.link._transport
        assert transport is not None
        write = transport.write
        transport.write = lambda data: boxes.append(len(data)) or write(data)  # type: ignore[method-assign,func-returns-value]
        here = caller.connect(room.server.me.id, target.id)
        here.write(hello)
        there = await target.accept()
        assert await there.read(64) == hello
        assert len(boxes) == 1


@pytest.mark.parametrize("size", [1, 3, 35, 1000])
async def test_segments_of_any_size_give_the_same(size: int) -> None:
    async with served_room() as room:
        room.server.relay.buffer = memoryview(bytearray(size))
        room.relay.buffer = memoryview(bytearray(size))
        caller, target = await room.raw(), await room.raw(split=True)
        here = caller.connect(room.server.me.id, target.id)
        data = os.urandom(6000)
        here.write(data)
        here.end()
        there = await target.accept()
        assert await there.wait_ended() is None
        assert there.received == data
        there.write(data)
        there.end("enough")
        assert isinstance(await here.wait_ended(), RemoteError)
        assert here.received == data


@pytest.mark.slow
async def test_many_tunnels_share_a_session() -> None:
    async with served_room() as room:
        caller, target = await room.raw(), await room.raw(split=True)
        rng = random.Random(1)
        pairs = [await room.tunnel(caller, target) for _ in range(300)]
        data = [rng.randbytes(rng.choice((1, 100, 5000, 20_000))) for _ in pairs]
        for (here, _), bytes_ in zip(pairs, data, strict=True):
            here.write(bytes_)
        for (here, there), bytes_ in zip(pairs, data, strict=True):
            assert await there.read(len(bytes_)) == bytes_
            there.end()
            here.end()
        await eventually(lambda: room.splices == 0)


async def test_whole_packets_of_a_tunnel_pass_whole() -> None:
    async with served_room() as room:
        _, _, (pair, _) = await two_tunnels(room)
        here, there = pair
        text = "ü" * 30_000
        for value in ({"a": [1, None]}, text, [True]):
            here.lane.packet(*_item(here, value))
        here.peer.link.touched()
        await eventually(lambda: len(there.peer.items.get(there.req, [])) == 3)
        assert there.peer.items[there.req] == [{"a": [1, None]}, text, [True]]


def _item(tunnel: RawTunnel, value: object) -> tuple[int, bytes]:
    flags, _req, body = tunnel.peer.mux.item(tunnel.req, value)  # type: ignore[arg-type]
    return flags, body


async def test_ends_that_cross_are_both_told() -> None:
    async with served_room() as room:
        _, _, (pair, other) = await two_tunnels(room)
        pair[0].end()
        pair[1].end()
        assert await pair[0].wait_ended() is None
        assert await pair[1].wait_ended() is None
        await works(*other)


async def test_no_end_of_ends_after_random_behaviour() -> None:
    """Peers come, tunnel, end, err and die at random; afterwards `served_room` finds nothing."""
    rng = random.Random(7)
    async with served_room() as room:
        peers = [await room.raw() for _ in range(4)]
        tunnels: list[RawTunnel] = []
        for _ in range(150):
            roll = rng.random()
            alive = [peer for peer in peers if not peer.gone.is_set()]
            caller, target = rng.sample(alive, 2)
            if roll < 0.4:
                tunnels.append(caller.connect(room.server.me.id, target.id))
                tunnels[-1].write(rng.randbytes(rng.randint(1, 9000)))
            elif roll < 0.8 and tunnels:
                tunnel = rng.choice(tunnels)
                if not tunnel.peer.gone.is_set() and tunnel.peer.mux.is_open(tunnel.req):
                    tunnel.end(rng.choice([None, "oops"]))
            elif roll < 0.85:
                await (caller.kill() if rng.random() < 0.5 else caller.leave())
                peers.append(await room.raw())
            else:
                await settle(5)
            while rng.random() < 0.5:
                with_tunnel = [peer for peer in alive if not peer.incoming.empty()]
                if not with_tunnel:
                    break
                tunnels.append(with_tunnel[0].incoming.get_nowait())
        await asyncio.sleep(0)


async def test_a_target_without_a_place_gives_up_a_tunnel_of_the_key_that_has_most() -> None:
    async with served_room(caps=RoomCaps({"tunnels_per_session": 3})) as room:
        greedy, target, fresh = [await room.raw() for _ in range(3)]
        pairs = [await room.tunnel(greedy, target) for _ in range(3)]
        used = pairs[2][0]
        used.write(bytes(limits.UNUSED_TUNNEL + 1))
        await pairs[2][1].read(limits.UNUSED_TUNNEL + 1)
        await room.tunnel(fresh, target)
        error = await pairs[1][0].wait_ended()  # the newest of those that carried nothing
        assert isinstance(error, RemoteError) and "no place" in error.message
        assert pairs[0][0].ended is None and used.ended is None
        error = await greedy.connect(room.server.me.id, target.id).wait_ended()
        assert isinstance(error, RemoteError) and error.message == f"could not connect to: {target.id}"
        assert room.server.limits.tally.total == {"tunnels_per_session": 1}


@pytest.mark.parametrize("side", ["caller", "target"])
async def test_tunnel_limit_is_refused_like_an_absent_target(side: str) -> None:
    async with served_room(caps=RoomCaps({"tunnels_per_session": 3})) as room:
        busy, target, fresh, other = [await room.raw() for _ in range(4)]
        if side == "caller":
            pairs = [await room.tunnel(busy, target) for _ in range(3)]
            late, wanted = busy, other
        else:
            pairs = [await room.tunnel(other, target) for _ in range(3)]
            late, wanted = other, target
        error = await late.connect(room.server.me.id, wanted.id).wait_ended()
        assert isinstance(error, RemoteError) and error.message == f"could not connect to: {wanted.id}"
        absent = Keypair.generate().id
        error = await fresh.connect(room.server.me.id, absent).wait_ended()
        assert isinstance(error, RemoteError) and error.message == f"could not connect to: {absent}"
        pairs[0][0].end("room for one more")
        await eventually(lambda: room.splices == 4)
        late.connect(room.server.me.id, wanted.id)
        await wanted.accept()

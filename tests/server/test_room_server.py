"""A room on real sockets: who comes in, who is present, and what an impolite peer can cost."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import psutil
import pytest

from ssbfast import limits
from ssbfast.budgets import Penalties, Rate
from ssbfast.errors import HandshakeError, LimitError, LocalProtocolError, RemoteError, SessionEndedError, SSBError
from ssbfast.ids import FeedId, NetworkId
from ssbfast.keys import Keypair
from ssbfast.limits import KiB, MiB
from ssbfast.net.dial import dial
from ssbfast.net.endpoints import Endpoint
from ssbfast.net.link import Link
from ssbfast.room.tunnel_auth import AllowList
from ssbfast.server.limit_table import RoomCaps
from ssbfast.server.room_server import RoomServer
from ssbfast.server.session import RoomSession
from ssbfast.wire.handshake import ClientHandshake
from ssbfast.wire.muxrpc import CallKind, encode_json
from tests.helpers.handshakes import Forger
from tests.helpers.rawpeer import PATIENCE, RawPeer, eventually, settle
from tests.helpers.served_room import LAVISH, ServedRoom, served_room


@pytest.fixture
def short_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults: Any = Link.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "deadline", 0.3)


async def connection(room: ServedRoom) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", room.server.port)


async def all_of(reader: asyncio.StreamReader) -> bytes:
    """What comes until the other end closes, whichever way."""
    found = b""
    with suppress(ConnectionError):
        while data := await asyncio.wait_for(reader.read(1000), PATIENCE):
            found += data
    return found


# ---------------------------------------------------------------- life


async def test_listening_comes_first_and_can_be_dialled() -> None:
    async with served_room() as room:
        event = room.events[0]
        assert event["event"] == "listening"
        assert event["id"] == str(room.server.me.id)
        assert event["address"].startswith(f"net:127.0.0.1:{room.server.port}~shs:")
        assert event["invite"].endswith(":SSB+Room+PSK3TLYC2T86EHQCUHBUHASCASE18JBV24=")
        peer = await room.raw()
        assert (await peer.call("room.metadata"))["features"] == ["tunnel", "room1", "room2"]


async def test_close_says_goodbye_to_everybody() -> None:
    async with served_room() as room:
        peers = [await room.raw() for _ in range(3)]
        here, there = await room.tunnel(peers[0], peers[1])
        await room.server.close()
        for peer in peers:
            await asyncio.wait_for(peer.gone.wait(), PATIENCE)
            assert peer.error is None
        assert here.ended is not None and there.ended is not None
        with pytest.raises(OSError):
            await connection(room)


async def test_closing_does_not_wait_for_who_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GOODBYE_SECONDS", 0.3)
    async with served_room() as room:
        silent = await room.raw()
        silent.link.hold("test")
        reader, writer = await connection(room)  # and one that has not even begun
        await eventually(lambda: len(room.server.limits.connections) == 1)
        await room.server.close()
        assert await all_of(reader) == b""
        writer.close()


async def test_relay_needs_the_context() -> None:
    with pytest.raises(LocalProtocolError):
        _ = RoomServer(Keypair.generate()).relay


async def test_events_name_nobody_in_full() -> None:
    async with served_room() as room:
        caller, target = await room.raw(), await room.raw()
        here, there = await room.tunnel(caller, target)
        here.end()
        there.end()
        await eventually(lambda: room.named("tunnel_closed"))
        for event in room.events[1:]:
            text = str(event)
            assert str(caller.id) not in text and str(target.id) not in text and "127.0.0.1" not in text
        (opened,) = room.named("tunnel_opened")
        assert opened.pop("session") == room.named("tunnel_closed")[0]["session"]
        assert opened == {"event": "tunnel_opened", "origin": caller.id.short, "target": target.id.short}


# ---------------------------------------------------------------- before the handshake


async def test_a_silent_connection_is_closed_at_the_deadline(short_deadline: None) -> None:
    async with served_room() as room:
        reader, writer = await connection(room)
        assert await all_of(reader) == b""
        writer.close()


async def test_a_slow_handshake_has_one_deadline_in_all(short_deadline: None) -> None:
    async with served_room() as room:
        reader, writer = await connection(room)

        async def drip() -> None:
            hello = ClientHandshake(Keypair.generate(), room.server.me.id).start()
            with suppress(ConnectionError):
                for byte in hello[:-1]:
                    writer.write(bytes([byte]))
                    await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        assert await all_of(reader) == b""
        assert not dripping.done()
        dripping.cancel()
        writer.close()


@pytest.mark.parametrize("size", [1, 63, 64, 65, 300, 100_000])
@pytest.mark.slow
async def test_garbage_is_answered_with_nothing(size: int, short_deadline: None) -> None:
    async with served_room() as room:
        reader, writer = await connection(room)
        writer.write(os.urandom(size))
        assert await all_of(reader) == b""
        writer.close()


async def test_wrong_network_wrong_room_and_refused_look_the_same() -> None:
    keys = [Keypair.generate() for _ in range(3)]
    async with served_room(admission=AllowList(key.id for key in keys[:2])) as room:
        right, wrong = room.server.me.id, Keypair.generate().id
        shakes = (
            ClientHandshake(keys[0], right, network=NetworkId(bytes(32))),
            ClientHandshake(keys[1], wrong),
            ClientHandshake(keys[2], right),  # refused: silence
        )
        for handshake in shakes:
            peer = RawPeer(keys[0], room.relay)
            link = await dial("127.0.0.1", room.server.port, lambda h=handshake, p=peer: Link(room.relay, h, p))
            await asyncio.wait_for(peer.gone.wait(), PATIENCE)
            assert isinstance(peer.error, HandshakeError)
            assert not link.is_open
        assert not room.named("joined")
        await room.raw(keys[0])


@pytest.mark.slow
async def test_the_room_itself_cannot_come_in() -> None:
    async with served_room() as room:
        with pytest.raises(HandshakeError):
            await room.raw(room.server.me)


@pytest.mark.parametrize(("total", "per_address"), [(3, 10), (10, 3)])
@pytest.mark.slow
async def test_a_newcomer_takes_the_place_of_the_connection_that_was_silent_longest(
    total: int, per_address: int
) -> None:
    async with served_room(caps=RoomCaps({"connections": total, "connections_per_address": per_address})) as room:
        proven = await room.raw()  # is not counted
        connections = room.server.limits.connections
        idle = []
        for n in range(3):
            idle.append(await connection(room))
            await eventually(lambda n=n: len(connections) == n + 1)  # type: ignore[misc]
        reader, writer = await connection(room)
        assert await all_of(idle[0][0]) == b""
        assert len(connections) == 3
        await room.raw()
        assert await all_of(idle[1][0]) == b""
        assert await proven.call("whoami")
        assert set(room.server.limits.tally.total) <= {"connections", "connections_per_address"}
        for _, other in [*idle, (reader, writer)]:
            other.close()
        await eventually(lambda: not connections)


async def said_by(room: ServedRoom, host: str, data: bytes) -> bytes:
    """What the room says to a host of this machine that says something."""
    reader, writer = await asyncio.open_connection("127.0.0.1", room.server.port, local_addr=(host, 0))
    with suppress(ConnectionError):
        writer.write(data)
        await writer.drain()
    found = await all_of(reader)
    writer.close()
    return found


async def test_a_handshake_that_fails_leaves_no_garbage_that_waits_for_a_collection() -> None:
    """Under load there is none: a thousand a second would be 10 MB a minute."""
    async with served_room() as room:
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                assert await said_by(room, "127.0.0.1", os.urandom(64)) == b""
            await eventually(lambda: not room.server.limits.connections)
            assert not [one for one in gc.get_objects() if isinstance(one, RoomSession)]
        finally:
            gc.enable()


async def test_an_address_that_sends_garbage_is_refused_without_an_answer_and_its_neighbour_is_not() -> None:
    async with served_room() as room:
        room.server.limits.penalties = Penalties(Rate(0.01, 3), Rate(0.01, 1), 60.0)
        total = room.server.limits.tally.total
        for n in range(1, 6):
            assert await said_by(room, "127.0.0.2", os.urandom(64)) == b""
            if n <= 4:
                await eventually(lambda: not room.server.limits.connections)
        assert total == {"failures_per_address": 1}, "the fifth is a trial"
        assert await said_by(room, "127.0.0.2", Forger().hello) == b"", "nor does a right hello hear what is wrong"
        assert total == {"failures_per_address": 1, "trials_per_address": 1}
        await room.raw()


async def test_an_address_has_no_penalty_for_peers_that_find_the_room_full(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served_room() as room:
        room.server.limits.penalties = Penalties(Rate(0.01, 3), Rate(0.01, 1), 60.0)
        with monkeypatch.context() as full:
            full.setattr(room.server.limits, "enter", lambda _session: False)
            for _ in range(6):
                with pytest.raises(SSBError):
                    await room.raw()
                await eventually(lambda: not room.server.limits.connections)
        assert not room.server.limits.tally.total
        assert not room.server._without_place
        await room.raw()


async def test_many_who_connect_and_go_leave_nothing() -> None:
    async with served_room() as room:
        for kind in range(60):
            with closing(socket.create_connection(("127.0.0.1", room.server.port))) as sock:
                if kind % 3 == 0:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # RST
                elif kind % 3 == 1:
                    sock.send(os.urandom(10))
            await asyncio.sleep(0)
        await settle()


# ---------------------------------------------------------------- presence


def presence(watcher: RawPeer, who: FeedId) -> list[str]:
    """What a watcher was told about `who` since its first state."""
    return [item["type"] for item in watcher.items[watcher.listing][1:] if item.get("id") == str(who)]


@pytest.mark.parametrize("death", ["reset", "silence"])
@pytest.mark.slow
async def test_quick_reconnects_are_one_presence(death: str) -> None:
    """Three sessions of one key; the old ones die late, and not in order."""
    async with served_room() as room:
        watcher, caller = await room.raw(), await room.raw()
        me = Keypair.generate()
        sessions = [await room.raw(me)]
        old = await room.tunnel(caller, sessions[0])
        for _ in range(3):
            sessions.append(await room.raw(me))
        here, there = await room.tunnel(caller, sessions[-1])
        for stale in (sessions[1], sessions[0], sessions[2]):
            if death == "silence":
                stale.link.hold("test")
            else:
                old[0].write(b"on")  # the tunnel of a replaced session runs until its session dies
                await stale.kill()
            here.write(b"ping")
            there.write(b"pong")
            await eventually(lambda: not here.lane.queued)
            assert str(me.id) in [str(who) for who in room.server.portal.attendants()]
            assert (await room.tunnel(caller, sessions[-1]))[1].peer is sessions[-1]
        await eventually(lambda: there.received == b"ping" * 3 and here.received == b"pong" * 3)
        if death == "silence":
            old[0].write(b"on")
            for stale in sessions[:3]:
                stale.link.release("test")
            assert await old[1].read(2) == b"on"
        assert presence(watcher, me.id) == ["joined"]
        for session in sessions:
            if not session.gone.is_set():
                await session.kill()
        await eventually(lambda: presence(watcher, me.id) == ["joined", "left"])
        assert sum(event["id"] == me.id.short for event in room.named("joined")) == 1
        assert sum(event["id"] == me.id.short for event in room.named("left")) == 1


@pytest.mark.slow
async def test_sessions_of_one_key_are_capped_and_the_newest_stay() -> None:
    async with served_room(caps=RoomCaps({"sessions_per_key": 3})) as room:
        watcher = await room.raw()
        me = Keypair.generate()
        peers = [RawPeer(me, room.relay) for _ in range(9)]
        room.peers += peers
        for peer in peers:  # none of them answers goodbyes: they do not read
            await peer.join(room.server.port, room.server.me.id)
            peer.link.hold("test")
        open_now = [
            number for number in room.server.portal.sessions(me.id) if room.server._sessions[number].link.is_open
        ]
        assert len(open_now) == 3
        assert room.server.limits.tally.total == {"sessions_per_key": 6}
        for peer in peers:
            peer.link.release("test")
        await eventually(lambda: sum(not peer.gone.is_set() for peer in peers) == 3)
        assert not any(peer.gone.is_set() for peer in peers[-3:])
        assert presence(watcher, me.id) == ["joined"]


@pytest.mark.parametrize(("total", "per_address"), [(4, 10), (10, 4)])
@pytest.mark.slow
async def test_of_sessions_above_the_cap_the_newest_without_a_tunnel_goes(total: int, per_address: int) -> None:
    async with served_room(caps=RoomCaps({"sessions": total, "sessions_per_address": per_address})) as room:
        caller, target, old, new = [await room.raw() for _ in range(4)]
        await room.tunnel(caller, target)
        newcomer = await room.raw()
        await asyncio.wait_for(new.gone.wait(), PATIENCE)
        assert len(room.server._sessions) == 4
        for peer in (caller, target, old, newcomer):
            assert await peer.call("whoami")
        await old.leave()
        await eventually(lambda: len(room.server._sessions) == 3)
        await room.raw()
        assert not newcomer.gone.is_set()


# ---------------------------------------------------------------- who does not read


def kernel_keeps(peer: RawPeer, size: int) -> None:
    """Let the kernel keep little for this peer, or more again."""
    transport = peer.link._transport
    assert transport is not None
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def calls(n: int) -> Iterator[tuple[int, bytes]]:
    body = encode_json({"name": ["manifest"], "args": []})
    return ((req, body) for req in range(1_000_000, 1_000_000 + n))


@pytest.mark.slow
async def test_who_calls_and_never_reads_loses_the_session_not_the_room_its_memory() -> None:
    async with served_room() as room:
        bystander, greedy = await room.raw(), await room.raw()
        kernel_keeps(greedy, 4096)
        greedy.link.hold("test")
        before = psutil.Process().memory_info().rss
        errors: list[SSBError | None] = []
        session = room.server._sessions[max(room.server._sessions)]
        closed = session.link._handler.on_close

        def spied(link: Link, error: SSBError | None) -> None:
            errors.append(error)
            closed(link, error)

        session.link._handler = _Spy(session, spied)
        for req, body in calls(200_000):
            if not greedy.link.is_open or greedy.gone.is_set() or errors:
                break
            greedy.link.control(2, req, body)
            if req % 200 == 0:
                await asyncio.sleep(0)
        await eventually(lambda: errors)
        assert isinstance(errors[0], LimitError)
        assert room.server.relay.hub.lent <= 600
        assert psutil.Process().memory_info().rss - before < 24 * MiB
        assert await bystander.call("whoami")
        greedy.link.release("test")
        await asyncio.wait_for(greedy.gone.wait(), PATIENCE)
        assert isinstance(greedy.error, SSBError)


class _Spy:
    """A link's handler with another `on_close`."""

    def __init__(self, handler: Any, closed: Any) -> None:
        self._handler = handler
        self.on_close = closed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handler, name)


async def toggle(peer: RawPeer, times: int) -> None:
    """Leave and come back."""
    reqs = [peer.open(CallKind.ASYNC, name) for _ in range(times) for name in ("tunnel.leave", "tunnel.announce")]
    await eventually(lambda: reqs[-1] in peer.answers)


async def test_a_subscriber_that_does_not_read_gets_one_fresh_state() -> None:
    async with served_room(caps=LAVISH) as room:
        subscriber, restless, steady = await room.raw(), await room.raw(), await room.raw()
        kernel_keeps(subscriber, 4096)
        subscriber.link.hold("test")
        attendance = room.server._methods._attendance
        session = next(s for s in room.server._sessions.values() if s.link.remote == subscriber.id)
        for _ in range(1000):
            if attendance._paused:
                break
            await toggle(restless, 30)
        assert attendance._paused == {session.number}
        core = session.link.core
        queued = core.queued + core.control_queued
        assert limits.SUBSCRIBER_BACKLOG < queued < limits.SUBSCRIBER_BACKLOG + KiB
        await toggle(restless, 50)
        assert core.queued + core.control_queued == queued
        await restless.call("tunnel.leave")
        kernel_keeps(subscriber, MiB)
        subscriber.link.release("test")
        items = subscriber.items[subscriber.listing]
        await eventually(lambda: items[-1]["type"] == "state")
        assert set(items[-1]["ids"]) == {str(subscriber.id), str(steady.id)}
        assert [item["type"] for item in items].count("state") == 2
        await restless.call("tunnel.announce")  # and then goes on event by event
        await eventually(lambda: items[-1] == {"type": "joined", "id": str(restless.id)})


async def test_calls_above_the_limit_are_refused_and_in_the_end_cost_the_session() -> None:
    async with served_room() as room:
        peer = await room.raw()
        body = encode_json({"name": ["gossip", "ping"], "args": [], "type": "duplex"})
        with suppress(SessionEndedError):
            for req in range(100, 100 + 3 * limits.OPEN_CALLS):
                peer.link.control(0x0A, req, body)
                if req % 100 == 0:
                    await asyncio.sleep(0)
        await asyncio.sleep(0)
        bystander = await room.raw()
        assert await bystander.call("whoami")


# ---------------------------------------------------------------- nonsense behind the handshake


@pytest.mark.parametrize(
    ("flags", "req", "body"),
    [
        (0x02, 1, b"null"),
        (0x02, 1, b"{"),
        (0x02, 1, b'{"name":["room","metadata"]}'),
        (0x0A, 1, b'{"name":["tunnel","connect"],"args":[null],"type":"duplex"}'),
        (0x0A, 1, b'{"name":["tunnel","connect"],"args":[{"target":7}],"type":"duplex"}'),
        (0x0A, 1, b'{"name":["no"],"args":[],"type":"source"}'),
        (0x0E, 5, b"true"),
        (0x08, -7, b"for nobody"),
        (0x06, 3, b"?"),
        (0x02, 2**31 - 1, b'{"name":["whoami"],"args":[]}'),
    ],
)
@pytest.mark.slow
async def test_nonsense_costs_at_most_its_own_call(flags: int, req: int, body: bytes) -> None:
    async with served_room() as room:
        peer = await room.raw()
        peer.link.control(flags, req, body)
        assert await peer.call("whoami") == {"id": str(room.server.me.id)}


@pytest.mark.parametrize("packet", [(0x03, 1, b"x"), (0x02, 1, b"x" * (64 * KiB + 1))], ids=["type 3", "too long"])
async def test_what_breaks_the_protocol_ends_that_session_only(packet: tuple[int, int, bytes]) -> None:
    async with served_room() as room:
        peer, other = await room.raw(), await room.raw()
        here, there = await room.tunnel(peer, other)
        here.write(b"before")
        peer.link.control(*packet)
        await asyncio.wait_for(peer.gone.wait(), PATIENCE)
        assert isinstance(await there.wait_ended(), RemoteError)
        assert await other.call("whoami")


async def test_a_forged_box_ends_that_session_only() -> None:
    async with served_room() as room:
        peer, other = await room.raw(), await room.raw()
        transport = peer.link._transport
        assert transport is not None
        transport.write(os.urandom(500))
        await asyncio.wait_for(peer.gone.wait(), PATIENCE)
        assert await other.call("whoami")
        await eventually(lambda: len(room.server._sessions) == 1)


async def test_several_endpoints_share_a_port() -> None:
    server = RoomServer(Keypair.generate(), listen=[Endpoint("127.0.0.1", 0), Endpoint("127.0.0.2", 0)])
    async with server:
        for host in ("127.0.0.1", "127.0.0.2"):
            _reader, writer = await asyncio.open_connection(host, server.port)
            writer.close()
            await writer.wait_closed()
        await eventually(lambda: not server.limits.connections)

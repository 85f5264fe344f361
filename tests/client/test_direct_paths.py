"""Sessions that leave the room and come back, all on this machine: what their users see, who hears of it, what ends."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.client.follow_graph import MemoryGraph
from ssbfast.client.tunnel_auth import Trust
from ssbfast.errors import SSBError
from ssbfast.keys import Keypair
from ssbfast.limits import KiB, MiB
from ssbfast.net.endpoints import Endpoint
from ssbfast.net.forward.service import Service
from ssbfast.net.forward.tcp_listener import ForwardListener
from ssbfast.net.forward.tcp_server import ServiceServer
from ssbfast.room.tunnel_auth import Policy
from ssbfast.wire.direct import signaling
from tests.helpers.forwards import TcpEnd, TcpService
from tests.helpers.meeting import meeting, paths_of
from tests.helpers.rawpeer import eventually, settle


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts that fail do so soon, and are repeated soon."""
    monkeypatch.setattr(limits, "UPGRADE_SECONDS", 0.5)
    monkeypatch.setattr(limits, "PUNCH_SECONDS", 0.5)
    monkeypatch.setattr(limits, "DIRECT_FAREWELL_SECONDS", 0.1)


async def send_digest(wire: TcpEnd, size: int) -> str:
    """Send that much, in pieces; returns its SHA-256."""
    sha = hashlib.sha256()
    for _ in range(size // (64 * KiB)):
        piece = os.urandom(64 * KiB)
        sha.update(piece)
        await wire.send(piece)
    wire.finish()
    return sha.hexdigest()


async def digest(wire: TcpEnd, on_bytes: Callable[[int], Any] = lambda total: None) -> str:
    """The SHA-256 of all that comes."""
    sha, total = hashlib.sha256(), 0
    while piece := await wire.reader.read(64 * KiB):
        sha.update(piece)
        total += len(piece)
        on_bytes(total)
    return sha.hexdigest()


# ---------------------------------------------------------------- out of the room, and back


async def test_a_session_leaves_the_room_by_itself_and_says_so() -> None:
    async with meeting() as met:
        await met.is_usable()
        await met.path("direct")
        for client in (met.caller, met.target):
            (event,) = client.named("path")
            assert event["peer"] == str(met.peer.id if client is met.caller else met.there.id)
            assert event["rtt_ms"] is not None and event["took_ms"] >= 0 and event["reason"] == "a direct path is up"
        assert met.peer.path == met.there.path == "direct"
        await eventually(lambda: met.at.room.named("tunnel_closed"))
        await met.is_usable()
        await met.has_standby()
        assert met.at.room.named("tunnel_closed")[0]["bytes"] < 50_000
        assert not met.caller.named("closed") and not met.target.named("closed")


async def test_bytes_of_a_path_are_there_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What may have to be sent anew on another path is what QUIC sends: the same objects."""
    quic = pytest.importorskip("ssbfast.native.quic", reason="the C core is not built")
    if os.environ.get("SSBFAST_DIRECT") == "aioquic":
        pytest.skip("aioquic has copies of its own")
    written: dict[int, list[Any]] = {}
    write = quic.Engine.write

    def record(engine: Any, stream: int, data: bytes, *, end: bool = False) -> int:
        written.setdefault(stream, []).append(data)
        return int(write(engine, stream, data, end=end))

    def kept(sending: Any) -> bool:
        return all(any(chunk is data for data in written[stream]) for chunk in sending._chunks)

    async with meeting() as met:
        await met.path("direct")
        monkeypatch.setattr(quic.Engine, "write", record)
        machine = met.peer.link._transport.carriers
        stream = 2
        met.peer.duplex("echo")
        await eventually(lambda: machine._sending._chunks)
        assert kept(machine._sending)
        client, service = await met.dial()
        assert met.peer.forwards is not None
        (carried,) = (live.carried for live in met.peer.forwards._live.values())
        stream = carried.stream
        await client.send(os.urandom(MiB))
        await eventually(lambda: sum(map(len, carried._sending._chunks)) > limits.FORWARD_READ)
        assert kept(carried._sending)
        assert len(await service.read(MiB)) == MiB


@pytest.mark.slow
async def test_nothing_of_calls_and_streams_is_lost_when_paths_die() -> None:
    async with meeting() as met:
        stream = met.peer.duplex("echo")
        items = aiter(stream)
        for number in range(300):
            await stream.send({"n": number})
            assert await anext(items) == {"n": number}
            if number in (100, 200):
                await met.path("direct", number // 100)
                await met.has_standby()
                met.silence()
                await stream.send("in between")
                assert await anext(items) == "in between"
                await met.path("tunnel", number // 100)
                met.speak()
        await stream.end()
        assert not met.caller.named("closed") and not met.target.named("closed")


async def test_a_service_is_reached_by_its_name_on_the_direct_path_and_goes_on_behind_it() -> None:
    async with meeting() as met, TcpService() as other:
        places = [Endpoint("127.0.0.1", there.port) for there in (met.service, other)]
        services = [Service(place, name) for place, name in zip(places, "ab", strict=True)]
        async with ServiceServer(services) as server, ForwardListener("127.0.0.1", 0, service="b") as listener:
            server.register(met.target._api)
            await met.path("direct")
            await met.has_standby()
            listener.peer = met.peer
            client = TcpEnd(*await asyncio.open_connection(*listener.address))
            service = await other.accept()
            assert met.peer.forwards is not None and not met.peer.forwards.is_idle
            await client.send(b"on the path")
            assert await service.read(11) == b"on the path"
            met.silence()
            await service.send(b"behind it")
            assert await client.read(9) == b"behind it"
            assert met.paths(met.caller)[-1] == "tunnel" and met.service.connections.empty()
            await client.close()
            await service.close()


async def test_connections_beyond_the_streams_of_a_path_go_in_the_session() -> None:
    async with meeting() as met:
        await met.path("direct")
        forwards: Any = met.peer.forwards
        forwards._streams._limit = 3
        pairs = [await met.dial() for _ in range(5)]
        assert forwards.connections == 3 and met.listener.traffic().open == 5
        for client, service in pairs:
            await client.send(b"there")
            assert await service.read(5) == b"there"
            await service.send(b"back")
            assert await client.read(4) == b"back"
        await pairs[0][0].close()
        await pairs[0][1].close()
        await eventually(lambda: forwards.connections == 2)
        await met.dial()
        assert forwards.connections == 3, "a free one is used"
        assert met.peer.path == "direct" and not met.caller.named("closed")


@pytest.mark.parametrize("upload", [True, False])
@pytest.mark.slow
async def test_forwards_of_before_and_during_arrive_whole(upload: bool) -> None:
    """One was opened in the tunnel, the other on the direct path; both end in the tunnel."""
    async with meeting() as met:
        pairs = [await met.dial()]
        await met.path("direct")
        await met.has_standby()
        pairs.append(await met.dial())
        seen = asyncio.Event()
        work = []
        for client, service in pairs:
            source, sink = (client, service) if upload else (service, client)
            sending = asyncio.create_task(send_digest(source, 8 * MiB))
            work.append((sending, asyncio.create_task(digest(sink, lambda total: total > 2 * MiB and seen.set()))))
        await seen.wait()
        met.silence()
        for sending, receiving in work:
            assert await receiving == await sending
        assert met.paths(met.caller)[:2] == ["direct", "tunnel"]
        assert met.server.traffic().opened == met.listener.traffic().opened == 2
        assert not met.server.traffic().failed and not met.caller.named("closed")


async def test_a_standby_is_shown_to_nobody() -> None:
    async with meeting() as met:
        await met.path("direct")
        await met.has_standby()
        await met.is_usable()
        assert len(met.target.named("accepted")) == len(met.caller.named("connected")) == 1
        assert not met.target._arrivals
        met.silence()
        await met.path("tunnel")
        await met.is_usable()
        assert len(met.target.named("accepted")) == 1 and not met.target.named("closed")


async def test_a_second_tunnel_of_the_same_peer_is_shown_all_the_same() -> None:
    """It might have been a standby: its first call, or two seconds, tell that it is none."""
    async with meeting() as met:
        await met.path("direct")
        for calls in (True, False):
            second = await met.caller.connect(met.target.me.id)
            if calls:
                assert await second.call("add", 2, 2) == 4
            shown = await asyncio.wait_for(anext(aiter(met.target.incoming())), 20)
            assert shown.id == met.caller.me.id and shown is not met.there
            await second.close()
        await met.is_usable()


@pytest.mark.slow
async def test_a_session_outlives_the_room_s_death_while_direct() -> None:
    async with meeting() as met:
        await met.path("direct")
        await met.has_standby()
        for session in list(met.at.room.server._sessions.values()):
            session.abort()
        await met.is_usable()
        await eventually(lambda: len(met.caller.named("announced")) == len(met.target.named("announced")) == 2)
        await met.has_standby()
        met.silence()
        await met.path("tunnel")
        await met.is_usable()
        assert not met.caller.named("closed") and not met.target.named("closed")


@pytest.mark.slow
async def test_without_a_way_back_it_ends_in_time_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CARRIER_SECONDS", 2.0)
    monkeypatch.setattr(limits, "SLEEP_KEPT", 0)
    async with meeting() as met:
        await met.path("direct")
        client, service = await met.dial()
        await met.is_usable()
        await met.at.room.server.close()
        met.silence()
        for peer in (met.peer, met.there):
            await asyncio.wait_for(peer.wait_closed(), 20)
            assert isinstance(peer.error, SSBError)
        for wire in (client, service):
            with pytest.raises(ConnectionError):
                await wire.read(1)
        for known in (met.caller, met.target):
            assert not paths_of(known)._by_id


@pytest.mark.parametrize("who", ["caller", "target"])
async def test_goodbye_on_the_direct_path_is_clean_and_leaves_nothing(who: str) -> None:
    async with meeting() as met:
        await met.path("direct")
        await met.has_standby()
        await (met.peer if who == "caller" else met.there).close()
        for peer in (met.peer, met.there):
            await asyncio.wait_for(peer.wait_closed(), 20)
            assert peer.error is None
        await eventually(lambda: len(met.at.room.named("tunnel_closed")) == 2)  # the standby, too


async def test_probes_may_pass_where_quic_does_not_and_people_are_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """QUIC has what is left until the decision, and not more. Only its first flight is long: it may be shorter."""
    monkeypatch.setattr(limits, "PUNCH_SECONDS", 4.0)
    monkeypatch.setattr(limits, "DECISION_SECONDS", 0.9)
    from ssbfast.direct.quic_path import DirectPath  # not above: it is not there on Python 3.10

    given: list[float] = []
    start = DirectPath.start

    def started(path: Any, udp: Any, remote: Any = None, *, within: float, rtt: float) -> None:
        if remote is not None:
            given.append(within)
        start(path, udp, remote, within=within, rtt=rtt)

    monkeypatch.setattr(DirectPath, "start", started)
    async with meeting(connect=False) as met:
        met.net.longest = 600
        await met.connect()
        await eventually(lambda: met.caller.named("path"))
        assert met.caller.named("path")[0]["path"] == "tunnel"
        assert given and max(given) <= 0.9
        met.net.longest = limits.DIRECT_DATAGRAM_LEAST
        await met.path("direct")
        await met.is_usable()


# ---------------------------------------------------------------- who is not admitted any more


async def test_who_loses_admission_loses_everything_at_once() -> None:
    """Tunnel, standby, QUIC and forwards, all within the second that a change in the graph may take to be felt."""
    keys, graph = (Keypair.generate(), Keypair.generate()), MemoryGraph()
    graph.set(keys[1].id, follows=True)
    async with meeting(keys=keys, trust=Trust(graph)) as met:
        await met.path("direct")
        await met.has_standby()
        client, service = await met.dial()
        way = met.negotiation(met.target)._path
        assert way is not None and way.path is not None and way.path.is_ready
        graph.set(keys[1].id, follows=False)
        await asyncio.wait_for(met.there.wait_closed(), 20)
        assert str(met.there.error) == "trust was withdrawn"
        assert not way.path.is_ready
        for wire in (client, service):
            with pytest.raises(ConnectionError):
                await wire.read(1)
        await asyncio.wait_for(met.peer.wait_closed(), 20)
        room = met.at.room  # C may have knocked once more, in vain
        await eventually(lambda: len(room.named("tunnel_closed")) == len(room.named("tunnel_opened")) >= 2)
        assert not paths_of(met.target)._by_id and not paths_of(met.target)._standbys


async def test_who_is_not_followed_any_more_hears_no_more_addresses_even_where_everybody_may_stay() -> None:
    keys, graph = (Keypair.generate(), Keypair.generate()), MemoryGraph()
    graph.set(keys[1].id, follows=True)
    async with meeting(keys=keys, trust=Trust(graph, policy=Policy.EVERYONE)) as met:
        await met.path("direct")
        await met.has_standby()
        graph.set(keys[1].id, follows=False)
        await eventually(lambda: not paths_of(met.target).may_meet(met.there))
        await met.is_usable()
        met.silence()
        await met.path("tunnel")
        met.speak()
        machine = met.negotiation(met.caller).carrier_transport.carriers
        await eventually(lambda: not machine._upgrades.wanted)  # it was told that there is no such call
        assert met.paths(met.caller) == ["direct", "tunnel"]
        await met.is_usable()


# ---------------------------------------------------------------- who wants none


async def test_a_peer_that_knows_nothing_of_it_is_asked_once_and_nobody_is_told() -> None:
    async with meeting(a=None) as met:
        await met.is_usable()
        machine = met.negotiation(met.caller).carrier_transport.carriers
        await eventually(lambda: not machine._upgrades.wanted)
        await asyncio.sleep(1.2)  # two pauses between upgrades
        assert machine._epoch == 1, "it was offered one path, and no other"
        assert not met.caller.named("path") and met.peer.path == "tunnel"
        await met.is_usable()


async def test_who_stays_in_the_room_sends_no_datagram() -> None:
    async with meeting(a=None, c=None) as met:
        await met.is_usable()
        await settle(200)
        assert not met.net.sent and not met.net.opened
        assert not met.caller.named("path") and not met.target.named("path")


# ---------------------------------------------------------------- memory


@pytest.mark.parametrize("says", [True, False], ids=["newer", "older"])
async def test_ends_agree_on_what_may_be_under_way(says: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An end that says nothing gets what ssbfast took before there was a word for it."""
    if not says:
        monkeypatch.setattr(signaling, "_said", lambda window: {})
    async with meeting() as met:
        await met.path("direct")
        client, service = await met.dial()
        most, takes = (limits.CARRIER_WINDOW_MAX,) * 2 if says else (limits.CARRIER_WINDOW_PLAIN, None)
        for end, forwards in ((met.caller, met.peer.forwards), (met.target, met.there.forwards)):
            negotiation = met.negotiation(end)
            assert negotiation.carrier_transport.carriers._sending.window.most == most
            assert negotiation.direct is not None and negotiation.direct.takes == takes
            assert forwards is not None
            (stream,) = forwards._live.values()
            assert stream.carried._sending.window.most == (takes or limits.FORWARD_WINDOW)
        client.reset()
        service.reset()


@pytest.mark.slow
@pytest.mark.parametrize("upload", [True, False])
async def test_a_stalled_reader_of_a_forward_costs_its_window(upload: bool) -> None:
    """On the direct path, for each stream that stands still: the sender's W and 64 KiB, the receiver's credit. Both may
    have grown while it moved."""
    async with meeting() as met:
        await met.path("direct")
        pairs = [await met.dial() for _ in range(3)]
        writers = [
            asyncio.create_task(send_digest(client if upload else service, 64 * MiB)) for client, service in pairs
        ]
        ends = [met.peer.forwards, met.there.forwards]
        reader = ends[1] if upload else ends[0]
        assert reader is not None
        received = lambda: [stream.got for stream in reader._live.values()]  # noqa: E731
        await eventually(lambda: len(received()) == 3 and min(received()) > limits.FORWARD_WINDOW)
        await still(received)
        most = 0
        for end in ends:
            assert end is not None and end._carrier is not None and end._carrier.path is not None
            credit = end._carrier.path._credit
            for number, stream in end._live.items():
                carried = stream.carried
                assert carried._receiving.got - carried._receiving.consumed <= credit.window(number[1])
                bound = carried._sending.window.size + limits.CARRIER_SLACK
                assert sum(map(len, carried._sending._chunks)) <= bound + limits.FORWARD_READ  # the first may be a rest
                most += bound
                assert sum(map(len, stream._unsent)) <= 2 * limits.FORWARD_READ
        for client in (met.caller, met.target):
            path = met.negotiation(client)._path
            assert path is not None and path.path is not None
            quic: Any = path.path._quic  # the engine's, where there is one
            held = quic._engine.figures()["unread"] if hasattr(quic, "_engine") else quic.held
            assert path.path.unsent <= most and held <= path.path._credit.whole
        await met.is_usable()  # nobody else is held up
        for writer in writers:
            writer.cancel()
        for client, service in pairs:
            client.reset()
            service.reset()


@pytest.mark.slow
async def test_a_session_that_is_not_read_costs_its_window() -> None:
    """The same for the session itself: its other end stops, and goes on when it is read again."""
    async with meeting() as met:
        await met.path("direct")
        stream = met.peer.duplex("echo")
        met.there.link.hold(met)
        size, count = 32 * KiB, 1024
        sending = asyncio.create_task(send_all(stream, size, count))
        machine = met.negotiation(met.target).carrier_transport
        await eventually(lambda: len(machine._unread) > limits.CARRIER_WINDOW // 2)
        await still(lambda: [len(machine._unread)])
        bound = limits.CARRIER_WINDOW_PLAIN + limits.CARRIER_SLACK
        assert len(machine._unread) <= bound
        assert met.negotiation(met.caller).carrier_transport.carriers.unacknowledged <= bound
        assert met.peer.path == "direct" and not sending.done()
        met.there.link.release(met)
        total = 0
        async for item in stream:
            total += len(item)
            if total == size * count:
                break
        await sending
        await stream.end()


async def send_all(stream: Any, size: int, count: int) -> None:
    for _ in range(count):
        await stream.send(bytes(size))


async def still(look: Callable[[], list[int]]) -> None:
    """Wait until numbers have stood still for a quarter of a second."""
    before: list[int] | None = None
    while before != (before := look()):
        await asyncio.sleep(0.25)

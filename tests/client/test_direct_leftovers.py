"""What peers that were let in leave behind when they stop half-way: nothing, and no offer without an answer."""

from __future__ import annotations

import asyncio
import base64
import gc
import sys
from typing import Any

import pytest

if sys.version_info < (3, 11):
    pytest.skip("aioquic needs Python 3.11: there are no direct paths", allow_module_level=True)

from ssbfast import limits
from ssbfast.client.follow_graph import MemoryGraph
from ssbfast.client.tunnel_auth import Trust
from ssbfast.direct import budgets
from ssbfast.direct.carriers import DirectCarrier
from ssbfast.direct.certificates import Credentials
from ssbfast.direct.negotiation import Negotiation
from ssbfast.direct.quic_path import DirectPath
from ssbfast.errors import RefusedError, RemoteError
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.net.peer import Peer
from ssbfast.room.tunnel_auth import Policy, Relation
from ssbfast.wire.direct import signaling
from ssbfast.wire.direct.keys import Role
from ssbfast.wire.muxrpc import CallKind
from tests.helpers.forwards import TcpEnd, TcpService
from tests.helpers.meeting import Meddler, MeetingClients, meddling, meeting, paths_of
from tests.helpers.rawpeer import eventually

OFFER = {"epoch": 1, "candidates": [], "mapping": "unknown", "birthday": False}
CONNECTION = base64.b64encode(bytes(8)).decode()


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UPGRADE_SECONDS", 0.2)
    monkeypatch.setattr(limits, "DIRECT_FAREWELL_SECONDS", 0.05)


class NoSockets:
    """In place of `UdpSocket`: a process without descriptors."""

    @staticmethod
    def open(*_args: Any) -> Any:
        raise OSError(24, "Too many open files")


async def all_closed(met: MeetingClients) -> None:
    await eventually(lambda: met.net.opened and all(udp.is_closed for udp in met.net.opened))


# ---------------------------------------------------------------- offers


async def test_an_offer_that_is_never_synchronised_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OFFER_SECONDS", 0.1)
    monkeypatch.setattr(limits, "PREPARED_SECONDS", 600.0)
    async with meeting(c=None) as met:
        assert await met.peer.call("direct.offer", OFFER, timeout=20)
        await all_closed(met)
        with pytest.raises(RemoteError, match="no such offer"):
            await met.peer.call("direct.sync", {"epoch": 1, "connection": CONNECTION}, timeout=20)
        await met.is_usable()


async def test_an_offer_is_answered_also_where_the_system_has_nothing_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """And whoever has made it goes on trying."""

    with monkeypatch.context() as patch:
        patch.setattr(budgets, "UdpSocket", NoSockets)
        async with meeting(c=None) as met:
            with pytest.raises(RemoteError, match="no UDP socket can be had"):
                await met.peer.call("direct.offer", OFFER, timeout=20)
            patch.undo()
            assert await met.peer.call("direct.offer", {**OFFER, "epoch": 2}, timeout=20)
    with monkeypatch.context() as patch:
        patch.setattr(budgets, "UdpSocket", NoSockets)
        async with meeting() as met:
            await eventually(lambda: met.caller.named("path"))
            assert met.caller.named("path")[0]["reason"] == "no UDP socket can be had"
            patch.undo()
            await met.path("direct")


@pytest.mark.parametrize("who", ["caller", "target"])
async def test_a_mistake_in_an_attempt_is_reported_and_neither_the_last_try_nor_left_without_an_answer(
    who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context.get("exception")))
    with monkeypatch.context() as patch:
        patch.setattr(*((DirectPath, "caller") if who == "caller" else (Credentials, "make")), mistaken)
        async with meeting() as met:
            await eventually(lambda: met.negotiation(met.caller).carrier_transport.carriers._epoch >= 2)
            patch.undo()
            await met.path("direct")
            await met.is_usable()
    gc.collect()
    assert told and all(isinstance(mistake, ZeroDivisionError) for mistake in told)


def mistaken(*_args: Any, **_more: Any) -> Any:
    raise ZeroDivisionError("a mistake of the test's")


class Thinking(MemoryGraph):
    """A graph that takes its time, once it is told to. asked: how often it was since."""

    def __init__(self) -> None:
        super().__init__()
        self.slow = False
        self.asked = 0

    async def relation(self, who: FeedId) -> Relation:
        if self.slow:
            self.asked += 1
            await asyncio.Event().wait()
        return await super().relation(who)


@pytest.mark.parametrize("who", ["caller", "target"])
async def test_a_session_that_ends_while_the_graph_is_asked_leaves_no_socket(who: str) -> None:
    keys, graph = (Keypair.generate(), Keypair.generate()), Thinking()
    for key in keys:
        graph.set(key.id, follows=True)
    trust = Trust(graph, policy=Policy.EVERYONE)
    async with meeting(keys=keys, connect=False, trust=trust) as met:
        if who == "caller":
            met.caller._admission, met.caller._trust = None, trust
        peer = await met.caller.connect(keys[0].id)
        graph.slow = True  # both have let each other in; nobody has heard an address yet
        await eventually(lambda: graph.asked)
        peer.link.abort()
        await peer.wait_closed()
        await all_closed(met)


async def test_a_sync_in_the_turn_of_the_session_s_end_leaves_no_socket() -> None:
    """The task that would go to meet the caller never gets to begin."""
    async with meeting(c=None) as met:
        await met.peer.call("direct.offer", OFFER, timeout=20)
        end = met.negotiation(met.target)
        reply = met.there.reply

        def replied(req: int, value: Any) -> None:
            reply(req, value)
            end.session_closed()

        met.there.reply = replied  # type: ignore[method-assign]
        assert await met.peer.call("direct.sync", {"epoch": 1, "connection": CONNECTION}, timeout=20)
        await all_closed(met)


@pytest.mark.parametrize("role", list(Role))
async def test_a_session_that_is_cut_as_its_path_comes_up_does_not_go_on_there(
    role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its link has failed and is about to say so: a path would take it over, and it would never end."""
    ready = Negotiation.path_ready

    def cut(end: Negotiation, carrier: DirectCarrier) -> None:
        if end.role is role:
            end.peer.link.fail(RefusedError("trust was withdrawn"))
        ready(end, carrier)

    monkeypatch.setattr(Negotiation, "path_ready", cut)
    async with meeting() as met:
        ends = [met.peer, met.there] if role is Role.CALLER else [met.there, met.peer]
        for peer in ends:
            await asyncio.wait_for(peer.wait_closed(), 20)
        assert str(ends[0].error) == "trust was withdrawn"
        assert not met.caller.named("path") and not met.target.named("path")
        await all_closed(met)


# ---------------------------------------------------------------- standbys


async def bare(met: MeetingClients) -> Peer:
    """Another tunnel from C to A, of which A does not know yet what it is."""
    tunnel = Peer()
    await met.caller._open_tunnel(met.caller.rooms[0], met.target.me.id, None, tunnel)
    return tunnel


async def test_a_standby_that_is_refused_is_ended_by_whom_it_was_dialled_to() -> None:
    async with meeting() as met:
        await met.path("direct")
        await met.has_standby()
        tunnel = await bare(met)
        wish = signaling.StandBy(bytes(32), 100).as_json()
        stream = tunnel.duplex(signaling.CARRIER, wish)
        with pytest.raises(RemoteError, match=signaling.NO_SUCH_SESSION):
            await anext(aiter(stream))
        await asyncio.wait_for(tunnel.wait_closed(), 20)
        assert tunnel.error is None
        await met.is_usable()


async def test_a_standby_is_over_when_what_it_is_for_is_ended() -> None:
    """Its own session, which nobody sees, would stay for ever."""
    async with meeting() as met:
        await met.path("direct")
        await met.has_standby()
        session = met.negotiation(met.target).session_id
        tunnel = await bare(met)
        stream = tunnel.open_stream(CallKind.DUPLEX, signaling.CARRIER, (signaling.StandBy(session, 100).as_json(),))
        assert await anext(aiter(stream))  # it has taken the place of the other one
        await stream.end()
        await asyncio.wait_for(tunnel.wait_closed(), 20)
        paths = paths_of(met.target)
        await eventually(lambda: all(peer.is_open for peer in paths._standbys))
        await met.is_usable()
        assert met.peer.path == "direct"


@pytest.mark.parametrize("who", ["caller", "target"])
async def test_whoever_cuts_a_session_says_so_in_the_standby(who: str) -> None:
    """Else the other end would look for a way back for `CARRIER_SECONDS`, and its programs would wait as long."""
    async with meeting() as met:
        await met.path("direct")
        await met.has_standby()
        ends = [met.peer, met.there] if who == "caller" else [met.there, met.peer]
        ends[0].link.abort()
        await asyncio.wait_for(ends[1].wait_closed(), limits.CARRIER_SECONDS / 2)
        assert str(ends[1].error) == "the other end has no such session any more"
        await eventually(lambda: not met.at.room.splices)
        await all_closed(met)
        assert not any(paths_of(client)._standbys for client in (met.caller, met.target))


# ---------------------------------------------------------------- forwarded connections


@pytest.mark.parametrize("who", ["caller", "target", "path", "client"])
@pytest.mark.slow
async def test_a_forward_that_is_cut_is_reset_at_the_service_and_never_ended(
    who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is cut, and however soon behind the first bytes: an end would say that these were all."""
    for name, seconds in {
        "SLEEP_KEPT": 0, "CARRIER_SECONDS": 0.3,
        "DOWN_SECONDS": 0.05, "DIRECT_LOST_SECONDS": 0.2, "DIRECT_PING_BUSY": 0.05,
    }.items():  # fmt: skip
        monkeypatch.setattr(limits, name, seconds)
    ends: list[str] = []
    async with meddling(lies := NoWayBack()), meeting(connect=False) as met:
        for number in range(16):
            met.peer = met.listener.peer = await met.caller.connect(met.target.me.id)
            await eventually(lambda: met.peer.path == "direct" and direct_ends(met))
            (end,) = direct_ends(met)
            lies.lies = True
            wire = TcpEnd(*await asyncio.open_connection(*met.listener.address))
            await wire.send(bytes(100))
            await asyncio.sleep(number % 8 / 2000)
            if who == "client":
                wire.reset()
            elif who == "path":
                met.silence()
            else:
                (met.peer if who == "caller" else end.peer).link.abort()
            ends.append(await end_at(met.service))
            wire.writer.transport.abort()
            met.speak()
            lies.lies = False
            for peer in (met.peer, end.peer):
                peer.link.abort()
                await peer.wait_closed()
    assert ends.count("reset") >= 4 and "end" not in ends, ends


class NoWayBack(Meddler):
    """A room that spoils every standby, while it lies."""

    lies = False

    def pass_on(self, number: int, to_target: bool, data: bytes) -> tuple[bytes, ...]:
        return () if self.lies else (data,)


def direct_ends(met: MeetingClients) -> list[Negotiation]:
    """The target's ends of sessions that are direct now."""
    found = paths_of(met.target)._by_peer
    return [end for peer, end in found.items() if peer.is_open and peer.path == "direct"]


async def end_at(service: TcpService) -> str:
    """How the service sees a connection's end, if it sees the connection at all."""
    try:
        wire = await asyncio.wait_for(service.connections.get(), 1.0)
    except asyncio.TimeoutError:
        return "never"
    try:
        await asyncio.wait_for(wire.rest(), 20)
    except ConnectionError:
        return "reset"
    finally:
        await wire.close()
    return "end"

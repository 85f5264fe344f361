"""Who hears our addresses is asked before each telling: by offer, by answer, in each attempt, after gathering."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

if sys.version_info < (3, 11):
    pytest.skip("aioquic needs Python 3.11: there are no direct paths", allow_module_level=True)

from ssbfast import limits
from ssbfast.client.follow_graph import Changed, MemoryGraph, Unwatch
from ssbfast.client.tunnel_auth import Trust
from ssbfast.direct import hole_punch
from ssbfast.direct.certificates import Credentials
from ssbfast.direct.interfaces import HostAddress
from ssbfast.direct.negotiation import Negotiation
from ssbfast.direct.options import Direct
from ssbfast.errors import GraphAwayError, RemoteError
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.room.tunnel_auth import Policy, Relation
from ssbfast.wire.direct.punch.candidates import Kind
from ssbfast.wire.direct.punch.probes import PROBE
from tests.helpers.clients import RecordingClient
from tests.helpers.meeting import HERE, MeetingClients, meeting
from tests.helpers.rawpeer import eventually, settle

NOWHERE = {"candidates": [], "mapping": "unknown", "birthday": False}
THERE = {"candidates": [{"host": "127.0.0.1", "port": 4000, "kind": "host"}]}
CONNECTION = base64.b64encode(bytes(8)).decode()


class Silent(MemoryGraph):
    """A graph that answers, and tells nobody of changes: as one does whose changes are found by looking, in between.

    away: it cannot be asked at all.
    """

    away = False

    async def relation(self, who: FeedId) -> Relation:
        if self.away:
            raise GraphAwayError("away")
        return await super().relation(who)

    def watch(self, who: FeedId, relation: Relation | None, changed: Changed) -> Unwatch:
        return lambda: None


GRAPHS = pytest.mark.parametrize("graph", [MemoryGraph, Silent], ids=["tells", "is asked"])


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UPGRADE_SECONDS", 0.3)
    monkeypatch.setattr(limits, "PUNCH_SECONDS", 0.3)
    monkeypatch.setattr(limits, "GATHER_SECONDS", 0.6)
    monkeypatch.setattr(limits, "DIRECT_FAREWELL_SECONDS", 0.1)
    monkeypatch.setattr(limits, "DIRECT_LOST_SECONDS", 0.5)
    monkeypatch.setattr(limits, "DIRECT_PING_IDLE", 0.2)


@pytest.fixture
def slow() -> Iterator[socket.socket]:
    """A reflector that takes its time: for ever."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


def by(reflector: socket.socket) -> Direct:
    return Direct(loopback=True, stun=(reflector.getsockname(),))


async def asked(reflector: socket.socket) -> None:
    """Wait until somebody gathers."""
    await asyncio.wait_for(asyncio.get_running_loop().sock_recv(reflector, 2048), 20)


def trusting(client: RecordingClient, graph: MemoryGraph) -> None:
    """Have a client let in everybody, and tell addresses to those whom it follows."""
    client._admission = None
    client._trust = Trust(graph, policy=Policy.EVERYONE)


def offers_to(met: MeetingClients, answer: Callable[[int], Any]) -> list[Any]:
    """Have A, who has no direct paths of his own, answer offers, by their number; returns what was offered so far."""
    offers: list[Any] = []

    @met.target._api.call("direct.offer")
    async def offered(_peer: Any, offer: Any) -> Any:
        offers.append(offer)
        return answer(len(offers))

    return offers


# ---------------------------------------------------------------- the caller


@GRAPHS
async def test_a_caller_asks_after_gathering(graph: type[MemoryGraph], slow: socket.socket) -> None:
    keys, known = (Keypair.generate(), Keypair.generate()), graph()
    known.set(keys[0].id, follows=True)
    async with meeting(keys=keys, a=None, c=by(slow), connect=False) as met:
        offers = offers_to(met, lambda number: None)
        trusting(met.caller, known)
        await met.connect()
        await asked(slow)
        known.set(keys[0].id, follows=False)
        await eventually(lambda: met.caller.named("path"))
        assert met.caller.named("path")[0]["reason"] == "our addresses are not told to the other end"
        await met.is_usable()
        await asyncio.sleep(1.0)  # a pause between upgrades, and more
        assert offers == []


@GRAPHS
async def test_a_caller_asks_before_each_attempt(graph: type[MemoryGraph]) -> None:
    keys, known = (Keypair.generate(), Keypair.generate()), graph()
    known.set(keys[0].id, follows=True)

    def answer(number: int) -> Any:
        if number == 2:
            known.set(keys[0].id, follows=False)
        return "nonsense"

    async with meeting(keys=keys, a=None, connect=False) as met:
        offers = offers_to(met, answer)
        trusting(met.caller, known)
        await met.connect()
        await eventually(lambda: met.caller.named("path"))
        await met.is_usable()
        await asyncio.sleep(1.0)
        assert len(offers) == 2


async def test_a_caller_asks_again_in_later_upgrades() -> None:
    """Who is followed again hears them again, where the graph is asked only."""
    keys, known = (Keypair.generate(), Keypair.generate()), Silent()
    known.set(keys[0].id, follows=True)
    async with meeting(keys=keys, connect=False) as met:
        trusting(met.caller, known)
        await met.connect()
        await met.path("direct")
        await met.has_standby()
        known.away = True  # and nobody hears anything while it cannot be asked
        met.silence()
        await met.path("tunnel")
        met.speak()
        await eventually(lambda: len(met.caller.named("path")) == 3)
        assert met.caller.named("path")[2]["reason"] == "our addresses are not told to the other end"
        known.away = False
        await met.path("direct", 2)
        await met.is_usable()


async def test_a_caller_does_not_go_to_meet_whom_it_has_just_unfollowed() -> None:
    keys, known = (Keypair.generate(), Keypair.generate()), MemoryGraph()
    known.set(keys[0].id, follows=True)

    def answer(_number: int) -> Any:
        known.set(keys[0].id, follows=False)
        certificate = base64.b64encode(Credentials.make().certificate).decode()
        return {"certificate": certificate, "took": 0, **NOWHERE, **THERE}

    async with meeting(keys=keys, a=None, connect=False) as met:
        offers = offers_to(met, answer)
        trusting(met.caller, known)
        await met.connect()
        await eventually(lambda: met.caller.named("path"))
        await met.is_usable()
        assert len(offers) == 1 and not [data for _, data in met.net.sent if len(data) == PROBE]


# ---------------------------------------------------------------- the target


@GRAPHS
async def test_a_target_asks_after_gathering(graph: type[MemoryGraph], slow: socket.socket) -> None:
    keys, known = (Keypair.generate(), Keypair.generate()), graph()
    known.set(keys[1].id, follows=True)
    async with meeting(keys=keys, a=by(slow), c=None, trust=Trust(known, policy=Policy.EVERYONE)) as met:
        offering = asyncio.create_task(met.peer.call("direct.offer", {"epoch": 1, **NOWHERE}, timeout=20))
        end = met.negotiation(met.target)
        await eventually(lambda: end._answers._offers)  # it gathers, or has begun to do so before
        known.set(keys[1].id, follows=False)
        with pytest.raises(RemoteError, match="not in list of allowed methods"):
            await offering
        assert end._answers._answered is None
        await eventually(lambda: all(udp.is_closed for udp in met.net.opened))
        await met.is_usable()


@GRAPHS
async def test_a_target_asks_at_each_offer(graph: type[MemoryGraph]) -> None:
    keys, known = (Keypair.generate(), Keypair.generate()), graph()
    known.set(keys[1].id, follows=True)
    async with meeting(keys=keys, c=None, trust=Trust(known, policy=Policy.EVERYONE)) as met:
        answer = await met.peer.call("direct.offer", {"epoch": 1, **NOWHERE}, timeout=20)
        assert answer["candidates"]
        known.set(keys[1].id, follows=False)
        await settle()
        with pytest.raises(RemoteError, match="not in list of allowed methods"):
            await met.peer.call("direct.offer", {"epoch": 2, **NOWHERE}, timeout=20)
        await met.is_usable()


async def test_a_target_does_not_go_to_meet_whom_it_has_unfollowed_since_its_answer() -> None:
    keys, known = (Keypair.generate(), Keypair.generate()), MemoryGraph()
    known.set(keys[1].id, follows=True)
    async with meeting(keys=keys, a=HERE, c=None, trust=Trust(known, policy=Policy.EVERYONE)) as met:
        await met.peer.call("direct.offer", {"epoch": 1, **NOWHERE, **THERE}, timeout=20)
        known.set(keys[1].id, follows=False)
        await settle()
        with pytest.raises(RemoteError):
            await met.peer.call("direct.sync", {"epoch": 1, "connection": CONNECTION}, timeout=20)
        await asyncio.sleep(0.2)
        assert not [data for _, data in met.net.sent if len(data) == PROBE]
        await met.is_usable()


async def test_manifests_name_the_calls_of_either_end() -> None:
    standing = {"carrier": "duplex", "continue": "duplex"}
    async with meeting() as met:
        assert (await met.peer.call("manifest"))["direct"] == {"offer": "async", "sync": "async", **standing}
        assert (await met.there.call("manifest"))["direct"] == {"want": "async", **standing}
        assert met.target._direct is not None
        met.target._direct.stay(met.there)  # C may not hear addresses any more, and of no calls for them
        assert (await met.peer.call("manifest"))["direct"] == standing


async def test_the_address_of_the_session_with_the_room_is_told_before_others(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [HostAddress(f"127.1.0.{n}", ipaddress.ip_network("127.0.0.0/8")) for n in range(1, 20)]
    here = HostAddress("127.0.0.1", ipaddress.ip_network("127.0.0.0/8"))
    monkeypatch.setattr(hole_punch, "host_addresses", lambda loopback: [*many, here])
    async with meeting(connect=False) as met:
        told: list[Any] = []
        gather = Negotiation.gather

        async def listen(negotiation: Negotiation) -> Any:
            attempt, whereabouts = await gather(negotiation)
            told.append(whereabouts)
            return attempt, whereabouts

        monkeypatch.setattr(Negotiation, "gather", listen)
        await met.connect()
        await met.path("direct")
        for whereabouts in told:
            (first, *_) = (item.host for item in whereabouts.candidates if item.kind is Kind.HOST)
            assert first == "127.0.0.1"

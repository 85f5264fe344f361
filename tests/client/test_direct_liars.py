"""What a peer that was let in, and lies, can do by means of direct paths: waste its own session's time."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.direct.options import Direct
from ssbfast.errors import RemoteError
from ssbfast.keys import Keypair
from ssbfast.net.peer import Peer
from ssbfast.room.tunnel_auth import AllowList
from ssbfast.wire.direct.keys import session_id
from ssbfast.wire.direct.punch.probes import PROBE
from tests.helpers.meeting import HERE, MeetingClients, meeting, paths_of
from tests.helpers.rawpeer import eventually, settle

NOWHERE = {"candidates": [], "mapping": "unknown", "birthday": False}
CONNECTION = base64.b64encode(bytes(8)).decode()

FORBIDDEN = [
    "224.0.0.1", "239.255.255.255", "ff02::1", "255.255.255.255", "0.0.0.0", "::", "0.1.2.3", "240.0.0.1",
    "127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "10.1.2.3", "192.168.77.1", "172.16.0.1", "fe80::1",
    "64:ff9b::1", "2002:7f00:1::", "localhost", "example.org", "1.2.3", "",
]  # fmt: skip


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UPGRADE_SECONDS", 0.5)
    monkeypatch.setattr(limits, "PUNCH_SECONDS", 0.5)
    monkeypatch.setattr(limits, "DIRECT_FAREWELL_SECONDS", 0.1)


@pytest.fixture
def victim() -> Iterator[socket.socket]:
    """Somebody else, whom nobody here has asked for anything."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


def offer(epoch: Any, **more: Any) -> dict[str, Any]:
    return {"epoch": epoch, **NOWHERE, **more}


def at(*addresses: tuple[str, int]) -> dict[str, Any]:
    return {"candidates": [{"host": host, "port": port, "kind": "host"} for host, port in addresses]}


def got_by(victim: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(victim.recv(4096))
        except BlockingIOError:
            return found


# ---------------------------------------------------------------- a lying caller


@pytest.mark.parametrize(
    "args",
    [
        (), (None,), ([],), ({},), ("x",), (1, 2), (offer(0),), (offer(-1),), (offer(2**32),), (offer(True),),
        (offer("1"),), (offer(1.0),), (offer(1, datagram=1199),), (offer(1, datagram=1401),), (offer(1, datagram="x"),),
    ],
)  # fmt: skip
@pytest.mark.slow
async def test_offers_that_are_none_are_refused(args: tuple[Any, ...]) -> None:
    async with meeting(c=None) as met:
        with pytest.raises(RemoteError):
            await met.peer.call("direct.offer", *args, timeout=20)
        await met.is_usable()
        assert met.negotiation(met.target)._answers._answered is None


async def test_epochs_rise_and_offers_are_few() -> None:
    async with meeting(c=None) as met:
        for epoch in (1, 5, 6):
            answer = await met.peer.call("direct.offer", offer(epoch), timeout=20)
            assert len(base64.b64decode(answer["certificate"])) <= limits.CERTIFICATE
            assert 0 < len(answer["candidates"]) <= limits.CANDIDATES
        for old in (6, 5, 1):
            with pytest.raises(RemoteError, match="an old epoch"):
                await met.peer.call("direct.offer", offer(old), timeout=20)
        assert limits.OFFERS == 6
        with pytest.raises(RemoteError, match="too many offers"):
            await met.peer.call("direct.offer", offer(7), timeout=20)
        # Each offer takes the place of the one before: two sockets at the most are open for it.
        answered = met.negotiation(met.target)._answers._answered
        assert answered is not None and len(answered.attempt._open_sockets()) <= 2
        await met.is_usable()


async def test_what_belongs_to_no_offer_is_refused() -> None:
    async with meeting(c=None) as met:
        for name, args in (
            ("direct.sync", {"epoch": 1, "connection": CONNECTION}),
            ("direct.sync", {"epoch": 1, "connection": "AAAA"}),
            ("direct.sync", {"epoch": 1}),
            ("direct.want", {}),
        ):
            with pytest.raises(RemoteError):
                await met.peer.call(name, args, timeout=20)
        await met.peer.call("direct.offer", offer(3), timeout=20)
        with pytest.raises(RemoteError, match="no such offer"):
            await met.peer.call("direct.sync", {"epoch": 2, "connection": CONNECTION}, timeout=20)
        with pytest.raises(RemoteError, match="no such offer"):  # one guess is all
            await met.peer.call("direct.sync", {"epoch": 3, "connection": CONNECTION}, timeout=20)
        await met.is_usable()
        assert not [data for _, data in met.net.sent if len(data) == PROBE]


@pytest.mark.parametrize("how", ["of few", "of a thousand"])
async def test_nothing_is_sent_to_where_nothing_may_be(how: str) -> None:
    """1,000 candidates, multicast, broadcast, private networks of others, names, low ports."""
    bad = [(host, 4000) for host in FORBIDDEN] + [("192.0.2.1", port) for port in (0, 53, 1023, 65536, -1)]
    groups = [bad[at : at + 8] for at in range(0, len(bad), 8)]
    if how == "of a thousand":
        groups = [[*bad[:7], *(("198.51.100.7", 2000 + n) for n in range(1000))]]
    async with meeting(a=Direct(), c=None) as met:
        for epoch, group in enumerate(groups[: limits.OFFERS], start=1):
            await met.peer.call("direct.offer", offer(epoch, **at(*group)), timeout=20)
            assert await met.peer.call("direct.sync", {"epoch": epoch, "connection": CONNECTION}, timeout=20)
            await asyncio.sleep(0.1)
        await met.is_usable()
        probed = {address for address, data in met.net.sent if len(data) == PROBE}
        assert probed <= {("198.51.100.7", 2000)}  # the eighth of the thousand, and no other


@pytest.mark.slow
async def test_a_third_party_gets_a_few_small_probes_and_nothing_else(victim: socket.socket) -> None:
    """Nobody can know that an address is not the peer's own. Who is named gets less than the liar has to send."""
    async with meeting(c=None) as met:
        name = victim.getsockname()
        await met.peer.call("direct.offer", offer(1, **at(name, name, name)), timeout=20)
        assert await met.peer.call("direct.sync", {"epoch": 1, "connection": CONNECTION}, timeout=20)
        tasks = met.negotiation(met.target)._tasks
        await eventually(lambda: not tasks)  # the attempt is over
        found = got_by(victim)
        assert 2 <= len(found) <= 40 and {len(data) for data in found} == {PROBE}
        victim.sendto(found[0], found and met.net.sent[-1][0])  # reflected, after the end: nobody is there
        await settle()
        await met.is_usable()
        assert not met.target.named("path")


@pytest.mark.slow
async def test_reflected_and_forged_probes_open_nothing(victim: socket.socket) -> None:
    """A third party that answers with what it got, or with junk, during the attempt."""
    async with meeting(c=None) as met:
        answer = await met.peer.call("direct.offer", offer(1, **at(victim.getsockname())), timeout=20)
        assert await met.peer.call("direct.sync", {"epoch": 1, "connection": CONNECTION}, timeout=20)
        ours = next(item for item in answer["candidates"] if item["host"] == "127.0.0.1")
        await eventually(lambda: met.net.to(victim.getsockname()))
        for data in got_by(victim):
            for forged in (data, b"\x21" + data[1:], os.urandom(PROBE), data[:-1], b"\xc0" + bytes(1199)):
                victim.sendto(forged, ("127.0.0.1", ours["port"]))
        tasks = met.negotiation(met.target)._tasks
        await eventually(lambda: not tasks)
        assert {len(data) for data in got_by(victim)} <= {PROBE}
        assert b"\x21" not in {data[:1] for data in met.net.to(victim.getsockname())}  # no check was answered
        await met.is_usable()


# ---------------------------------------------------------------- a lying target


def lie(met: MeetingClients, answer: Any, asked: list[Any]) -> None:
    """Have A, who has no direct paths of his own, answer offers so; an exception is raised."""

    @met.target._api.call("direct.offer")
    async def offered(_peer: Peer, offer: Any) -> Any:
        asked.append(offer)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @met.target._api.call("direct.sync")
    async def synced(_peer: Peer, _sync: Any) -> bool:
        return True


def certificate(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    "answer",
    [
        None, [], {}, {"certificate": 1}, {"certificate": "", "took": 0}, {"certificate": certificate(b"x")},
        {"certificate": certificate(b"x" * 100), "took": 0, **NOWHERE},
        {"certificate": certificate(bytes(limits.CERTIFICATE + 1)), "took": 0, **NOWHERE},
        {"certificate": certificate(b"x"), "took": -1}, {"certificate": certificate(b"x"), "took": 1e300},
        {"certificate": "not base64!", "took": 0}, RemoteError("leave me alone"),
    ],
)  # fmt: skip
async def test_answers_that_are_none_leave_the_session_where_it_is(answer: Any) -> None:
    asked: list[Any] = []
    async with meeting(a=None, connect=False) as met:
        lie(met, answer, asked)
        await met.connect()
        await eventually(lambda: met.caller.named("path"))
        (event,) = met.caller.named("path")
        assert event["path"] == "tunnel" and event["reason"]
        assert len(asked) == (1 if isinstance(answer, Exception) else limits.PUNCH_ATTEMPTS)
        assert [one["epoch"] for one in asked] == list(range(1, len(asked) + 1))
        await met.is_usable()
        assert not [data for _, data in met.net.sent if len(data) == PROBE]


async def test_a_target_that_splices_another_s_certificate_and_addresses_gains_nothing() -> None:
    """M answers C's offer with what A has said to M, and tells A what C says. A and C hear each other's names only.

    M stands between them with both sessions in hand: all that it has to do is to let them talk. But C's probes have
    the keys of C's session with M, and A's those of A's: neither answers the other, and nobody speaks QUIC.
    """
    keys = Keypair.generate(), Keypair.generate()
    m = Keypair.generate()
    async with meeting(keys=keys, connect=False, admission=AllowList([m.id])) as met:
        middle = await met.at.client(m, admission=AllowList([keys[1].id]))
        to_a = await middle.connect(keys[0].id)
        spliced: list[str] = []

        @middle._api.call("direct.offer")
        async def offered(_peer: Peer, theirs: Any) -> Any:
            spliced.append("offer")
            return await to_a.call("direct.offer", theirs, timeout=20)

        @middle._api.call("direct.sync")
        async def synced(_peer: Peer, theirs: Any) -> Any:
            spliced.append("sync")
            return await to_a.call("direct.sync", theirs, timeout=20)

        met.caller._admission = AllowList([m.id])
        peer = await met.caller.connect(m.id)
        await eventually(lambda: met.caller.named("path"))
        (event,) = met.caller.named("path")
        assert event["path"] == "tunnel" and "nothing came through" in event["reason"]
        assert spliced == ["offer", "sync"] * limits.PUNCH_ATTEMPTS
        probes = [data for _, data in met.net.sent if len(data) == PROBE]
        assert probes and {data[0] for data in probes} == {0x20}  # checks, and not one answer
        assert max(len(data) for _, data in met.net.sent) < 1200  # and no QUIC
        assert await peer.call("add", 1, 1) == 2 and await to_a.call("add", 2, 1) == 3


# ---------------------------------------------------------------- standbys and forwards of others


async def test_a_standby_needs_the_session_s_own_peer_its_name_and_a_new_epoch() -> None:
    """A second tunnel of C that pretends; and a friend M of A's, whose own session is direct, too, and who has heard
    the name of C's."""
    m = Keypair.generate()
    keys = Keypair.generate(), Keypair.generate()
    async with meeting(keys=keys, admission=AllowList([keys[1].id, m.id])) as met:
        await met.path("direct")
        await met.has_standby()
        name = base64.b64encode(session_id(met.peer.link.session.export_key)).decode()
        carriers = met.negotiation(met.target).carrier_transport.carriers
        standby = carriers._standby
        other = await met.at.client(m, direct=HERE, admission=AllowList([keys[0].id]))
        await other.connect(keys[0].id)
        await eventually(lambda: len(met.target.named("path")) == 2)
        twin = await met.at.client(keys[1], join=False)  # C's key, and nothing that gets in the way of lies
        await twin.join(met.at.address, announce=False)
        for client, session, epoch in (
            (other, name, 100),  # the right name, of somebody else
            (twin, name, 2),  # the standby's own epoch: a replay
            (twin, name, 1),
            (twin, base64.b64encode(bytes(32)).decode(), 100),
        ):
            tunnel = Peer()  # a bare one: its first call is the lie
            await client._open_tunnel(client.rooms[0], keys[0].id, None, tunnel)
            stream = tunnel.duplex("direct.carrier", {"session": session, "epoch": epoch})
            with pytest.raises(RemoteError):
                await anext(aiter(stream))
            await tunnel.close()
        stream = met.peer.duplex("direct.carrier", {"session": name, "epoch": 100})  # in the session itself
        with pytest.raises(RemoteError):
            await anext(aiter(stream))
        assert carriers._standby is standby
        await met.is_usable()
        assert met.peer.path == "direct" and met.there.is_open
        assert len(met.target.named("accepted")) == 2  # C's session and M's: who pretended was not shown


@pytest.mark.parametrize(
    "wish",
    [
        None, {}, {"epoch": 1, "stream": 4, "received": 0}, {"epoch": 1, "stream": 1, "received": 0},
        {"epoch": 1, "stream": 2**61, "received": 0}, {"epoch": 9, "stream": 4, "received": 0},
        {"epoch": 1, "stream": -4, "received": 0}, {"epoch": 1, "stream": 4, "received": 2**62},
    ],
)  # fmt: skip
async def test_forwards_that_never_were_are_not_continued(wish: Any) -> None:
    async with meeting() as met:
        await met.path("direct")
        stream = met.peer.duplex("direct.continue", wish)
        with pytest.raises(RemoteError):
            await anext(aiter(stream))
        await met.is_usable()
        assert met.server.traffic().opened == 0 and paths_of(met.target).find(met.there) is not None

"""What many lying friends can do together by means of direct paths: no flood, and no harm to an honest one."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import socket
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing, suppress
from typing import Any

import pytest

if sys.version_info < (3, 11):
    pytest.skip("aioquic needs Python 3.11: there are no direct paths", allow_module_level=True)

from ssbfast import limits
from ssbfast.client.room_client import RoomClient
from ssbfast.direct import hole_punch
from ssbfast.direct.certificates import Credentials
from ssbfast.direct.interfaces import HostAddress
from ssbfast.direct.options import Direct
from ssbfast.direct.udp import Address
from ssbfast.errors import RemoteError, SSBError
from ssbfast.keys import Keypair
from ssbfast.net.peer import Peer
from ssbfast.room.tunnel_auth import AllowList
from ssbfast.wire.direct.punch.probes import PROBE
from tests.helpers.meeting import MeetingClients, meeting
from tests.helpers.rawpeer import eventually
from tests.helpers.reflectors import claiming, reflector

CONNECTION = base64.b64encode(bytes(8)).decode()
LIARS, SESSIONS, NAMED = 10, 5, 8
IP_PKTINFO = 8


class ThirdParties:
    """One socket that gets whatever is sent to one port of any loopback address."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        sock.bind(("", 0))
        self._sock = sock
        self.port: int = sock.getsockname()[1]

    def named(self, number: int) -> list[dict[str, Any]]:
        """Eight of them, other ones for each number."""
        hosts = [f"127.1.{number}.{host}" for host in range(1, NAMED + 1)]
        return [{"host": host, "port": self.port, "kind": "host"} for host in hosts]

    def got(self) -> Counter[str]:
        """How many datagrams came to each since the last time."""
        found: Counter[str] = Counter()
        with suppress(BlockingIOError):
            while True:
                data, ancillary, _, _ = self._sock.recvmsg(2048, 64)
                (to,) = (told for level, kind, told in ancillary if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO))
                assert len(data) == PROBE
                found[socket.inet_ntoa(struct.unpack("4x4x4s", to)[0])] += 1
        return found


@pytest.fixture
def third() -> Iterator[ThirdParties]:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        yield ThirdParties(sock)


def offer(epoch: int, candidates: list[dict[str, Any]]) -> dict[str, Any]:
    return {"epoch": epoch, "candidates": candidates, "mapping": "unknown", "birthday": False}


async def lie(session: Peer, epoch: int, candidates: list[dict[str, Any]]) -> bool:
    """An offer and its SYNC; whether the target punches."""
    with suppress(SSBError):
        await session.call("direct.offer", offer(epoch, candidates), timeout=20)
        return bool(await session.call("direct.sync", {"epoch": epoch, "connection": CONNECTION}, timeout=20))
    return False


async def sessions_of(met: MeetingClients, stack: AsyncExitStack, liars: list[Keypair], each: int) -> list[Peer]:
    """So many sessions of each liar with A, whose own ends are taken from `incoming`."""
    found = []
    for key in liars:
        client = await met.at.client(key, admission=AllowList([met.target.me.id]))
        for _ in range(each):
            found.append(await client.connect(met.target.me.id))
            await anext(aiter(met.target.incoming()))
    return found


def open_sockets(met: MeetingClients) -> int:
    return sum(not udp.is_closed for udp in met.net.opened)


@pytest.mark.slow
async def test_many_friends_who_lie(third: ThirdParties) -> None:
    """50 sessions of 10 friends name 400 third parties, and more with each offer, as fast as they are let.

    All of them together get 500 probes in any second at the most, and each of them ten in all. An honest friend meets
    us directly in the midst of it.
    """
    liars = [Keypair.generate() for _ in range(LIARS)]
    keys = Keypair.generate(), Keypair.generate()
    allowed = AllowList([keys[1].id, *(key.id for key in liars)])
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack, meeting(keys=keys, connect=False, admission=allowed) as met:
        sessions = await sessions_of(met, stack, liars, SESSIONS)
        began = loop.time()
        got: list[tuple[float, Counter[str]]] = []
        punched: list[bool] = []
        most = 0

        async def keep_lying(number: int, session: Peer) -> None:
            for epoch in range(1, limits.OFFERS + 1):
                punched.append(await lie(session, epoch, third.named(number * limits.OFFERS + epoch)))
                await asyncio.sleep(0.3)

        async def watch() -> None:
            nonlocal most
            while True:
                got.append((loop.time(), third.got()))
                most = max(most, open_sockets(met))
                await asyncio.sleep(0.05)

        watching = asyncio.create_task(watch())
        lying = [asyncio.create_task(keep_lying(number, session)) for number, session in enumerate(sessions)]
        await eventually(lambda: sum(punched) >= LIARS)
        await met.connect()
        await met.path("direct")
        await asyncio.wait(lying)
        await met.is_usable()
        watching.cancel()
        seconds = loop.time() - began
        total = sum((counts for _, counts in got), third.got())
        assert len(total) >= 8 * LIARS, "they were heard"
        assert max(total.values()) <= limits.UNANSWERED_CHECKS
        assert total.total() <= limits.PROBES_PER_SECOND * (seconds + 1)
        for index, (begin, _) in enumerate(got):  # what was read within a second had two at the most to come in
            read = sum(counts.total() for when, counts in got[index + 1 :] if when <= begin + 1)
            assert read <= 2 * limits.PROBES_PER_SECOND
        assert most <= 2 * limits.ATTEMPTS_PER_KEY * LIARS + 16
        print(f"{sum(punched)} attempts, {total.total()} probes to {len(total)} addresses in {seconds:.1f} s")


def test_a_client_may_be_made_before_there_is_a_loop() -> None:
    """What it shares with others is that of the loop in which it is used."""
    assert RoomClient(Keypair.generate(), direct=Direct())._direct is not None


async def test_one_friend_s_sessions_have_one_search_together() -> None:
    """Several offers may be answered with "yes" before the first of them comes to a search."""
    async with meeting(c=None) as met:
        negotiation = met.negotiation(met.target)
        attempts = [negotiation._new_attempt() for _ in range(3)]
        assert [attempt._may_search() for attempt in attempts] == [True, False, False]


async def test_one_friend_s_sessions_have_few_offers_together(third: ThirdParties) -> None:
    """A further one takes the place of the oldest of the same key, and of nobody else's."""
    liar, other = Keypair.generate(), Keypair.generate()
    keys = Keypair.generate(), Keypair.generate()
    async with (
        AsyncExitStack() as stack,
        meeting(c=None, connect=False, keys=keys, admission=AllowList([liar.id, other.id])) as met,
    ):
        sessions = await sessions_of(met, stack, [other], 1)
        sessions += await sessions_of(met, stack, [liar], 3 * limits.ATTEMPTS_PER_KEY)
        for session in sessions:
            await session.call("direct.offer", offer(1, third.named(1)), timeout=20)
        assert open_sockets(met) <= 2 * (limits.ATTEMPTS_PER_KEY + 1)
        sync = {"epoch": 1, "connection": CONNECTION}
        first, *_, last = sessions[1:]
        with pytest.raises(RemoteError, match="no such offer"):
            await first.call("direct.sync", sync, timeout=20)
        assert await last.call("direct.sync", sync, timeout=20) is True
        assert await sessions[0].call("direct.sync", sync, timeout=20) is True


async def test_offers_without_sync_expire(third: ThirdParties, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OFFER_SECONDS", 0.2)
    async with meeting(c=None) as met:
        await met.peer.call("direct.offer", offer(1, third.named(1)), timeout=20)
        await eventually(lambda: open_sockets(met) == 0)
        with pytest.raises(RemoteError, match="no such offer"):
            await met.peer.call("direct.sync", {"epoch": 1, "connection": CONNECTION}, timeout=20)
        assert await lie(met.peer, 2, third.named(1)), "the next one is as good as the first"
        await met.is_usable()


@pytest.mark.slow
async def test_a_third_party_gets_few_probes_however_often_it_is_named(third: ThirdParties) -> None:
    """By one friend in many offers, and by another one; 16 seconds of it once were 65."""
    liars = [Keypair.generate() for _ in range(3)]
    async with (
        AsyncExitStack() as stack,
        meeting(c=None, connect=False, admission=AllowList([key.id for key in liars])) as met,
    ):
        sessions = await sessions_of(met, stack, liars, 1)
        for epoch in range(1, limits.OFFERS + 1):
            for session in sessions:
                await lie(session, epoch, third.named(7))
            await asyncio.sleep(0.1)
        tasks = [task for path in met.target._direct._by_id.values() for task in path._tasks]
        await asyncio.wait(tasks)
        got = third.got()
        assert set(got) == {item["host"] for item in third.named(7)}
        assert max(got.values()) <= limits.UNANSWERED_CHECKS


@pytest.mark.slow
async def test_a_room_that_lies_of_where_we_are(third: ThirdParties, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has two ports, answers each request four times, and names others each time: one of them gets a few probes."""
    monkeypatch.setattr(hole_punch, "host_addresses", lambda loopback: [])
    monkeypatch.setattr(limits, "PUNCH_SECONDS", 1.0)
    lies = [(item["host"], third.port) for item in third.named(9)]
    room = "127.0.0.2"
    async with reflector(claiming(*lies[:4]), room) as one, reflector(claiming(*lies[4:]), room) as two:
        told = Direct(loopback=True, stun=(one.address, two.address))
        async with meeting(a=told, c=told) as met:
            event = await met.caller.told("path")
            assert event["path"] == "tunnel" and one.asked and two.asked
            await met.is_usable()
            got = third.got()
    assert set(got) == {lies[0][0]}
    assert got.total() <= limits.UNANSWERED_CHECKS


PRIVATE = ["10.1.2.3", "172.16.0.9", "192.168.77.1", "100.64.0.1", "169.254.169.254", "169.254.7.7", "fd12::1"]
SEEN = ("203.0.113.7", 4567)
LAN = HostAddress("192.168.1.5", ipaddress.ip_network("192.168.1.0/24"))


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """We are on a LAN, and a reflector sees us at a public address."""

    async def tells(*_: object) -> Address:
        return SEEN

    monkeypatch.setattr(hole_punch, "host_addresses", lambda loopback: [LAN])
    monkeypatch.setattr(hole_punch, "reflexive", tells)
    monkeypatch.setattr(limits, "PUNCH_SECONDS", 0.3)
    monkeypatch.setattr(limits, "PUNCH_GRACE", 0.0)


def repeating() -> dict[str, Any]:
    """Our own reflexive address, as any friend knows it, and private ones."""
    theirs = offer(1, [{"host": SEEN[0], "port": SEEN[1], "kind": "reflexive"}])
    theirs["candidates"] += [{"host": host, "port": 5000, "kind": "host"} for host in PRIVATE]
    return theirs


def probed(met: MeetingClients) -> set[str]:
    return {host for (host, _), data in met.net.sent if len(data) == PROBE}


@pytest.mark.usefixtures("at_home")
@pytest.mark.slow
async def test_a_caller_who_repeats_our_own_address_has_us_probe_no_private_network() -> None:
    async with meeting(a=Direct(stun=(("198.51.100.9", 3478),)), c=None) as met:
        answer = await met.peer.call("direct.offer", repeating(), timeout=20)
        assert {"host": SEEN[0], "port": SEEN[1], "kind": "reflexive"} in answer["candidates"]
        assert await met.peer.call("direct.sync", {"epoch": 1, "connection": CONNECTION}, timeout=20)
        await eventually(lambda: not met.negotiation(met.target)._tasks)
        assert probed(met) == {SEEN[0]}
        await met.is_usable()


@pytest.mark.usefixtures("at_home")
async def test_a_target_who_repeats_our_own_address_has_us_probe_no_private_network() -> None:
    async with meeting(a=None, c=Direct(stun=(("198.51.100.9", 3478),)), connect=False) as met:

        @met.target._api.call("direct.offer")
        async def offered(_peer: Peer, _offer: Any) -> Any:
            certificate = base64.b64encode(Credentials.make().certificate).decode()
            return {"certificate": certificate, "took": 0, **repeating()}

        @met.target._api.call("direct.sync")
        async def synced(_peer: Peer, _sync: Any) -> bool:
            return True

        await met.connect()
        await met.caller.told("path")
        assert probed(met) == {SEEN[0]}
        await met.is_usable()

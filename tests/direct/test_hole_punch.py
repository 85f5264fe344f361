"""Attempts on real sockets of this machine: gathering, both roles, the hand-over, and every way to end."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import psutil
import pytest
from aioice import stun

from ssbfast import limits
from ssbfast.direct import hole_punch
from ssbfast.direct.hole_punch import Attempt, Punched
from ssbfast.direct.interfaces import HostAddress
from ssbfast.direct.udp import Address, UdpSocket
from ssbfast.errors import LocalProtocolError, PunchError
from ssbfast.wire.direct.keys import DirectKeys, Role
from ssbfast.wire.direct.punch.candidates import Candidate, Candidates, Kind, NatMapping, admit, parse_whereabouts
from ssbfast.wire.direct.punch.probes import Probe, ProbeKind, Probes
from tests.helpers.reflectors import claiming, reflector, silent, success

EXPORT_KEY = bytes(range(32))
CALLER = DirectKeys.derive(EXPORT_KEY, Role.CALLER, 1)
TARGET = DirectKeys.derive(EXPORT_KEY, Role.TARGET, 1)
CONNECTION = b"eight by"
INITIAL = b"\xc0\0\0\0\1\x08" + CONNECTION + b"and the rest"
SEEN = ("198.51.100.7", 4567)
SEEN_TOO = ("198.51.100.7", 4568)


class Path:
    """The target's path, as far as an attempt knows it."""

    def __init__(self) -> None:
        self.allowed: list[Address] = []
        self.came: list[tuple[bytes, Address]] = []
        self.batches = 0

    def allow(self, address: Address) -> None:
        self.allowed.append(address)

    def datagram(self, data: bytes, source: Address) -> None:
        self.came.append((data, source))

    def batch_done(self) -> None:
        self.batches += 1


class Wire:
    """A peer of which a test moves every datagram itself."""

    def __init__(self, keys: DirectKeys, host: str = "127.0.0.1") -> None:
        self.udp = UdpSocket.open(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
        self.probes = Probes(keys)
        self.came: asyncio.Queue[tuple[bytes, Address]] = asyncio.Queue()
        self.udp.probes = lambda data, source: self.came.put_nowait((data, source))

    @property
    def whereabouts(self) -> Candidates:
        return Candidates((Candidate(*self.udp.local, Kind.HOST),))

    async def check(self) -> tuple[bytes, Address]:
        """The next check that comes: its token and source."""
        while True:
            data, source = await self.came.get()
            probe = self.probes.open(data)
            assert probe is not None
            if probe.kind is ProbeKind.CHECK:
                return probe.token, source


@pytest.fixture
async def attempts() -> AsyncIterator[tuple[Attempt, Attempt]]:
    """Caller and target; whatever they hand over is closed as well."""
    before = psutil.Process().num_fds()
    both = Attempt(loopback=True), Attempt(loopback=True)
    yield both
    for attempt in both:
        attempt.close()
        for udp in attempt._sockets:
            if udp is not None:
                udp.close()
    await asyncio.sleep(0)
    assert psutil.Process().num_fds() == before, "no descriptor is left"


@pytest.fixture
async def far() -> AsyncIterator[Wire]:
    wire = Wire(TARGET)
    yield wire
    wire.udp.close()


def only(ours: Candidates, host: str) -> Candidates:
    """As said over the wire, with the addresses of one kind."""
    said = parse_whereabouts(ours.as_json())
    return Candidates(tuple(item for item in said.candidates if item.host == host), said.mapping, said.birthday)


async def connect(caller: Attempt, target: Attempt, host: str = "127.0.0.1") -> tuple[Punched, Punched]:
    from_caller, from_target = await asyncio.gather(caller.gather(), target.gather())
    listening = asyncio.create_task(target.punch(TARGET, only(from_caller, host), connection=CONNECTION))
    one = await caller.punch(CALLER, only(from_target, host), 0.001)
    one.udp.send(INITIAL, one.remote)
    return one, await listening


# ---------------------------------------------------------------- both roles


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_the_caller_chooses_and_the_target_hears_of_it(attempts: tuple[Attempt, Attempt], host: str) -> None:
    caller, target = attempts
    one, two = await connect(caller, target, host)
    assert one.remote == (host, two.udp.local[1]) and two.remote == (host, one.udp.local[1])
    assert one.rtt is not None and one.rtt >= 0
    assert [udp.is_closed for udp in caller._sockets if udp not in (None, one.udp)] == [True]
    assert [udp.is_closed for udp in target._sockets if udp not in (None, two.udp)] == [True]
    path = Path()
    two.udp.quic = path
    target.hand_to(path)
    assert path.came == [(INITIAL, two.remote)] and path.batches == 1
    assert path.allowed == [two.remote]


async def test_only_who_is_proven_on_the_path_may_speak_on_it(attempts: tuple[Attempt, Attempt]) -> None:
    caller, target = attempts
    await asyncio.gather(caller.gather(), target.gather())
    four, six = Wire(CALLER), Wire(CALLER, "::1")
    both = Candidates((*four.whereabouts.candidates, *six.whereabouts.candidates))
    listening = asyncio.create_task(target.punch(TARGET, both, connection=CONNECTION))
    for wire in (four, six):
        _, source = await wire.check()
        wire.udp.send(wire.probes.check(bytes(12)), source)
        while wire.probes.open((await wire.came.get())[0]) != Probe(ProbeKind.ANSWER, bytes(12)):
            pass
    four.udp.send(INITIAL, ("127.0.0.1", next(udp for udp in target._sockets if udp is not None).local[1]))
    assert (await listening).remote == four.udp.local
    path = Path()
    target.hand_to(path)
    assert path.allowed == [four.udp.local]
    four.udp.close()
    six.udp.close()


async def test_the_socket_is_given_away(attempts: tuple[Attempt, Attempt]) -> None:
    caller, target = attempts
    one, two = await connect(caller, target)
    path = Path()
    two.udp.quic = path
    caller.close()
    target.close()
    assert not one.udp.is_closed and not two.udp.is_closed
    assert two.udp.quic is path and two.udp.probes is None and one.udp.probes is None
    one.udp.send(INITIAL, one.remote)
    while not path.came:
        await asyncio.sleep(0.001)


async def test_a_doorbell_does_not_outlive_its_attempt(attempts: tuple[Attempt, Attempt]) -> None:
    caller, target = attempts
    _, two = await connect(caller, target)
    target.close()
    assert two.udp.quic is None


async def test_who_has_a_path_still_answers(attempts: tuple[Attempt, Attempt], far: Wire) -> None:
    """And what comes from there may be QUIC from now on."""
    caller, target = attempts
    one, two = await connect(caller, target)
    path = Path()
    target.hand_to(path)
    late = Wire(CALLER)
    to_target = "127.0.0.1", two.udp.local[1]
    late.udp.send(late.probes.check(bytes(12)), to_target)
    assert await late.came.get() == (Probes(TARGET).answer(bytes(12)), to_target)
    assert path.allowed == [two.remote, late.udp.local]
    to_caller = "127.0.0.1", one.udp.local[1]
    far.udp.send(far.probes.check(bytes(12)), to_caller)
    assert await far.came.get() == (Probes(CALLER).answer(bytes(12)), to_caller)
    late.udp.close()


@pytest.mark.parametrize(
    "data",
    [
        b"\x40" + INITIAL[1:],
        INITIAL.replace(CONNECTION, b"other id"),
        INITIAL.replace(b"\x08" + CONNECTION, b"\x07" + CONNECTION),
        INITIAL[:10],
        b"\xc0",
    ],
    ids=["short header", "other connection", "other length", "cut", "one byte"],
)
async def test_what_does_not_choose_a_path(attempts: tuple[Attempt, Attempt], data: bytes) -> None:
    _, target = attempts
    ours = only(await target.gather(), "127.0.0.1").candidates[0].address
    near = Wire(CALLER)
    listening = asyncio.create_task(target.punch(TARGET, near.whereabouts, connection=CONNECTION))
    await near.check()
    near.udp.send(INITIAL, ours)  # right, but no authentic probe has come from there yet
    near.udp.send(near.probes.check(bytes(12)), ours)
    near.udp.send(data, ours)
    near.udp.send(near.probes.check(b"a second one"), ours)
    answers = set()
    while len(answers) < 2:
        probe = near.probes.open((await near.came.get())[0])
        assert probe is not None
        if probe.kind is ProbeKind.ANSWER:
            answers.add(probe.token)
    assert not listening.done() and target._early == []
    near.udp.send(INITIAL, ours)
    assert (await listening).remote == near.udp.local
    near.udp.close()


async def test_early_datagrams_are_bounded(attempts: tuple[Attempt, Attempt]) -> None:
    caller, target = attempts
    one, _ = await connect(caller, target)
    for number in range(3 * limits.UDP_BATCH):
        target._on_early_quic(target._winner or 0, b"%d" % number, one.udp.local)
    assert len(target._early) == limits.UDP_BATCH


async def test_nothing_leaves_before_the_start(attempts: tuple[Attempt, Attempt], far: Wire) -> None:
    caller, _ = attempts
    ours = only(await caller.gather(), "127.0.0.1").candidates[0].address
    calling = asyncio.create_task(caller.punch(CALLER, far.whereabouts, 3600.0))
    await asyncio.sleep(0.05)
    assert far.came.empty()
    far.udp.send(far.probes.check(bytes(12)), ours)
    token, source = await far.check()
    far.udp.send(far.probes.answer(token), source)
    assert (await calling).remote == far.udp.local


# ---------------------------------------------------------------- gathering


async def gathered(*reflectors: Address) -> Candidates:
    attempt = Attempt(reflectors, loopback=True)
    try:
        return await attempt.gather()
    finally:
        attempt.close()


@pytest.mark.parametrize(
    ("one", "two", "mapping", "ports"),
    [
        ([SEEN], [SEEN], NatMapping.EASY, [4567]),
        ([SEEN], [SEEN_TOO], NatMapping.HARD, [4567]),
        ([SEEN], [], NatMapping.UNKNOWN, [4567]),
        ([], [], NatMapping.UNKNOWN, []),
        ([("127.0.0.1", 4567)], [("127.0.0.1", 4567)], NatMapping.EASY, []),  # a reflector that names itself
        ([("198.51.100.7", 53)], [SEEN], NatMapping.HARD, [4567]),
        ([("224.0.0.1", 4567)], [("0.0.0.0", 4567)], NatMapping.HARD, []),
    ],
)
async def test_what_reflectors_say(
    one: list[Address],
    two: list[Address],
    mapping: NatMapping,
    ports: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "GATHER_SECONDS", 0.05)
    async with reflector(claiming(*one)) as first, reflector(claiming(*two)) as second:
        ours = await gathered(first.address, second.address)
    assert ours.mapping is mapping
    assert [item.port for item in ours.candidates if item.kind is Kind.REFLEXIVE] == ports
    assert "127.0.0.1" in [item.host for item in ours.candidates if item.kind is Kind.HOST]


@pytest.mark.parametrize("version", [4, 6])
async def test_one_address_a_reflector_and_family(version: int) -> None:
    """Whoever has many ports, and answers each request many times, names one third party."""
    loopback, third = ("127.0.0.1", "198.51.100.7") if version == 4 else ("::1", "2600::7")
    async with AsyncExitStack() as stack:
        lies = [
            claiming(*((third[:-1] + str(number), 5000 + 10 * port + number) for number in range(2, 9)))
            for port in range(4)
        ]
        ports = [await stack.enter_async_context(reflector(lie, loopback)) for lie in lies]
        ours = await gathered(*[one.address for one in ports])
        assert len([item for item in ours.candidates if item.kind is Kind.REFLEXIVE]) == 1


async def test_each_reflector_counts_once() -> None:
    """Rooms that disagree are all told: one of them may be right."""
    async with AsyncExitStack() as stack:
        hosts = ("127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.3")
        lies = [(f"198.51.100.{number}", 5000 + number) for number in range(4)]
        made = [
            await stack.enter_async_context(reflector(claiming(lie), host))
            for lie, host in zip(lies, hosts, strict=True)
        ]
        ours = await gathered(*[one.address for one in made])
        said = [item.address for item in ours.candidates if item.kind is Kind.REFLEXIVE]
        assert said == [lies[0], lies[2], lies[3]]


@pytest.mark.parametrize("lie", ["10.0.0.9", "192.168.1.1", "100.64.0.9", "169.254.169.254", "169.254.7.7"])
async def test_a_room_outside_cannot_open_private_networks(lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that it sees us at a private address, and a friend names others: a room and a friend may be in league."""
    lan = HostAddress("192.168.1.5", ipaddress.ip_network("192.168.1.0/24"))
    monkeypatch.setattr(hole_punch, "host_addresses", lambda loopback: [lan])
    async with reflector(claiming((lie, 5000))) as server:
        attempt = Attempt([server.address], loopback=True)
        ours = await attempt.gather()
    assert lie not in {item.host for item in ours.candidates}
    around = attempt._surroundings()
    attempt.close()
    assert around.reflexive == frozenset()
    named = Candidates(tuple(Candidate(host, 5000, Kind.HOST) for host in ("10.0.0.1", "192.168.2.1", "192.168.1.77")))
    assert [item.host for item in admit(named, around)] == ["192.168.1.77"]


@pytest.mark.parametrize(("seen", "routed"), [("10.9.9.9", True), ("203.0.113.7", False)])
async def test_a_routed_private_network(seen: str, routed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The room is inside of it, and sees us at a private address: others of it can be reached."""
    campus = HostAddress("10.1.2.3", ipaddress.ip_network("10.1.2.0/24"))
    monkeypatch.setattr(hole_punch, "host_addresses", lambda loopback: [campus])

    async def tells(udp: UdpSocket, server: Address, seconds: float) -> Address:
        return seen, 5000

    monkeypatch.setattr(hole_punch, "reflexive", tells)
    attempt = Attempt([("10.0.0.53", 8008)])
    await attempt.gather()
    around = attempt._surroundings()
    attempt.close()
    named = Candidates(tuple(Candidate(host, 5000, Kind.HOST) for host in ("10.7.7.7", "10.1.2.9", "169.254.169.254")))
    assert [item.host for item in admit(named, around)] == (["10.7.7.7", "10.1.2.9"] if routed else ["10.1.2.9"])


async def test_who_has_no_nat_is_not_named_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    public = HostAddress(SEEN[0], ipaddress.ip_network("198.51.100.0/24"))
    monkeypatch.setattr(hole_punch, "host_addresses", lambda loopback: [public])

    def unchanged(request: stun.Message, source: Address) -> list[bytes]:
        return [success(request, (SEEN[0], source[1]))]

    async with reflector(unchanged) as server:
        ours = await gathered(server.address)
    assert [(item.host, item.kind) for item in ours.candidates] == [(SEEN[0], Kind.HOST)]


async def test_each_family_has_its_reflectors() -> None:
    async with reflector(claiming(SEEN)) as four, reflector(claiming(("2600::7", 4567)), host="::1") as six:
        ours = await gathered(four.address, six.address, ("junk", 3478))
    assert [item.host for item in ours.candidates[:2]] == ["198.51.100.7", "2600::7"]
    assert ours.mapping is NatMapping.UNKNOWN


async def test_bridges_of_containers_do_not_crowd_out_where_we_speak_from(monkeypatch: pytest.MonkeyPatch) -> None:
    bridges = [HostAddress(f"172.{17 + n}.0.1", ipaddress.ip_network(f"172.{17 + n}.0.0/16")) for n in range(12)]
    v6 = [HostAddress(f"fd00:{n}::1", ipaddress.ip_network(f"fd00:{n}::/64")) for n in range(1, 13)]
    lan = HostAddress("192.168.1.5", ipaddress.ip_network("192.168.1.0/24"))
    monkeypatch.setattr(hole_punch, "host_addresses", lambda loopback: [*bridges, *v6, lan])
    attempt = Attempt(used=["192.168.1.5", "fe80::1%eth0"])
    ours = await attempt.gather()
    assert next(item.host for item in ours.candidates) == "192.168.1.5"
    assert len(ours.candidates) == limits.CANDIDATES
    assert len(attempt._surroundings().subnets) == 25  # where peers may be found is another matter
    attempt.close()


async def test_few_reflectors_are_asked() -> None:
    async with AsyncExitStack() as stack:
        hosts = ["127.0.0.1"] * 3 + [f"127.0.0.{number}" for number in range(2, 7)]
        asked = [await stack.enter_async_context(reflector(claiming(SEEN), host)) for host in hosts]
        await gathered(*[one.address for one in asked for _ in range(3)])
        assert [len(one.asked) for one in asked] == [1, 0, 0, 1, 1, 1, 0, 0]


async def test_a_room_of_many_ports_does_not_crowd_out_others() -> None:
    async with AsyncExitStack() as stack:
        many = [await stack.enter_async_context(reflector(claiming(SEEN))) for _ in range(4)]
        other = await stack.enter_async_context(reflector(claiming(SEEN_TOO), "127.0.0.2"))
        await gathered(*[one.address for one in (*many, other)])
        assert [len(one.asked) for one in (*many, other)] == [1, 1, 0, 0, 1]


async def test_addresses_are_at_most_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [HostAddress(f"172.17.{number}.1", ipaddress.ip_network("172.17.0.0/16")) for number in range(50)]
    monkeypatch.setattr(hole_punch, "host_addresses", lambda loopback: many)
    async with reflector(claiming(SEEN)) as server:
        ours = await gathered(server.address)
    assert len(ours.candidates) == limits.CANDIDATES
    assert ours.candidates[0].address == SEEN
    assert parse_whereabouts(ours.as_json()) == ours


async def test_a_silent_reflector_costs_what_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all answers there it goes on at once: with an hour to wait this test would not end."""
    monkeypatch.setattr(limits, "GATHER_SECONDS", 3600.0)
    async with reflector(claiming(SEEN)) as server:
        await gathered(server.address)
    monkeypatch.setattr(limits, "GATHER_SECONDS", 0.02)
    async with reflector(silent) as server:
        assert not (await gathered(server.address)).reflexive()


# ---------------------------------------------------------------- birthday


async def test_the_hard_side_of_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opens its sockets, and the one that is met becomes the path; all others are closed."""
    monkeypatch.setattr(limits, "BIRTHDAY_SECONDS", 30.0)
    monkeypatch.setattr(limits, "BIRTHDAY_OPENING", 0.01)
    before = psutil.Process().num_fds()
    async with reflector(claiming(SEEN)) as one, reflector(claiming(SEEN_TOO)) as two:
        attempt = Attempt([one.address, two.address], loopback=True, birthday=True)
        await attempt.gather()
    far = Wire(TARGET)
    monkeypatch.setattr(attempt, "_reflectors", [])  # else 127.0.0.1 were one, and no place for a peer
    easy = Candidates((Candidate(*far.udp.local, Kind.REFLEXIVE),), NatMapping.EASY, True)
    calling = asyncio.create_task(attempt.punch(CALLER, easy))
    sources = set()
    while len(sources) <= limits.BIRTHDAY_SOCKETS:  # those of the search, and the one of ordinary checks
        token, source = await far.check()
        sources.add(source)
    far.udp.send(far.probes.check(bytes(12)), source)
    while True:
        token, again = await far.check()
        if again == source:
            break
    far.udp.send(far.probes.answer(token), source)
    punched = await calling
    assert punched.udp.local[1] == source[1]
    assert sum(udp is not None and not udp.is_closed for udp in attempt._sockets) == 1
    attempt.close()
    punched.udp.close()
    far.udp.close()
    assert psutil.Process().num_fds() == before


async def test_the_easy_side_of_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BIRTHDAY_SECONDS", 0.4)
    monkeypatch.setattr(limits, "BIRTHDAY_DELAY", 0.0)
    async with reflector(claiming(SEEN)) as one, reflector(claiming(SEEN)) as two:
        attempt = Attempt([one.address, two.address], loopback=True, birthday=True)
        await attempt.gather()
    monkeypatch.setattr(attempt, "_reflectors", [])
    went: list[Address] = []
    monkeypatch.setattr(UdpSocket, "send", lambda self, data, to: went.append(to) or True)
    hard = Candidates((Candidate("127.0.0.1", 5000, Kind.REFLEXIVE),), NatMapping.HARD, True)
    with pytest.raises(PunchError):
        await attempt.punch(CALLER, hard)
    assert {host for host, _ in went} == {"127.0.0.1"}
    assert 20 < len({port for _, port in went}) <= limits.PROBES_PER_SECOND


@pytest.mark.slow
async def test_why_there_was_no_search_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PUNCH_SECONDS", 0.05)
    hard = Candidates((Candidate("127.0.0.1", 5000, Kind.REFLEXIVE),), NatMapping.HARD, True)
    for birthday, told in ((True, "; no birthday search: one reflector cannot tell a symmetric NAT"), (False, "")):
        async with reflector(claiming(SEEN)) as one:
            attempt = Attempt([one.address], loopback=True, birthday=birthday)
            await attempt.gather()
        with pytest.raises(PunchError) as caught:
            await attempt.punch(CALLER, hard)
        assert str(caught.value) == f"no direct path: nothing came through{told}"


# ---------------------------------------------------------------- ends


@pytest.mark.slow
async def test_nobody_there(attempts: tuple[Attempt, Attempt], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PUNCH_SECONDS", 0.05)
    caller, _ = attempts
    await caller.gather()
    with pytest.raises(PunchError, match="no direct path: nothing came through"):
        await caller.punch(CALLER, Candidates())
    assert all(udp is not None and udp.is_closed for udp in caller._sockets)


async def test_cancelled(attempts: tuple[Attempt, Attempt], far: Wire) -> None:
    caller, _ = attempts
    await caller.gather()
    calling = asyncio.create_task(caller.punch(CALLER, far.whereabouts))
    await far.check()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert all(udp is not None and udp.is_closed for udp in caller._sockets)


async def test_closed_meanwhile(attempts: tuple[Attempt, Attempt], far: Wire) -> None:
    caller, _ = attempts
    await caller.gather()
    calling = asyncio.create_task(caller.punch(CALLER, far.whereabouts))
    await far.check()
    caller.close()
    caller.close()
    with pytest.raises(PunchError, match="given up"):
        await calling


async def test_cancelled_while_gathering(attempts: tuple[Attempt, Attempt]) -> None:
    async with reflector(silent) as server:
        attempt = Attempt([server.address], loopback=True)
        gathering = asyncio.create_task(attempt.gather())
        await server.was_asked.wait()
        gathering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gathering
        attempt.close()


@pytest.mark.slow
async def test_calls_out_of_order(attempts: tuple[Attempt, Attempt], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PUNCH_SECONDS", 0.02)
    caller, target = attempts
    with pytest.raises(LocalProtocolError):
        await caller.punch(CALLER, Candidates())
    await caller.gather()
    with pytest.raises(LocalProtocolError):
        await caller.gather()
    with pytest.raises(PunchError):
        await caller.punch(CALLER, Candidates())
    with pytest.raises(LocalProtocolError):
        await caller.punch(CALLER, Candidates())
    target.close()
    with pytest.raises(LocalProtocolError):
        await target.gather()


async def test_no_socket_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> UdpSocket:
        raise OSError(24, os.strerror(24))

    monkeypatch.setattr(UdpSocket, "open", refuse)
    attempt = Attempt(loopback=True)
    with pytest.raises(PunchError, match="no UDP socket"):
        await attempt.gather()
    attempt.close()

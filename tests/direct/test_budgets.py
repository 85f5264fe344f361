"""What attempts share: places, sockets and the pace, on real sockets of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import psutil
import pytest

from ssbfast import limits
from ssbfast.direct import budgets, interfaces
from ssbfast.direct.budgets import Resources
from ssbfast.direct.gathering import NextAttempt
from ssbfast.direct.hole_punch import Attempt
from ssbfast.direct.udp import Address, UdpSocket
from ssbfast.errors import PunchError
from ssbfast.wire.direct.keys import DirectKeys, Role
from ssbfast.wire.direct.punch.candidates import Candidate, Candidates, Kind, NatMapping, Surroundings, may_send
from tests.helpers.rawpeer import eventually
from tests.helpers.reflectors import claiming, reflector

CALLER = DirectKeys.derive(bytes(range(32)), Role.CALLER, 1)
ONE, TWO, THREE = b"one", b"two", b"three"

Make = Callable[..., Awaitable[Attempt]]


@pytest.fixture
async def shared() -> AsyncIterator[Resources]:
    """Fresh ones. At the end nothing is held any more."""
    before = psutil.Process().num_fds()
    found = Resources()
    yield found
    assert (found.attempts.total, found.sockets.total) == (0, 0)
    assert psutil.Process().num_fds() == before, "no descriptor is left"


@pytest.fixture
async def make(shared: Resources) -> AsyncIterator[Make]:
    """Makes attempts that have gathered; closes them at the end."""
    made: list[Attempt] = []

    async def one(key: bytes = ONE, *, spare: bool = False) -> Attempt:
        made.append(Attempt(key=key, resources=shared, loopback=True))
        await made[-1].gather(spare=spare)
        return made[-1]

    yield one
    for attempt in made:
        attempt.close()


def here(*ports: int) -> Candidates:
    return Candidates(tuple(Candidate("127.0.0.1", port, Kind.HOST) for port in ports))


# ---------------------------------------------------------------- places


async def test_an_offer_expires(shared: Resources, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OFFER_SECONDS", 0.05)
    attempts = [await make(key) for key in (ONE, TWO)]
    assert shared.sockets.total == 4
    await eventually(lambda: all(attempt.is_closed for attempt in attempts))
    assert (shared.attempts.total, shared.sockets.total) == (0, 0)
    with pytest.raises(PunchError, match="given up"):
        await attempts[0].punch(CALLER, here())


async def test_what_punches_does_not_expire(shared: Resources, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OFFER_SECONDS", 0.02)
    attempt = await make()
    with pytest.raises(PunchError, match="nothing came through"):
        await attempt.punch(CALLER, here(), seconds=0.1)
    assert attempt.is_closed and shared.sockets.total == 0


async def test_one_peer_s_further_attempt_takes_the_place_of_its_oldest(shared: Resources, make: Make) -> None:
    other = await make(TWO)
    attempts = [await make() for _ in range(50)]
    assert [attempt.is_closed for attempt in attempts] == [True] * 46 + [False] * limits.ATTEMPTS_PER_KEY
    assert not other.is_closed
    assert shared.sockets.total == 2 * (limits.ATTEMPTS_PER_KEY + 1)


async def test_one_peer_cannot_have_more_than_its_attempts(shared: Resources, make: Make) -> None:
    attempts = [await make() for _ in range(limits.ATTEMPTS_PER_KEY)]
    punching = [asyncio.create_task(attempt.punch(CALLER, here(), 3600.0)) for attempt in attempts]
    await asyncio.sleep(0)
    with pytest.raises(PunchError, match="too many attempts"):
        await make()
    await make(TWO)
    for task in punching:
        task.cancel()
    await asyncio.wait(punching)
    await make()


async def test_the_greediest_loses_when_all_places_are_taken(shared: Resources, make: Make) -> None:
    for number in range(limits.ATTEMPTS // limits.ATTEMPTS_PER_KEY):
        for _ in range(limits.ATTEMPTS_PER_KEY):
            await make(bytes([number]))
    assert shared.attempts.total == limits.ATTEMPTS
    newcomer = await make(b"newcomer")
    assert not newcomer.is_closed and shared.attempts.total == limits.ATTEMPTS
    assert shared.sockets.total <= 2 * limits.ATTEMPTS


async def test_given_up_while_it_gathers(shared: Resources, make: Make) -> None:
    async with reflector(lambda request, source: []) as server:
        attempt = Attempt([server.address], key=ONE, resources=shared, loopback=True)
        gathering = asyncio.create_task(attempt.gather())
        await server.was_asked.wait()
        for _ in range(limits.ATTEMPTS_PER_KEY):
            await make()
        assert attempt.is_closed
        with pytest.raises(PunchError, match="given up"):
            await gathering


async def test_what_is_prepared_is_given_up_first(shared: Resources, make: Make) -> None:
    """And its owner makes another one, when it is wanted."""
    made: list[Attempt] = []

    def fresh() -> Attempt:
        made.append(Attempt(key=ONE, resources=shared, loopback=True))
        return made[-1]

    preparation = NextAttempt(fresh)
    preparation.begin()
    await eventually(lambda: shared.sockets.total == 2)
    for _ in range(limits.ATTEMPTS_PER_KEY):
        await make()
    assert made[0].is_closed
    attempt, ours = await preparation.take()
    assert attempt is made[1] and not attempt.is_closed and ours.candidates
    preparation.begin()
    await asyncio.sleep(0)  # no place for what nobody waits for
    assert made[2].is_closed and shared.attempts.held(ONE) == limits.ATTEMPTS_PER_KEY
    preparation.close()
    attempt.close()


async def test_what_was_prepared_has_its_own_time_once_it_is_wanted(shared: Resources, make: Make) -> None:
    preparation = NextAttempt(lambda: Attempt(key=ONE, resources=shared, loopback=True))
    preparation.begin()
    await eventually(lambda: shared.sockets.total == 2)
    wanted = asyncio.get_running_loop().time()
    attempt, _ = await preparation.take()
    assert attempt._timer is not None and attempt._timer.when() >= wanted + limits.OFFER_SECONDS
    spare = [Attempt(key=ONE, resources=shared, loopback=True) for _ in range(limits.ATTEMPTS_PER_KEY - 1)]
    for one in spare:
        await one.gather(spare=True)
    await make()
    assert [one.is_closed for one in (attempt, *spare)] == [False, True, False, False], "others are spare now"
    for one in (attempt, *spare):
        one.close()


# ---------------------------------------------------------------- ends


async def test_cancelled_in_the_very_turn_of_its_success(shared: Resources, make: Make) -> None:
    """The path is there, and nobody takes it: its socket is closed as well."""
    attempt = await make()
    calling = asyncio.create_task(attempt.punch(CALLER, here(), 3600.0))
    await asyncio.sleep(0)
    attempt._won(0, ("127.0.0.1", 5000), 0.01)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert shared.sockets.total == 0


async def test_a_path_found_for_nobody(shared: Resources, make: Make) -> None:
    """The datagram comes between the cancellation and its effect."""
    attempt = await make()
    calling = asyncio.create_task(attempt.punch(CALLER, here(), 3600.0))
    await asyncio.sleep(0)
    calling.cancel()
    attempt._won(0, ("127.0.0.1", 5000), 0.01)
    with contextlib.suppress(asyncio.CancelledError):
        await calling
    attempt.close()
    assert shared.sockets.total == 0


async def test_the_socket_of_a_path_counts_until_it_is_closed(shared: Resources, make: Make) -> None:
    attempt = await make()
    calling = asyncio.create_task(attempt.punch(CALLER, here(), 3600.0))
    await asyncio.sleep(0)
    attempt._won(0, ("127.0.0.1", 5000), 0.01)
    punched = await calling
    attempt.close()
    assert (shared.attempts.total, shared.sockets.held(ONE)) == (0, 1)
    punched.udp.close()
    punched.udp.close()
    assert shared.sockets.held(ONE) == 0


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS])
async def test_no_descriptors(shared: Resources, error: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of interfaces, too: then no private address is believed, and the offer is refused in order."""

    def refuse(*args: object) -> Any:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(UdpSocket, "open", refuse)
    monkeypatch.setattr("ifaddr.get_adapters", refuse)
    assert interfaces.host_addresses() == []
    with pytest.raises(PunchError, match="no UDP socket"):
        await Attempt(key=ONE, resources=shared).gather()


# ---------------------------------------------------------------- sockets


async def test_a_peer_has_its_share_of_sockets(shared: Resources) -> None:
    opened = [shared.open(ONE, socket.AF_INET) for _ in range(limits.UDP_SOCKETS_PER_KEY + 5)]
    assert [udp is not None for udp in opened] == [True] * limits.UDP_SOCKETS_PER_KEY + [False] * 5
    other = shared.open(TWO, socket.AF_INET)
    assert other is not None
    for udp in (*opened, other):
        if udp is not None:
            udp.close()


async def test_who_only_says_farewell_makes_place(shared: Resources) -> None:
    """One's own; anybody's only for a peer that has none."""
    mine = [shared.open(ONE, socket.AF_INET) for _ in range(limits.UDP_SOCKETS_PER_KEY)]
    theirs = shared.open(TWO, socket.AF_INET)
    assert theirs is not None and mine[3] is not None and mine[5] is not None
    for udp in (theirs, mine[3], mine[5]):
        udp.linger(3600.0)
        udp.linger(3600.0)
    mine.append(shared.open(ONE, socket.AF_INET))
    assert mine[-1] is not None and mine[3].is_closed and not theirs.is_closed
    mine.append(shared.open(ONE, socket.AF_INET))
    assert mine[-1] is not None and mine[5].is_closed
    assert shared.sockets.held(ONE) == limits.UDP_SOCKETS_PER_KEY
    mine.append(shared.open(ONE, socket.AF_INET))
    assert mine[-1] is None and not theirs.is_closed, "those of others are of no use to a peer that has its share"
    for udp in (*mine, theirs):
        if udp is not None:
            udp.close()


async def test_a_newcomer_gets_the_place_of_a_farewell() -> None:
    few = Resources(sockets=2)
    there = [few.open(key, socket.AF_INET) for key in (ONE, TWO)]
    assert there[0] is not None and there[1] is not None and few.open(THREE, socket.AF_INET) is None
    there[1].linger(3600.0)
    udp = few.open(THREE, socket.AF_INET)
    assert udp is not None and there[1].is_closed and not there[0].is_closed
    for one in (there[0], udp):
        one.close()
    assert few.sockets.total == 0


async def test_a_farewell_ends(shared: Resources) -> None:
    udp = shared.open(ONE, socket.AF_INET)
    assert udp is not None
    udp.linger(0.01)
    await eventually(lambda: udp.is_closed)
    assert shared.sockets.total == 0
    udp.linger(0.01)


async def test_there_is_one_search_at_a_time(shared: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    """256 sockets are enough; who comes second tries without."""
    monkeypatch.setattr(limits, "BIRTHDAY_OPENING", 0.01)
    easy = Candidates((Candidate("198.51.100.9", 5000, Kind.REFLEXIVE),), NatMapping.EASY, True)
    attempts: list[Attempt] = []
    async with reflector(claiming(("198.51.100.7", 4567))) as one, reflector(claiming(("198.51.100.7", 4568))) as two:
        for key in (b"refused", ONE, TWO, THREE):
            attempts.append(
                Attempt(
                    [one.address, two.address],
                    key=key,
                    resources=shared,
                    loopback=True,
                    birthday=True,
                    may_search=lambda key=key: key != b"refused",
                )
            )
            await attempts[-1].gather()
    monkeypatch.setattr(UdpSocket, "send", lambda self, data, to: True)
    refused = attempts.pop(0)
    going = asyncio.create_task(refused.punch(CALLER, easy))
    await asyncio.sleep(0)
    assert not refused.has_searched
    going.cancel()
    await asyncio.wait([going])
    punching = [asyncio.create_task(attempt.punch(CALLER, easy)) for attempt in attempts[:2]]
    await eventually(lambda: len(attempts[0]._sockets) == limits.BIRTHDAY_SOCKETS + 2)
    assert [attempt.has_searched for attempt in attempts] == [True, False, False]
    assert shared.sockets.total == 6, "a search's sockets count apart"
    last = attempts[0]._sockets[-1]
    assert last is not None
    attempts[0]._won(len(attempts[0]._sockets) - 1, ("198.51.100.9", 5000), None)
    punched = await punching[0]
    assert punched.udp is last and shared.sockets.held(ONE) == 1
    attempts[0].close()
    punching.append(asyncio.create_task(attempts[2].punch(CALLER, easy)))
    await asyncio.sleep(0)
    assert attempts[2].has_searched, "the first one is over"
    punched.udp.close()
    for task in punching[1:]:
        task.cancel()
    await asyncio.wait(punching[1:])


@pytest.mark.parametrize(("soft", "most"), [(1024, 256), (64, 16), (10**6, 4096), (resource.RLIM_INFINITY, 4096)])
def test_how_many_sockets_there_may_be(soft: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda what: (soft, soft))
    assert budgets._most_sockets() == most


# ---------------------------------------------------------------- what may be sent to


async def test_a_socket_sends_to_nobody_else(shared: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither probes nor QUIC, whose addresses move as the other end likes."""
    went: list[Address] = []
    around = Surroundings(loopback=True)
    with contextlib.closing(UdpSocket.open(socket.AF_INET)) as udp:
        udp.may_send = lambda to: went.append(to) or may_send(to, around)
        for _ in range(3):
            assert not udp.send(b"\x40", ("10.1.2.3", 5000)) and not udp.send(b"\x40", ("127.0.0.1", 53))
            assert udp.send(b"\x40", ("127.0.0.1", udp.local[1]))
        assert went.count(("127.0.0.1", udp.local[1])) == 1, "asked once for one after the other"


async def test_the_rule_stays_with_the_socket(shared: Resources, make: Make) -> None:
    attempt = await make()
    calling = asyncio.create_task(attempt.punch(CALLER, here(), 3600.0))
    await asyncio.sleep(0)
    attempt._won(0, ("127.0.0.1", 5000), 0.01)
    punched = await calling
    attempt.close()
    assert punched.udp.send(b"\x40", ("127.0.0.1", punched.udp.local[1]))
    assert not punched.udp.send(b"\x40", ("169.254.169.254", 5000))
    punched.udp.close()


async def test_one_for_each_loop() -> None:
    assert Resources.shared() is Resources.shared()
    assert await asyncio.to_thread(asyncio.run, _shared()) is not Resources.shared()


async def _shared() -> Resources:
    return Resources.shared()

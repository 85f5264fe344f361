"""Which session leaves when its address has no place left."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.budgets import rings
from ssbfast.server.limit_table import RoomCaps
from ssbfast.server.networks import parse_networks
from ssbfast.server.room_limits import RoomLimits

NETWORKS = ("192.0.2.1",)
_numbers = itertools.count()


class FakeSession:
    """age: seconds since it came. moved: bytes of its one tunnel, None for no tunnel. siblings: sessions of its key."""

    def __init__(self, age: float, moved: int | None = None, siblings: int = 1) -> None:
        self.networks = NETWORKS
        self.began = 1000.0 - age + next(_numbers) / 1e6
        self.splices = {} if moved is None else {1: SimpleNamespace(moved=(moved, 0))}
        self.is_dismissed = False
        self._age, self._siblings = age, siblings

        self.link = SimpleNamespace(has_spoken=False)
        self.is_aborted = False

    def abort(self) -> None:
        self.is_aborted = True

    def age(self) -> float:
        return self._age

    def siblings(self) -> int:
        return self._siblings

    def dismiss(self) -> None:
        self.is_dismissed = True


USED, UNUSED = limits.UNUSED_TUNNEL + 1, limits.UNUSED_TUNNEL


@pytest.mark.parametrize(
    ("leaves", "stay"),
    [
        (FakeSession(60), [FakeSession(60, USED), FakeSession(0.5), FakeSession(60, UNUSED)]),
        (FakeSession(60, UNUSED), [FakeSession(60, USED), FakeSession(0.5)]),
        (FakeSession(0.5), [FakeSession(60, USED), FakeSession(0.5, UNUSED)]),
        (FakeSession(60, siblings=5), [FakeSession(60, siblings=2), FakeSession(60)]),
        (FakeSession(30), [FakeSession(60), FakeSession(90)]),
    ],
    ids=["no tunnel", "tunnel that is not used", "new, beside a tunnel that is used", "key with most", "newest"],
)
def test_the_least_deserving_leaves(leaves: FakeSession, stay: list[FakeSession]) -> None:
    books = RoomLimits(
        RoomCaps({"sessions": 100, "sessions_per_address": 1 + len(stay)}), lambda: 1000.0, lambda _limit: None
    )
    everyone: list[Any] = [stay[0], leaves, *stay[1:]]
    for session in everyone:
        books.sessions.add(session, NETWORKS)
    newcomer: Any = FakeSession(0)
    assert books.enter(newcomer)
    assert [session for session in everyone if session.is_dismissed] == [leaves]


# ---------------------------------------------------------------- penalties

STRICT = {"failures_per_address_at_once": 5, "trials_per_address": 1}


class Books:
    """Limits of a room, and a clock."""

    def __init__(self, caps: RoomCaps) -> None:
        self.now = 1000.0
        self.reached: list[str] = []
        self.limits = RoomLimits(caps, lambda: self.now, self.reached.append)

    def refused(self, tries: int = 20, networks: tuple[str, ...] = NETWORKS) -> int:
        return sum(self.limits.is_refused(networks) for _ in range(tries))


def failing(caps: RoomCaps) -> Books:
    books = Books(caps)
    session: Any = FakeSession(0)
    for _ in range(6):
        books.limits.fail(session)
    return books


def test_an_address_that_fails_is_refused_but_for_its_trials_and_its_neighbours_are_not() -> None:
    books = failing(RoomCaps(STRICT))
    assert books.refused() == 19
    assert books.refused(networks=("192.0.2.2",)) == 0
    books.now += 1.0
    assert books.refused() == 19
    books.now += 60.0
    assert books.refused() == 0
    assert books.reached == ["failures_per_address", *["trials_per_address"] * 38]


@pytest.mark.parametrize(("age", "refused"), [(limits.PENALTY_PROOF_SECONDS, 0), (1.0, 19)])
def test_an_address_with_a_session_that_lasts_is_not_refused(age: float, refused: int) -> None:
    books = failing(RoomCaps(STRICT))
    session: Any = FakeSession(age)
    books.limits.sessions.add(session, NETWORKS)
    assert books.refused() == refused
    assert books.refused(networks=("192.0.2.2",)) == 0


@pytest.mark.parametrize(
    ("allowed", "refused"), [("192.0.2.0/24", 0), ("192.0.2.1", 0), ("192.0.3.0/24", 19), ("2001:db8::/32", 19)]
)
def test_an_address_that_is_allowed_is_never_refused(allowed: str, refused: int) -> None:
    assert failing(RoomCaps(STRICT, parse_networks([allowed]))).refused() == refused


def test_an_address_that_is_allowed_has_no_part_in_the_penalty_of_its_wider_network() -> None:
    books = Books(RoomCaps(STRICT, parse_networks(["2001:db8:8:2::1"])))
    for n in range(0x1000, 0x8000, 0x100):
        session: Any = FakeSession(0)
        session.networks = rings(f"2001:db8:8:{n:x}::1")
        books.limits.fail(session)
    assert books.refused(networks=rings("2001:db8:8:3::1")) > 0
    assert books.refused(networks=rings("2001:db8:8:2::7")) == 0


@pytest.mark.parametrize(("age", "has_spoken", "fails"), [(3.0, False, True), (1.0, False, False), (3.0, True, False)])
def test_a_connection_that_was_silent_for_long_and_loses_its_place_has_failed(
    age: float, has_spoken: bool, fails: bool
) -> None:
    books = Books(RoomCaps({"connections": 16, "connections_per_address": 1, "failures_per_address_at_once": 1}))
    for _ in range(3):
        silent: Any = FakeSession(age)
        silent.link.has_spoken = has_spoken
        assert books.limits.connect(silent)
    assert ("failures_per_address" in books.reached) is fails

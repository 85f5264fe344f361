"""A session whose peer may be asleep waits longer than others, if there is a place for it."""

from __future__ import annotations

import pytest

from ssbfast import limits
from ssbfast.errors import DeadlineError
from ssbfast.wire.direct.carriers import effects as ef
from ssbfast.wire.direct.carriers.session import Carriers
from ssbfast.wire.direct.carriers.timers import Kept
from ssbfast.wire.direct.keys import Role
from tests.helpers.carriers import HOLD, TAKE, error, kinds, rec

EARLY, LATE = limits.CARRIER_SECONDS, limits.SLEEP_KEEP_SECONDS


def stranded(
    kept: Kept | None, role: Role = Role.TARGET, *, closed: bool = False, keep: float = limits.SLEEP_KEEP_SECONDS
) -> Carriers:
    """Return a machine on a direct path that lost it at about 100."""
    machine = Carriers(role, window=1000, kept=kept, keep=keep)
    machine.claim(10)
    machine.quic_up(1, 0.0)
    machine.records(1, rec(HOLD, 0) + rec(TAKE, 0), 0.0)
    machine.lost(0, 0.0, clean=True)
    if closed:
        machine.lost(1, 100.0, clean=False)
    else:
        machine.send(b"x", 98.0)
        machine.handle_timer(98.0 + limits.DIRECT_LOST_SECONDS)
    machine.effects()
    assert machine.is_stranded
    return machine


def over(machine: Carriers, now: float) -> bool:
    machine.handle_timer(now)
    return "Failed" in kinds(machine.effects())


@pytest.mark.parametrize("role", list(Role))
def test_it_waits_for_a_peer_that_sleeps(role: Role) -> None:
    kept = Kept()
    machine = stranded(kept, role)
    assert not over(machine, 100.0 + EARLY)
    assert machine in kept and (machine.timer() or 0.0) <= 100.0 + LATE
    assert not over(machine, 99.0 + LATE)
    machine.handle_timer(100.0 + LATE)
    assert isinstance(error(machine.effects()), DeadlineError)
    assert machine not in kept


@pytest.mark.parametrize(("keep", "until"), [(45.0, 45.0), (3600.0, 3600.0), (0.0, EARLY)])
def test_users_say_for_how_long(keep: float, until: float) -> None:
    machine = stranded(Kept(), keep=keep)
    assert not over(machine, 99.0 + until)
    assert over(machine, 100.0 + until)


def test_without_places_it_does_not() -> None:
    assert over(stranded(None), 100.0 + EARLY)


def test_one_that_may_not_be_kept_is_not() -> None:
    kept = Kept()
    machine = stranded(kept)
    machine.may_be_kept = False
    assert over(machine, 100.0 + EARLY)


def test_one_that_closed_the_path_is_awake() -> None:
    """A target that lets us in no longer does so."""
    assert over(stranded(Kept(), closed=True), 100.0 + EARLY)


def test_places_are_few_and_come_back() -> None:
    kept = Kept()
    machines = [stranded(kept) for _ in range(limits.SLEEP_KEPT + 1)]
    assert [over(machine, 100.0 + EARLY) for machine in machines] == [False] * limits.SLEEP_KEPT + [True]
    machines[0].abort(140.0)
    another = stranded(kept)
    assert not over(another, 100.0 + EARLY)
    assert over(stranded(kept), 100.0 + EARLY)


def test_what_wakes_up_goes_on() -> None:
    """And has its place no longer."""
    kept = Kept()
    machine = stranded(kept)
    assert not over(machine, 100.0 + EARLY)
    machine.send(b"while it slept", 150.0)
    standby = machine.standby_up(2, 190.0)
    machine.records(standby, rec(HOLD, 0) + rec(TAKE, 0), 190.0)
    effects = machine.effects()
    assert ef.Data(standby, b"while it slept") in effects
    assert machine.path == "tunnel" and not machine.is_stranded and machine not in kept
    assert not over(machine, 1000.0)


def test_its_window_bounds_what_it_keeps() -> None:
    machine = stranded(Kept())
    machine.handle_timer(100.0 + EARLY)
    while machine.room > 0:
        machine.send(b"x" * 100, 150.0)
    assert machine.unacknowledged <= 1000 + 100

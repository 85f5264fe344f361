"""`Carriers.leave`: a session goes back to a tunnel because its user wants it, and gives nothing up for that."""

from __future__ import annotations

import pytest

from ssbfast import limits
from ssbfast.wire.direct.carriers.handover import LEAVING
from ssbfast.wire.direct.keys import Role
from tests.helpers.carriers import HOLD, TAKE, direct, kinds, rec, said, started, with_standby

BOTH = [Role.CALLER, Role.TARGET]


@pytest.mark.parametrize("role", BOTH)
def test_the_direct_path_is_used_until_the_other_end_moves_too(role: Role) -> None:
    machine = with_standby(role, sent=10, got=20)
    machine.leave(1.0)
    assert said(machine.effects(), 2) == [("HOLD", 10)]
    machine.send(b"x" * 5, 1.1)
    machine.data(1, b"y" * 7, 1.1)
    machine.consumed(7, 1.1)
    assert machine.path == "direct" and machine.sending == 1 and machine.timer() is not None
    machine.effects()
    machine.records(2, rec(HOLD, 20) + rec(TAKE, 10), 1.2)
    effects = machine.effects()
    assert ("TAKE", 27) in said(effects, 2)
    (change,) = [effect for effect in effects if type(effect).__name__ == "PathChanged"]
    assert (change.path, change.reason) == ("tunnel", LEAVING)
    assert b"".join(effect.data for effect in effects if type(effect).__name__ == "Data") == b"x" * 5
    assert machine.path == "tunnel" and machine.sending == 2


@pytest.mark.parametrize("role", BOTH)
def test_without_a_standby_it_waits_for_one(role: Role) -> None:
    machine = direct(role)
    machine.leave(1.0)
    assert "EndCarrier" not in kinds(machine.effects()) and machine.path == "direct"
    machine.standby_up(2, 2.0)
    assert [kind for kind, _ in said(machine.effects(), 2)] == ["HOLD"]


def test_a_standby_that_is_lost_costs_nothing() -> None:
    machine = with_standby(Role.CALLER)
    machine.leave(1.0)
    machine.lost(2, 1.1, clean=False)
    machine.data(1, b"z", 1.2)
    assert "Failed" not in kinds(machine.effects()) and machine.path == "direct"
    machine.standby_up(3, 2.0)
    assert [kind for kind, _ in said(machine.effects(), 3)] == ["HOLD"]


def test_a_direct_path_that_dies_meanwhile_is_no_second_hold() -> None:
    machine = with_standby(Role.CALLER)
    machine.leave(1.0)
    machine.effects()
    machine.lost(1, 1.1, clean=False)
    assert said(machine.effects(), 2) == []
    machine.records(2, rec(HOLD, 20) + rec(TAKE, 10), 1.2)
    assert machine.path == "tunnel" and "Failed" not in kinds(machine.effects())


@pytest.mark.parametrize("role", BOTH)
def test_no_direct_path_is_made_or_taken_until_it_is_wanted_again(role: Role) -> None:
    machine = started(role)
    machine.upgrade(0.0)
    machine.upgrade_failed(0.0)
    machine.effects()
    machine.leave(1.0)
    machine.handle_timer(limits.UPGRADE_MAX * 2)
    assert machine.effects() == []
    late = machine.quic_up(2, limits.UPGRADE_MAX * 2)
    assert kinds(machine.effects()) == ["EndCarrier"] and late not in machine._carriers
    machine.upgrade(limits.UPGRADE_MAX * 2 + 1, at_once=True)
    assert kinds(machine.effects()) == ["WantQuic" if role is Role.CALLER else "AskUpgrade"]


def test_a_target_that_asks_is_heard_ten_seconds_after_the_last_attempt() -> None:
    machine = started(Role.CALLER)
    machine.upgrade(0.0)
    for now in (0.0, 100.0, 200.0, 300.0):
        machine.handle_timer(now)
        assert kinds(machine.effects()) == ["WantQuic"]
        machine.upgrade_failed(now)
    machine.upgrade_asked(301.0)
    assert machine.effects() == [] and machine.timer() == 300.0 + limits.UPGRADE_SECONDS

"""Carriers by hand: who starts what, pings, pauses, endings."""

from __future__ import annotations

import pytest

from ssbfast import limits
from ssbfast.errors import DeadlineError, LocalProtocolError, SessionEndedError, TruncatedError
from ssbfast.wire.direct.carriers import effects as ef
from ssbfast.wire.direct.carriers.session import Carriers
from ssbfast.wire.direct.keys import Role
from tests.helpers.carriers import ACK, HOLD, TAKE, direct, error, kinds, rec, said, started, with_standby

# ---------------------------------------------------------------- authority


def test_epochs_rise() -> None:
    caller, target = Carriers(Role.CALLER), Carriers(Role.TARGET)
    assert [caller.next_epoch() for _ in range(3)] == [1, 2, 3]
    assert not target.claim(0)
    assert target.claim(2)
    assert not target.claim(2) and not target.claim(1) and not target.claim(2**32)
    assert target.claim(2**32 - 1) and not target.claim(2**32 - 1)
    for machine in (caller, target):
        for begin in (machine.quic_up, machine.standby_up):
            with pytest.raises(LocalProtocolError):
                begin(0, 0.0)
    with pytest.raises(LocalProtocolError):
        caller.quic_up(4, 0.0)
    caller._epoch = 2**32 - 1
    with pytest.raises(LocalProtocolError):
        caller.next_epoch()


def test_only_the_caller_makes_paths_and_after_failures_ever_more_slowly() -> None:
    caller, target = started(Role.CALLER), started(Role.TARGET)
    target.upgrade(0.0)
    assert target.effects() == [ef.AskUpgrade()] and target.timer() is None
    target.upgrade(1.0)
    assert target.effects() == [] and target.timer() == 10.0
    caller.upgrade(0.0)
    now, pauses = 0.0, []
    for _ in range(9):
        assert caller.effects() == [ef.WantQuic()] and caller.timer() is None
        caller.upgrade(now)  # asked again: one at a time
        caller.upgrade_failed(now)
        at = caller.timer()
        assert at is not None and caller.effects() == []
        pauses.append(at - now)
        now = at
        caller.handle_timer(now)
    assert pauses == [10, 20, 40, 80, 160, 320, 600, 600, 600]
    caller.upgrade_failed(now)
    caller.stop_upgrades()
    assert caller.timer() is None


def test_after_down_comes_up_at_once_if_the_path_had_held() -> None:
    for held, wait in ((100.0, 0.0), (3.0, 17.0)):
        caller = started(Role.CALLER)
        caller.upgrade(0.0)
        caller.quic_up(1, 0.0)
        caller.records(1, rec(HOLD) + rec(TAKE), 0.0)
        caller.standby_up(2, 0.0)
        caller.effects()
        caller.lost(1, held, clean=False)
        caller.records(2, rec(HOLD) + rec(TAKE), held)
        if wait:
            assert "WantQuic" not in kinds(caller.effects()) and caller.timer() == held + wait
            caller.handle_timer(held + wait)
        assert "WantQuic" in kinds(caller.effects())


def test_a_late_path_is_ended() -> None:
    caller = direct(Role.CALLER)
    number = caller.quic_up(2, 1.0)
    assert caller.effects() == [ef.EndCarrier(number, False)]
    caller = started(Role.CALLER)
    number = caller.standby_up(3, 1.0)
    assert caller.effects() == [ef.EndCarrier(number, True)]


def test_standby_dials_back_off_and_hurry_when_needed() -> None:
    caller = direct(Role.CALLER)
    now, pauses = 0.0, []
    for _ in range(9):
        caller.standby_failed(now)
        at = caller._dial_at()
        assert at is not None
        pauses.append(at - now)
        now = at
        caller.data_received(1, now)
        caller.handle_timer(now)
        assert "WantStandby" in kinds(caller.effects())
    assert pauses == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    caller.standby_failed(now)
    caller.lost(1, now + 1, clean=False)
    assert "WantStandby" in kinds(caller.effects())


def test_a_silent_standby_is_dialled_again() -> None:
    caller = with_standby(Role.CALLER)
    caller.lost(1, 1.0, clean=False)
    caller.handle_timer(1.0 + limits.STANDBY_SILENT - 0.1)
    assert "WantStandby" not in kinds(caller.effects())
    caller.handle_timer(1.0 + limits.STANDBY_SILENT)
    assert kinds(caller.effects())[-2:] == ["EndCarrier", "WantStandby"]
    caller.records(2, rec(HOLD, 20) + rec(TAKE, 10), 6.5)  # too late: the target may have seen the new one already
    assert caller.effects() == []
    caller.standby_up(3, 7.0)
    assert said(caller.effects(), 3) == [("HOLD", 10)]


def test_a_standby_that_has_answered_is_kept() -> None:
    caller = with_standby(Role.CALLER)
    caller.lost(1, 1.0, clean=False)
    caller.records(2, rec(HOLD, 20), 1.1)
    for second in range(2, 31):
        caller.handle_timer(second)
    assert "WantStandby" not in kinds(caller.effects())


# ---------------------------------------------------------------- times


def run_until(machine: Carriers, end: float) -> list[tuple[float, ef.Effect]]:
    log = []
    while (at := machine.timer()) is not None and at <= end:
        machine.handle_timer(at)
        log += [(at, effect) for effect in machine.effects()]
    return log


def test_pings_and_loss_of_a_silent_path() -> None:
    machine = with_standby(Role.TARGET)
    machine.data_received(1, 100.0)
    machine.handle_timer(100.0)  # idle since 0: a PING every 15 s
    assert machine.effects()[0] == ef.Ping(1)
    machine.data_received(1, 100.1)
    log = run_until(machine, 114.9)
    assert [effect for _, effect in log if not isinstance(effect, ef.Records)] == []
    log = run_until(machine, 120.0)
    assert log[0] == (115.0, ef.Ping(1))
    assert (116.5, ef.EndCarrier(1, False)) in log


def test_pings_every_second_while_busy_and_while_bytes_wait() -> None:
    machine = direct(Role.TARGET)
    pings, now = [], 0.0
    machine.data(1, b"x", 0.0)
    while now < 40.0:
        at = machine.timer()
        assert at is not None
        now = at
        machine.handle_timer(now)
        if ef.Ping(1) in machine.effects():
            pings.append(now)
            machine.data_received(1, now + 0.01)
    assert pings == [1, 2, 3, 4, 19, 34, 49]
    machine.send(b"unacked", 49.5)  # and the other end's reader stands still
    for second in range(50, 80):
        machine.handle_timer(float(second))
        assert ef.Ping(1) in machine.effects()
        machine.data_received(1, second + 0.01)
    assert machine.timer() == 80.0


def test_unacknowledged_bytes_are_enough_to_judge() -> None:
    machine = direct(Role.TARGET)
    machine.data_received(1, 10.0)
    machine.handle_timer(10.0)
    machine.data_received(1, 10.0)
    machine.effects()
    machine.send(b"x", 10.2)
    log = run_until(machine, 12.0)
    assert (11.7, ef.EndCarrier(1, False)) in log


def test_a_sleep_of_our_own_is_no_loss() -> None:
    machine = direct(Role.TARGET)
    machine.send(b"x", 1.0)
    machine.handle_timer(100.0)
    assert ef.EndCarrier(1, False) not in machine.effects()
    machine.handle_timer(101.5)
    assert ef.EndCarrier(1, False) in machine.effects()


def test_no_carrier_for_thirty_seconds() -> None:
    machine = direct(Role.TARGET)
    machine.lost(1, 1.0, clean=False)
    log = run_until(machine, 30.9)
    assert "Failed" not in kinds([effect for _, effect in log])
    machine.handle_timer(31.0)
    assert isinstance(error(machine.effects()), DeadlineError)


def test_keepalives_on_the_standby() -> None:
    machine = with_standby(Role.TARGET)
    times = []
    now = 0.0
    while now < 185:
        at = machine.timer()
        assert at is not None
        now = at
        machine.handle_timer(now)
        machine.data_received(1, now)
        times += [now for effect in machine.effects() if isinstance(effect, ef.Records)]
    assert times == [60, 120, 180]


# ---------------------------------------------------------------- endings


def goodbyes(machine: Carriers, carrier: int, now: float) -> None:
    machine.data(carrier, b"goodbye", now)
    machine.heard_goodbye(now)
    machine.consumed(7, now)
    machine.send(b"goodbye", now)
    machine.said_goodbye(now)


def test_the_end_on_the_plain_tunnel() -> None:
    machine = started(Role.CALLER)
    goodbyes(machine, 0, 1.0)
    assert kinds(machine.effects()) == ["Deliver", "Data", "EndCarrier", "Over", "Forget"]
    machine.lost(0, 2.0, clean=True)
    assert machine.effects() == [] and machine.timer() is None
    with pytest.raises(LocalProtocolError):
        machine = started()
        machine.said_goodbye(0.0)
        machine.send(b"x", 0.0)


def test_the_end_on_the_direct_path_waits_for_the_ack() -> None:
    machine = with_standby(Role.TARGET)
    goodbyes(machine, 1, 1.0)
    effects = machine.effects()
    assert said(effects, 1) == [("ACK", 27)] and "Over" not in kinds(effects)  # at once: nothing comes after it
    machine.records(1, rec(ACK, 17), 1.1)
    assert machine.effects() == [ef.EndCarrier(1, True), ef.EndCarrier(2, True), ef.Over()]
    assert machine.timer() == 1.1 + limits.DOWN_SECONDS


def test_a_close_with_code_0_says_that_everything_arrived() -> None:
    for role in Role:
        machine = with_standby(role)
        goodbyes(machine, 1, 1.0)
        machine.effects()
        machine.lost(1, 1.1, clean=True)
        assert machine.effects() == [ef.EndCarrier(2, True), ef.Over()]


def test_a_close_with_code_0_before_the_goodbyes_is_a_loss() -> None:
    machine = with_standby(Role.CALLER)
    machine.lost(1, 1.1, clean=True)
    assert said(machine.effects(), 2) == [("HOLD", 10)]


def test_the_target_answers_a_caller_that_missed_the_end() -> None:
    target, caller = direct(Role.TARGET, 10, 20), direct(Role.CALLER, 20, 10)
    goodbyes(target, 1, 1.0)
    target.records(1, rec(ACK, 17), 1.0)
    goodbyes(caller, 1, 1.0)
    target.effects()
    caller.standby_failed(1.0)
    caller.lost(1, 2.0, clean=False)
    assert "WantStandby" in kinds(caller.effects())
    target.standby_up(2, 3.0)
    caller.standby_up(2, 3.0)
    target.records(2, rec(HOLD, 20), 3.0)
    answer = target.effects()
    assert said(answer, 2) == [("HOLD", 17), ("TAKE", 27)]
    caller.effects()
    caller.records(2, rec(HOLD, 17) + rec(TAKE, 27), 3.1)
    effects = caller.effects()
    assert said(effects, 2) == [("TAKE", 17)] and kinds(effects)[-2:] == ["EndCarrier", "Over"]
    target.records(2, rec(TAKE, 17), 3.2)
    assert target.effects()[-1] == ef.EndCarrier(2, True)
    target.handle_timer(6.0)
    assert target.effects() == [ef.Forget()]
    assert target.standby_up(3, 7.0) == 3 and target.effects() == [ef.EndCarrier(3, True)]


def test_a_tunnel_that_ends_while_it_is_used() -> None:
    machine = started(Role.CALLER)
    machine.lost(0, 1.0, clean=True)
    assert isinstance(error(machine.effects()), TruncatedError)
    machine = started(Role.CALLER)
    machine.data(0, b"unread", 1.0)
    machine.lost(0, 1.0, clean=True)
    assert kinds(machine.effects()) == ["Deliver"]  # S reads on, the end comes behind it
    machine.heard_goodbye(2.0)
    machine.consumed(6, 2.0)
    assert "Over" in kinds(machine.effects())


def test_a_tunnel_that_ends_while_the_move_is_under_way() -> None:
    machine = started(Role.TARGET, 5, 5)
    machine.quic_up(1, 0.0)
    machine.records(1, rec(HOLD, 5), 0.0)  # TAKE goes out: we do not listen to the tunnel any more
    machine.lost(0, 0.0, clean=True)
    machine.effects()
    machine.send(b"kept", 0.0)
    machine.records(1, rec(TAKE, 5), 0.1)
    assert machine.effects() == [ef.Data(1, b"kept"), ef.PathChanged("direct", "a direct path is up")]
    machine = started(Role.TARGET, 5, 5)
    machine.quic_up(1, 0.0)
    machine.records(1, rec(HOLD, 6), 0.0)
    machine.lost(0, 0.0, clean=True)  # byte 5 is nowhere any more
    assert isinstance(error(machine.effects()), TruncatedError)


def test_a_cut_session_ends_when_its_last_hope_does() -> None:
    """The tunnel ended before S had read on; a standby came, took over the reading, and died, too."""
    machine = started(Role.TARGET)
    machine.data(0, b"unread", 1.0)
    machine.lost(0, 1.0, clean=False)
    machine.standby_up(2, 1.1)
    machine.records(1, rec(HOLD, 6), 1.2)
    machine.consumed(6, 1.3)
    assert "Failed" not in kinds(machine.effects())
    machine.lost(1, 1.4, clean=False)
    assert isinstance(error(machine.effects()), TruncatedError)


def test_the_standbys_end_behind_the_goodbye_tells_the_target_that_all_arrived() -> None:
    """The caller had everything and left; its last ACK and its close died with the direct path."""
    target = with_standby(Role.TARGET)
    goodbyes(target, 1, 1.0)
    target.effects()
    target.lost(2, 1.1, clean=True)
    assert "Over" not in kinds(target.effects())  # the ACK may still come
    target.lost(1, 2.0, clean=False)
    assert target.effects()[-1] == ef.Over()
    caller = with_standby(Role.CALLER)
    goodbyes(caller, 1, 1.0)
    caller.effects()
    caller.lost(2, 1.1, clean=True)
    caller.lost(1, 2.0, clean=False)
    assert kinds(caller.effects())[-1] == "WantStandby"  # the caller goes and asks


def test_a_path_that_the_caller_gave_up_makes_room_for_the_next() -> None:
    target = started(Role.TARGET, 5, 5)
    first = target.quic_up(1, 0.0)
    second = target.quic_up(2, 10.0)
    assert target.effects() == [ef.EndCarrier(first, False)]
    target.records(second, rec(HOLD, 5), 10.0)
    assert said(target.effects(), second) == [("HOLD", 5), ("TAKE", 5)]


def test_a_refusal_by_the_peer_itself_ends_the_session() -> None:
    caller = direct(Role.CALLER)
    caller.lost(1, 1.0, clean=False)
    caller.standby_failed(1.5, refused=True)
    assert isinstance(error(caller.effects()), SessionEndedError)


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("stranded", [False, True])
def test_the_peer_s_word_in_the_standby_ends_the_session(role: Role, stranded: bool) -> None:
    """What it has sent before is read first."""
    machine = with_standby(role)
    if stranded:
        machine.lost(1, 1.0, clean=False)
    else:
        machine.data(1, b"last", 1.0)
    machine.effects()
    machine.session_dropped(2, 1.1)
    effects = machine.effects()
    ended = {effect.carrier for effect in effects if isinstance(effect, ef.EndCarrier)}
    assert ended == ({2} if stranded else {1, 2})
    if not stranded:
        assert "Failed" not in kinds(effects) and machine.timer() is None
        machine.consumed(4, 1.2)
        effects = machine.effects()
    assert isinstance(error(effects), SessionEndedError) and machine.is_over
    assert not {"WantQuic", "WantStandby", "AskUpgrade"} & set(kinds(effects))


def test_the_word_of_a_standby_that_is_no_more_is_not_heard() -> None:
    machine = with_standby()
    machine.standby_up(3, 1.0)  # it takes the place of carrier 2
    machine.effects()
    machine.session_dropped(2, 1.1)
    assert machine.effects() == [] and machine.path == "direct" and not machine.is_over


def test_abort_cuts_everything() -> None:
    machine = with_standby(Role.CALLER)
    machine.abort(1.0)
    assert machine.effects() == [ef.EndCarrier(1, False), ef.EndCarrier(2, False)]
    assert machine.timer() is None

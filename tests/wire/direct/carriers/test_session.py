"""Carriers by hand: what is said when, and every violation of R5."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from ssbfast import limits
from ssbfast.errors import CarrierError, LocalProtocolError
from ssbfast.wire.direct.carriers import effects as ef
from ssbfast.wire.direct.carriers.records import Record
from ssbfast.wire.direct.carriers.session import Carriers
from ssbfast.wire.direct.keys import Role
from tests.helpers.carriers import ACK, END, HOLD, TAKE, W, direct, error, kinds, rec, said, started, with_standby

# ---------------------------------------------------------------- up and down


def test_the_plain_tunnel_keeps_nothing_and_copies_nothing() -> None:
    machine = Carriers(Role.CALLER, window=W)
    data = bytes(5000)
    machine.send(data, 0.0)
    machine.data(0, data, 0.0)
    sent, delivered = machine.effects()
    assert isinstance(sent, ef.Data) and sent.carrier == 0 and sent.data is data
    assert isinstance(delivered, ef.Deliver) and delivered.data is data
    assert machine.room == sys.maxsize and not machine._sending._chunks
    assert machine.timer() is None and machine.path == "tunnel"
    assert "5000" not in repr(sent) and "x00" not in repr(sent)


def test_up_the_caller_begins_and_the_target_follows() -> None:
    caller, target = started(Role.CALLER, 10, 20), started(Role.TARGET, 20, 10)
    caller.quic_up(1, 1.0)
    target.quic_up(1, 1.0)
    assert said(caller.effects(), 1) == [("HOLD", 10)]
    assert target.effects() == []
    assert caller.room == W and target.room == sys.maxsize
    caller.send(b"late", 1.0)
    assert caller.effects() == [ef.Data(0, b"late")]  # the old carrier, until TAKE
    target.records(1, rec(HOLD, 10), 1.0)
    assert said(target.effects(), 1) == [("HOLD", 20), ("TAKE", 10)]
    target.data(0, b"late", 1.0)
    assert target.effects() == []  # it listens nowhere else now
    caller.records(1, rec(HOLD, 20) + rec(TAKE, 10), 1.0)
    effects = caller.effects()
    assert said(effects, 1) == [("TAKE", 20)]
    assert kinds(effects) == ["Records", "Data", "PathChanged", "EndCarrier", "WantStandby"]
    assert ef.Data(1, b"late") in effects and ef.EndCarrier(0, True) in effects
    target.data(1, b"late", 1.0)
    target.records(1, rec(TAKE, 20), 1.0)
    assert kinds(target.effects()) == ["Deliver", "PathChanged"]


def test_take_waits_for_what_only_the_old_carrier_has() -> None:
    machine = started(Role.TARGET, 0, 10)
    machine.quic_up(1, 0.0)
    machine.records(1, rec(HOLD, 15), 0.0)
    assert said(machine.effects(), 1) == [("HOLD", 0)]
    machine.data(0, b"1234", 0.0)
    machine.consumed(4, 0.0)
    assert kinds(machine.effects()) == ["Deliver"]
    machine.data(0, b"567", 0.0)
    assert kinds(machine.effects()) == ["Deliver"]  # for QUIC, S has to have consumed them, too
    machine.consumed(3, 0.0)
    assert said(machine.effects(), 1) == [("TAKE", 17)]


@pytest.mark.parametrize("role", list(Role))
def test_down_by_own_judgement(role: Role) -> None:
    machine = with_standby(role)
    machine.send(b"kept", 1.0)
    assert machine.effects() == [ef.Data(1, b"kept")]
    machine.lost(1, 2.0, clean=False)
    assert said(machine.effects(), 2) == [("HOLD", 10)]
    machine.send(b"+more", 2.0)
    machine.data(1, b"stale", 2.0)
    machine.records(1, rec(ACK, 12), 2.0)
    assert machine.effects() == []
    machine.records(2, rec(HOLD, 20) + rec(TAKE, 12), 2.0)
    effects = machine.effects()
    assert said(effects, 2) == [("TAKE", 20)]
    rest = [effect for effect in effects if not isinstance(effect, ef.Records)]
    assert rest == [
        ef.BeginRaw(2), ef.Data(2, b"pt"), ef.Data(2, b"+more"), ef.PathChanged("tunnel", "the direct path was closed"),
    ]  # fmt: skip
    assert machine.room == sys.maxsize
    machine.send(b"raw", 2.0)
    machine.data(2, b"theirs", 2.0)
    assert machine.effects() == [ef.Data(2, b"raw"), ef.Deliver(b"theirs")]


@pytest.mark.parametrize("role", list(Role))
def test_down_by_the_other_ends_judgement(role: Role) -> None:
    machine = with_standby(role)
    machine.records(2, rec(HOLD, 20), 2.0)
    effects = machine.effects()
    assert effects[0] == ef.EndCarrier(1, False)
    assert said(effects, 2) == [("HOLD", 10), ("TAKE", 20)]
    machine.records(2, rec(TAKE, 10), 2.0)
    assert kinds(machine.effects()) == ["BeginRaw", "PathChanged"]


@pytest.mark.parametrize("role", list(Role))
def test_the_end_of_the_standby_asks_for_a_sign_of_life(role: Role) -> None:
    """The other end may be gone, and not only its tunnel: a quiet path would not notice for 15 seconds."""
    machine = with_standby(role)
    machine.lost(2, 100.0, clean=False)
    assert ef.Ping(1) in machine.effects()
    machine.handle_timer(100.0 + limits.DIRECT_LOST_SECONDS)
    assert machine.is_stranded


def test_down_without_standby_is_the_callers_to_dial() -> None:
    caller, target = direct(Role.CALLER), direct(Role.TARGET)
    caller.standby_failed(0.0)  # the dial that Up asked for
    for machine in (caller, target):
        machine.lost(1, 1.0, clean=False)
    assert kinds(caller.effects()) == ["WantStandby"] and target.effects() == []
    assert said((target.standby_up(2, 2.0), target.effects())[1], 2) == [("HOLD", 10)]
    assert said((caller.standby_up(2, 2.0), caller.effects())[1], 2) == [("HOLD", 10)]


def test_a_path_that_dies_before_the_callers_hold_changes_nothing() -> None:
    target = started(Role.TARGET, 5, 5)
    target.quic_up(1, 0.0)
    target.lost(1, 1.0, clean=False)
    assert target.effects() == [] and target.room == sys.maxsize
    target.data(0, b"on", 1.0)
    assert target.effects() == [ef.Deliver(b"on")]
    assert target.timer() is None


def test_half_up_goes_down_by_a_standby() -> None:
    """The target never saw HOLD on QUIC: it goes along on the standby, and reads the tunnel up to HOLD."""
    target = started(Role.TARGET, 5, 5)
    target.standby_up(2, 0.0)
    target.records(1, rec(HOLD, 8), 0.0)
    assert said(target.effects(), 1) == [("HOLD", 5)]
    target.data(0, b"678", 0.0)
    assert said(target.effects(), 1) == [("TAKE", 8)]
    target.records(1, rec(TAKE, 5), 0.0)
    assert kinds(target.effects()) == ["BeginRaw", "PathChanged"]


def test_a_newer_standby_replaces_the_older_one() -> None:
    machine = with_standby(Role.TARGET)
    machine.lost(1, 1.0, clean=False)
    machine.records(2, rec(HOLD, 20), 1.0)
    machine.effects()
    machine.standby_up(3, 2.0)
    effects = machine.effects()
    assert effects[0] == ef.EndCarrier(2, True)
    assert said(effects, 3) == [("HOLD", 10)]
    machine.records(2, rec(TAKE, 10), 2.0)  # too late there
    assert machine.effects() == []


def test_window_acks_and_resume() -> None:
    sender, reader = direct(Role.CALLER, 0, 0), direct(Role.TARGET, 0, 0)
    sender.send(bytes(W), 1.0)
    assert sender.room == 0
    reader.data(1, bytes(W), 1.0)
    reader.consumed(W // 4 - 1, 1.0)
    reader.handle_timer(1.0)
    assert kinds(reader.effects()) == ["Deliver", "Ping"] and reader.timer() == 1.0 + limits.ACK_SECONDS
    reader.handle_timer(1.0 + limits.ACK_SECONDS)
    assert said(reader.effects(), 1) == [("ACK", W // 4 - 1)]
    reader.consumed(W // 4, 1.1)
    assert said(reader.effects(), 1) == [("ACK", W // 2 - 1)]
    sender.effects()
    sender.records(1, rec(ACK, W // 2 - 1), 1.1)
    assert sender.effects() == [ef.Resume()] and sender.room == W // 2 - 1
    with pytest.raises(LocalProtocolError):
        sender.send(bytes(W + limits.CARRIER_SLACK), 1.2)


# ---------------------------------------------------------------- violations


def on(carrier: int, *records: bytes) -> Callable[[Carriers], None]:
    return lambda machine: machine.records(carrier, b"".join(records), 1.0)


def up(machine: Carriers) -> None:
    machine.quic_up(1, 0.0)


def sent_five(machine: Carriers) -> None:
    machine.send(b"12345", 1.0)
    machine.records(1, rec(ACK, 12), 1.0)
    machine.lost(1, 1.0, clean=False)


VIOLATIONS: dict[str, tuple[Callable[[], Carriers], list[Callable[[Carriers], None]]]] = {
    "unknown record": (direct, [on(1, rec(5))]),
    "unknown record on a standby": (with_standby, [on(2, rec(77))]),
    "TAKE without HOLD": (lambda: started(sent=5), [up, on(1, rec(TAKE, 5))]),
    "TAKE below HOLD": (lambda: started(sent=5), [up, on(1, rec(HOLD, 0), rec(TAKE, 4))]),
    "TAKE above sent": (lambda: started(sent=5), [up, on(1, rec(HOLD, 0), rec(TAKE, 6))]),
    "second TAKE": (direct, [on(1, rec(TAKE, 10))]),
    "second TAKE while moving": (
        lambda: started(sent=5),
        [up, on(1, rec(HOLD, 9), rec(TAKE, 5), rec(TAKE, 5))],
    ),
    "TAKE below ACK": (with_standby, [sent_five, on(2, rec(HOLD, 20), rec(TAKE, 11))]),
    "TAKE above sent on a standby": (with_standby, [sent_five, on(2, rec(HOLD, 20), rec(TAKE, 16))]),
    "TAKE on an idle standby": (with_standby, [on(2, rec(TAKE, 10))]),
    "second HOLD": (direct, [on(1, rec(HOLD, 20))]),
    "second HOLD on a standby": (with_standby, [on(2, rec(HOLD, 20), rec(HOLD, 20))]),
    "HOLD going backwards": (with_standby, [on(2, rec(HOLD, 19))]),
    "HOLD above what was lost": (with_standby, [on(2, rec(HOLD, 21))]),
    "ACK above sent": (direct, [on(1, rec(ACK, 11))]),
    "ACK that does not rise": (direct, [on(1, rec(ACK, 10))]),
    "falling ACK": (direct, [lambda m: m.send(b"123", 1.0), on(1, rec(ACK, 13), rec(ACK, 12))]),
    "ACK before HOLD": (lambda: started(sent=5), [up, on(1, rec(ACK, 5))]),
    "ACK on a standby": (with_standby, [lambda m: m.send(b"123", 1.0), on(2, rec(ACK, 12))]),
    "HOLD on a tunnel": (started, [on(0, rec(HOLD, 0))]),
    "END of the session": (direct, [on(1, rec(END, 20))]),
    "HOLD for a stream": (direct, [on(1, rec(HOLD, 0, stream=4))]),
    "TAKE for a stream": (direct, [on(1, rec(TAKE, 0, stream=4))]),
    "a stream's ACK on a standby": (with_standby, [on(2, rec(ACK, 0, stream=4))]),
    "too much without ACK": (direct, [lambda m: m.data(1, bytes(W + limits.CARRIER_SLACK + 1), 1.0)]),
    "bytes on QUIC before our TAKE": (started, [up, lambda m: m.data(1, b"x", 1.0)]),
    "raw bytes on an idle standby": (with_standby, [lambda m: m.data(2, b"x", 1.0)]),
    "raw bytes before TAKE": (with_standby, [on(2, rec(HOLD, 20)), lambda m: m.data(2, b"x", 1.0)]),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_violations_end_the_session(name: str) -> None:
    make, steps = VIOLATIONS[name]
    machine = make()
    for number, step in enumerate(steps):
        assert "Failed" not in kinds(machine.effects()), f"too early, before step {number}"
        step(machine)
    effects = machine.effects()
    assert isinstance(error(effects), CarrierError)
    assert effects[-1] == ef.Failed(error(effects)) and not machine._carriers
    machine.data(0, b"x", 2.0)
    machine.data(1, b"x", 2.0)
    machine.send(b"x", 2.0)
    machine.handle_timer(99.0)
    assert machine.effects() == [] and machine.timer() is None and not machine._sending._chunks


def test_limits_of_violations_are_sharp() -> None:
    machine = direct()
    machine.data(1, bytes(W + limits.CARRIER_SLACK), 1.0)
    assert kinds(machine.effects()) == ["Deliver"]
    for offset in (10, 12, 15):
        machine = with_standby()
        machine.send(b"12345", 1.0)
        machine.records(2, rec(HOLD, 20) + rec(TAKE, offset), 1.0)
        assert "BeginRaw" in kinds(machine.effects())


def test_records_of_streams_are_passed_on() -> None:
    machine = direct()
    machine.records(1, rec(ACK, 7, stream=4) + rec(END, 9, stream=5) + rec(0, 1, 2), 1.0)
    assert machine.effects() == [
        ef.StreamRecord(1, Record(ACK, 4, 7)), ef.StreamRecord(1, Record(END, 5, 9)),
    ]  # fmt: skip

"""`Carriers` by hand: machines in the states that tests begin with, and what they have said."""

from __future__ import annotations

from ssbfast.wire.direct.carriers import effects as ef
from ssbfast.wire.direct.carriers.records import RecordReader, RecordType
from ssbfast.wire.direct.carriers.session import Carriers
from ssbfast.wire.direct.keys import Role

W = 1000
HOLD, TAKE, ACK, END = RecordType.HOLD, RecordType.TAKE, RecordType.ACK, RecordType.END


def rec(kind: RecordType | int, offset: int = 0, stream: int = 0) -> bytes:
    return bytes([kind]) + stream.to_bytes(8, "big") + offset.to_bytes(8, "big")


def said(effects: list[ef.Effect], carrier: int) -> list[tuple[str, int]]:
    data = b"".join(effect.data for effect in effects if isinstance(effect, ef.Records) and effect.carrier == carrier)
    return [(record.type.name, record.offset) for record in RecordReader().feed(data)]


def kinds(effects: list[ef.Effect]) -> list[str]:
    return [type(effect).__name__ for effect in effects]


def error(effects: list[ef.Effect]) -> Exception:
    return next(effect.error for effect in effects if isinstance(effect, ef.Failed))


def started(role: Role = Role.TARGET, sent: int = 0, got: int = 0) -> Carriers:
    """A machine on its first tunnel, some bytes behind it."""
    machine = Carriers(role, window=W)
    machine.claim(10)
    machine.send(b"s" * sent, 0.0)
    machine.data(0, b"g" * got, 0.0)
    machine.consumed(got, 0.0)
    machine.effects()
    return machine


def direct(role: Role = Role.TARGET, sent: int = 10, got: int = 20) -> Carriers:
    """A machine that has gone Up; QUIC is carrier 1."""
    machine = started(role, sent, got)
    assert machine.quic_up(1, 0.0) == 1
    machine.records(1, rec(HOLD, got) + rec(TAKE, sent), 0.0)
    assert machine.path == "direct"
    machine.lost(0, 0.0, clean=True)  # the caller has ended it
    machine.effects()
    return machine


def with_standby(role: Role = Role.TARGET, sent: int = 10, got: int = 20) -> Carriers:
    """The same with an idle standby: carrier 2."""
    machine = direct(role, sent, got)
    assert machine.standby_up(2, 0.0) == 2
    assert machine.effects() == []
    return machine

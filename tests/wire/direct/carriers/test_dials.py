"""Pauses between the dials of standby tunnels."""

from __future__ import annotations

from ssbfast import limits
from ssbfast.wire.direct.carriers.timers import Dials


def test_pauses_double_and_a_standby_of_use_lets_them_begin_again() -> None:
    dials = Dials(lambda: 1.0)
    pauses = []
    for now in range(9):
        dials.begin()
        dials.lost(now, urgent=False)
        pauses.append(dials.at - now)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    dials.up(100.0)
    dials.lost(100.0 + limits.STANDBY_PING - 1, urgent=False)
    assert dials.at == 100.0 + limits.STANDBY_PING - 1 + 60.0
    dials.up(300.0)
    dials.lost(300.0 + limits.STANDBY_PING, urgent=False)
    assert dials.at == 300.0 + limits.STANDBY_PING + 0.5


def test_a_session_without_carrier_waits_less() -> None:
    dials = Dials(lambda: 1.0)
    for now in range(9):
        dials.lost(now, urgent=True)
    assert dials.at == 8 + limits.RECONNECT_MAX
    dials.hurry(20.0)
    assert dials.at == 20.0
    dials.lost(20.0, urgent=True)
    assert dials.at == 20.5


def test_peers_of_a_room_that_was_away_do_not_come_back_at_once() -> None:
    early, late = Dials(lambda: 0.0), Dials(lambda: 1.0)
    for dials in (early, late):
        dials.lost(0.0, urgent=False)
    assert (early.at, late.at) == (0.25, 0.5)

"""The window of a session that moves: when it grows, and how far."""

from __future__ import annotations

import pytest

from ssbfast import limits
from ssbfast.errors import CarrierError
from ssbfast.wire.direct.carriers.retransmission import Receiving, Sending, Window

MIB = 1024 * 1024


def run(rtt: float, speed: float, *, seconds: float = 20.0, full: bool = True) -> int:
    """Return W after a while on a path with this round trip (seconds) and speed (bytes a second)."""
    window = Window(MIB, 4 * MIB)
    window.rtt = rtt
    now = 0.0
    while now < seconds:
        rate = min(speed, window.size / (rtt + limits.ACK_SECONDS / 2))
        step = max(window.size / 4 / rate, 0.001)
        now += step
        window.acked(int(rate * step), now, full=full)
    return window.size


def test_it_grows_on_long_fat_paths_up_to_its_bound() -> None:
    assert run(0.3, 50e6) == 4 * MIB
    assert MIB < run(0.2, 8e6) <= 4 * MIB


def test_it_stays_where_it_does_not_limit() -> None:
    assert run(0.01, 20e6) == MIB
    assert run(0.3, 1e6) == MIB
    assert run(0.3, 50e6, full=False) == MIB


def test_it_stays_while_the_round_trip_is_not_known() -> None:
    assert run(0.0, 50e6, seconds=1.0) == MIB


def test_a_sender_keeps_as_much_as_its_window_has_grown_to() -> None:
    sending = Sending(MIB, 4 * MIB)
    sending.hold()
    sending.window.rtt = 0.5
    now, acked = 0.0, 0
    for _ in range(200):
        while sending.room > 0:
            sending.add(bytes(65_536), now)
        now += 0.1
        acked = sending.sent - (sending.sent - acked) // 2
        sending.ack(acked, now)
    while sending.room > 0:
        sending.add(bytes(65_536), now)
    assert sending.window.size == 4 * MIB
    assert 4 * MIB <= sending.sent - sending.base <= 4 * MIB + 65_536


def test_a_receiver_allows_what_a_sender_may_have_grown_to_and_no_more() -> None:
    receiving = Receiving(MIB, 4 * MIB)
    receiving.hold(0)
    receiving.credited(4 * MIB + limits.CARRIER_SLACK)
    with pytest.raises(CarrierError):
        receiving.credited(1)

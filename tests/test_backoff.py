"""Pauses between attempts."""

from __future__ import annotations

from ssbfast import limits
from ssbfast.backoff import Backoff


def test_pauses_grow_up_to_the_longest_and_begin_again_after_a_session_of_use() -> None:
    backoff = Backoff(0.5, 2.0, 5.0, chance=lambda: 1.0, useful=3.0)
    assert [backoff.next() for _ in range(6)] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    backoff.lasted(2.9)
    assert backoff.next() == 5.0
    backoff.lasted(3.0)
    assert [backoff.next() for _ in range(2)] == [0.5, 1.0]


def test_chance_cuts_up_to_a_half() -> None:
    assert Backoff(2.0, 2.0, 5.0, chance=lambda: 0.0).next() == 1.0
    assert Backoff(2.0, 2.0, 5.0, chance=lambda: 0.5).next() == 1.5


def test_unless_told_otherwise() -> None:
    pauses = {Backoff().next() for _ in range(20)}
    assert len(pauses) > 1
    assert all(limits.RECONNECT_FIRST / 2 <= pause <= limits.RECONNECT_FIRST for pause in pauses)

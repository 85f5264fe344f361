"""Admission to the room."""

from __future__ import annotations

from ssbfast.room.admission import Admission, OpenMode
from tests.helpers.rooms import feed


def test_open_mode_lets_in_everybody_but_its_own_key() -> None:
    mode: Admission = OpenMode(feed(1))
    other: Admission = OpenMode(feed(2))
    assert [mode.decide(feed(n)) for n in (1, 2, 3)] == [False, True, True]
    assert [other.decide(feed(n)) for n in (1, 2, 3)] == [True, False, True]

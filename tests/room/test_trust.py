"""Admission to a peer."""

from __future__ import annotations

from ssbfast.room.members import Admission
from ssbfast.room.trust import AllowList
from tests.helpers.rooms import feed


def test_an_allow_list_lets_in_nobody_else() -> None:
    some: Admission = AllowList([feed(1), feed(2), feed(1)])
    none: Admission = AllowList([])
    assert [some.decide(feed(n)) for n in (1, 2, 3)] == [True, True, False]
    assert not none.decide(feed(1))
    assert repr(some) == "<AllowList of 2>"

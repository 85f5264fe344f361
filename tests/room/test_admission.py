"""Admission to the room."""

from __future__ import annotations

from ssbfast.room.admission import Admission
from ssbfast.room.registry import Registry
from ssbfast.room.tunnel_auth import AllowList
from tests.helpers.rooms import feed


def test_a_room_without_members_lets_in_everybody_but_its_own_key() -> None:
    mode: Admission = Registry(feed(1))
    other: Admission = Registry(feed(2))
    assert [mode.decide(feed(n)) for n in (1, 2, 3)] == [False, True, True]
    assert [other.decide(feed(n)) for n in (1, 2, 3)] == [True, False, True]


def test_a_list_lets_in_who_is_on_it() -> None:
    policy: Admission = AllowList([feed(1), feed(2)])
    assert [policy.decide(feed(n)) for n in (1, 2, 3)] == [True, True, False]

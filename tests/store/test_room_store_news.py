"""A room in memory that reads what changed, and one that reads everything, know the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssbfast import limits
from ssbfast.room.registry import Registry
from ssbfast.room.roles import STORED_ROLES, Mode, Role
from ssbfast.store.room_store import RoomStore
from tests.helpers.room_stores import SIGNATURE, Clock, hash_number
from tests.helpers.rooms import feed

FEEDS = st.integers(0, 3).map(feed)
BY = st.one_of(st.none(), st.none(), FEEDS)
NAMES = st.sampled_from(["alice", "bob", "carla"])
NUMBERS = st.integers(1, 4)

Step = tuple[str, tuple[Any, ...]]
STEPS: dict[str, Callable[..., object]] = {
    "add": lambda store, who, by, role: store.add_member(who, role, by=by),
    "role": lambda store, who, by, role: store.set_role(who, role, by=by),
    "remove": lambda store, who, by, force: store.remove_member(who, by=by, force=force),
    "block": lambda store, who, by, force: store.block(who, "", by=by, force=force),
    "unblock": lambda store, who, by: store.unblock(who, by=by),
    "mode": lambda store, mode, who: store.change_settings(by=None, mode=mode, members=[who]),
    "invite": lambda store, n, by: store.find_invite(hash_number(n)) or store.create_invite(hash_number(n), by=by),
    "claim": lambda store, n, who: store.claim_invite(hash_number(n), who, 5.0),
    "revoke": lambda store, n, by: store.revoke_invite(n, by=by),
    "alias": lambda store, name, who: store.register_alias(name, who, SIGNATURE, most=2, now=store._now()),
    "free": lambda store, name, by: store.revoke_alias(name, by=by),
    "sweep": lambda store: store.sweep(store._now()),
}
_ROLES = st.sampled_from(STORED_ROLES)


def step(name: str, *values: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(name), st.tuples(*values))


CHANGES = st.one_of(
    step("add", FEEDS, BY, _ROLES),
    step("role", FEEDS, BY, _ROLES),
    step("remove", FEEDS, BY, st.booleans()),
    step("block", FEEDS, BY, st.booleans()),
    step("unblock", FEEDS, BY),
    step("mode", st.sampled_from(Mode), FEEDS),
    step("invite", NUMBERS, BY),
    step("claim", NUMBERS, FEEDS),
    step("revoke", NUMBERS, BY),
    step("alias", NAMES, FEEDS),
    step("free", NAMES, BY),
    step("sweep"),
    step("days", st.sampled_from([1.0, 31.0, 100.0])),
    step("look"),
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(CHANGES, max_size=40))
def test_what_changed_is_all_that_changed(steps: list[Step]) -> None:
    clock = Clock()
    with TemporaryDirectory() as name, RoomStore(name, now=clock) as store:
        store._connection.execute("PRAGMA synchronous = OFF")
        always, sometimes = Registry(feed(99)), Registry(feed(99))
        for action, values in steps:
            if action == "days":
                clock.now += values[0] * 86_400.0
            elif action == "look":
                sometimes.apply(store.news(sometimes.number))
            else:
                STEPS[action](store, *values)
            always.apply(store.news(always.number))
        sometimes.apply(store.news(sometimes.number))
        fresh = Registry(feed(99))
        fresh.apply(store.news(None))
        for registry in (always, sometimes):
            assert registry.keys() == fresh.keys()
            assert registry.settings == fresh.settings
            assert registry._aliases == fresh._aliases
        assert {one.feed: one.role for one in store.members()} == {
            who: standing.role for who, standing in fresh.keys().items() if standing.role in STORED_ROLES
        }


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RoomStore]:
    with RoomStore(tmp_path, now=Clock()) as store:
        yield store


@pytest.mark.parametrize(
    ("before", "step"),
    [
        ([], ("add", feed(1), None, Role.ADMIN)),
        ([("add", feed(1), None, Role.MEMBER)], ("role", feed(1), None, Role.ADMIN)),
        ([("add", feed(1), None, Role.MEMBER)], ("remove", feed(1), None, False)),
        ([("add", feed(1), None, Role.MEMBER)], ("block", feed(1), None, False)),
        ([("alias", "alice", feed(1))], ("remove", feed(1), None, False)),
        ([("alias", "alice", feed(1))], ("block", feed(1), None, False)),
        ([("block", feed(1), None, False)], ("unblock", feed(1), None)),
        ([], ("mode", Mode.COMMUNITY, feed(1))),
        ([("invite", 1, None)], ("claim", 1, feed(1))),
        ([("invite", 1, feed(2))], ("claim", 1, feed(1))),
        ([], ("alias", "alice", feed(1))),
        ([("alias", "alice", feed(1))], ("free", "alice", feed(1))),
    ],
)
def test_each_change_is_in_the_news(store: RoomStore, before: list[tuple[Any, ...]], step: tuple[Any, ...]) -> None:
    for name, *values in before:
        STEPS[name](store, *values)
    old = store.news(None)
    STEPS[step[0]](store, *step[1:])
    news, whole = store.news(old.number), store.news(None)
    assert not news.is_whole
    assert old.standings.get(feed(1)) != whole.standings.get(feed(1))
    known = {who: one for who, one in {**old.standings, **news.standings}.items() if one.role or one.aliases}
    assert known == whole.standings
    assert set(news.standings) == {feed(1)}


def test_one_change_is_one_standing(store: RoomStore) -> None:
    for n in range(10):
        store.add_member(feed(n), by=None)
    number = store.news(None).number
    assert not store.news(number).standings and not store.news(number).is_whole
    store.block(feed(3), "", by=None)
    news = store.news(number)
    assert (set(news.standings), news.is_whole, news.number) == ({feed(3)}, False, number + 1)
    assert news.standings[feed(3)].role is Role.BLOCKED


def test_all_is_new_where_the_line_is_not_kept(store: RoomStore) -> None:
    clock = store._now
    if not isinstance(clock, Clock):
        raise LookupError
    store.add_member(feed(1), by=None)
    store.add_member(feed(2), by=None)
    clock.now += limits.AUDIT_DAYS * 86_400.0 + 1
    store.sweep(clock.now)
    assert store.audit() == []
    assert store.news(0).is_whole and store.news(1).is_whole and not store.news(2).is_whole
    store.block(feed(2), "", by=None)
    assert store.news(1).is_whole and not store.news(2).is_whole
    assert store.news(99).is_whole  # of a file that was newer

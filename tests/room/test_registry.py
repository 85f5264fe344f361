"""What a room knows of keys without asking its store, and what it says is different."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from ssbfast.ids import FeedId
from ssbfast.room.records import AliasRecord, News, Settings, Standing
from ssbfast.room.registry import AliasesChanged, ModeChanged, Registry, RoleChanged, SettingsChanged
from ssbfast.room.roles import Action, Mode, Role, may
from tests.helpers.rooms import feed

ME, ALICE, BOB, CARLA = feed(0), feed(1), feed(2), feed(3)


def alias(name: str, who: FeedId) -> AliasRecord:
    return AliasRecord(name, who, bytes(64), 1.0)


def standing(role: Role, *aliases: AliasRecord) -> Standing:
    return Standing(role, aliases)


@pytest.fixture
def registry() -> Registry:
    found = Registry(ME)
    standings = {ALICE: standing(Role.ADMIN, alias("alice", ALICE)), BOB: standing(Role.BLOCKED)}
    found.apply(News(5, Settings(), standings, is_whole=True))
    return found


def test_before_any_news_everyone_may_come() -> None:
    registry = Registry(ME)
    assert (registry.number, registry.mode, registry.role(ALICE)) == (None, Mode.OPEN, Role.EXTERNAL)
    assert registry.decide(ALICE) and registry.is_internal(ALICE)
    assert not registry.decide(ME)
    assert registry.aliases_of(ALICE) == () and registry.alias("alice") is None


def test_roles_and_aliases(registry: Registry) -> None:
    assert [registry.role(who) for who in (ALICE, BOB, CARLA)] == [Role.ADMIN, Role.BLOCKED, Role.EXTERNAL]
    assert registry.alias("alice") == alias("alice", ALICE)
    assert registry.aliases_of(ALICE) == (alias("alice", ALICE),)
    assert [registry.count(role) for role in (Role.ADMIN, Role.MEMBER, Role.BLOCKED)] == [1, 0, 1]
    assert set(registry.keys()) == {ALICE, BOB}
    assert not registry.decide(BOB) and registry.decide(CARLA)
    assert registry.may_act_on(ALICE, BOB) and not registry.may_act_on(CARLA, ALICE)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("action", Action)
def test_it_decides_as_the_table_does(registry: Registry, mode: Mode, action: Action) -> None:
    registry.apply(News(6, Settings(mode=mode, mode_by=Role.MODERATOR), {CARLA: standing(Role.MODERATOR)}))
    for who in (ALICE, BOB, CARLA, feed(9)):
        assert registry.may(who, action) == may(registry.role(who), mode, action, mode_by=Role.MODERATOR)
    assert registry.may(None, action) == may(Role.EXTERNAL, mode, action)
    assert registry.decide(feed(9)) == (mode is not Mode.RESTRICTED)
    assert registry.is_internal(feed(9)) == (mode is Mode.OPEN)
    assert registry.is_internal(CARLA) and not registry.is_internal(BOB)


def test_what_is_different(registry: Registry) -> None:
    moved = replace(alias("alice", CARLA), since=2.0)
    changes = registry.apply(
        News(
            7,
            Settings(mode=Mode.COMMUNITY),
            {ALICE: standing(Role.EXTERNAL), CARLA: standing(Role.MEMBER, moved), BOB: standing(Role.BLOCKED)},
        )
    )
    assert changes == [
        ModeChanged(Mode.OPEN, Mode.COMMUNITY),
        SettingsChanged(),
        RoleChanged(ALICE, Role.ADMIN, Role.EXTERNAL),
        AliasesChanged(ALICE),
        RoleChanged(CARLA, Role.EXTERNAL, Role.MEMBER),
        AliasesChanged(CARLA),
    ]
    assert registry.alias("alice") == moved and set(registry.keys()) == {BOB, CARLA}
    assert registry.number == 7


@pytest.mark.parametrize("taker_first", [False, True])
def test_a_name_that_changes_hands(registry: Registry, taker_first: bool) -> None:
    moved = alias("alice", CARLA)
    both = [(ALICE, standing(Role.ADMIN)), (CARLA, standing(Role.EXTERNAL, moved))]
    registry.apply(News(6, Settings(), dict(reversed(both) if taker_first else both)))
    assert registry.alias("alice") == moved


def test_the_same_again_changes_nothing(registry: Registry) -> None:
    standings = dict(registry.keys())
    assert registry.apply(News(6, Settings(), standings)) == []
    assert registry.apply(News(7, Settings(), {})) == []
    assert registry.apply(News(8, Settings(), standings, is_whole=True)) == []
    assert registry.apply(News(9, Settings(name="Room"), {})) == [SettingsChanged()]


def test_whole_news_take_away_what_they_lack(registry: Registry) -> None:
    changes = registry.apply(News(9, Settings(), {CARLA: standing(Role.MEMBER)}, is_whole=True))
    assert set(registry.keys()) == {CARLA} and registry.alias("alice") is None
    assert {change.feed for change in changes if isinstance(change, RoleChanged)} == {ALICE, BOB, CARLA}
    assert registry.decide(BOB)


def test_old_news(registry: Registry) -> None:
    assert registry.apply(News(4, Settings(mode=Mode.RESTRICTED), {ALICE: standing(Role.EXTERNAL)})) == []
    assert (registry.mode, registry.role(ALICE), registry.number) == (Mode.OPEN, Role.ADMIN, 5)
    # of another store, which has taken the place of the one before
    assert registry.apply(News(2, Settings(), {BOB: standing(Role.BLOCKED)}, is_whole=True)) != []
    assert (registry.role(ALICE), registry.number) == (Role.EXTERNAL, 2)


def test_roles_are_counted_as_they_change() -> None:
    """Each page with figures asks: the keys are not counted anew."""
    rng = random.Random(1)
    registry = Registry(feed(0))
    for number in range(1, 400):
        key, role = feed(rng.randrange(1, 9)), rng.choice(list(Role)[:5])
        names = (alias("a", key),) if rng.random() < 0.3 else ()
        registry.apply(News(number, Settings(), {key: Standing(role, names)}, is_whole=rng.random() < 0.1))
        roles = [one.role for one in registry.keys().values()]
        assert [registry.count(role) for role in Role] == [roles.count(role) for role in Role]

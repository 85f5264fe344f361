"""What a room knows of keys in memory, and what it says is different after news."""

from __future__ import annotations

from dataclasses import replace

from ssbfast.room.records import Alias, News, Settings, Standing
from ssbfast.room.registry import AliasesChanged, ModeChanged, Registry, RoleChanged, SettingsChanged
from ssbfast.room.roles import Action, Mode, Role
from tests.helpers.rooms import feed

A, B, C = feed(1), feed(2), feed(3)
COMMUNITY = Settings(mode=Mode.COMMUNITY)


def alias(name: str, number: int) -> Alias:
    return Alias(name, feed(number), bytes(64), 1.0)


def filled() -> Registry:
    registry = Registry(feed(9), COMMUNITY)
    registry.apply(News(1, COMMUNITY, {A: Standing(Role.MEMBER, (alias("a", 1),)), B: Standing(Role.BLOCKED)}, True))
    return registry


def test_it_knows_what_it_was_told() -> None:
    registry = filled()
    assert [registry.role(id) for id in (A, B, C)] == [Role.MEMBER, Role.BLOCKED, Role.EXTERNAL]
    assert [registry.is_internal(id) for id in (A, B, C)] == [True, False, False]
    assert [registry.decide(id) for id in (A, B, C, feed(9))] == [True, False, True, False]
    assert registry.alias("a") == alias("a", 1) and registry.alias("b") is None
    assert registry.aliases_of(A) == (alias("a", 1),) and registry.aliases_of(C) == ()
    assert [registry.count(role) for role in (Role.MEMBER, Role.BLOCKED, Role.ADMIN)] == [1, 1, 0]
    assert registry.may(None, Action.SESSION) and not registry.may(None, Action.ATTENDANTS)
    assert set(registry.keys()) == {A, B}


def test_changes_are_told_once() -> None:
    registry = filled()
    news = News(2, COMMUNITY, {A: Standing(Role.BLOCKED), B: Standing(Role.EXTERNAL)})
    changes = [
        RoleChanged(A, Role.MEMBER, Role.BLOCKED),
        AliasesChanged(A),
        RoleChanged(B, Role.BLOCKED, Role.EXTERNAL),
    ]
    assert registry.apply(news) == changes
    assert registry.apply(news) == []
    assert registry.alias("a") is None and set(registry.keys()) == {A}


def test_old_news_change_nothing_but_whole_ones_are_of_another_store() -> None:
    registry = filled()
    assert registry.apply(News(0, Settings(), {C: Standing(Role.ADMIN)})) == []
    assert registry.role(C) is Role.EXTERNAL and registry.mode is Mode.COMMUNITY
    assert registry.apply(News(0, COMMUNITY, {C: Standing(Role.ADMIN)}, is_whole=True)) == [
        RoleChanged(C, Role.EXTERNAL, Role.ADMIN),
        RoleChanged(A, Role.MEMBER, Role.EXTERNAL),
        AliasesChanged(A),
        RoleChanged(B, Role.BLOCKED, Role.EXTERNAL),
    ]
    assert registry.number == 0


def test_an_alias_that_goes_from_one_key_to_another() -> None:
    registry = filled()
    taken = {C: Standing(Role.MEMBER, (alias("a", 3),)), A: Standing(Role.MEMBER)}
    registry.apply(News(2, COMMUNITY, taken))
    found = registry.alias("a")
    assert found is not None and found.feed == C


def test_modes_and_settings() -> None:
    registry = filled()
    named = replace(COMMUNITY, name="The room")
    assert registry.apply(News(2, named, {})) == [SettingsChanged()]
    closed = replace(named, mode=Mode.RESTRICTED)
    assert registry.apply(News(3, closed, {})) == [ModeChanged(Mode.COMMUNITY, Mode.RESTRICTED), SettingsChanged()]
    assert not registry.decide(C) and registry.decide(A)
    assert registry.apply(News(4, closed, {})) == []

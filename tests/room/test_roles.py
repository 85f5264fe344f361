"""Roles × modes × actions: the table of the code against one written by hand from the requirements."""

from __future__ import annotations

import pytest

from ssbfast.room.roles import STORED_ROLES, Action, Mode, Role, features, has_aliases, may, may_act_on

# Each row: who may in the modes open, community, restricted. "all": everyone who is not blocked; "member", "mod" and
# "admin": they and those above; "-": nobody. Written from the requirements, not from the code.
BY_HAND = """
    SESSION            all     all     member
    METADATA           all     all     member
    ANNOUNCE           all     member  member
    ATTENDANTS         all     member  member
    CONNECT            all     all     member
    REGISTER_ALIAS     all     member  -
    REVOKE_OWN_ALIAS   all     member  member
    LIST_ALIASES       all     member  member
    CREATE_INVITE      all     member  mod
    SEE_ALL_INVITES    mod     mod     mod
    CLAIM_INVITE       all     all     all
    SIGN_IN            member  member  member
    SEE_MEMBERS        member  member  member
    SEE_ONLINE         member  member  member
    SEE_DENIED         mod     mod     mod
    BLOCK              mod     mod     mod
    REVOKE_ANY_ALIAS   mod     mod     mod
    NOMINATE_MODERATOR mod     mod     mod
    DISMISS_MODERATOR  admin   admin   admin
    CHANGE_ADMINS      admin   admin   admin
    HELP_SIGN_IN       admin   admin   admin
    CHANGE_MODE        admin   admin   admin
    CHANGE_SETTINGS    admin   admin   admin
    EDIT_NOTICES       mod     mod     mod
    SEE_AUDIT          mod     mod     mod
"""
MODES = (Mode.OPEN, Mode.COMMUNITY, Mode.RESTRICTED)
WHO = {
    "all": {Role.EXTERNAL, Role.MEMBER, Role.MODERATOR, Role.ADMIN, Role.OPERATOR},
    "member": {Role.MEMBER, Role.MODERATOR, Role.ADMIN, Role.OPERATOR},
    "mod": {Role.MODERATOR, Role.ADMIN, Role.OPERATOR},
    "admin": {Role.ADMIN, Role.OPERATOR},
    "-": set(),
}
ROWS = {name: dict(zip(MODES, words, strict=True)) for name, *words in map(str.split, BY_HAND.strip().splitlines())}


def test_every_action_is_in_the_table_by_hand() -> None:
    assert set(ROWS) == set(Action.__members__)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("action", Action)
def test_who_may_what(action: Action, mode: Mode) -> None:
    assert {role for role in Role if may(role, mode, action)} == WHO[ROWS[action.name][mode]]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("action", Action)
def test_rights_only_grow_with_the_role(action: Action, mode: Mode) -> None:
    rights = [may(role, mode, action) for role in sorted(Role)]
    assert rights == sorted(rights)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("action", Action)
def test_a_blocked_key_may_nothing(action: Action, mode: Mode) -> None:
    assert not may(Role.BLOCKED, mode, action)
    assert not may(Role.BLOCKED, mode, action, mode_by=Role.EXTERNAL)


@pytest.mark.parametrize("action", [one for one in Action if one is not Action.CLAIM_INVITE])
def test_no_mode_gives_outsiders_more_than_the_one_before(action: Action) -> None:
    rights = [may(Role.EXTERNAL, mode, action) for mode in MODES]
    assert rights == sorted(rights, reverse=True)


def test_moderators_change_the_mode_where_the_settings_say_so() -> None:
    for mode in MODES:
        found = {role for role in Role if may(role, mode, Action.CHANGE_MODE, mode_by=Role.MODERATOR)}
        assert found == WHO["mod"]
        for action in set(Action) - {Action.CHANGE_MODE}:
            for role in Role:
                assert may(role, mode, action, mode_by=Role.MODERATOR) == may(role, mode, action)


def test_moderators_do_nothing_to_admins() -> None:
    allowed = {(actor.word, target.word) for actor in Role for target in STORED_ROLES if may_act_on(actor, target)}
    assert {pair for pair in allowed if pair[1] == "admin"} == {("admin", "admin"), ("operator", "admin")}
    for target in ("member", "moderator"):
        assert ("moderator", target) in allowed
    assert may_act_on(Role.MODERATOR, Role.EXTERNAL) and may_act_on(Role.MODERATOR, Role.BLOCKED)


@pytest.mark.parametrize(
    ("mode", "is_web", "has_alias_store", "names"),
    [
        (None, False, True, "tunnel room1 room2"),
        (None, True, True, "tunnel room1 room2 httpAuth httpInvite"),
        (Mode.OPEN, False, True, "tunnel room1 room2 alias"),
        (Mode.OPEN, False, False, "tunnel room1 room2"),
        (Mode.OPEN, True, True, "tunnel room1 room2 alias httpAuth httpInvite"),
        (Mode.COMMUNITY, False, True, "tunnel room2 alias"),
        (Mode.COMMUNITY, True, True, "tunnel room2 alias httpAuth httpInvite"),
        (Mode.RESTRICTED, False, True, "tunnel room2"),
        (Mode.RESTRICTED, True, True, "tunnel room2 httpAuth httpInvite"),
    ],
)
def test_features(mode: Mode | None, is_web: bool, has_alias_store: bool, names: str) -> None:
    assert features(mode, is_web=is_web, has_alias_store=has_alias_store) == tuple(names.split())


def test_modes_and_words() -> None:
    assert [has_aliases(mode) for mode in MODES] == [True, True, False]
    assert [role.word for role in STORED_ROLES] == ["member", "moderator", "admin"]
    assert Mode("restricted") is Mode.RESTRICTED

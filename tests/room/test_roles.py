"""Who may do what: the table of the specification, written once more by hand, against the one that decides."""

from __future__ import annotations

import itertools

import pytest

from ssbfast.room.roles import STORED_ROLES, Action, Mode, Role, features, has_aliases, may, may_act_on

# blocked, external, member, moderator, admin, operator; by mode: open, community, restricted.
EVERYONE, MEMBERS, MODERATORS, ADMINS, NOBODY = "-+++++", "--++++", "---+++", "----++", "------"
TABLE = {
    Action.SESSION: (EVERYONE, EVERYONE, MEMBERS),
    Action.METADATA: (EVERYONE, EVERYONE, MEMBERS),
    Action.ANNOUNCE: (EVERYONE, MEMBERS, MEMBERS),
    Action.ATTENDANTS: (EVERYONE, MEMBERS, MEMBERS),
    Action.CONNECT: (EVERYONE, EVERYONE, MEMBERS),
    Action.REGISTER_ALIAS: (EVERYONE, MEMBERS, NOBODY),
    Action.REVOKE_OWN_ALIAS: (EVERYONE, MEMBERS, MEMBERS),
    Action.LIST_ALIASES: (EVERYONE, MEMBERS, MEMBERS),
    Action.CREATE_INVITE: (EVERYONE, MEMBERS, MODERATORS),
    Action.SEE_ALL_INVITES: (MODERATORS, MODERATORS, MODERATORS),
    Action.CLAIM_INVITE: (EVERYONE, EVERYONE, EVERYONE),
    Action.SIGN_IN: (MEMBERS, MEMBERS, MEMBERS),
    Action.SEE_MEMBERS: (MEMBERS, MEMBERS, MEMBERS),
    Action.SEE_ONLINE: (MEMBERS, MEMBERS, MEMBERS),
    Action.SEE_DENIED: (MODERATORS, MODERATORS, MODERATORS),
    Action.BLOCK: (MODERATORS, MODERATORS, MODERATORS),
    Action.REVOKE_ANY_ALIAS: (MODERATORS, MODERATORS, MODERATORS),
    Action.NOMINATE_MODERATOR: (MODERATORS, MODERATORS, MODERATORS),
    Action.DISMISS_MODERATOR: (ADMINS, ADMINS, ADMINS),
    Action.CHANGE_ADMINS: (ADMINS, ADMINS, ADMINS),
    Action.HELP_SIGN_IN: (ADMINS, ADMINS, ADMINS),
    Action.CHANGE_MODE: (ADMINS, ADMINS, ADMINS),
    Action.CHANGE_SETTINGS: (ADMINS, ADMINS, ADMINS),
    Action.EDIT_NOTICES: (MODERATORS, MODERATORS, MODERATORS),
    Action.SEE_AUDIT: (MODERATORS, MODERATORS, MODERATORS),
}


@pytest.mark.parametrize("action", Action)
def test_each_action_in_each_mode(action: Action) -> None:
    for mode, expected in zip(Mode, TABLE[action], strict=True):
        assert "".join("+" if may(role, mode, action) else "-" for role in Role) == expected, mode


def test_moderators_may_change_the_mode_where_the_settings_say_so() -> None:
    for mode, role in itertools.product(Mode, Role):
        assert may(role, mode, Action.CHANGE_MODE, mode_by=Role.MODERATOR) is (role >= Role.MODERATOR)
        assert may(role, mode, Action.CHANGE_SETTINGS, mode_by=Role.MODERATOR) is (role >= Role.ADMIN)


def test_a_moderator_does_nothing_to_an_admin() -> None:
    for actor, target in itertools.product((Role.MODERATOR, Role.ADMIN, Role.OPERATOR), STORED_ROLES):
        assert may_act_on(actor, target) is not (actor is Role.MODERATOR and target is Role.ADMIN)


def test_features() -> None:
    assert features(None, is_web=False) == ("tunnel", "room1", "room2")
    assert features(Mode.OPEN, is_web=False) == ("tunnel", "room1", "room2", "alias")
    assert features(Mode.COMMUNITY, is_web=True) == ("tunnel", "room2", "alias", "httpAuth", "httpInvite")
    assert features(Mode.RESTRICTED, is_web=True) == ("tunnel", "room2", "httpAuth", "httpInvite")
    assert features(Mode.OPEN, is_web=False, has_alias_store=False) == ("tunnel", "room1", "room2")
    assert [has_aliases(mode) for mode in Mode] == [True, True, False]


def test_words_of_roles() -> None:
    assert [role.word for role in STORED_ROLES] == ["member", "moderator", "admin"]

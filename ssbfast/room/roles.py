"""The roles of a room's peers, its privacy modes, and what each role may do in each mode: one table.

A role belongs to a key, and a mode to the room. `may` decides over one action; `may_act_on` over an action that has a
peer as its object. Blocked keys have the role `BLOCKED`, which may do nothing in any mode.

Source: SIP 7, "Privacy modes" and "Stakeholders". Where it leaves room, the stricter reading.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Final


class Role(IntEnum):
    """The role of a key in a room. A higher role has the rights of the lower ones.

    Only MEMBER, MODERATOR and ADMIN are stored. An OPERATOR has a shell on the room's machine, and needs no key.
    """

    BLOCKED = -1
    EXTERNAL = 0
    MEMBER = 1
    MODERATOR = 2
    ADMIN = 3
    OPERATOR = 4

    @property
    def word(self) -> str:
        """Return the role as it is written: "member"."""
        return self.name.lower()


STORED_ROLES: Final = (Role.MEMBER, Role.MODERATOR, Role.ADMIN)


class Mode(str, Enum):
    """The privacy mode of a room."""

    OPEN = "open"
    COMMUNITY = "community"
    RESTRICTED = "restricted"


class Action(Enum):
    """An action that a room may refuse."""

    SESSION = "have a session with the room"
    METADATA = "ask for metadata"
    ANNOUNCE = "be announced"
    ATTENDANTS = "see who is online or a member, by muxrpc"
    CONNECT = "open a tunnel to an internal user"
    REGISTER_ALIAS = "register an alias"
    REVOKE_OWN_ALIAS = "revoke an own alias"
    LIST_ALIASES = "list the aliases of another peer"
    CREATE_INVITE = "create an invite"
    SEE_ALL_INVITES = "see and revoke the invites of others"
    CLAIM_INVITE = "claim an invite"
    SIGN_IN = "sign in to the web site, and see the dashboard, own page, aliases and invites"
    SEE_MEMBERS = "see the members"
    SEE_ONLINE = "see who is online, by web"
    SEE_DENIED = "see the deny list"
    BLOCK = "block and unblock keys, remove members"
    REVOKE_ANY_ALIAS = "revoke the alias of another peer"
    NOMINATE_MODERATOR = "make a member a moderator, and a key a member"
    DISMISS_MODERATOR = "make a moderator a member"
    CHANGE_ADMINS = "make and unmake admins"
    HELP_SIGN_IN = "make login links for others"
    CHANGE_MODE = "change the privacy mode"
    CHANGE_SETTINGS = "change name, language, days of invites, style of aliases"
    EDIT_NOTICES = "edit the notices"
    SEE_AUDIT = "see the audit log and the measurements"


_E, _M, _MOD, _A = Role.EXTERNAL, Role.MEMBER, Role.MODERATOR, Role.ADMIN

_LEAST: Final[dict[Action, tuple[Role | None, Role | None, Role | None]]] = {
    # The lowest role that may, in the modes Open, Community, Restricted. None: no role.
    Action.SESSION: (_E, _E, _M),
    Action.METADATA: (_E, _E, _M),
    Action.ANNOUNCE: (_E, _M, _M),
    Action.ATTENDANTS: (_E, _M, _M),
    Action.CONNECT: (_E, _E, _M),
    Action.REGISTER_ALIAS: (_E, _M, None),
    Action.REVOKE_OWN_ALIAS: (_E, _M, _M),
    Action.LIST_ALIASES: (_E, _M, _M),
    Action.CREATE_INVITE: (_E, _M, _MOD),
    Action.SEE_ALL_INVITES: (_MOD, _MOD, _MOD),
    Action.CLAIM_INVITE: (_E, _E, _E),
    Action.SIGN_IN: (_M, _M, _M),
    Action.SEE_MEMBERS: (_M, _M, _M),
    Action.SEE_ONLINE: (_M, _M, _M),
    Action.SEE_DENIED: (_MOD, _MOD, _MOD),
    Action.BLOCK: (_MOD, _MOD, _MOD),
    Action.REVOKE_ANY_ALIAS: (_MOD, _MOD, _MOD),
    Action.NOMINATE_MODERATOR: (_MOD, _MOD, _MOD),
    Action.DISMISS_MODERATOR: (_A, _A, _A),
    Action.CHANGE_ADMINS: (_A, _A, _A),
    Action.HELP_SIGN_IN: (_A, _A, _A),
    Action.CHANGE_MODE: (_A, _A, _A),  # see the parameter mode_by
    Action.CHANGE_SETTINGS: (_A, _A, _A),
    Action.EDIT_NOTICES: (_MOD, _MOD, _MOD),
    Action.SEE_AUDIT: (_MOD, _MOD, _MOD),
}
_COLUMN: Final = {Mode.OPEN: 0, Mode.COMMUNITY: 1, Mode.RESTRICTED: 2}


def may(role: Role, mode: Mode, action: Action, *, mode_by: Role = Role.ADMIN) -> bool:
    """Return whether a role may do something.

    Args:
        role: The role of the peer that acts.
        mode: The room's privacy mode.
        action: What it wants to do.
        mode_by: The lowest role that may change the mode: MODERATOR or ADMIN, by the room's settings.
    """
    if role is Role.BLOCKED:
        return False
    least = mode_by if action is Action.CHANGE_MODE else _LEAST[action][_COLUMN[mode]]
    return least is not None and role >= least


def may_act_on(actor: Role, target: Role) -> bool:
    """Return whether a peer that may block, remove or revoke may do so to a peer of another role.

    A moderator may not act on an admin.
    """
    return actor >= Role.ADMIN or target < Role.ADMIN


def right_for(old: Role, new: Role) -> Action:
    """Return the right that a change of a key's role needs."""
    if Role.ADMIN in (old, new):
        return Action.CHANGE_ADMINS
    return Action.DISMISS_MODERATOR if old is Role.MODERATOR else Action.NOMINATE_MODERATOR


def has_aliases(mode: Mode) -> bool:
    """Return whether a room of this mode serves aliases."""
    return mode is not Mode.RESTRICTED


def features(mode: Mode | None, *, is_web: bool, has_alias_store: bool = True) -> tuple[str, ...]:
    """Return the features that room.metadata names.

    Args:
        mode: The room's mode; None for a room that keeps no members, which is open.
        is_web: True while a web endpoint runs.
        has_alias_store: False for a room that cannot keep aliases.
    """
    names = ["tunnel"]
    if mode in (None, Mode.OPEN):
        names.append("room1")
    names.append("room2")
    if mode is not None and has_aliases(mode) and has_alias_store:
        names.append("alias")
    if is_web:
        names += ["httpAuth", "httpInvite"]
    return tuple(names)

"""What a room keeps: members, blocked keys, invites, aliases, and what its web site adds; and the store that keeps it.

A room asks its store to change something, and believes what the store says happened: every change is one transaction,
compares before it sets, and writes its line of the audit log with it. So two processes, or two machines, may change one
room at once. What a room must know at each call, it has in memory (`ssbfast.room.registry`), and keeps up by reading
what changed since a line of the audit log.

`by` is the peer that changed something; None is the operator. Times are seconds since 1970. No record holds an address.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

from ssbfast.ids import FeedId
from ssbfast.room.roles import Mode, Role


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a room.

    Attributes:
        mode: The privacy mode.
        name: The room's name for people; empty: its host name.
        description: One line about the room; may be empty.
        language: The language of pages for visitors that ask for none we have.
        invite_days: Days that an invite is valid unless its maker says otherwise.
        alias_style: "path" (`https://HOST/ALIAS`) or "subdomain" (`https://ALIAS.HOST`).
        mode_by: The lowest role that may change the mode: MODERATOR or ADMIN.
    """

    mode: Mode = Mode.OPEN
    name: str = ""
    description: str = ""
    language: str = "en"
    invite_days: int = 30
    alias_style: str = "path"
    mode_by: Role = Role.ADMIN


@dataclass(frozen=True, slots=True)
class Member:
    """A key with a role. invite: the number of the invite that it claimed. has_password: for the web site."""

    feed: FeedId
    role: Role
    since: float
    by: FeedId | None = None
    invite: int | None = None
    has_password: bool = False


@dataclass(frozen=True, slots=True)
class Denied:
    """A blocked key."""

    feed: FeedId
    comment: str
    by: FeedId | None
    since: float


@dataclass(frozen=True, slots=True)
class AliasRecord:
    """An alias. signature: its owner's, 64 bytes. freed: when its owner revoked it; None while it is in use."""

    name: str
    feed: FeedId
    signature: bytes
    since: float
    freed: float | None = None


@dataclass(frozen=True, slots=True)
class Invite:
    """An invite, without its code. expires: None for never. revoked: None unless it was."""

    number: int
    by: FeedId | None
    note: str
    created: float
    expires: float | None
    uses: int
    used: int
    revoked: float | None

    def is_open(self, now: float) -> bool:
        """Return whether it can be claimed, as far as it alone decides."""
        return self.used < self.uses and self.revoked is None and (self.expires is None or now < self.expires)


@dataclass(frozen=True, slots=True)
class WebSession:
    """A browser that is signed in. hash: SHA-256 of its token. browser: the family's name only."""

    hash: bytes = field(repr=False)
    feed: FeedId
    created: float
    seen: float
    browser: str


@dataclass(frozen=True, slots=True)
class Notice:
    """A text of the room in one language, in Markdown."""

    name: str
    language: str
    title: str
    body: str
    changed: float


@dataclass(frozen=True, slots=True)
class AuditLine:
    """A line of the audit log.

    Attributes:
        number: It rises by one, and is never given again.
        time: When it was done.
        by: The key that did it; None for the operator.
        action: One of `AUDIT_ACTIONS`.
        subject: The peer that it was done to, if any.
        detail: "invite 7", an alias, a role, "mode: open → community", …
    """

    number: int
    time: float
    by: FeedId | None
    action: str
    subject: FeedId | None
    detail: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What a store knows of one key that a room keeps in memory.

    Attributes:
        role: BLOCKED, EXTERNAL or a stored role.
        aliases: The aliases in use.
    """

    role: Role
    aliases: tuple[AliasRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class News:
    """What changed in a store since a line of its audit log.

    Attributes:
        number: The newest line of the audit log.
        settings: The settings as they are now.
        standings: The keys that were changed, or all that are in the store. A key that is in neither list any more has
            the role EXTERNAL.
        is_whole: True when `standings` holds all keys, so that those it lacks are external.
    """

    number: int
    settings: Settings
    standings: Mapping[FeedId, Standing]
    is_whole: bool = False


AUDIT_ACTIONS: Final = (
    *("add", "role", "remove", "block", "unblock", "settings", "invite", "revoke invite", "claim", "alias"),
    *("revoke alias", "link", "use link", "password", "notice", "import"),
)
"""What lines of the audit log are about."""


class Outcome(str, Enum):
    """What a change came to, where there is more to say than whether it happened."""

    DONE = "done"
    UNCHANGED = "unchanged"
    MISSING = "missing"
    TAKEN = "taken"
    TOO_MANY = "too many"
    FULL = "full"
    LAST_ADMIN = "last admin"
    BLOCKED = "blocked"
    FORBIDDEN = "forbidden"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Claim:
    """What claiming an invite came to.

    Attributes:
        outcome: DONE, UNCHANGED (the key is a member already: nothing is used up), FULL (the room takes no more members
            that come by themselves; nothing is used up), or INVALID, for every other reason.
    """

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class NewInvite:
    """What making an invite came to.

    Attributes:
        outcome: DONE, FORBIDDEN (its maker may not invite), or FULL (there are enough invites of visitors
            and of members that came by themselves).
        number: Its number; 0 when nothing is kept.
    """

    outcome: Outcome
    number: int = 0


class RoomRecords(Protocol):
    """The store of a room. Every method may be called from any thread, and raises StoreError when it cannot be used.

    What `by` may do (`ssbfast.room.roles`) is decided in the transaction, by the role that it has then: a method that
    changes something returns FORBIDDEN, and changes nothing, if its role or the mode does not allow it. None, the
    operator, may do everything.

    In an open room everyone may become a member, by an alias or by the invite of a visitor. Members that came so, and
    those that such members have let in, are limited in all, with their invites and aliases (`limits.SELF_JOINED_…`);
    no one else is. A member that is made a moderator is no longer one of them.
    """

    # ------------------------------------------------------------ what memory holds

    def news(self, since: int | None) -> News:
        """Return what changed since a line of the audit log; all for None, or when that line is not kept any more."""

    def stamp(self) -> object:
        """Return something that differs whenever another connection has changed the store. Takes microseconds."""

    # ------------------------------------------------------------ members

    def members(self) -> Sequence[Member]:
        """Return all members, in the order of joining."""

    def member(self, feed: FeedId) -> Member | None:
        """Return one member."""

    def add_member(self, feed: FeedId, role: Role = Role.MEMBER, *, by: FeedId | None) -> Outcome:
        """Make a key a member. Returns DONE; UNCHANGED for a member, whose role stays; BLOCKED for a blocked key."""

    def set_role(
        self, feed: FeedId, role: Role, *, by: FeedId | None, expected: Role | None = None, force: bool = False
    ) -> Outcome:
        """Change a member's role. A lower one ends the login links for it, and those that it made.

        Returns DONE, UNCHANGED, MISSING (no member, or its role is not `expected`), or LAST_ADMIN, unless `force`.
        """

    def remove_member(self, feed: FeedId, *, by: FeedId | None, force: bool = False) -> Outcome:
        """Remove a member with its aliases, open invites, web sessions and login links.

        Returns DONE, MISSING or LAST_ADMIN, unless `force`. The names of its aliases are free at once.
        """

    def denied(self) -> Sequence[Denied]:
        """Return all blocked keys, newest first."""

    def block(self, feed: FeedId, comment: str, *, by: FeedId | None, force: bool = False) -> Outcome:
        """Block a key and remove all it has here, as `remove_member` does. Returns DONE, UNCHANGED or LAST_ADMIN."""

    def unblock(self, feed: FeedId, *, by: FeedId | None) -> Outcome:
        """Unblock a key; nothing comes back by itself. Returns DONE or MISSING."""

    # ------------------------------------------------------------ settings

    def change_settings(self, *, by: FeedId | None, expected: Settings | None = None, **changed: object) -> Outcome:
        """Change settings by the names of `Settings`.

        `members` may be given beside them: keys to make members in the same transaction. Returns DONE, UNCHANGED, or
        INVALID when the settings are not `expected` any more.
        """

    # ------------------------------------------------------------ invites

    def create_invite(
        self, hash: bytes, *, by: FeedId | None, note: str = "", expires: float | None = None, uses: int = 1
    ) -> NewInvite:
        """Keep a new invite.

        Args:
            hash: SHA-256 of its code (`ssbfast.room.codes`).
            by: Its maker: the invite is valid as long as this key may invite. None: the operator, always. For a visitor
                of the web site who is not signed in, give the room's own id: it is valid while everyone may invite.
            note: For whom it is, as its maker remembers it.
            expires: When it ends; None for never.
            uses: How many keys may claim it.
        """

    def invites(self, by: FeedId | None = None, *, all: bool = True) -> Sequence[Invite]:
        """Return invites, newest first: all, or those that `by` made (None: the operator's)."""

    def invites_page(
        self, by: FeedId | None = None, *, all: bool = True, now: float, first: int, count: int
    ) -> tuple[Sequence[Invite], int]:
        """Return some of the same invites, open ones first, and how many there are in all."""

    def open_invites(self, now: float) -> Mapping[FeedId | None, int]:
        """Return how many open invites each maker has (None: the operator); those without any are left out."""

    def find_invite(self, hash: bytes) -> Invite | None:
        """Return the invite of a code, open or not. Whether its maker may still invite is the caller's business."""

    def claim_invite(self, hash: bytes, feed: FeedId, now: float) -> Claim:
        """Claim an invite: one step that lets in no more keys than it has uses, however many ask at once.

        The invite must be open, `feed` not blocked, and its maker must still have the right to invite under the mode.
        """

    def revoke_invite(self, number: int, *, by: FeedId | None) -> Outcome:
        """Revoke an invite. Returns DONE or MISSING (or used up, or revoked before)."""

    # ------------------------------------------------------------ aliases

    def aliases(self) -> Sequence[AliasRecord]:
        """Return all aliases in use, by name."""

    def register_alias(self, name: str, feed: FeedId, signature: bytes, *, most: int, now: float) -> Outcome:
        """Register an alias, or renew the signature of an own one. In an open room it makes a member.

        Args:
            name: The alias.
            feed: Its owner.
            signature: 64 bytes that were verified.
            most: Aliases that a key may have.
            now: The time: a name that was freed is kept from others for `limits.ALIAS_REST` seconds.

        Returns:
            DONE, UNCHANGED, TAKEN, TOO_MANY, BLOCKED, FULL (see above), or MISSING: no key that may have an alias under
            the mode, any more.
        """

    def revoke_alias(self, name: str, *, by: FeedId | None, owner: FeedId | None = None) -> Outcome:
        """Free an alias. owner: only if it is this key's. Returns DONE or MISSING."""

    # ------------------------------------------------------------ web site

    def add_web_session(self, hash: bytes, feed: FeedId, browser: str, now: float) -> None:
        """Keep a browser's session; nothing for a key that is no member any more."""

    def web_session(self, hash: bytes) -> WebSession | None:
        """Return a browser's session, expired or not."""

    def web_sessions(self, feed: FeedId) -> Sequence[WebSession]:
        """Return all sessions of a key, newest first."""

    def touch_web_session(self, hash: bytes, now: float) -> None:
        """Note that a browser was here."""

    def end_web_sessions(self, feed: FeedId, hash: bytes | None = None) -> int:
        """End one session of a key, or all; return how many."""

    def add_link(self, hash: bytes, feed: FeedId | None, purpose: str, expires: float, *, by: FeedId | None) -> Outcome:
        """Keep a one-time link. feed: the key to sign in; None: the first that uses it. purpose: "login", "admin".

        Returns DONE, or MISSING for a key that is no member.
        """

    def find_link(self, hash: bytes, now: float) -> tuple[FeedId | None, str] | None:
        """Return whom a link is for and its purpose, as `take_link` does; it stays."""

    def take_link(self, hash: bytes, now: float) -> tuple[FeedId | None, str] | None:
        """Use up a link; return its key and its purpose. None: unknown, expired or used."""

    def take_admin_link(self, hash: bytes, feed: FeedId, now: float) -> Outcome:
        """Use up a link that makes its first user an admin, and make the key one, in one step.

        Returns DONE; BLOCKED for a blocked key, whose link stays; INVALID for a link that is none, or for somebody, or
        expired, or used. All links of this kind are used up with it.
        """

    def password(self, feed: FeedId) -> bytes | None:
        """Return the stored password of a member."""

    def set_password(self, feed: FeedId, stored: bytes | None, *, by: FeedId | None) -> Outcome:
        """Set or remove the password of a member. Returns DONE or MISSING."""

    def notices(self) -> Sequence[Notice]:
        """Return all notices."""

    def write_notice(self, notice: Notice, *, by: FeedId | None) -> Outcome:
        """Write a notice; an empty body removes it. Returns DONE."""

    def web_address(self) -> str | None:
        """Return the address of the room's web site, as it had it when it ran last; None when it never did."""

    def keep_web_address(self, url: str | None) -> None:
        """Keep the address of the web site, without a slash at its end, for the links that commands make."""

    def audit(self, *, before: int | None = None, count: int = 100) -> Sequence[AuditLine]:
        """Return lines of the audit log, newest first, older than line `before`."""

    def sweep(self, now: float) -> None:
        """Forget what is over: old and surplus audit lines, web sessions, links, and the rest of freed names."""

"""Members and blocked keys of a room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ssbfast.errors import BadInputError
from ssbfast.ids import FeedId
from ssbfast.room.records import Denied, Member, Outcome
from ssbfast.room.roles import STORED_ROLES, Action, Role, right_for
from ssbfast.store.database import decoding
from ssbfast.store.room_tables import RoomTables, feed_of, key_of

_MEMBER: Final = "feed, role, since, by, invite, password IS NOT NULL"


class MemberTables(RoomTables):
    """The tables of members and of blocked keys."""

    def members(self) -> Sequence[Member]:
        """Return all members, in the order of joining."""
        with self._using(), decoding():
            return [_member(row) for row in self._all(f"SELECT {_MEMBER} FROM members ORDER BY since, feed")]

    def member(self, feed: FeedId) -> Member | None:
        """Return one member."""
        with self._using(), decoding():
            rows = self._all(f"SELECT {_MEMBER} FROM members WHERE feed = ?", feed.key)
            return _member(rows[0]) if rows else None

    def add_member(self, feed: FeedId, role: Role = Role.MEMBER, *, by: FeedId | None) -> Outcome:
        """Make a key a member. Returns DONE; UNCHANGED for a member, whose role stays; BLOCKED for a blocked key."""
        _check_role(role)
        with self._writing():
            before = self._role(feed)
            if not self._may(by, right_for(before, role)):
                return Outcome.FORBIDDEN
            if before is Role.BLOCKED:
                return Outcome.BLOCKED
            if before in STORED_ROLES:
                return Outcome.UNCHANGED
            self._insert_member(feed, role, by)
            self._audit("add", by, feed, role.word)
            return Outcome.DONE

    def set_role(
        self, feed: FeedId, role: Role, *, by: FeedId | None, expected: Role | None = None, force: bool = False
    ) -> Outcome:
        """Change a member's role. A lower one ends the login links for it, and those that it made.

        Returns DONE, UNCHANGED, MISSING (no member, or its role is not `expected`), or LAST_ADMIN, unless `force`.
        """
        _check_role(role)
        with self._writing():
            before = self._role(feed)
            if not self._may(by, right_for(before, role)):
                return Outcome.FORBIDDEN
            if before not in STORED_ROLES or expected not in (None, before):
                return Outcome.MISSING
            if before is role:
                return Outcome.UNCHANGED
            if self._is_last_admin(before) and not force:
                return Outcome.LAST_ADMIN
            self._update_role(feed, role)
            if role < before:
                self._run("DELETE FROM links WHERE feed = ? OR by = ?", feed.key, feed.key)
            self._audit("role", by, feed, f"{before.word} → {role.word}")
            return Outcome.DONE

    def remove_member(self, feed: FeedId, *, by: FeedId | None, force: bool = False) -> Outcome:
        """Remove a member with its aliases, open invites, web sessions and login links.

        Returns DONE, MISSING or LAST_ADMIN, unless `force`. The names of its aliases are free at once.
        """
        with self._writing():
            before = self._role(feed)
            if by != feed and not self._may_do_to(by, Action.BLOCK, before):
                return Outcome.FORBIDDEN
            if before not in STORED_ROLES:
                return Outcome.MISSING
            if self._is_last_admin(before) and not force:
                return Outcome.LAST_ADMIN
            self._forget(feed)
            self._audit("remove", by, feed, before.word)
            return Outcome.DONE

    def denied(self) -> Sequence[Denied]:
        """Return all blocked keys, newest first."""
        with self._using(), decoding():
            rows = self._all("SELECT feed, comment, by, since FROM denied ORDER BY since DESC, feed")
            return [Denied(FeedId(feed), comment, feed_of(by), float(since)) for feed, comment, by, since in rows]

    def block(self, feed: FeedId, comment: str, *, by: FeedId | None, force: bool = False) -> Outcome:
        """Block a key and remove all it has here, as `remove_member` does. Returns DONE, UNCHANGED or LAST_ADMIN."""
        with self._writing():
            before = self._role(feed)
            if not self._may_do_to(by, Action.BLOCK, before):
                return Outcome.FORBIDDEN
            if before is Role.BLOCKED:
                return Outcome.UNCHANGED
            if self._is_last_admin(before) and not force:
                return Outcome.LAST_ADMIN
            self._forget(feed)
            self._run(
                "INSERT INTO denied (feed, comment, by, since) VALUES (?, ?, ?, ?)",
                feed.key,
                comment,
                key_of(by),
                self._now(),
            )
            self._audit("block", by, feed)
            return Outcome.DONE

    def unblock(self, feed: FeedId, *, by: FeedId | None) -> Outcome:
        """Unblock a key; nothing comes back by itself. Returns DONE or MISSING."""
        with self._writing():
            if not self._may(by, Action.BLOCK):
                return Outcome.FORBIDDEN
            if not self._run("DELETE FROM denied WHERE feed = ?", feed.key).rowcount:
                return Outcome.MISSING
            self._audit("unblock", by, feed)
            return Outcome.DONE

    def _is_last_admin(self, role: Role) -> bool:
        return role is Role.ADMIN and self._one("SELECT count(*) FROM members WHERE role = ?", int(Role.ADMIN)) == 1

    def _forget(self, feed: FeedId) -> None:
        """Delete all that a key has here, and the invites and links that it made."""
        for table in ("members", "aliases", "claims", "web_sessions", "links"):
            self._run(f"DELETE FROM {table} WHERE feed = ?", feed.key)
        for table in ("invites", "links"):
            self._run(f"DELETE FROM {table} WHERE by = ?", feed.key)


def _check_role(role: Role) -> None:
    if role not in STORED_ROLES:
        raise BadInputError("a member's role is member, moderator or admin")


def _member(row: Sequence[Any]) -> Member:
    feed, role, since, by, invite, has_password = row
    return Member(FeedId(feed), Role(role), float(since), feed_of(by), invite, bool(has_password))

"""Invites of a room, and who has claimed them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ssbfast import limits
from ssbfast.ids import FeedId
from ssbfast.room.records import Claim, Invite, NewInvite, Outcome
from ssbfast.room.roles import STORED_ROLES, Action, Role
from ssbfast.store.database import decoding
from ssbfast.store.room_tables import RoomTables, feed_of, key_of

_INVITE: Final = "number, by, note, created, expires, uses, used, revoked"
_OPEN_INVITE: Final = "used < uses AND revoked IS NULL AND (expires IS NULL OR expires > ?)"
_BY_STRANGERS: Final = "by IS NOT NULL AND by NOT IN (SELECT feed FROM members WHERE NOT self_joined)"
"""Invites of those that are limited in all: members that came by themselves, and keys that are none."""


class InviteTables(RoomTables):
    """The tables of invites and of claims."""

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
        with self._writing():
            if not self._may(by, Action.CREATE_INVITE):
                return NewInvite(Outcome.FORBIDDEN)
            if self._is_stranger(by) and not self._make_place_for_invite(by):
                return NewInvite(Outcome.FULL)
            number = self._insert_invite(hash, by, note, self._now(), expires, uses)
            self._audit("invite", by, None, f"invite {number}")
            return NewInvite(Outcome.DONE, number)

    def _make_place_for_invite(self, by: FeedId | None) -> bool:
        """Return whether a stranger may have one more open invite; of those that are over, forget the oldest."""
        now, most = self._now(), limits.SELF_JOINED_INVITES
        count = f"SELECT count(*) FROM invites WHERE {_OPEN_INVITE} AND "
        if self._one(count + _BY_STRANGERS, now) >= most and (
            self._one("SELECT 1 FROM members WHERE feed = ?", key_of(by)) is None
            or self._one(count + "by = ?", now, key_of(by)) >= limits.SELF_JOINED_INVITES_SHARE
        ):
            return False
        self._run(
            f"DELETE FROM invites WHERE number IN (SELECT number FROM invites WHERE {_BY_STRANGERS}"
            f" AND NOT ({_OPEN_INVITE}) ORDER BY number DESC LIMIT -1 OFFSET ?)",
            now,
            most,
        )
        return True

    def invites(self, by: FeedId | None = None, *, all: bool = True) -> Sequence[Invite]:
        """Return invites, newest first: all, or those that `by` made (None: the operator's)."""
        where, values = _made_by(by, all)
        with self._using(), decoding():
            rows = self._all(f"SELECT {_INVITE} FROM invites {where} ORDER BY number DESC", *values)
            return [_invite(row) for row in rows]

    def invites_page(
        self, by: FeedId | None = None, *, all: bool = True, now: float, first: int, count: int
    ) -> tuple[Sequence[Invite], int]:
        """Return some of the same invites, open ones first, and how many there are in all."""
        where, values = _made_by(by, all)
        with self._transaction(), decoding():
            total = int(self._one(f"SELECT count(*) FROM invites {where}", *values))
            rows = self._all(
                f"SELECT {_INVITE} FROM invites {where} ORDER BY ({_OPEN_INVITE}) DESC, number DESC LIMIT ? OFFSET ?",
                *(*values, now, count, first),
            )
            return [_invite(row) for row in rows], total

    def open_invites(self, now: float) -> Mapping[FeedId | None, int]:
        """Return how many open invites each maker has (None: the operator); those without any are left out."""
        with self._using(), decoding():
            rows = self._all(f"SELECT by, count(*) FROM invites WHERE {_OPEN_INVITE} GROUP BY by", now)
            return {feed_of(by): int(count) for by, count in rows}

    def find_invite(self, hash: bytes) -> Invite | None:
        """Return the invite of a code, open or not. Whether its maker may still invite is the caller's business."""
        with self._using(), decoding():
            rows = self._all(f"SELECT {_INVITE} FROM invites WHERE hash = ?", hash)
            return _invite(rows[0]) if rows else None

    def claim_invite(self, hash: bytes, feed: FeedId, now: float) -> Claim:
        """Claim an invite: one step that lets in no more keys than it has uses, however many ask at once.

        The invite must be open, `feed` not blocked, and its maker must still have the right to invite under the mode.
        """
        with self._writing():
            rows = self._all(f"SELECT number, by FROM invites WHERE hash = ? AND {_OPEN_INVITE}", hash, now)
            role = self._role(feed)
            if not rows or role is Role.BLOCKED or not self._may(feed_of(rows[0][1]), Action.CREATE_INVITE):
                return Claim(Outcome.INVALID)
            number, by = rows[0]
            if role in STORED_ROLES:
                return Claim(Outcome.UNCHANGED)
            self_joined = self._is_stranger(feed_of(by))
            if self_joined and not self._has_place():
                return Claim(Outcome.FULL)
            used = self._run(
                f"UPDATE invites SET used = used + 1 WHERE number = ? AND {_OPEN_INVITE}", number, now
            ).rowcount
            if used != 1:
                return Claim(Outcome.INVALID)
            self._insert_member(feed, Role.MEMBER, feed_of(by), number, self_joined)
            self._run("INSERT OR REPLACE INTO claims (invite, feed, time) VALUES (?, ?, ?)", number, feed.key, now)
            self._audit("claim", feed, feed, f"invite {number}")
            return Claim(Outcome.DONE)

    def revoke_invite(self, number: int, *, by: FeedId | None) -> Outcome:
        """Revoke an invite. Returns DONE or MISSING (or used up, or revoked before)."""
        if not 0 < number < 2**63:
            return Outcome.MISSING
        with self._writing():
            is_own = by is not None and self._one("SELECT by FROM invites WHERE number = ?", number) == by.key
            if not self._may(by, Action.SIGN_IN if is_own else Action.SEE_ALL_INVITES):
                return Outcome.FORBIDDEN
            now = self._now()
            changed = self._run(
                "UPDATE invites SET revoked = ? WHERE number = ? AND used < uses AND revoked IS NULL", now, number
            )
            if not changed.rowcount:
                return Outcome.MISSING
            self._audit("revoke invite", by, None, f"invite {number}")
            return Outcome.DONE

    def _insert_invite(
        self, hash: bytes, by: FeedId | None, note: str, created: float, expires: float | None, uses: int
    ) -> int:
        cursor = self._run(
            "INSERT INTO invites (hash, by, note, created, expires, uses) VALUES (?, ?, ?, ?, ?, ?)",
            hash,
            key_of(by),
            note,
            created,
            expires,
            uses,
        )
        return cursor.lastrowid or 0


def _made_by(by: FeedId | None, all: bool) -> tuple[str, tuple[object, ...]]:
    """Return the condition on invites, and its values."""
    return ("", ()) if all else ("WHERE by IS ?", (key_of(by),))


def _invite(row: Sequence[Any]) -> Invite:
    number, by, note, created, expires, uses, used, revoked = row
    return Invite(int(number), feed_of(by), note, created, expires, uses, used, revoked)

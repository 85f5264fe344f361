"""How members sign in to the web site of a room: their browsers, one-time links and passwords."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ssbfast import limits
from ssbfast.ids import FeedId
from ssbfast.room.records import Outcome, WebSession
from ssbfast.room.roles import Action, Role
from ssbfast.store.database import decoding
from ssbfast.store.room_tables import RoomTables, feed_of, key_of

_SESSION: Final = "hash, feed, created, seen, browser"


class SignInTables(RoomTables):
    """The tables of web sessions and of links, and the passwords of members."""

    def add_web_session(self, hash: bytes, feed: FeedId, browser: str, now: float) -> None:
        """Keep a browser's session; nothing for a key that is no member any more. The idlest beyond the limit ends."""
        with self._writing():
            if self._is_member(feed):
                self._run(
                    f"INSERT OR REPLACE INTO web_sessions ({_SESSION}) VALUES (?, ?, ?, ?, ?)",
                    hash,
                    feed.key,
                    now,
                    now,
                    browser,
                )
                self._run(
                    "DELETE FROM web_sessions WHERE hash IN (SELECT hash FROM web_sessions WHERE feed = ? AND hash != ?"
                    " ORDER BY seen DESC, hash LIMIT -1 OFFSET ?)",
                    feed.key,
                    hash,
                    limits.WEB_SESSIONS_PER_KEY - 1,
                )

    def web_session(self, hash: bytes) -> WebSession | None:
        """Return a browser's session, expired or not."""
        with self._using(), decoding():
            rows = self._all(f"SELECT {_SESSION} FROM web_sessions WHERE hash = ?", hash)
            return _web_session(rows[0]) if rows else None

    def web_sessions(self, feed: FeedId) -> Sequence[WebSession]:
        """Return all sessions of a key, newest first."""
        with self._using(), decoding():
            rows = self._all(
                f"SELECT {_SESSION} FROM web_sessions WHERE feed = ? ORDER BY created DESC, hash", feed.key
            )
            return [_web_session(row) for row in rows]

    def touch_web_session(self, hash: bytes, now: float) -> None:
        """Note that a browser was here."""
        with self._writing():
            self._run("UPDATE web_sessions SET seen = ? WHERE hash = ? AND seen < ?", now, hash, now)

    def end_web_sessions(self, feed: FeedId, hash: bytes | None = None) -> int:
        """End one session of a key, or all; return how many."""
        with self._writing():
            return self._run(
                "DELETE FROM web_sessions WHERE feed = ? AND (? IS NULL OR hash = ?)", feed.key, hash, hash
            ).rowcount

    def add_link(self, hash: bytes, feed: FeedId | None, purpose: str, expires: float, *, by: FeedId | None) -> Outcome:
        """Keep a one-time link. feed: whom it signs in; None: the first key that uses it. purpose: "login", "admin".

        Returns DONE, or MISSING for a key that is no member.
        """
        with self._writing():
            if not self._may(by, Action.CHANGE_ADMINS if feed is None else Action.HELP_SIGN_IN):
                return Outcome.FORBIDDEN
            if feed is not None and not self._is_member(feed):
                return Outcome.MISSING
            self._run(
                "INSERT OR REPLACE INTO links (hash, feed, purpose, expires, by) VALUES (?, ?, ?, ?, ?)",
                hash,
                key_of(feed),
                purpose,
                expires,
                key_of(by),
            )
            self._audit("link", by, feed, purpose)
            return Outcome.DONE

    def find_link(self, hash: bytes, now: float) -> tuple[FeedId | None, str] | None:
        """Return whom a link is for and its purpose; it stays. None: unknown, expired or used."""
        with self._using(), decoding():
            rows = self._all("SELECT feed, purpose FROM links WHERE hash = ? AND expires > ?", hash, now)
            return (feed_of(rows[0][0]), str(rows[0][1])) if rows else None

    def take_link(self, hash: bytes, now: float) -> tuple[FeedId | None, str] | None:
        """Use up a link; return its key and its purpose. None: unknown, expired or used."""
        with self._writing(), decoding():
            rows = self._all("SELECT feed, purpose, expires FROM links WHERE hash = ?", hash)
            if not rows:
                return None
            self._run("DELETE FROM links WHERE hash = ?", hash)
            feed, purpose, expires = feed_of(rows[0][0]), str(rows[0][1]), float(rows[0][2])
            if now >= expires:
                return None
            self._audit("use link", feed, feed, purpose)
            return feed, purpose

    def take_admin_link(self, hash: bytes, feed: FeedId, now: float) -> Outcome:
        """Use up a link that makes its first user an admin, and make the key one: all or nothing.

        Returns DONE; BLOCKED for a blocked key, whose link stays; INVALID for a link that is none, or for somebody, or
        expired, or used. All links of this kind are used up with it: a room that was started twice has two.
        """
        with self._writing():
            purpose = self._one("SELECT purpose FROM links WHERE hash = ? AND feed IS NULL AND expires > ?", hash, now)
            if purpose is None:
                return Outcome.INVALID
            before = self._role(feed)
            if before is Role.BLOCKED:
                return Outcome.BLOCKED
            self._run("DELETE FROM links WHERE feed IS NULL")
            self._audit("use link", feed, feed, str(purpose))
            if before is Role.EXTERNAL:
                self._insert_member(feed, Role.ADMIN, None)
                self._audit("add", None, feed, Role.ADMIN.word)
            elif before is not Role.ADMIN:
                self._update_role(feed, Role.ADMIN)
                self._audit("role", None, feed, f"{before.word} → {Role.ADMIN.word}")
            return Outcome.DONE

    def password(self, feed: FeedId) -> bytes | None:
        """Return the stored password of a member."""
        with self._using():
            found = self._one("SELECT password FROM members WHERE feed = ?", feed.key)
            return None if found is None else bytes(found)

    def set_password(self, feed: FeedId, stored: bytes | None, *, by: FeedId | None) -> Outcome:
        """Set or remove the password of a member. Returns DONE or MISSING."""
        with self._writing():
            if by != feed and not self._may(by, Action.HELP_SIGN_IN):
                return Outcome.FORBIDDEN
            if not self._run("UPDATE members SET password = ? WHERE feed = ?", stored, feed.key).rowcount:
                return Outcome.MISSING
            self._audit("password", by, feed, "removed" if stored is None else "set")
            return Outcome.DONE


def _web_session(row: Sequence[Any]) -> WebSession:
    hash, feed, created, seen, browser = row
    return WebSession(bytes(hash), FeedId(feed), float(created), float(seen), browser)

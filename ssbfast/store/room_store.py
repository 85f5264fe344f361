"""A room's store: members, blocked keys, invites, aliases, and what its web site adds, in one SQLite file.

Several processes may use one store at a time: a running room sees what `ssbfast room deny` writes. Each method that
changes something is one transaction, its lines of the audit log included, so that a process that ends in its middle
has changed nothing. A `RoomStore` may be used by any thread; a write may wait for another process, up to
`STORE_BUSY_SECONDS`, so programs with an event loop write from a thread (`ssbfast.server.keeper`).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ssbfast import limits
from ssbfast.errors import BadInputError, StoreError
from ssbfast.ids import FeedId
from ssbfast.room.records import (
    AliasRecord,
    AuditLine,
    Denied,
    Invite,
    Member,
    News,
    Notice,
    Settings,
    Standing,
)
from ssbfast.room.roles import Role
from ssbfast.store import room_schema
from ssbfast.store.database import decoding
from ssbfast.store.room_aliases import AliasTable
from ssbfast.store.room_invites import InviteTables
from ssbfast.store.room_members import MemberTables
from ssbfast.store.room_settings import SettingsTables, check_settings
from ssbfast.store.room_sign_ins import SignInTables
from ssbfast.store.room_tables import ALIAS, alias_of, feed_of, key_of

FILE: Final = "room.sqlite"
"""The store's name in a data directory."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What another room's server kept, to fill a new store with.

    Attributes:
        settings: The settings.
        members: The members; their invites and passwords are not taken.
        denied: The blocked keys.
        aliases: The aliases, all in use.
        invites: Open invites with the hashes of their codes; their numbers are not taken.
        notices: The notices.
    """

    settings: Settings
    members: Sequence[Member] = ()
    denied: Sequence[Denied] = ()
    aliases: Sequence[AliasRecord] = ()
    invites: Sequence[tuple[bytes, Invite]] = ()
    notices: Sequence[Notice] = ()


class RoomStore(MemberTables, SettingsTables, InviteTables, AliasTable, SignInTables):
    """A connection to the store in a room's data directory, which is made if it is missing (`StoreFile`).

    What it does for a room is said at `ssbfast.room.records.RoomRecords`. Here are news and the audit log, and what has
    to do with all tables.
    """

    def __init__(
        self,
        data: str | os.PathLike[str],
        *,
        busy: float = limits.STORE_BUSY_SECONDS,
        now: Callable[[], float] = time.time,
        reading: bool = False,
    ) -> None:
        path = Path(data).expanduser() / FILE
        super().__init__(path, room_schema.schema(), "room's store", busy=busy, now=now, reading=reading)
        self._is_other = False
        """True from the moment that another file is found under our name until all its news are read."""
        # A connection of its own: a room looks at it from its loop, which must not wait for a write in a thread.
        self._stamp_lock = threading.Lock()
        self._stamp_connection: sqlite3.Connection | None = None
        self._stamp: tuple[int, tuple[int, int]] | None = None

    def close(self) -> None:
        """Close the connections. Harmless when they are closed."""
        super().close()
        with self._stamp_lock:
            if self._stamp_connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    self._stamp_connection.close()
            self._stamp_connection = None

    def backup(self, target: Path) -> None:
        """Write a copy of the store, as it is at one moment, into a new file. Raises StoreError."""
        with self._using(), contextlib.closing(sqlite3.connect(target, isolation_level=None)) as copy:
            self._connection.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it

    def news(self, since: int | None) -> News:
        """Return what changed since a line of the audit log; all for None, or when that line is not kept any more."""
        with self._transaction(), decoding():
            newest = self._newest()
            oldest = self._one("SELECT min(number) FROM audit")
            kept_since = newest if oldest is None else int(oldest) - 1
            settings = self._settings()
            if since is None or self._is_other or not kept_since <= since <= newest:
                self._is_other = False
                return News(newest, settings, self._all_standings(), is_whole=True)
            subjects = self._all("SELECT DISTINCT subject FROM audit WHERE number > ? AND subject IS NOT NULL", since)
            feeds = [FeedId(subject) for (subject,) in subjects]
            return News(newest, settings, {feed: self._standing(feed) for feed in feeds})

    def stamp(self) -> object:
        """Return something that differs whenever another connection has changed the store. Takes microseconds.

        It never waits for a write.
        """
        with self._stamp_lock:
            try:
                return self._read_stamp()
            except sqlite3.OperationalError as error:
                if "locked" in str(error) and self._stamp is not None:
                    return self._stamp
                raise self._unusable(error) from None
            except sqlite3.Error as error:
                raise self._unusable(error) from None
            except BadInputError as error:
                raise StoreError(str(error)) from None

    def _read_stamp(self) -> tuple[int, tuple[int, int]]:
        if self._closed:
            raise StoreError("the store is closed")
        place = self._look()
        if place is None:
            raise self._removed()
        file = place.file
        if self._stamp_connection is None or self._stamp is None or self._stamp[1] != file:
            if self._stamp_connection is not None:
                self._stamp_connection.close()
                self._stamp_connection = None
            self._stamp_connection = self._connect(create=False)
            self._stamp_connection.execute("PRAGMA busy_timeout = 0")
        version = int(self._stamp_connection.execute("PRAGMA data_version").fetchone()[0])
        self._stamp = version, file
        return self._stamp

    def _newest(self) -> int:
        found = self._one("SELECT seq FROM sqlite_sequence WHERE name = 'audit'")
        return 0 if found is None else int(found)

    def _standing(self, feed: FeedId) -> Standing:
        rows = self._all(f"SELECT {ALIAS} FROM aliases WHERE feed = ? AND freed IS NULL ORDER BY name", feed.key)
        return Standing(self._role(feed), tuple(alias_of(row) for row in rows))

    def _all_standings(self) -> dict[FeedId, Standing]:
        aliases: dict[FeedId, list[AliasRecord]] = {}
        for row in self._all(f"SELECT {ALIAS} FROM aliases WHERE freed IS NULL ORDER BY name"):
            alias = alias_of(row)
            aliases.setdefault(alias.feed, []).append(alias)
        roles = {feed: Role.EXTERNAL for feed in aliases}
        roles |= {FeedId(feed): Role(role) for feed, role in self._all("SELECT feed, role FROM members")}
        roles |= {FeedId(feed): Role.BLOCKED for (feed,) in self._all("SELECT feed FROM denied")}
        return {feed: Standing(role, tuple(aliases.get(feed, ()))) for feed, role in roles.items()}

    def audit(self, *, before: int | None = None, count: int = 100) -> Sequence[AuditLine]:
        """Return lines of the audit log, newest first, older than line `before`."""
        with self._using(), decoding():
            rows = self._all(
                "SELECT number, time, by, action, subject, detail FROM audit"
                " WHERE ? IS NULL OR number < ? ORDER BY number DESC LIMIT ?",
                before,
                before,
                count,
            )
            return [
                AuditLine(int(number), float(when), feed_of(by), action, feed_of(subject), detail)
                for number, when, by, action, subject, detail in rows
            ]

    def sweep(self, now: float) -> None:
        """Forget what is over: old and surplus audit lines, web sessions, links, and the rest of freed names."""
        old = now - limits.AUDIT_DAYS * 86_400.0
        with self._writing():
            # From the oldest on, without a gap: `news` asks whether it has all lines since one.
            first = self._one("SELECT min(number) FROM audit WHERE time >= ?", old)
            self._run("DELETE FROM audit WHERE ? IS NULL OR number < ?", first, first)
            self._run("DELETE FROM audit WHERE number <= ?", self._newest() - limits.AUDIT_LINES)
            self._run("DELETE FROM links WHERE expires <= ?", now)
            self._run(
                "DELETE FROM web_sessions WHERE seen <= ? OR created <= ?",
                now - limits.WEB_SESSION_IDLE,
                now - limits.WEB_SESSION_MOST,
            )
            self._run("DELETE FROM aliases WHERE freed <= ?", now - limits.ALIAS_REST)
            self._run(
                "DELETE FROM invites WHERE revoked <= ? OR expires <= ? OR (used >= uses AND created <= ?)",
                *(old, old, old),
            )
            self._run("DELETE FROM claims WHERE invite NOT IN (SELECT number FROM invites)")

    def fill(self, contents: Contents) -> None:
        """Fill an empty store with what another room's server kept, in one transaction.

        Raises BadInputError for a store that has members, blocked keys, invites or aliases already.
        """
        check_settings(contents.settings)
        with self._writing():
            for table in ("members", "denied", "invites", "aliases"):
                if self._one(f"SELECT 1 FROM {table} LIMIT 1"):
                    raise BadInputError(f"{self.path} has {table} already; nothing was changed")
            with decoding():
                before = self._settings()
            if contents.settings != before:
                self._write_settings(before, contents.settings, None)
            for member in contents.members:
                self._run(
                    "INSERT INTO members (feed, role, since, by) VALUES (?, ?, ?, ?)",
                    member.feed.key,
                    int(member.role),
                    member.since,
                    key_of(member.by),
                )
                self._audit("import", None, member.feed, member.role.word)
            for one in contents.denied:
                self._run(
                    "INSERT INTO denied (feed, comment, by, since) VALUES (?, ?, ?, ?)",
                    one.feed.key,
                    one.comment,
                    key_of(one.by),
                    one.since,
                )
                self._audit("import", None, one.feed, "blocked")
            for alias in contents.aliases:
                self._insert_alias(alias)
                self._audit("import", None, alias.feed, f"alias {alias.name}")
            for hash, invite in contents.invites:
                self._insert_invite(hash, invite.by, invite.note, invite.created, invite.expires, invite.uses)
            for notice in contents.notices:
                self._insert_notice(notice)

    def _read_all(self) -> None:
        self.news(None)

    def _on_opened(self, is_other: bool) -> None:
        self._is_other = is_other or self._is_other

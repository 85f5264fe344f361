"""A room's store: members, blocked keys, invites, aliases, and what its web site adds, in one SQLite file.

Several processes may use one store at a time: a running room sees what `ssbfast room deny` writes. Each method that
changes something is one transaction, its lines of the audit log included, so that a process that ends in its middle
has changed nothing. A `RoomStore` may be used by any thread; a write may wait for another process, up to
`STORE_BUSY_SECONDS`, so programs with an event loop write from a thread (`ssbfast.server.keeper`).
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from ssbfast import limits
from ssbfast.errors import BadInputError, StoreError
from ssbfast.ids import FeedId
from ssbfast.room.records import (
    AliasRecord,
    AuditLine,
    Claim,
    Denied,
    Invite,
    Member,
    NewInvite,
    News,
    Notice,
    Outcome,
    Settings,
    Standing,
    WebSession,
)
from ssbfast.room.roles import STORED_ROLES, Action, Mode, Role, may, may_act_on, right_for
from ssbfast.store import room_schema
from ssbfast.store.database import StoreFile, decoding

FILE: Final = "room.sqlite"
"""The store's name in a data directory."""

_MEMBER: Final = "feed, role, since, by, invite, password IS NOT NULL"
_INVITE: Final = "number, by, note, created, expires, uses, used, revoked"
_ALIAS: Final = "name, feed, signature, since, freed"
_SESSION: Final = "hash, feed, created, seen, browser"
_OPEN_INVITE: Final = "used < uses AND revoked IS NULL AND (expires IS NULL OR expires > ?)"
_BY_STRANGERS: Final = "by IS NOT NULL AND by NOT IN (SELECT feed FROM members WHERE NOT self_joined)"
_OF_STRANGERS: Final = "feed NOT IN (SELECT feed FROM members WHERE NOT self_joined)"
"""Invites and aliases of those that are limited in all: members that came by themselves, and keys that are none."""


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


class RoomStore(StoreFile):
    """A connection to the store in a room's data directory, which is made if it is missing (`StoreFile`,
    `ssbfast.room.records.RoomRecords`)."""

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

    # ------------------------------------------------------------ what memory holds

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
        rows = self._all(f"SELECT {_ALIAS} FROM aliases WHERE feed = ? AND freed IS NULL ORDER BY name", feed.key)
        return Standing(self._role(feed), tuple(_alias(row) for row in rows))

    def _all_standings(self) -> dict[FeedId, Standing]:
        aliases: dict[FeedId, list[AliasRecord]] = {}
        for row in self._all(f"SELECT {_ALIAS} FROM aliases WHERE freed IS NULL ORDER BY name"):
            alias = _alias(row)
            aliases.setdefault(alias.feed, []).append(alias)
        roles = {feed: Role.EXTERNAL for feed in aliases}
        roles |= {FeedId(feed): Role(role) for feed, role in self._all("SELECT feed, role FROM members")}
        roles |= {FeedId(feed): Role.BLOCKED for (feed,) in self._all("SELECT feed FROM denied")}
        return {feed: Standing(role, tuple(aliases.get(feed, ()))) for feed, role in roles.items()}

    def _role(self, feed: FeedId) -> Role:
        if self._one("SELECT 1 FROM denied WHERE feed = ?", feed.key):
            return Role.BLOCKED
        role = self._one("SELECT role FROM members WHERE feed = ?", feed.key)
        return Role.EXTERNAL if role is None else Role(role)

    def _is_member(self, feed: FeedId) -> bool:
        return self._role(feed) in STORED_ROLES

    def _may(self, by: FeedId | None, action: Action) -> bool:
        """Return whether a key has a right now. None: the operator has all."""
        if by is None:
            return True
        with decoding():
            settings = self._settings()
        return may(self._role(by), settings.mode, action, mode_by=settings.mode_by)

    def _may_do_to(self, by: FeedId | None, action: Action, role: Role) -> bool:
        """Return whether a key may do something to another one, which has a role."""
        return by is None or (self._may(by, action) and may_act_on(self._role(by), role))

    def _audit(self, action: str, by: FeedId | None, subject: FeedId | None = None, detail: str = "") -> None:
        """Write a line. Each change of a key's role, block or aliases has a line with that key as its subject: `news`
        reads nothing else."""
        self._run(
            "INSERT INTO audit (time, by, action, subject, detail) VALUES (?, ?, ?, ?, ?)",
            self._now(),
            _key(by),
            action,
            _key(subject),
            detail,
        )

    # ------------------------------------------------------------ members

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
            return [Denied(FeedId(feed), comment, _feed(by), float(since)) for feed, comment, by, since in rows]

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
                _key(by),
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

    def _insert_member(
        self, feed: FeedId, role: Role, by: FeedId | None, invite: int | None = None, self_joined: bool = False
    ) -> None:
        self._run(
            "INSERT INTO members (feed, role, since, by, invite, self_joined) VALUES (?, ?, ?, ?, ?, ?)",
            feed.key,
            int(role),
            self._now(),
            _key(by),
            invite,
            self_joined,
        )

    def _update_role(self, feed: FeedId, role: Role) -> None:
        self._run(
            "UPDATE members SET role = ?, self_joined = self_joined AND ? WHERE feed = ?",
            int(role),
            role is Role.MEMBER,
            feed.key,
        )

    def _is_stranger(self, feed: FeedId | None) -> bool:
        """Return whether a key counts with all that come by themselves. None: the operator."""
        if feed is None:
            return False
        return self._one("SELECT 1 FROM members WHERE feed = ? AND NOT self_joined", feed.key) is None

    def _has_place(self) -> bool:
        """Return whether one more member may come by itself."""
        return bool(self._one("SELECT count(*) < ? FROM members WHERE self_joined", limits.SELF_JOINED_MEMBERS))

    def _is_last_admin(self, role: Role) -> bool:
        return role is Role.ADMIN and self._one("SELECT count(*) FROM members WHERE role = ?", int(Role.ADMIN)) == 1

    def _forget(self, feed: FeedId) -> None:
        """Delete all that a key has here, and the invites and links that it made."""
        for table in ("members", "aliases", "claims", "web_sessions", "links"):
            self._run(f"DELETE FROM {table} WHERE feed = ?", feed.key)
        for table in ("invites", "links"):
            self._run(f"DELETE FROM {table} WHERE by = ?", feed.key)

    # ------------------------------------------------------------ settings

    def change_settings(self, *, by: FeedId | None, expected: Settings | None = None, **changed: object) -> Outcome:
        """Change settings by the names of `Settings`.

        `members` may be given beside them: keys to make members in the same transaction. Returns DONE, UNCHANGED, or
        INVALID when the settings are not `expected` any more. Raises BadInputError for a value that cannot be.
        """
        new_members: Sequence[FeedId] = changed.pop("members", ())  # type: ignore[assignment]
        with self._writing():
            with decoding():
                before = self._settings()
            if expected not in (None, before):
                return Outcome.INVALID
            after = replace(before, **changed)  # type: ignore[arg-type]
            check_settings(after)
            if not self._may_change(by, before, after, new_members):
                return Outcome.FORBIDDEN
            added = [feed for feed in dict.fromkeys(new_members) if self._role(feed) is Role.EXTERNAL]
            for feed in added:
                self._insert_member(feed, Role.MEMBER, by)
                self._audit("add", by, feed, Role.MEMBER.word)
            if after == before:
                return Outcome.DONE if added else Outcome.UNCHANGED
            self._write_settings(before, after, by)
            return Outcome.DONE

    def _may_change(self, by: FeedId | None, before: Settings, after: Settings, members: Sequence[FeedId]) -> bool:
        """Return whether a key may change the mode, and the other settings, as far as they are changed."""
        rights = set()
        if members or after.mode is not before.mode:
            rights.add(Action.CHANGE_MODE)
        if replace(after, mode=before.mode) != before:
            rights.add(Action.CHANGE_SETTINGS)
        return all(self._may(by, right) for right in rights)

    def _settings(self) -> Settings:
        texts = dict(self._all("SELECT key, value FROM settings"))
        values: dict[str, Any] = {name: texts[name] for name in _TEXTS if name in texts}
        if "mode" in texts:
            values["mode"] = Mode(texts["mode"])
        if "mode_by" in texts:
            values["mode_by"] = Role[texts["mode_by"].upper()]
        if "invite_days" in texts:
            values["invite_days"] = int(texts["invite_days"])
        return Settings(**values)

    def _write_settings(self, before: Settings, after: Settings, by: FeedId | None) -> None:
        said = []
        for one in fields(Settings):
            old, new = (_text(getattr(settings, one.name)) for settings in (before, after))
            if old != new:
                self._run("INSERT OR REPLACE INTO settings (key, value) VALUES (?, ?)", one.name, new)
                said.append(f"{one.name}: {old} → {new}" if one.name in _SHORT else one.name)
        self._audit("settings", by, None, ", ".join(said))

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
            self._one("SELECT 1 FROM members WHERE feed = ?", _key(by)) is None
            or self._one(count + "by = ?", now, _key(by)) >= limits.SELF_JOINED_INVITES_SHARE
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
            return {_feed(by): int(count) for by, count in rows}

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
            if not rows or role is Role.BLOCKED or not self._may(_feed(rows[0][1]), Action.CREATE_INVITE):
                return Claim(Outcome.INVALID)
            number, by = rows[0]
            if role in STORED_ROLES:
                return Claim(Outcome.UNCHANGED)
            self_joined = self._is_stranger(_feed(by))
            if self_joined and not self._has_place():
                return Claim(Outcome.FULL)
            used = self._run(
                f"UPDATE invites SET used = used + 1 WHERE number = ? AND {_OPEN_INVITE}", number, now
            ).rowcount
            if used != 1:
                return Claim(Outcome.INVALID)
            self._insert_member(feed, Role.MEMBER, _feed(by), number, self_joined)
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
            _key(by),
            note,
            created,
            expires,
            uses,
        )
        return cursor.lastrowid or 0

    # ------------------------------------------------------------ aliases

    def aliases(self) -> Sequence[AliasRecord]:
        """Return all aliases in use, by name."""
        with self._using(), decoding():
            rows = self._all(f"SELECT {_ALIAS} FROM aliases WHERE freed IS NULL ORDER BY name")
            return [_alias(row) for row in rows]

    def register_alias(self, name: str, feed: FeedId, signature: bytes, *, most: int, now: float) -> Outcome:
        """Register an alias, or renew the signature of an own one. In an open room it makes a member.

        Args:
            name: The alias.
            feed: Its owner.
            signature: 64 bytes that were verified.
            most: Aliases that a key may have.
            now: The time: a name that was freed is kept from others for `limits.ALIAS_REST` seconds.

        Returns:
            DONE, UNCHANGED, TAKEN, TOO_MANY, BLOCKED, FULL (`RoomRecords`), or MISSING: no key that may have an alias
            under the mode, any more.
        """
        with self._writing(), decoding():
            role = self._role(feed)
            if role is Role.BLOCKED:
                return Outcome.BLOCKED
            if not may(role, self._settings().mode, Action.REGISTER_ALIAS):
                return Outcome.MISSING
            rows = self._all(f"SELECT {_ALIAS} FROM aliases WHERE name = ?", name)
            is_own = False
            if rows:
                old = _alias(rows[0])
                is_own = old.feed == feed and old.freed is None
                if is_own and old.signature == signature:
                    return Outcome.UNCHANGED
                if old.feed != feed and (old.freed is None or now < old.freed + limits.ALIAS_REST):
                    return Outcome.TAKEN
            count = self._one("SELECT count(*) FROM aliases WHERE feed = ? AND freed IS NULL", feed.key)
            if not is_own and count >= most:
                return Outcome.TOO_MANY
            if not is_own and self._is_stranger(feed) and self._are_aliases_full(count):
                return Outcome.FULL
            if role is Role.EXTERNAL:
                if not self._has_place():
                    return Outcome.FULL
                self._insert_member(feed, Role.MEMBER, feed, self_joined=True)
                self._audit("add", feed, feed, Role.MEMBER.word)
            since = old.since if is_own else now
            self._insert_alias(AliasRecord(name, feed, signature, since))
            self._audit("alias", feed, feed, name)
            return Outcome.DONE

    def _are_aliases_full(self, own: int) -> bool:
        """Return whether a stranger may not have one more alias. own: how many it has."""
        if own < limits.SELF_JOINED_ALIASES_SHARE:
            return False
        return bool(self._one(f"SELECT count(*) >= ? FROM aliases WHERE {_OF_STRANGERS}", limits.SELF_JOINED_ALIASES))

    def revoke_alias(self, name: str, *, by: FeedId | None, owner: FeedId | None = None) -> Outcome:
        """Free an alias. owner: only if it is this key's. Returns DONE or MISSING."""
        with self._writing(), decoding():
            rows = self._all("SELECT feed FROM aliases WHERE name = ? AND freed IS NULL", name)
            if not rows or owner not in (None, FeedId(rows[0][0])):
                return Outcome.MISSING
            if not self._may_revoke_alias(by, FeedId(rows[0][0])):
                return Outcome.FORBIDDEN
            self._run("UPDATE aliases SET freed = ? WHERE name = ?", self._now(), name)
            # No key keeps more names from others than it may have: the one that was freed longest ago is free.
            self._run(
                "DELETE FROM aliases WHERE name IN (SELECT name FROM aliases WHERE feed = ? AND freed IS NOT NULL"
                " ORDER BY freed DESC, name LIMIT -1 OFFSET ?)",
                rows[0][0],
                limits.ALIASES_PER_KEY,
            )
            self._audit("revoke alias", by, FeedId(rows[0][0]), name)
            return Outcome.DONE

    def _may_revoke_alias(self, by: FeedId | None, owner: FeedId) -> bool:
        if by == owner:
            return self._may(by, Action.REVOKE_OWN_ALIAS)
        return self._may_do_to(by, Action.REVOKE_ANY_ALIAS, self._role(owner))

    def _insert_alias(self, alias: AliasRecord) -> None:
        self._run(
            "INSERT OR REPLACE INTO aliases (name, feed, signature, since, freed) VALUES (?, ?, ?, ?, NULL)",
            alias.name,
            alias.feed.key,
            alias.signature,
            alias.since,
        )

    # ------------------------------------------------------------ web site

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

    def add_link(
        self, hash: bytes, feed: FeedId | None, purpose: str, expires: float, *, by: FeedId | None
    ) -> Outcome:
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
                _key(feed),
                purpose,
                expires,
                _key(by),
            )
            self._audit("link", by, feed, purpose)
            return Outcome.DONE

    def find_link(self, hash: bytes, now: float) -> tuple[FeedId | None, str] | None:
        """Return whom a link is for and its purpose; it stays. None: unknown, expired or used."""
        with self._using(), decoding():
            rows = self._all("SELECT feed, purpose FROM links WHERE hash = ? AND expires > ?", hash, now)
            return (_feed(rows[0][0]), str(rows[0][1])) if rows else None

    def take_link(self, hash: bytes, now: float) -> tuple[FeedId | None, str] | None:
        """Use up a link; return its key and its purpose. None: unknown, expired or used."""
        with self._writing(), decoding():
            rows = self._all("SELECT feed, purpose, expires FROM links WHERE hash = ?", hash)
            if not rows:
                return None
            self._run("DELETE FROM links WHERE hash = ?", hash)
            feed, purpose, expires = _feed(rows[0][0]), str(rows[0][1]), float(rows[0][2])
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

    def notices(self) -> Sequence[Notice]:
        """Return all notices."""
        with self._using(), decoding():
            rows = self._all("SELECT name, language, title, body, changed FROM notices ORDER BY name, language")
            return [Notice(name, language, title, body, float(when)) for name, language, title, body, when in rows]

    def write_notice(self, notice: Notice, *, by: FeedId | None) -> Outcome:
        """Write a notice; an empty body removes it. Returns DONE."""
        with self._writing():
            if not self._may(by, Action.EDIT_NOTICES):
                return Outcome.FORBIDDEN
            if notice.body:
                self._insert_notice(notice)
            else:
                self._run("DELETE FROM notices WHERE name = ? AND language = ?", notice.name, notice.language)
            self._audit("notice", by, None, f"{notice.name} ({notice.language})")
            return Outcome.DONE

    def _insert_notice(self, notice: Notice) -> None:
        self._run(
            "INSERT OR REPLACE INTO notices (name, language, title, body, changed) VALUES (?, ?, ?, ?, ?)",
            notice.name,
            notice.language,
            notice.title,
            notice.body,
            notice.changed,
        )

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
                AuditLine(int(number), float(when), _feed(by), action, _feed(subject), detail)
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

    def web_address(self) -> str | None:
        """Return the address of the room's web site, as it had it when it ran last; None when it never did."""
        with self._using():
            found = self._one("SELECT value FROM settings WHERE key = 'web_address'")
            return None if found is None else str(found)

    def keep_web_address(self, url: str | None) -> None:
        """Keep the address of the web site, without a slash at its end, for the links that commands make."""
        if url == self.web_address():
            return
        with self._writing():
            self._run("DELETE FROM settings WHERE key = 'web_address'")
            if url is not None:
                self._run("INSERT INTO settings (key, value) VALUES ('web_address', ?)", url)

    # ------------------------------------------------------------ filling

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
                    _key(member.by),
                )
                self._audit("import", None, member.feed, member.role.word)
            for one in contents.denied:
                self._run(
                    "INSERT INTO denied (feed, comment, by, since) VALUES (?, ?, ?, ?)",
                    one.feed.key,
                    one.comment,
                    _key(one.by),
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

    # ------------------------------------------------------------ the file

    def _read_all(self) -> None:
        self.news(None)

    def _on_opened(self, is_other: bool) -> None:
        self._is_other = is_other or self._is_other


_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_TEXTS: Final = ("name", "description", "language", "alias_style")
_SHORT: Final = ("mode", "mode_by", "language", "invite_days", "alias_style")
"""Settings whose values stand in the audit log."""


def check_settings(settings: Settings) -> None:
    """Raise BadInputError, in one line, for settings that no room can have."""
    if not isinstance(settings.mode, Mode):
        raise BadInputError("the mode is open, community or restricted")
    if settings.mode_by not in (Role.MODERATOR, Role.ADMIN):
        raise BadInputError("the mode is changed by moderator or admin")
    if settings.alias_style not in ("path", "subdomain"):
        raise BadInputError("the style of aliases is path or subdomain")
    days = settings.invite_days
    if not isinstance(days, int) or not 1 <= days <= limits.INVITE_DAYS:
        raise BadInputError(f"invites are valid for 1 to {limits.INVITE_DAYS} days")
    for name in _TEXTS:
        text = getattr(settings, name)
        if not isinstance(text, str) or len(text) > limits.SETTING_LETTERS:
            raise BadInputError(f"the {name} has at most {limits.SETTING_LETTERS} characters")
        if _CONTROL.search(text):
            raise BadInputError(f"the {name} is one line of text")
    if _LANGUAGE.fullmatch(settings.language) is None:
        raise BadInputError("the language is given by its code: en, de, pt-BR")


def _check_role(role: Role) -> None:
    if role not in STORED_ROLES:
        raise BadInputError("a member's role is member, moderator or admin")


def _made_by(by: FeedId | None, all: bool) -> tuple[str, tuple[object, ...]]:
    """Return the condition on invites, and its values."""
    return ("", ()) if all else ("WHERE by IS ?", (_key(by),))


def _text(value: object) -> str:
    if isinstance(value, Role):
        return value.word
    return value.value if isinstance(value, Mode) else str(value)


def _key(feed: FeedId | None) -> bytes | None:
    return None if feed is None else feed.key


def _feed(key: bytes | None) -> FeedId | None:
    return None if key is None else FeedId(key)


def _member(row: Sequence[Any]) -> Member:
    feed, role, since, by, invite, has_password = row
    return Member(FeedId(feed), Role(role), float(since), _feed(by), invite, bool(has_password))


def _invite(row: Sequence[Any]) -> Invite:
    number, by, note, created, expires, uses, used, revoked = row
    return Invite(int(number), _feed(by), note, created, expires, uses, used, revoked)


def _alias(row: Sequence[Any]) -> AliasRecord:
    name, feed, signature, since, freed = row
    return AliasRecord(name, FeedId(feed), bytes(signature), float(since), freed)


def _web_session(row: Sequence[Any]) -> WebSession:
    hash, feed, created, seen, browser = row
    return WebSession(bytes(hash), FeedId(feed), float(created), float(seen), browser)

"""What the tables of a room's store have in common: roles, rights, members that join, and the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ssbfast import limits
from ssbfast.ids import FeedId
from ssbfast.room.records import AliasRecord, Settings
from ssbfast.room.roles import STORED_ROLES, Action, Mode, Role, may, may_act_on
from ssbfast.store.database import StoreFile, decoding

ALIAS: Final = "name, feed, signature, since, freed"
TEXTS: Final = ("name", "description", "language", "alias_style")
"""Settings that are kept as they are."""


class RoomTables(StoreFile):
    """The frame of the tables: each class on it looks after some of them, and `RoomStore` is all of them."""

    def _settings(self) -> Settings:
        texts = dict(self._all("SELECT key, value FROM settings"))
        values: dict[str, Any] = {name: texts[name] for name in TEXTS if name in texts}
        if "mode" in texts:
            values["mode"] = Mode(texts["mode"])
        if "mode_by" in texts:
            values["mode_by"] = Role[texts["mode_by"].upper()]
        if "invite_days" in texts:
            values["invite_days"] = int(texts["invite_days"])
        return Settings(**values)

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
            key_of(by),
            action,
            key_of(subject),
            detail,
        )

    def _insert_member(
        self, feed: FeedId, role: Role, by: FeedId | None, invite: int | None = None, self_joined: bool = False
    ) -> None:
        self._run(
            "INSERT INTO members (feed, role, since, by, invite, self_joined) VALUES (?, ?, ?, ?, ?, ?)",
            feed.key,
            int(role),
            self._now(),
            key_of(by),
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


def key_of(feed: FeedId | None) -> bytes | None:
    """Return the bytes that stand for a key in a row. None: the operator."""
    return None if feed is None else feed.key


def feed_of(key: bytes | None) -> FeedId | None:
    """Return the key that the bytes of a row stand for."""
    return None if key is None else FeedId(key)


def alias_of(row: Sequence[Any]) -> AliasRecord:
    """Return the alias of a row of `ALIAS`."""
    name, feed, signature, since, freed = row
    return AliasRecord(name, FeedId(feed), bytes(signature), float(since), freed)

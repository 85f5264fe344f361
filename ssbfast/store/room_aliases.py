"""Aliases of a room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ssbfast import limits
from ssbfast.ids import FeedId
from ssbfast.room.records import AliasRecord, Outcome
from ssbfast.room.roles import Action, Role, may
from ssbfast.store.database import decoding
from ssbfast.store.room_tables import ALIAS, RoomTables, alias_of

_OF_STRANGERS: Final = "feed NOT IN (SELECT feed FROM members WHERE NOT self_joined)"
"""Aliases of those that are limited in all: members that came by themselves."""


class AliasTable(RoomTables):
    """The table of aliases."""

    def aliases(self) -> Sequence[AliasRecord]:
        """Return all aliases in use, by name."""
        with self._using(), decoding():
            rows = self._all(f"SELECT {ALIAS} FROM aliases WHERE freed IS NULL ORDER BY name")
            return [alias_of(row) for row in rows]

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
            rows = self._all(f"SELECT {ALIAS} FROM aliases WHERE name = ?", name)
            is_own = False
            if rows:
                old = alias_of(rows[0])
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

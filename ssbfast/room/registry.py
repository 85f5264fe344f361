"""The members of a room in memory: roles, blocked keys, aliases and mode; kept up by the news of the room's store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ssbfast.ids import FeedId
from ssbfast.room.records import AliasRecord, News, Settings, Standing
from ssbfast.room.roles import Action, Mode, Role, may, may_act_on

_NOTHING = Standing(Role.EXTERNAL)


@dataclass(frozen=True, slots=True)
class RoleChanged:
    """A key whose role is another one now."""

    feed: FeedId
    old: Role
    new: Role


@dataclass(frozen=True, slots=True)
class ModeChanged:
    """A room whose mode is another one now."""

    old: Mode
    new: Mode


@dataclass(frozen=True, slots=True)
class AliasesChanged:
    """A key whose aliases are others now."""

    feed: FeedId


@dataclass(frozen=True, slots=True)
class SettingsChanged:
    """A room with other settings, the mode not counted."""


Change: TypeAlias = RoleChanged | ModeChanged | AliasesChanged | SettingsChanged


class Registry:
    """What a room knows of keys without asking its store.

    Args:
        me: The room's own id, which has no session.

    Attributes:
        number: The line of the audit log up to which it is; None before the first news.
        settings: The room's settings.
    """

    def __init__(self, me: FeedId, settings: Settings | None = None) -> None:
        self.me = me
        self.number: int | None = None
        self.settings = settings or Settings()
        self._standings: dict[FeedId, Standing] = {}
        self._aliases: dict[str, AliasRecord] = {}
        self._counts: Counter[Role] = Counter()

    @property
    def mode(self) -> Mode:
        """Return the room's privacy mode."""
        return self.settings.mode

    def role(self, feed: FeedId) -> Role:
        """Return the role of a key."""
        standing = self._standings.get(feed)
        return Role.EXTERNAL if standing is None else standing.role

    def may(self, feed: FeedId | None, action: Action) -> bool:
        """Return whether a key may do something. None: a visitor of the web site that is not signed in."""
        role = Role.EXTERNAL if feed is None else self.role(feed)
        return may(role, self.mode, action, mode_by=self.settings.mode_by)

    def may_act_on(self, actor: FeedId, target: FeedId) -> bool:
        """Return whether a key may block, remove or revoke another one, as far as their roles decide."""
        return may_act_on(self.role(actor), self.role(target))

    def decide(self, id: FeedId) -> bool:
        """Return whether a proven key may have a session (`ssbfast.room.admission.Admission`)."""
        return id != self.me and self.may(id, Action.SESSION)

    def is_internal(self, feed: FeedId) -> bool:
        """Return whether a key has a tunnel address here: an internal user."""
        return self.may(feed, Action.ANNOUNCE)

    def alias(self, name: str) -> AliasRecord | None:
        """Return an alias in use."""
        return self._aliases.get(name)

    def aliases_of(self, feed: FeedId) -> tuple[AliasRecord, ...]:
        """Return the aliases in use of a key."""
        return self._standings.get(feed, _NOTHING).aliases

    def count(self, role: Role) -> int:
        """Return how many keys have exactly this role."""
        return self._counts[role]

    def keys(self) -> Mapping[FeedId, Standing]:
        """Return all keys that have a role or are blocked."""
        return self._standings

    # ------------------------------------------------------------ news

    def apply(self, news: News) -> list[Change]:
        """Take the news of the store; return what is different now.

        News that are older than what is known change nothing, unless they are whole: then the store is another one.
        """
        if self.number is not None and news.number < self.number and not news.is_whole:
            return []
        self.number = news.number
        changes: list[Change] = []
        if news.settings.mode is not self.settings.mode:
            changes.append(ModeChanged(self.settings.mode, news.settings.mode))
        if news.settings != self.settings:
            changes.append(SettingsChanged())
        self.settings = news.settings
        standings = dict(news.standings)
        if news.is_whole:
            standings |= {feed: _NOTHING for feed in self._standings if feed not in standings}
        for feed, standing in standings.items():
            changes += self._put(feed, standing)
        return changes

    def _put(self, feed: FeedId, new: Standing) -> list[Change]:
        old = self._standings.get(feed, _NOTHING)
        if old == new:
            return []
        for alias in old.aliases:
            if self._aliases.get(alias.name) == alias:
                del self._aliases[alias.name]
        self._aliases.update({alias.name: alias for alias in new.aliases})
        self._counts[old.role] -= feed in self._standings
        self._counts[new.role] += new != _NOTHING
        if new == _NOTHING:
            self._standings.pop(feed, None)
        else:
            self._standings[feed] = new
        changes: list[Change] = []
        if old.role is not new.role:
            changes.append(RoleChanged(feed, old.role, new.role))
        if old.aliases != new.aliases:
            changes.append(AliasesChanged(feed))
        return changes

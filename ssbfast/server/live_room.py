"""Who is in a running room, and what they have open: for its web site, commands and measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ssbfast.ids import FeedId
from ssbfast.room.directory import Portal
from ssbfast.room.registry import Registry
from ssbfast.room.roles import Mode, Role
from ssbfast.server.session import RoomSession


@dataclass(frozen=True, slots=True)
class Load:
    """What one key has open at a room: sessions, and tunnels that begin or end at them."""

    sessions: int
    tunnels: int


class LiveRoom:
    """A running room, to look at."""

    def __init__(self, portal: Portal, registry: Registry, sessions: Mapping[int, RoomSession]) -> None:
        self._portal = portal
        self._registry = registry
        self._sessions = sessions

    def load(self, feed: FeedId) -> Load:
        """Return what a key has open."""
        sessions = [self._sessions[number] for number in self._portal.sessions(feed)]
        return Load(len(sessions), sum(len(session.splices) for session in sessions))

    def online(self) -> list[FeedId]:
        """Return the keys that are announced, in the order of joining."""
        return self._portal.attendants()

    def visitors(self) -> list[FeedId]:
        """Return the external keys that have a session."""
        if self._registry.mode is Mode.OPEN:
            return []
        role = self._registry.role
        return [feed for feed in self._portal.feeds() if role(feed) < Role.MEMBER]

"""The portal's directory: the announced peers, and the session that a tunnel goes to.

Everything is kept by session, not by feed id: the end of an old session cannot remove a newer one of the same key,
and a feed id joins when its first session is announced and leaves when the last one goes.

Source: SIP 7; for the endings ssb-room's and go-ssb-room's behaviour, minus their duplicate events.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass

from ssbfast.errors import LocalProtocolError, RefusedError
from ssbfast.ids import FeedId
from ssbfast.room.effects import Changes, Joined, Left
from ssbfast.tables import compact


def refusal(target: FeedId | str) -> str:
    """Return the one text for a target that is absent, private, the caller, or asked for at a wrong portal."""
    return f"could not connect to: {target}"


@dataclass(slots=True)
class _Session:
    feed: FeedId
    age: int  # counts up: the newest session has the largest
    announced: bool = False


class Portal:
    """The directory of one room. me: the room's own id, which is never listed or reached."""

    def __init__(self, me: FeedId) -> None:
        self.me = me
        self._sessions: dict[int, _Session] = {}
        self._of: dict[FeedId, list[tuple[int, int]]] = {}  # (age, session), oldest first
        self._announced: dict[FeedId, list[tuple[int, int]]] = {}  # the same, announced ones only; never empty lists
        self._opened = 0

    def __contains__(self, session: object) -> bool:
        return session in self._sessions

    def __len__(self) -> int:
        return len(self._sessions)

    def compact(self) -> None:
        """Give back the memory that a crowd has left behind."""
        compact(self._sessions, self._of, self._announced)

    def open(self, session: int, feed: FeedId) -> None:
        """Note that a session with `feed` has begun, not announced yet. Raise LocalProtocolError if it is known."""
        if session in self._sessions:
            raise LocalProtocolError("the session is open already")
        self._opened += 1
        self._sessions[session] = _Session(feed, self._opened)
        self._of.setdefault(feed, []).append((self._opened, session))

    def close(self, session: int) -> Changes:
        """Forget a session that is over. Idempotent."""
        entry = self._sessions.get(session)
        if entry is None:
            return ()
        changes = self.leave(session)
        del self._sessions[session]
        self._remove(self._of, entry, session)
        return changes

    def announce(self, session: int) -> Changes:
        """Make the session reachable from now on. Raise LocalProtocolError for an unknown session."""
        entry = self._entry(session)
        if entry.announced or entry.feed == self.me:
            return ()
        entry.announced = True
        sessions = self._announced.setdefault(entry.feed, [])
        insort(sessions, (entry.age, session))
        return (Joined(entry.feed),) if len(sessions) == 1 else ()

    def leave(self, session: int) -> Changes:
        """Make the session unreachable; its running tunnels stay. Raise as announce()."""
        entry = self._entry(session)
        if not entry.announced:
            return ()
        entry.announced = False
        return (Left(entry.feed),) if self._remove(self._announced, entry, session) else ()

    def feed(self, session: int) -> FeedId:
        """Return the key of a session, as the handshake proved it. Raise LocalProtocolError."""
        return self._entry(session).feed

    def sessions(self, feed: FeedId) -> tuple[int, ...]:
        """Return all open sessions of a key, newest first, announced or not."""
        return tuple(session for _, session in reversed(self._of.get(feed, [])))

    def count(self, feed: FeedId) -> int:
        """Return how many open sessions a key has."""
        return len(self._of.get(feed, ()))

    def feeds(self) -> list[FeedId]:
        """Return all keys that have a session, announced or not."""
        return list(self._of)

    def attendants(self) -> list[FeedId]:
        """Return all announced feed ids, in the order of joining."""
        return list(self._announced)

    def is_announced(self, feed: FeedId) -> bool:
        """Return whether a key has an announced session."""
        return feed in self._announced

    def route(self, session: int, portal: FeedId | None, target: FeedId) -> int:
        """Return the newest announced session of `target`, for a tunnel that `session` asks for.

        portal: what the caller names, None when it names none (clients of 2018).
        Raises RefusedError, with the same text for every reason.
        """
        sessions = self._announced.get(target)
        wrong = portal is not None and portal != self.me
        if sessions is None or wrong or target == self._entry(session).feed:
            raise RefusedError(refusal(target))
        return sessions[-1][1]

    def _entry(self, session: int) -> _Session:
        entry = self._sessions.get(session)
        if entry is None:
            raise LocalProtocolError("no such session")
        return entry

    @staticmethod
    def _remove(table: dict[FeedId, list[tuple[int, int]]], entry: _Session, session: int) -> bool:
        """Remove a session; return whether it was the last of its key."""
        sessions = table[entry.feed]
        sessions.remove((entry.age, session))
        if not sessions:
            del table[entry.feed]
        return not sessions

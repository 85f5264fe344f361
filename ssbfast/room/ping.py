"""gossip.ping, the accepting side: a game of volleyball with timestamps that keeps connections alive.

The side that serves sends its time and the other sends its own back; the other serves next, a timeout later. An answer
to our own serve is not answered again: two ends that answered everything would play without pause.

Source: pull-ping 2.0 (npm), `serve: false`.
"""

from __future__ import annotations

from collections.abc import Callable

from ssbfast import limits
from ssbfast.room.effects import StreamItem


class Pings:
    """All gossip.ping streams of a room. wall_ms: the wall clock, milliseconds since 1970."""

    def __init__(self, wall_ms: Callable[[], int]) -> None:
        self._wall_ms = wall_ms
        self._of: dict[int, dict[int, bool]] = {}  # session → req → we served and wait for the answer
        self._serves: dict[tuple[int, int], float] = {}  # in order of time: they all wait equally long

    @property
    def next_tick(self) -> float | None:
        """Return the time when tick() has something to do."""
        return next(iter(self._serves.values()), None)

    def count(self, session: int) -> int:
        """Return the number of open ping streams of a session."""
        return len(self._of.get(session, ()))

    def open(self, session: int, req: int) -> None:
        """Open a stream for the peer, which serves first."""
        self._of.setdefault(session, {})[req] = False

    def received(self, session: int, req: int, now: float) -> list[StreamItem]:
        """Take a timestamp: the answer to ours, or one to answer."""
        streams = self._of.get(session, {})
        served = streams.get(req)
        if served is None:
            return []
        if served:
            streams[req] = False
            return []
        self._serves.pop((session, req), None)
        self._serves[session, req] = now + limits.PING_SECONDS
        return [self._stamp(session, req)]

    def ended(self, session: int, req: int) -> bool:
        """Forget a stream that is over; return whether there was one."""
        streams = self._of.get(session, {})
        if streams.pop(req, None) is None:
            return False
        self._serves.pop((session, req), None)
        if not streams:
            del self._of[session]
        return True

    def session_closed(self, session: int) -> None:
        """Forget all streams of a session."""
        for req in list(self._of.get(session, ())):
            self.ended(session, req)

    def tick(self, now: float) -> list[StreamItem]:
        """Serve where it is our turn, some at a time: after a restart thousands are due together."""
        items: list[StreamItem] = []
        while self._serves and len(items) < limits.ATTENDANCE_STEP:
            (session, req), due = next(iter(self._serves.items()))
            if due > now:
                break
            del self._serves[session, req]
            self._of[session][req] = True
            items.append(self._stamp(session, req))
        return items

    def _stamp(self, session: int, req: int) -> StreamItem:
        return StreamItem(session, req, b"%d" % self._wall_ms())

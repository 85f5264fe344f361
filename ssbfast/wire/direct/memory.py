"""Memory of direct paths that grows with their speed: what all of them may take together, and credit that grows.

Every session, path and forwarded connection has windows of a first size, whatever the others do. What they grow beyond
it comes from one `MemoryBudget`. No peer has more of it than it leaves to others, however many sessions it opens.

No I/O, no clock: `now` is seconds of the caller's monotonic clock.
"""

from __future__ import annotations

from typing import Final

from ssbfast import limits

_PART: Final = 2
"""A reader that takes one of so many parts of the window within `ROUND_TRIPS` has use for twice as much."""

ROUND_TRIPS: Final = 2
"""What is used up, or acknowledged, within so many of them is worth a larger window."""


class MemoryBudget:
    """Bytes that windows may take beyond their first sizes."""

    __slots__ = ("_held", "free")

    def __init__(self, most: int = limits.PATH_MEMORY) -> None:
        self.free = most
        self._held: dict[bytes, int] = {}

    def share(self, key: bytes) -> MemoryShare:
        """Return the share of one session with that peer; its maker closes it."""
        return MemoryShare(self, key)

    def take(self, key: bytes, wanted: int) -> int:
        """Return how many of the bytes wanted that peer gets: at most what leaves as many free as it has then."""
        held = self._held.get(key, 0)
        granted = max(0, min(wanted, (self.free - held) // 2))
        if granted:
            self.free -= granted
            self._held[key] = held + granted
        return granted

    def give_back(self, key: bytes, length: int) -> None:
        """Free what `take` has granted."""
        self.free += length
        self._held[key] = self._held.get(key, 0) - length
        if self._held[key] <= 0:
            del self._held[key]


class MemoryShare:
    """What one session has taken of the budget. Once closed it has nothing, and gets nothing."""

    __slots__ = ("_budget", "_key", "held")

    def __init__(self, budget: MemoryBudget, key: bytes) -> None:
        self._budget: MemoryBudget | None = budget
        self._key = key
        self.held = 0

    def take(self, wanted: int) -> int:
        """Return how many of the bytes wanted there are."""
        granted = 0 if self._budget is None else self._budget.take(self._key, wanted)
        self.held += granted
        return granted

    def give_back(self, length: int) -> None:
        """Free bytes that were taken; harmless once closed."""
        length = min(length, self.held)
        if self._budget is not None and length > 0:
            self.held -= length
            self._budget.give_back(self._key, length)

    def close(self) -> None:
        """Free all."""
        self.give_back(self.held)
        self._budget = None


class _Reader:
    """The reader of one stream: how much it has used, and since when that is measured."""

    __slots__ = ("measured", "since", "window")

    def __init__(self, window: int, used: int, now: float) -> None:
        self.window = window
        self.measured = used
        self.since = now


class Credit:
    """Credit that a path gives the other end beyond what its readers have used up, for each stream and for all.

    A stream's credit doubles when its reader uses up half of it within two round trips. What streams that are over have
    grown by is kept for others of the path until it closes: credit that was given cannot be taken back.

    share: of the session; None: nothing grows. session: the stream that has its bytes, which begins with more.
    """

    __slots__ = ("_readers", "_session", "_share", "_spare", "_taken")

    def __init__(self, share: MemoryShare | None, session: int) -> None:
        self._share = share
        self._session = session
        self._readers: dict[int, _Reader] = {}
        self._spare = 0
        self._taken = 0

    @property
    def whole(self) -> int:
        """Credit of all streams together."""
        return limits.DIRECT_WINDOW + self._taken

    def window(self, stream: int) -> int:
        """Return the credit of a stream."""
        reader = self._readers.get(stream)
        return self._first(stream) if reader is None else reader.window

    def used(self, stream: int, used: int, now: float, rtt: float) -> None:
        """Note how many bytes of a stream its reader has used up in all. rtt: seconds, 0 while it is not known."""
        reader = self._readers.get(stream)
        if reader is None:
            self._readers[stream] = _Reader(self._first(stream), used, now)
            return
        if used - reader.measured < reader.window // _PART:
            return
        if now - reader.since <= ROUND_TRIPS * rtt:
            reader.window += self._take(min(reader.window, limits.DIRECT_STREAM_WINDOW_MAX - reader.window))
        reader.measured, reader.since = used, now

    def over(self, stream: int) -> None:
        """Forget a stream."""
        reader = self._readers.pop(stream, None)
        if reader is not None:
            self._spare += reader.window - self._first(stream)

    def close(self) -> None:
        """Give back what was taken: the path is over."""
        if self._share is not None:
            self._share.give_back(self._taken)
        self._readers.clear()
        self._spare = self._taken = 0

    def _first(self, stream: int) -> int:
        return limits.DIRECT_STREAM_WINDOW if stream == self._session else limits.DIRECT_FORWARD_WINDOW

    def _take(self, wanted: int) -> int:
        spare = min(wanted, self._spare)
        self._spare -= spare
        room = limits.DIRECT_WINDOW_MAX - limits.DIRECT_WINDOW - self._taken
        fresh = 0 if self._share is None else self._share.take(min(wanted - spare, room))
        self._taken += fresh
        return spare + fresh

"""The recent events of a room, encoded once for all subscribers, which read at their own pace."""

from __future__ import annotations

from collections import deque
from itertools import islice

from ssbfast import limits


class News:
    """Encoded events, numbered from 0 on; the oldest are forgotten, at the latest when SUBSCRIBER_BACKLOG is full.

    next: the number of the event that comes next.
    """

    def __init__(self) -> None:
        self._events: deque[bytes] = deque()
        self._bytes = 0
        self.next = 0

    def add(self, event: bytes) -> None:
        self._events.append(event)
        self._bytes += len(event)
        self.next += 1
        while self._bytes > limits.SUBSCRIBER_BACKLOG:
            self._drop()

    def since(self, number: int) -> list[bytes] | None:
        """Return event `number` and all behind it; None when some of them are forgotten."""
        first = self.next - len(self._events)
        return None if number < first else list(islice(self._events, number - first, None))

    def forget(self, before: int) -> None:
        """Forget the events before `number`: every subscriber has them."""
        while self._events and self.next - len(self._events) < before:
            self._drop()

    def _drop(self) -> None:
        self._bytes -= len(self._events.popleft())

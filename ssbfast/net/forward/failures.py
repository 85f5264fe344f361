"""Failures of many connections at once, reported once a second."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from ssbfast import limits
from ssbfast.ids import FeedId


@dataclass(frozen=True, slots=True)
class Complaint:
    """A reason why connections were not carried, or have to wait.

    peer: the other end, if known. reason: in words. count: connections that it concerns since it was last told.
    """

    peer: FeedId | None
    reason: str
    count: int


class Complaints:
    """Rate-limited complaints: the first is told at once, the others when they are due, each kind with its count.

    tell: gets them, `COMPLAINT_SECONDS` apart at the least.
    """

    def __init__(self, tell: Callable[[Complaint], None]) -> None:
        self._tell = tell
        self._counts: OrderedDict[tuple[FeedId | None, str], int] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, peer: FeedId | None, reason: str) -> None:
        kind = (peer, reason)
        if kind not in self._counts and len(self._counts) >= limits.COMPLAINT_KINDS:
            return
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if self._timer is None:
            self._next()

    def close(self) -> None:
        """Tell nothing more."""
        self._counts.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _next(self) -> None:
        self._timer = None
        if self._counts:
            (peer, reason), count = self._counts.popitem(last=False)
            self._timer = asyncio.get_running_loop().call_later(limits.COMPLAINT_SECONDS, self._next)
            self._tell(Complaint(peer, reason, count))

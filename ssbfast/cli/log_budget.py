"""The bytes that a room writes to its log: a token bucket, and counts of the lines that it does not pay for.

Strangers decide how often peers come, go and tunnel, so a log of all that would be as long as they like. Sans-I/O: time
is passed in, in seconds, and the bytes are those of the whole line.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from ssbfast import limits

ALWAYS: Final = frozenset(
    {"listening", "limited", "error", "lost", "draining", "taken_over", "records_problem", "stalled", "clock_set"}
    | {"certificate_loaded", "certificate_problem"}
)
"""Events whose lines always pass, being few by themselves; they are paid for like the others."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A log's budget. burst: bytes at once. rate: bytes a second in the long run. reserve: bytes for the counts.

    pause: seconds between two such lines.
    """

    burst: int = limits.LOG_BURST
    rate: float = limits.LOG_RATE
    reserve: int = limits.LOG_RESERVE
    pause: float = limits.LOG_SKIPPED_SECONDS


class LogBudget:
    """The choice of the lines that are written.

    Once a line is left out, all are, until the counts are told: then what stands above and below them has no other gap.
    """

    def __init__(self, now: float, budget: Budget | None = None) -> None:
        self._budget = budget or Budget()
        self._tokens = float(self._budget.burst)
        self._filled = now
        self._told = -float("inf")
        self._skipped: Counter[str] = Counter()

    def leaves_out(self, event: str) -> bool:
        """Return whether an event of that name is left out, however long its line would be; then count it."""
        if not self._skipped or event in ALWAYS:
            return False
        self._skipped[event] += 1
        return True

    def passes(self, event: str, size: int, now: float) -> bool:
        """Return whether a line of `size` bytes for an event of that name is written; otherwise count it."""
        self._fill(now)
        if self.leaves_out(event):
            return False
        if event not in ALWAYS and self._tokens - size < self._budget.reserve:
            self._skipped[event] += 1
            return False
        self._tokens -= size
        return True

    def due(self, now: float) -> float | None:
        """Return the seconds until the counts can be told; None while there are none."""
        if not self._skipped:
            return None
        self._fill(now)
        budget = self._budget
        wanted = budget.reserve + (budget.burst - budget.reserve) / 4  # so that some lines follow before the next gap
        return max(0.0, (wanted - self._tokens) / budget.rate, self._told + budget.pause - now)

    def skipped(self, now: float) -> dict[str, int]:
        """Return the counts by event, to be told now; they begin anew."""
        counts = dict(sorted(self._skipped.items()))
        self._skipped.clear()
        self._told = now
        return counts

    def pay(self, size: int, now: float) -> None:
        """Take note that the line with the counts is written."""
        self._fill(now)
        self._tokens -= size

    def _fill(self, now: float) -> None:
        earned = max(0.0, now - self._filled) * self._budget.rate
        self._tokens = min(float(self._budget.burst), self._tokens + earned)
        self._filled = max(self._filled, now)

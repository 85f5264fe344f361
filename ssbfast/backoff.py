"""The pause before the next attempt: longer each time, and at random, so that peers do not come all at once.

Everything that dials again uses this: rooms, targets, standby tunnels, the ssb server.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from ssbfast import limits


class Backoff:
    """Pauses between attempts, in seconds.

    first: the first pause. factor: how much longer each is than the one before. most: the longest.
    chance: gives 0..1. Each pause is cut to between a half and the whole, so that the peers of a room which was away
    do not all come back at once. useful: how long a session has to last for the pauses to begin again.
    """

    def __init__(
        self,
        first: float = limits.RECONNECT_FIRST,
        factor: float = limits.RECONNECT_FACTOR,
        most: float = limits.RECONNECT_MAX,
        chance: Callable[[], float] = random.random,
        useful: float = limits.RECONNECT_USEFUL,
    ) -> None:
        self._first = first
        self._factor = factor
        self._most = most
        self._chance = chance
        self._useful = useful
        self._next = first

    def next(self, most: float | None = None) -> float:
        """Return the pause before the next attempt, in seconds. most: the longest one just now."""
        pause = min(self._next, self._most if most is None else most)
        self._next = min(self._next * self._factor, self._most)
        return pause * (1 + self._chance()) / 2

    def lasted(self, seconds: float) -> None:
        """Note how long a session has lasted. A useful one lets the pauses begin again; others do not."""
        if seconds >= self._useful:
            self.reset()

    def reset(self) -> None:
        """Begin again with the first pause."""
        self._next = self._first

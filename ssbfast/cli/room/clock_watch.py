"""Watch a room's time: the process may be stopped, the clock of the machine may be set."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

_LOOK_SECONDS: Final = 1.0
STALL_SECONDS: Final = 5.0
"""A loop that comes back so much later than it should is told."""

JUMP_SECONDS: Final = 10.0
"""So is a clock that moves so much against the one that does not jump."""


class Clocks:
    """The clocks as they were seen last. Sans-I/O.

    steady: seconds of a clock that does not jump. wall: seconds since 1970.
    """

    def __init__(self, steady: float, wall: float) -> None:
        self._steady = steady
        self._wall = wall

    def look(self, steady: float, wall: float) -> Iterator[tuple[str, float]]:
        """Yield the events of the time since the last look, which was to take `_LOOK_SECONDS`, with their seconds."""
        passed = steady - self._steady
        jumped = wall - self._wall - passed
        self._steady, self._wall = steady, wall
        if passed - _LOOK_SECONDS > STALL_SECONDS:
            yield "stalled", round(passed - _LOOK_SECONDS, 1)
        if abs(jumped) > JUMP_SECONDS:
            yield "clock_set", round(jumped, 1)


class ClockWatch:
    """A look at the clocks, once a second.

    emit: told "stalled" and "clock_set", with `seconds`.
    """

    def __init__(self, emit: Callable[..., Any]) -> None:
        self._emit = emit
        self._clocks = Clocks(time.monotonic(), time.time())
        self._plan()

    def close(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _plan(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._plan()
        for event, seconds in self._clocks.look(time.monotonic(), time.time()):
            self._emit(event, seconds=seconds)

"""The time that this process was awake: deadlines do not run while the laptop sleeps or the process is stopped.

A peer has so many seconds to do its part. Seconds in which we could not have noticed must not count: else everything is
overdue at the moment of waking, before a single packet was read. On Linux and macOS the loop's clock stands still while
the machine sleeps; on Windows it goes on, and it does so everywhere while only this process is stopped (SIGSTOP, a
virtual machine that is saved). So a timer beats like a heart; missed beats are time asleep.
"""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from ssbfast import limits


class AwakeClock:
    """The clock of one loop: seconds from the same beginning as `loop.time()`, less those that were slept away."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._seen = loop.time()
        self._asked = self._seen
        self._slept = 0.0
        self._heart: asyncio.TimerHandle | None = None

    def time(self) -> float:
        """Return the time now. The first call after a sleep finds it, whichever timer comes first."""
        now = self._look()
        self._asked = now
        if self._heart is None:
            self._heart = self._loop.call_later(limits.HEARTBEAT_SECONDS, self._beat)
        return now - self._slept

    def loop_time(self, at: float) -> float:
        """Return when that will be, for `loop.call_at`, if there is no sleep before. After one the timer is early."""
        return at + self._slept

    def _look(self) -> float:
        now, before = self._loop.time(), self._seen
        self._seen = now
        if self._heart is not None and now - before >= limits.SLEEP_NOTICED_SECONDS:
            self._slept += now - before
        return now

    def _beat(self) -> None:
        now = self._look()
        self._heart = None
        if now - self._asked < limits.UPGRADE_MAX:  # nothing of ours waits for longer
            self._heart = self._loop.call_later(limits.HEARTBEAT_SECONDS, self._beat)


_CLOCKS: WeakKeyDictionary[asyncio.AbstractEventLoop, AwakeClock] = WeakKeyDictionary()


def awake_clock() -> AwakeClock:
    """Return the running loop's clock."""
    loop = asyncio.get_running_loop()
    clock = _CLOCKS.get(loop)
    if clock is None:
        clock = _CLOCKS[loop] = AwakeClock(loop)
    return clock

"""Keep a long-running process small and without pauses: when Python looks for garbage, and when memory goes back.

Python's full collections look at every object there is: 150 ms with ten thousand tunnels, whenever their number has
grown by a quarter, and every session waits. So they are turned off, which leaves the two younger generations, and done
here: after a crowd has left, when there is little to look at and much to give back, and else rarely. Memory that a
burst of work has left behind goes back as well, as soon as it is quiet.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import mmap
import sys
import time
from collections.abc import Callable

from ssbfast import limits

_NEVER = 2**31 - 1


class Tidier:
    """A background task that tidies up, from `start` to `close`.

    count: how much there is (sessions, tunnels). compact: has tables shrink that are larger than their entries need.
    """

    def __init__(self, count: Callable[[], int], compact: Callable[[], None] = lambda: None) -> None:
        self._count = count
        self._compact = compact
        self._most = 0
        self._thresholds = gc.get_threshold()
        self._last = 0.0
        self._resident = 0  # bytes, after memory was given back last
        self._seen = 0
        self._used = 0.0  # seconds of CPU time
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin, in a running loop."""
        self._thresholds = gc.get_threshold()
        gc.collect()
        gc.freeze()  # modules and classes stay until the end
        gc.set_threshold(*self._thresholds[:2], _NEVER)
        self._last = asyncio.get_running_loop().time()
        self._resident = self._seen = resident()
        self._plan()

    def close(self) -> None:
        """Leave Python's collector as it was. Harmless twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            gc.set_threshold(*self._thresholds)
            gc.unfreeze()

    def _plan(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(limits.TIDY_SECONDS, self._look)

    def _look(self) -> None:
        now, there = asyncio.get_running_loop().time(), self._count()
        self._most = max(self._most, there)
        has_shrunk = self._most - there > max(limits.TIDY_CROWD, self._most // 2)
        if has_shrunk or now - self._last > limits.TIDY_AT_LEAST_SECONDS:
            self._tidy(collecting=True)
            self._most, self._last = there, now
        elif self._has_calmed():
            self._tidy(collecting=there <= limits.TIDY_FEW)
        self._plan()

    def _has_calmed(self) -> bool:
        """Return whether work has left memory behind, and takes no more."""
        used, self._used = self._used, time.process_time()
        before, self._seen = self._seen, resident()
        is_calm = self._seen <= before and self._used - used < limits.TIDY_CALM * limits.TIDY_SECONDS
        return is_calm and self._seen - self._resident > limits.TIDY_BYTES

    def _tidy(self, *, collecting: bool) -> None:
        if collecting:
            self._compact()
            gc.collect()
        give_back()
        self._resident = self._seen = resident()  # what stays is in use, and not looked at again


def resident() -> int:
    """Return the bytes of memory that this process has; 0 where the system does not tell (it is Linux that does)."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:
            return int(file.read(100).split()[1]) * mmap.PAGESIZE
    except (OSError, IndexError, ValueError):
        return 0


def give_back() -> None:
    """Return free memory of the C library to the system, where it does not do so by itself (glibc)."""
    if sys.platform != "linux":
        return
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):  # another C library
        return

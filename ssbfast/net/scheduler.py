"""The order of work in the event loop: sessions that use little work at once, the others in fair turns.

A tick reads from every socket that has something, so that a thousand busy sessions, or one that sends thousands of
calls, would keep all others waiting. So the first `TICK_SECONDS` of work of a tick go to what comes first; then
only sessions that have used little lately go on, and all others are put aside, their input kept in the core and their
socket not read. `budgets.Turns` says whose turn is next; each tick gives turns for `TICK_SECONDS` again.

A step of a handshake takes as long as relaying 100 KB or more, and waits for its turn like other work. A worker thread
would not be better: what it computes between two calls into libsodium it computes under Python's lock, and the loop,
which drops that lock at each call into the core, then waits for it each time (benchmarks/NOTES.md, "What the profile
says").
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ssbfast import limits
from ssbfast.budgets import Rings, Share, Turns


class LoopTurns:
    """The turns of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._turns = Turns()
        self._planned = False
        self._began = 0.0
        self.is_crowded = False
        """Whether ticks are longer than they should be of late: only then time is charged."""

    @property
    def is_busy(self) -> bool:
        """True when work waits for a turn."""
        return bool(self._turns)

    def share(self, networks: Rings = ()) -> Share:
        """Return the share of a new session; networks: of its address, none for what is our own."""
        return self._turns.share(networks)

    def close(self, share: Share) -> None:
        """Forget a share, once; what it has queued is still done."""
        self._turns.close(share)

    def begin(self) -> None:
        """Begin a tick: measure its work from now on."""
        self._began = self._loop.time()

    def end(self) -> None:
        """End a tick: one that was short ends the crowd."""
        if self.is_crowded and not self._planned:
            self.is_crowded = self._loop.time() - self._began > limits.TICK_SECONDS / 2

    def is_over(self, share: Share) -> bool:
        """Return whether more work of `share` has to wait for its turn."""
        now = self._loop.time()
        used = now - self._began
        if used < limits.TICK_SECONDS:
            return False
        self.is_crowded = True
        return used > limits.TICK_LIGHT_SECONDS or not self._turns.is_light(share, now)

    def charged(self, share: Share, work: Callable[[], None]) -> None:
        """Do work now and charge its time."""
        began = self._loop.time()
        try:
            work()
        finally:
            now = self._loop.time()
            self._turns.spent(share, now - began, now)

    def queue(self, share: Share, work: Callable[[], None]) -> None:
        """Do work when its turn has come: next tick at the earliest."""
        self._turns.queue(share, work)
        if not self._planned:
            self._planned = True
            self._loop.call_soon(self._give_turns)

    def _give_turns(self) -> None:
        self.begin()
        until = self._began + limits.TICK_SECONDS
        for _ in range(limits.HANDSHAKE_STEPS):
            turn = self._turns.next()
            if turn is None:
                break
            share, work = turn
            try:
                self.charged(share, work)
            except Exception as error:  # as the loop does with its callbacks: one fails, the others go on
                context = {"message": "work of a session failed", "exception": error}
                self._loop.call_exception_handler(context)
            if self._loop.time() >= until:
                break
        self._planned = bool(self._turns)
        if self._planned:
            self._loop.call_soon(self._give_turns)

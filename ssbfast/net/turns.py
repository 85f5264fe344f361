"""Handshakes take turns: so many of their steps a tick, however many callers knock, and tunnels move in between.

A step with public-key arithmetic takes as long as relaying 100 KB or more. A worker thread would not be better: what it
computes between two calls into libsodium it computes under Python's lock, and the loop, which drops that lock at each
call into the core, then waits for it each time (benchmarks/README.md, "What the profile says").
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from ssbfast import limits
from ssbfast.wire.handshake_messages import Ephemeral

_IDLE_SECONDS = 0.02


class Turns:
    """What the handshakes of one event loop share: whose turn it is, and ephemeral keys made in advance."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._steps: deque[Callable[[], None]] = deque()
        self._keys: list[Ephemeral] = []
        self._making: asyncio.TimerHandle | None = None

    def queue(self, step: Callable[[], None]) -> None:
        """Take a step when its turn has come: next tick at the earliest."""
        if not self._steps:
            self._loop.call_soon(self._go_on)
        self._steps.append(step)

    def ephemeral(self) -> Ephemeral | None:
        """A key whose public half is computed already; None when there is none left."""
        if self._making is None:
            self._making = self._loop.call_later(_IDLE_SECONDS, self._make)
        return self._keys.pop() if self._keys else None

    def close(self) -> None:
        """Wipe what is left."""
        if self._making is not None:
            self._making.cancel()
        while self._keys:
            self._keys.pop().wipe()

    def _go_on(self) -> None:
        for _ in range(min(len(self._steps), limits.HANDSHAKE_STEPS)):
            self._steps.popleft()()
        if self._steps:
            self._loop.call_soon(self._go_on)

    def _make(self) -> None:
        """Make some keys, while nobody waits for a turn."""
        self._making = None
        if not self._steps:
            for _ in range(min(limits.HANDSHAKE_STEPS, limits.EPHEMERALS - len(self._keys))):
                key = Ephemeral(None)
                _ = key.public  # computed once, when first asked for
                self._keys.append(key)
        if len(self._keys) < limits.EPHEMERALS:
            self._making = self._loop.call_later(_IDLE_SECONDS, self._make)

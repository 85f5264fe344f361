"""Ephemeral keys that are made in advance, while no work waits: half of a server's arithmetic before message 3."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ssbfast import limits
from ssbfast.wire.handshake_messages import Ephemeral

_IDLE_SECONDS = 0.02


class Ephemerals:
    """A small stock of keys.

    is_busy: tells whether work waits for a turn of the loop; no key is made then.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, is_busy: Callable[[], bool]) -> None:
        self._loop = loop
        self._is_busy = is_busy
        self._keys: list[Ephemeral] = []
        self._making: asyncio.TimerHandle | None = None

    def take(self) -> Ephemeral | None:
        """Return a key whose public half is computed already; None when there is none left."""
        if self._making is None:
            self._making = self._loop.call_later(_IDLE_SECONDS, self._make)
        return self._keys.pop() if self._keys else None

    def close(self) -> None:
        """Wipe what is left."""
        if self._making is not None:
            self._making.cancel()
        while self._keys:
            self._keys.pop().wipe()

    def _make(self) -> None:
        """Make one, or come back later when work waits for a turn."""
        self._making = None
        if not self._is_busy():
            key = Ephemeral(None)
            _ = key.public  # computed once, when first asked for
            self._keys.append(key)
        if len(self._keys) < limits.EPHEMERALS:
            self._making = self._loop.call_later(_IDLE_SECONDS / limits.HANDSHAKE_STEPS, self._make)

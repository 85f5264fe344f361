"""Memory pressure: which session is cut when queue memory is short, and which is not read meanwhile.

Bytes that tunnels have under way never count here: the core lets each hold a part of what is left, and a stalled one
ends (`net/relay.py`). What counts is what a peer alone answers for (`Link.owed`): input that waits for more of it, and
answers and lists that it does not read. From a quarter of the pool on, networks that hold more than an equal part of
that quarter lose the session that holds most of it, unfinished input first; a session gets a second to let go by
itself. Sessions that hold less than `HEAVY_SLABS` never lose. No other session waits: only one whose own input met a
pool that was quite full is not read until an eighth is free.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from ssbfast import limits, native
from ssbfast.errors import LimitError
from ssbfast.net.link import Link


class PressedRelay(Protocol):
    """The relay whose queue memory `Pressure` guards: the part of it that `Pressure` needs."""

    loop: asyncio.AbstractEventLoop
    hub: native.Hub

    def link(self, number: int) -> Link | None:
        """Return the link of this number, if it is still there."""

    def plan_check(self) -> None:
        """Look for stalled outlets in a while."""


class Pressure:
    """The guard of one relay's queue memory."""

    def __init__(self, relay: PressedRelay) -> None:
        self._relay = relay
        self._slabs = relay.hub.left  # that payload may take, while nothing is lent
        self._waiting: set[Link] = set()
        self._since: dict[Link, float] = {}
        self._step: asyncio.TimerHandle | None = None

    @property
    def is_high(self) -> bool:
        """True when a session may have to let go."""
        return self._step is not None

    @property
    def ample(self) -> int:
        """Slabs: no session has to let go while so many are left."""
        return self._slabs - self._slabs // limits.PRESSURE_PART

    def begin(self) -> None:
        """Begin: fewer slabs than `ample` are left. Harmless when it has begun."""
        if self._step is None:
            self._step = self._relay.loop.call_later(limits.PRESSURE_STEP_SECONDS, self._care)
            self._relay.plan_check()

    def wait(self, source: Link) -> None:
        """Read no more from a session whose input met a full pool."""
        source.hold(self)
        self._waiting.add(source)
        self.begin()

    def forget(self, link: Link) -> None:
        """Forget a link that has closed."""
        self._waiting.discard(link)
        self._since.pop(link, None)

    def close(self) -> None:
        """Leave nothing planned behind."""
        if self._step is not None:
            self._step.cancel()

    @property
    def _lent(self) -> int:
        return self._slabs - self._relay.hub.left

    def _care(self) -> None:
        self._step = None
        hub = self._relay.hub
        for link in list(self._waiting):
            link.proceed()  # what it waits with may be what has to go first
        if self._lent * limits.PRESSURE_PART > self._slabs:
            self._relieve()
        if self._waiting and hub.left * limits.PRESSURE_ENOUGH_PART >= self._slabs:
            self._read_on()
        if self._waiting or self._lent * limits.PRESSURE_PART > self._slabs:
            self.begin()
        else:
            self._since.clear()

    def _read_on(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for link in waiting:
            link.release(self)

    def _relieve(self) -> None:
        """Let the sessions go that hold most, until no network holds more than its part."""
        now = self._relay.loop.time()
        owed = self._owed()
        self._since = {link: self._since.get(link, now) for links in owed.values() for link in links}
        part = self._slabs * limits.SLAB // limits.PRESSURE_PART // max(len(owed), 1)
        # > 0: no link is given time.
        missing = (self._slabs // limits.PRESSURE_SHORT_PART - self._relay.hub.left) * limits.SLAB
        for links in owed.values():
            held = sum(links.values())
            for link in sorted(links, key=lambda link: (link.is_hoarding, links[link]), reverse=True):
                if held <= part and missing <= 0:
                    break
                if missing > 0 or now - self._since[link] >= limits.PRESSURE_PATIENCE_SECONDS:
                    held -= links[link]
                    missing -= links[link]
                    self._since.pop(link, None)
                    link.fail(LimitError("queue memory is used up"))

    def _owed(self) -> dict[str, dict[Link, int]]:
        """Return what sessions answer for, by network: the network that holds most first."""
        found: dict[str, dict[Link, int]] = {}
        for number, _ in self._relay.hub.heavy(limits.HEAVY_SLABS):
            link = self._relay.link(number)
            if link is not None and (owed := link.owed) >= limits.HEAVY_SLABS * limits.SLAB:
                found.setdefault(link.share.network, {})[link] = owed
        return dict(sorted(found.items(), key=lambda pair: sum(pair[1].values()), reverse=True))

"""The relay engine of one event loop: what all its links share, and the splices between them.

One receive buffer for every socket, one pool of queue memory, and one flush at the end of each tick for all
links that have something to send: sealed that late, bytes of many sources fill whole boxes. What a packet
means is none of the relay's business.

Back-pressure: a source whose destination has no room is not read from (`wait`) until the destination has
drained, or has taken nothing for `stall_seconds`: then the tunnel in question ends with an error.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from ssbfast import limits, native
from ssbfast.net.link import Link
from ssbfast.wire.handshake import Session

_CHECK_SECONDS = 1.0
_POOL_RETRY_SECONDS = 0.05


@dataclass
class _Wait:
    """A source that is not read from."""

    lane: native.Lane | None  # None: it waits for queue memory
    since: float
    progress: tuple[int, ...] = ()


@dataclass
class _Outlet:
    """Where a lane leads, and what to do when it stalls."""

    link: Link
    stalled: Callable[[], None]
    since: float = 0.0
    progress: tuple[int, ...] = field(default=())


class Relay:
    """What the links of one event loop share.

    pool: bytes of queue memory for all of them.
    stall_seconds: how long a destination may take nothing while a source waits for it.
    """

    def __init__(
        self,
        *,
        pool: int = limits.POOL,
        stall_seconds: float = limits.STALL_SECONDS,
        core_limits: native.CoreLimits | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.hub = native.Hub(pool)
        self.core_limits = core_limits or native.CoreLimits()
        self.stall_seconds = stall_seconds
        self.buffer = memoryview(bytearray(limits.RECEIVE_BUFFER))
        self._links: dict[int, Link] = {}
        self._ids = itertools.count(1)
        self._outlets: dict[native.Lane, _Outlet] = {}
        self._waiting: dict[Link, _Wait] = {}
        self._check: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._scheduled = False

    # ------------------------------------------------------------ links

    def attach(self, link: Link, session: Session, core_limits: native.CoreLimits, split: bool) -> native.Link:
        """Give a link its native half."""
        number = next(self._ids)
        self._links[number] = link
        return native.Link(
            self.hub,
            number,
            send_key=session.send_key,
            send_nonce=session.send_nonce,
            receive_key=session.receive_key,
            receive_nonce=session.receive_nonce,
            limits=core_limits,
            split=split,
        )

    def detach(self, link: Link) -> None:
        """Forget a link that has closed."""
        self._links.pop(link.core.id, None)
        self._waiting.pop(link, None)

    def touched(self) -> None:
        """Something may have been queued: flush at the end of this tick."""
        if not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        # A flush may queue at another link (a tunnel's end writes into the link that carries it): go on until
        # nothing is left, which is soon, since every link stops when its transport has enough.
        while dirty := self.hub.dirty():
            for number in dirty:
                link = self._links.get(number)
                if link is not None:
                    link.flush()

    # ------------------------------------------------------------ back-pressure

    def outlet(self, lane: native.Lane, link: Link, stalled: Callable[[], None]) -> None:
        """Say where a lane leads that sources may have to wait for, and what to do when it stalls."""
        self._outlets[lane] = _Outlet(link, stalled)

    def close_outlet(self, lane: native.Lane) -> None:
        """The lane takes no more; who waits for it reads on."""
        self._outlets.pop(lane, None)
        for source in [source for source, wait in self._waiting.items() if wait.lane is lane]:
            self.loop.call_soon(self._resume, source)

    def wait(self, source: Link, lane: native.Lane | None) -> None:
        """Do not read from `source` until `lane` (or, without one, the pool) has room."""
        source.hold(self)
        wait = self._waiting.get(source)
        if wait is None or wait.lane is not lane:
            self._waiting[source] = wait = _Wait(lane, self.loop.time())
            wait.progress = self._progress(lane)
        outlet = None if lane is None else self._outlets.get(lane)
        if lane is None:
            self._retry = self._retry or self.loop.call_later(_POOL_RETRY_SECONDS, self._retry_pool)
        elif outlet is None:
            self.loop.call_soon(self._resume, source)
        else:
            core = outlet.link.core
            low, link_low = limits.TUNNEL_SHARE // 2, self.core_limits.link_backlog // 2
            outlet.link.when(lambda: lane.queued <= low and core.queued <= link_low, lambda: self._resume(source))
        if self._check is None:
            self._check = self.loop.call_later(self._check_seconds, self._check_stalls)

    def _resume(self, source: Link) -> None:
        wait = self._waiting.pop(source, None)
        if wait is None:
            return
        source.proceed()
        if source not in self._waiting:
            source.release(self)

    def _retry_pool(self) -> None:
        self._retry = None
        for source in [source for source, wait in self._waiting.items() if wait.lane is None]:
            self._resume(source)

    # ------------------------------------------------------------ stalls

    @property
    def _check_seconds(self) -> float:
        return min(_CHECK_SECONDS, self.stall_seconds / 4)

    def _progress(self, lane: native.Lane | None) -> tuple[int, ...]:
        outlet = None if lane is None else self._outlets.get(lane)
        return () if lane is None or outlet is None else (lane.taken, *outlet.link.progress())

    def _check_stalls(self) -> None:
        self._check = None
        now = self.loop.time()
        for wait in list(self._waiting.values()):
            if wait.lane is None:
                self._check_every_outlet(now)
                continue
            progress = self._progress(wait.lane)
            if progress != wait.progress:
                wait.progress, wait.since = progress, now
            elif now - wait.since >= self.stall_seconds:
                outlet = self._outlets.get(wait.lane)
                if outlet is not None:
                    outlet.stalled()
        if self._waiting:
            self._check = self.loop.call_later(self._check_seconds, self._check_stalls)

    def _check_every_outlet(self, now: float) -> None:
        """The pool is used up: whoever sits on it without taking anything has to let go."""
        for lane, outlet in list(self._outlets.items()):
            progress = self._progress(lane) if lane.queued else ()
            if not progress or progress != outlet.progress:
                outlet.progress, outlet.since = progress, now
            elif now - outlet.since >= self.stall_seconds:
                outlet.stalled()

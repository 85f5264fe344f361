"""The relay engine of one event loop: what all its links share, and the splices between them.

One receive buffer for every socket, one pool of queue memory, and two moments of a tick at which all links are
flushed that have something to send: right after its first read, so that a single frame does not wait for another turn
of the loop, and at its end for all the rest: sealed that late, bytes of many sources fill whole boxes. The relay does
not interpret packets.

Back-pressure: a source whose destination has no room is not read from (`wait`) until the destination has
drained, or has taken nothing for `stall_seconds`: then the tunnel in question ends with an error. What happens when
queue memory is short: `net/memory_pressure.py`. Which link works in which tick: `net/scheduler.py`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from ssbfast import limits, native
from ssbfast.net.ephemeral_keys import Ephemerals
from ssbfast.net.link import Link
from ssbfast.net.memory_pressure import Pressure
from ssbfast.net.scheduler import LoopTurns
from ssbfast.tables import compact
from ssbfast.wire.handshake import Session

_ALONE = 8  # so many reads have to come alone before it is taken for granted; each so many-th looks again


@dataclass(slots=True)
class _Wait:
    """A source that is not read from."""

    lane: native.Lane
    since: float
    progress: tuple[int, ...]


@dataclass(slots=True)
class _Outlet:
    """The end of a lane: its link, and what to do when it stalls."""

    link: Link
    stalled: Callable[[], None]
    since: float = 0.0
    progress: tuple[int, ...] = field(default=())


class Relay:
    """The shared part of the links of one event loop.

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
        self.turns = LoopTurns(self.loop)
        self.ephemerals = Ephemerals(self.loop, lambda: self.turns.is_busy)
        self.core_limits = core_limits or native.CoreLimits(events=limits.PEER_EVENTS)
        self.stall_seconds = stall_seconds
        self.buffer = memoryview(bytearray(limits.RECEIVE_BUFFER))
        self._links: dict[int, Link] = {}
        self._ids = itertools.count(1)
        self._outlets: dict[native.Lane, _Outlet] = {}
        self._waiting: dict[Link, _Wait] = {}
        self._check: asyncio.TimerHandle | None = None
        self._trim: asyncio.TimerHandle | None = None
        self.is_planned = False  # a flush, for the end of this tick
        self._alone = 0  # first reads of ticks since one was not the only thing in its tick
        self.pressure = Pressure(self)
        self._ample = self.pressure.ample

    def close(self) -> None:
        """Leave nothing planned behind when all links are gone: it would keep the pool alive."""
        for timer in (self._check, self._trim):
            if timer is not None:
                timer.cancel()
        self.pressure.close()
        self.ephemerals.close()

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
        self.pressure.forget(link)

    def compact(self) -> None:
        """Give memory back that a crowd has left behind."""
        compact(self._links, self._outlets)

    def is_waiting(self, link: Link) -> bool:
        """Return whether a link's input waits for a tunnel to take it."""
        return link in self._waiting

    def link(self, number: int) -> Link | None:
        """Return the link that `attach` gave this number, if it is still there."""
        return self._links.get(number)

    @property
    def is_short(self) -> bool:
        """True when queue memory is short, so that a session may have to let go of some."""
        return self.pressure.is_high

    def touched(self) -> None:
        """Plan a flush at the end of this tick: something may have been queued."""
        if not self.is_planned:
            self.is_planned = True
            self.turns.begin()
            self.loop.call_soon(self._end_tick)

    def is_late(self, link: Link) -> bool:
        """Return whether a link's further work has to wait for its turn."""
        self.touched()
        return self.turns.is_over(link.share)

    def begin_read(self) -> None:
        """Begin the first read of a tick; `read_once` ends it."""
        self.is_planned = True
        self.turns.begin()

    def read_once(self) -> None:
        """End the first read of a tick (`is_planned` was set for it): send what it has brought.

        What comes in the same tick waits for its end. Looking whether something does costs a turn of the loop, so
        that it is looked for less often while reads come alone.
        """
        self._flush()
        self._alone += 1
        self.is_planned = self._alone <= _ALONE or self._alone % _ALONE == 0
        if self.is_planned:
            self.loop.call_soon(self._end_tick)

    def _end_tick(self) -> None:
        self.is_planned = False
        self.turns.end()
        if self._flush():
            self._alone = 0

    def _flush(self) -> bool:
        """Let all links send what they have. Return whether there was anything."""
        # A flush may queue at another link (a tunnel's end writes into the link that carries it): go on until
        # nothing is left, which is soon, since every link stops when its transport has enough.
        dirty = self.hub.dirty()
        any_at_all = bool(dirty)
        while dirty:
            for number in dirty:
                link = self._links.get(number)
                if link is not None:
                    link.flush()
            dirty = self.hub.dirty()
        if self.hub.left < self._ample:
            self.pressure.begin()
        if self._trim is None:
            self._trim = self.loop.call_later(limits.POOL_TRIM_SECONDS, self._trim_pool)
        return any_at_all

    def _trim_pool(self) -> None:
        """Give queue memory back that a burst has left behind: most of a room's life nothing is queued."""
        self._trim = None
        self.hub.trim()

    # ------------------------------------------------------------ back-pressure

    def outlet(self, lane: native.Lane, link: Link, stalled: Callable[[], None]) -> None:
        """Say where a lane leads that sources may have to wait for, and what to do when it stalls."""
        self._outlets[lane] = _Outlet(link, stalled)

    def close_outlet(self, lane: native.Lane) -> None:
        """Forget a lane that takes no more; sources that wait for it read on."""
        self._outlets.pop(lane, None)
        for source in [source for source, wait in self._waiting.items() if wait.lane is lane]:
            self.loop.call_soon(self._resume, source)

    def wait(self, source: Link, lane: native.Lane | None) -> None:
        """Do not read from `source` until `lane` (or, without one, the pool) has room."""
        if lane is None:
            self.pressure.wait(source)
            return
        source.hold(lane)
        wait = self._waiting.get(source)
        if wait is None or wait.lane is not lane:
            self._waiting[source] = _Wait(lane, self.loop.time(), self._progress(lane))
        outlet = self._outlets.get(lane)
        if outlet is None:
            self.loop.call_soon(self._resume, source)
            return
        core = outlet.link.core
        low, link_low = limits.TUNNEL_SHARE // 2, self.core_limits.link_backlog // 2
        # `full` as well: small whole packets fill a lane with slabs long before their bytes do.
        outlet.link.when(
            lambda: lane.queued <= low and core.queued <= link_low and not lane.full,
            lambda: self._resume(source),
        )
        self.plan_check()

    def _resume(self, source: Link) -> None:
        wait = self._waiting.pop(source, None)
        if wait is None:
            return
        source.proceed()
        again = self._waiting.get(source)
        if again is None or again.lane is not wait.lane:
            source.release(wait.lane)
        elif again.progress == wait.progress:
            again.since = wait.since  # it was a try, and nothing has moved

    # ------------------------------------------------------------ stalls

    def plan_check(self) -> None:
        """Look for stalled outlets in a while."""
        if self._check is None:
            seconds = min(limits.STALL_CHECK_SECONDS, self.stall_seconds / 4)
            self._check = self.loop.call_later(seconds, self._check_stalls)

    def _progress(self, lane: native.Lane) -> tuple[int, ...]:
        outlet = self._outlets.get(lane)
        return () if outlet is None else (lane.taken, *outlet.link.progress())

    def _check_stalls(self) -> None:
        self._check = None
        now = self.loop.time()
        if self.pressure.is_high:
            self._check_every_outlet(now)
        for wait in list(self._waiting.values()):
            progress = self._progress(wait.lane)
            if progress != wait.progress:
                wait.progress, wait.since = progress, now
            elif now - wait.since >= self.stall_seconds:
                outlet = self._outlets.get(wait.lane)
                if outlet is not None:
                    outlet.stalled()
            elif (outlet := self._outlets.get(wait.lane)) is not None:
                outlet.link.look()  # what is left of the pool decides as well, and others drain it
        if self._waiting or self.pressure.is_high:
            self.plan_check()

    def _check_every_outlet(self, now: float) -> None:
        """Stall every outlet that holds queue memory without taking anything, waited for or not."""
        for lane, outlet in list(self._outlets.items()):
            progress = self._progress(lane) if lane.queued else ()
            if not progress or progress != outlet.progress:
                outlet.progress, outlet.since = progress, now
            elif now - outlet.since >= self.stall_seconds:
                outlet.stalled()

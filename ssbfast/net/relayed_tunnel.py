"""A relayed tunnel: two streams of two links, joined in the native core.

The bytes of both never become Python objects. Ends do: they come here, so that each side is told how the other
ended, exactly once, behind the last of its bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import functools
from collections.abc import Callable

from ssbfast import limits, native
from ssbfast.errors import SessionEndedError
from ssbfast.net.link import Link
from ssbfast.net.relay import Relay
from ssbfast.wire.muxrpc_body import decode_json, error_body

_END_FLAGS = native.STREAM | native.END | native.JSON
_CLEAN_END = b"true"
_TYPE = 0x03


class Ending(enum.Enum):
    """The reason for the end of a tunnel."""

    CLOSED = "closed"
    ERROR = "error"
    STALLED = "stalled"
    GONE = "gone"
    LIMIT = "limit"
    EXCLUDED = "excluded"


class _Leg:
    """The destination of one direction: a link, and the stream on it."""

    __slots__ = ("ended", "inlet", "lane", "link", "req")

    def __init__(self, link: Link, req: int) -> None:
        self.link = link
        self.req = req
        self.lane = native.Lane(link.core, req, limits.TUNNEL_SHARE)
        self.inlet: native.Inlet | None = None
        self.ended = False


class RelayedTunnel:
    """Two streams, joined.

    caller, target: the links; caller_req, target_req: the numbers we write on them.
    on_over: called once, with the reason, when both directions have ended and nothing more will be read.
    """

    __slots__ = ("_legs", "_on_over", "_over", "_relay", "_timer", "began")

    def __init__(
        self,
        relay: Relay,
        caller: Link,
        caller_req: int,
        target: Link,
        target_req: int,
        on_over: Callable[[RelayedTunnel, Ending], None],
    ) -> None:
        self._relay = relay
        self.began = relay.loop.time()
        self._on_over = on_over
        self._over = False
        self._timer: asyncio.TimerHandle | None = None
        self._legs = (_Leg(caller, caller_req), _Leg(target, target_req))
        self._join(self._legs[0], self._legs[1])
        self._join(self._legs[1], self._legs[0])

    def _join(self, source: _Leg, destination: _Leg) -> None:
        source.inlet = native.Inlet(source.link.core, -source.req, destination.lane)
        self._relay.outlet(destination.lane, destination.link, functools.partial(self._stalled, destination))

    @property
    def caller(self) -> Link:
        return self._legs[0].link

    @property
    def target(self) -> Link:
        return self._legs[1].link

    @property
    def reqs(self) -> tuple[int, int]:
        """Numbers that we write: on the caller's link, on the target's."""
        return self._legs[0].req, self._legs[1].req

    @property
    def moved(self) -> tuple[int, int]:
        """Bytes queued for the caller, and for the target."""
        return self._legs[0].lane.put, self._legs[1].lane.put

    def is_caller(self, link: Link, req: int) -> bool:
        """Return whether a number that comes on a link is the caller's side of this tunnel."""
        return self._is(self._legs[0], link, req)

    def on_packet(self, link: Link, flags: int, req: int, body: bytes) -> None:
        """Take a packet that no inlet took, on `link` for `req` (as received): an end is told to the other side.

        What comes behind a side's end is dropped.
        """
        leg, other = self._legs if self.is_caller(link, req) else self._legs[::-1]
        if leg.ended or not flags & native.END:
            return
        leg.ended = True
        if leg.inlet is not None:
            leg.inlet.close()
        if body != _CLEAN_END:
            body = _passable(flags, body)
            self._tell(other, body)
            self._tell(leg, body)
            self._finish(Ending.ERROR)
            return
        self._tell(other, body)
        if other.ended:
            self._finish(Ending.CLOSED)
        else:
            self._linger(leg)

    def _linger(self, ended: _Leg) -> None:
        """Wait for the other side after one has ended. JS peers never answer an end: when silent, it has ended too."""
        put = ended.lane.put
        self._timer = self._relay.loop.call_later(limits.LINGER_SECONDS, self._lingered, ended, put)

    def _lingered(self, ended: _Leg, put: int) -> None:
        if ended.lane.put != put or ended.lane.queued:
            self._linger(ended)
            return
        self._tell(ended, _CLEAN_END)
        self._finish(Ending.CLOSED)

    def link_closed(self, link: Link) -> None:
        """End the other leg: one of the two sessions died."""
        self.fail("the other end is gone", Ending.GONE)

    def displace(self) -> None:
        """End both legs: the place is another tunnel's now."""
        self.fail("the room has no place for this tunnel any more", Ending.LIMIT)

    def fail(self, message: str, reason: Ending) -> None:
        """End both legs with an error, behind what is queued."""
        if self._over:
            return
        body = error_body(message)
        for leg in self._legs:
            self._tell(leg, body)
        self._finish(reason)

    def _stalled(self, leg: _Leg) -> None:
        """Drop what waits for a destination that takes nothing any more."""
        leg.lane.clear()
        self.fail("the other end does not read", Ending.STALLED)
        leg.link.look()

    @staticmethod
    def _is(leg: _Leg, link: Link, req: int) -> bool:
        return leg.link is link and leg.req == -req

    @staticmethod
    def _tell(leg: _Leg, body: bytes) -> None:
        with contextlib.suppress(SessionEndedError):  # that side is gone
            leg.lane.packet(_END_FLAGS, body)

    def _finish(self, reason: Ending) -> None:
        if self._over:
            return
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        for leg in self._legs:
            if leg.inlet is not None:
                leg.inlet.close()
            self._relay.close_outlet(leg.lane)
            # The lane has to live until its last byte has left.
            leg.link.when(functools.partial(_is_empty, leg.lane), leg.lane.close)
        self._relay.touched()
        self._on_over(self, reason)


def _passable(flags: int, body: bytes) -> bytes:
    """Return an error end as the other side may get it: JS peers die of JSON that is none."""
    if flags & _TYPE == native.JSON:
        try:
            decode_json(body)
        except ValueError:
            pass
        else:
            return body
    return error_body("malformed error")


def _is_empty(lane: native.Lane) -> bool:
    return not lane.queued

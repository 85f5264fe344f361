"""One secured connection: an asyncio protocol that runs the handshake and then the native link.

A link does not know what its transport is: a TCP socket, or a tunnel through another link (`net/tunnel_transport.py`).

What happens to bytes in flight
    `close()`       what is queued goes out first, then both goodbyes; at most `GOODBYE_SECONDS`.
    `abort()`       dropped, here and on the way.
    peer's goodbye  what came before it has been delivered; what we still had queued goes out before our answer.
    peer's mistake  what came before it has been delivered; the connection is cut without another byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import functools
from collections.abc import Callable
from typing import Protocol, cast

from ssbfast import limits, native
from ssbfast.budgets import Share
from ssbfast.errors import (
    BusyError,
    HandshakeError,
    LimitError,
    LocalProtocolError,
    SessionEndedError,
    SSBError,
    TruncatedError,
)
from ssbfast.ids import FeedId
from ssbfast.net.handshake_driver import Admit, Handshaking
from ssbfast.net.scheduler import LoopTurns
from ssbfast.net.sockets import unacknowledged
from ssbfast.wire.handshake import ClientHandshake, ServerHandshake, Session


class LinkHandler(Protocol):
    """The owner of a link, as far as the link tells it something. Called from within the loop; must not block."""

    def on_open(self, link: Link) -> None:
        """Note that the handshake is done; `link.remote` is proven."""

    def on_packet(self, link: Link, flags: int, req: int, body: bytes) -> None:
        """Take a whole packet that no inlet took."""

    def on_chunk(self, link: Link, req: int, data: bytes) -> None:
        """Take bytes for a delivering inlet."""

    def on_close(self, link: Link, error: SSBError | None) -> None:
        """Note, once, that the connection is gone; error is None after goodbyes on both sides."""


class Phase(enum.Enum):
    """The phase of a link. It only ever moves downwards in this list."""

    HANDSHAKE = enum.auto()
    OPEN = enum.auto()
    LEAVING = enum.auto()
    CLOSED = enum.auto()


class Watchers:
    """Conditions that are looked at after each flush of a link; each calls back once."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], bool], Callable[[], None]]] = []

    def add(self, ready: Callable[[], bool], callback: Callable[[], None]) -> None:
        self._waiting.append((ready, callback))

    def look(self) -> bool:
        """Call back those whose condition holds. Return whether any still waits."""
        waiting, self._waiting = self._waiting, []
        due: list[Callable[[], None]] = []
        for ready, callback in waiting:
            if ready():
                due.append(callback)
            else:
                self._waiting.append((ready, callback))
        for callback in due:
            callback()
        return bool(self._waiting)

    def release(self) -> None:
        """Call all back: the link is gone."""
        waiting, self._waiting = self._waiting, []
        for _ready, callback in waiting:
            callback()


class LinkRelay(Protocol):
    """A relay whose loop, buffer and queue memory a link shares, as far as the link needs it."""

    loop: asyncio.AbstractEventLoop
    turns: LoopTurns
    buffer: memoryview
    core_limits: native.CoreLimits
    is_planned: bool

    @property
    def is_short(self) -> bool:
        """True when queue memory is short."""

    def attach(self, link: Link, session: Session, core_limits: native.CoreLimits, split: bool) -> native.Link:
        """Give a link its native half."""

    def detach(self, link: Link) -> None:
        """Forget a link that has closed."""

    def is_waiting(self, link: Link) -> bool:
        """Return whether a link's input waits for a tunnel to take it."""

    def touched(self) -> None:
        """Plan a flush at the end of this tick: something may have been queued."""

    def is_late(self, link: Link) -> bool:
        """Return whether a link's further work has to wait for its turn."""

    def begin_read(self) -> None:
        """Begin the first read of a tick."""

    def read_once(self) -> None:
        """End the first read of a tick."""

    def wait(self, source: Link, lane: native.Lane | None) -> None:
        """Do not read from `source` until `lane` (or, without one, the pool) has room."""


class _Nobody:
    """The handler of a link that has closed."""

    def on_open(self, link: Link) -> None: ...

    def on_packet(self, link: Link, flags: int, req: int, body: bytes) -> None: ...

    def on_chunk(self, link: Link, req: int, data: bytes) -> None: ...

    def on_close(self, link: Link, error: SSBError | None) -> None: ...


_NOBODY = _Nobody()


class Link(asyncio.BufferedProtocol):
    """One secured connection.

    handshake: the state machine of our role; a `ServerHandshake` asks `admit` before it answers.
    deadline: seconds for everything up to message 3 (server) or message 4 (client).
    refusal_delay: seconds between message 3 and the end of a refused connection, so that a refusal tells
        nothing by its timing.
    split: every packet head in a box of its own, for peers whose reader needs that.
    share: what it has of the loop's time; None: a share of its own.
    """

    __slots__ = (
        "_core",
        "_core_limits",
        "_error",
        "_final",
        "_goodbye_due",
        "_handler",
        "_heard",
        "_holds",
        "_loop",
        "_pause",
        "_pause_until",
        "_paused",
        "_piece",
        "_relay",
        "_resting",
        "_session",
        "_shaking",
        "_split",
        "_timer",
        "_transport",
        "_watchers",
        "address",
        "control_lanes",
        "held_at",
        "phase",
        "received",
        "sent",
        "share",
    )

    def __init__(
        self,
        relay: LinkRelay,
        handshake: ClientHandshake | ServerHandshake,
        handler: LinkHandler,
        *,
        admit: Admit | None = None,
        deadline: float = limits.HANDSHAKE_SECONDS,
        refusal_delay: float = 0.0,
        core_limits: native.CoreLimits | None = None,
        split: bool = False,
        share: Share | None = None,
    ) -> None:
        self._relay = relay
        self._loop = relay.loop
        self.share = relay.turns.share() if share is None else share
        self._shaking: Handshaking | None = Handshaking(
            self, handshake, turns=relay.turns, admit=admit, deadline=deadline, refusal_delay=refusal_delay
        )
        self._handler = handler
        self._core_limits = core_limits or relay.core_limits
        self._split = split
        self._core: native.Link | None = None
        self._session: Session | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._holds: set[object] | None = None
        self.held_at: float | None = None  # when a holder last began to hold it, in the loop's time
        self._watchers: Watchers | None = None
        self._error: SSBError | None = None
        self._paused = False
        self._resting = False  # its input waits for its turn
        self._pause: asyncio.TimerHandle | None = None  # its input waits until then
        self._pause_until = 0.0
        self.control_lanes: set[native.Lane] | None = None  # what we have to say ourselves, and no tunnel
        self._piece = limits.FLUSH_CHUNK
        self._goodbye_due = False  # the packet stream's goodbye follows when all lanes are empty
        self._final = False  # and the box stream's right behind it
        self._heard = False
        self.address: tuple[str, int] | None = None  # of the other end, when we dialled it over TCP
        self.phase = Phase.HANDSHAKE
        self.received = 0  # bytes so far
        self.sent = 0  # the same, handed to the transport

    def __repr__(self) -> str:
        who = self._session.remote.short if self._session else "unproven"
        return f"<Link {who} {self.phase.name.lower()}>"

    # ------------------------------------------------------------ what the owner may ask

    @property
    def remote(self) -> FeedId:
        """Proven key of the other end. Raises LocalProtocolError before the handshake is done."""
        return self._opened().remote

    @property
    def session(self) -> Session:
        """Keys of this connection, for proofs that are bound to it. Raises LocalProtocolError before."""
        return self._opened()

    @property
    def core(self) -> native.Link:
        """Native link, for lanes and inlets. Raises SessionEndedError when there is none (any more)."""
        if self._core is None:
            raise SessionEndedError("the session is over")
        return self._core

    @property
    def transport(self) -> asyncio.Transport:
        """Transport that it runs over. Raises SessionEndedError when there is none (any more)."""
        if self._transport is None:
            raise SessionEndedError("the session is over")
        return self._transport

    @property
    def handler(self) -> LinkHandler:
        """Handler that is told what happens."""
        return self._handler

    @property
    def is_open(self) -> bool:
        return self.phase is Phase.OPEN

    @property
    def is_held(self) -> bool:
        """True when we do not read: at least one holder holds the link."""
        return bool(self._holds)

    @property
    def has_spoken(self) -> bool:
        """True when a valid message of the handshake has come."""
        return self._shaking is None or self._shaking.has_spoken

    def in_turn(self, work: Callable[[], None]) -> None:
        """Do work of this link's when its turn among others has come."""
        self._relay.turns.queue(self.share, work)

    def is_late(self) -> bool:
        """Return whether work of this link's has to wait for its turn: this tick has done enough."""
        return self._relay.is_late(self)

    def control(self, flags: int, req: int, body: bytes) -> None:
        """Queue a control packet. A peer that lets a whole backlog of them pile up loses its session."""
        if self.phase is not Phase.OPEN or self._core is None:
            raise SessionEndedError("the session is over")
        if not self._core.control(flags, req, body):
            self.fail(LimitError("the peer does not read its control packets"))
            raise SessionEndedError("the session is over")
        self._relay.touched()

    def touched(self) -> None:
        """Plan a flush at the end of this tick: something was put into a lane."""
        self._relay.touched()

    def when(self, ready: Callable[[], bool], callback: Callable[[], None]) -> None:
        """Call back, once, when `ready()` is found true after a flush, or when the link has closed."""
        if self.phase is Phase.CLOSED or ready():
            self._loop.call_soon(callback)
            return
        if self._watchers is None:
            self._watchers = Watchers()
        self._watchers.add(ready, callback)

    @property
    def owed(self) -> int:
        """Bytes of queue memory that this peer alone answers for: unfinished input, and what we say that it does not
        read. Not what tunnels bring it, nor what waits for a tunnel to take it."""
        core = self._core
        if core is None:
            return 0
        unfinished = core.held if self.is_hoarding else 0
        return unfinished + core.control_queued + sum(lane.queued for lane in self.control_lanes or ())

    def own(self, lane: native.Lane) -> None:
        """Count what waits in `lane` as ours to say, and not a tunnel's, until `disown`."""
        if self.control_lanes is None:
            self.control_lanes = set()
        self.control_lanes.add(lane)

    def disown(self, lane: native.Lane) -> None:
        """Undo `own`."""
        if self.control_lanes is not None:
            self.control_lanes.discard(lane)
            self.control_lanes = self.control_lanes or None

    @property
    def is_hoarding(self) -> bool:
        """True when input waits inside for more of it."""
        return self._core is not None and self._core.held > 0 and not self._relay.is_waiting(self)

    def progress(self) -> tuple[int, int]:
        """Return numbers that change whenever the other end takes something."""
        transport = self._transport
        return (0, 0) if transport is None else (transport.get_write_buffer_size(), unacknowledged(transport))

    def hold(self, who: object) -> None:
        """Stop reading until every holder has released."""
        if self._holds is None:
            self._holds = set()
        self._holds.add(who)
        self.held_at = self._loop.time()
        if self._transport is not None:
            self._transport.pause_reading()

    def release(self, who: object) -> None:
        """Undo `hold`. Harmless when it was not held."""
        if self._holds is None:
            return
        self._holds.discard(who)
        if self._resting and not self._is_held:
            self._queue_turn()
        if not self._holds and self._transport is not None and not self._transport.is_closing():
            self._holds = None
            self._transport.resume_reading()

    def pause(self, seconds: float) -> None:
        """Look at no more input for so long: the peer has spent more than it may. A longer pause wins."""
        until = self._loop.time() + seconds
        if self._pause is not None:
            if self._pause_until >= until:
                return
            self._pause.cancel()
        self._pause_until = until
        self._pause = self._loop.call_at(until, self._pause_over)

    def _pause_over(self) -> None:
        self._pause = None
        if self._resting:
            self._queue_turn()

    def move(self, transport: asyncio.Transport, *, piece: int = limits.FLUSH_CHUNK) -> None:
        """Go on over another transport, which continues the bytes of the one so far in both directions.

        piece: bytes that it gets at a time, at most.
        """
        if self._transport is None:
            raise SessionEndedError("the session is over")
        transport.set_write_buffer_limits(high=limits.TRANSPORT_HIGH)
        self._transport = transport
        self._piece = piece
        if self._holds:
            transport.pause_reading()

    def close(self) -> None:
        """Say goodbye and leave. Harmless when closed already."""
        if self.phase is Phase.OPEN and self._core is not None:
            self.phase = Phase.LEAVING
            self._goodbye_due = True
            self._leave_by(limits.GOODBYE_SECONDS)
            self.flush()
        elif self.phase is Phase.HANDSHAKE:
            self.abort()

    def finish(self) -> None:
        """Leave with both goodbyes at once, without waiting for the peer's. Harmless when closed already."""
        self._final = True
        self.close()

    def abort(self) -> None:
        """Cut the connection. Harmless when closed already."""
        if self._transport is not None:
            self._transport.abort()

    def fail(self, error: SSBError) -> None:
        """Cut the connection because of `error`, which `closed` will report."""
        if self._error is None:
            self._error = error
        if self.phase is Phase.OPEN:
            self.phase = Phase.LEAVING  # what is still in the buffer is not acted upon
        self.abort()

    # ------------------------------------------------------------ asyncio: connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=limits.TRANSPORT_HIGH)
        if self._shaking is not None:
            self._shaking.begin(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.phase is Phase.CLOSED:
            return
        turns = self._relay.turns
        turns.close(self.share)
        self._error = self._error or self._why_lost(exc)
        self.phase = Phase.CLOSED
        self._transport = None
        if turns.is_over(self.share):  # a crowd leaves: it takes turns, too
            turns.queue(self.share, self._let_go)
        else:
            self._let_go()

    def _let_go(self) -> None:
        """Leave nothing behind when the connection is gone, and tell the handler."""
        self._cancel_timers()
        if self._shaking is not None:
            self._shaking.stop()
        if self._core is not None:
            self._relay.detach(self)
            self._core.close()
        self._shaking = None
        watchers, self._watchers = self._watchers, None
        if watchers is not None:
            watchers.release()
        handler, self._handler = self._handler, _NOBODY  # they hold each other: memory goes back at once
        error, self._error = self._error, None  # its traceback has frames that hold us
        handler.on_close(self, error)
        self._core = None

    def _why_lost(self, exc: Exception | None) -> SSBError | None:
        if self._heard:
            return None  # JS peers go without the box stream's goodbye when they have said the packet stream's
        if isinstance(exc, SSBError):  # a tunnel says why
            return exc
        if self._shaking is not None:
            return BusyError() if self._shaking.is_unanswered else HandshakeError()
        return TruncatedError() if exc is None else SessionEndedError("the connection died")

    def eof_received(self) -> bool:
        # A peer may close its half right behind its goodbye: what is queued, and our goodbye, still go out.
        return self._heard and self.phase is Phase.LEAVING

    # ------------------------------------------------------------ asyncio: reading

    def get_buffer(self, sizehint: int) -> memoryview:
        relay = self._relay
        crowded = relay.is_planned and relay.turns.is_crowded
        if (crowded and relay.turns.is_over(self.share)) or relay.is_short:
            return relay.buffer[: limits.TICK_READ]  # what cannot go on at once is kept
        return relay.buffer

    def buffer_updated(self, nbytes: int) -> None:
        relay = self._relay
        data = relay.buffer[:nbytes]
        if not relay.is_planned:
            relay.begin_read()
            try:
                self.data_received(data)
            finally:
                relay.read_once()
        elif self._core is not None and relay.turns.is_over(self.share):
            self.received += nbytes
            self._put_aside(data)
        elif relay.turns.is_crowded:
            relay.turns.charged(self.share, functools.partial(self.data_received, data))
        else:
            self.data_received(data)

    def data_received(self, data: memoryview | bytearray) -> None:
        """Take received bytes; `data` is scratch afterwards."""
        self.received += len(data)
        if self._core is None:
            if self._shaking is not None:
                self._shaking.received(bytes(data))
        elif self._resting or self._pause is not None:
            self._put_aside(data)
        elif self.phase is not Phase.CLOSED:
            self._pump(self._core.receive(data))

    def proceed(self) -> None:
        """Read on at what was kept while a destination had no room."""
        if self._core is not None and self.phase is not Phase.CLOSED and not self._resting:
            self._pump(self._core.proceed())

    def _put_aside(self, data: memoryview | bytearray | bytes = b"") -> None:
        """Keep input, behind what is left of the last, until our turn comes; read no more until then."""
        core = self.core
        if not core.keep(data):
            self.fail(core.failure or LimitError("the queue memory is used up"))
        elif not self._resting:
            self._resting = True
            self.hold(self._relay.turns)
            self._queue_turn()

    @property
    def _is_held(self) -> bool:
        """True when a holder wants nothing looked at, or the peer has spent too much."""
        return self._pause is not None or (self._holds is not None and len(self._holds) > self._resting)

    def _queue_turn(self) -> None:
        if not self._is_held:
            self._relay.turns.queue(self.share, self._take_turn)

    def _take_turn(self) -> None:
        if self._is_held or not self._resting:
            return  # it takes its turn when that is over
        self._resting = False
        self.proceed()
        if not self._resting:
            self.release(self._relay.turns)

    def _pump(self, step: tuple[native.Status, list[native.Event]]) -> None:
        core = self.core
        while True:
            status, events = step
            for kind, flags, req, body in events:
                self._dispatch(kind, flags, req, body)
                if self.phase is Phase.CLOSED:
                    return
            if core.failure is not None:
                self.fail(core.failure)
                return
            if status is not native.Status.AGAIN:
                break
            if self._is_held or self._relay.is_late(self):
                self._relay.touched()
                self._put_aside()
                return
            step = core.proceed()
        self._relay.touched()
        if status is native.Status.BLOCKED:
            self._relay.wait(self, core.blocked)
        elif status is native.Status.ENDED:
            self._heard = True
            self._peer_left()

    def _dispatch(self, kind: int, flags: int, req: int, body: bytes) -> None:
        if kind == native.EV_CHUNK:
            self._handler.on_chunk(self, req, body)
        elif kind == native.EV_GOODBYE:
            self._heard = True  # authentic, so nothing was cut off before it
            self._peer_left()
        elif self.phase is Phase.OPEN:
            with contextlib.suppress(SessionEndedError):  # an answer that found this session over
                self._handler.on_packet(self, flags, req, body)

    # ------------------------------------------------------------ from the handshake

    def completed(self, session: Session, leftover: bytes) -> None:
        """Take the session, proven and admitted; `leftover` came behind the last handshake message."""
        self._shaking = None
        self._session = session
        self.phase = Phase.OPEN
        self._core = self._relay.attach(self, session, self._core_limits, self._split)
        self._handler.on_open(self)
        if leftover:
            self.data_received(bytearray(leftover))

    def _opened(self) -> Session:
        if self._session is None:
            raise LocalProtocolError("the handshake is not done")
        return self._session

    # ------------------------------------------------------------ writing

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        # Not from here: asyncio is in the middle of a write, and does not expect another one, nor its end.
        self._paused = False
        self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Seal what is queued and hand it to the transport, as far as that takes it."""
        core, transport = self._core, self._transport
        if core is None or transport is None or transport.is_closing():
            return
        status, sealed = native.Status.FULL, False
        while not self._paused and status is native.Status.FULL:
            data, status = core.flush(self._piece)
            if data:
                sealed = True
                self.sent += len(data)
                transport.write(data)
        if sealed:  # else nothing has become shorter
            self.look()
        if self._goodbye_due and status is native.Status.OK and not core.queued:
            self._goodbye_due = False
            core.control(0, 0, b"")
            if self._final:
                core.goodbye()
            self.flush()
        elif status is native.Status.ENDED:
            self._said_goodbye(transport)

    def look(self) -> None:
        """Call back those that wait for this link to drain, as far as it has."""
        watchers = self._watchers
        if watchers is not None and not watchers.look() and self._watchers is watchers:
            self._watchers = None

    # ------------------------------------------------------------ endings

    def _peer_left(self) -> None:
        """Answer the peer's goodbye, of its packet stream or its box stream, with both of ours."""
        core = self._core
        if core is None:
            return
        if self.phase is Phase.OPEN:
            self.phase = Phase.LEAVING
            self._goodbye_due = True
            self._leave_by(limits.GOODBYE_SECONDS)
        self._final = True
        if not self._goodbye_due:
            core.goodbye()
        self.flush()

    def _said_goodbye(self, transport: asyncio.Transport) -> None:
        if self._heard or not transport.can_write_eof():
            transport.close()
        else:
            transport.write_eof()

    def _leave_by(self, seconds: float) -> None:
        self._cancel_timer()
        self._timer = self._loop.call_later(seconds, self.abort)

    def _cancel_timers(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._cancel_timer()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

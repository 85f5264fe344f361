"""One secured connection: an asyncio protocol that runs the handshake and then the native link.

A link does not know what its transport is: a TCP socket, or a tunnel through another link (`net/tunnel.py`).

What happens to bytes in flight
    `close()`       what is queued goes out first, then both goodbyes; at most `GOODBYE_SECONDS`.
    `abort()`       dropped, here and on the way.
    peer's goodbye  what came before it has been delivered; what we still had queued goes out before our answer.
    peer's mistake  what came before it has been delivered; the connection is cut without another byte.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, cast

from ssbfast import limits, native
from ssbfast.errors import (
    DeadlineError,
    HandshakeError,
    LimitError,
    LocalProtocolError,
    RefusedError,
    SessionEndedError,
    SSBError,
    TruncatedError,
)
from ssbfast.ids import FeedId
from ssbfast.net.sockets import unacknowledged
from ssbfast.wire.handshake import ClientHandshake, ClientKnown, Completed, Send, ServerHandshake, Session

if TYPE_CHECKING:
    from ssbfast.net.relay import Relay

Admit = Callable[[FeedId], "bool | Awaitable[bool]"]
"""Decides, once a caller's key is proven, whether he is let in."""


class LinkHandler(Protocol):
    """What a link tells its owner. Called from within the loop; must not block."""

    def opened(self, link: Link) -> None:
        """The handshake is done; `link.remote` is proven."""

    def packet(self, link: Link, flags: int, req: int, body: bytes) -> None:
        """A whole packet arrived that no inlet took."""

    def chunk(self, link: Link, req: int, data: bytes) -> None:
        """Bytes arrived for a delivering inlet."""

    def closed(self, link: Link, error: SSBError | None) -> None:
        """The connection is gone, once; error is None after goodbyes on both sides."""


class Phase(enum.Enum):
    """Where a link stands. It only ever moves downwards in this list."""

    HANDSHAKE = enum.auto()
    ADMISSION = enum.auto()
    OPEN = enum.auto()
    LEAVING = enum.auto()
    CLOSED = enum.auto()


class Link(asyncio.BufferedProtocol):
    """One secured connection.

    handshake: whose turn it is to prove what; a `ServerHandshake` asks `admit` before it answers.
    deadline: seconds for everything up to message 3 (server) or message 4 (client).
    refusal_delay: seconds between message 3 and the end of a refused connection, so that a refusal tells
        nothing by its timing.
    split: every packet head in a box of its own, for peers whose reader needs that.
    """

    __slots__ = (
        "_admission",
        "_admit",
        "_core",
        "_core_limits",
        "_error",
        "_goodbye_due",
        "_handler",
        "_handshake",
        "_heard",
        "_holds",
        "_loop",
        "_paused",
        "_refusal_delay",
        "_relay",
        "_session",
        "_split",
        "_timer",
        "_transport",
        "_watchers",
        "deadline",
        "phase",
    )

    def __init__(
        self,
        relay: Relay,
        handshake: ClientHandshake | ServerHandshake,
        handler: LinkHandler,
        *,
        admit: Admit | None = None,
        deadline: float = limits.HANDSHAKE_SECONDS,
        refusal_delay: float = 0.0,
        core_limits: native.CoreLimits | None = None,
        split: bool = False,
    ) -> None:
        self._relay = relay
        self._loop = relay.loop
        self._handshake: ClientHandshake | ServerHandshake | None = handshake
        self._handler = handler
        self._admit = admit
        self._refusal_delay = refusal_delay
        self._core_limits = core_limits or relay.core_limits
        self._split = split
        self._core: native.Link | None = None
        self._session: Session | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._admission: asyncio.Task[None] | None = None
        self._holds: set[object] | None = None
        self._watchers: list[tuple[Callable[[], bool], Callable[[], None]]] | None = None
        self._error: SSBError | None = None
        self._paused = False
        self._goodbye_due = False
        self._heard = False
        self.deadline = deadline
        self.phase = Phase.HANDSHAKE

    def __repr__(self) -> str:
        who = self._session.remote.short if self._session else "unproven"
        return f"<Link {who} {self.phase.name.lower()}>"

    # ------------------------------------------------------------ what the owner may ask

    @property
    def remote(self) -> FeedId:
        """The proven key of the other end. Raises LocalProtocolError before the handshake is done."""
        return self._opened().remote

    @property
    def session(self) -> Session:
        """Keys of this connection, for proofs that are bound to it. Raises LocalProtocolError before."""
        return self._opened()

    @property
    def core(self) -> native.Link:
        """The native link, for lanes and inlets. Raises SessionEndedError when there is none (any more)."""
        if self._core is None:
            raise SessionEndedError("the session is over")
        return self._core

    @property
    def is_open(self) -> bool:
        return self.phase is Phase.OPEN

    def control(self, flags: int, req: int, body: bytes) -> None:
        """Queue a control packet. A peer that lets a whole backlog of them pile up loses its session."""
        if self.phase is not Phase.OPEN or self._core is None:
            raise SessionEndedError("the session is over")
        if not self._core.control(flags, req, body):
            self.fail(LimitError("the peer does not read its control packets"))
            raise SessionEndedError("the session is over")
        self._relay.touched()

    def touched(self) -> None:
        """Something was put into a lane: it leaves at the end of this tick."""
        self._relay.touched()

    def when(self, ready: Callable[[], bool], callback: Callable[[], None]) -> None:
        """Call back, once, when `ready()` is found true after a flush, or when the link has closed."""
        if self.phase is Phase.CLOSED or ready():
            self._loop.call_soon(callback)
            return
        if self._watchers is None:
            self._watchers = []
        self._watchers.append((ready, callback))

    def progress(self) -> tuple[int, int]:
        """Numbers that change whenever the other end takes something."""
        transport = self._transport
        return (0, 0) if transport is None else (transport.get_write_buffer_size(), unacknowledged(transport))

    def hold(self, who: object) -> None:
        """Stop reading until everybody who holds has released."""
        if self._holds is None:
            self._holds = set()
        self._holds.add(who)
        if self._transport is not None:
            self._transport.pause_reading()

    def release(self, who: object) -> None:
        """Undo `hold`. Harmless when it was not held."""
        if self._holds is None:
            return
        self._holds.discard(who)
        if not self._holds and self._transport is not None and not self._transport.is_closing():
            self._holds = None
            self._transport.resume_reading()

    def close(self) -> None:
        """Say goodbye and leave. Harmless when closed already."""
        if self.phase is Phase.OPEN and self._core is not None:
            self.phase = Phase.LEAVING
            self._goodbye_due = True
            self._leave_by(limits.GOODBYE_SECONDS)
            self.flush()
        elif self.phase in (Phase.HANDSHAKE, Phase.ADMISSION):
            self.abort()

    def abort(self) -> None:
        """Cut the connection. Harmless when closed already."""
        if self._transport is not None:
            self._transport.abort()

    def fail(self, error: SSBError) -> None:
        """Cut the connection because of `error`, which `closed` will report."""
        if self._error is None:
            self._error = error
        self.abort()

    # ------------------------------------------------------------ asyncio: connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=limits.TRANSPORT_HIGH)
        self._timer = self._loop.call_later(self.deadline, self._late)
        if isinstance(self._handshake, ClientHandshake):
            self._transport.write(self._handshake.start())

    def connection_lost(self, exc: Exception | None) -> None:
        if self.phase is Phase.CLOSED:
            return
        self._error = self._error or self._why_lost(exc)
        self.phase = Phase.CLOSED
        self._cancel_timer()
        if self._admission is not None:
            self._admission.cancel()
        if self._core is not None:
            self._relay.detach(self)
            self._core.close()
        self._transport = None
        self._handshake = None
        watchers, self._watchers = self._watchers, None
        for _ready, callback in watchers or ():
            callback()
        self._handler.closed(self, self._error)
        self._core = None

    def _why_lost(self, exc: Exception | None) -> SSBError | None:
        if isinstance(exc, SSBError):  # a tunnel says why
            return exc
        if self._handshake is not None:
            return HandshakeError()
        if self._heard and self.phase is Phase.LEAVING:
            return None
        return TruncatedError() if exc is None else SessionEndedError("the connection died")

    def eof_received(self) -> bool:
        if self._handshake is not None:
            self._error = self._error or HandshakeError()
        return False

    # ------------------------------------------------------------ asyncio: reading

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._relay.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(self._relay.buffer[:nbytes])

    def data_received(self, data: memoryview | bytearray) -> None:
        """Take received bytes; `data` is scratch afterwards."""
        if self._core is not None:
            if self.phase is not Phase.CLOSED:
                self._pump(self._core.receive(data))
        elif self._handshake is not None:
            self._shake(bytes(data))

    def proceed(self) -> None:
        """Read on at what was kept while a destination had no room."""
        if self._core is not None and self.phase is not Phase.CLOSED:
            self._pump(self._core.proceed())

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
            step = core.proceed()
        self._relay.touched()
        if status is native.Status.BLOCKED:
            self._relay.wait(self, core.blocked)
        elif status is native.Status.ENDED:
            self._heard = True
            self._peer_left()

    def _dispatch(self, kind: int, flags: int, req: int, body: bytes) -> None:
        if kind == native.EV_CHUNK:
            self._handler.chunk(self, req, body)
        elif kind == native.EV_GOODBYE:
            self._peer_left()
        elif self.phase is Phase.OPEN:
            self._handler.packet(self, flags, req, body)

    # ------------------------------------------------------------ handshake

    def _shake(self, data: bytes) -> None:
        handshake = self._handshake
        if handshake is None:
            return
        try:
            self._shaken(handshake.receive(data))
        except HandshakeError as error:
            self.fail(error)

    def _shaken(self, events: list[Send | ClientKnown | Completed]) -> None:
        for event in events:
            if self._transport is None:
                return
            if isinstance(event, Send):
                self._transport.write(event.data)
            elif isinstance(event, ClientKnown):
                self._decide(event.id)
            else:
                self._open(event.session, event.leftover)

    def _decide(self, who: FeedId) -> None:
        self.phase = Phase.ADMISSION
        self._cancel_timer()
        decision = True if self._admit is None else self._admit(who)
        if isinstance(decision, bool):
            self._decided(decision)
            return
        # Read nothing past message 3 before the decision.
        self.hold(self)
        self._admission = self._loop.create_task(self._await_decision(decision))

    async def _await_decision(self, decision: Awaitable[bool]) -> None:
        try:
            yes = await decision
        except asyncio.CancelledError:
            raise
        except Exception as error:  # fail closed, whatever an admission policy trips over
            self._loop.call_exception_handler({"message": "an admission policy failed", "exception": error})
            yes = False
        self._admission = None
        if self.phase is Phase.ADMISSION:
            self._decided(yes)
            self.release(self)

    def _decided(self, yes: bool) -> None:
        handshake = self._handshake
        if not isinstance(handshake, ServerHandshake):
            raise LocalProtocolError("only a server decides")
        if yes:
            try:
                self._shaken(handshake.accept())
            except HandshakeError as error:
                self.fail(error)
            return
        handshake.refuse()
        self._error = RefusedError("refused")
        if self._refusal_delay:
            self._timer = self._loop.call_later(self._refusal_delay, self.abort)
        else:
            self.abort()

    def _open(self, session: Session, leftover: bytes) -> None:
        self._cancel_timer()
        self._handshake = None
        self._session = session
        self.phase = Phase.OPEN
        self._core = self._relay.attach(self, session, self._core_limits, self._split)
        self._handler.opened(self)
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
        self._paused = False
        self.flush()

    def flush(self) -> None:
        """Seal what is queued and hand it to the transport, as far as that takes it."""
        core, transport = self._core, self._transport
        if core is None or transport is None:
            return
        status = native.Status.FULL
        while not self._paused and status is native.Status.FULL:
            data, status = core.flush()
            if data:
                transport.write(data)
        if self._watchers:
            self._look_after_watchers()
        if self._goodbye_due and status is native.Status.OK and not core.queued:
            self._goodbye_due = False
            core.control(0, 0, b"")
            self.flush()
        elif status is native.Status.ENDED:
            self._said_goodbye(transport)

    def _look_after_watchers(self) -> None:
        watchers, self._watchers = self._watchers or [], None
        due, later = [], []
        for watcher in watchers:
            (due if watcher[0]() else later).append(watcher)
        if later:
            self._watchers = later
        for _ready, callback in due:
            callback()

    # ------------------------------------------------------------ endings

    def _peer_left(self) -> None:
        """The packet stream's goodbye has come, or the box stream's: answer with both of ours."""
        core = self._core
        if core is None:
            return
        if self.phase is Phase.OPEN:
            self.phase = Phase.LEAVING
            self._leave_by(limits.GOODBYE_SECONDS)
            core.control(0, 0, b"")
        elif self._goodbye_due:
            self._goodbye_due = False
            core.control(0, 0, b"")
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

    def _late(self) -> None:
        self.fail(DeadlineError("the peer did not finish the handshake in time"))

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

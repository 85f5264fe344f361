"""The first part of a link's life: the handshake, its deadline, and the admission decision in the middle of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from ssbfast import limits
from ssbfast.budgets import Share
from ssbfast.errors import DeadlineError, HandshakeError, LocalProtocolError, RefusedError, SSBError
from ssbfast.ids import FeedId
from ssbfast.limits import EARLY_BYTES
from ssbfast.net.scheduler import LoopTurns
from ssbfast.wire.handshake import LENGTH, ClientHandshake, ClientKnown, Completed, Send, ServerHandshake, Session

_MESSAGES: Final = sum(LENGTH.values())

Admit = Callable[[FeedId], "bool | Awaitable[bool]"]
"""Decides, once a caller's key is proven, whether the caller is let in."""


class ProvenLink(Protocol):
    """A link whose ends a handshake proves, as far as the handshake needs it."""

    share: Share

    def completed(self, session: Session, leftover: bytes) -> None:
        """Take the session; leftover: bytes that came behind the last message."""

    def fail(self, error: SSBError) -> None:
        """Cut the connection because of `error`."""


class Handshaking:
    """The driver of one handshake over a link's transport; it ends in `link.completed` or `link.fail`.

    deadline: seconds up to message 3 (as server) or message 4 (as client).
    refusal_delay: seconds between message 3 and the end of a refused connection.
    """

    __slots__ = (
        "_admission",
        "_admit",
        "_deadline",
        "_link",
        "_machine",
        "_proven_at",
        "_refusal_delay",
        "_refused",
        "_timer",
        "_transport",
        "_turns",
        "_waiting",
        "has_heard",
        "has_spoken",
    )

    def __init__(
        self,
        link: ProvenLink,
        machine: ClientHandshake | ServerHandshake,
        *,
        turns: LoopTurns,
        admit: Admit | None,
        deadline: float,
        refusal_delay: float,
    ) -> None:
        self._turns = turns
        self._waiting = b""  # came while we wait for our turn
        self._link = link
        self._machine = machine
        self._admit = admit
        self._deadline = deadline
        self._refusal_delay = refusal_delay
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._admission: asyncio.Task[None] | None = None
        self._proven_at: float | None = None
        self._refused = False
        self.has_heard = False  # a byte has come
        self.has_spoken = False  # a valid message has come

    @property
    def is_unanswered(self) -> bool:
        """True when we have dialled and nothing has come."""
        return isinstance(self._machine, ClientHandshake) and not self.has_heard

    def begin(self, transport: asyncio.Transport) -> None:
        """Begin on a transport that is connected: a client speaks first."""
        self._transport = transport
        self._timer = asyncio.get_running_loop().call_later(self._deadline, self._late)
        if isinstance(self._machine, ClientHandshake):
            try:
                transport.write(self._machine.start())
            except HandshakeError as error:  # a key that cannot be dialled, or our own
                self._refuse(error)

    def received(self, data: bytes) -> None:
        """Take bytes of the peer. Callers take turns; what we dial ourselves is few, and goes on at once."""
        self.has_heard = True
        if not isinstance(self._machine, ServerHandshake):
            self._take(data)
            return
        if self._refused:
            return
        if not self._waiting:
            self._turns.queue(self._link.share, self._take_turn)
        self._waiting += data
        if len(self._waiting) > EARLY_BYTES + _MESSAGES:
            self._waiting = self._waiting[:1]  # the turn is ours still, and there is nothing to take
            self._refuse(HandshakeError())

    def _take_turn(self) -> None:
        data, self._waiting = self._waiting, b""
        if self._transport is not None and not self._transport.is_closing():
            self._take(data)

    def _take(self, data: bytes) -> None:
        if self._refused:
            return  # deaf until the end, and not by holding: a tunnel's carrier has others to serve
        try:
            # While admission decides, the machine keeps what comes unread, and refuses more than EARLY_BYTES.
            events = self._machine.receive(data)
            self.has_spoken = self.has_spoken or bool(events)
            self._advance(events)
        except HandshakeError as error:
            self._refuse(error)

    def stop(self) -> None:
        """Stop: the handshake is done, or the connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._admission is not None:
            self._admission.cancel()
            self._admission = None

    def _advance(self, events: list[Send | ClientKnown | Completed]) -> None:
        for event in events:
            if isinstance(event, Send):
                if self._transport is not None:
                    self._transport.write(event.data)
            elif isinstance(event, ClientKnown):
                self._decide(event.id)
            else:
                self.stop()
                self._link.completed(event.session, event.leftover)

    def _decide(self, who: FeedId) -> None:
        self.stop()
        self._proven_at = asyncio.get_running_loop().time()
        decision = True if self._admit is None else self._admit(who)
        if isinstance(decision, bool):
            self._decided(decision)
            return
        # A task of its own: the decision is under way even if the wait for it is cancelled before it began.
        deciding = asyncio.ensure_future(decision)
        self._admission = asyncio.get_running_loop().create_task(self._await(deciding))
        self._admission.add_done_callback(lambda _admission: deciding.cancel())

    async def _await(self, decision: asyncio.Future[bool]) -> None:
        try:
            yes = await asyncio.wait_for(decision, limits.REFUSAL_SECONDS)
        except asyncio.TimeoutError:
            yes = False
        except Exception as error:  # fail closed on any error of an admission policy
            context = {"message": "an admission policy failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
            yes = False
        if self._admission is None:
            return  # stopped; the cancellation can get lost in `wait_for`, before Python 3.12
        self._admission = None
        self._decided(yes)

    def _decided(self, yes: bool) -> None:
        machine = self._machine
        if not isinstance(machine, ServerHandshake):
            raise LocalProtocolError("only a server decides")
        if yes:
            try:
                self._advance(machine.accept())
            except HandshakeError as error:
                self._refuse(error)
            return
        machine.refuse()
        self._refuse(RefusedError("refused"))

    def _refuse(self, error: SSBError) -> None:
        """End the connection; late, where its timing would tell why, and deaf until then."""
        self.stop()
        self._refused = True
        if not self._refusal_delay:
            self._link.fail(error)
            return
        loop = asyncio.get_running_loop()
        since = loop.time() if self._proven_at is None else self._proven_at
        self._timer = loop.call_at(since + self._refusal_delay, self._link.fail, error)

    def _late(self) -> None:
        self._link.fail(DeadlineError("the peer did not finish the handshake in time"))

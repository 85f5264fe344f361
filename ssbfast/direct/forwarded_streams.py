"""All TCP connections of one session that were opened on direct paths, this one's and those of paths that are lost.

New ones get a stream of the path that is up. When it is lost, the end that opened a connection calls `direct.continue`
in the session, on any carrier that this has now; the other end waits `CARRIER_SECONDS` for the call. The call may be
the first that the other end hears of a connection: its first bytes can be lost with the path.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from ssbfast import limits
from ssbfast.direct.carriers import DirectCarrier
from ssbfast.direct.forwarded_datagrams import ForwardedDatagrams
from ssbfast.direct.forwarded_stream import DirectStream, head_of, split_head
from ssbfast.errors import CarrierError, LimitError, MuxRPCError, SessionEndedError, SSBError
from ssbfast.net.forward.connection import RESET
from ssbfast.net.forward.window import WindowedTransport
from ssbfast.wire.direct import signaling
from ssbfast.wire.direct.carriers.records import Record
from ssbfast.wire.direct.carriers.streams import CarriedStream, CarriedStreams
from ssbfast.wire.direct.keys import Role
from ssbfast.wire.muxrpc import Called

if TYPE_CHECKING:
    from ssbfast.net.api import DirectService
from ssbfast.net.peer import Peer

Key = tuple[int, int]
"""Epoch of the path and number of the stream."""


class DirectForwards:
    """The forwarded connections of one session.

    service: asked at each new one of the peer's; None: there is none. is_stranded: whether the session has no carrier.
    """

    def __init__(
        self,
        peer: Peer,
        role: Role,
        service: Callable[[], DirectService | None],
        is_stranded: Callable[[], bool] = lambda: False,
    ) -> None:
        self.datagrams = ForwardedDatagrams(peer)
        """Flows of UDP services that go by the same path."""
        self._loop = asyncio.get_running_loop()
        self._peer = peer
        self._role = role
        self._service = service
        self._is_stranded = is_stranded
        self._carrier: DirectCarrier | None = None
        self._streams = CarriedStreams(role)
        self._lost: tuple[int, CarriedStreams] | None = None  # the last path: epoch and streams
        self._live: dict[Key, DirectStream] = {}
        self._past: dict[int, tuple[signaling.Continue, bool]] = {}  # ours that are over here; whether in order
        self._received = 0
        self._sent = 0  # by paths that are lost
        self._patience: dict[Key, asyncio.TimerHandle] = {}
        self._heads: dict[int, bytes] = {}  # of streams of which not even the head has come whole

    @property
    def is_up(self) -> bool:
        """True when there is a path for new connections: the other end has taken it, too, and a stream is free.

        Without one they go in the session, which goes by the same path.
        """
        path = None if self._carrier is None else self._carrier.path
        return path is not None and self._peer.path == "direct" and not self._streams.is_full and path.can_open()

    @property
    def is_idle(self) -> bool:
        """True when there is no connection."""
        return not self._live

    @property
    def moved(self) -> tuple[int, int]:
        """Bytes that went by direct paths so far: received and sent. What was sent again counts again."""
        path = None if self._carrier is None else self._carrier.path
        return self._received + self.datagrams.received, self._sent + (0 if path is None else path.stream_bytes)

    @property
    def connections(self) -> int:
        """Connections that go by the direct path now."""
        return sum(stream.is_direct for stream in self._live.values())

    def open(self, protocol: asyncio.Protocol, name: str | None = None) -> DirectStream:
        """Open a new connection of ours. Raises SessionEndedError when there is no path.

        name: of the service; None: the first.
        """
        carrier = self._carrier
        if carrier is None or carrier.path is None:
            raise SessionEndedError("there is no direct path")
        number = carrier.path.open_stream()
        carrier.path.send_stream(number, head_of(name))
        return self._enter(carrier.epoch, carrier, self._streams.begin(number), protocol, name)

    def close(self) -> None:
        """Close all: the session is over."""
        self.path_over()
        for stream in list(self._live.values()):
            stream.duplex_lost(SessionEndedError("the session is over"))

    # ------------------------------------------------------------ from the path

    def path_up(self, carrier: DirectCarrier) -> None:
        self._carrier = carrier
        self._streams = CarriedStreams(
            self._role,
            most=min(carrier.takes or 0, limits.CARRIER_WINDOW_MAX),
            takes=limits.CARRIER_WINDOW_MAX,
            share=carrier.share,
        )
        self.datagrams.path_up(carrier)

    def path_over(self) -> None:
        carrier, self._carrier = self._carrier, None
        self.datagrams.path_over()
        self._heads.clear()
        if carrier is None:
            return
        self._sent += 0 if carrier.path is None else carrier.path.stream_bytes
        ours = {carried.stream for carried in self._streams.detach(self._loop.time())}
        self._lost = carrier.epoch, self._streams
        for key, stream in list(self._live.items()):
            if key[0] != carrier.epoch:
                continue
            stream.detach()
            if key[1] in ours:
                self._continue(stream)
            else:
                self._await(key, stream)
        self._tell_past(carrier)

    def data(self, carrier: DirectCarrier, number: int, data: bytes) -> None:
        """Take bytes of a QUIC stream. A peer that breaks the rules loses the path."""
        if carrier is not self._carrier or carrier.path is None:
            return
        self._received += len(data)
        try:
            stream = self._live.get((carrier.epoch, number))
            if stream is not None:
                stream.received(data)
            elif data and number not in self._streams.open:
                self._accept(carrier, number, data)
        except LimitError:
            carrier.path.reset_stream(number)
        except CarrierError:
            carrier.path.abort("a forwarded connection broke the rules")

    def reset(self, carrier: DirectCarrier, number: int) -> None:
        """Note that the other end has cut one."""
        stream = self._live.get((carrier.epoch, number))
        if stream is not None:
            stream.cut()
        elif carrier is self._carrier:
            self._heads.pop(number, None)
            self._streams.forget(number, self._loop.time())

    def record(self, carrier: DirectCarrier, record: Record) -> None:
        """Take an ACK or END."""
        if carrier is not self._carrier or carrier.path is None:
            return
        try:
            self._streams.record(record, self._loop.time())
        except CarrierError:
            carrier.path.abort("a forwarded connection broke the rules")
            return
        stream = self._live.get((carrier.epoch, record.stream))
        if stream is not None:
            stream.recorded()

    # ------------------------------------------------------------ from the session

    def continued(self, called: Called) -> None:
        """Let the other end go on with one of its connections."""
        try:
            wish = signaling.parse_continue(called.args)
        except MuxRPCError as error:
            self._peer.refuse(called.req, str(error))
            return
        key = wish.epoch, wish.stream
        patience = self._patience.pop(key, None)
        if patience is not None:
            patience.cancel()
        stream = self._live.get(key) if patience is not None else self._accept_late(wish)
        if stream is None:
            self._peer.refuse(called.req, "no such connection")
            return
        try:
            self._peer.carry(called.req, lambda req: stream.continue_over(self._peer, req, wish.received))
        except SSBError:
            stream.reset("that is not where it can go on")

    # ------------------------------------------------------------ DirectStream's owner

    def stream_over(self, stream: DirectStream) -> None:
        key = (stream.epoch, stream.carried.stream)
        self._live.pop(key, None)
        patience = self._patience.pop(key, None)
        if patience is not None:
            patience.cancel()
        carrier = self._carrier
        if carrier is not None and carrier.epoch == stream.epoch:
            self._remember(carrier, stream)
            if carrier.path is not None:
                carrier.path.stream_over(stream.carried.stream)
            self._streams.forget(stream.carried.stream, self._loop.time())
        elif self._lost is not None and self._lost[0] == stream.epoch:
            self._lost[1].open.pop(stream.carried.stream, None)

    # ------------------------------------------------------------ inside

    def _remember(self, carrier: DirectCarrier, stream: DirectStream) -> None:
        """Keep one of ours that is over here until it is over at the other end, too."""
        number = stream.carried.stream
        if number % 2 == (self._role is Role.TARGET):
            self._past[number] = self._wish(stream), stream.carried.done
            if len(self._past) > 2 * limits.FORWARDS_PER_PEER and (path := carrier.path) is not None:
                self._past = {kept: past for kept, past in self._past.items() if path.is_open(kept)}

    def _tell_past(self, carrier: DirectCarrier) -> None:
        """Tell the other end of those that are over here: the path may have been lost before it knew."""
        past, self._past = self._past, {}
        for number, (wish, in_order) in past.items():
            if carrier.path is None or not carrier.path.is_open(number):
                continue
            with contextlib.suppress(SSBError):  # as in `_continue`; then it finds out by itself
                duplex = self._peer.open_carried(
                    signaling.CONTINUE,
                    lambda req: WindowedTransport(self._peer, req, asyncio.Protocol()),
                    *wish.as_args(),
                )
                if in_order:
                    duplex.close()
                else:
                    duplex.reset(RESET)

    def _await(self, key: Key, stream: DirectStream) -> None:
        """Give the other end `CARRIER_SECONDS` to go on, and as long again while the session itself waits for it."""

        def late() -> None:
            if self._is_stranded():
                self._await(key, stream)
            else:
                stream.cut()

        self._patience[key] = self._loop.call_later(limits.CARRIER_SECONDS, late)

    def _enter(
        self,
        epoch: int,
        carrier: DirectCarrier | None,
        carried: CarriedStream,
        protocol: asyncio.Protocol,
        service: str | None,
    ) -> DirectStream:
        stream = DirectStream(self, epoch, carrier, carried, protocol, service)
        self._live[epoch, carried.stream] = stream
        return stream

    def _accept(self, carrier: DirectCarrier, number: int, data: bytes) -> None:
        """Accept the first bytes of a stream of the peer. Raises CarrierError, LimitError."""
        data = self._heads.pop(number, b"") + data
        head = split_head(data)
        if head is None and len(self._heads) < limits.FORWARDS_PER_PEER:
            self._heads[number] = data
            return
        carried = self._streams.accept(number, self._loop.time())
        if head is None or not self._welcome(carrier.epoch, carrier, carried, head.service):
            self._streams.forget(number, self._loop.time())
            raise LimitError("not welcome")
        if (stream := self._live.get((carrier.epoch, number))) is not None:
            stream.received(head.rest)  # also when there is none: its END may have overtaken it

    def _accept_late(self, wish: signaling.Continue) -> DirectStream | None:
        """Accept one of the peer of which nothing has come before its path was lost; None for any other."""
        if self._lost is None or self._lost[0] != wish.epoch or wish.received:
            return None
        try:
            carried = self._lost[1].accept(wish.stream, self._loop.time())
        except SSBError:
            return None
        carried.detach()
        if not self._welcome(wish.epoch, None, carried, wish.service):
            self._lost[1].open.pop(wish.stream)
        return self._live.get((wish.epoch, wish.stream))

    def _welcome(self, epoch: int, carrier: DirectCarrier | None, carried: CarriedStream, name: str | None) -> bool:
        """Return whether the service of that name takes the stream."""
        service = self._service()
        return service is not None and service.accept_direct(
            self._peer, lambda side: self._enter(epoch, carrier, carried, side, name), name
        )

    def _continue(self, stream: DirectStream) -> None:
        args = self._wish(stream).as_args()
        try:
            self._peer.open_carried(signaling.CONTINUE, lambda req: stream.continue_over(self._peer, req, None), *args)
        except SSBError as error:  # too many calls, or the session is just ending
            stream.duplex_lost(error)

    @staticmethod
    def _wish(stream: DirectStream) -> signaling.Continue:
        return signaling.Continue(stream.epoch, stream.carried.stream, stream.carried.got, stream.service)

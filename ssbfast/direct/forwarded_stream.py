"""A TCP connection carried by a QUIC stream of a direct path, and by a duplex of the session after the path is lost.

To `net/forward/connection.py` it is what a `WindowedTransport` is. On QUIC its head (`head_of`) says what it is for;
the rest, its ends and its acknowledgements are those of `wire/direct/carriers/streams.py`. A slow reader of one holds
up nothing but that one.

What happens to bytes in flight
    the path is lost   kept, and sent again in `direct.continue`, from where the other end says; nothing is lost.
    `reset()`          dropped on both sides; the other end is told if it can be, else it gives up `CARRIER_SECONDS`
                       after the loss of the path.
    the session ends   dropped.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final, NamedTuple, Protocol

from ssbfast import limits, native
from ssbfast.direct.carriers import DirectCarrier
from ssbfast.errors import CarrierError, MuxRPCError, SSBError
from ssbfast.net.duplex_transport import DuplexSession
from ssbfast.net.forward.window import WindowedTransport
from ssbfast.wire.direct.carriers.streams import CarriedStream
from ssbfast.wire.muxrpc_body import encode_json

_FIRST: Final = 1
"""First byte of a QUIC stream that carries a connection to the first service."""

_NAMED: Final = 2
"""The same for a service with a name, which follows: its length in one byte, and its bytes."""

_ITEM: Final = native.STREAM | native.JSON


def head_of(name: str | None) -> bytes:
    """Return what a QUIC stream begins with. name: of the service; None: the first."""
    return bytes((_FIRST,)) if name is None else bytes((_NAMED, len(name))) + name.encode("ascii")


class Head(NamedTuple):
    """What a QUIC stream begins with. service: its name; None: the first, empty: none at all. rest: what is behind."""

    service: str | None
    rest: bytes


def split_head(data: bytes) -> Head | None:
    """Return the head of a stream; None while it is not complete. data: what has come, a byte at least."""
    if data[0] != _NAMED:
        return Head(None if data[0] == _FIRST else "", data[1:])
    if len(data) < 2 or len(data) < (end := 2 + data[1]):
        return None
    return Head(data[2:end].decode("latin-1"), data[end:])


class StreamListener(Protocol):
    """The owner of a path's streams."""

    def stream_over(self, stream: DirectStream) -> None:
        """Forget a stream of which nothing is left."""


class DirectStream:
    """One connection.

    epoch: of its path. carrier: that path, None when it is lost already. carried: its bookkeeping, detached
    in that case. service: the name of the service that it leads to; None: the first.
    protocol: as `WindowedTransport`'s. sent, got: bytes so far.
    """

    def __init__(
        self,
        owner: StreamListener,
        epoch: int,
        carrier: DirectCarrier | None,
        carried: CarriedStream,
        protocol: asyncio.Protocol,
        service: str | None = None,
    ) -> None:
        self.carried = carried
        self.epoch = epoch
        self.service = service
        self.sent = 0
        self.got = 0
        self._loop = asyncio.get_running_loop()
        self._owner = owner
        self._carrier = carrier
        self._protocol = protocol
        self._continued: ContinuedTransport | None = None  # the duplex, while the other end has yet to say where
        self._duplex: WindowedTransport | None = None
        self._unsent: deque[bytes] = deque()  # in pieces, as they are kept and sent
        self._reported = 0  # of `got`, what has been used up
        self._end_due = False
        self._eof_told = False
        self._closing = False
        self._paused = False
        self._over = False
        self._timer: asyncio.TimerHandle | None = None
        protocol.connection_made(self)  # type: ignore[arg-type]  # the few methods that a joint uses

    # ------------------------------------------------------------ as a transport

    @property
    def finished(self) -> bool:
        """True when both directions have ended."""
        return self._end_due and self._eof_told

    @property
    def is_direct(self) -> bool:
        """True while its path carries it, and no duplex of the session."""
        return self._carrier is not None

    def write(self, data: Any) -> None:
        if self._over or self._end_due or not data:
            return
        self.sent += len(data)
        if self._duplex is not None:
            self._duplex.write(data)
            return
        for at in range(0, len(data), limits.FORWARD_READ):
            self._unsent.append(bytes(data[at : at + limits.FORWARD_READ]))
        self._push()

    def write_eof(self) -> None:
        if self._over or self._end_due:
            return
        self._end_due = True
        if self._duplex is not None:
            self._duplex.write_eof()
        else:
            self._push()

    def close(self) -> None:
        """Close it in order: the TCP connection has used up everything. Our last bytes may still be under way."""
        self._closing = True
        self.waiting(0)
        self.write_eof()
        if self._duplex is not None:
            self._duplex.close()
        self._look()

    def reset(self, message: str) -> None:
        """Cut it and tell the other end."""
        if self._over:
            return
        if (duplex := self._duplex or self._continued) is not None:
            duplex.reset(message)
        elif self._carrier is not None and self._carrier.path is not None:
            self._carrier.path.reset_stream(self.carried.stream)
        self._end(None)

    def waiting(self, n: int) -> None:
        """Note that n of the bytes received are not used up yet."""
        used = self.got - n - self._reported
        if self._over or used <= 0:
            return
        self._reported += used
        if self._duplex is not None:
            self._duplex.waiting(n)
        else:
            self._say(self.carried.consumed(used, self._loop.time()))
            self._report()
            self._look()

    # ------------------------------------------------------------ from the path

    def received(self, data: bytes) -> None:
        """Take bytes of the QUIC stream. Raises CarrierError."""
        self._deliver(self.carried.received(data))
        self._report()
        self._look()

    def recorded(self) -> None:
        """Go on after a record for this stream."""
        self._push()
        self._look()

    def cut(self) -> None:
        """End it: the other end has reset it."""
        self._end(CarrierError("the connection was reset"))

    def detach(self) -> None:
        """Go on without the path, which is lost."""
        self._carrier = None
        self.carried.detach()
        self._stop_timer()

    # ------------------------------------------------------------ after the path

    def continue_over(self, carrier: DuplexSession, req: int, received: int | None) -> ContinuedTransport:
        """Go on in this duplex. received: how far the other end says that it has come; None: it has yet to say so."""
        self._continued = duplex = ContinuedTransport(carrier, req, _DuplexSide(self), self)
        if received is not None:
            duplex.say_received(self.carried.got)
            self.resume(duplex, received)
        return duplex

    def resume(self, duplex: WindowedTransport, received: int) -> None:
        """Go on where both ends know to. Raises CarrierError for a number that cannot be."""
        pieces = self.carried.resume(received)
        self._duplex = duplex
        was_paused, self._paused = self._paused, False  # the duplex may pause it anew by what follows
        for piece in (*pieces, *self._unsent):
            duplex.write(piece)
        self._unsent.clear()
        if self._end_due:
            duplex.write_eof()
        if self._closing:
            duplex.close()
        elif was_paused and not self._paused:
            self._paused = True
            self._resume_protocol()

    def deliver(self, data: bytes) -> None:
        """Take bytes of the duplex."""
        try:
            self._deliver(self.carried.received(data))
        except CarrierError:
            self.reset("more bytes than there are")

    def duplex_finished(self) -> None:
        """Note that the other end's direction of the duplex has ended."""
        try:
            self.carried.duplex_ended()
        except CarrierError:
            self.reset("fewer bytes than there are")
            return
        self._look()

    def duplex_lost(self, error: Exception | None) -> None:
        """Note that the duplex is over."""
        self._end(error)

    def pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def unpause(self) -> None:
        self._resume_protocol()

    # ------------------------------------------------------------ inside

    def _push(self) -> None:
        """Send what waits, as far as there is room."""
        carried, now = self.carried, self._loop.time()
        while self._unsent and carried.room > 0 and self._duplex is None:
            piece = self._unsent.popleft()
            carried.send(piece, now)
            if self._carrier is not None and self._carrier.path is not None:
                carried.path_rtt(self._carrier.path.rtt or 0.0)
                self._carrier.path.send_stream(carried.stream, piece)
                self._carrier.on_forward_activity()
        if self._end_due and not self._unsent and not carried.ended:
            self._say(carried.end())
        if self._unsent or carried.room <= 0:
            self.pause()
        else:
            self._resume_protocol()

    def _report(self) -> None:
        """Tell the path how far we are: what waits here gives the other end no credit."""
        if not self._over and self._carrier is not None and self._carrier.path is not None:
            self._carrier.path.stream_used(self.carried.stream, self._reported, self.got - self._reported)

    def _resume_protocol(self) -> None:
        if self._paused and not self._over:
            self._paused = False
            self._protocol.resume_writing()

    def _deliver(self, data: bytes) -> None:
        if data and not self._over:
            self.got += len(data)
            self._protocol.data_received(data)

    def _say(self, record: bytes) -> None:
        if record and self._carrier is not None:
            self._carrier.send_records(record)
        at = self.carried.timer()
        if at is not None and self._timer is None and self._carrier is not None:
            self._timer = self._loop.call_at(at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._say(self.carried.handle_timer(self._loop.time()))
        self._look()

    def _look(self) -> None:
        """Tell ends onwards."""
        if self._over:
            return
        if self.carried.read_all and not self._eof_told:
            self._eof_told = True
            self._protocol.eof_received()
        if self.carried.done and self._duplex is None:
            if self._carrier is not None and self._carrier.path is not None:
                self._carrier.path.send_stream(self.carried.stream, b"", True)
            self._end(None)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, error: Exception | None) -> None:
        if self._over:
            return
        self._over = True
        self._stop_timer()
        self._unsent.clear()
        self.carried.release()
        self._owner.stream_over(self)
        self._loop.call_soon(self._protocol.connection_lost, error)


class ContinuedTransport(WindowedTransport):
    """A transport of `direct.continue`: each end says how far it has come, then it is like any carried connection."""

    def __init__(self, carrier: DuplexSession, req: int, protocol: asyncio.Protocol, stream: DirectStream) -> None:
        self._stream = stream
        super().__init__(carrier, req, protocol)

    def say_received(self, got: int) -> None:
        """Tell the opener where to go on."""
        self._queue(_ITEM, encode_json({"received": got}))

    def item(self, value: Any) -> None:
        if not isinstance(value, dict) or "received" not in value:
            super().item(value)
            return
        received = value["received"]
        try:
            if type(received) is not int:
                raise MuxRPCError("not a number of bytes")
            self._stream.resume(self, received)
        except SSBError:
            self._stream.reset("that is not where it can go on")


class _DuplexSide(asyncio.Protocol):
    """The protocol of the duplex, which feeds the stream that it continues."""

    def __init__(self, stream: DirectStream) -> None:
        self._stream = stream

    def data_received(self, data: bytes) -> None:
        self._stream.deliver(data)

    def eof_received(self) -> bool:
        self._stream.duplex_finished()
        return True

    def pause_writing(self) -> None:
        self._stream.pause()

    def resume_writing(self) -> None:
        self._stream.unpause()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stream.duplex_lost(exc)

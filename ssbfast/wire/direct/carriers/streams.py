"""Forwarded TCP connections on a direct path: one QUIC stream each, and their way back into the session.

::

    on QUIC    data raw on the stream, both ways; ACK and END with its number on stream 0. W bytes wait at the most
    Down       the stream is `detached`: what it still brings is dropped
    after it   the opener calls, in S, duplex `direct.continue` [{"epoch", "stream", "received"}], first item back
               {"received"}; each goes on from the other's number (`resume`) up to END: the end of its direction
    then       the duplex is reliable on any carrier of S: nothing is kept, no record is sent

Bytes in, records and bytes out; no I/O, no clock. The shell writes what `send` returns to the QUIC stream (or, after
`resume`, to the duplex), and returned records to the records stream. QUIC's own end of stream has no meaning here: a
path that dies may swallow it, END says how long the stream is. END itself is never acknowledged: so the opener
continues those too that were done shortly before the path died, and a side that finds one unknown was done with it.

Spec: docs/protocol/direct.md: rules R1, R5, R6 with the stream's own number.
"""

from __future__ import annotations

import enum

from ssbfast import limits
from ssbfast.errors import CarrierError, LimitError, LocalProtocolError
from ssbfast.wire.direct.carriers.records import Record, RecordType
from ssbfast.wire.direct.carriers.retransmission import Receiving, Sending
from ssbfast.wire.direct.keys import Role
from ssbfast.wire.direct.memory import MemoryShare


class Place(enum.Enum):
    """The carrier of a stream. A stream only ever moves downwards in this list."""

    QUIC = enum.auto()
    NOWHERE = enum.auto()  # the path is lost: what is sent is only kept
    DUPLEX = enum.auto()


class CarriedStream:
    """One forwarded connection, both directions. It raises CarrierError for a peer's mistakes.

    stream: its QUIC stream number, above 0. window: W in bytes, the same at both ends; most: up to where ours may grow,
    as far as `share` gives memory; takes: what the other end may send without ACK, as it was told.
    """

    __slots__ = ("_ended", "_place", "_receiving", "_sending", "_total", "stream")

    def __init__(
        self,
        stream: int,
        *,
        window: int = limits.FORWARD_WINDOW,
        most: int = 0,
        takes: int = 0,
        share: MemoryShare | None = None,
    ) -> None:
        self.stream = stream
        self._place = Place.QUIC
        self._sending = Sending(window, most, 0, share)
        self._sending.hold()
        self._receiving = Receiving(window, takes)
        self._receiving.hold(0)
        self._ended = False
        self._total: int | None = None  # of the peer's direction, by its END

    def __repr__(self) -> str:
        return f"<CarriedStream {self.stream} {self._place.name.lower()}>"

    # ------------------------------------------------------------ our direction

    @property
    def room(self) -> int:
        """Bytes that may be sent now, at most 64 KiB more in one go; `sys.maxsize` after `resume`. 0 or less: wait."""
        return self._sending.room

    def path_rtt(self, rtt: float) -> None:
        """Note the round trip of its path in seconds, 0 if not known."""
        self._sending.window.rtt = rtt

    def release(self) -> None:
        """Give back memory that it has grown by: it is over here."""
        self._sending.window.shrink()

    @property
    def waits(self) -> bool:
        """True while bytes wait for their ACK."""
        return self._sending.since is not None

    def send(self, data: bytes, now: float) -> bytes:
        """Count bytes of ours; return those to be written: all, or none while the path is lost.

        Raises LocalProtocolError after `end`, or far beyond `room`.
        """
        if self._ended:
            raise LocalProtocolError("our direction has ended")
        self._sending.add(data, now)
        return b"" if self._place is Place.NOWHERE else data

    def end(self) -> bytes:
        """Send nothing more; return END, empty unless on QUIC (a duplex is ended instead). Harmless twice."""
        if self._ended:
            return b""
        self._ended = True
        return self._encode(RecordType.END, self._sending.sent) if self._place is Place.QUIC else b""

    @property
    def ended(self) -> bool:
        """True once `end` was called: after `resume` the duplex's own direction ends behind the written bytes."""
        return self._ended

    # ------------------------------------------------------------ the peer's direction

    def received(self, data: bytes) -> bytes:
        """Take bytes from the stream, or from the duplex after `resume`; return those to be delivered.

        Raises CarrierError for bytes beyond END, or more than W + 64 KiB without ACK.
        """
        if self._place is Place.NOWHERE:
            return b""
        if self._place is Place.QUIC:
            self._receiving.credited(len(data))
        else:
            self._receiving.got += len(data)
        if self._total is not None and self._receiving.got > self._total:
            raise CarrierError("bytes beyond the end of a stream")
        return data

    def record(self, record: Record, now: float) -> None:
        """Take an ACK or END; `room`, `read_all` and `done` may have changed. Raise CarrierError."""
        if self._place is not Place.QUIC:
            return
        if record.type is RecordType.ACK:
            self._sending.ack(record.offset, now)
        elif record.type is RecordType.END and self._total is None and record.offset >= self._receiving.got:
            self._total = record.offset
        else:
            raise CarrierError("an END that is not the first, or lies behind")

    def consumed(self, length: int, now: float) -> bytes:
        """Note that the reader took so many delivered bytes more. Return an ACK if one is due, or nothing."""
        self._receiving.consume(length)
        return self.handle_timer(now)

    @property
    def read_all(self) -> bool:
        """True once everything up to the peer's END is received: the reader gets its end of file behind it."""
        return self._total is not None and self._receiving.got == self._total

    def timer(self) -> float | None:
        """Return when an ACK is due (`handle_timer`), or None."""
        return self._receiving.due

    def handle_timer(self, now: float) -> bytes:
        """Return an ACK if one is due, or nothing."""
        if self._place is not Place.QUIC:
            return b""
        complete = self._receiving.consumed == self._total
        offset = self._receiving.ack(now, at_once=complete)
        return b"" if offset is None else self._encode(RecordType.ACK, offset)

    @property
    def done(self) -> bool:
        """True once both directions have ended and every byte, of ours and of theirs, is acknowledged."""
        receiving = self._receiving
        if not self._ended or self.waits or receiving.consumed != self._total:
            return False
        return self._place is Place.DUPLEX or receiving.acked == receiving.consumed

    # ------------------------------------------------------------ after the path

    def detach(self) -> None:
        """Note that the path is lost: nothing that it still brings counts. Harmless later."""
        if self._place is Place.QUIC:
            self._place = Place.NOWHERE
            self._receiving.stop_acks()

    @property
    def got(self) -> int:
        """Bytes received in order; once detached, the `received` of `direct.continue`."""
        return self._receiving.got

    def resume(self, received: int) -> list[bytes]:
        """Go on in the duplex; return what is to be written first, in pieces. received: the peer's number.

        Raises LocalProtocolError unless detached, CarrierError for a number that cannot be.
        """
        if self._place is not Place.NOWHERE:
            raise LocalProtocolError("the stream is not detached")
        self._sending.take(received)
        pieces = self._sending.after(received)
        self._sending.drop()
        self._place = Place.DUPLEX
        return pieces

    def duplex_ended(self) -> None:
        """End the peer's direction of the duplex, in order. Raise CarrierError when END said otherwise."""
        if self._total is not None and self._total != self._receiving.got:
            raise CarrierError("a stream ended before its end")
        self._total = self._receiving.got

    def _encode(self, kind: RecordType, offset: int) -> bytes:
        return Record(kind, self.stream, offset).encode()


class CarriedStreams:
    """The forwarded connections of one direct path.

    Numbers are QUIC's: 0, 4, 8 … the caller's (0 is for records), 1, 5, 9 … the target's; those of
    unidirectional streams are none.

    role: our end. limit: how many of either end may be open at a time. most, takes, share: each stream's.
    """

    __slots__ = ("_early", "_highest", "_limit", "_most", "_past", "_role", "_share", "_takes", "_unseen", "open")

    def __init__(
        self,
        role: Role,
        *,
        limit: int = limits.FORWARDS_PER_PEER,
        most: int = 0,
        takes: int = 0,
        share: MemoryShare | None = None,
    ) -> None:
        self._role = role
        self._most = most
        self._takes = takes
        self._share = share
        self._limit = limit
        self._highest = -3 if role is Role.CALLER else 0  # number that the peer has used; numbers rise by 4
        self._unseen: set[int] = set()  # below it, of streams that have not come yet: streams overtake each other
        self._early: dict[int, Record] = {}  # END of a stream that has not come yet: records overtake, too
        self._past: dict[int, tuple[float, CarriedStream]] = {}  # ours that are done, and since when
        self.open: dict[int, CarriedStream] = {}

    @property
    def is_full(self) -> bool:
        """True while as many of ours are open as the other end accepts."""
        return self._count(self._role) >= self._limit

    def begin(self, stream: int) -> CarriedStream:
        """Register a stream that we opened.

        Raise LocalProtocolError for a number that is not ours, or is open.
        """
        if self._initiator(stream) is not self._role or stream in self.open:
            raise LocalProtocolError("no number for a new stream of ours")
        return self._enter(stream)

    def accept(self, stream: int, now: float) -> CarriedStream:
        """Register a stream that the peer has opened (its first bytes came).

        Raises CarrierError for a number that it may not use, LimitError above the limit: reset that stream.
        """
        if not self._fresh(stream):
            raise CarrierError("no number for a new stream of the other end")
        self._unseen.discard(stream)
        early = self._early.pop(stream, None)
        if self._count(self._role.other) >= self._limit:
            raise LimitError("too many forwarded connections")
        carried = self._enter(stream)
        if early is not None:
            carried.record(early, now)
        return carried

    def record(self, record: Record, now: float) -> CarriedStream | None:
        """Take a StreamRecord; return its stream if that is open: look at `room`, `read_all` and `done`.

        Raises CarrierError.
        """
        carried = self.open.get(record.stream)
        if carried is not None:
            carried.record(record, now)
        elif self._fresh(record.stream):
            if record.type is not RecordType.END or record.stream in self._early:
                raise CarrierError("a record for a stream that does not exist")
            self._early[record.stream] = record
        return carried  # None also for one that is over here: the record crossed its end

    def forget(self, stream: int, now: float) -> None:
        """Forget a stream that is over: `done`, or reset by either side (also before its first bytes came)."""
        carried = self.open.pop(stream, None)
        if carried is None:
            if self._fresh(stream):
                self._unseen.discard(stream)
                self._early.pop(stream, None)
        elif carried.done and self._initiator(stream) is self._role:
            self._past[stream] = (now, carried)
            if len(self._past) > self._limit:
                del self._past[next(iter(self._past))]

    def detach(self, now: float) -> list[CarriedStream]:
        """Note that the path is lost; return the streams we opened: call `direct.continue` for each after Down.

        The peer does so for those that it opened; what it has not continued within `limits.CARRIER_SECONDS` is dead.
        """
        for stream, (since, carried) in self._past.items():
            if now - since < limits.LINGER_SECONDS:
                self.open[stream] = carried
        self._past.clear()
        self._early.clear()
        for carried in self.open.values():
            carried.detach()
        return [carried for stream, carried in self.open.items() if self._initiator(stream) is self._role]

    def _count(self, role: Role) -> int:
        return sum(self._initiator(number) is role for number in self.open)

    def _enter(self, stream: int) -> CarriedStream:
        carried = CarriedStream(stream, most=self._most, takes=self._takes, share=self._share)
        self.open[stream] = carried
        return carried

    def _fresh(self, stream: int) -> bool:
        """Return whether the peer may use this number for the first time.

        Raise CarrierError when it leaves too many out.
        """
        if self._initiator(stream) is not self._role.other:
            return False
        if (stream - self._highest) // 4 + len(self._unseen) > self._limit:
            raise CarrierError("stream numbers are left out")
        while self._highest < stream:
            self._highest += 4
            self._unseen.add(self._highest)
        return stream in self._unseen

    @staticmethod
    def _initiator(stream: int) -> Role | None:
        """Return which role may open a stream of this number; None when no forwarded connection has it."""
        if stream <= 0 or stream & 2:
            return None
        return Role.TARGET if stream & 1 else Role.CALLER

"""The moves of one session S between carriers: HOLD, TAKE and ACK, per direction. No I/O, no clock.

::

    Up      caller                     QUIC                     target
            HOLD(h) keeps from h on  ───────>
                                     <───────  HOLD(h') keeps from h' on; TAKE(got) when got ≥ h
            TAKE(got) when got ≥ h'  ───────>
            TAKE came: sends there             TAKE came: sends there
    Down    the same in a standby's duplex, begun by the end that judges QUIC lost; with both TAKEs a side says the
            standby's goodbye, writes out what it kept from the peer's TAKE on, and keeps nothing any more

A TAKE answers a HOLD of the same carrier. So as long as a standby has brought nothing, no end can have moved there,
and it may be replaced by another one without loss.

`HandoverState` is the half of `carriers.Carriers` that knows the rules R1 to R7; the other half has the times and ends.

Spec: docs/protocol/direct.md, repeated here as far as it matters.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final

from ssbfast import limits
from ssbfast.errors import CarrierError, LocalProtocolError, SSBError
from ssbfast.wire.direct.carriers.effects import (
    BeginRaw,
    Data,
    Deliver,
    Effect,
    EndCarrier,
    Failed,
    Path,
    PathChanged,
    Records,
    Resume,
    StreamRecord,
)
from ssbfast.wire.direct.carriers.records import SESSION, Record, RecordReader, RecordType
from ssbfast.wire.direct.carriers.retransmission import Receiving, Sending
from ssbfast.wire.direct.carriers.timers import Kept, Progress, Pulse
from ssbfast.wire.direct.keys import EPOCHS, Role
from ssbfast.wire.direct.memory import MemoryShare

LEFT: Final = "the other end has left the direct path"
LEAVING: Final = "the room's tunnel was chosen"


class Kind(enum.Enum):
    """The kind of a carrier. A standby becomes a tunnel when the session has moved there."""

    TUNNEL = enum.auto()
    QUIC = enum.auto()
    STANDBY = enum.auto()


class Phase(enum.Enum):
    """The phase of a session's moves."""

    OPEN = enum.auto()
    OVER = enum.auto()  # in order; the other end may still come back to hear so
    DEAD = enum.auto()  # nothing is answered


@dataclass(slots=True)
class Carrier:
    """One carrier and the records sent and received on it.

    holds, held: our HOLD went out there, the peer's came. took, taken: the same of TAKE.
    heard: when records came there last (or it began). spoke: when we wrote some.
    """

    id: int
    kind: Kind
    heard: float
    spoke: float
    holds: bool = False
    held: bool = False
    took: bool = False
    taken: int | None = None
    reader: RecordReader = field(default_factory=RecordReader, repr=False)


class HandoverState:
    """The carriers on which the session is sent and read, and the one it moves to."""

    __slots__ = (
        "_carriers",
        "_change",
        "_closed",
        "_cut",
        "_effects",
        "_epoch",
        "_from",
        "_heard",
        "_is_leaving",
        "_keep_seconds",
        "_kept",
        "_moved",
        "_next_id",
        "_phase",
        "_progress",
        "_pulse",
        "_quic",
        "_reason",
        "_receiving",
        "_role",
        "_said",
        "_sending",
        "_standby",
        "_stranded",
        "_to",
        "may_be_kept",
        "path",
    )

    def __init__(
        self,
        role: Role,
        window: int,
        most: int,
        takes: int,
        share: MemoryShare | None,
        kept: Kept | None,
        keep: float,
    ) -> None:
        self._role = role
        self._sending = Sending(window, most, most, share)
        self._receiving = Receiving(window, max(most, takes))
        self._effects: list[Effect] = []
        self._phase = Phase.OPEN
        self._next_id = 0
        self._epoch = 0  # the last one that was given or granted
        self._carriers: dict[int, Carrier] = {}
        first = self._add(Kind.TUNNEL, 0.0)
        self._to: Carrier | None = first  # None: what S seals is only kept
        self._from: Carrier | None = first  # None: nothing is listened to
        self._quic: Carrier | None = None
        self._pulse = Pulse(0.0)  # of `_quic`
        self._progress = Progress()  # the same
        self._standby: Carrier | None = None
        self._change: Carrier | None = None  # where S is going: our HOLD is out there
        self._stranded: float | None = None  # a carrier in use is gone; the last sign of another one
        self._cut: SSBError | None = None  # nothing comes any more but what S still reads; why
        self._moved = float("-inf")  # when S was sent or received last
        self._said = False  # S's goodbye has been sealed
        self._heard = False  # S has opened the peer's
        self._is_leaving = False  # S is to leave the direct path, and to stay in tunnels
        self._reason = LEFT  # why the last direct path was left
        self._kept = kept
        self._keep_seconds = keep
        self._closed = False  # the other end has closed the direct path: it is awake
        self.may_be_kept = kept is not None
        self.path: Path = "tunnel"

    # ------------------------------------------------------------ epochs

    def next_epoch(self) -> int:
        """Caller: return the number for the next attempt or standby.

        Raise LocalProtocolError when there is none left.
        """
        if self._epoch + 1 >= EPOCHS:
            raise LocalProtocolError("all epochs are used up")
        self._epoch += 1
        return self._epoch

    def claim(self, epoch: int) -> bool:
        """Target: return whether the caller may use this number, which is used up then.

        It is 1 … 2^32 - 1 and above all earlier ones.
        """
        if not self._epoch < epoch < EPOCHS:
            return False
        self._epoch = epoch
        return True

    def _begin(self, kind: Kind, epoch: int, now: float) -> Carrier:
        if not 0 < epoch <= self._epoch:
            raise LocalProtocolError("an epoch that was not granted")
        return self._add(kind, now)

    # ------------------------------------------------------------ carriers

    def _add(self, kind: Kind, now: float) -> Carrier:
        carrier = Carrier(self._next_id, kind, now, now)
        self._next_id += 1
        self._carriers[carrier.id] = carrier
        return carrier

    def _end(self, carrier: Carrier, clean: bool) -> None:
        """End a carrier, on our own initiative."""
        if self._carriers.pop(carrier.id, None) is not None:
            self._effects.append(EndCarrier(carrier.id, clean))
        self._leave(carrier)

    def _leave(self, carrier: Carrier) -> None:
        """Stop sending, reading and waiting on a carrier."""
        if self._to is carrier:
            self._to = None
        if self._from is carrier:
            self._from = None
        if self._change is carrier:
            self._change = None
        if self._quic is carrier:
            self._quic = None
            self._receiving.stop_acks()
        if self._standby is carrier:
            self._standby = None

    def _end_all(self, clean: bool) -> None:
        for carrier in list(self._carriers.values()):
            self._end(carrier, clean)

    def _fail(self, error: SSBError) -> None:
        """End the session because of `error`. Failures after its end cost the carriers only."""
        self._end_all(clean=False)
        self._sending.drop()
        self._not_kept()
        if self._phase is Phase.OPEN:
            self._phase = Phase.DEAD
            self._effects.append(Failed(error))

    # ------------------------------------------------------------ records

    def _say(self, carrier: Carrier, kind: RecordType, offset: int, now: float) -> None:
        carrier.spoke = now
        self._effects.append(Records(carrier.id, Record(kind, SESSION, offset).encode()))

    def _on_record(self, carrier: Carrier, record: Record, now: float) -> None:
        """Handle one record of the peer. Raise CarrierError."""
        if record.type is RecordType.KEEPALIVE:
            return
        if record.stream != SESSION:
            if carrier.kind is not Kind.QUIC or record.type not in (RecordType.ACK, RecordType.END):
                raise CarrierError("a record for a stream that has none of its kind")
            self._effects.append(StreamRecord(carrier.id, record))
        elif record.type is RecordType.HOLD:
            self._on_hold(carrier, record.offset, now)
        elif record.type is RecordType.TAKE:
            self._on_take(carrier, record.offset, now)
        elif record.type is RecordType.ACK and carrier.kind is Kind.QUIC and carrier.holds:
            self._on_ack(record.offset, now)
        else:
            raise CarrierError("a record that has no place there")

    def _on_hold(self, carrier: Carrier, offset: int, now: float) -> None:
        if carrier.held or carrier.kind is Kind.TUNNEL:
            raise CarrierError("a second HOLD, or one on a tunnel")
        carrier.held = True
        self._receiving.hold(offset)
        if carrier.kind is Kind.STANDBY:
            self._lose_quic(LEFT, now)
            self._stranded = now
        if self._change is carrier:
            self._try_take(now)
        else:
            self._change_to(carrier, now)

    def _on_take(self, carrier: Carrier, offset: int, now: float) -> None:
        if self._change is not carrier or carrier.taken is not None:
            raise CarrierError("a TAKE that nobody asked for")
        self._sending.take(offset)
        carrier.taken = offset
        self._to = None
        if carrier.kind is Kind.QUIC:
            self._to = carrier
            self._send_after(carrier, offset)
        self._finish_move(carrier)

    def _on_ack(self, offset: int, now: float) -> None:
        full = self._sending.room <= 0
        self._sending.ack(offset, now)
        if full and self._sending.room > 0:
            self._effects.append(Resume())

    def _acknowledge(self, now: float) -> None:
        """Send an ACK, on the direct path only: R6."""
        quic = self._quic
        if quic is not None and quic.took:
            offset = self._receiving.ack(now, at_once=self._heard)
            if offset is not None:
                self._say(quic, RecordType.ACK, offset, now)

    # ------------------------------------------------------------ moving

    def _change_to(self, carrier: Carrier, now: float) -> None:
        """Begin, or follow, a move to `carrier`: R1, R2."""
        self._change = carrier
        carrier.holds = True
        carrier.heard = now  # from now on its silence counts
        self._say(carrier, RecordType.HOLD, self._sending.hold(), now)
        self._try_take(now)

    def _try_take(self, now: float) -> None:
        """Leave the old carrier as soon as the new one can bring everything that is missing: R3.

        For QUIC, S has to have consumed what came before HOLD, too: QUIC has no back-pressure but our ACKs, so W bounds
        what waits for S only if nothing else waits. For as long the tunnel's own back-pressure goes on.
        """
        carrier = self._change
        if carrier is None or carrier.took or not carrier.held:
            return
        receiving = self._receiving
        if not receiving.ready:
            if self._from is None:
                raise CarrierError("the other end does not hold what has been lost")
        elif carrier.kind is not Kind.QUIC or receiving.caught_up:
            carrier.took = True
            self._from = carrier
            self._say(carrier, RecordType.TAKE, receiving.got, now)
            self._finish_move(carrier)

    def _finish_move(self, carrier: Carrier) -> None:
        """Finish the move once TAKE has been sent and received."""
        if not carrier.took or carrier.taken is None:
            return
        self._change = None
        self._stranded = None
        self._cut = None
        self._closed = False
        self._not_kept()
        if carrier.kind is Kind.QUIC:
            self.path = "direct"
            self._effects.append(PathChanged("direct", "a direct path is up"))
        else:
            self._become_tunnel(carrier, carrier.taken)
        if self._role is Role.CALLER:
            for other in list(self._carriers.values()):
                if other is not carrier:
                    self._end(other, clean=True)
        self._on_moved(carrier)

    def _become_tunnel(self, carrier: Carrier, offset: int) -> None:
        """Make a standby the tunnel of the session: R7."""
        full = self._sending.room <= 0
        carrier.kind = Kind.TUNNEL
        self._standby = None
        self._to = self._from = carrier
        self._effects.append(BeginRaw(carrier.id))
        self._send_after(carrier, offset)
        self._sending.drop()
        self.path = "tunnel"
        self._effects.append(PathChanged("tunnel", self._reason))
        if full:
            self._effects.append(Resume())

    def _on_moved(self, carrier: Carrier) -> None:
        """Note that the move is done; subclasses act on goodbyes here."""
        raise NotImplementedError

    def _send_after(self, carrier: Carrier, offset: int) -> None:
        for piece in self._sending.after(offset):
            self._effects.append(Data(carrier.id, piece))

    def _lose_quic(self, reason: str, now: float) -> None:
        """Stop reading a lost direct path, and go Down if our HOLD has been there."""
        quic = self._quic
        if quic is None:
            return
        self._end(quic, clean=False)
        if not quic.holds:
            return  # the caller has not sent HOLD, or it was lost: then the caller comes by a standby
        self._reason = LEAVING if self._is_leaving else reason
        self._on_carrier_lost(now)
        if self._standby is not None and self._change is not self._standby:
            self._change_to(self._standby, now)

    def _on_carrier_lost(self, now: float) -> None:
        """Note that a carrier the session used is gone: another one has to bear it within 30 s."""
        self._stranded = now

    @property
    def _deadline(self) -> float | None:
        """Return the time when the session is over for want of a carrier.

        An end that listens to a tunnel has one: the other end judges the rest.

        A standby that S is moving to is never silent for long, also while the move waits.
        """
        if self._stranded is None or self._cut is not None:
            return None
        if self._change is not None and self._change.kind is Kind.STANDBY:
            return self._change.heard + self._patience
        if self._from is not None and self._from.kind is Kind.TUNNEL:
            return None
        return self._stranded + self._patience

    @property
    def is_stranded(self) -> bool:
        """True while a carrier that the session used is gone and no other has come for it."""
        return self._stranded is not None

    @property
    def _patience(self) -> float:
        kept = self._kept is not None and self in self._kept
        return self._keep_seconds if kept else limits.CARRIER_SECONDS

    @property
    def longest_wait(self) -> float:
        """Return for how many seconds at most the session goes without a carrier."""
        can_be_kept = self._kept is not None and self.may_be_kept and not self._closed
        return max(self._keep_seconds, limits.CARRIER_SECONDS) if can_be_kept else self._patience

    def _keep(self) -> bool:
        """Return whether the session waits for longer than others, from now on: its peer may be asleep."""
        if self._kept is None or self in self._kept or self.longest_wait <= limits.CARRIER_SECONDS:
            return False
        return self._kept.take(self)

    def _not_kept(self) -> None:
        if self._kept is not None:
            self._kept.release(self)

    @property
    def _keepalive(self) -> float:
        return limits.STANDBY_PING if self._stranded is None else limits.STANDBY_PING_NEEDED

    # ------------------------------------------------------------ the peer's bytes of S

    def _on_data(self, carrier: Carrier, data: bytes, now: float) -> None:
        """Take bytes of the session from the carrier that is read. Raise CarrierError."""
        if carrier.kind is Kind.QUIC:
            self._pulse.received(now)
            self._receiving.credited(len(data))
        elif carrier.kind is Kind.TUNNEL:
            self._receiving.got += len(data)
        else:
            raise CarrierError("bytes of the session before its TAKE")
        self._moved = now
        self._effects.append(Deliver(data))
        if self._stranded is not None:
            self._stranded = now
        if self._change is not None:
            self._try_take(now)

    def _on_stray_data(self, carrier: Carrier) -> None:
        """Handle bytes of the session from a carrier that is not read. Raise CarrierError."""
        if carrier.kind is not Kind.TUNNEL:
            raise CarrierError("bytes of the session before our TAKE")

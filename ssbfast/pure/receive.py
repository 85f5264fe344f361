"""The receiving half of a link: open → scan → re-number → queue at the destination, or hand to Python as an event.

Nothing here looks ahead: whole input, byte-wise input and input interrupted by full queues give the same.
"""

from __future__ import annotations

import enum
from typing import Final, Protocol

from ssbfast.engine_types import (
    E_AFTER,
    E_MEMORY,
    E_PACKET,
    END,
    EV_CHUNK,
    EV_GOODBYE,
    EV_PACKET,
    STREAM,
    CoreLimits,
    Event,
    Status,
    in_turn,
)
from ssbfast.pure.box_stream import HEADER, BoxOpener
from ssbfast.pure.hub import Hub, OutOfMemory, Queue
from ssbfast.pure.lane import Goodbye, Lane, Sender
from ssbfast.pure.packet_stream import HeadScanner, too_long, write_head

STREAM_OPENS: Final = STREAM | 2
"""A JSON packet in a stream; the first one of a stream opens it."""

END_FLAGS: Final = STREAM | END | 2
END_BODY: Final = b"true"
EVENT_HEAD: Final = 12
"""What an event takes in the engine's buffer besides its body, in bytes."""


class Mode(enum.Enum):
    """The handling of the packet in hand."""

    HEAD = "between packets"
    SKIP = "dropped"
    SPLICE = "bytes for a lane"
    DELIVER = "bytes for Python"
    GATHER = "must be whole: for a lane, or an event"
    EMPTY = "no body: an event that waits for room"


class Events:
    """Events of one call, in as much room as the engine's buffer has."""

    def __init__(self, room: int, most: int = 0) -> None:
        self.room = room
        self.most = most  # events; 0: as many as have room
        self.need = 0
        self.list: list[Event] = []

    def add(self, kind: int, flags: int, req: int, body: bytes) -> bool:
        """Add an event. Return False, and set `need`, when it has no room."""
        size = EVENT_HEAD + len(body)
        if size > self.room or (self.most and len(self.list) >= self.most):
            self.need = size
            return False
        self.room -= size
        self.list.append((kind, flags, req, body))
        return True

    def chunk(self, req: int, data: bytes) -> int:
        """Add bytes of a stream, to the last event if that is the same stream's chunk; return how many had room."""
        if self.list and self.list[-1][0] == EV_CHUNK and self.list[-1][2] == req:
            k = min(len(data), self.room)
            self.list[-1] = (EV_CHUNK, STREAM, req, self.list[-1][3] + data[:k])
            self.room -= k
            return k
        k = min(len(data), max(self.room - EVENT_HEAD, 1))
        return k if self.add(EV_CHUNK, STREAM, req, data[:k]) else 0


class Receiver(Sender, Protocol):
    """The part of a link that an inlet uses."""

    incoming: Incoming


class Inlet:
    """The route of packets that arrive for `req`: bytes go to a lane, or, without one, are delivered as chunks.

    Of two inlets for one req the newer counts.
    """

    def __init__(self, link: Receiver, req: int, lane: Lane | None) -> None:
        if lane is not None and lane.hub is not link.out.hub:
            raise ValueError("an inlet and its lane need one hub")
        self.req = req
        self.lane = lane
        self._incoming: Incoming | None = None
        self.turn = link.turn
        with self.turn:
            if link.out.goodbye != Goodbye.CLOSED:
                self._incoming = link.incoming
                self._incoming.inlets.setdefault(req, []).append(self)

    @in_turn
    def close(self) -> None:
        """Stop; the rest of a packet in hand is skipped."""
        incoming, self._incoming = self._incoming, None
        if incoming is None:
            return
        incoming.on_inlet_close(self)
        same = incoming.inlets[self.req]
        same.remove(self)
        if not same:
            del incoming.inlets[self.req]


class Incoming:
    """The receiving half of a link."""

    def __init__(self, hub: Hub, core_limits: CoreLimits, opener: BoxOpener) -> None:
        self._hub = hub
        self._limits = core_limits
        self._opener = opener
        self._scanner = HeadScanner()
        self.inlets: dict[int, list[Inlet]] = {}
        self._over: list[Inlet] = []  # inlets whose lane had no room; the last one is asked first
        self._input = Queue(hub)  # received, not yet opened: the beginning of a box, or all that came while blocked
        self._need = HEADER  # bytes of input at which the opener can go on
        self._plain = Queue(hub)  # plain rest of a box that came in pieces, kept over AGAIN
        self._assembly = Queue(hub)  # what there is of a packet that must be whole
        self._cursor = b""  # plain bytes of the box in hand, not yet scanned
        self._scratch = False  # that box came in pieces
        self._rest = b""  # ciphertext behind that box
        self._flags = 0
        self._req = 0
        self._mode = Mode.HEAD
        self._into: Inlet | None = None
        self.dead = 0

    # ------------------------------------------------------------ the calls

    def receive(self, data: bytes, room: int) -> tuple[int, list[Event], int]:
        """Take bytes from the socket; return (code, events, need).

        room: space for events, as in the engine.
        """
        if not self.dead:
            self._rest = data
        return self.proceed(room)

    def proceed(self, room: int) -> tuple[int, list[Event], int]:
        """Go on where the last call stopped."""
        if self.dead:
            return self.dead, [], 0
        events = Events(room, self._limits.events)
        try:
            code = self._run(events)
        except OutOfMemory:
            code = E_MEMORY
        if code < 0:
            self.close()
            self.dead = code
        return code, events.list, events.need

    def keep(self, data: bytes) -> int:
        """Keep input inside: the rest that AGAIN has left, and `data` behind it.

        Return 0, or the code of a mistake.
        """
        if self.dead:
            return self.dead
        try:
            self._plain.keep_all(self._cursor)
            self._cursor = b""
            self._keep_rest()
            self._input.keep_all(data)
        except OutOfMemory:
            self.close()
            self.dead = E_MEMORY
        return self.dead

    def close(self) -> None:
        """Give everything back."""
        for queue in (self._input, self._plain, self._assembly):
            queue.keep(0)
        self._cursor = self._rest = b""
        self._into = None
        self._mode = Mode.HEAD
        self._opener.close()

    @property
    def held(self) -> int:
        return self._input.bytes + self._plain.bytes + self._assembly.bytes

    @property
    def slabs(self) -> int:
        return len(self._input.slabs) + len(self._plain.slabs) + len(self._assembly.slabs)

    @property
    def blocked(self) -> Lane | None:
        return self._over[-1].lane if self._over else None

    def on_inlet_close(self, inlet: Inlet) -> None:
        """Note that an inlet is about to be forgotten."""
        if inlet in self._over:
            self._over.remove(inlet)
        if self._into is inlet:
            self._into = None
            self._mode = Mode.SKIP
            self._assembly.keep(0)

    # ------------------------------------------------------------ boxes

    def _run(self, events: Events) -> int:
        code = self._scan_kept(events) if self._plain.bytes else self._scan(events)
        if code == Status.OK and self._mode != Mode.HEAD:  # an event may have been all that was missing
            code = self._continue_packet(events)
        while code == Status.OK:
            if self._is_blocked():
                self._keep_rest()
                return Status.BLOCKED
            code = self._open_box()
            if code == Status.MORE:
                return Status.OK
            if code == Status.ENDED and (self._input.bytes or self._rest):
                return E_AFTER
            if code == Status.OK:
                code = self._scan(events)
        if code == Status.AGAIN and self._scratch and self._cursor:
            self._plain.keep_all(self._cursor)
            self._cursor = b""
        return code

    def _is_blocked(self) -> bool:
        while self._over and not self._over_lane(self._over[-1]):
            self._over.pop()
        return bool(self._over) or self._hub.shut

    @staticmethod
    def _over_lane(inlet: Inlet) -> bool:
        return inlet.lane is not None and inlet.lane.is_over_limit

    def _keep_rest(self) -> None:
        self._input.keep_all(self._rest)
        self._rest = b""

    def _open_box(self) -> int:
        """Open the next box, which may begin in kept input; keep input that is not enough for one."""
        while self._input.bytes + len(self._rest) >= self._need or not self._input.bytes:
            kept = min(self._need, self._input.bytes)
            fresh = self._need - kept
            code, used, body = self._opener.open(self._input.peek(kept) + self._rest[:fresh])
            if code == Status.MORE:
                self._need = used
                if self._input.bytes + len(self._rest) < used:
                    break
                continue
            if code < 0:
                return code
            self._input.drop(kept)
            self._rest = self._rest[used - kept :]
            self._scratch = kept > 0
            self._cursor = body
            self._need = HEADER
            return code
        self._keep_rest()
        return Status.MORE

    def _scan_kept(self, events: Events) -> int:
        """Scan the plain bytes of a box that were kept over AGAIN, slab by slab."""
        code: int = Status.OK
        while self._plain.bytes and code == Status.OK:
            n = self._plain.slabs[0].filled
            self._cursor = self._plain.peek(n)
            code = self._scan(events)
            self._plain.drop(n - len(self._cursor))
            self._cursor = b""
        return code

    # ------------------------------------------------------------ packets

    def _scan(self, events: Events) -> int:
        """Scan at the cursor until it is used up or there is something to report."""
        while True:
            if self._mode == Mode.HEAD:
                if not self._cursor:
                    return Status.OK
                code, used, head = self._scanner.head(self._cursor)
                self._cursor = self._cursor[used:]
                if head is None:
                    return code
                self._flags, self._req, length = head
                code = self._begin_packet(length)
                if code != Status.OK:
                    return code
            code = self._continue_packet(events)
            if code != Status.OK or self._mode != Mode.HEAD:  # not HEAD: the cursor is used up
                return code

    def _inlet(self) -> Inlet | None:
        same = self.inlets.get(self._req)
        return same[-1] if same and self._req else None

    def _begin_packet(self, length: int) -> int:
        """Decide how to handle a packet whose head has been read."""
        inlet = self._inlet()
        self._into = None
        if not length:
            self._begin_empty(inlet)
        elif self._flags == STREAM and inlet is not None:
            self._mode = Mode.SPLICE if inlet.lane is not None else Mode.DELIVER
            self._into = inlet
        elif too_long(self._limits, self._req, length):
            self._mode = Mode.SKIP
            return Status.OK if self._flags == STREAM and self._req else E_PACKET
        else:
            self._begin_whole(inlet, length)
        return Status.OK

    def _begin_empty(self, inlet: Inlet | None) -> None:
        wanted = (self._flags & END or inlet is None) if self._req else not self._flags
        self._mode = Mode.EMPTY if wanted else Mode.SKIP

    def _begin_whole(self, inlet: Inlet | None, length: int) -> None:
        self._mode = Mode.GATHER if self._req else Mode.SKIP
        if inlet is None or inlet.lane is None or self._flags & END or not self._req:
            return
        self._into = inlet
        if inlet.lane.is_open:
            self._assembly.keep_all(write_head(self._flags, length, inlet.lane.req))

    def _end_packet(self, reported: bool) -> int:
        """End the packet in hand. A stream that was just opened can get an inlet before its bytes."""
        opens = reported and self._flags == STREAM_OPENS and self._req > 0 and self._inlet() is None
        self._mode = Mode.HEAD
        self._into = None
        return Status.AGAIN if opens else Status.OK

    def _continue_packet(self, events: Events) -> int:
        """Go on with the packet in hand as far as the cursor and the room for events allow."""
        left = self._scanner.left
        n = min(left, len(self._cursor))
        match self._mode:
            case Mode.GATHER:
                return self._gather(events, n)
            case Mode.EMPTY:
                return self._empty(events)
            case Mode.SPLICE:
                self._splice(n)
            case Mode.DELIVER:
                k = events.chunk(self._req, self._cursor[:n]) if n else 0
                self._advance(k)
                if k < n:
                    events.need = EVENT_HEAD + 1
                    return Status.AGAIN
            case _:
                self._advance(n)
        return self._end_packet(False) if n == left else Status.OK

    def _advance(self, n: int) -> bytes:
        data, self._cursor = self._cursor[:n], self._cursor[n:]
        self._scanner.left -= n
        return data

    def _splice(self, n: int) -> None:
        lane = self._into.lane if self._into is not None else None
        if n and lane is not None and lane.is_open:
            lane.splice(self._cursor[:n])
            self._note_over(lane)
        self._advance(n)

    def _note_over(self, lane: Lane) -> None:
        if lane.is_over_limit and self._into is not None and self._into not in self._over:
            self._over.append(self._into)

    def _gather(self, events: Events, n: int) -> int:
        left = self._scanner.left
        if self._into is None and not self._assembly.bytes and n == left:  # all of it is here
            if not events.add(EV_PACKET, self._flags, self._req, self._cursor[:n]):
                return Status.AGAIN
            self._advance(n)
            return self._end_packet(True)
        if n:
            dropped = self._into is not None and not self._assembly.bytes  # its lane was closed before the head
            if not dropped:
                self._assembly.keep_all(self._cursor[:n])
            self._advance(n)
        if n < left:
            return Status.OK
        if self._into is not None:
            self._hand_over(self._into.lane)
            return self._end_packet(False)
        if not events.add(EV_PACKET, self._flags, self._req, self._assembly.peek(self._assembly.bytes)):
            return Status.AGAIN
        self._assembly.keep(0)
        return self._end_packet(True)

    def _hand_over(self, lane: Lane | None) -> None:
        """Hand the complete packet in the assembly, head included, to the lane."""
        if lane is not None and self._assembly.bytes and lane.is_open:
            lane.take_packet(self._assembly)
            self._note_over(lane)
        self._assembly.keep(0)

    def _empty(self, events: Events) -> int:
        kind = EV_PACKET if self._req else EV_GOODBYE
        ends = bool(self._flags & END)
        if not events.add(kind, END_FLAGS if ends else self._flags, self._req, END_BODY if ends else b""):
            return Status.AGAIN
        return self._end_packet(True)

"""The sending half of a link: lanes in a ring, the control queue, and how their packets fill boxes.

Order of packets: the rest of one that was begun; control packets; lanes in turn (deficit round-robin). A box holds as
many packets as fit. Data packets are made when they are sealed, to measure; whole packets and control packets run on
into the next box.
"""

from __future__ import annotations

import enum
from _thread import RLock
from collections import deque
from typing import Final, Protocol

from ssbfast import limits
from ssbfast.engine_types import E_CLOSED, STREAM, Buffer, CoreLimits, Status, fault, in_turn
from ssbfast.errors import LocalProtocolError, SessionEndedError
from ssbfast.pure.box_stream import HEADER, Sealer
from ssbfast.pure.hub import SLAB, Hub, Queue, slabs_for
from ssbfast.pure.packet_stream import HEAD, write_head

QUANTUM: Final = limits.BOX_BODY - HEAD.size
SLACK: Final = 4
"""Memory a lane may hold, in shares: a whole packet of ten bytes takes a slab of 4096."""

TINY: Final = 64
"""Do not begin a packet that goes on in the next box in less room than this."""

_BODY_MAX: Final = 2**32 - 1 - HEAD.size


class Goodbye(enum.IntEnum):
    """The stages of the end of a link."""

    NONE = 0
    WANTED = 1
    SEALED = 2
    CLOSED = 3


LANE_PART: Final = 16
"""Of what is left of the pool, one lane may hold so small a part."""

LINK_PART: Final = 4
"""And all lanes of a link so much."""


def _passed(hub: Hub, size: int, slabs: int, limit: int, part: int) -> bool:
    limit = min(limit, max(hub.left // part * SLAB, SLAB))
    return size >= limit or slabs >= SLACK * (limit // SLAB + 1)


class Box:
    """The plain bytes of the box that is being filled."""

    __slots__ = ("data", "room")

    def __init__(self, room: int) -> None:
        self.data = bytearray()
        self.room = room

    def fits(self, size: int) -> bool:
        """Return whether a packet of `size` bytes may begin here; otherwise the box is closed first."""
        return not self.data or size <= self.room or self.room >= TINY

    def put(self, data: bytes) -> None:
        self.data += data
        self.room -= len(data)


class Outgoing:
    """The sending half of a link."""

    def __init__(self, hub: Hub, number: int, core_limits: CoreLimits, sealer: Sealer, split: bool) -> None:
        self.hub = hub
        self.number = number
        self.limits = core_limits
        self.sealer = sealer
        self.split = split
        self.control = Queue(hub, outgoing=True)
        self.control_begun = 0
        self.ring: deque[Lane] = deque()  # the first one has the turn
        self.lanes: list[Lane] = []
        self.goodbye = Goodbye.NONE

    @property
    def lane_bytes(self) -> int:
        """Bytes queued in all lanes."""
        return sum(lane.queued for lane in self.ring)

    @property
    def lane_slabs(self) -> int:
        return sum(lane.slabs for lane in self.ring)

    def dirty(self) -> None:
        self.hub.mark(self, self.number)

    def put_control(self, flags: int, req: int, body: Buffer) -> bool:
        """Queue a whole packet in front of all lanes; return False when there is no room.

        Raise LocalProtocolError as Link says.
        """
        if self.goodbye != Goodbye.NONE or len(body) >= _BODY_MAX:
            raise fault(E_CLOSED)
        if not len(body) and (flags or req):
            raise LocalProtocolError("an empty body ends the session: send `true` with the end flag")
        size = HEAD.size + len(body)
        if self.control.bytes + size > self.limits.control_backlog or slabs_for(size) >= self.hub.free:
            return False
        if not self.control.append(write_head(flags, len(body), req)) or not self.control.append(body):
            return False
        self.dirty()
        return True

    # ------------------------------------------------------------ sealing

    def flush(self, room: int) -> tuple[bytes, Status]:
        """Seal what is queued into at most `room` bytes."""
        if self.goodbye == Goodbye.CLOSED:
            raise fault(E_CLOSED)
        out = bytearray()
        while self.control.bytes or self.ring:
            # Only the first box of a call may be short, else the room's end would cut packets at random.
            least = limits.BOX_BODY if out else TINY
            if room - len(out) < HEADER + least:
                return bytes(out), Status.FULL
            box = Box(min(limits.BOX_BODY, room - len(out) - HEADER))
            while box.room and self._step(box) and not self.split:
                pass
            out += self.sealer.seal(box.data)
        return self._end(out, room)

    def _end(self, out: bytearray, room: int) -> tuple[bytes, Status]:
        if self.goodbye == Goodbye.NONE:
            return bytes(out), Status.OK
        if self.goodbye == Goodbye.WANTED:
            if room - len(out) < HEADER:
                return bytes(out), Status.FULL
            out += self.sealer.goodbye()
            self.goodbye = Goodbye.SEALED
        return bytes(out), Status.ENDED

    def _step(self, box: Box) -> bool:
        """Put one packet, or a part of one, into the box.

        Return False when there is none or the box is to be closed.
        """
        if self.control_begun:
            self._take_control(box, self.control_begun)
            return True
        lane = self.ring[0] if self.ring else None
        if lane is not None and lane.begun:
            self._take_lane(lane, box, lane.begun)
            return True
        if self.control.bytes:
            return self._begin_control(box)
        if lane is None:
            return False
        return self._begin_whole(lane, box) if lane.whole else self._begin_data(lane, box)

    def _begin_control(self, box: Box) -> bool:
        _, length, _ = HEAD.unpack(self.control.peek(HEAD.size))
        size = HEAD.size + length
        if not box.fits(size):
            return False
        self.control_begun = size
        self._take_control(box, HEAD.size if self.split else size)
        return True

    def _begin_whole(self, lane: Lane, box: Box) -> bool:
        size = lane.whole
        if not box.fits(size):
            return False
        lane.begun = size
        self._take_lane(lane, box, HEAD.size if self.split else size)
        return True

    def _begin_data(self, lane: Lane, box: Box) -> bool:
        """Begin one packet with as many of the waiting bytes as fit; in split mode write the head alone."""
        room = limits.BOX_BODY if self.split else max(box.room - HEAD.size, 0)
        wait = lane.plain_run(limits.BOX_BODY)
        n = min(wait, room)
        if not n or not box.fits(HEAD.size + wait):
            return False
        box.put(write_head(STREAM, n, lane.req))
        lane.begun = n
        if not self.split:
            self._take_lane(lane, box, n)
        return True

    def _take_control(self, box: Box, most: int) -> None:
        n = min(self.control_begun, box.room, most)
        box.put(self.control.take(n))
        self.control_begun -= n

    def _take_lane(self, lane: Lane, box: Box, most: int) -> None:
        """Take bytes of the packet that was begun. The turn stays with the lane until its packet has ended."""
        n = min(lane.begun, box.room, most)
        lane.begun -= n
        box.put(lane.take(n))
        if not lane.begun and lane.queued and lane.credit <= 0:
            self._rotate()

    def _rotate(self) -> None:
        """Give the turn to the next lane with credit; one in debt passes once for every quantum it owes."""
        while self.ring[0].credit <= 0:
            lane = self.ring[0]
            lane.credit = QUANTUM if len(self.ring) == 1 else lane.credit + QUANTUM
            self.ring.rotate(-1)


class Sender(Protocol):
    """The part of a link that a lane uses."""

    turn: RLock
    out: Outgoing


class Lane:
    """One outgoing stream with a queue of its own: bytes, which may be split and merged, and whole packets.

    req: the number written into its packets. share: bytes it may queue.
    """

    def __init__(self, link: Sender, req: int, share: int = limits.TUNNEL_SHARE) -> None:
        self.hub = link.out.hub
        self.turn = self.hub.turn
        self._out: Outgoing | None = None
        self._queue = Queue(self.hub, outgoing=True)
        self._share = share
        self.req = req
        self.begun = 0  # rest of a packet whose beginning is sealed: first in the queue
        self.credit = 0
        self.taken = 0
        self.put = 0
        with self.turn:
            if link.out.goodbye != Goodbye.CLOSED:
                self._out = link.out
                self._out.lanes.append(self)

    # ------------------------------------------------------------ for Python

    @in_turn
    def write(self, data: Buffer) -> bool:
        """Queue payload; return False, and take nothing, when full. Raise SessionEndedError when closed."""
        out = self._opened()
        if not len(data):
            return True
        if self.full or slabs_for(len(data)) > out.hub.left:
            return False
        self.splice(data)
        return True

    @in_turn
    def packet(self, flags: int, body: Buffer) -> bool:
        """Queue a whole packet behind the rest, without regard to the share; False when the pool has no room."""
        if not len(body):
            raise LocalProtocolError("an empty body ends the session: send `true` with the end flag")
        out = self._opened()
        if slabs_for(HEAD.size + len(body)) >= out.hub.free:
            return False
        packet = Queue(out.hub)
        packet.append(write_head(flags, len(body), self.req))
        packet.append(body)
        self.take_packet(packet)
        return True

    @property
    def queued(self) -> int:
        """Bytes waiting, heads of whole packets included."""
        return self._queue.bytes

    @property
    @in_turn
    def full(self) -> bool:
        """True while a write would answer False."""
        return self._out is not None and self.is_open and (self.is_over_limit or not self._out.hub.left)

    @in_turn
    def clear(self) -> None:
        """Drop the waiting bytes, at a packet boundary: the rest of a packet that was begun goes out."""
        if self._out is not None:
            self._queue.keep(self.begun)
            self._account(self._out)

    @in_turn
    def close(self) -> None:
        """Drop the waiting bytes and leave the link.

        The rest of a packet that was begun goes out with the control packets.
        """
        out = self._out
        if out is None:
            return
        self.clear()
        if self.begun:  # no control packet can be begun as well
            out.control.prepend(self._queue)
            self._account(out)
            out.control_begun, self.begun = self.begun, 0
        out.lanes.remove(self)
        self._out = None

    def _opened(self) -> Outgoing:
        if self._out is None or not self.is_open:
            raise SessionEndedError("the session is over")
        return self._out

    # ------------------------------------------------------------ for links

    @property
    def is_open(self) -> bool:
        return self._out is not None and self._out.goodbye == Goodbye.NONE

    @property
    def is_over_limit(self) -> bool:
        """True while its own or its link's limits are passed, the pool apart."""
        out = self._out
        if out is None or not self.is_open:
            return False
        return _passed(self.hub, self._queue.bytes, self.slabs, self._share, LANE_PART) or _passed(
            self.hub, out.lane_bytes, out.lane_slabs, out.limits.link_backlog, LINK_PART
        )

    @property
    def slabs(self) -> int:
        return len(self._queue.slabs)

    @property
    def whole(self) -> int:
        """Size of the whole packet that comes first, or 0."""
        return self._queue.slabs[0].whole

    def plain_run(self, most: int) -> int:
        return self._queue.plain_run(most)

    def splice(self, data: Buffer) -> None:
        """Queue payload without asking for limits. Call it only while open."""
        self._queue.keep_all(data)
        self._added(len(data))

    def take_packet(self, packet: Queue) -> None:
        """Queue a whole packet, head included. Call it only while open."""
        size = packet.bytes
        packet.mark_whole()
        self._queue.move(packet)
        self._added(size)

    def take(self, n: int) -> bytes:
        """Take n bytes off the queue."""
        data = self._queue.take(n)
        self.taken += n
        self.credit -= n
        if self._out is not None:
            self._account(self._out)
        return data

    def _added(self, n: int) -> None:
        self.put += n
        if self._out is not None:
            self._account(self._out)
            self._out.dirty()

    def _account(self, out: Outgoing) -> None:
        """Put the lane into its link's ring, as the last, or take it out: it is there while it has bytes queued."""
        if self.queued and self not in out.ring:
            self.credit = QUANTUM
            out.ring.append(self)
        elif not self.queued and self in out.ring:
            out.ring.remove(self)

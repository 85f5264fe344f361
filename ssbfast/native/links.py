"""Hubs, links, lanes and inlets in C. `csrc/ssbfast.h` says how they behave; this module says what Python adds.

What C points at is kept alive by what Python holds: a link keeps its hub, lanes and inlets, a lane its link, an
inlet its lane; and a link that is forgotten is closed.

The C core knows no threads, and cffi lets others run while it works: each call takes its hub's lock (`Hub._turn`)
until the answer is out of the buffers that the hub lends to all links.
"""

from __future__ import annotations

import mmap
import struct
from _thread import RLock
from typing import Any, Final

from ssbfast import errors, limits
from ssbfast.engine_types import E_CLOSED, Buffer, CoreLimits, Event, Status, check_keys
from ssbfast.native.core import anonymous, crypto, error_of, ffi, lib, raw

_STATUS: Final = tuple(Status)
_EMPTY: Final = "an empty body ends the session: send `true` with the end flag"
_EVENT: Final = struct.Struct("=BBxxiI")


class Hub:
    """The queue memory that the links of one event loop share, and the list of those with something to send.

    capacity: bytes of queue memory. ValueError when that is less than the reserve (2 MiB) and one slab more.
    """

    def __init__(self, capacity: int = limits.POOL) -> None:
        self._turn = RLock()
        self._forgotten: list[Link] = []
        self._c = ffi.new("ssb_hub *")
        size = lib.ssb_hub_size(max(capacity, 0) // lib.SSB_SLAB)
        self._memory = anonymous(size)
        if lib.ssb_hub_init(self._c, ffi.from_buffer("uint8_t[]", self._memory), size):
            raise ValueError(f"a hub needs at least {(lib.SSB_SLAB_RESERVE + 1) * lib.SSB_SLAB} bytes")
        # Shared by all links: nothing in them outlives a call.
        self._events = raw("uint8_t[]", limits.EVENT_ROOM)
        self._numbers = ffi.new("size_t[2]")  # ev_n (or out_n), need
        self._out = raw("uint8_t[]", limits.FLUSH_CHUNK)

    @property
    def lent(self) -> int:
        """Slabs in use."""
        with self._turn:
            self._close_forgotten()
            n: int = lib.ssb_hub_lent(self._c)
        return n

    @property
    def left(self) -> int:
        """Slabs that payload may still take (the reserve not counted)."""
        with self._turn:
            self._close_forgotten()
            n: int = lib.ssb_hub_left(self._c)
        return n

    @property
    def outgoing(self) -> int:
        """Slabs that wait to be sent; the other lent ones hold input. BLOCKED by the pool ends when this is 0."""
        with self._turn:
            self._close_forgotten()
            n: int = lib.ssb_hub_outgoing(self._c)
        return n

    def trim(self) -> None:
        """Give the memory of slabs that are not lent back to the system."""
        with self._turn:
            self._close_forgotten()
            lib.ssb_hub_trim(self._c)
            if hasattr(mmap, "MADV_DONTNEED"):
                self._give_back()

    def dirty(self) -> list[int]:
        """Return the ids of the links on which something was queued since the last call. The caller flushes them."""
        ids = []
        with self._turn:
            self._close_forgotten()
            while (link := lib.ssb_hub_next_dirty(self._c)) >= 0:
                ids.append(link)
        return ids

    def heavy(self, slabs: int) -> list[tuple[int, int]]:
        """Return the ids of links that hold at least `slabs` (> 0), and what each holds; at most `HEAVY_LINKS`."""
        ids, held = raw("uint32_t[]", limits.HEAVY_LINKS), raw("uint64_t[]", limits.HEAVY_LINKS)
        with self._turn:
            self._close_forgotten()
            n = lib.ssb_hub_heavy(self._c, slabs, ids, held, limits.HEAVY_LINKS)
        return [(int(ids[i]), int(held[i])) for i in range(n)]

    def _give_back(self) -> None:
        at, n = self._numbers, self._numbers + 1
        at[0] = n[0] = 0
        while lib.ssb_hub_gap(self._c, at, n):
            start, end = -(-at[0] // mmap.PAGESIZE) * mmap.PAGESIZE, (at[0] + n[0]) // mmap.PAGESIZE * mmap.PAGESIZE
            if start < end:
                self._memory.madvise(mmap.MADV_DONTNEED, start, end - start)

    def _close_forgotten(self) -> None:
        while self._forgotten:
            self._forgotten.pop().close()


class Link:
    """One secured connection: both cipher states, the packet scanner, and the outgoing queues.

    id: number of the caller's choice (0 .. 2**32 - 1), as `Hub.dirty` gives it. Keys 32 bytes, nonces 24 bytes.
    split: every packet head in a box of its own. failure: the peer's mistake; look at it after each receive() and
    proceed(): what was good before it has been returned.
    """

    __slots__ = ("__weakref__", "_c", "_closed", "_hub", "_inlets", "_lanes", "_source", "failure", "id")

    def __init__(
        self,
        hub: Hub,
        id: int,
        *,
        send_key: bytes,
        send_nonce: bytes,
        receive_key: bytes,
        receive_nonce: bytes,
        limits: CoreLimits = CoreLimits(),  # noqa: B008 (an immutable tuple)
        split: bool = False,
    ) -> None:
        self._c: Any = None
        check_keys((send_key, send_nonce), (receive_key, receive_nonce))
        self.id = id
        self.failure: errors.SSBError | None = None
        self._hub = hub
        self._source: Any = None  # keeps the caller's buffer while C still reads it
        self._lanes: set[Lane] | None = None  # most links of a room never have any
        self._inlets: set[Inlet] | None = None
        core = ffi.new("ssb_link *")
        bounds = ffi.new("ssb_limits *", list(limits))
        with hub._turn:
            lib.ssb_link_init(
                core, hub._c, id, crypto, bounds, send_key, send_nonce, receive_key, receive_nonce, int(split)
            )
        self._c = core
        self._closed = False

    def __repr__(self) -> str:
        return f"<Link {self.id}{' closed' if self._closed else ''}>"

    def __del__(self) -> None:
        if self._c is None:
            return
        # The holder of the lock may wait for another hub's, whose holder collects garbage: never wait here.
        if not self._hub._turn.acquire(blocking=False):
            self._hub._forgotten.append(self)
            return
        try:
            self.close()
        finally:
            self._hub._turn.release()

    def receive(self, data: bytearray | memoryview) -> tuple[Status, list[Event]]:
        """Take bytes from the socket; `data` is scratch afterwards.

        OK, BLOCKED (stop reading; proceed() when `blocked`, or the pool, has drained), ENDED (the goodbye), or
        AGAIN: handle the events, then call proceed() before `data` is used for anything else.
        LocalProtocolError when closed, or when proceed() is due.
        """
        hub = self._hub
        source = ffi.from_buffer("uint8_t[]", data, True)
        with hub._turn:
            if self._source is not None:
                raise errors.LocalProtocolError("proceed() is due")
            hub._numbers[0] = limits.EVENT_ROOM
            code = lib.ssb_link_receive(self._c, source, len(source), hub._events, hub._numbers, hub._numbers + 1)
            return self._answer(code, source)

    def proceed(self) -> tuple[Status, list[Event]]:
        """Go on after AGAIN or BLOCKED; answer as `receive` does."""
        hub = self._hub
        with hub._turn:
            hub._numbers[0] = limits.EVENT_ROOM
            code = lib.ssb_link_proceed(self._c, hub._events, hub._numbers, hub._numbers + 1)
            return self._answer(code, self._source)

    def keep(self, data: bytearray | memoryview | bytes = b"") -> bool:
        """Keep input inside, unopened: the rest that AGAIN has left, and `data` behind it.

        `proceed` goes on there at any time.

        False when the pool is used up: `failure` is set then.
        """
        source = ffi.from_buffer("uint8_t[]", data)
        with self._hub._turn:
            code = lib.ssb_link_keep(self._c, source, len(source))
            self._source = None
        if code == E_CLOSED:
            raise error_of(code)
        if code < 0 and self.failure is None:
            self.failure = error_of(code)
        return bool(code >= 0)

    def _answer(self, code: int, source: Any) -> tuple[Status, list[Event]]:
        numbers, room = self._hub._numbers, self._hub._events
        if code == Status.AGAIN and not numbers[0] and numbers[1] > limits.EVENT_ROOM:
            room = raw("uint8_t[]", numbers[1])  # one packet longer than the shared buffer
            numbers[0] = numbers[1]
            code = lib.ssb_link_proceed(self._c, room, numbers, numbers + 1)
        if code == E_CLOSED:
            raise error_of(code)
        events = _decode(ffi.buffer(room, numbers[0])) if numbers[0] else []
        self._source = source if code == Status.AGAIN else None
        if code >= 0:
            return _STATUS[code], events
        if self.failure is None:
            self.failure = error_of(code)
        return Status.OK, events

    @property
    def blocked(self) -> Lane | None:
        """Return the lane that has no room, after BLOCKED; None means the pool."""
        with self._hub._turn:
            lane = lib.ssb_link_blocked(self._c)
            lanes = (inlet.lane for inlet in self._inlets or () if lane)
            return next((found for found in lanes if found is not None and found._c == lane), None)

    @property
    def held(self) -> int:
        """Received bytes kept inside: the beginning of a box or packet, or input that came while blocked."""
        with self._hub._turn:
            n: int = lib.ssb_link_held(self._c)
        return n

    def control(self, flags: int, req: int, body: Buffer) -> bool:
        """Queue a whole packet in front of all lanes; return False when CONTROL_BACKLOG or the pool is full.

        control(0, 0, b"") is the packet stream's goodbye; LocalProtocolError for any other empty body, and after
        goodbye() or close().
        """
        if not len(body) and (flags or req):
            raise errors.LocalProtocolError(_EMPTY)
        source = ffi.from_buffer("uint8_t[]", body)
        with self._hub._turn:
            code = lib.ssb_link_control(self._c, flags, req, source, len(source))
        if code < 0:
            raise error_of(code)
        return bool(code == Status.OK)

    def goodbye(self) -> None:
        """Send the box stream's goodbye behind what is queued now."""
        with self._hub._turn:
            lib.ssb_link_goodbye(self._c)

    def flush(self, room: int = limits.FLUSH_CHUNK) -> tuple[bytes, Status]:
        """Seal what is queued, at most `room` bytes (4130 hold any box).

        OK: nothing is left; FULL: more is queued; ENDED: the goodbye was written. LocalProtocolError when closed.
        """
        hub = self._hub
        out = hub._out if room <= limits.FLUSH_CHUNK else raw("uint8_t[]", room)
        with hub._turn:
            code = lib.ssb_link_flush(self._c, out, room, hub._numbers)
            if code < 0:
                raise error_of(code)
            return ffi.buffer(out, hub._numbers[0])[:], _STATUS[code]

    @property
    def queued(self) -> int:
        """Bytes in all lanes."""
        with self._hub._turn:
            n: int = lib.ssb_link_queued(self._c)
        return n

    @property
    def control_queued(self) -> int:
        """Bytes of control packets that wait."""
        with self._hub._turn:
            n: int = lib.ssb_link_control_queued(self._c)
        return n

    def close(self) -> None:
        """Wipe the keys and give all memory back; lanes and inlets are closed with it."""
        with self._hub._turn:
            if self._closed:
                return
            self._closed = True
            lib.ssb_link_close(self._c)
            self._source = self._lanes = self._inlets = None


class Lane:
    """One outgoing stream: its own queue, its own number `req`. share: bytes it may queue."""

    __slots__ = ("__weakref__", "_c", "_link", "_turn", "req")

    def __init__(self, link: Link, req: int, share: int = limits.TUNNEL_SHARE) -> None:
        self.req = req
        self._link = link
        self._c = ffi.new("ssb_lane *")
        self._turn = link._hub._turn
        with self._turn:
            lib.ssb_lane_init(self._c, link._c, req, share)
            if not link._closed:
                link._lanes = link._lanes or set()
                link._lanes.add(self)

    def write(self, data: Buffer) -> bool:
        """Queue bytes; return False when full (nothing was taken). Raise SessionEndedError when closed."""
        source = ffi.from_buffer("uint8_t[]", data)
        with self._turn:
            return self._ok(lib.ssb_lane_write(self._c, source, len(source)))

    def packet(self, flags: int, body: Buffer) -> bool:
        """Queue a whole packet, without regard to the share; return False when the pool is full.

        Raise SessionEndedError when closed.
        """
        if not len(body):
            raise errors.LocalProtocolError(_EMPTY)
        source = ffi.from_buffer("uint8_t[]", body)
        with self._turn:
            return self._ok(lib.ssb_lane_packet(self._c, flags, source, len(source)))

    def _ok(self, code: int) -> bool:
        if code < 0:
            raise errors.SessionEndedError("the session is over")
        return bool(code == Status.OK)

    @property
    def queued(self) -> int:
        """Bytes that wait, heads of whole packets included."""
        with self._turn:
            n: int = lib.ssb_lane_queued(self._c)
        return n

    @property
    def taken(self) -> int:
        """Bytes sealed so far."""
        with self._turn:
            n: int = lib.ssb_lane_taken(self._c)
        return n

    @property
    def put(self) -> int:
        """Bytes ever queued."""
        with self._turn:
            n: int = lib.ssb_lane_put(self._c)
        return n

    @property
    def full(self) -> bool:
        """True while a write would be refused."""
        with self._turn:
            return bool(lib.ssb_lane_full(self._c))

    def clear(self) -> None:
        """Drop the waiting bytes, at a packet boundary."""
        with self._turn:
            lib.ssb_lane_clear(self._c)

    def close(self) -> None:
        """Drop the waiting bytes and leave the link; bytes that inlets still bring are dropped too."""
        with self._turn:
            lib.ssb_lane_close(self._c)
            if self._link._lanes is not None:
                self._link._lanes.discard(self)
                self._link._lanes = self._link._lanes or None


class Inlet:
    """The route of packets that arrive on `link` for `req`.

    They go to `lane` (of another link of the same hub), or, without one, are delivered as EV_CHUNK events.
    """

    __slots__ = ("__weakref__", "_c", "_link", "lane")

    def __init__(self, link: Link, req: int, lane: Lane | None) -> None:
        if lane is not None and lane._link._hub is not link._hub:
            raise ValueError("an inlet and its lane need one hub")
        self.lane = lane  # kept alive: C follows it
        self._link = link
        self._c = ffi.new("ssb_inlet *")
        with link._hub._turn:
            lib.ssb_inlet_init(self._c, link._c, req, ffi.NULL if lane is None else lane._c)
            if not link._closed:
                link._inlets = link._inlets or set()
                link._inlets.add(self)

    def close(self) -> None:
        """Forget the inlet; the rest of a packet it was busy with is skipped."""
        with self._link._hub._turn:
            lib.ssb_inlet_close(self._c)
            if self._link._inlets is not None:
                self._link._inlets.discard(self)
                self._link._inlets = self._link._inlets or None


def _decode(packed: Any) -> list[Event]:
    events: list[Event] = []
    at, n = 0, len(packed)
    while at < n:
        kind, flags, req, size = _EVENT.unpack_from(packed, at)
        at += 12
        events.append((kind, flags, req, packed[at : at + size]))
        at += size
    return events

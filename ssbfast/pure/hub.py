"""The pool of slabs, modelled by arithmetic: queues hold real bytes, the hub counts the slabs the engine would lend.

The numbers (`lent`, `left`) are those of the C core for the same calls; the memory is Python's own.
"""

from __future__ import annotations

from _thread import RLock
from collections import deque
from typing import Final, Protocol
from weakref import WeakValueDictionary

from ssbfast import limits
from ssbfast.engine_types import Buffer, in_turn

SLAB: Final = 4096
RESERVE: Final = 512
"""Slabs that payload never takes: one box can touch at most so many lanes."""

_WHOLE_REST: Final = -1


class OutOfMemory(Exception):
    """The pool could not even keep what the peer had sent. Never leaves this package."""


def slabs_for(n: int) -> int:
    """Return the number of slabs that n bytes need."""
    return -(-n // SLAB)


class Holder(Protocol):
    """The hub's view of a link."""

    id: int

    @property
    def slabs(self) -> int:
        """Slabs that the link holds, both ways."""


class Hub:
    """The part that the links of one event loop share: the pool, and the list of links with something to send.

    capacity: bytes of queue memory. ValueError when that is less than the reserve and one slab more.
    """

    def __init__(self, capacity: int = limits.POOL) -> None:
        self.turn = RLock()
        self._count = capacity // SLAB
        if self._count <= RESERVE:
            raise ValueError(f"a hub needs at least {(RESERVE + 1) * SLAB} bytes")
        self._dirty: dict[object, int] = {}
        self._links: WeakValueDictionary[int, Holder] = WeakValueDictionary()  # all that are not closed
        self._opened = 0
        self.lent = 0
        self.outgoing = 0  # of them, in lanes and control queues: these drain by themselves

    @property
    def free(self) -> int:
        """Slabs that are not in use, the reserve included."""
        return self._count - self.lent

    @property
    def left(self) -> int:
        """Slabs that payload may still take (the reserve not counted)."""
        return max(self.free - RESERVE, 0)

    @property
    def shut(self) -> bool:
        """True while input has to wait until something has been sent."""
        return not self.left and self.outgoing > 0

    def trim(self) -> None:
        """Give unused memory back; nothing to do here."""

    @in_turn
    def dirty(self) -> list[int]:
        """Return the ids of the links on which something was queued since the last call, and empty the list."""
        ids = list(self._dirty.values())
        self._dirty.clear()
        return ids

    @in_turn
    def heavy(self, slabs: int) -> list[tuple[int, int]]:
        """Return the ids of links that hold at least `slabs` (> 0), and what each holds; at most `HEAVY_LINKS`."""
        links = sorted(self._links.items(), reverse=True)
        found = [(link.id, link.slabs) for _, link in links if link.slabs >= slabs]
        return found[: limits.HEAVY_LINKS]

    def enter(self, link: Holder) -> int:
        """Register a link; return its number, for `leave`."""
        self._opened += 1
        self._links[self._opened] = link
        return self._opened

    def leave(self, number: int) -> None:
        """Forget a link."""
        self._links.pop(number, None)

    def mark(self, link: object, number: int) -> None:
        """Put a link on the dirty list, once."""
        self._dirty.setdefault(link, number)

    def unmark(self, link: object) -> None:
        """Take a link off the dirty list."""
        self._dirty.pop(link, None)


class Slab:
    """Up to 4096 bytes of a queue. whole: 0, the size of a whole packet that starts here, or its rest's mark."""

    __slots__ = ("data", "start", "whole")

    def __init__(self) -> None:
        self.data = bytearray()
        self.start = 0
        self.whole = 0

    @property
    def filled(self) -> int:
        return len(self.data) - self.start


class Queue:
    """First-in first-out bytes in slabs. An empty queue holds no slab.

    outgoing: it is a lane's or the control queue.
    """

    __slots__ = ("_hub", "_outgoing", "bytes", "slabs")

    def __init__(self, hub: Hub, outgoing: bool = False) -> None:
        self._hub = hub
        self._outgoing = outgoing
        self.slabs: deque[Slab] = deque()
        self.bytes = 0

    def append(self, data: Buffer) -> bool:
        """Append `data`; return False, and do nothing, when the pool has no room. Slabs of whole packets are full."""
        last = self.slabs[-1] if self.slabs else None
        room = SLAB - len(last.data) if last is not None and not last.whole else 0
        if slabs_for(max(len(data) - room, 0)) > self._hub.free:
            return False
        self.bytes += len(data)
        at = 0
        while at < len(data):
            if not room:
                self._grow()
                room = SLAB
            piece = data[at : at + room]
            self.slabs[-1].data += piece
            at += len(piece)
            room -= len(piece)
        return True

    def keep_all(self, data: Buffer) -> None:
        """Append `data`, which cannot be refused; raise OutOfMemory when the pool has no room."""
        if not self.append(data):
            raise OutOfMemory

    def peek(self, n: int) -> bytes:
        """Return the first n bytes without taking them."""
        out = bytearray()
        for slab in self.slabs:
            if len(out) == n:
                break
            out += slab.data[slab.start : slab.start + n - len(out)]
        return bytes(out)

    def drop(self, n: int) -> None:
        """Drop the first n bytes."""
        self.bytes -= n
        while n > 0:
            slab = self.slabs[0]
            k = min(n, slab.filled)
            slab.start += k
            n -= k
            if not slab.filled:
                self.slabs.popleft()
                self._count(-1)

    def take(self, n: int) -> bytes:
        """Take the first n bytes off the queue and return them."""
        out = self.peek(n)
        self.drop(n)
        return out

    def keep(self, n: int) -> None:
        """Drop all but the first n bytes."""
        self.bytes = n
        kept = 0
        for slab in self.slabs:
            if n <= 0:
                break
            kept += 1
            if n < slab.filled:
                del slab.data[slab.start + n :]
            n -= slab.filled
        while len(self.slabs) > kept:
            self.slabs.pop()
            self._count(-1)

    def move(self, other: Queue) -> None:
        """Append all of `other`, which is empty then."""
        other._hand_over(self)
        self.slabs.extend(other.slabs)
        self.bytes += other.bytes
        other.slabs.clear()
        other.bytes = 0

    def prepend(self, other: Queue) -> None:
        """Put all of `other` in front; it is empty then."""
        other._hand_over(self)
        self.slabs.extendleft(reversed(other.slabs))
        self.bytes += other.bytes
        other.slabs.clear()
        other.bytes = 0

    def mark_whole(self) -> None:
        """Mark the content as one whole packet."""
        mark = self.bytes
        for slab in self.slabs:
            slab.whole = mark
            mark = _WHOLE_REST

    def plain_run(self, most: int) -> int:
        """Return how many bytes, at most `most`, lie before a whole packet."""
        n = 0
        for slab in self.slabs:
            if slab.whole or n >= most:
                break
            n += slab.filled
        return min(n, most)

    def _grow(self) -> None:
        self.slabs.append(Slab())
        self._count(1)

    def _count(self, n: int) -> None:
        self._hub.lent += n
        if self._outgoing:
            self._hub.outgoing += n

    def _hand_over(self, to: Queue) -> None:
        """Move all slabs to another queue."""
        self._hub.outgoing += len(self.slabs) * (to._outgoing - self._outgoing)

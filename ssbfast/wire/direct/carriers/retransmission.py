"""The two halves of a stream that may move between carriers: the bytes kept for re-sending, the bytes received.

Offsets count ciphertext bytes of one direction from 0. Nothing here is ever sealed again: chunks are kept as they
were handed over, and given out again as they are. QUIC sends the same objects from where they lie
(`native/quic.py`), so that there is one copy of each byte.
"""

from __future__ import annotations

import sys
from collections import deque

from ssbfast import limits
from ssbfast.errors import CarrierError, LocalProtocolError
from ssbfast.wire.direct.memory import ROUND_TRIPS, MemoryShare


class Window:
    """W: how much may wait for its ACK. It grows with what the path can have under way, from `first` to `most` bytes.

    Only a sender that had to wait for room has a use for more: W doubles when from then on all of it is acknowledged
    within two round trips. ACKs come several at a time, and only the first of them finds the sender waiting.
    most: what the receiver takes; it may rise. base: up to there W grows freely, and beyond by the bytes that `share`
    gives, if there is one.
    """

    __slots__ = ("_acked", "_base", "_first", "_grown", "_share", "_since", "most", "rtt", "size")

    def __init__(self, first: int, most: int, base: int = 0, share: MemoryShare | None = None) -> None:
        self.size = first
        self.most = most
        self.rtt = 0.0
        """Seconds, of the path; 0 while it is not known."""
        self._first = first
        self._base = max(first, base)
        self._share = share
        self._grown = 0  # of `share`
        self._since: float | None = None
        self._acked = 0

    def acked(self, length: int, now: float, *, full: bool) -> None:
        """Note that so much was acknowledged. full: the sender was waiting for it."""
        if self._since is None:
            self._since, self._acked = (now if full else None), 0
            return
        self._acked += length
        if self._acked < self.size:
            return
        if now - self._since < ROUND_TRIPS * self.rtt:
            self._grow(2 * self.size)
        self._since, self._acked = (now if full else None), 0

    def shrink(self) -> None:
        """Begin anew, and give back what was taken: nothing is kept any more."""
        self.size = self._first
        self._since = None
        if self._share is not None:
            self._share.give_back(self._grown)
        self._grown = 0

    def _grow(self, wanted: int) -> None:
        wanted = min(wanted, self.most)
        if wanted <= self.size:
            return
        free = wanted if self._share is None else max(self.size, min(wanted, self._base))
        if self._share is not None and wanted > free:
            granted = self._share.take(wanted - free)
            self._grown += granted
            free += granted
        self.size = free


class Sending:
    """Our direction: rules R1, and R5 for what the peer says about it.

    window: W in bytes; most: up to where it may grow; base, share: see `Window`. sent: bytes handed over so far.
    base: the larger of our HOLD and the peer's last ACK.
    retaining: everything from `base` to `sent` is kept. since: when the oldest byte that waits for its ACK was sent.
    """

    __slots__ = ("_acked", "_chunks", "base", "retaining", "sent", "since", "window")

    def __init__(self, window: int, most: int = 0, base: int = 0, share: MemoryShare | None = None) -> None:
        self.window = Window(window, max(window, most), base, share)
        self._chunks: deque[bytes] = deque()
        self._acked = 0  # bytes of the first chunk that are acknowledged
        self.sent = 0
        self.base = 0
        self.retaining = False
        self.since: float | None = None

    @property
    def room(self) -> int:
        """Bytes that may still be sealed; negative after an overshoot."""
        return self.window.size - (self.sent - self.base) if self.retaining else sys.maxsize

    @property
    def is_acknowledged(self) -> bool:
        """True while nothing waits for an ACK."""
        return not self.retaining or self.base == self.sent

    def add(self, data: bytes, now: float) -> None:
        """Count bytes that leave, and keep them if need be. Raise LocalProtocolError far beyond `room`."""
        self.sent += len(data)
        if not self.retaining or not data:
            return
        if self.sent - self.base > self.window.size + limits.CARRIER_SLACK:
            raise LocalProtocolError("more was sealed than there was room for")
        self._chunks.append(data)
        if self.since is None:
            self.since = now

    def hold(self) -> int:
        """Keep everything from now on; return the offset for HOLD."""
        if not self.retaining:
            self.retaining = True
            self.base = self.sent
        return self.base

    def take(self, offset: int) -> None:
        """Check a TAKE. Raise CarrierError."""
        if not self.retaining or not self.base <= offset <= self.sent:
            raise CarrierError("a TAKE outside of what is held")

    def ack(self, offset: int, now: float) -> None:
        """Let go of the bytes before `offset`. Raise CarrierError."""
        if not self.retaining or not self.base < offset <= self.sent:
            raise CarrierError("an ACK that does not rise, or is beyond what was sent")
        self.window.acked(offset - self.base, now, full=self.room <= 0)
        self._acked += offset - self.base
        while self._chunks and len(self._chunks[0]) <= self._acked:
            self._acked -= len(self._chunks.popleft())
        self.base = offset
        self.since = now if offset < self.sent else None

    def after(self, offset: int) -> list[bytes]:
        """Return the kept bytes from `offset` on (`base` … `sent`), in pieces."""
        skip = offset - self.base + self._acked
        pieces = []
        for chunk in self._chunks:
            if skip < len(chunk):
                pieces.append(chunk[skip:] if skip else chunk)
                skip = 0
            else:
                skip -= len(chunk)
        return pieces

    def drop(self) -> None:
        """Keep nothing any more (R7)."""
        self._chunks.clear()
        self._acked = 0
        self.base = self.sent
        self.retaining = False
        self.since = None
        self.window.shrink()


class Receiving:
    """The peer's direction: rules R3, R5 and R6.

    window: W in bytes, as far as ACKs go; most: what a sender may have grown it to, as we said or from the start. It is
        no promise of memory: a direct path's own credit bounds what is not read, and so does a tunnel's.
    got: bytes received in order. consumed: of those, taken by S.
    held: the peer's last HOLD, None before the first. acked: the larger of that and our last ACK.
    """

    __slots__ = ("_due", "_most", "_window", "acked", "consumed", "got", "held")

    def __init__(self, window: int, most: int = 0) -> None:
        self._window = window
        self._most = max(window, most)
        self._due: float | None = None
        self.got = 0
        self.consumed = 0
        self.acked = 0
        self.held: int | None = None

    def hold(self, offset: int) -> None:
        """Note the peer's HOLD. Raise CarrierError when it is below an earlier one."""
        if self.held is not None and offset < self.held:
            raise CarrierError("a HOLD below an earlier one")
        self.held = offset
        self.acked = max(self.acked, offset)

    @property
    def ready(self) -> bool:
        """True when the peer can re-send everything that we have not received (R3)."""
        return self.held is not None and self.got >= self.held

    @property
    def caught_up(self) -> bool:
        """True when the session has consumed all that came before the peer's HOLD."""
        return self.held is not None and self.consumed >= self.held

    def credited(self, length: int) -> None:
        """Count received bytes that the peer keeps until we ACK them. Raise CarrierError above W + 64 KiB (R5)."""
        self.got += length
        if self.got - self.acked > self._most + limits.CARRIER_SLACK:
            raise CarrierError("more was sent without ACK than agreed")

    def consume(self, length: int) -> None:
        """Note that the session took so many bytes more. Raise LocalProtocolError for more than it was given."""
        if not 0 <= length <= self.got - self.consumed:
            raise LocalProtocolError("more was consumed than delivered")
        self.consumed += length

    @property
    def due(self) -> float | None:
        """Return the time when `ack` has something to send."""
        return self._due

    def ack(self, now: float, at_once: bool = False) -> int | None:
        """Return the offset for an ACK, if one is due (R6).

        One is due when W/4 was consumed, when 50 ms have passed, or for anything at all if `at_once`.
        """
        fresh = self.consumed - self.acked
        if fresh <= 0:
            return None
        if self._due is None:
            self._due = now + limits.ACK_SECONDS
        if not at_once and fresh < self._window // 4 and now < self._due:
            return None
        self._due = None
        self.acked = self.consumed
        return self.acked

    def stop_acks(self) -> None:
        """Send no ACKs: there is nothing to write them on."""
        self._due = None

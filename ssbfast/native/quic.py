"""QUIC's 1-RTT in C: `Engine`, one connection after its handshake. `csrc/ssbfast.h` says how it behaves.

No I/O and no clock: datagrams go in and out as trains, time (microseconds) is an argument. An engine belongs to one
thread at a time.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from ssbfast.native.core import aead, anonymous, ffi, lib

NEVER: Final[int] = lib.SSB_QUIC_NEVER
NEW_ID: Final[int] = lib.SSB_QUIC_NEW_ID
"""Random bytes of a connection id and its token."""

_RETURNED: Final[int] = lib.SSB_QUIC_RETURNED
TRAIN: Final = 65_507
"""Bytes of a train at the most: what one call of the system takes."""


class Kind(IntEnum):
    """What an event says."""

    OPENED = lib.SSB_QUIC_OPENED
    READABLE = lib.SSB_QUIC_READABLE
    WRITABLE = lib.SSB_QUIC_WRITABLE
    RESET = lib.SSB_QUIC_RESET
    STOPPED = lib.SSB_QUIC_STOPPED
    KEYS = lib.SSB_QUIC_KEYS
    PATH = lib.SSB_QUIC_PATH
    MOVED = lib.SSB_QUIC_MOVED
    DATAGRAM = lib.SSB_QUIC_DATAGRAM
    ID_SHORT = lib.SSB_QUIC_ID_SHORT
    CLOSED = lib.SSB_QUIC_CLOSED


class By(IntEnum):
    """Who has closed a connection: `stream` of a CLOSED event."""

    US = lib.SSB_QUIC_BY_US
    PEER = lib.SSB_QUIC_BY_PEER
    ERROR = lib.SSB_QUIC_BY_ERROR
    PEER_ERROR = lib.SSB_QUIC_BY_PEER_ERROR
    SILENCE = lib.SSB_QUIC_BY_SILENCE


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one connection: `ssb_quic_limits`."""

    packets: int = 16_384
    streams: int = 64
    segments: int = 1024
    window: int = 1 << 20
    window_all: int = 1 << 21
    peer_bidi: int = 16
    peer_uni: int = 4
    datagram: int = 1400
    datagram_most: int = 1472
    datagrams: int = 1 << 16
    forged: int = 1 << 36
    window_most: int = 0
    window_all_most: int = 0


@dataclass(frozen=True, slots=True)
class Secrets:
    """Keys of one generation, both ways."""

    send_key: bytes = field(repr=False)
    send_iv: bytes = field(repr=False)
    receive_key: bytes = field(repr=False)
    receive_iv: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ConnectionId:
    """One connection id, with the token of its stateless reset if there is one."""

    number: int
    id: bytes
    token: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream at a quiet moment: `ssb_quic_stream`."""

    id: int
    sent: int
    send_max: int
    received: int
    receive_max: int
    send_done: bool
    receive_done: bool


@dataclass(frozen=True, slots=True)
class Handover:
    """What a handshake came to: `ssb_quic_handover`, whose plain numbers are `numbers` by their names."""

    keys: Secrets
    next: Secrets
    send_hp: bytes = field(repr=False)
    receive_hp: bytes = field(repr=False)
    random: bytes = field(repr=False)
    received: tuple[tuple[int, int], ...]
    remote: tuple[ConnectionId, ...]
    local: tuple[ConnectionId, ...]
    streams: tuple[Stream, ...]
    numbers: dict[str, int]


class Engine:
    """One connection. ValueError where the handover does not fit the limits.

    now: microseconds, as in all calls.

    What is written is not copied: C reads it where it lies, again and again, until the other end has acknowledged it.
    `_lent` keeps it for so long. C says what it is done with by an event, which `event` hears for us.
    """

    def __init__(self, handover: Handover, bounds: Limits, now: int) -> None:
        names = [name for name, _ in ffi.typeof("ssb_quic_limits").fields]
        limits = ffi.new("ssb_quic_limits *", [getattr(bounds, name) for name in names])
        size = lib.ssb_quic_size(limits)
        if size == 0:
            raise ValueError("these limits make no sense")
        self._memory = anonymous(size)
        c, kept = _fill(handover)
        q = lib.ssb_quic_init(ffi.from_buffer("uint8_t[]", self._memory), aead, limits, c, now)
        _wipe(c)
        del kept
        if not q:
            raise ValueError("the handover does not fit the limits")
        self._q = q
        self._out = ffi.new("uint8_t[]", TRAIN)
        self._train = memoryview(ffi.buffer(self._out))
        self._segment = ffi.new("size_t *")
        self._path = ffi.new("uint32_t *")
        self._event = ffi.new("ssb_quic_event *")
        self._end = ffi.new("int *")
        self._lent: defaultdict[int, deque[Any]] = defaultdict(deque)  # of each stream, the oldest first

    def wipe(self) -> None:
        """Forget keys and texts, and let go of what was written. The engine is dead."""
        lib.ssb_quic_wipe(self._q)
        self._lent.clear()

    def receive(self, data: bytearray | memoryview, now: int, segment: int = 0, path: int = 0) -> bool:
        """Take datagrams, `segment` bytes each (0: one). `data` is scratch from then on. Return whether it goes on."""
        memory = ffi.from_buffer("uint8_t[]", data, require_writable=True)
        return lib.ssb_quic_receive(self._q, path, memory, len(data), segment or len(data), now) == lib.SSB_OK

    def send(self, now: int) -> tuple[memoryview, int, int] | None:
        """Return the next train, None when nothing may be sent now: datagrams one behind the other, how long each is
        but for the last, and the path. The bytes are good until the next call."""
        n = lib.ssb_quic_send(self._q, self._out, TRAIN, self._segment, self._path, now)
        return (self._train[:n], self._segment[0], self._path[0]) if n else None

    @property
    def newest(self) -> int:
        """Largest packet number received."""
        n: int = lib.ssb_quic_newest(self._q)
        return n

    @property
    def rtt(self) -> int:
        """Smoothed round trip in microseconds; 0 while it is not known."""
        n: int = lib.ssb_quic_rtt(self._q)
        return n

    @property
    def mtu(self) -> int:
        """UDP payload of the longest datagrams that are sent now."""
        n: int = lib.ssb_quic_mtu(self._q)
        return n

    @property
    def datagram_room(self) -> int:
        """Bytes of the longest unreliable datagram that can go now."""
        n: int = lib.ssb_quic_datagram_room(self._q)
        return n

    def event(self) -> tuple[int, int, int] | None:
        """Take one event: its kind, and a stream and a value as `csrc/ssbfast.h` says of the kind."""
        event = self._event
        while lib.ssb_quic_take_event(self._q, event):
            if event.kind != _RETURNED:
                return event.kind, event.stream, event.value
            self._let_go(event.stream, event.value)
        return None

    @property
    def next(self) -> int:
        """When `timer` is due; NEVER for never."""
        at: int = lib.ssb_quic_next(self._q)
        return at

    def timer(self, now: int) -> None:
        """Do what is due by now; then `send`."""
        lib.ssb_quic_timer(self._q, now)

    def open(self, *, uni: bool = False) -> int | None:
        """Open a stream; None while the peer or the limits allow none."""
        stream: int = lib.ssb_quic_open(self._q, uni)
        return stream if stream >= 0 else None

    def is_open(self, stream: int) -> bool:
        """Return whether a stream is not yet over both ways."""
        return bool(lib.ssb_quic_is_open(self._q, stream))

    def write(self, stream: int, data: bytes | bytearray, *, end: bool = False) -> int:
        """Return how much was taken; `end` counts when all of it was. What was taken is kept until it has arrived.

        No view is taken: the collector of cycles may clear one that is lent, which crashes the process.
        """
        if type(data) not in (bytes, bytearray):
            raise TypeError("no view can be lent")
        memory = ffi.from_buffer("uint8_t[]", data)
        lent = self._lent[stream]
        lent.append(memory)  # before C knows it: whatever interrupts us, it may be kept too long, never too short
        n: int = lib.ssb_quic_lend(self._q, stream, memory, len(data), end)
        if not n:
            lent.pop()
            self._forget(stream, lent)
        return n

    def room(self, stream: int) -> int:
        """Return how much a write would take, memory allowing."""
        n: int = lib.ssb_quic_room(self._q, stream)
        return n

    def read(self, stream: int, most: int = TRAIN) -> tuple[bytes, bool]:
        """Return what is there, up to `most` bytes, and whether that was the last of it."""
        n = lib.ssb_quic_read(self._q, stream, self._out, min(most, TRAIN), self._end)
        return bytes(self._train[:n]), bool(self._end[0])

    def credit(self, stream: int, unread: int, window: int) -> None:
        """Give credit for `window` bytes beyond those that were used up: all that were read but for `unread`."""
        lib.ssb_quic_credit(self._q, stream, unread, window)

    def credit_all(self, window: int) -> None:
        """Give credit for so many bytes of all streams beyond what was read."""
        lib.ssb_quic_credit_all(self._q, window)

    def waiting(self, stream: int) -> int | None:
        """Return the offset of the oldest byte that was sent and not acknowledged."""
        at = lib.ssb_quic_waiting(self._q, stream)
        return None if at == NEVER else at

    def reset(self, stream: int, code: int) -> None:
        """Give up sending."""
        lib.ssb_quic_reset(self._q, stream, code)

    def stop(self, stream: int, code: int) -> None:
        """Give up reading."""
        lib.ssb_quic_stop(self._q, stream, code)

    def ping(self) -> None:
        """Send something that wants an acknowledgement."""
        lib.ssb_quic_ping(self._q)

    def close(self, code: int) -> None:
        """Close the connection; `send` gives the farewell."""
        lib.ssb_quic_close(self._q, code)

    def datagram(self, data: bytes) -> bool:
        """Queue an unreliable datagram; return False when the oldest were dropped for it.

        Raises ValueError for one that is too long.
        """
        code = lib.ssb_quic_datagram(self._q, data, len(data))
        if code == lib.SSB_E_PACKET:
            raise ValueError("a datagram of this length never fits")
        return bool(code == lib.SSB_OK)

    def take_datagram(self) -> bytes | None:
        """Take the oldest datagram of the peer."""
        n = lib.ssb_quic_take_datagram(self._q, self._out, TRAIN)
        return bytes(ffi.buffer(self._out, n)) if n >= 0 else None

    def keys(self, following: Secrets) -> None:
        """Give the generation behind the one in use: the answer to a KEYS event."""
        c = ffi.new("ssb_quic_secrets *")
        _fill_secrets(c, following)
        lib.ssb_quic_keys(self._q, c)
        _wipe(c)

    def challenge(self, path: int, random: bytes) -> None:
        """Give 8 random bytes: the answer to a PATH event."""
        lib.ssb_quic_challenge(self._q, path, random)

    def new_id(self, random: bytes) -> None:
        """Give `NEW_ID` random bytes: the answer to an ID_SHORT event."""
        lib.ssb_quic_new_id(self._q, random)

    def figures(self) -> dict[str, int]:
        """Return what it counts and estimates: `ssb_quic_figures`."""
        c = ffi.new("ssb_quic_figures *")
        lib.ssb_quic_look(self._q, c)
        return {name: getattr(c, name) for name, _ in ffi.typeof("ssb_quic_figures").fields}

    def _let_go(self, stream: int, count: int) -> None:
        lent = self._lent[stream]
        for _ in range(count):
            lent.popleft()
        self._forget(stream, lent)

    def _forget(self, stream: int, lent: deque[Any]) -> None:
        if not lent:
            del self._lent[stream]


def _wipe(c: Any) -> None:
    aead.wipe(c, ffi.sizeof(c[0]))


def _fill_secrets(c: Any, secrets: Secrets) -> None:
    for name in ("send_key", "send_iv", "receive_key", "receive_iv"):
        ffi.memmove(getattr(c, name), getattr(secrets, name), len(getattr(c, name)))


def _fill_ids(c: Any, ids: tuple[ConnectionId, ...]) -> None:
    if len(ids) > lib.SSB_QUIC_IDS:
        raise ValueError("too many connection ids")
    for entry, known in zip(c, ids, strict=False):
        entry.number, entry.n, entry.has_token = known.number, len(known.id), bool(known.token)
        ffi.memmove(entry.id, known.id, len(known.id))
        ffi.memmove(entry.token, known.token, len(known.token))


def _fill(handover: Handover) -> tuple[Any, list[Any]]:
    """Return the C struct, and what it points to."""
    c = ffi.new("ssb_quic_handover *")
    ranges = ffi.new("ssb_quic_range[]", list(handover.received))
    streams = ffi.new("ssb_quic_stream[]", [_numbers(stream) for stream in handover.streams])
    _fill_secrets(c.keys, handover.keys)
    _fill_secrets(c.next, handover.next)
    ffi.memmove(c.send_hp, handover.send_hp, 32)
    ffi.memmove(c.receive_hp, handover.receive_hp, 32)
    ffi.memmove(c.random, handover.random, 32)
    c.received, c.received_n = ranges, len(handover.received)
    c.streams, c.streams_n = streams, len(handover.streams)
    _fill_ids(c.remote, handover.remote)
    _fill_ids(c.local, handover.local)
    c.remote_n, c.local_n = len(handover.remote), len(handover.local)
    for name, value in handover.numbers.items():
        setattr(c, name, value)
    return c, [ranges, streams]


def _numbers(stream: Stream) -> tuple[int, ...]:
    return tuple(int(getattr(stream, name)) for name in stream.__slots__)

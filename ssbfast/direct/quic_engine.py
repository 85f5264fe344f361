"""QUIC after its handshake, by the engine in C: what `Connection` does, train by train instead of datagram by datagram.

aioquic makes the handshake and carries the proofs. At the first quiet moment after them `FastConnection` takes the
connection over (`quic_handover`); the wire stays QUIC v1, and the other end need not do the same.

SSBFAST_DIRECT chooses: `auto`, the engine where it can; `aioquic`, never; `native`, or no direct path at all.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Iterator
from typing import Final

from ssbfast import limits
from ssbfast.direct.engine_choice import engine_choice
from ssbfast.direct.path_figures import PathFigures
from ssbfast.direct.quic_connection import Connection
from ssbfast.direct.udp import Address
from ssbfast.errors import DirectUnavailableError, LocalProtocolError

try:
    from aioquic.quic import events
    from aioquic.quic.events import ConnectionTerminated, QuicEvent
except ImportError as error:
    raise DirectUnavailableError from error

try:
    from ssbfast.direct.quic_handover import Generations, is_fit, is_quiet, leave, take_over
    from ssbfast.native.quic import NEVER, NEW_ID, By, Engine, Kind, Limits
except (ImportError, DirectUnavailableError):  # no core, or an aioquic that it does not know
    HAS_ENGINE = False
else:
    HAS_ENGINE = True

_UNIDIRECTIONAL: Final = 2
_CHALLENGE: Final = 8
"""Random bytes of a PATH_CHALLENGE."""
_SILENCE: Final = 1
"""Code of a connection from which nothing has come for too long."""
_PATHS: Final = 8
"""Addresses that a caller may have come from lately: each has a number for the engine."""


def may_take_over(connection: Connection) -> bool:
    """Return whether the engine is here and wanted, and can ever go on with this connection."""
    return HAS_ENGINE and engine_choice() != "aioquic" and is_fit(connection)


def hand_over(connection: Connection, now: float) -> FastConnection | None:
    """Return the engine's connection in aioquic's place; None while that is not quiet, or cannot be taken over."""
    remote = connection.get_peer_address()
    if remote is None or not is_quiet(connection):
        return None
    try:
        return FastConnection(connection, remote, now)
    except (ValueError, OSError):  # the second: no address space
        return None


class FastConnection:
    """One QUIC connection after its handshake.

    connection: aioquic's, quiet; it is left behind. remote: where the other end is. now: seconds, as in all calls.
    """

    def __init__(self, connection: Connection, remote: Address, now: float) -> None:
        self._generations = Generations(connection)
        streams = 2 * limits.FORWARDS_PER_PEER + 4
        bounds = Limits(
            packets=limits.QUIC_PACKETS,
            streams=streams,
            segments=limits.QUIC_SEGMENTS,
            window=limits.DIRECT_FORWARD_WINDOW,
            window_all=limits.DIRECT_WINDOW,
            window_most=limits.DIRECT_STREAM_WINDOW_MAX,
            window_all_most=limits.DIRECT_WINDOW_MAX,
            peer_bidi=limits.FORWARDS_PER_PEER + 1,
            peer_uni=1,
            datagram=connection._max_datagram_size,
            datagram_most=limits.QUIC_DATAGRAM_IPV6 if ":" in remote[0] else limits.QUIC_DATAGRAM_IPV4,
            datagrams=limits.QUIC_DATAGRAMS,
        )
        self._engine = Engine(take_over(connection, self._generations), bounds, _micros(now))
        leave(connection)
        self.host_cid = connection.host_cid
        self.original_destination_connection_id = connection.original_destination_connection_id
        self._count = itertools.count(1)
        self._numbers = {remote: 0}
        self._remotes = {0: remote}
        self._remote = remote
        self._events: deque[QuicEvent] = deque()
        self._over: dict[int, tuple[bytearray, bool]] = {}
        self._sending: set[int] = set()
        self._next: int | None = None  # the stream that is opened next, once the other end allows it
        self._left: frozenset[int] = frozenset()  # streams that were open when all was wiped
        self._pinged: int | None = None
        self.closed: ConnectionTerminated | None = None

    # ------------------------------------------------------------ datagrams

    def receive(self, memory: bytearray | memoryview, segment: int, source: Address, now: float) -> None:
        """Take datagrams that came from one address, `segment` bytes each but for the last. `memory` is scratch."""
        number = self._numbers.get(source)
        if number is not None:
            self._engine.receive(memory, _micros(now), segment, number)
            return
        number, newest = self._enter(source), self.newest
        self._engine.receive(memory, _micros(now), segment, number)
        if self.newest == newest:  # a stranger, which must not take the place of an address that the caller has
            del self._numbers[source], self._remotes[number]

    def trains(self, now: float) -> Iterator[tuple[memoryview, int, Address]]:
        """Return what is to be sent: trains, each with the length of its datagrams and where it goes.

        A train is good until the next one is asked for.
        """
        at = _micros(now)
        while (train := self._engine.send(at)) is not None:
            data, segment, path = train
            yield data, segment, self._remotes.get(path, self._remote)

    def get_timer(self) -> float | None:
        at = self._engine.next
        return None if at == NEVER else at / 1_000_000

    def handle_timer(self, now: float) -> None:
        self._engine.timer(_micros(now))

    def close(self, error_code: int) -> None:
        """End it; the farewell is the next train."""
        self._engine.close(error_code)

    def wipe(self) -> None:
        """Forget keys and texts. What was open stays known."""
        self._left = frozenset(stream for stream in self._sending if self._engine.is_open(stream))
        self._engine.wipe()
        self._over.clear()

    # ------------------------------------------------------------ streams

    def can_open(self) -> bool:
        """Return whether the other end allows one more stream now."""
        if self._next is None:
            self._next = self._engine.open()
        return self._next is not None

    def get_next_available_stream_id(self) -> int:
        """Open a stream. Raises LocalProtocolError while none `can_open`."""
        if not self.can_open() or (stream := self._next) is None:
            raise LocalProtocolError("the other end allows no more streams")
        self._next = None
        return stream

    def send_stream_data(self, stream: int, data: bytes, end_stream: bool = False) -> None:
        """Send bytes; what the engine has no room for waits here."""
        if stream not in self._sending:
            self._sending.add(stream)
            if stream & _UNIDIRECTIONAL and not self._engine.is_open(stream):
                self._engine.open(uni=True)  # the only one that there is: the session's
        waiting = self._over.get(stream)
        if waiting is None:
            taken = self._engine.write(stream, data, end=end_stream)
            if taken == len(data) or not self._engine.is_open(stream):
                return
            data = data[taken:]
        before, ended = waiting or (bytearray(), False)
        before += data
        self._over[stream] = before, ended or end_stream

    @property
    def datagram_room(self) -> int:
        """Bytes of the longest datagram that a packet takes; 0 where the other end knows no datagrams."""
        return self._engine.datagram_room

    def send_datagram(self, data: bytes) -> bool:
        """Queue a datagram, of `datagram_room` bytes at most; return False when the oldest ones were dropped for it."""
        return self._engine.datagram(data)

    def reset_stream(self, stream: int, code: int) -> None:
        self._over.pop(stream, None)
        self._engine.reset(stream, code)

    def stop_stream(self, stream: int, code: int) -> None:
        self._engine.stop(stream, code)

    def send_ping(self, _uid: int) -> None:
        self._pinged = self.newest
        self._engine.ping()

    def is_open(self, stream: int) -> bool:
        return stream in self._left or self._engine.is_open(stream)

    def widen(self) -> None:
        """Do nothing: the engine gives its first credit from the beginning."""

    def credit(self, stream: int, unread: int, window: int) -> None:
        """Give credit of `window` bytes beyond those that were used up: all that were delivered but for `unread`."""
        self._engine.credit(stream, unread, window)

    def credit_all(self, window: int) -> None:
        """Give credit of so many bytes of all streams beyond what was delivered."""
        self._engine.credit_all(window)

    # ------------------------------------------------------------ what it knows

    @property
    def newest(self) -> int:
        """Highest number of an authentic packet that has come."""
        return self._engine.newest

    @property
    def rtt(self) -> float | None:
        """Smoothed round trip in seconds."""
        return self._engine.rtt / 1_000_000 or None

    @property
    def figures(self) -> PathFigures:
        """What it counts, since the engine goes on."""
        found = self._engine.figures()
        return PathFigures("native", self._engine.mtu, found["sent"], found["lost"])

    @property
    def unsent(self) -> int:
        """Bytes of all streams that were written and have not been sent once."""
        return self._engine.figures()["unsent"] + sum(len(data) for data, _ in self._over.values())

    @property
    def held(self) -> int:
        """Bytes received that wait for a gap or to be read."""
        return self._engine.figures()["unread"]

    def waiting(self) -> dict[int, int]:
        """Return the offset of the oldest byte that was sent and not acknowledged, for each stream that has one."""
        self._sending = {stream for stream in self._sending if self.is_open(stream)}
        found = ((stream, self._engine.waiting(stream)) for stream in self._sending)
        return {stream: at for stream, at in found if at is not None}

    # ------------------------------------------------------------ events

    def next_event(self) -> QuicEvent | None:
        """Return the next event, as aioquic says it; None when there is none."""
        if not self._events:
            self._collect()
        return self._events.popleft() if self._events else None

    def _collect(self) -> None:
        engine = self._engine
        if self._pinged is not None and self.newest != self._pinged:
            self._pinged = None
            self._events.append(events.PingAcknowledged(uid=0))
        while (happening := engine.event()) is not None:
            kind, stream, value = happening
            if kind <= Kind.STOPPED:
                self._on_stream(kind, stream, value)
            else:
                self._on_connection(kind, stream, value)

    def _on_stream(self, kind: int, stream: int, value: int) -> None:
        match kind:
            case Kind.READABLE:
                self._read(stream)
            case Kind.WRITABLE:
                self._go_on(stream)
            case Kind.RESET:
                self._events.append(events.StreamReset(error_code=value, stream_id=stream))
            case Kind.STOPPED:
                self._over.pop(stream, None)
                self._events.append(events.StopSendingReceived(error_code=value, stream_id=stream))

    def _on_connection(self, kind: int, by: int, value: int) -> None:
        match kind:
            case Kind.KEYS:
                self._engine.keys(self._generations.following())
            case Kind.PATH:
                self._engine.challenge(value, os.urandom(_CHALLENGE))
            case Kind.ID_SHORT:
                self._engine.new_id(os.urandom(NEW_ID))
            case Kind.MOVED:
                self._remote = self._remotes.get(value, self._remote)
            case Kind.DATAGRAM:
                self._read_datagrams()
            case Kind.CLOSED:
                code = _SILENCE if by == By.SILENCE else value
                self.closed = ConnectionTerminated(error_code=code, frame_type=None, reason_phrase="")

    def _read(self, stream: int) -> None:
        while True:
            data, end = self._engine.read(stream)
            if not data and not end:
                return
            self._events.append(events.StreamDataReceived(data=data, end_stream=end, stream_id=stream))

    def _read_datagrams(self) -> None:
        while (data := self._engine.take_datagram()) is not None:
            self._events.append(events.DatagramFrameReceived(data=data))

    def _go_on(self, stream: int) -> None:
        waiting = self._over.pop(stream, None)
        if waiting is not None:
            data, end = waiting
            self.send_stream_data(stream, bytes(data), end)

    def _enter(self, source: Address) -> int:
        """Give an address a number: a caller has moved, or somebody says so."""
        number = self._numbers[source] = next(self._count)
        self._remotes[number] = source
        for old in [n for n, address in self._remotes.items() if address != self._remote][:-_PATHS]:
            del self._numbers[self._remotes.pop(old)]
        return number


def _micros(seconds: float) -> int:
    return int(seconds * 1_000_000)

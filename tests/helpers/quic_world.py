"""Two ends of a QUIC connection and the network between them, on a virtual clock.

`World(seed, network)` makes a real handshake of two aioquic connections in memory; `take_over` then puts the engine in
C in the place of one or both. From then on datagrams are lost, delayed, duplicated and reordered as `network` says, the
same for the same seed. Time is in microseconds and passes by events alone.
"""

from __future__ import annotations

import functools
import hashlib
import heapq
import math
import os
import random
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.tls import CipherSuite, Epoch

from ssbfast.direct import certificates
from ssbfast.direct.quic_handover import Generations, is_fit, is_quiet, leave, take_over
from ssbfast.native.quic import NEVER, NEW_ID, By, Engine, Kind, Limits

SECOND: Final = 1_000_000
PROBES: Final = 2
START: Final = 1_000 * SECOND
CALLER, TARGET = 0, 1
ADDRESSES: Final = (("192.0.2.1", 1), ("192.0.2.2", 2))
BOUNDS: Final = Limits(
    packets=1024, streams=16, segments=64, window=1 << 18, window_all=1 << 19, peer_bidi=4, peer_uni=4
)


@dataclass(frozen=True)
class Direction:
    """What happens to datagrams one way."""

    loss: float = 0.0
    delay: int = 10_000
    jitter: int = 0
    """Up to so many microseconds more: more than the distance of two datagrams reorders them."""
    twice: float = 0.0
    rate: float = 0.0
    """Bytes per microsecond that pass; 0: as many as come."""
    queue: int = 1 << 18
    """Bytes that wait for that; more are dropped."""
    longest: int = 65_535
    """Longer datagrams vanish."""


@dataclass(frozen=True)
class Network:
    there: Direction = Direction()
    back: Direction = Direction()


class End(Protocol):
    """One end as the world drives it."""

    def receive(self, data: bytes, now: int, path: int) -> None: ...
    def send(self, now: int) -> list[tuple[bytes, int]]: ...
    def next(self) -> int: ...
    def timer(self, now: int) -> None: ...


class Streams:
    """What an end was told to send and what it has got. Texts are made of their number alone."""

    def __init__(self) -> None:
        self.got: dict[int, bytearray] = {}
        self.ended: set[int] = set()
        self.resets: dict[int, int] = {}
        self.stopped: dict[int, int] = {}
        self.datagrams: list[bytes] = []
        self.closed: tuple[int, bool] | None = None
        """Code, and whether it was the application's."""


class AioquicEnd(Streams):
    def __init__(self, connection: QuicConnection) -> None:
        super().__init__()
        self.quic = connection
        self.handshaken = False
        self.updated_at = self.updates = 0

    def receive(self, data: bytes, now: int, path: int) -> None:
        host, port = ADDRESSES[TARGET if self.quic._is_client else CALLER]
        address = (host, port) if self.quic._is_client else (host, port + path)
        self.quic.receive_datagram(data, address, now / SECOND)
        self.take_events()

    def send(self, now: int) -> list[tuple[bytes, int]]:
        if not self.quic._network_paths:  # the target, before anything has come
            return []
        out = [(data, 0) for data, _ in self.quic.datagrams_to_send(now / SECOND)]
        self.take_events()
        return out

    def next(self) -> int:
        at = self.quic.get_timer()
        return NEVER if at is None else math.ceil(at * SECOND)

    def timer(self, now: int) -> None:
        at = self.quic.get_timer()
        if at is not None and at <= now / SECOND + 1e-7:
            self.quic.handle_timer(now / SECOND + 1e-6)  # its sums of floats may be a little later than its timer
        self.take_events()

    def take_events(self) -> None:
        while (event := self.quic.next_event()) is not None:
            if isinstance(event, events.StreamDataReceived):
                self.got.setdefault(event.stream_id, bytearray()).extend(event.data)
                if event.end_stream:
                    self.ended.add(event.stream_id)
            elif isinstance(event, events.StreamReset):
                self.resets[event.stream_id] = event.error_code
            elif isinstance(event, events.StopSendingReceived):
                self.stopped[event.stream_id] = event.error_code
            elif isinstance(event, events.DatagramFrameReceived):
                self.datagrams.append(event.data)
            elif isinstance(event, events.HandshakeCompleted):
                self.handshaken = True
        if self.closed is None and self.quic._close_event is not None:
            close = self.quic._close_event
            self.closed = close.error_code, close.frame_type is None

    def update_keys(self) -> bool:
        """Begin an update if the one before has been acknowledged, which aioquic does not look for."""
        if self.quic._spaces[Epoch.ONE_RTT].largest_acked_packet < self.updated_at:
            return False
        self.updated_at = self.quic._packet_number
        self.quic.request_key_update()
        self.quic.send_ping(self.updated_at)  # it forgets its old keys, so the other end has to hear of the new ones
        self.updates += 1
        return True

    def open(self, *, uni: bool = False) -> int:
        stream = self.quic.get_next_available_stream_id(is_unidirectional=uni)
        self.quic.send_stream_data(stream, b"")
        return stream

    def write(self, stream: int, data: bytes, *, end: bool) -> None:
        self.quic.send_stream_data(stream, data, end)


class EngineEnd(Streams):
    def __init__(self, engine: Engine, generations: Generations, batch: random.Random) -> None:
        super().__init__()
        self.engine = engine
        self.generations = generations
        self.batch = batch
        self.pending: dict[int, tuple[bytes, bool]] = {}
        self.opened: list[int] = []
        self.moved: list[int] = []
        self.reading = True

    def receive(self, data: bytes, now: int, path: int) -> None:
        self.engine.receive(bytearray(data), now, 0, path)
        self.take_events()

    def receive_train(self, datagrams: list[bytes], now: int) -> None:
        """All are equally long, but for the last, which may be shorter."""
        self.engine.receive(bytearray(b"".join(datagrams)), now, len(datagrams[0]))
        self.take_events()

    def send(self, now: int) -> list[tuple[bytes, int]]:
        out: list[tuple[bytes, int]] = []
        before = self.engine.figures()
        while (train := self.engine.send(now)) is not None:
            data, segment, path = train
            assert segment <= BOUNDS.datagram_most
            out.extend((bytes(data[at : at + segment]), path) for at in range(0, len(data), segment))
        after = self.engine.figures()
        most = max(before["in_flight"], before["congestion_window"]) + PROBES * BOUNDS.datagram_most
        assert after["in_flight"] <= most, "more than the window and its probes is in flight"
        return out

    def next(self) -> int:
        return self.engine.next

    def timer(self, now: int) -> None:
        self.engine.timer(now)
        self.take_events()

    def take_events(self) -> None:
        while (event := self.engine.event()) is not None:
            kind, stream, value = event
            if kind in (Kind.OPENED, Kind.READABLE, Kind.WRITABLE, Kind.RESET, Kind.STOPPED):
                self.take_of_stream(kind, stream, value)
            elif kind == Kind.KEYS:
                self.engine.keys(self.generations.following())
            elif kind == Kind.PATH:
                self.engine.challenge(value, os.urandom(8))
            elif kind == Kind.ID_SHORT:
                self.engine.new_id(os.urandom(NEW_ID))
            elif kind == Kind.MOVED:
                self.moved.append(value)
            elif kind == Kind.DATAGRAM:
                while (datagram := self.engine.take_datagram()) is not None:
                    self.datagrams.append(datagram)
            elif kind == Kind.CLOSED:
                self.closed = value, stream == By.PEER

    def take_of_stream(self, kind: int, stream: int, value: int) -> None:
        if kind == Kind.OPENED:
            self.opened.append(stream)
        elif kind == Kind.READABLE and self.reading:
            self.read(stream)
        elif kind == Kind.WRITABLE:
            self.go_on(stream)
        elif kind == Kind.RESET:
            self.resets[stream] = value
        elif kind == Kind.STOPPED:
            self.stopped[stream] = value

    def read(self, stream: int) -> None:
        while True:
            data, end = self.engine.read(stream, self.batch.randrange(1, 20_000))
            self.got.setdefault(stream, bytearray()).extend(data)
            if end:
                self.ended.add(stream)
            if not data or end:
                return

    def open(self, *, uni: bool = False) -> int:
        stream = self.engine.open(uni=uni)
        assert stream is not None
        return stream

    def write(self, stream: int, data: bytes, *, end: bool) -> None:
        assert stream not in self.pending
        self.pending[stream] = data, end
        self.go_on(stream)

    def go_on(self, stream: int) -> None:
        if stream not in self.pending:
            return
        data, end = self.pending[stream]
        taken = self.engine.write(stream, data, end=end)
        if taken == len(data):
            del self.pending[stream]
        else:
            self.pending[stream] = data[taken:], end


@functools.cache
def credentials() -> certificates.Credentials:
    return certificates.Credentials.make()


def configuration(*, caller: bool, **options: Any) -> QuicConfiguration:
    made = QuicConfiguration(
        is_client=caller,
        alpn_protocols=["test"],
        max_datagram_size=1400,
        max_data=1 << 17,
        max_stream_data=1 << 16,
        max_datagram_frame_size=65_535,
        idle_timeout=86_400.0,
    )
    for name, value in options.items():
        setattr(made, name, value)
    made.cipher_suites = [CipherSuite.CHACHA20_POLY1305_SHA256]
    if caller:
        made.load_verify_locations(cadata=certificates.pem(credentials().certificate))
    else:
        made.certificate, made.private_key = certificates.load(credentials().certificate), credentials().key
    return made


def connect(**options: Any) -> tuple[AioquicEnd, AioquicEnd]:
    caller = QuicConnection(configuration=configuration(caller=True, **options))
    target = QuicConnection(
        configuration=configuration(caller=False, **options),
        original_destination_connection_id=caller.original_destination_connection_id,
    )
    for quic in (caller, target):
        quic._local_active_connection_id_limit = 4
        for limit in (quic._local_max_streams_bidi, quic._local_max_streams_uni):
            limit.value = limit.sent = 4
    return AioquicEnd(caller), AioquicEnd(target)


class World:
    def __init__(self, seed: object, network: Network | None = None, **options: Any) -> None:
        self.random = random.Random(repr(seed))
        self.network = Network()
        self.now = START
        self.ends: list[Any] = list(connect(**options))
        self.queue: list[tuple[int, int, int, bytes, int]] = []
        self.count = 0
        self.free = [0, 0]
        self.path = 0
        """Of the caller's datagrams."""
        self.dead_path: int | None = None
        """Where nothing arrives any more."""
        self.lost = 0
        self.grouping = False
        self.ends[CALLER].quic.connect(ADDRESSES[TARGET], self.now / SECOND)
        self.run(5 * SECOND, lambda: all(is_quiet(end.quic) for end in self.ends))
        assert all(is_fit(end.quic) and end.handshaken for end in self.ends)
        self.network = network or Network()

    def take_over(self, *roles: int, bounds: Limits = BOUNDS) -> None:
        for role in roles:
            quic = self.ends[role].quic
            generations = Generations(quic)
            state = replace(take_over(quic, generations), random=self.random.randbytes(32))
            engine = Engine(state, bounds, self.now)
            leave(quic)
            self.ends[role] = EngineEnd(engine, generations, self.random)
        self.queue.clear()

    def post(self, role: int, data: bytes, path: int) -> None:
        """Put a datagram of this end on its way, or lose it."""
        way = self.network.there if role == CALLER else self.network.back
        if self.random.random() < way.loss or path == self.dead_path or len(data) > way.longest:
            self.lost += 1
            return
        leaves = self.now
        if way.rate:
            begin = max(self.free[role], self.now)
            if (begin - self.now) * way.rate > way.queue:
                self.lost += 1
                return
            leaves = self.free[role] = begin + round(len(data) / way.rate)
        for _ in range(2 if self.random.random() < way.twice else 1):
            at = leaves + way.delay + (self.random.randrange(way.jitter) if way.jitter else 0)
            self.count += 1
            heapq.heappush(self.queue, (at, self.count, 1 - role, data, path))

    def flush(self) -> None:
        for role, end in enumerate(self.ends):
            for data, path in end.send(self.now):
                self.post(role, data, self.path if role == CALLER else path)

    def deliver(self) -> None:
        """Deliver what has arrived by now, to an engine in trains where `grouping` says so."""
        while self.queue and self.queue[0][0] <= self.now:
            _, _, role, data, path = heapq.heappop(self.queue)
            end = self.ends[role]
            if not self.grouping or not isinstance(end, EngineEnd):
                end.receive(data, self.now, path)
                continue
            train = [data]
            while self.queue and self.queue[0][0] <= self.now + 300 and self.queue[0][2] == role:
                if len(train[-1]) < len(data) or len(self.queue[0][3]) > len(data):
                    break
                train.append(heapq.heappop(self.queue)[3])
            end.receive_train(train, self.now)

    def run(self, span: int, done: Any = None) -> bool:
        """Let so much time pass, or less if `done` comes true; whether it did."""
        until = self.now + span
        while True:
            self.flush()
            if done is not None and done():
                return True
            at = min([end.next() for end in self.ends] + ([self.queue[0][0]] if self.queue else []))
            if at > until:
                self.now = until
                return False
            self.now = max(self.now, at)
            self.deliver()
            for end in self.ends:
                if end.next() <= self.now:
                    end.timer(self.now)


def text(number: int, n: int) -> bytes:
    """Return n bytes that are the same for the same number."""
    return hashlib.shake_128(b"%d" % number).digest(n)


def digest(data: bytes | bytearray) -> str:
    return hashlib.sha256(data).hexdigest()

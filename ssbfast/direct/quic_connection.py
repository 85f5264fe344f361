"""aioquic's connection as direct paths need it: bounded memory, and a look at what it knows.

aioquic doubles its receive windows to any size, read or not, and makes room for a gap at once: a few small
packets with far offsets would take all memory. Here a window is a length beyond what has been used up, for each
stream, and beyond what has been delivered for all of them together. It is tiny before the proofs, and grows only when
the owner says so. Datagrams (RFC 9221), which it queues without
bound and in front of all streams, are bounded here and leave every other packet to streams that wait. That takes
overriding methods that aioquic does not document; `CHECKED` has them looked for when this is imported, and
tests/direct/test_hostile.py and test_quic_datagrams.py have them at work.
"""

from __future__ import annotations

from typing import Final

from ssbfast import limits
from ssbfast.direct import certificates
from ssbfast.direct.path_figures import PathFigures
from ssbfast.errors import DirectUnavailableError
from ssbfast.net.logs import silence

try:
    from aioquic.buffer import size_uint_var
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.connection import (
        CONNECTION_LIMIT_FRAME_CAPACITY,
        END_STATES,
        MAX_STREAM_DATA_FRAME_CAPACITY,
        QuicConnection,
    )
    from aioquic.quic.events import ConnectionTerminated
    from aioquic.quic.packet import QuicFrameType, QuicProtocolVersion
    from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder, QuicPacketBuilderStop
    from aioquic.quic.recovery import QuicPacketPacer, QuicPacketSpace
    from aioquic.quic.stream import QuicStream
    from aioquic.tls import CipherSuite, Epoch
except ImportError as error:
    raise DirectUnavailableError from error

CHECKED: Final = ("_write_connection_limits", "_write_datagram_frame", "_write_stream_limits", "get_peer_address")
if not all(hasattr(QuicConnection, name) for name in CHECKED):
    raise DirectUnavailableError

# It logs addresses, and reasons that the other end gives.
silence("quic")

VERSION: Final = int(QuicProtocolVersion.VERSION_1)
ALPN: Final = "ssbfast-direct/1"

DATAGRAMS: Final = -1
"""The key of `Connection.waiting` for long datagrams that do not arrive: no stream has it."""

_FRAME: Final = 3
"""Bytes in front of a datagram in its frame at most: type and length."""

_PACKET: Final = 3 + 16
"""Bytes around the frames of a packet, beside the connection id: flags, packet number, tag."""


class Connection(QuicConnection):
    """One QUIC connection whose receive side is bounded.

    connection_id: for a target, what the caller has announced: its own `original_destination_connection_id`.
    """

    def __init__(self, configuration: QuicConfiguration, connection_id: bytes | None = None) -> None:
        super().__init__(configuration=configuration, original_destination_connection_id=connection_id)
        self._window = self._stream_window = limits.DIRECT_EARLY
        self._seen_used = -1
        self._credits: dict[int, tuple[int, int]] = {}  # of streams: what is not used up, window
        self._loss._pacer = _Pacer(max_datagram_size=self._max_datagram_size)
        self._datagram_packet = -1  # number of the last packet with a datagram in it
        self._long_lost = 0  # long datagrams in succession that were lost
        self._local_active_connection_id_limit = 2  # else each end sends seven more ids, and is not quiet meanwhile
        for limit in (self._local_max_streams_bidi, self._local_max_streams_uni):
            limit.value = limit.sent = 1

    def widen(self) -> None:
        """Give the other end, which has proven itself, its whole credit and streams for forwarded connections."""
        self._window, self._stream_window = limits.DIRECT_WINDOW, limits.DIRECT_FORWARD_WINDOW
        self._seen_used = -1
        self._local_max_streams_bidi.value = limits.FORWARDS_PER_PEER + 1

    def credit(self, stream: int, unread: int, window: int) -> None:
        """Give credit of `window` bytes beyond those that were used up: all that were delivered but for `unread`."""
        if len(self._credits) > 4 * limits.FORWARDS_PER_PEER:
            self._credits = {number: known for number, known in self._credits.items() if number in self._streams}
        self._credits[stream] = unread, window

    def credit_all(self, window: int) -> None:
        """Give credit of so many bytes of all streams beyond what was delivered."""
        if window != self._window:
            self._window = window
            self._seen_used = -1

    @property
    def newest(self) -> int:
        """Highest number of an authentic packet that has come, or -1. (Those of the handshake are not: any host
        on the way can make them.)"""
        space = self._spaces.get(Epoch.ONE_RTT)
        return -1 if space is None else space.largest_received_packet

    @property
    def closed(self) -> ConnectionTerminated | None:
        """Close that ended it, by either end. (aioquic's event comes only after the draining period.)"""
        return self._close_event if self._state in END_STATES else None

    @property
    def rtt(self) -> float | None:
        """Smoothed round trip in seconds."""
        return self._loss._rtt_smoothed if self._loss._rtt_initialized else None

    def expect(self, rtt: float) -> None:
        """Take a round trip in seconds that was measured before: on slow paths all would be sent again and again."""
        if rtt > self._configuration.initial_rtt:
            self._loss._rtt_initial = rtt

    @property
    def figures(self) -> PathFigures:
        """What it counts; aioquic does not count what is lost."""
        return PathFigures("aioquic", self._max_datagram_size, self._packet_number)

    @property
    def held(self) -> int:
        """Bytes received that wait for a gap."""
        return sum(s.receiver.highest_offset - s.receiver.starting_offset() for s in self._streams.values())

    def can_open(self) -> bool:
        """Return whether the other end allows one more stream now.

        aioquic lets one wait that it does not, but resets it on the wire all the same, which ends the path.
        """
        return self._local_next_stream_id_bidi // 4 < self._remote_max_streams_bidi

    def is_open(self, stream: int) -> bool:
        """Return whether aioquic still keeps anything of a stream."""
        return stream in self._streams

    @property
    def unsent(self) -> int:
        """Bytes of all streams that were written and have not been sent once."""
        return sum(map(_unsent, self._streams.values()))

    @property
    def datagram_room(self) -> int:
        """Bytes of the longest datagram that a packet takes; 0 where the other end knows no datagrams."""
        theirs = self._remote_max_datagram_frame_size or 0
        ours = self._max_datagram_size - _PACKET - len(self._peer_cid.cid)
        return max(0, min(theirs, ours) - _FRAME)

    def send_datagram(self, data: bytes) -> bool:
        """Queue a datagram, of `datagram_room` bytes at most; return False when the oldest one was dropped for it."""
        waiting = self._datagrams_pending
        is_full = len(waiting) >= limits.FLOW_QUEUE
        if is_full:
            waiting.popleft()
        self.send_datagram_frame(data)
        return not is_full

    def waiting(self) -> dict[int, int]:
        """Return the offset of the oldest byte that was sent and not acknowledged, for each stream that has one.

        Long datagrams of which none has arrived for a while count as one more, `DATAGRAMS`.
        """
        oldest = {DATAGRAMS: 0} if self._long_lost >= limits.FLOW_LONG_LOST else {}
        senders = {number: stream.sender for number, stream in self._streams.items()}
        return oldest | {
            number: sender._buffer_start
            for number, sender in senders.items()
            if sender._reset_error_code is None and sender._buffer_start < sender.highest_offset
        }

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        data = self._local_max_data
        if data.used != self._seen_used:
            self._seen_used = data.used
            credit = data.used - self.held + self._window
            if credit - data.value >= self._window // 4:
                data.value = credit
        for limit in (data, self._local_max_streams_bidi):
            few_left = limit.sent - limit.used < limit.value - limit.sent
            if limit.value != limit.sent and (limit is data or few_left):
                buffer = builder.start_frame(
                    limit.frame_type,
                    capacity=CONNECTION_LIMIT_FRAME_CAPACITY,
                    handler=self._on_connection_limit_delivery,
                    handler_args=(limit,),
                )
                buffer.push_uint_var(limit.value)
                limit.sent = limit.value

    def _write_stream_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream) -> None:
        receiver = stream.receiver
        if receiver.is_finished or not stream.max_stream_data_local or stream.stream_id is None:
            return
        unread, window = self._credits.get(stream.stream_id, (0, self._stream_window))
        credit = receiver.starting_offset() - unread + window
        if credit - stream.max_stream_data_local >= window // 4:
            stream.max_stream_data_local = credit
        if stream.max_stream_data_local_sent != stream.max_stream_data_local:
            buffer = builder.start_frame(
                QuicFrameType.MAX_STREAM_DATA,
                capacity=MAX_STREAM_DATA_FRAME_CAPACITY,
                handler=self._on_max_stream_data_delivery,
                handler_args=(stream,),
            )
            buffer.push_uint_var(stream.stream_id)
            buffer.push_uint_var(stream.max_stream_data_local)
            stream.max_stream_data_local_sent = stream.max_stream_data_local

    def _write_datagram_frame(self, builder: QuicPacketBuilder, data: bytes, frame_type: QuicFrameType) -> bool:
        packet = builder.packet_number
        if packet == self._datagram_packet + 1 and any(map(self._may_send, self._streams.values())):
            self._datagram_packet = -1  # once: the next packet takes one, whatever became of this
            raise QuicPacketBuilderStop
        capacity = 1 + size_uint_var(len(data)) + len(data)
        is_long = capacity > limits.DIRECT_DATAGRAM_LEAST - _PACKET - len(self._peer_cid.cid)
        buffer = builder.start_frame(frame_type, capacity, self._on_long_datagram if is_long else None)
        buffer.push_uint_var(len(data))
        buffer.push_bytes(data)
        self._datagram_packet = packet
        return True

    def _on_long_datagram(self, delivery: QuicDeliveryState) -> None:
        self._long_lost = 0 if delivery is QuicDeliveryState.ACKED else self._long_lost + 1

    def _may_send(self, stream: QuicStream) -> bool:
        """Return whether bytes of a stream wait that its credit lets go."""
        sender = stream.sender
        if stream.is_blocked or sender.buffer_is_empty or sender._reset_error_code is not None:
            return False
        credit = sender.highest_offset + self._remote_max_data - self._remote_max_data_used
        return sender.next_offset < min(sender._buffer_stop, credit, stream.max_stream_data_remote)


class _Pacer(QuicPacketPacer):
    """aioquic's pacing with bursts of what one wake-up reads: its 16 packets are too few where wake-ups come late."""

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None:
        super().update_rate(congestion_window, smoothed_rtt)
        burst = min(congestion_window // 4, limits.UDP_BATCH * self._max_datagram_size)
        self.bucket_max = max(self.bucket_max, burst * smoothed_rtt / congestion_window)


def _unsent(stream: QuicStream) -> int:
    sender = stream.sender
    return 0 if sender._reset_error_code is not None else sender._buffer_stop - sender.highest_offset


def caller_connection(certificate: bytes, datagram: int) -> Connection:
    """Make one that trusts this certificate (DER) and no other. Raises RemoteProtocolError for a useless one."""
    certificates.load(certificate)
    configuration = _configuration(is_client=True, datagram=datagram)
    configuration.load_verify_locations(cadata=certificates.pem(certificate))
    return Connection(configuration)


def target_connection(credentials: certificates.Credentials, connection_id: bytes, datagram: int) -> Connection:
    """Make one for the caller that has announced this connection id."""
    configuration = _configuration(is_client=False, datagram=datagram)
    configuration.certificate = certificates.load(credentials.certificate)
    configuration.private_key = credentials.key
    return Connection(configuration, connection_id)


def _configuration(*, is_client: bool, datagram: int) -> QuicConfiguration:
    """Return a configuration without server name: certificates are nameless, and it would travel in clear."""
    return QuicConfiguration(
        is_client=is_client,
        cipher_suites=[CipherSuite.CHACHA20_POLY1305_SHA256],
        alpn_protocols=[ALPN],
        supported_versions=[VERSION],
        idle_timeout=limits.DIRECT_IDLE_SECONDS,
        max_data=2 * limits.DIRECT_EARLY,
        max_stream_data=limits.DIRECT_EARLY,
        max_datagram_size=datagram,
        max_datagram_frame_size=limits.DIRECT_DATAGRAM_FRAME,
    )

"""From aioquic to the engine in C: what a connection has come to, read at a quiet moment.

aioquic keeps the handshake; from a moment at which nothing is in flight `ssbfast.native.quic.Engine` goes on. That
takes names that aioquic does not document: `CHECKED` has them looked for when this is imported.

    connection = … aioquic's, handshake confirmed
    if is_quiet(connection):
        keys = Generations(connection)
        engine = Engine(take_over(connection, keys), bounds, now)
        leave(connection)          # nothing of it is called again
        … engine.keys(keys.following()) at every KEYS event
"""

from __future__ import annotations

import os
from typing import Any, Final

from ssbfast.errors import DirectUnavailableError
from ssbfast.native.quic import ConnectionId, Handover, Secrets, Stream

try:
    from aioquic.quic.connection import QuicConnection
    from aioquic.quic.crypto import CryptoContext, derive_key_iv_hp
    from aioquic.quic.packet import QuicProtocolVersion
    from aioquic.quic.recovery import QuicPacketRecovery, QuicPacketSpace
    from aioquic.quic.stream import QuicStream
    from aioquic.tls import CipherSuite, Epoch, cipher_suite_hash, hkdf_expand_label
except ImportError as error:
    raise DirectUnavailableError from error

CHECKED: Final = {
    QuicConnection: (
        "_close_event _configuration _cryptos _events _handshake_confirmed _host_cids _is_client "
        "_local_active_connection_id_limit _local_max_data _local_max_stream_data_bidi_local "
        "_local_max_stream_data_bidi_remote _local_max_stream_data_uni _local_max_streams_bidi _local_max_streams_uni "
        "_local_next_stream_id_bidi _local_next_stream_id_uni _loss _network_paths _packet_number _peer_cid "
        "_peer_cid_available _ping_pending _remote_ack_delay_exponent _remote_max_data _remote_max_data_used "
        "_remote_max_datagram_frame_size _remote_max_idle_timeout _remote_max_stream_data_bidi_local "
        "_remote_max_stream_data_bidi_remote _remote_max_stream_data_uni _remote_max_streams_bidi "
        "_remote_max_streams_uni _retire_connection_ids _spaces _streams _version"
    ),
    CryptoContext: "cipher_suite key_phase secret version",
    QuicPacketRecovery: "_rtt_initialized _rtt_min congestion_window max_ack_delay",
    QuicPacketSpace: "ack_at ack_eliciting_in_flight ack_queue discarded largest_received_packet",
    QuicStream: "max_stream_data_local max_stream_data_local_sent max_stream_data_remote receiver sender",
}
"""Names of aioquic's classes, and of what their constructors set."""

SUITE: Final = CipherSuite.CHACHA20_POLY1305_SHA256
ACK_DELAY: Final = 25_000
"""What we declare as max_ack_delay, in microseconds: aioquic says 25 ms in all its transport parameters."""


def _names(kind: type[Any]) -> set[str]:
    """Return the attributes of a class, and those that its constructor assigns."""
    return set(dir(kind)) | set(kind.__init__.__code__.co_names)


for _kind, _wanted in CHECKED.items():
    if not _names(_kind).issuperset(_wanted.split()):
        raise DirectUnavailableError


class Generations:
    """Secrets of a connection, one generation after the other: RFC 9001, section 6.1."""

    def __init__(self, connection: QuicConnection) -> None:
        pair = connection._cryptos[Epoch.ONE_RTT]
        if pair.send.secret is None or pair.recv.secret is None:
            raise ValueError("the handshake is not over")
        self._send, self._receive = pair.send.secret, pair.recv.secret

    def header_keys(self) -> tuple[bytes, bytes]:
        """Return the keys of header protection, sending and receiving. They stay."""
        return self._derive(self._send)[2], self._derive(self._receive)[2]

    def current(self) -> Secrets:
        """Return the generation that was returned last; at first the one in use."""
        send, receive = self._derive(self._send), self._derive(self._receive)
        return Secrets(send[0], send[1], receive[0], receive[1])

    def following(self) -> Secrets:
        """Go on to the next generation."""
        self._send, self._receive = self._update(self._send), self._update(self._receive)
        return self.current()

    def _derive(self, secret: bytes) -> tuple[bytes, bytes, bytes]:
        return derive_key_iv_hp(cipher_suite=SUITE, secret=secret, version=QuicProtocolVersion.VERSION_1)

    def _update(self, secret: bytes) -> bytes:
        algorithm = cipher_suite_hash(SUITE)
        return hkdf_expand_label(algorithm, secret, b"quic ku", b"", algorithm.digest_size)


def is_fit(connection: QuicConnection) -> bool:
    """Return whether the engine can ever go on with a connection whose handshake is confirmed."""
    return (
        connection._version == QuicProtocolVersion.VERSION_1
        and connection._cryptos[Epoch.ONE_RTT].send.cipher_suite == SUITE
        and len(connection._peer_cid.cid) > 0
    )


def is_quiet(connection: QuicConnection) -> bool:
    """Return whether nothing is in flight, to be sent or to be read: now it can be taken over."""
    if not connection._handshake_confirmed or connection._close_event is not None or connection._events:
        return False
    if len(connection._network_paths) != 1 or connection._retire_connection_ids or connection._ping_pending:
        return False
    if not all(connection._spaces[epoch].discarded for epoch in (Epoch.INITIAL, Epoch.HANDSHAKE)):
        return False
    pair, space = connection._cryptos[Epoch.ONE_RTT], connection._spaces[Epoch.ONE_RTT]
    if pair._update_key_requested or space.ack_eliciting_in_flight or space.ack_at is not None:
        return False
    return all(map(_is_still, connection._streams.values()))


def _is_still(stream: QuicStream) -> bool:
    sender, receiver = stream.sender, stream.receiver
    return (
        sender._buffer_start == sender._buffer_stop
        and (sender._buffer_fin is None or sender.is_finished)
        and (sender._reset_error_code is None or sender.is_finished)
        and receiver.highest_offset == receiver.starting_offset()
        and (receiver._final_size is None or receiver.is_finished)
        and receiver._stop_error_code is None
        and stream.max_stream_data_local_sent == stream.max_stream_data_local
    )


def take_over(connection: QuicConnection, generations: Generations) -> Handover:
    """Return all that a quiet connection has come to. `generations` is one ahead of it then."""
    space = connection._spaces[Epoch.ONE_RTT]
    send_hp, receive_hp = generations.header_keys()
    return Handover(
        keys=generations.current(),
        next=generations.following(),
        send_hp=send_hp,
        receive_hp=receive_hp,
        random=os.urandom(32),
        received=tuple((r.start, r.stop) for r in space.ack_queue)[-256:],
        remote=tuple(map(_known_id, (connection._peer_cid, *connection._peer_cid_available))),
        local=tuple(map(_known_id, connection._host_cids)),
        streams=tuple(_stream(connection, number, stream) for number, stream in sorted(connection._streams.items())),
        numbers={**_counters(connection), **_credit(connection), **_times(connection)},
    )


def leave(connection: QuicConnection) -> None:
    """Forget aioquic's keys. Neither socket nor timer is its own: what is not called does nothing."""
    connection._cryptos[Epoch.ONE_RTT].teardown()


def _known_id(known: Any) -> ConnectionId:
    return ConnectionId(known.sequence_number or 0, known.cid, known.stateless_reset_token or b"")


def _stream(connection: QuicConnection, number: int, stream: QuicStream) -> Stream:
    ours = (number & 1 == 0) == connection._is_client
    sender, receiver = stream.sender, stream.receiver
    return Stream(
        id=number,
        sent=sender.highest_offset,
        send_max=stream.max_stream_data_remote,
        received=receiver.starting_offset(),
        receive_max=stream.max_stream_data_local_sent,
        send_done=(number & 2 != 0 and not ours) or sender.is_finished,
        receive_done=(number & 2 != 0 and ours) or receiver.is_finished,
    )


def _counters(connection: QuicConnection) -> dict[str, int]:
    return {
        "caller": connection._is_client,
        "phase": connection._cryptos[Epoch.ONE_RTT].send.key_phase,
        "number": connection._packet_number,
        "newest": connection._spaces[Epoch.ONE_RTT].largest_received_packet,
        "id_limit": connection._local_active_connection_id_limit,
        "next_bidi": connection._local_next_stream_id_bidi,
        "next_uni": connection._local_next_stream_id_uni,
        "send_bidi": connection._remote_max_streams_bidi,
        "send_uni": connection._remote_max_streams_uni,
        "peer_bidi": connection._local_max_streams_bidi.used,
        "peer_uni": connection._local_max_streams_uni.used,
        "receive_bidi": connection._local_max_streams_bidi.sent,
        "receive_uni": connection._local_max_streams_uni.sent,
    }


def _credit(connection: QuicConnection) -> dict[str, int]:
    return {
        "sent": connection._remote_max_data_used,
        "send_max": connection._remote_max_data,
        "received_all": connection._local_max_data.used,
        "receive_max": connection._local_max_data.sent,
        "send_max_local": connection._remote_max_stream_data_bidi_remote,
        "send_max_remote": connection._remote_max_stream_data_bidi_local,
        "send_max_uni": connection._remote_max_stream_data_uni,
        "receive_max_local": connection._local_max_stream_data_bidi_local,
        "receive_max_remote": connection._local_max_stream_data_bidi_remote,
        "receive_max_uni": connection._local_max_stream_data_uni,
        "datagram_send": connection._remote_max_datagram_frame_size or 0,
        "datagram_receive": connection._configuration.max_datagram_frame_size or 0,
    }


def _times(connection: QuicConnection) -> dict[str, int]:
    loss, idle = connection._loss, connection._configuration.idle_timeout
    if connection._remote_max_idle_timeout:
        idle = min(idle, connection._remote_max_idle_timeout)
    # The least round trip, as after a first sample: the others have waited for the handshake's cryptography.
    rtt = max(_microseconds(loss._rtt_min), 1) if loss._rtt_initialized else 0
    return {
        "delay_exponent": connection._remote_ack_delay_exponent,
        "delay_max": _microseconds(loss.max_ack_delay),
        "own_delay_max": ACK_DELAY,
        "idle": _microseconds(idle),
        "rtt": rtt,
        "rtt_variance": rtt // 2,
        "rtt_least": rtt,
        "congestion_window": loss.congestion_window,
    }


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)

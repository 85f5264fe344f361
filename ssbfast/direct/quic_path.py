"""A direct path: one QUIC connection over a punched UDP socket, proven to belong to one session.

Streams
    0                   the caller's, both ways: each end's proof (32 bytes), then records (`wire/direct/carriers`)
    2, 3                the bytes of the session: 2 from the caller, 3 from the target
    4, 8 … and 1, 5 …   forwarded TCP connections, opened by the caller and by the target

Beside them go datagrams of UDP services, where both ends know them (RFC 9221): see `wire/direct/flows.py`.

The caller trusts one certificate, which came through the session, and says the first proof; the target knows one
connection id, drops all that is not for it before anything is parsed, and answers a right proof with its own. Until
both have passed nothing else may come. What comes wrong ends the path, and the path only.

What happens to bytes in flight
    `close()`    what QUIC may send at once goes out, then the close; the rest is dropped.
    `abort()`    the same without the bytes.
    lost         what has come has been delivered. Nothing is repeated elsewhere: `wire/direct/carriers` does that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from ssbfast import limits
from ssbfast.direct.certificates import Credentials
from ssbfast.direct.engine_choice import engine_choice
from ssbfast.direct.path_figures import PathFigures
from ssbfast.direct.quic_connection import ALPN, Connection, caller_connection, target_connection
from ssbfast.direct.quic_driver import ABORTED, QuicDriver
from ssbfast.direct.quic_engine import FastConnection, may_take_over
from ssbfast.direct.udp import Address, UdpSocket
from ssbfast.errors import DirectUnavailableError, LocalProtocolError, RemoteProtocolError
from ssbfast.wire.direct.keys import DirectKeys, Role
from ssbfast.wire.direct.memory import Credit, MemoryShare

try:
    from aioquic.quic import events
except ImportError as error:
    raise DirectUnavailableError from error

__all__ = ["Credentials", "DirectHandler", "DirectPath"]

RECORDS: Final = 0
DATA: Final = {Role.CALLER: 2, Role.TARGET: 3}
PROOF: Final = 32
_UNIDIRECTIONAL: Final = 2


class DirectHandler(Protocol):
    """The owner of a path, told what happens. Nothing is called any more once `path_lost` has been."""

    def path_ready(self, path: DirectPath) -> None:
        """Note that both proofs have passed."""

    def path_records(self, path: DirectPath, data: bytes) -> None:
        """Take bytes of the records stream, behind the proof."""

    def path_data(self, path: DirectPath, data: bytes) -> None:
        """Take bytes of the session."""

    def path_stream(self, path: DirectPath, stream: int, data: bytes, end: bool) -> None:
        """Take bytes of a forwarded connection; a new number: the other end opens it. end: no more will come."""

    def path_stream_reset(self, path: DirectPath, stream: int) -> None:
        """Note that the other end has cut a forwarded connection, both ways: nothing more comes or goes."""

    def path_datagrams(self, path: DirectPath, datagrams: list[bytes]) -> None:
        """Take datagrams that have come, behind the bytes that came with them."""

    def path_heard(self, path: DirectPath) -> None:
        """Note that something authentic has come; at most once a batch, and before what it brings."""

    def path_lost(self, path: DirectPath, clean: bool, reason: str) -> None:
        """Note that it is over: once, never from within a call. clean: by either end's `close()`."""


class DirectPath:
    """One end of a direct path. `caller` and `target` make them; `start` sets them going.

    role, epoch: of the keys. connection_id: the one that the target has to expect.
    """

    def __init__(
        self,
        quic: Connection,
        keys: DirectKeys,
        certificate: bytes,
        handler: DirectHandler,
        share: MemoryShare | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._quic: Connection | FastConnection = quic
        self._driver = QuicDriver(quic, self)
        self._keys = keys
        self._credit = Credit(share, DATA[keys.role.other])
        self._certificate = certificate
        self._handler = handler
        self._proof = bytearray()
        self._cut: set[int] = set()  # streams whose forwarded connection was reset, here or there
        self._newest = -1
        self._pinging = False
        self.stream_bytes = 0
        """Bytes that forwarded connections and datagrams have sent."""
        self._started = self._proven = self._ready = self._settled = False
        self._measured = 0.0
        self._early: list[Callable[[], None]] = []  # what came behind the proof, before it is settled what reads it
        self._deadline: asyncio.TimerHandle | None = None

    @classmethod
    def caller(
        cls,
        certificate: bytes,
        keys: DirectKeys,
        handler: DirectHandler,
        *,
        datagram: int = limits.DIRECT_DATAGRAM,
        share: MemoryShare | None = None,
    ) -> DirectPath:
        """Make the caller's end.

        certificate: the target's, DER. datagram: bytes of UDP payload, at least 1200; the first
        flight is that long, so that a path which cannot carry it shows at once. share: memory for credit that grows.

        Raises RemoteProtocolError for a certificate that is of no use, LocalProtocolError for a target's keys.
        """
        _require(keys, Role.CALLER)
        return cls(caller_connection(certificate, datagram), keys, certificate, handler, share)

    @classmethod
    def target(
        cls,
        credentials: Credentials,
        connection_id: bytes,
        keys: DirectKeys,
        handler: DirectHandler,
        *,
        datagram: int = limits.DIRECT_DATAGRAM,
        share: MemoryShare | None = None,
    ) -> DirectPath:
        """Make the target's end.

        connection_id: the caller's announcement, 8 to 20 bytes (else RemoteProtocolError). credentials: made for
        this path alone. Raises LocalProtocolError for a caller's keys.
        """
        _require(keys, Role.TARGET)
        if not 8 <= len(connection_id) <= 20:
            raise RemoteProtocolError("the peer's connection id has a wrong length")
        quic = target_connection(credentials, connection_id, datagram)
        return cls(quic, keys, credentials.certificate, handler, share)

    def __repr__(self) -> str:
        state = "lost" if self._driver.ended else "ready" if self._ready else "opening"
        return f"<DirectPath {self.role.value} {self.epoch} {state}>"

    @property
    def role(self) -> Role:
        return self._keys.role

    @property
    def epoch(self) -> int:
        return self._keys.epoch

    @property
    def connection_id(self) -> bytes:
        return self._quic.original_destination_connection_id

    @property
    def is_ready(self) -> bool:
        """True when both proofs have passed, and it is not lost."""
        return self._ready and not self._driver.ended

    @property
    def is_settled(self) -> bool:
        """True when it is ready, and goes on with what it will stay with."""
        return self._settled and self.is_ready

    @property
    def rtt(self) -> float | None:
        """Smoothed round trip in seconds, once there is one."""
        return self._quic.rtt

    @property
    def figures(self) -> PathFigures:
        """What it counts, and the engine that does."""
        return self._quic.figures

    @property
    def unsent(self) -> int:
        """Bytes given to us that QUIC has not sent once, all streams. There is no other bound: mind it."""
        return self._quic.unsent

    @property
    def datagram_room(self) -> int:
        """Bytes of the longest datagram that can go now; 0 while none can."""
        return self._quic.datagram_room if self._ready and not self._driver.ended else 0

    def waiting(self) -> dict[int, int]:
        """Return what has been sent and does not arrive: see `Connection.waiting`."""
        return {} if self._driver.ended else self._quic.waiting()

    # ------------------------------------------------------------ from the owner

    def start(
        self,
        udp: UdpSocket,
        remote: Address | None = None,
        *,
        within: float = limits.CARRIER_SECONDS,
        rtt: float | None = None,
    ) -> None:
        """Take a punched socket, which is ours to close from now on, and dial.

        remote: where the target is, as `udp` tells it; None at the target, which is dialled. within: seconds for both
        proofs. rtt: what probes have measured, seconds.
        """
        if (remote is None) is not (self.role is Role.TARGET):
            raise LocalProtocolError("a caller dials, a target does not")
        if self._started:
            raise LocalProtocolError("a path starts once")
        self._started = True
        self._deadline = self._loop.call_later(within, self.abort, "the proofs have not come in time")
        if rtt is not None and isinstance(self._quic, Connection):
            self._measured = rtt
            self._quic.expect(rtt)
        self._driver.start(udp, remote)

    def allow(self, address: Address) -> None:
        """Listen to an address from which a valid probe has come.

        A target listens only to such addresses until QUIC's handshake is complete. The newest dozen counts.
        """
        self._driver.allow(address)

    def datagram(self, data: bytes, source: Address) -> None:
        """Take a datagram that came before the path had its socket; `batch_done` follows the last."""
        self._driver.datagram(data, source)

    def batch_done(self) -> None:
        """Act upon what has come."""
        self._driver.batch_done()

    def send_records(self, data: bytes) -> None:
        """Send bytes of the records stream. Like all that sends, it does nothing when the path is lost, and raises
        LocalProtocolError before the path is ready."""
        self._send(RECORDS, data)

    def send_data(self, data: bytes) -> None:
        """Send bytes of the session."""
        self._send(DATA[self.role], data)

    def session_used(self, used: int, unread: int) -> None:
        """Note how many bytes the session has used up in all, and how many have come and wait for it.

        What waits gives the other end no credit. One that used up much in a short time gets more.
        """
        self.stream_used(DATA[self.role.other], used, unread)

    def stream_used(self, stream: int, used: int, unread: int) -> None:
        """Note the same of a forwarded connection."""
        if not self._settled or self._driver.ended:
            return
        self._credit.used(stream, used, self._loop.time(), self._quic.rtt or 0.0)
        self._quic.credit(stream, unread, self._credit.window(stream))
        self._quic.credit_all(self._credit.whole)

    def stream_over(self, stream: int) -> None:
        """Note that nothing of a forwarded connection is read any more."""
        self._credit.over(stream)

    def can_open(self) -> bool:
        """Return whether `open_stream` may be called now."""
        return self.is_ready and self._quic.can_open()

    def open_stream(self) -> int:
        """Return the number of a new stream for a forwarded connection; its first bytes tell the other end of it.

        Raises LocalProtocolError while the other end allows none.
        """
        if not self.can_open():
            raise LocalProtocolError("the other end allows no more streams")
        stream: int = self._quic.get_next_available_stream_id()
        self._send(stream, b"")
        return stream

    def is_open(self, stream: int) -> bool:
        """Return whether QUIC still has anything of a stream to send, or to hear of."""
        return self._quic.is_open(stream)

    def send_stream(self, stream: int, data: bytes, end: bool = False) -> None:
        """Send bytes of a forwarded connection. end: the last ones. To one that is over: dropped."""
        if stream not in self._cut:
            self.stream_bytes += len(data)
            self._send(stream, data, end)

    def send_datagram(self, data: bytes) -> bool:
        """Send a datagram of at most `datagram_room` bytes; it may be lost. Return False when too many wait: the
        oldest was dropped for it."""
        self.stream_bytes += len(data)
        self._driver.transmit_soon()
        return self._quic.send_datagram(data)

    def reset_stream(self, stream: int) -> None:
        """Cut a forwarded connection both ways. Harmless when it is over."""
        if self._driver.ended or stream in self._cut:
            return
        self._cut_stream(stream)
        self._driver.transmit_soon()

    def ping(self) -> None:
        """Ask for a sign of life: `path_heard`. One at a time is under way."""
        if not self._driver.ended and not self._pinging and self._driver.handshaken:
            self._pinging = True
            self._quic.send_ping(0)
            self._driver.transmit_soon()

    def close(self) -> None:
        """End it in order, with code 0."""
        if self._started:
            self._driver.close(0, "closed here")

    def abort(self, reason: str) -> None:
        """End it; reason: for our own `path_lost`, the other end is not told."""
        if self._started:
            self._driver.close(ABORTED, reason)

    # ------------------------------------------------------------ from the driver (`QuicListener`)

    def quic_ended(self, code: int, reason: str) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._credit.close()
        if self._ready and not self._settled:
            self._loop.call_soon(self._deliver_early)
        self._loop.call_soon(self._handler.path_lost, self, self._ready and code == 0, reason)

    def quic_settled(self, quic: Connection | FastConnection) -> None:
        if engine_choice() == "native" and not isinstance(quic, FastConnection):
            self.abort("the engine could not take it over")
            return
        self._quic = quic
        quic.widen()
        session = DATA[self.role.other]
        quic.credit(session, 0, self._credit.window(session))
        if not self._ready:
            self._settled = True
            self._become_ready()
        if not self._driver.ended:
            self._deliver_early()

    def quic_events(self) -> None:
        quic, handler = self._quic, self._handler
        newest = quic.newest
        if newest != self._newest:
            self._newest = newest
            if self._ready:
                handler.path_heard(self)
        chunks: dict[int, list[bytes]] = {}
        finished: set[int] = set()
        datagrams: list[bytes] = []
        while (event := quic.next_event()) is not None:
            if isinstance(event, events.StreamDataReceived):
                chunks.setdefault(event.stream_id, []).append(event.data)
                if event.end_stream:
                    finished.add(event.stream_id)
            elif isinstance(event, events.DatagramFrameReceived):
                datagrams.append(event.data)
            else:
                self._handle_event(event)
        for stream, parts in chunks.items():
            if self._driver.ended:
                return
            self._deliver(stream, parts[0] if len(parts) == 1 else b"".join(parts), stream in finished)
        if datagrams and self.is_ready:  # else they have overtaken the proof, or there is none
            handler.path_datagrams(self, datagrams)

    # ------------------------------------------------------------ inside

    def _handle_event(self, event: events.QuicEvent) -> None:
        if self._driver.ended:
            return
        if isinstance(event, events.HandshakeCompleted):
            if event.alpn_protocol != ALPN or event.session_resumed or event.early_data_accepted:
                self.abort("QUIC was agreed upon in another way")
                return
            self._driver.handshaken = True
            if self.role is Role.CALLER:
                self._write(RECORDS, self._keys.proof(self._certificate))
        elif isinstance(event, events.PingAcknowledged):
            self._pinging = False
        elif isinstance(event, events.StreamReset | events.StopSendingReceived):
            self._reset_came(event.stream_id)

    def _deliver(self, stream: int, data: bytes, end: bool) -> None:
        if self._proven and not self._settled:
            self._keep(partial(self._deliver, stream, data, end))
        elif stream == RECORDS and not end:
            self._records(data)
        elif not self._ready:
            self.abort("something came before the proof")
        elif stream == DATA[self.role.other] and not end:
            self._handler.path_data(self, data)
        elif stream == RECORDS or stream & _UNIDIRECTIONAL:
            self.abort("a stream that has to stay ended, or one too many began")
        elif stream not in self._cut:
            self._handler.path_stream(self, stream, data, end)

    def _records(self, data: bytes) -> None:
        if self._ready:
            self._handler.path_records(self, data)
            return
        self._proof += data
        if len(self._proof) < PROOF:
            return
        rest = bytes(self._proof[PROOF:])
        if not self._keys.proves(bytes(self._proof[:PROOF]), self._certificate):
            self.abort("the other end has not proven itself")
            return
        self._settle()
        if rest and not self._driver.ended:
            self._deliver(RECORDS, rest, False)

    def _settle(self) -> None:
        """Both proofs have passed, or ours is about to: let the engine go on, if it can.

        The target is ready at once, as the caller takes it for ready, whatever becomes of the path: it sends nothing
        by itself. The caller, which begins, is ready behind this.
        """
        self._proven = True
        self._proof.clear()
        if self._deadline is not None:
            self._deadline.cancel()
        if self.role is Role.TARGET:
            self._write(RECORDS, self._keys.proof(self._certificate))
            self._become_ready()
        if isinstance(self._quic, Connection) and may_take_over(self._quic):
            rtt = self._quic.rtt or self._measured  # aioquic has none where all of the handshake was sent twice
            self._driver.settle(max(limits.DIRECT_SETTLE_RTTS * rtt, limits.DIRECT_SETTLE_LEAST))
        else:
            self.quic_settled(self._quic)

    def _become_ready(self) -> None:
        self._ready = True
        self._handler.path_ready(self)

    def _deliver_early(self) -> None:
        self._settled = True
        early, self._early = self._early, []
        for act in early:
            act()

    def _keep(self, act: Callable[[], None]) -> None:
        """Keep what comes behind the proof until it is settled what reads it."""
        if len(self._early) >= limits.DIRECT_SETTLE_KEPT:
            self._early.clear()
            self.abort("too much came before the path was settled")
        elif not self._driver.ended:
            self._early.append(act)

    def _reset_came(self, stream: int) -> None:
        if self._proven and not self._settled:
            self._keep(partial(self._reset_came, stream))
        elif not self._ready or stream == RECORDS or stream & _UNIDIRECTIONAL:
            self.abort("a stream that has to stay was reset")
        elif stream not in self._cut:
            self._cut_stream(stream)
            self._handler.path_stream_reset(self, stream)

    def _cut_stream(self, stream: int) -> None:
        if len(self._cut) > 2 * limits.FORWARDS_PER_PEER:
            self._cut = {cut for cut in self._cut if self._quic.is_open(cut)}
        if self._quic.is_open(stream):
            self._cut.add(stream)
            self._quic.reset_stream(stream, ABORTED)
            self._quic.stop_stream(stream, ABORTED)

    def _send(self, stream: int, data: bytes, end: bool = False) -> None:
        if self._driver.ended:
            return
        if not self._ready:
            raise LocalProtocolError("the path is not ready")
        self._write(stream, data, end)

    def _write(self, stream: int, data: bytes, end: bool = False) -> None:
        try:
            self._quic.send_stream_data(stream, data, end)
        except (RuntimeError, ValueError):  # over: the other end may have reset it in this very batch
            return
        self._driver.transmit_soon()


def _require(keys: DirectKeys, role: Role) -> None:
    if keys.role is not role:
        raise LocalProtocolError(f"a {role.value}'s path needs a {role.value}'s keys")

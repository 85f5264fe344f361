"""The carriers of a session (`direct/carrier_transport.py`): the tunnel it began in, a direct path, a standby tunnel.

Until the session has a carrier, its maker owns it, and ends it when nothing comes of it: `DirectCarrier.open`
does, and so does the end that dials or accepts a standby. From `begin` on it is the `CarrierTransport`'s to end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from ssbfast import native
from ssbfast.direct.standby_tunnel import RawTunnel, StandbyTunnel
from ssbfast.errors import LocalProtocolError, PunchError, RemoteError, SessionEndedError, SSBError
from ssbfast.net.stream import Stream
from ssbfast.net.tunnel_transport import TunnelTransport
from ssbfast.wire.direct.signaling import NO_SUCH_SESSION

if TYPE_CHECKING:
    from ssbfast.direct.hole_punch import Attempt
    from ssbfast.direct.quic_path import DirectPath
    from ssbfast.direct.udp import Address, UdpSocket
    from ssbfast.net.peer import Peer
    from ssbfast.wire.direct.carriers.session import Carriers
    from ssbfast.wire.direct.memory import MemoryShare


FIRST: Final = 0
"""The number of the tunnel that a session began in."""


class Carrier(Protocol):
    """One carrier, as far as the session is concerned. What it has no use for never reaches it."""

    def begin(self, number: int) -> None:
        """Begin under this number, by which the machine knows it; what has come already may be told now."""

    def send_records(self, data: bytes) -> None:
        """Write records."""

    def send_data(self, data: bytes) -> None:
        """Write bytes of the session."""

    def begin_raw(self) -> None:
        """Say the goodbyes of a standby."""

    def ping(self) -> None:
        """Ask for a sign of life."""

    def used(self, used: int, unread: int) -> None:
        """Note how many bytes the session has used up in all, and how many have come and wait for it."""

    def waiting(self) -> Mapping[int, int]:
        """Return what QUIC has sent and seen no acknowledgement of: see `Carriers.waiting`."""

    def end(self, clean: bool) -> None:
        """End it."""

    def read(self, yes: bool) -> None:
        """Read it or not, as far as that can be chosen."""

    @property
    def is_full(self) -> bool:
        """True when it would rather take nothing now."""


class CarriedSession(Protocol):
    """A session that travels by carriers, which tell it what happens. carrier: its number."""

    @property
    def carriers(self) -> Carriers:
        """Rules of the session's carriers."""

    def records_received(self, number: int, data: bytes) -> None:
        """Take records."""

    def data_received(self, number: int, data: bytes) -> None:
        """Take bytes of the session."""

    def sign_received(self, number: int, rtt: float) -> None:
        """Note a sign of life, and the round trip in seconds."""

    def carrier_lost(self, number: int, clean: bool, why: Exception | None = None) -> None:
        """Do without the carrier from now on. clean: it has ended in order."""

    def on_given_up(self, number: int) -> None:
        """Note that the other end says that it has the session no more."""

    def on_writable(self) -> None:
        """Note that a carrier takes more, or no more."""

    def on_forward_activity(self) -> None:
        """Note that a forwarded connection moves on a carrier."""


class PathListener(Protocol):
    """The owner of a direct path, told of forwarded connections and of its end."""

    def path_ready(self, carrier: DirectCarrier) -> None:
        """Note that both proofs have passed: the session has the path now, or it has been ended."""

    def stream_data(self, carrier: DirectCarrier, stream: int, data: bytes, end: bool) -> None:
        """Take bytes of a forwarded connection."""

    def stream_reset(self, carrier: DirectCarrier, stream: int) -> None:
        """Note that the other end has cut a forwarded connection."""

    def path_over(self, carrier: DirectCarrier) -> None:
        """Note that it is lost, or was ended."""


class FirstTunnel:
    """The tunnel that the session began in: raw both ways, without records. It becomes that tunnel's protocol."""

    def __init__(self, session: CarriedSession, tunnel: TunnelTransport) -> None:
        self._session = session
        self._tunnel = tunnel
        self._full = tunnel.is_full
        tunnel.set_protocol(RawTunnel(self, tunnel))

    def begin(self, number: int) -> None:
        """Do nothing: it always was `FIRST`."""

    def send_records(self, data: bytes) -> None:
        """Do nothing: there are none on a raw tunnel."""

    def send_data(self, data: bytes) -> None:
        self._tunnel.write(data)

    def begin_raw(self) -> None:
        """Do nothing: it is raw."""

    def ping(self) -> None:
        """Do nothing: a tunnel has its room's keepalive."""

    def used(self, used: int, unread: int) -> None:
        """Do nothing: a tunnel has its own flow control."""

    def waiting(self) -> Mapping[int, int]:
        return {}

    def end(self, clean: bool) -> None:
        if clean:
            self._tunnel.close()
        else:
            self._tunnel.abort()

    def read(self, yes: bool) -> None:
        with contextlib.suppress(SSBError):
            if yes:
                self._tunnel.resume_reading()
            else:
                self._tunnel.pause_reading()

    @property
    def is_full(self) -> bool:
        return self._full

    def raw_received(self, tunnel: TunnelTransport, data: bytes) -> None:
        self._session.data_received(FIRST, data)

    def raw_writable(self, tunnel: TunnelTransport, yes: bool) -> None:
        self._full = not yes
        self._session.on_writable()

    def raw_lost(self, tunnel: TunnelTransport, error: Exception | None) -> None:
        self._session.carrier_lost(FIRST, error is None, error)


class DirectCarrier:
    """A direct path. It is the path's handler (`direct/quic_path.py`).

    ready: done when both proofs have passed, and the session has the path if it wants it; PunchError when the path was
    lost before. takes: bytes without ACK that the other end says it takes, None: it does not say. share: memory for
    windows that grow.
    """

    def __init__(
        self,
        session: CarriedSession,
        owner: PathListener,
        takes: int | None = None,
        share: MemoryShare | None = None,
    ) -> None:
        self.takes = takes
        self.share = share
        self.number: int | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.path: DirectPath | None = None
        self.take_datagrams: Callable[[list[bytes]], None] | None = None
        """Takes the datagrams that come; None: they are dropped."""
        self._session = session
        self._owner = owner

    @property
    def epoch(self) -> int:
        return 0 if self.path is None else self.path.epoch

    async def open(
        self,
        udp: UdpSocket,
        remote: Address | None,
        *,
        within: float,
        rtt: float | None = None,
        attempt: Attempt | None = None,
    ) -> None:
        """Start `path` on a punched socket, which is the path's to close from now on; returns when it is ready.

        remote, within, rtt: see `DirectPath.start`. attempt: at the target, what has punched, and has early datagrams.
        Raises PunchError. Then, and when cancelled, the path is ended, unless the session has it.
        """
        path = self.path
        if path is None:
            udp.close()
            raise LocalProtocolError("there is no path to open")
        try:
            path.start(udp, remote, within=within, rtt=rtt)
            if attempt is not None:
                attempt.hand_to(path)
            await asyncio.shield(self.ready)
        finally:
            if self.number is None:
                path.abort("given up")

    # ------------------------------------------------------------ Carrier

    def begin(self, number: int) -> None:
        self.number = number

    def send_records(self, data: bytes) -> None:
        if self.path is not None:
            self.path.send_records(data)

    def send_data(self, data: bytes) -> None:
        if self.path is not None:
            self.path.send_data(data)

    def begin_raw(self) -> None:
        """Do nothing: there are no boxes around a session on a direct path."""

    def ping(self) -> None:
        if self.path is not None:
            self.path.ping()

    def used(self, used: int, unread: int) -> None:
        if self.path is not None:
            self.path.session_used(used, unread)

    def waiting(self) -> Mapping[int, int]:
        return {} if self.path is None else self.path.waiting()

    def end(self, clean: bool) -> None:
        if self.path is None:
            return
        if clean:
            self.path.close()
        else:
            self.path.abort("given up")
        self._owner.path_over(self)

    def read(self, yes: bool) -> None:
        """Do nothing: what is not used up gives no credit, and is not acknowledged."""

    @property
    def is_full(self) -> bool:
        return False  # the window bounds what QUIC holds

    def on_forward_activity(self) -> None:
        """Note that a forwarded connection has sent something."""
        self._session.on_forward_activity()

    # ------------------------------------------------------------ DirectHandler

    def path_ready(self, path: DirectPath) -> None:
        if not self.ready.done():
            self._owner.path_ready(self)
            self.ready.set_result(None)

    def path_records(self, path: DirectPath, data: bytes) -> None:
        if self.number is not None:
            self._session.records_received(self.number, data)

    def path_data(self, path: DirectPath, data: bytes) -> None:
        if self.number is not None:
            self._session.data_received(self.number, data)

    def path_stream(self, path: DirectPath, stream: int, data: bytes, end: bool) -> None:
        self._session.on_forward_activity()
        self._owner.stream_data(self, stream, data, end)

    def path_stream_reset(self, path: DirectPath, stream: int) -> None:
        self._owner.stream_reset(self, stream)

    def path_datagrams(self, path: DirectPath, datagrams: list[bytes]) -> None:
        if self.take_datagrams is not None:
            self.take_datagrams(datagrams)

    def path_heard(self, path: DirectPath) -> None:
        if self.number is not None:
            self._session.sign_received(self.number, path.rtt or 0.0)

    def path_lost(self, path: DirectPath, clean: bool, reason: str) -> None:
        if not self.ready.done():
            self.ready.set_exception(PunchError(f"no direct path: {reason}"))
            self.ready.exception()  # a failure that nothing awaits is no error
        if self.number is not None:
            self._session.carrier_lost(self.number, clean)
        self._owner.path_over(self)


class StandbyCarrier:
    """A standby: records in its `direct.carrier`, later the session raw.

    peer: the standby's own session; tunnel: what it runs over.
    """

    def __init__(self, session: CarriedSession, peer: Peer, tunnel: StandbyTunnel) -> None:
        self.number: int | None = None
        self._session = session
        self._peer = peer
        self._tunnel = tunnel
        self._records: RecordStream | None = None
        self._raw: TunnelTransport | None = None
        self._full = False
        self._over = False
        self._early = b""

    def open(self, stream: RecordStream) -> None:
        """Let records travel in this stream, which the other end has accepted."""
        self._records = stream
        stream.carrier = self
        self._early, stream.early = stream.early, b""

    # ------------------------------------------------------------ Carrier

    def begin(self, number: int) -> None:
        self.number = number
        early, self._early = self._early, b""
        if early:
            self.received(early)

    def send_records(self, data: bytes) -> None:
        if self._records is not None and self._peer.is_open:
            self._records.packet(native.STREAM, data)

    def send_data(self, data: bytes) -> None:
        self._tunnel.write_raw(data)

    def begin_raw(self) -> None:
        self._raw = self._tunnel.change(self)

    def ping(self) -> None:
        """Do nothing: the machine writes keepalive records."""

    def used(self, used: int, unread: int) -> None:
        """Do nothing: a tunnel has its own flow control."""

    def waiting(self) -> Mapping[int, int]:
        return {}

    def end(self, clean: bool) -> None:
        self._over = True
        if self._raw is not None and clean:
            self._tunnel.close_raw()
        elif clean:
            self._peer.link.close()
        elif self._raw is None and self._records is not None and self._session.carriers.is_over:
            # The other end need not look for a carrier of a session that is no more.
            self._peer.end(self._records, NO_SUCH_SESSION)
            self._peer.link.close()
        else:
            self._tunnel.cut()

    def read(self, yes: bool) -> None:
        if self._raw is None:
            return
        if yes:
            self._raw.resume_reading()
        else:
            self._raw.pause_reading()

    @property
    def is_full(self) -> bool:
        return self._full

    # ------------------------------------------------------------ TunnelListener

    def raw_received(self, tunnel: TunnelTransport, data: bytes) -> None:
        if self.number is not None and not self._over:
            self._session.data_received(self.number, data)

    def raw_writable(self, tunnel: TunnelTransport, yes: bool) -> None:
        self._full = not yes
        self._session.on_writable()

    def raw_lost(self, tunnel: TunnelTransport, error: Exception | None) -> None:
        self.lost(error)

    # ------------------------------------------------------------ from its session

    def received(self, data: bytes) -> None:
        """Take records."""
        if self.number is None:
            self._early += data
        elif not self._over:
            self._session.records_received(self.number, data)

    def on_session_dropped(self) -> None:
        """Note that the other end says that it has the session no more."""
        if self.number is not None and not self._over:
            self._session.on_given_up(self.number)

    def session_over(self, error: SSBError | None) -> None:
        """Note that the standby's own session has ended, or what it is for: in order, if it was to make room for
        the one that it carries."""
        if self._raw is None:
            self.lost(error)
            self._peer.link.close()

    def lost(self, error: Exception | None) -> None:
        """Note that there is no standby any more, or that the tunnel under the carried session is over."""
        if self.number is not None and not self._over:
            self._over = True
            self._session.carrier_lost(self.number, error is None, error)


class RecordStream(Stream):
    """The stream of `direct.carrier`: it acts on input at once, in order with the goodbye behind it.

    accepted: done when the other end has written its first record, which says yes; RemoteError when it has said no by
    itself, and SessionEndedError however else the stream ended.
    """

    def __init__(self, peer: Peer, req: int) -> None:
        super().__init__(peer, req)
        self.carrier: StandbyCarrier | None = None
        self.early = b""
        self.accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_item(self, item: Any, size: int) -> None:
        if not self.accepted.done():
            self.accepted.set_result(None)
        if not isinstance(item, bytes):
            return
        if self.carrier is not None:
            self.carrier.received(item)
        else:
            self.early += item

    def on_end(self, error: SSBError | None) -> None:
        super().on_end(error)
        over = SessionEndedError("the standby was ended")
        said_so = self._peer.is_open  # else its session is ending, and tells by itself how: a room may have cut it
        if not self.accepted.done():
            self.accepted.set_exception(error if said_so and isinstance(error, RemoteError) else over)
            self.accepted.exception()  # a failure that nothing awaits is no error
        if self.carrier is not None and said_so:
            if isinstance(error, RemoteError) and error.message == NO_SUCH_SESSION:
                self.carrier.on_session_dropped()
            self.carrier.session_over(error or over)

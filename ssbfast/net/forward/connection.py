"""One TCP connection and the duplex that carries it, joined: bytes, ends, resets and back-pressure of each go to
the other.

What happens to bytes in flight
    FIN                        what came before it is delivered first; the other direction goes on.
    both directions finished   what still waits for a slow reader is delivered, then both are closed.
    RST of the TCP connection  dropped; the peer gets an error end.
    error of the duplex, or end of its session
                               what came before is written as far as the TCP connection takes it at once; then a RST.

A close of the TCP connection before both directions have finished is a reset, also when our process dies.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol, cast

from ssbfast import limits
from ssbfast.errors import CarrierError, RemoteError
from ssbfast.net.api import OpenStream
from ssbfast.net.forward.service import Service
from ssbfast.net.forward.window import WindowedTransport
from ssbfast.net.peer import Peer
from ssbfast.net.sockets import end_on_close, reset, tune_carried

RESET = "the connection was reset"
NOTHING_CAME = "cut before a byte came: is there a service at the other end?"
_PIECE = limits.FORWARD_WINDOW // 4
"""Written at a time: the peer is told when it has been taken."""


class ConnectionListener(Protocol):
    """Listener to the events of carried connections: a `ForwardServer` or a `ForwardListener`."""

    buffer: memoryview
    """Where received bytes are put first; all connections of a loop may share one."""

    def on_connected(self, connection: Carried) -> None:
        """Note that the TCP connection is there."""

    def on_refused(self, connection: Carried, reason: str) -> None:
        """Note that the other end has cut it before a byte came. reason: its words, or ours."""

    def on_closed(self, connection: Carried) -> None:
        """Note, once, that nothing is left of it."""


class CarriedStream(Protocol):
    """The carrier of a connection: a duplex of the session, or a stream of a direct path."""

    sent: int
    got: int

    @property
    def finished(self) -> bool:
        """True when both directions have ended."""

    def write(self, data: Any) -> None:
        """Take bytes of the TCP connection."""

    def write_eof(self) -> None:
        """End our direction: there are no more bytes."""

    def waiting(self, n: int) -> None:
        """Note that n of the bytes delivered are not used up yet."""

    def close(self) -> None:
        """Close it; both directions have finished."""

    def reset(self, message: str) -> None:
        """Cut it."""


class Carried(asyncio.BufferedProtocol):
    """The joint of a TCP connection and a duplex; towards the TCP connection it is the protocol.

    Either side may be there first: the duplex where a peer calls, the TCP connection where a program does.
    """

    def __init__(self, owner: ConnectionListener) -> None:
        self._owner = owner
        self._tcp: asyncio.Transport | None = None
        self._tcp_over = False
        self._stream_over = False
        self._eof = False
        self._fresh: list[bytes] = []  # of the peer's, in this tick
        self._waiting = bytearray()  # of the peer's, while there is no TCP connection, or it takes no more
        self._full = False
        self._fin_due = False
        self._fin_written = False
        self._unread = bytearray()  # of the TCP connection's, while there is no duplex
        self._is_over = False
        self.peer: Peer | None = None
        self.stream: CarriedStream | None = None
        self.service: Service | None = None
        """What it leads to, where the duplex was first."""
        self.connecting: asyncio.Task[None] | None = None
        """Where the duplex was first: what opens the TCP connection."""
        self.patience: asyncio.TimerHandle | None = None
        """How long it waits for a session, or for a place."""
        self.counts = False
        """Whether it has one of the places of its peer."""

    @property
    def has_finished(self) -> bool:
        """True when both directions have ended in order."""
        return self._eof and self._fin_written

    def carry(self, peer: Peer, req: int) -> WindowedTransport:
        """Be carried by the stream `req` of this session."""
        self.peer = peer
        return WindowedTransport(peer, req, _StreamSide(self))

    def carry_direct(self, peer: Peer, open_stream: OpenStream) -> None:
        """Be carried by a stream of a direct path of this session."""
        self.peer = peer
        open_stream(_StreamSide(self))

    def reset(self, message: str = RESET) -> None:
        """Cut both sides; `message` is what the peer is told."""
        if self.stream is not None and not self._stream_over:
            self.stream.reset(message)
        self._cut()

    def pause(self) -> None:
        """Do not read from the TCP connection."""
        if self._tcp is not None and not self._eof:
            self._tcp.pause_reading()

    def resume(self) -> None:
        if self._tcp is not None and not self._eof:
            self._tcp.resume_reading()

    # ------------------------------------------------------------ the TCP connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._tcp = tcp = cast(asyncio.Transport, transport)
        tcp.set_write_buffer_limits(high=0)  # what it cannot take at once waits here: in one piece, and counted
        tune_carried(tcp)
        if self._stream_over:
            reset(tcp)  # it came too late
            return
        self._owner.on_connected(self)
        self._pump()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._owner.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self.stream is not None:
            self.stream.write(self._owner.buffer[:nbytes])
        else:  # one read may slip through before the pause
            self._unread += self._owner.buffer[:nbytes]

    def eof_received(self) -> bool:
        self._eof = True
        if self.stream is not None:
            self.stream.write_eof()
            self._close_finished()
        return True  # we close it when the other direction has finished as well

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._fin_due and self._eof:
            # It may be closed now, and a transport that is closed in here asyncio would end twice.
            asyncio.get_running_loop().call_soon(self._pump)
        else:
            self._pump()

    def connection_lost(self, exc: Exception | None) -> None:
        self._tcp_over = True
        stream = self.stream
        if stream is not None and not self._stream_over:
            if exc is None and stream.finished:
                stream.close()
            else:
                stream.reset(RESET)
        self._check_over()

    # ------------------------------------------------------------ the duplex

    def on_open(self, stream: CarriedStream) -> None:
        self.stream = stream
        if self._unread:
            unread, self._unread = self._unread, bytearray()
            stream.write(unread)
        if self._eof:
            stream.write_eof()

    def deliver(self, data: bytes) -> None:
        """Take bytes of the peer.

        They are written once per tick: with many connections they come box by box, and a system call for each costs
        more than the box.
        """
        if self._tcp is None or (self._full and not self._fresh):
            self._waiting += data
            return
        if not self._fresh:
            asyncio.get_running_loop().call_soon(self._deliver)
        self._fresh.append(data)

    def finish(self) -> None:
        """Note that the peer's direction has finished."""
        self._fin_due = True
        self._deliver()

    def stream_lost(self, error: Exception | None = None) -> None:
        """Note that the duplex is over: in order, if the TCP connection went before. error: the other end's."""
        self._stream_over = True
        if self.stream is not None and not self.stream.got and not self._tcp_over:
            if isinstance(error, RemoteError):
                self._owner.on_refused(self, error.message)
            elif isinstance(error, CarrierError):  # a direct path has no words
                self._owner.on_refused(self, NOTHING_CAME)
        if self.connecting is not None:
            self.connecting.cancel()
        rest = b"".join((self._waiting, *self._fresh))
        if rest and self._tcp is not None and not self._tcp.is_closing() and not self._full:
            self._tcp.write(rest)
        self._fresh.clear()
        self._waiting.clear()
        self._cut()
        self._check_over()

    # ------------------------------------------------------------ inside

    def _deliver(self) -> None:
        """Write what came in this tick."""
        fresh, self._fresh = self._fresh, []
        tcp = self._tcp
        if not fresh or tcp is None or tcp.is_closing():
            pass
        elif self._full or self._waiting:
            self._waiting += b"".join(fresh)
        else:
            tcp.write(fresh[0] if len(fresh) == 1 else b"".join(fresh))
        self._pump()

    def _pump(self) -> None:
        """Write what waits, as far as the TCP connection takes it, and tell the peer how far that is."""
        tcp = self._tcp
        if tcp is None or tcp.is_closing():
            return
        while self._waiting and not self._full:
            piece = bytes(self._waiting[:_PIECE])
            del self._waiting[:_PIECE]
            tcp.write(piece)
        if self.stream is not None:
            self.stream.waiting(tcp.get_write_buffer_size() + len(self._waiting))
        if self._fin_due and not self._waiting and not self._full and not self._fin_written:
            self._finish(tcp)

    def _finish(self, tcp: asyncio.Transport) -> None:
        self._fin_written = True
        try:
            tcp.write_eof()
        except OSError:  # it was reset, and asyncio does not know yet
            self.reset()
            return
        self._close_finished()

    def _close_finished(self) -> None:
        if self.has_finished and self._tcp is not None:
            end_on_close(self._tcp)
            self._tcp.close()  # `connection_lost` then ends the stream

    def _cut(self) -> None:
        """Reset the TCP connection, unless it has finished and is just being closed."""
        if self._tcp is not None and not self._tcp_over and not self._tcp.is_closing():
            reset(self._tcp)

    def _check_over(self) -> None:
        tcp_over = self._tcp is None or self._tcp_over
        stream_over = self.stream is None or self._stream_over
        if tcp_over and stream_over and not self._is_over:
            self._is_over = True
            if self.patience is not None:
                self.patience.cancel()
            self._owner.on_closed(self)


class _StreamSide(asyncio.Protocol):
    """The face of the joint towards the duplex, whose callbacks have the same names as the TCP connection's."""

    def __init__(self, joint: Carried) -> None:
        self._joint = joint

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._joint.on_open(cast(CarriedStream, transport))

    def data_received(self, data: bytes) -> None:
        self._joint.deliver(data)

    def eof_received(self) -> bool:
        self._joint.finish()
        return True

    def pause_writing(self) -> None:
        self._joint.pause()

    def resume_writing(self) -> None:
        self._joint.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self._joint.stream_lost(exc)

"""The end of a tunnel as an asyncio transport: bytes of one muxrpc duplex of an outer session.

The inner link on top of it neither knows nor cares. Bytes written go to a lane of the outer link, where they
take turns with other tunnels; bytes received come as chunks from the outer link's native scanner.

What happens to bytes in flight
    `close()`, `write_eof()`   what was written goes out, then the end of the stream.
    `abort()`                  what was written and has not left is dropped; the other end gets an error end.
    other end, or its error    what came before has been delivered; ours that still waits is sent on after a
                               clean end, and dropped after an error.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from ssbfast import limits, native
from ssbfast.errors import SessionEndedError, SSBError
from ssbfast.ids import FeedId
from ssbfast.net.link import Link

_HIGH = limits.TUNNEL_SHARE // 2
_LOW = limits.TUNNEL_SHARE // 4


class Carrier(Protocol):
    """What a tunnel needs of the session that carries it."""

    @property
    def link(self) -> Link: ...

    def end_stream(self, req: int, error: str | None) -> bytes | None:
        """Note that our direction ends; the body of the end packet, or None when it had ended before."""

    def forget_tunnel(self, req: int) -> None:
        """The tunnel is over on this end."""


class TunnelTransport(asyncio.Transport):
    """One end of a tunnel.

    carrier: the session with the portal. req: the number we write on it. protocol: the inner link.
    portal: whose session it is; `get_extra_info("portal")` tells it.
    """

    def __init__(self, carrier: Carrier, req: int, protocol: asyncio.BaseProtocol, portal: FeedId) -> None:
        super().__init__({"portal": portal})
        self._loop = asyncio.get_running_loop()
        self._carrier = carrier
        self._link = carrier.link
        self._req = req
        self._protocol = protocol
        self._lane = native.Lane(self._link.core, req, limits.TUNNEL_SHARE)
        self._inlet = native.Inlet(self._link.core, -req, None)
        self._unsent = bytearray()
        self._unread = bytearray()
        self._ended_remote = False
        self._ended_local = False
        self._closing = False
        self._lost = False
        self._reading = True
        self._protocol_paused = False
        self._stall: asyncio.TimerHandle | None = None
        protocol.connection_made(self)

    # ------------------------------------------------------------ asyncio.Transport

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return self._lane.queued + len(self._unsent)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return _LOW, _HIGH

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The limits are the tunnel's share of its link; they are not the protocol's to choose."""

    def write(self, data: Any) -> None:
        if self._ended_local or self._lost or not data:
            return
        try:
            if self._unsent or not self._lane.write(data):
                self._unsent += data
        except SessionEndedError:
            return  # the carrier has just gone; its end is on the way here
        self._link.touched()
        if self._unsent or self.get_write_buffer_size() > _HIGH:
            self._pause_protocol()

    def write_eof(self) -> None:
        if self._ended_local:
            return
        self._ended_local = True
        self._send_end(None)

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        if self._unread:
            self._loop.call_soon(self._deliver_unread)

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self.write_eof()
        if not self._unsent:  # else `_drained` does it behind them
            self._loop.call_soon(self._connection_lost, None)

    def abort(self) -> None:
        if self._lost:
            return
        self._closing = True
        if self._unsent or not self._ended_local:  # else the end waits in the lane, and stays there
            self._unsent.clear()
            self._ended_local = True
            self._lane.clear()
            self._send_end("the connection was closed")
        self._loop.call_soon(self._connection_lost, None)

    # ------------------------------------------------------------ from the carrier

    def received(self, data: bytes) -> None:
        """Bytes came through the tunnel."""
        if self._lost:
            return
        if self._reading and not self._unread:
            self._deliver(bytearray(data))
            return
        self._unread += data
        if len(self._unread) > limits.STREAM_INBOX:
            self._link.hold(self)
            if self._stall is None:
                self._stall = self._loop.call_later(limits.STALL_SECONDS, self.abort)

    def remote_ended(self, error: SSBError | None) -> None:
        """The other end has ended its direction."""
        self._ended_remote = True
        if error is not None:
            self._ended_local = True
            self._closing = True
            self._loop.call_soon(self._connection_lost, error)
        elif not self._unread:
            self._eof()

    def carrier_closed(self) -> None:
        """The session that carries the tunnel is gone."""
        self._closing = True
        self._connection_lost(SessionEndedError("the session with the room ended"))

    # ------------------------------------------------------------ inside

    def _deliver(self, data: bytearray) -> None:
        protocol = self._protocol
        if isinstance(protocol, Link):
            protocol.data_received(data)
        elif isinstance(protocol, asyncio.Protocol):
            protocol.data_received(bytes(data))

    def _deliver_unread(self) -> None:
        if self._lost or not self._reading:
            return
        data, self._unread = self._unread, bytearray()
        self._link.release(self)
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        if data:
            self._deliver(data)
        if self._ended_remote and not self._unread:
            self._eof()

    def _eof(self) -> None:
        protocol = self._protocol
        keep_open = False
        if isinstance(protocol, asyncio.Protocol | asyncio.BufferedProtocol):
            keep_open = bool(protocol.eof_received())
        if not keep_open:
            self.close()

    def _pause_protocol(self) -> None:
        if not self._protocol_paused:
            self._protocol_paused = True
            self._protocol.pause_writing()
            self._link.when(lambda: self._lane.queued <= _LOW, self._drained)

    def _drained(self) -> None:
        if self._lost:
            return
        if self._unsent and self._link.is_open:
            if not self._lane.write(self._unsent):
                self._link.when(lambda: not self._lane.full, self._drained)
                return
            self._unsent = bytearray()
            self._link.touched()
            if self._ended_local:
                self._send_end(None)
            if self._closing:
                self._loop.call_soon(self._connection_lost, None)
        if self._protocol_paused:
            self._protocol_paused = False
            self._protocol.resume_writing()

    def _send_end(self, error: str | None) -> None:
        if self._unsent:
            return  # `_drained` sends it behind them
        body = self._carrier.end_stream(self._req, error)
        if body is None:
            return
        try:
            self._lane.packet(native.STREAM | native.END | native.JSON, body)
        except SessionEndedError:
            return
        self._link.touched()

    def _connection_lost(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = True
        self._link.release(self)
        if self._stall is not None:
            self._stall.cancel()
        self._inlet.close()
        lane = self._lane
        if error is not None:
            lane.clear()
        self._link.when(lambda: not lane.queued, lane.close)
        self._carrier.forget_tunnel(self._req)
        self._protocol.connection_lost(error)

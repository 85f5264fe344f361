"""A muxrpc duplex of bytes as an asyncio transport: what tunnels and carried TCP connections have in common.

Bytes written go to a native lane of the session's link, where they take turns with other streams; bytes received
come as chunks from the link's native scanner. How much may be received before it is read differs, and is the
subclasses' business: `net/tunnel_transport.py`, `net/forward/window.py`.

What happens to bytes in flight
    `close()`, `write_eof()`   what was written goes out, then the end of the stream.
    `abort()`                  what was written and has not left is dropped; the other end gets an error end.
    other end, or its error    what came before has been delivered; ours that still waits is sent on after a
                               clean end, and dropped after an error.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Protocol

from ssbfast import limits, native
from ssbfast.errors import SessionEndedError, SSBError
from ssbfast.net.link import Link

HIGH = limits.TUNNEL_SHARE // 2
LOW = limits.TUNNEL_SHARE // 4
_END = native.STREAM | native.END | native.JSON


class DuplexSession(Protocol):
    """A session that carries a duplex, as far as the duplex needs it."""

    @property
    def link(self) -> Link: ...

    def end_stream(self, req: int, error: str | None) -> bytes | None:
        """Note that our direction ends; return the body of the end packet, or None when it had ended before."""

    def forget_tunnel(self, req: int) -> None:
        """Forget the duplex, which is over on this end."""


class DuplexTransport(asyncio.Transport):
    """One end of a duplex of bytes.

    carrier: the session. req: the number we write on it. protocol: gets the bytes.
    extra: what `get_extra_info` tells.
    """

    _gone = "the session that carried it ended"

    def __init__(self, carrier: DuplexSession, req: int, protocol: asyncio.BaseProtocol, extra: dict[str, Any]) -> None:
        super().__init__(extra)
        self._loop = asyncio.get_running_loop()
        self._carrier = carrier
        self._link = carrier.link
        self._req = req
        self._protocol = protocol
        self._lane = native.Lane(self._link.core, req, limits.TUNNEL_SHARE)
        self._inlet = native.Inlet(self._link.core, -req, None)
        self.written = 0
        """Bytes that the protocol has written."""
        self._unsent = bytearray()
        self._ended_remote = False
        self._ended_local = False
        self._end_queued = False
        self._closing = False
        self._lost = False
        self._protocol_paused = False
        self._awaits_low = self._awaits_room = False
        protocol.connection_made(self)

    # ------------------------------------------------------------ asyncio.Transport

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def is_closing(self) -> bool:
        return self._closing

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return self._lane.queued + len(self._unsent)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return LOW, HIGH

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Ignore the protocol's choice: the limits are the stream's share of its link."""

    @property
    def is_full(self) -> bool:
        """True while the protocol is paused: its size alone does not tell, between the two limits."""
        return self._protocol_paused

    def write(self, data: Any) -> None:
        if self._ended_local or self._lost or not data:
            return
        self.written += len(data)
        if self._unsent or len(data) > self._allowed() or not self._push(data):
            self._unsent += data
        if self._unsent or self.get_write_buffer_size() > HIGH or not self._allowed():
            self._pause_protocol()

    def write_eof(self) -> None:
        if self._ended_local:
            return
        self._ended_local = True
        self._send_end(None)

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._ended_local = True
        self._send_end(None)
        if not self._unsent:  # else `_drained` does it behind them
            self._loop.call_soon(self._connection_lost, None)

    def abort(self) -> None:
        self._cut("the connection was closed", None)

    # ------------------------------------------------------------ from the carrier

    def received(self, data: bytes) -> None:
        """Take bytes that came through the stream."""
        raise NotImplementedError

    def item(self, value: Any) -> None:
        """Ignore an item that is not bytes. A stream of bytes has no use for it."""

    def remote_ended(self, error: SSBError | None) -> None:
        """Note that the other end has ended its direction."""
        self._ended_remote = True
        if error is None:
            self._remote_finished()
            return
        self._closing = True
        self._ended_local = True
        self._unsent.clear()
        self._lane.clear()
        if self._end_queued:
            self._queue(_END, b"true")  # ours was on its way, and is what the other end's books wait for
        self._loop.call_soon(self._connection_lost, error)

    def carrier_closed(self) -> None:
        """Note that the session that carries the stream is gone."""
        self._closing = True
        self._connection_lost(SessionEndedError(self._gone))

    # ------------------------------------------------------------ inside

    def _remote_finished(self) -> None:
        """Note that the other end has ended its direction without an error."""
        raise NotImplementedError

    def _allowed(self) -> int:
        """Return how many bytes the other end allows us to send now."""
        return sys.maxsize

    def _push(self, data: Any) -> bool:
        """Give bytes to the lane; return False when it has no room."""
        try:
            if not self._lane.write(data):
                return False
        except SessionEndedError:
            return True  # the carrier has just gone; its end is on the way here
        self._pushed(len(data))
        self._link.touched()
        return True

    def _pushed(self, n: int) -> None:
        """Note that n bytes are in the lane."""

    def _pause_protocol(self) -> None:
        if not self._protocol_paused:
            self._protocol_paused = True
            self._protocol.pause_writing()
            self._await_low()

    def _await_low(self) -> None:
        """Go on when few bytes wait in the lane. One wait is enough, however often the other end makes us ask."""
        if not self._awaits_low:
            self._awaits_low = True
            self._link.when(lambda: self._lane.queued <= LOW, self._on_low)

    def _on_low(self) -> None:
        self._awaits_low = False
        self._drained()

    def _await_room(self) -> None:
        if not self._awaits_room:
            self._awaits_room = True
            self._link.when(lambda: not self._lane.full, self._on_room)

    def _on_room(self) -> None:
        self._awaits_room = False
        self._drained()

    def _drained(self) -> None:
        if self._lost:
            return
        if self._unsent and self._link.is_open and not self._push_unsent():
            return
        if self._protocol_paused and self._allowed():
            self._protocol_paused = False
            self._protocol.resume_writing()

    def _push_unsent(self) -> bool:
        """Move what waits into the lane; return whether all of it is there now."""
        n = min(self._allowed(), len(self._unsent))
        if n and not self._push(self._unsent if n == len(self._unsent) else self._unsent[:n]):
            self._await_room()
            return False
        del self._unsent[:n]
        if self._unsent:
            return False  # the other end has to allow more first
        if self._ended_local:
            self._send_end(None)
        if self._closing:
            self._loop.call_soon(self._connection_lost, None)
        return True

    def _send_end(self, error: str | None) -> None:
        if self._unsent:
            return  # `_drained` sends it behind them
        self._end_queued = True
        body = self._carrier.end_stream(self._req, error)
        if body is not None:
            self._queue(_END, body)

    def _queue(self, flags: int, body: bytes) -> None:
        """Queue a whole packet behind what is there."""
        try:
            if not self._lane.packet(flags, body):
                self._link.control(flags, self._req, body)  # no memory: rather early than never
        except SessionEndedError:
            return
        self._link.touched()

    def _cut(self, message: str, error: SSBError | None) -> None:
        """End the stream here and now: `message` for the other end, `error` for our protocol."""
        if self._lost:
            return
        self._closing = True
        if not self._end_queued:  # else the end waits in the lane, and stays there
            self._unsent.clear()
            self._ended_local = True
            self._lane.clear()
            self._send_end(message)
        self._loop.call_soon(self._connection_lost, error)

    def _connection_lost(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = True
        self._inlet.close()
        lane = self._lane
        self._link.when(lambda: not lane.queued, lane.close)
        self._carrier.forget_tunnel(self._req)
        self._protocol.connection_lost(error)

"""The end of a tunnel as an asyncio transport: bytes of one muxrpc duplex of an outer session.

The inner link on top of it neither knows nor cares. Bytes received that it does not read pile up to
`STREAM_INBOX`; then the whole outer session is not read any more (tunnels have no flow control of their own), for
`STALL_SECONDS` at the most: then this tunnel ends. For what happens to bytes in flight see `net/duplex_transport.py`.
"""

from __future__ import annotations

import asyncio

from ssbfast import limits
from ssbfast.ids import FeedId
from ssbfast.net.duplex_transport import DuplexSession, DuplexTransport
from ssbfast.net.link import Link


class TunnelTransport(DuplexTransport):
    """One end of a tunnel.

    carrier: the session with the portal. req: the number we write on it. protocol: the inner link.
    portal: the id of the room; `get_extra_info("portal")` tells it.
    """

    _gone = "the session with the room ended"

    def __init__(self, carrier: DuplexSession, req: int, protocol: asyncio.BaseProtocol, portal: FeedId) -> None:
        self.delivered = 0
        """Bytes that the protocol has got."""
        self._unread = bytearray()
        self._reading = True
        self._stall: asyncio.TimerHandle | None = None
        super().__init__(carrier, req, protocol, {"portal": portal})

    # ------------------------------------------------------------ asyncio.Transport

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        if self._unread:
            self._loop.call_soon(self._deliver_unread)

    # ------------------------------------------------------------ from the carrier

    def received(self, data: bytes) -> None:
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

    # ------------------------------------------------------------ inside

    def _remote_finished(self) -> None:
        if not self._unread:
            self._eof()

    def _deliver(self, data: bytearray) -> None:
        self.delivered += len(data)
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

    def _connection_lost(self, error: Exception | None) -> None:
        self._link.release(self)
        if self._stall is not None:
            self._stall.cancel()
        super()._connection_lost(error)

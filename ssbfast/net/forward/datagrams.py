"""UDP services carried in a session: a flow for each address that a program sends from, a duplex for each flow.

A datagram goes as its length (2 bytes, high first) and its bytes, in the duplex of `net/forward/window.py`, so its
boundaries and order are kept; or by the session's direct path as a datagram of QUIC, where that takes it. One that
finds the way full is dropped, as UDP does: nothing waits behind it. A flow over which nothing goes for
`FLOW_IDLE_SECONDS` ends. Where a key has as many flows as it may have, one more ends the one that was silent longest.

Here is what both ends have in common; `net/forward/datagram_server.py` offers services, and
`net/forward/datagram_listener.py` is where programs reach those of a peer.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol, cast

from ssbfast import limits, native
from ssbfast.errors import MuxRPCError
from ssbfast.net.api import DirectDatagrams
from ssbfast.net.duplex_transport import DuplexSession
from ssbfast.net.forward.window import WindowedTransport
from ssbfast.net.peer import Peer
from ssbfast.wire.muxrpc_body import encode_json

METHOD: Final = "forward.datagrams"
GONE: Final = "the service is not offered any more"
IDLE: Final = "the flow is over"
REPLACED: Final = "a newer flow took its place"
DROPPED: Final = "more datagrams come than the path takes: some are dropped"
HEAD: Final = 2
"""Bytes of a datagram's length."""

_KNOWN: Final = "datagrams"
"""The item of a flow by which its other end says that it takes datagrams of a direct path."""

_BATCH: Final = 0 if sys.platform == "win32" else 63  # where the loop has a read under way, a second one gets in front
_LONGEST: Final = 65_536


def framed(datagram: bytes) -> bytes:
    """Return a datagram as a flow carries it."""
    return len(datagram).to_bytes(HEAD, "big") + datagram


class Unframer:
    """The datagrams in a stream, however it is cut."""

    def __init__(self) -> None:
        self._came = bytearray()

    def __len__(self) -> int:
        """Return how many bytes have come that no datagram has been made of."""
        return len(self._came)

    def add(self, data: bytes) -> None:
        """Take bytes."""
        self._came += data

    def whole(self) -> Iterator[bytes]:
        """Yield the datagrams that are whole; those that are not asked for stay.

        Raises MuxRPCError behind them for one that UDP cannot carry.
        """
        while len(self._came) >= HEAD:
            n = int.from_bytes(self._came[:HEAD], "big")
            if n > limits.DATAGRAM:
                raise MuxRPCError("the peer sent a datagram that is too long")
            end = HEAD + n
            if len(self._came) < end:
                return
            datagram = bytes(self._came[HEAD:end])
            del self._came[:end]
            yield datagram


class FlowSocket(asyncio.DatagramProtocol):
    """A UDP socket that takes what has come in one go: a turn of the loop for each datagram would cost too many.

    buffer: where datagrams are put first; all sockets of a loop may share one, those of two threads may not.
    """

    _sock: socket.socket | None = None
    _udp: asyncio.DatagramTransport | None = None

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer

    def take(self, datagram: bytes, address: Any) -> None:
        """Take a datagram that has come."""
        raise NotImplementedError

    async def _use(self, sock: socket.socket) -> None:
        """Read from a socket from now on; it is closed with us, or if this fails."""
        try:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, limits.DATAGRAM_BUFFER)
            self._udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=sock)
        except BaseException:
            sock.close()
            raise
        self._sock = sock

    def _stop(self) -> None:
        self._sock = None
        if self._udp is not None:
            self._udp.close()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.take(data, addr)
        for _ in range(_BATCH):
            if self._sock is None:
                return
            try:
                n, addr = self._sock.recvfrom_into(self._buffer)
            except OSError:  # there is no more; asyncio sees what else there is
                return
            self.take(bytes(self._buffer[:n]), addr)


def new_buffer() -> memoryview:
    """Return what a `FlowSocket` needs."""
    return memoryview(bytearray(_LONGEST))


class FlowOwner(Protocol):
    """The end of a forward that a flow belongs to."""

    def on_dropped(self, flow: Flow) -> None:
        """Note that a datagram found the way full."""

    def on_datagram(self, flow: Flow) -> None:
        """Note that a datagram goes one way or the other."""

    def on_ended(self, flow: Flow, error: Exception | None) -> None:
        """Note, once, that it is over. error: the other end's."""


class _FlowTransport(WindowedTransport):
    """The duplex of a flow."""

    def __init__(self, carrier: DuplexSession, req: int, flow: Flow) -> None:
        self._flow = flow
        super().__init__(carrier, req, flow)

    def say_known(self) -> None:
        """Tell the opener that the flow is known here."""
        self._queue(native.STREAM | native.JSON, encode_json({_KNOWN: True}))

    def item(self, value: Any) -> None:
        if isinstance(value, dict) and value.get(_KNOWN) is True:
            self._flow.known_there = True
        super().item(value)


class Flow(asyncio.Protocol):
    """One end of a flow; towards the duplex it is the protocol.

    Attributes:
        peer: The session that carries it.
        got: Whether the peer has sent anything.
        used: When a datagram went one way or the other, by the loop's clock.
        carried: Datagrams so far, both ways.
        deliver: Takes the datagrams of the peer.
        known_there: Whether the other end takes datagrams of a direct path for it.
    """

    def __init__(self, owner: FlowOwner, peer: Peer, deliver: Callable[[bytes], None]) -> None:
        self.peer = peer
        self.deliver = deliver
        self.got = False
        self.known_there = False
        self._direct: DirectDatagrams | None = None
        self._head = b""
        self._number = 0
        self._owner = owner
        self._unframer = Unframer()
        self._turn: asyncio.Handle | None = None  # in which it delivers what has come
        self._has_ended = False
        self._loop = asyncio.get_running_loop()
        self.used = self._loop.time()
        self.carried = 0
        self._timer: asyncio.TimerHandle
        self._transport: WindowedTransport

    def carry(self, req: int) -> WindowedTransport:
        """Be carried by the stream `req` of the session."""
        if self.peer.forwards is not None:
            self._direct, self._number = self.peer.forwards.datagrams, req
            self._head = self._direct.open(req, self._take)
        transport = _FlowTransport(self.peer, req, self)
        if self._direct is not None and req < 0:
            self.known_there = True  # the other end has opened it
            transport.say_known()
        return transport

    def send(self, datagram: bytes) -> None:
        """Send a datagram to the peer, or drop it when the way is full."""
        direct = self._direct if self.known_there and not self._transport.is_closing() else None
        if direct is not None and direct.takes(len(self._head) + len(datagram)):
            self._note_use()
            if not direct.send(self._head, datagram):
                self.drop()
            return
        if self._transport.is_closing() or self._transport.is_full:
            self.drop()
            return
        self._note_use()
        self._transport.write(framed(datagram))

    def drop(self) -> None:
        """Note that a datagram was dropped."""
        self._owner.on_dropped(self)

    def close(self) -> None:
        """End it; what is under way is delivered, unless the way is full: then nothing may ever come out of it."""
        if self._transport.is_full:
            self.reset(IDLE)
        else:
            self._transport.close()

    def reset(self, message: str) -> None:
        """Cut it. message: what the peer is told."""
        self._transport.reset(message)

    # ------------------------------------------------------------ from the duplex

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(WindowedTransport, transport)
        self._timer = self._loop.call_later(limits.FLOW_IDLE_SECONDS, self._check_idle)

    def data_received(self, data: bytes) -> None:
        self.got = True
        self._unframer.add(data)
        if self._turn is None:
            self._turn = self._loop.call_soon(self._deliver)

    def eof_received(self) -> bool:
        self._has_ended = True
        if self._turn is None:
            self.close()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        if self._turn is not None:
            self._turn.cancel()
        if self._direct is not None:
            self._direct.close(self._number)
        self._owner.on_ended(self, exc)

    # ------------------------------------------------------------ inside

    def _deliver(self) -> None:
        """Deliver what has come, and leave what is too much for this turn of the loop to the next one."""
        self._turn = None
        left = limits.FLOW_TURN
        try:
            for datagram in itertools.islice(self._unframer.whole(), left):
                self._take(datagram)
                left -= 1
        except MuxRPCError as error:
            self.reset(str(error))
            return
        if not left:
            self._turn = self._loop.call_soon(self._deliver)
        elif self._has_ended:
            self.close()
        self._transport.waiting(len(self._unframer))

    def _take(self, datagram: bytes) -> None:
        self.got = True
        self._note_use()
        self.deliver(datagram)

    def _note_use(self) -> None:
        self.used = self._loop.time()
        self.carried += 1
        self._owner.on_datagram(self)

    def _check_idle(self) -> None:
        left = self.used + limits.FLOW_IDLE_SECONDS - self._loop.time()
        if left <= 0:
            self.close()
        else:
            self._timer = self._loop.call_later(left, self._check_idle)


def victim_of(flows: Sequence[Flow]) -> Flow:
    """Return which of these makes place for another one; they are in order, the one that was silent longest first.

    Programs that ask once and are done, as for names, do not cost a lasting flow its place while they have a quarter.
    """
    brief = [flow for flow in flows if flow.carried < limits.FLOW_LASTING]
    return brief[0] if 4 * len(brief) >= len(flows) else flows[0]


class Flows:
    """The common part of both ends of a forward: flows, the one that was silent longest first, and their end."""

    def __init__(self) -> None:
        self.dropped = 0
        """Datagrams that found the way full, or no way at all."""
        self._flows: OrderedDict[Flow, None] = OrderedDict()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def open(self) -> int:
        """Flows now."""
        return len(self._flows)

    def on_dropped(self, flow: Flow) -> None:
        self.dropped += 1
        self._complain_of(flow.peer, DROPPED)

    def on_datagram(self, flow: Flow) -> None:
        if flow in self._flows:
            self._flows.move_to_end(flow)

    def on_ended(self, flow: Flow, error: Exception | None) -> None:
        self._forget(flow)
        if not self._flows:
            self._idle.set()

    def _add(self, flow: Flow) -> None:
        self._flows[flow] = None
        self._idle.clear()

    def _forget(self, flow: Flow) -> None:
        self._flows.pop(flow, None)

    def _complain_of(self, peer: Peer, reason: str) -> None:
        """Tell what goes wrong."""
        raise NotImplementedError

    async def _end_all(self) -> None:
        for flow in list(self._flows):
            flow.reset(GONE)
        await self._idle.wait()

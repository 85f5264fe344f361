"""UDP services carried in a session: a flow for each address that a program sends from, a duplex for each flow.

A datagram goes as its length (2 bytes, high first) and its bytes, in the duplex of `net/forward/window.py`, so its
boundaries and order are kept; or by the session's direct path as a datagram of QUIC, where that takes it. One that
finds the way full is dropped, as UDP does: nothing waits behind it. A flow over which nothing goes for
`FLOW_IDLE_SECONDS` ends. Where a key has as many flows as it may have, one more ends the one that was silent longest.
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
from ssbfast.errors import LocalProtocolError, MuxRPCError, RemoteError, SSBError
from ssbfast.ids import FeedId
from ssbfast.net.api import Api, DirectDatagrams
from ssbfast.net.duplex_transport import DuplexSession
from ssbfast.net.endpoints import Endpoint, UdpEndpoint
from ssbfast.net.forward import service
from ssbfast.net.forward.failures import Complaint, Complaints
from ssbfast.net.forward.service import Service
from ssbfast.net.forward.window import WindowedTransport
from ssbfast.net.name_lookup import resolve
from ssbfast.net.peer import Peer
from ssbfast.net.socket_names import bound_host
from ssbfast.wire.muxrpc import Called
from ssbfast.wire.muxrpc_body import encode_json

METHOD: Final = "forward.datagrams"
GONE: Final = "the service is not offered any more"
TOO_MANY: Final = "too many flows"
IDLE: Final = "the flow is over"
REPLACED: Final = "a newer flow took its place"
DROPPED: Final = "more datagrams come than the path takes: some are dropped"
_KNOWN: Final = "datagrams"
"""The item of a flow by which its other end says that it takes datagrams of a direct path."""

_HEAD: Final = 2
_BATCH: Final = 0 if sys.platform == "win32" else 63  # where the loop has a read under way, a second one gets in front
_LONGEST: Final = 65_536


def framed(datagram: bytes) -> bytes:
    """Return a datagram as a flow carries it."""
    return len(datagram).to_bytes(_HEAD, "big") + datagram


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
        while len(self._came) >= _HEAD:
            n = int.from_bytes(self._came[:_HEAD], "big")
            if n > limits.DATAGRAM:
                raise MuxRPCError("the peer sent a datagram that is too long")
            end = _HEAD + n
            if len(self._came) < end:
                return
            datagram = bytes(self._came[_HEAD:end])
            del self._came[:end]
            yield datagram


class _UdpSocket(asyncio.DatagramProtocol):
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


def _new_buffer() -> memoryview:
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


class _Flows:
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


class DatagramServer(_Flows):
    """The flows to the UDP services that we offer.

    find: returns the service of a name for a peer, or None. per_peer: flows of one key at a time.
    complain: gets what goes wrong with a service.
    """

    def __init__(
        self,
        find: Callable[[Peer, object], Service | None],
        per_peer: int,
        complain: Callable[[Peer, str], None],
    ) -> None:
        super().__init__()
        self._find = find
        self._per_peer = per_peer
        self._complain = complain
        self._sockets: dict[Flow, _ServiceSocket] = {}
        self._buffer = _new_buffer()
        self._is_closed = False

    def register(self, api: Api) -> None:
        """Serve `forward.datagrams` from now on."""
        api.carried(METHOD, self.accept)

    def accept(self, peer: Peer, called: Called) -> None:
        """Accept a flow to a service by its name. Called at once, so that its bytes find their inlet."""
        found = self._find(peer, called.args[0] if called.args else None)
        if found is None:
            peer.refuse(called.req, service.NO_SERVICE)
        elif self._is_closed:
            peer.refuse(called.req, GONE)
        elif not self._make_place(peer.id):
            peer.refuse(called.req, TOO_MANY)
        else:
            self._begin(peer, called.req, found)

    def look_again(self) -> None:
        """Cut the flows to what is not offered any more, or not to their peer."""
        for flow in list(self._flows):
            had = self._sockets[flow].service
            now = self._find(flow.peer, had.name)
            if now is None or now.place != had.place:
                flow.reset(GONE)

    async def close(self) -> None:
        """Cut every flow; returns when nothing is left of them."""
        self._is_closed = True
        await self._end_all()

    def on_ended(self, flow: Flow, error: Exception | None) -> None:
        self._sockets.pop(flow).close()
        super().on_ended(flow, error)

    # ------------------------------------------------------------ inside

    def _make_place(self, who: FeedId) -> bool:
        """Make place for one more flow of a key; return False when all places are taken by others."""
        own = [flow for flow in self._flows if flow.peer.id == who]
        free = limits.FORWARDS_PEERS * self._per_peer - len(self._sockets)
        if len(own) < min(self._per_peer, free):
            return True
        if own:
            victim = victim_of(own)
            self._forget(victim)
            victim.reset(REPLACED)
        return bool(own)

    def _complain_of(self, peer: Peer, reason: str) -> None:
        self._complain(peer, reason)

    def _begin(self, peer: Peer, req: int, wanted: Service) -> None:
        sock = _ServiceSocket(wanted, lambda reason: self._complain(peer, wanted.about(reason)), self._buffer)
        flow = Flow(self, peer, sock.send)
        sock.flow = flow
        self._add(flow)
        self._sockets[flow] = sock
        peer.carry(req, flow.carry)
        sock.begin()


class _ServiceSocket(_UdpSocket):
    """The socket of one flow towards its service. complain: gets what goes wrong.

    flow: gets the answers; set at once.
    """

    flow: Flow

    def __init__(self, wanted: Service, complain: Callable[[str], None], buffer: memoryview) -> None:
        super().__init__(buffer)
        self.service = wanted
        self._place = cast(Endpoint, wanted.place)
        self._complain = complain
        self._early: list[bytes] = []
        self._early_bytes = 0
        self._is_closed = False
        self._opening: asyncio.Task[None]

    def begin(self) -> None:
        """Open it. Until then datagrams wait, as many as `FLOW_EARLY` allows."""
        self._opening = asyncio.get_running_loop().create_task(self._open())

    def send(self, datagram: bytes) -> None:
        if self._sock is not None:
            self._send(self._sock, datagram)
        elif self._early_bytes + len(datagram) <= limits.FLOW_EARLY:
            self._early.append(datagram)
            self._early_bytes += len(datagram) + _HEAD
        else:
            self.flow.drop()

    def close(self) -> None:
        self._is_closed = True
        self._opening.cancel()
        self._stop()

    async def _open(self) -> None:
        try:
            sock = await asyncio.wait_for(_connected(self._place), limits.DIAL_SECONDS)
        except service.FAILURES as error:
            self._complain(service.why_not(error, self._place))
            self.flow.reset(service.NO_ANSWER)
            return
        await self._use(sock)
        if self._is_closed:  # `wait_for` may swallow a cancellation
            self._stop()
            return
        for datagram in self._early:
            self._send(sock, datagram)
        self._early.clear()

    def _send(self, sock: socket.socket, datagram: bytes) -> None:
        try:
            sock.send(datagram)
        except BlockingIOError:
            self.flow.drop()
        except OSError as error:
            self.error_received(error)

    def take(self, datagram: bytes, address: Any) -> None:
        self.flow.send(datagram)

    def error_received(self, exc: Exception) -> None:
        self._complain(service.why_not(exc, self._place))


async def _connected(place: Endpoint) -> socket.socket:
    """Return a socket that speaks with a service alone. Raises one of `service.FAILURES`."""
    problem: OSError = OSError("no address")
    for family, kind, protocol, _name, address in await resolve(place.host, place.port, kind=socket.SOCK_DGRAM):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sock.connect(address)
        except OSError as error:
            sock.close()
            problem = error
        else:
            return sock
    raise problem


class DatagramListener(_Flows, _UdpSocket):
    """A local UDP port that leads to a UDP service of a peer.

        listener = DatagramListener("127.0.0.1", 51820, service="wg")
        await listener.start()
        listener.peer = await client.connect(friend)

    Args:
        host: A name or IP literal to listen at.
        port: The UDP port to listen at; 0 takes a free one.
        service: The name of the peer's service.
        per_peer: Flows at a time.
        told: Gets what goes wrong, at most one a second.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        service: str,
        per_peer: int = limits.FORWARDS_PER_PEER,
        told: Callable[[Complaint], None] | None = None,
    ) -> None:
        _Flows.__init__(self)
        _UdpSocket.__init__(self, _new_buffer())
        self._bind = (host, port)
        self._name = service
        self._most = per_peer
        self._complaints = None if told is None else Complaints(told)
        self._peer: Peer | None = None
        self._by_address: dict[Any, Flow] = {}
        self._addresses: dict[Flow, Any] = {}
        self._quiet_until = 0.0

    async def start(self) -> None:
        """Listen. Raises OSError."""
        host, port = self._bind
        found = await resolve(host or None, port, kind=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _name, address = found[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sock.bind(address)
        except BaseException:
            sock.close()
            raise
        await self._use(sock)

    @property
    def place(self) -> UdpEndpoint:
        """Place where it listens. Raises LocalProtocolError: It does not."""
        if self._sock is None:
            raise LocalProtocolError("not listening")
        return UdpEndpoint(bound_host(self._sock), int(self._sock.getsockname()[1]))

    @property
    def peer(self) -> Peer | None:
        """Session that carries new flows; None while there is none."""
        return self._peer if self._peer is not None and self._peer.is_open else None

    @peer.setter
    def peer(self, peer: Peer | None) -> None:
        self._peer = peer

    async def close(self) -> None:
        """Stop listening and cut every flow; returns when nothing is left of them."""
        self._stop()
        await self._end_all()
        if self._complaints is not None:
            self._complaints.close()

    def on_ended(self, flow: Flow, error: Exception | None) -> None:
        super().on_ended(flow, error)
        if isinstance(error, RemoteError) and not flow.got:
            self._quiet_until = asyncio.get_running_loop().time() + limits.FLOW_PAUSE_SECONDS
            self._complain_of(flow.peer, error.message)

    def take(self, datagram: bytes, address: Any) -> None:
        flow = self._by_address.get(address) or self._open(address)
        if flow is None:
            self.dropped += 1
        else:
            flow.send(datagram)

    # ------------------------------------------------------------ inside

    def _complain_of(self, peer: Peer, reason: str) -> None:
        if self._complaints is not None:
            self._complaints.add(peer.id, reason)

    def _forget(self, flow: Flow) -> None:
        super()._forget(flow)
        address = self._addresses.pop(flow, None)
        if address is not None:
            del self._by_address[address]

    def _open(self, address: Any) -> Flow | None:
        """Begin a flow for a local address; return None when there is no way just now."""
        peer, now = self.peer, asyncio.get_running_loop().time()
        if peer is None or now < self._quiet_until:
            return None
        if len(self._flows) >= self._most:
            victim = victim_of(list(self._flows))
            if not victim.got and now < victim.used + limits.FLOW_ANSWER_SECONDS:
                self._complain_of(peer, DROPPED)
                return None  # else more than we can carry would end all before they are answered
            self._forget(victim)
            victim.reset(REPLACED)

        def deliver(datagram: bytes) -> None:
            if self._sock is not None:
                try:
                    self._sock.sendto(datagram, address)
                except OSError:  # it takes no more just now, or is gone
                    flow.drop()

        flow = Flow(self, peer, deliver)
        try:
            peer.open_carried(METHOD, flow.carry, self._name)
        except SSBError:  # too many calls, or the session is just ending
            return None
        self._add(flow)
        self._addresses[flow], self._by_address[address] = address, flow
        return flow

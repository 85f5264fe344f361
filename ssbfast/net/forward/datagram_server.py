"""The flows to the UDP services that we offer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final, cast

from ssbfast import limits
from ssbfast.ids import FeedId
from ssbfast.net.api import Api
from ssbfast.net.endpoints import Endpoint
from ssbfast.net.forward import service
from ssbfast.net.forward.datagrams import GONE, HEAD, METHOD, REPLACED, Flow, Flows, FlowSocket, new_buffer, victim_of
from ssbfast.net.forward.service import Service
from ssbfast.net.name_lookup import resolve
from ssbfast.net.peer import Peer
from ssbfast.wire.muxrpc import Called

TOO_MANY: Final = "too many flows"


class DatagramServer(Flows):
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
        self._buffer = new_buffer()
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


class _ServiceSocket(FlowSocket):
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
            self._early_bytes += len(datagram) + HEAD
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

"""Local UDP ports that lead to the UDP services of a peer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from ssbfast import limits
from ssbfast.errors import LocalProtocolError, RemoteError, SSBError
from ssbfast.net.endpoints import UdpEndpoint
from ssbfast.net.forward.datagrams import DROPPED, METHOD, REPLACED, Flow, Flows, FlowSocket, new_buffer, victim_of
from ssbfast.net.forward.failures import Complaint, Complaints
from ssbfast.net.name_lookup import resolve
from ssbfast.net.peer import Peer
from ssbfast.net.socket_names import bound_host


class DatagramListener(Flows, FlowSocket):
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
        Flows.__init__(self)
        FlowSocket.__init__(self, new_buffer())
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

"""Mappings of our UDP sockets at the default gateway, by PCP or NAT-PMP (`wire/direct/port_mapping.py`).

Only the gateway of the preferred default route is asked, on the LAN that it shares with us (nothing that we send to it
is routed any further), and only when our address there is a private one; only that address is heard. A mapping opens
one UDP port, that of the socket it was made for, and ends with it.

UPnP is not spoken: its requests go to the address that any machine of the LAN may name, in XML over HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
from collections.abc import Sequence
from typing import Final

from ssbfast import limits
from ssbfast.direct.interfaces import HostAddress
from ssbfast.direct.routes import default_routes
from ssbfast.direct.udp import Address
from ssbfast.wire.direct.port_mapping import GREETING, NONCE, SERVER_PORT, MappingClient, Protocol, is_worth_telling
from ssbfast.wire.direct.punch.candidates import Scope, scope_of

_LONGEST: Final = 1_500
"""Bytes of a datagram that are read: an answer of PCP has at most 1,100."""


class PortMapping:
    """A mapping, asked for. own: the addresses of this machine."""

    def __init__(self, router: _Router, client: MappingClient, own: frozenset[str]) -> None:
        self._router = router
        self.client = client
        self._own = own
        self._timer: asyncio.TimerHandle | None = None
        self._outcome: asyncio.Future[None] = router.loop.create_future()

    @property
    def address(self) -> Address | None:
        """Where the world reaches the socket; None while that is not known, and when there is no mapping."""
        mapped = self.client.mapped
        return None if mapped is None else mapped.address

    @property
    def protocol(self) -> Protocol | None:
        """Return what the router speaks; None while it has not answered."""
        return self.client.protocol

    @property
    def is_prompt(self) -> bool:
        """Whether this router has answered before: it is worth waiting for."""
        return self._router.has_answered

    async def settled(self, seconds: float) -> None:
        """Wait until the router has given a mapping, or none; at most so long."""
        await asyncio.wait([self._outcome], timeout=max(seconds, 0.0))

    def close(self) -> None:
        """Have the router forget it. Harmless when done already."""
        self.client.release()
        self.advance()

    def advance(self) -> None:
        """Send what is to be sent, and go on when it is time."""
        address = self.address
        if address is not None and not is_worth_telling(address, self._own):
            self.client.release()
        for data in self.client.datagrams():
            self._router.send(data)
        if self._timer is not None:
            self._timer.cancel()
        at = self.client.timer()
        self._timer = None if at is None else self._router.loop.call_at(at, self._tick)
        if (self.client.is_over or self.address is not None) and not self._outcome.done():
            self._outcome.set_result(None)
        if self.client.is_over:
            self._router.leave(self)

    def _tick(self) -> None:
        self.client.handle_timer(self._router.loop.time())
        self.advance()


class PortMapper:
    """The mappings of one event loop, at one router after the other as the machine moves."""

    def __init__(self) -> None:
        self._router: _Router | None = None

    def greet(self, hosts: Sequence[HostAddress]) -> None:
        """Learn whether our router answers, before anything waits for that. hosts: the addresses of this machine."""
        router = self._at(hosts)
        if router is not None:
            router.greet()

    def close(self) -> None:
        """Give up greeting. Mappings end with their sockets."""
        if self._router is not None:
            self._router.greeted()

    def map(self, port: int, hosts: Sequence[HostAddress]) -> PortMapping | None:
        """Ask for a mapping to the IPv4 socket that is bound to this port; None when there is nothing to ask.

        hosts: the addresses of this machine.
        """
        router = self._at(hosts)
        return None if router is None else router.map(port, frozenset(item.host for item in hosts))

    def _at(self, hosts: Sequence[HostAddress]) -> _Router | None:
        found = _gateway(hosts)
        if found is None:
            return None
        if self._router is None or self._router.way != found:
            self._router = _Router(*found)
        return self._router


class _Router:
    """A gateway, and the socket that all mappings at it share as long as there are any. own: our address on its LAN."""

    def __init__(self, gateway: str, own: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.way = gateway, own
        self.has_answered = False
        self._greeting: asyncio.TimerHandle | None = None
        self._sock: socket.socket | None = None
        self._mappings: list[PortMapping] = []

    def greet(self) -> None:
        """Ask for its address, which routers of both protocols answer, in one way or another."""
        if self._greeting is None and self._open():
            self._greeting = self.loop.call_later(limits.GATHER_SECONDS, self.greeted)
            self.send(GREETING)

    def map(self, port: int, own: frozenset[str]) -> PortMapping | None:
        if not self._open():
            return None
        client = MappingClient(self.way[1], port, os.urandom(NONCE), self.loop.time())
        mapping = PortMapping(self, client, own)
        self._mappings.append(mapping)
        mapping.advance()
        return mapping

    def send(self, data: bytes) -> None:
        """Send a request; one that the network refuses is lost."""
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.send(data)

    def leave(self, mapping: PortMapping) -> None:
        """Forget a mapping. Harmless when done already."""
        if mapping in self._mappings:
            self._mappings.remove(mapping)
        self._close_unused()

    def greeted(self) -> None:
        """Wait no longer for an answer to `greet`. Harmless when nothing does."""
        if self._greeting is not None:
            self._greeting.cancel()
            self._greeting = None
            self._close_unused()

    def _open(self) -> bool:
        if self._sock is None:
            try:
                self._sock = _connected(*self.way)
            except OSError:  # no way there any more, or no descriptor left
                return False
            self.loop.add_reader(self._sock, self._readable)
        return True

    def _close_unused(self) -> None:
        if self._sock is not None and not self._mappings and self._greeting is None:
            self.loop.remove_reader(self._sock)
            self._sock.close()
            self._sock = None

    def _readable(self) -> None:
        for _ in range(limits.UDP_BATCH):
            if self._sock is None:
                return
            try:
                data = self._sock.recv(_LONGEST)
            except BlockingIOError:
                return
            except OSError:  # nothing listens there
                data = b""
            self.has_answered |= bool(data)
            for mapping in list(self._mappings):
                if data:
                    mapping.client.receive(data, self.loop.time())
                else:
                    mapping.client.refused()
                mapping.advance()


def _gateway(hosts: Sequence[HostAddress]) -> tuple[str, str] | None:
    """Return the default gateway, and our own address on the LAN that we share; None without such a LAN, or a NAT."""
    gateway = next((route.gateway for route in default_routes(4)), None)
    if gateway is None:
        return None
    ip = ipaddress.ip_address(gateway)
    for item in hosts:
        if ip in item.subnet and item.host != gateway and scope_of(item.host) is Scope.PRIVATE:
            return gateway, item.host
    return None


def _connected(gateway: str, own: str) -> socket.socket:
    """Open a socket that speaks with the gateway alone, and whose datagrams no router takes any further."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
        sock.bind((own, 0))
        sock.connect((gateway, SERVER_PORT))
    except BaseException:
        sock.close()
        raise
    return sock

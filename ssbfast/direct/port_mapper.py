"""Mappings of our UDP sockets at the default gateway, by PCP or NAT-PMP (`wire/direct/port_mapping.py`), or by UPnP.

Only the gateway of the preferred default route is asked, on the LAN that it shares with us (nothing that we send to it
is routed any further), and only when our address there is a private one; only that address is heard. A mapping opens
one UDP port, that of the socket it was made for, and ends with it. UPnP is for gateways that answer neither of the
other two.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Sequence
from typing import Final

from ssbfast import limits
from ssbfast.direct.gateway import gateway_of, gateway_socket
from ssbfast.direct.interfaces import HostAddress
from ssbfast.direct.udp import Address
from ssbfast.direct.upnp_mapping import UpnpGateway, UpnpMapping
from ssbfast.wire.direct.port_mapping import GREETING, NONCE, SERVER_PORT, MappingClient, Protocol, is_worth_telling

_LONGEST: Final = 1_500
"""Bytes of a datagram that are read: an answer of PCP has at most 1,100."""


class PortMapping:
    """A mapping, asked for. port: of our socket. own: the addresses of this machine."""

    def __init__(self, router: _Router, client: MappingClient, port: int, own: frozenset[str]) -> None:
        self._router = router
        self.client = client
        self._port = port
        self._own = own
        self._upnp: UpnpMapping | None = None
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._outcome: asyncio.Future[None] = router.loop.create_future()

    @property
    def address(self) -> Address | None:
        """Where the world reaches the socket; None while that is not known, and when there is no mapping."""
        mapped = self.client.mapped
        if mapped is not None:
            return mapped.address
        return None if self._upnp is None else self._upnp.address

    @property
    def protocol(self) -> Protocol | None:
        """Return what the router speaks; None while it has not answered."""
        by_upnp = self._upnp is not None and self._upnp.has_answered
        return Protocol.UPNP if by_upnp else self.client.protocol

    @property
    def is_prompt(self) -> bool:
        """Return whether this router has answered before: it is worth waiting for."""
        return self._router.is_prompt

    async def settled(self, seconds: float) -> None:
        """Wait until the router has given a mapping, or none; at most so long."""
        await asyncio.wait([self._outcome], timeout=max(seconds, 0.0))

    def close(self) -> None:
        """Have the router forget it. Harmless when done already."""
        self._closed = True
        self._release()
        self.advance()

    def advance(self) -> None:
        """Send what is to be sent, and go on when it is time."""
        address = self.address
        if address is not None and not is_worth_telling(address, self._own):
            self._release()
        for data in self.client.datagrams():
            self._router.send(data)
        if self._timer is not None:
            self._timer.cancel()
        at = self.client.timer()
        self._timer = None if at is None else self._router.loop.call_at(at, self._tick)
        if self._upnp is None and not self._closed and self._router.wants_upnp(is_silent=self.client.is_over):
            self._upnp = UpnpMapping(self._router.upnp, self._port, self.advance)
        is_over = self.client.is_over and (self._upnp is None or self._upnp.is_over)
        if (is_over or self.address is not None) and not self._outcome.done():
            self._outcome.set_result(None)
        if is_over:
            self._router.leave(self)

    def _release(self) -> None:
        self.client.release()
        if self._upnp is not None:
            self._upnp.close()

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
            self._router.upnp.close()

    def map(self, port: int, hosts: Sequence[HostAddress]) -> PortMapping | None:
        """Ask for a mapping to the IPv4 socket that is bound to this port; None when there is nothing to ask.

        hosts: the addresses of this machine.
        """
        router = self._at(hosts)
        return None if router is None else router.map(port, frozenset(item.host for item in hosts))

    def _at(self, hosts: Sequence[HostAddress]) -> _Router | None:
        found = gateway_of(hosts)
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
        self.has_answered = False  # in PCP or NAT-PMP
        self.upnp = UpnpGateway(gateway, own)
        self._greeting: asyncio.TimerHandle | None = None
        self._sock: socket.socket | None = None
        self._mappings: list[PortMapping] = []

    @property
    def is_prompt(self) -> bool:
        """Return whether it has answered before, or is just being asked."""
        return self.has_answered or self.upnp.may_map

    def wants_upnp(self, *, is_silent: bool) -> bool:
        """Return whether a mapping is to be asked for by UPnP. is_silent: this one was asked for in vain."""
        return not self.has_answered and (self.upnp.may_map or is_silent)

    def greet(self) -> None:
        """Ask for its address, which routers of both protocols answer, in one way or another."""
        if self._greeting is None and self._open():
            self._greeting = self.loop.call_later(limits.MAPPING_RESEND_SECONDS, self._unanswered)
            self.send(GREETING)

    def map(self, port: int, own: frozenset[str]) -> PortMapping | None:
        if not self._open():
            return None
        client = MappingClient(self.way[1], port, os.urandom(NONCE), self.loop.time())
        mapping = PortMapping(self, client, port, own)
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

    def _unanswered(self) -> None:
        self._greeting = self.loop.call_later(limits.GATHER_SECONDS, self.greeted)
        if not self.has_answered:
            self.upnp.look()

    def _open(self) -> bool:
        if self._sock is None:
            try:
                self._sock = gateway_socket(*self.way, SERVER_PORT)
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

"""A room's reflectors: the sockets that they use, and the fallback of a room that cannot bind them."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Sequence
from typing import Final

from ssbfast.errors import BadInputError, MissingExtraError
from ssbfast.net.endpoints import Endpoint, beside, bind_udp
from ssbfast.net.inherited_sockets import InheritedSockets
from ssbfast.net.stun_server import Limiter, Reflector, codec
from ssbfast.wire.direct.punch.candidates import PORTS

_TRIES: Final = 16
"""Ports that are tried for the second one."""


class Reflecting:
    """The reflectors of one room.

    endpoints: where; None: beside the room's TCP sockets and on one more port, since a single one cannot show a member
        that its NAT is symmetric. If the second cannot be had, `shortage` tells why; if none can, `problem` does.
    """

    def __init__(self, endpoints: Sequence[Endpoint] | None) -> None:
        self._endpoints = endpoints
        self._sockets: list[socket.socket] = []
        self._reflectors: list[Reflector] = []
        self.problem: str | None = None
        self.shortage: str | None = None

    def bind(self, tcp: Sequence[socket.socket], inherited: InheritedSockets) -> list[socket.socket]:
        """Bind the sockets. Raises BadInputError or MissingExtraError, but only for given endpoints."""
        endpoints = beside(tcp) if self._endpoints is None else self._endpoints
        if not endpoints:
            return []
        try:
            codec()
            self._sockets = bind_udp(endpoints, inherited)
        except (BadInputError, MissingExtraError) as error:
            if self._endpoints is not None:
                raise
            self.problem = str(error)
        else:
            if self._endpoints is None and not _has_two(endpoints):
                self._sockets += self._bind_second(endpoints, inherited)
        return self._sockets

    def _bind_second(self, first: Sequence[Endpoint], inherited: InheritedSockets) -> list[socket.socket]:
        """Bind the next port that is free at each of these addresses."""
        problem: str | None = None
        for step in range(1, _TRIES + 1):
            try:
                beyond = [Endpoint(endpoint.host, _beyond(endpoint.port, step)) for endpoint in first]
                return bind_udp(beyond, inherited)
            except BadInputError as error:
                problem = problem or str(error)
        self.shortage = problem
        return []

    def start(self) -> None:
        """Answer from now on."""
        limiter = Limiter()
        self._reflectors = [Reflector(sock, limiter) for sock in self._sockets]

    def close(self) -> None:
        """Close the sockets. Harmless when nothing was started."""
        for reflector in self._reflectors:
            reflector.close()


def _has_two(endpoints: Sequence[Endpoint]) -> bool:
    """Return whether each address has two ports already."""
    return min(Counter(endpoint.host for endpoint in endpoints).values()) > 1


def _beyond(port: int, step: int) -> int:
    """Return a port some steps behind another one, among those that members ask."""
    return PORTS[(max(port, PORTS[0] - 1) + step - PORTS[0]) % len(PORTS)]

"""A room's reflectors: which sockets they have, and what becomes of a room that cannot have them."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from ssbfast.app.listening import Endpoint, beside, bind_udp
from ssbfast.errors import BadInputError, MissingExtraError
from ssbfast.net.reflector import Limiter, Reflector, codec


class Reflecting:
    """The reflectors of one room.

    endpoints: where; None: beside the room's TCP sockets, if that can be had, else nowhere, and `problem` tells why.
    """

    def __init__(self, endpoints: Sequence[Endpoint] | None) -> None:
        self._endpoints = endpoints
        self._sockets: list[socket.socket] = []
        self._reflectors: list[Reflector] = []
        self.problem: str | None = None

    def bind(self, tcp: Sequence[socket.socket]) -> list[socket.socket]:
        """Bind the sockets. Raises BadInputError or MissingExtraError, but only for given endpoints."""
        endpoints = beside(tcp) if self._endpoints is None else self._endpoints
        if not endpoints:
            return []
        try:
            codec()
            self._sockets = bind_udp(endpoints)
        except (BadInputError, MissingExtraError) as error:
            if self._endpoints is not None:
                raise
            self.problem = str(error)
        return self._sockets

    def start(self) -> None:
        """Answer from now on."""
        limiter = Limiter()
        self._reflectors = [Reflector(sock, limiter) for sock in self._sockets]

    def close(self) -> None:
        """Harmless when nothing was started."""
        for reflector in self._reflectors:
            reflector.close()

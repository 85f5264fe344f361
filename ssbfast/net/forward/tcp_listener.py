"""Local TCP ports and Unix sockets that lead to the services of a peer.

Each connection to a `ForwardListener` becomes one duplex of the session with that peer, or a stream of its direct path.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any

from ssbfast import limits
from ssbfast.errors import LocalProtocolError, SSBError
from ssbfast.net.endpoints import Endpoint, Place, UnixPath
from ssbfast.net.forward.connection import Carried
from ssbfast.net.forward.failures import Complaint
from ssbfast.net.forward.tcp import METHOD, SERVICE, Forward
from ssbfast.net.name_lookup import resolve
from ssbfast.net.peer import Peer
from ssbfast.net.socket_names import bound_host, with_zone
from ssbfast.net.sockets import bound_unix


async def listen_at(host: str, port: int, make: Callable[[], asyncio.BaseProtocol]) -> asyncio.Server:
    """Listen at a TCP port; host: empty for all of this machine. make: of each connection. Raises OSError."""
    found = await resolve(host or None, port, flags=socket.AI_PASSIVE)
    hosts = list(dict.fromkeys(with_zone(address) for *_, address in found))
    return await asyncio.get_running_loop().create_server(make, hosts, port)


def place_of(server: asyncio.Server | None) -> Endpoint:
    """Return where it listens. Raises LocalProtocolError when it does not, or not at a TCP port."""
    if server is None or not server.sockets:
        raise LocalProtocolError("not listening")
    bound = server.sockets[0]
    if bound.family not in (socket.AF_INET, socket.AF_INET6):
        raise LocalProtocolError("not a TCP port")
    return Endpoint(bound_host(bound), int(bound.getsockname()[1]))


class ForwardListener(Forward):
    """A local TCP port that leads to what a peer offers.

        async with ForwardListener("127.0.0.1", 8080) as listener:
            listener.peer = await client.connect(friend)

    Connections belong to the session they began in, and are reset when it ends.

    Args:
        host: A name or IP literal to listen at; empty for all of this machine.
        port: The TCP port to listen at; 0 takes a free one.
        service: The name of the peer's service; None: its first.
        patience: Seconds that a new connection waits for a session when there is none, and for a place; 0 resets it
            at once.
        per_peer: Connections at a time; as many wait.
        told: Gets what goes wrong, at most one a second.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        service: str | None = None,
        patience: float = 0.0,
        per_peer: int = limits.FORWARDS_PER_PEER,
        told: Callable[[Complaint], None] | None = None,
    ) -> None:
        super().__init__(per_peer, patience, told)
        self._bind = (host, port)
        self._name = service
        self._peer: Peer | None = None
        self._server: asyncio.Server | None = None

    async def __aenter__(self: ForwardListener) -> ForwardListener:
        await self.start()
        return self

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: The address cannot be had.
        """
        self._server = await self._listen()

    async def _listen(self) -> asyncio.Server:
        return await listen_at(*self._bind, lambda: Carried(self))

    @property
    def place(self) -> Place:
        """Place where it listens. Raises LocalProtocolError: It does not."""
        return Endpoint(*self.address)

    @property
    def address(self) -> tuple[str, int]:
        """Address at which it listens: host and port.

        Raises:
            LocalProtocolError: It does not listen.
        """
        place = place_of(self._server)
        return place.host, place.port

    @property
    def peer(self) -> Peer | None:
        """Session that carries new connections; None while there is none."""
        return self._peer if self._peer is not None and self._peer.is_open else None

    @peer.setter
    def peer(self, peer: Peer | None) -> None:
        self._peer = peer
        self._advance()

    async def close(self) -> None:
        """Stop listening and reset every connection; returns when nothing is left of them."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        await super().close()
        if server is not None:
            await server.wait_closed()

    # ------------------------------------------------------------ ConnectionListener

    def on_connected(self, connection: Carried) -> None:
        self._add(connection)
        peer = self.peer
        if self._is_closed:
            self._turn_away(connection)
        elif peer is not None and not self._is_full(peer):
            self._open(connection, peer)
        elif self._patience > 0 and len(self._waiting) < self._per_peer:
            if peer is not None:
                self._complain(peer, f"{self._many(peer)}: more have to wait")
            self._wait(connection, self._give_up)
            asyncio.get_running_loop().call_soon(self._pause, connection)  # asyncio starts to read right behind this
        else:
            why = "there is no session" if peer is None else self._many(peer)
            self._turn_away(connection, f"{why}, {len(self._waiting)} wait: one more was refused")

    def on_refused(self, connection: Carried, reason: str) -> None:
        self._complain(connection.peer, reason)

    def on_closed(self, connection: Carried) -> None:
        super().on_closed(connection)
        self._advance()

    # ------------------------------------------------------------ inside

    def _advance(self) -> None:
        """Open those that wait, as far as there is a session, and room in it."""
        while self._waiting and (peer := self.peer) is not None and not self._is_full(peer):
            self._open(next(iter(self._waiting)), peer)

    def _open(self, connection: Carried, peer: Peer) -> None:
        self._waiting.pop(connection, None)
        name = self._name
        try:
            if (direct := peer.forwards) is not None and direct.is_up:
                connection.carry_direct(peer, lambda side: direct.open(side, name))
            elif name is None:
                peer.open_carried(METHOD, lambda req: connection.carry(peer, req))
            else:
                peer.open_carried(SERVICE, lambda req: connection.carry(peer, req), name)
        except SSBError as error:  # too many calls, or the session is just ending
            self._turn_away(connection, str(error))
            return
        self._begun(connection, peer)
        connection.resume()

    def _pause(self, connection: Carried) -> None:
        if connection in self._waiting:
            connection.pause()

    def _give_up(self, connection: Carried) -> None:
        why = "no session" if self.peer is None else "no place"
        self._turn_away(connection, f"{why} for a connection within {self._patience:g} seconds")

    def _turn_away(self, connection: Carried, reason: str | None = None) -> None:
        self._waiting.pop(connection, None)
        self._failed(self._peer)
        if reason is not None:
            self._complain(self._peer, reason)
        connection.reset()


class UnixForwardListener(ForwardListener):
    """A local Unix socket, for this user alone, that leads to what a peer offers.

    Args:
        path: Its name; a socket of that name that nothing listens at is replaced.
        **options: As for `ForwardListener`.
    """

    def __init__(self, path: str, **options: Any) -> None:
        super().__init__("", 0, **options)
        self._path = path

    @property
    def place(self) -> Place:
        return UnixPath(self._path)

    async def _listen(self) -> asyncio.Server:
        sock = bound_unix(self._path)
        return await asyncio.get_running_loop().create_unix_server(lambda: Carried(self), sock=sock)

    async def close(self) -> None:
        if self._server is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        await super().close()

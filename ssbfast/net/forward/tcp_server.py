"""Services that we offer through sessions with peers.

`ServiceServer` offers services to the peers that may reach us, `ForwardServer` a single one. Where a service listens is
our choice alone: callers know names, and `forward.open` has no arguments (docs/protocol/services.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol, cast

from ssbfast import limits
from ssbfast.ids import FeedId
from ssbfast.net.api import Api, OpenStream
from ssbfast.net.endpoints import Endpoint, Place
from ssbfast.net.forward import service
from ssbfast.net.forward.connection import Carried
from ssbfast.net.forward.datagram_server import DatagramServer
from ssbfast.net.forward.failures import Complaint
from ssbfast.net.forward.service import Service, ServiceTable
from ssbfast.net.forward.tcp import GONE, METHOD, SERVICE, SERVICES, Forward
from ssbfast.net.happy_eyeballs import FailedAddresses
from ssbfast.net.peer import Peer
from ssbfast.wire.muxrpc import Called, unknown_method_message

TOO_MANY: Final = "too many connections"


def is_admitted(peer: Peer) -> bool:
    """Return whether a peer is at the other end of a tunnel or direct path: `ForwardServer`'s default `allow`.

    Not the room itself, which is at the other end of our own TCP session and is served the same api.
    """
    return peer.path != "tcp"


class Claims(Protocol):
    """The claims on the places that are offered."""

    def offer(self, places: Iterable[Place]) -> None:
        """Note that these places are offered from now on, and no others."""

    def objection(self, place: Place) -> str | None:
        """Return why a place must not be dialled now, in words for our own user; None if it may be."""


def is_direct(peer: Peer) -> bool:
    """Return whether a peer is on a direct path: for services that no room is to carry."""
    return peer.path == "direct"


class ServiceServer(Forward):
    """An offer of services to peers.

        server = ServiceServer([Service(Endpoint("127.0.0.1", 8096), "jellyfin"), Service(UnixPath("/run/db"), "db")])
        server.register(api)

    Args:
        services: What is offered; the first is the one that callers get who name none.
        allow: Decides for each call; peers that it refuses are answered as if there was no such method, or service.
        per_peer: Connections at a time of one key, however many sessions and services it uses; less when
            `FORWARDS_PEERS` such keys fill the server.
        patience: Seconds that as many more wait for a place; 0 refuses them at once.
        told: Gets what goes wrong, at most one a second.
        claims: Is told what is offered, and asked before a service is dialled.

    Raises:
        BadInputError: There is no service, there are too many, or the names cannot be used.
    """

    def __init__(
        self,
        services: Sequence[Service],
        *,
        allow: Callable[[Peer], bool] = is_admitted,
        per_peer: int = limits.FORWARDS_PER_PEER,
        patience: float = 0.0,
        told: Callable[[Complaint], None] | None = None,
        claims: Claims | None = None,
    ) -> None:
        super().__init__(per_peer, patience, told)
        self._claims = claims
        self._services = self._table(services)
        self.services = tuple(services)
        """What is offered now."""
        self._allow = allow
        self._flows = DatagramServer(self._find_udp, per_peer, self._complain)
        self._failed_addresses = FailedAddresses()
        self._tasks: set[asyncio.Task[None]] = set()

    def register(self, api: Api) -> None:
        """Serve the methods of a forward, and streams of direct paths, from now on.

        Args:
            api: Peers that are served this api may open connections and flows.
        """
        api.carried(METHOD, self.accept)
        api.carried(SERVICE, self.accept_named)
        self._flows.register(api)
        api.call(SERVICES)(self._list)
        api.forwards = self

    def replace(self, services: Sequence[Service]) -> None:
        """Offer other services from now on; connections to what is not offered any more are reset.

        Args:
            services: What is offered. A service of the same name at the same place is the same, and its connections go
                on, but those of peers that may not use it any more.

        Raises:
            BadInputError: As when the server is made; then nothing has changed.
        """
        self._services = self._table(services)
        self.services = tuple(services)
        still = {(one.name, one.place): one for one in services}
        for connection in list(self._connections):
            if connection.service is None or connection.peer is None:
                continue
            now = still.get((connection.service.name, connection.service.place))
            if now is None or not now.is_for(connection.peer.id):
                connection.reset(GONE)
        self._flows.look_again()

    async def look_for(self, wanted: Service) -> str | None:
        """Return why a service cannot be reached just now, in words, or None."""
        return self._objection(wanted) or await service.look_for(wanted.place)

    def names_for(self, who: FeedId) -> list[str]:
        """Return the names of the services that a peer may use."""
        return [str(one.name) for one in self._services.of(who)]

    def accept(self, peer: Peer, called: Called) -> None:
        """Accept a connection to the first service. Called at once, so that its bytes find their inlet."""
        first = self._services.first
        if first is None or not self._allow(peer) or not first.is_for(peer.id):
            peer.refuse(called.req, unknown_method_message(called.name))
        else:
            self._accept(peer, called.req, first)

    def accept_named(self, peer: Peer, called: Called) -> None:
        """Accept a connection to a service by its name, as `accept` does."""
        found = self._find(peer, called.args[0] if called.args else None)
        if found is None:
            peer.refuse(called.req, service.NO_SERVICE)
        else:
            self._accept(peer, called.req, found)

    def accept_direct(self, peer: Peer, open_stream: OpenStream, name: str | None = None) -> bool:
        """Accept one on a direct path, by a stream of it; return False when it is not welcome.

        name: of the service; None: the first.
        """
        found = self._find(peer, name) if name is not None else self._services.first
        if found is None or not found.is_for(peer.id) or not self._allow(peer):
            return False
        if self._is_closed or not self._has_place(peer):
            return False
        connection = Carried(self)
        connection.carry_direct(peer, open_stream)
        self._accepted(connection, peer, found)
        return True

    def _table(self, services: Sequence[Service]) -> ServiceTable:
        table = ServiceTable(services)
        if self._claims is not None:
            self._claims.offer(one.place for one in services)
        return table

    def _objection(self, wanted: Service) -> str | None:
        return None if self._claims is None else self._claims.objection(wanted.place)

    def _find(self, peer: Peer, name: object) -> Service | None:
        return self._services.find(name, peer.id) if self._allow(peer) else None

    def _find_udp(self, peer: Peer, name: object) -> Service | None:
        found = self._services.find(name, peer.id, service.UDP) if self._allow(peer) else None
        if found is not None and (reason := self._objection(found)) is not None:
            self._complain(peer, found.about(reason))
            return None
        return found

    async def _list(self, peer: Peer, *_args: object) -> list[dict[str, Any]]:
        may_ask = is_admitted(peer) or self._allow(peer)  # on its way to a direct path, it is to know what for
        return [service.offer_of(one) for one in self._services.of(peer.id)] if may_ask else []

    def _accept(self, peer: Peer, req: int, wanted: Service) -> None:
        if self._is_closed:
            peer.refuse(req, GONE)
        elif not self._has_place(peer):
            peer.refuse(req, TOO_MANY)
        else:
            connection = Carried(self)
            peer.carry(req, lambda req: connection.carry(peer, req))
            self._accepted(connection, peer, wanted)

    def _has_place(self, peer: Peer) -> bool:
        """Return whether one more may be open, or wait."""
        if not self._is_full(peer):
            return True
        waiting = sum(connection.peer is not None and connection.peer.id == peer.id for connection in self._waiting)
        in_all = limits.FORWARDS_PEERS * self._per_peer
        if self._patience > 0 and waiting < self._per_peer and len(self._waiting) < in_all:
            return True
        self._failed(peer)
        self._complain(peer, f"{self._many(peer)}, {waiting} wait: one more was refused")
        return False

    def _accepted(self, connection: Carried, peer: Peer, wanted: Service) -> None:
        connection.service = wanted
        self._add(connection)
        if self._is_full(peer):
            self._complain(peer, f"{self._many(peer)}: more have to wait")
            self._wait(connection, self._give_up)
        else:
            self._begun(connection, peer)
            self._start(connection)

    def _give_up(self, connection: Carried) -> None:
        del self._waiting[connection]
        self._failed(connection.peer)
        self._complain(connection.peer, f"no place for a connection within {self._patience:g} seconds")
        connection.reset(TOO_MANY)

    def on_closed(self, connection: Carried) -> None:
        super().on_closed(connection)
        for waiting in list(self._waiting):
            peer = waiting.peer
            if peer is not None and not self._is_full(peer):
                del self._waiting[waiting]
                self._begun(waiting, peer)
                self._start(waiting)

    async def close(self) -> None:
        """Reset every connection, stop those that are being made; returns when nothing is left of them."""
        await self._flows.close()
        await super().close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, connection: Carried) -> None:
        task = asyncio.get_running_loop().create_task(self._connect(connection))
        connection.connecting = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, connection: Carried) -> None:
        wanted = cast(Service, connection.service)
        try:
            if (reason := self._objection(wanted)) is not None:
                self._failed(connection.peer)
                self._complain(connection.peer, wanted.about(reason))
                connection.reset(service.NO_ANSWER)
                return
            await asyncio.wait_for(self._dial(connection, wanted.place), limits.DIAL_SECONDS)
        except service.FAILURES as error:
            self._failed(connection.peer)
            self._complain(connection.peer, wanted.about(service.why_not(error, wanted.place)))
            connection.reset(service.told_to_peers(error))
        finally:
            connection.connecting = None

    async def _dial(self, connection: Carried, place: Place) -> None:
        sock = await service.open_socket(place, self._failed_addresses)
        loop = asyncio.get_running_loop()
        if isinstance(place, Endpoint):
            await loop.create_connection(lambda: connection, sock=sock)
        else:
            await loop.create_unix_connection(lambda: connection, sock=sock)


class ForwardServer(ServiceServer):
    """An offer of the TCP service at host:port to peers.

        server = ForwardServer("127.0.0.1", 8080)
        server.register(api)

    Args:
        host: A name or IP literal of the service.
        port: The service's TCP port.
        **options: As for `ServiceServer`.
    """

    def __init__(self, host: str, port: int, **options: Any) -> None:
        super().__init__([Service(Endpoint(host, port))], **options)

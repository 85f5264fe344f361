"""TCP connections carried through a session with a peer.

`ServiceServer` offers services to the peers that may reach us, `ForwardServer` a single one; `ForwardListener` is a
local port each of whose connections becomes one duplex of the session with such a peer. Where a service listens is the
offering side's choice alone: callers know names, and `forward.open` has no arguments (docs/protocol/services.md). For
what the duplex carries see `net/forward/window.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Protocol, TypeVar, cast
from weakref import WeakKeyDictionary

from ssbfast import limits
from ssbfast.errors import LocalProtocolError, SSBError
from ssbfast.ids import FeedId
from ssbfast.net.api import Api, OpenStream
from ssbfast.net.endpoints import Endpoint, Place, UnixPath
from ssbfast.net.forward import service
from ssbfast.net.forward.connection import Carried
from ssbfast.net.forward.datagrams import DatagramServer
from ssbfast.net.forward.failures import Complaint, Complaints
from ssbfast.net.forward.service import Service, ServiceTable
from ssbfast.net.happy_eyeballs import FailedAddresses
from ssbfast.net.name_lookup import resolve
from ssbfast.net.peer import Peer
from ssbfast.net.socket_names import bound_host, with_zone
from ssbfast.net.sockets import bound_unix
from ssbfast.wire.muxrpc import Called, unknown_method_message

METHOD: Final = "forward.open"
SERVICE: Final = "forward.service"
SERVICES: Final = "forward.services"
GONE: Final = "the service is not offered any more"
TOO_MANY: Final = "too many connections"

_Self = TypeVar("_Self", bound="_Forward")


@dataclass(slots=True)
class Traffic:
    """Counters of what was carried.

    Attributes:
        open: Connections now.
        opened: Connections that were carried so far, those that are open included.
        failed: Connections that were turned away, or for which there was no service.
        sent: Bytes to the peer, as the TCP connections see them.
        got: Bytes from the peer, as the TCP connections see them.
    """

    open: int = 0
    opened: int = 0
    failed: int = 0
    sent: int = 0
    got: int = 0


class _Forward:
    """The common part of both ends of a forward: connections, their count and their end."""

    def __init__(self, per_peer: int, patience: float, told: Callable[[Complaint], None] | None) -> None:
        self.buffer = memoryview(bytearray(limits.FORWARD_READ))
        self._per_peer = per_peer
        self._patience = patience
        self._complaints = None if told is None else Complaints(told)
        self._waiting: dict[Carried, None] = {}
        self._connections: dict[Carried, None] = {}
        self._by_peer: WeakKeyDictionary[Peer, Traffic] = WeakKeyDictionary()
        self._all = Traffic()
        self._held: Counter[FeedId] = Counter()
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()
        self._is_closed = False

    async def __aenter__(self: _Self) -> _Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def traffic(self, peer: Peer | None = None) -> Traffic:
        """Return counters as they stand.

        Args:
            peer: The session to count, as long as its `Peer` is kept; None: all together.
        """
        past = self._all if peer is None else self._by_peer.get(peer, Traffic())
        now = Traffic(past.open, past.opened, past.failed, past.sent, past.got)
        for connection in self._connections:
            if connection.stream is not None and (peer is None or connection.peer is peer):
                now.sent += connection.stream.sent
                now.got += connection.stream.got
        return now

    async def close(self) -> None:
        """Reset every connection; returns when nothing is left of them."""
        self._is_closed = True
        for connection in list(self._connections):
            connection.reset(GONE)
        await self._idle.wait()
        if self._complaints is not None:
            self._complaints.close()

    # ------------------------------------------------------------ ConnectionListener

    def on_connected(self, connection: Carried) -> None:
        """Note that the TCP connection is there."""

    def on_refused(self, connection: Carried, reason: str) -> None:
        """Note that the other end has cut it before a byte came."""

    def on_closed(self, connection: Carried) -> None:
        del self._connections[connection]
        self._waiting.pop(connection, None)
        if connection.counts and connection.peer is not None and connection.stream is not None:
            who = connection.peer.id
            self._held[who] -= 1
            if not self._held[who]:
                del self._held[who]
            for traffic in self._books(connection.peer):
                traffic.open -= 1
                traffic.sent += connection.stream.sent
                traffic.got += connection.stream.got
        if not self._connections:
            self._idle.set()

    # ------------------------------------------------------------ inside

    def _add(self, connection: Carried) -> None:
        self._connections[connection] = None
        self._idle.clear()

    def _begun(self, connection: Carried, peer: Peer) -> None:
        if connection.patience is not None:
            connection.patience.cancel()
        connection.counts = True
        self._held[peer.id] += 1
        for traffic in self._books(peer):
            traffic.open += 1
            traffic.opened += 1

    def _failed(self, peer: Peer | None) -> None:
        for traffic in self._books(peer) if peer is not None else (self._all,):
            traffic.failed += 1

    def _complain(self, peer: Peer | None, reason: str) -> None:
        if self._complaints is not None:
            self._complaints.add(None if peer is None else peer.id, reason)

    def _wait(self, connection: Carried, give_up: Callable[[Carried], None]) -> None:
        """Let it wait, for a session or for a place."""
        self._waiting[connection] = None
        connection.patience = asyncio.get_running_loop().call_later(self._patience, give_up, connection)

    def _books(self, peer: Peer) -> tuple[Traffic, Traffic]:
        return self._all, self._by_peer.setdefault(peer, Traffic())

    def _is_full(self, peer: Peer) -> bool:
        free = limits.FORWARDS_PEERS * self._per_peer - self._all.open
        return self._held[peer.id] >= min(self._per_peer, free)

    def _many(self, peer: Peer) -> str:
        return f"{self._held[peer.id]} connections are open"


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


class ServiceServer(_Forward):
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


class ForwardListener(_Forward):
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

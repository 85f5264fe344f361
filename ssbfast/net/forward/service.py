"""The services behind a forward: which peers may use them, whether they listen, and messages for when they do not."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ssbfast import limits
from ssbfast.errors import BadInputError
from ssbfast.ids import FeedId
from ssbfast.net.endpoints import Endpoint, Place, UdpEndpoint, UnixPath, show_place
from ssbfast.net.happy_eyeballs import FailedAddresses
from ssbfast.net.name_lookup import resolve
from ssbfast.net.socket_names import system_reason
from ssbfast.net.sockets import connect, reset_on_close
from ssbfast.wire.pairing import is_name, name_in

NOT_THERE: Final = "nothing listens at the other end"
"""What a peer is told: not where the service would be."""

NO_ANSWER: Final = "the service does not answer"

NO_SERVICE: Final = "no such service"
"""What a peer is told of a name that is not offered, or not to it."""

FAILURES: Final = (OSError, UnicodeError, asyncio.TimeoutError)
"""What a connection to a service may fail with."""

TCP: Final = "tcp"
UDP: Final = "udp"


@dataclass(frozen=True, slots=True)
class Service:
    """A service that is offered.

    Attributes:
        place: Where it listens.
        name: What peers call it: 1 to 32 of a-z, 0-9 and -; None when it has no name.
        friends: The peers that may use it; None: every peer that may reach us.
    """

    place: Place
    name: str | None = None
    friends: frozenset[FeedId] | None = None

    @property
    def kind(self) -> str:
        """Return what peers are told of it: `TCP` (a Unix socket's, too) or `UDP`."""
        return UDP if isinstance(self.place, UdpEndpoint) else TCP

    def is_for(self, who: FeedId) -> bool:
        """Return whether a peer may use it."""
        return self.friends is None or who in self.friends

    def about(self, text: str) -> str:
        """Return words about it with its name, if it has one."""
        return text if self.name is None else f"{self.name}: {text}"


class ServiceTable:
    """The services of one peer, in order; the first of TCP is the one that callers get who name none.

    services: one at least. Raises BadInputError for names that are none, or stand there twice, and for too many.
    """

    def __init__(self, services: Sequence[Service]) -> None:
        if not 0 < len(services) <= limits.SERVICES:
            raise BadInputError(f"a peer offers 1 to {limits.SERVICES} services")
        self.first: Final = next((service for service in services if service.kind == TCP), None)
        self._named: dict[str, Service] = {}
        for service in services:
            if service.name is None:
                continue
            if not is_name(service.name):
                raise BadInputError(f"a service's name has 1 to 32 of a-z, 0-9 and -, no - at an end: {service.name!r}")
            if service.name in self._named:
                raise BadInputError(f"two services have the name {service.name}")
            self._named[service.name] = service

    def find(self, name: object, who: FeedId, kind: str = TCP) -> Service | None:
        """Return the service of this name and kind; None when there is none, or it is not for this peer.

        name: as a peer sent it.
        """
        service = self._named.get(name_in(name) or "")
        return service if service is not None and service.kind == kind and service.is_for(who) else None

    def of(self, who: FeedId) -> Iterator[Service]:
        """Yield the services with a name that a peer may use."""
        return (service for service in self._named.values() if service.is_for(who))


@dataclass(frozen=True, slots=True)
class Offered:
    """A service that a peer offers to us, in its own words.

    Attributes:
        name: What it is called.
        port: Its port there; None when it has none, or the peer does not say.
        kind: `TCP` or `UDP`.
    """

    name: str
    port: int | None = None
    kind: str = TCP

    @classmethod
    def read(cls, value: object) -> tuple[Offered, ...]:
        """Read the answer of `forward.services`; what is of another form, or of an unknown kind, is left out."""
        found = value if isinstance(value, list) else ()
        named = {one.name: one for one in map(cls._one, found[: limits.SERVICES]) if one is not None}
        return tuple(named.values())

    @classmethod
    def _one(cls, value: object) -> Offered | None:
        if not isinstance(value, dict) or (kind := value.get("kind")) not in (TCP, UDP):
            return None
        name, port = name_in(value.get("name")), value.get("port")
        is_port = type(port) is int and 0 < port < 2**16
        return None if name is None else cls(name, port if is_port else None, kind)


def offer_of(service: Service) -> dict[str, Any]:
    """Return what `forward.services` tells of a service."""
    told: dict[str, Any] = {"name": service.name, "kind": service.kind}
    return {**told, "port": service.place.port} if isinstance(service.place, Endpoint) else told


def why_not(error: BaseException, place: Place) -> str:
    """Return why there was no connection, in words for our own user. error: one of `FAILURES`."""
    shown = show_place(place)
    if isinstance(error, asyncio.TimeoutError) or getattr(error, "errno", None) == errno.ETIMEDOUT:
        return f"{shown} does not answer"
    if isinstance(error, ConnectionRefusedError) or (isinstance(place, UnixPath) and _is_missing(error)):
        return f"nothing listens at {shown}"
    if not isinstance(error, OSError) or isinstance(error, socket.gaierror) or not error.errno:
        return f"no such host: {place.host if isinstance(place, Endpoint) else shown}"
    return f"{shown} cannot be reached: {system_reason(error)}"


def told_to_peers(error: BaseException) -> str:
    """Return the same in words for the peer."""
    return NOT_THERE if isinstance(error, ConnectionRefusedError) or _is_missing(error) else NO_ANSWER


def _is_missing(error: BaseException) -> bool:
    return isinstance(error, FileNotFoundError)


async def open_socket(place: Place, failed: FailedAddresses | None = None) -> socket.socket:
    """Connect to a service. Its close is a reset from the first moment on, where there is such a thing.

    failed: remembers which addresses were of no use. Raises one of `FAILURES`.
    """
    if isinstance(place, Endpoint):
        return await connect(place.host, place.port, prepare=reset_on_close, failed=failed)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, place.path)
    except BaseException:
        sock.close()
        raise
    return sock


async def look_for(place: Place) -> str | None:
    """Return why the service cannot be reached just now, in words, or None.

    A service of this machine is not connected to where that can be found out otherwise: `nc -l` serves one connection.
    One of UDP on another machine cannot be asked.
    """
    try:
        if isinstance(place, UdpEndpoint):
            if not await _is_taken(place, socket.SOCK_DGRAM):
                return f"nothing listens at {show_place(place)}"
        elif not isinstance(place, Endpoint) or not await _is_taken(place):
            (await asyncio.wait_for(open_socket(place), limits.DIAL_SECONDS)).close()
    except FAILURES as error:
        return why_not(error, place)
    return None


async def _is_taken(place: Endpoint, kind: int = socket.SOCK_STREAM) -> bool:
    """Return whether a socket of ours listens there. Raises as `resolve` does.

    Where that cannot be told: False for TCP, True for UDP.
    """
    found = await asyncio.wait_for(resolve(place.host, place.port, kind=kind), limits.DIAL_SECONDS)
    return any(map(_is_bound if kind == socket.SOCK_STREAM else _is_not_free, found))


def _is_not_free(found: Any) -> bool:
    """Return False for a UDP port of this machine that no socket has."""
    family, kind, protocol, _name, address = found
    try:
        with socket.socket(family, kind, protocol) as sock:
            sock.bind(address)
    except OSError:
        return True
    return False


def _is_bound(found: Any) -> bool:
    if not sys.platform.startswith("linux"):
        return False  # elsewhere SO_REUSEADDR lets us bind beside a listener
    family, kind, protocol, _name, address = found
    try:
        with socket.socket(family, kind, protocol) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False

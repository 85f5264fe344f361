"""Endpoints of a room: the sockets that it binds and the addresses that it publishes."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ssbfast import limits
from ssbfast.errors import BadInputError
from ssbfast.ids import FeedId
from ssbfast.net.inherited_sockets import InheritedSockets
from ssbfast.net.socket_names import bound_host, system_reason, with_zone
from ssbfast.pasted.hosts import is_ipv6, read_host, show
from ssbfast.wire.address import MultiserverAddress, NetAddress, format_address

DEFAULT_PORT: Final = 8008
_WILDCARDS: Final = ("0.0.0.0", "::")
_PORT_MAX: Final = 65_535


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address to listen at.

    Attributes:
        host: A name or IP address; empty for every IPv4 and IPv6 address of this machine.
        port: A port number; 0 picks one that is free.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, default_port: int = DEFAULT_PORT) -> Endpoint:
        """Parse HOST, HOST:PORT, :PORT, PORT, [IPV6]:PORT or a bare IPv6 address.

        Args:
            text: The endpoint, as an operator writes it.
            default_port: The port when `text` has none.

        Returns:
            The endpoint; `*` becomes an empty host.

        Raises:
            BadInputError: `text` is none of these, or can be read in two ways.
        """
        host, port = _split(text)
        if port and not (port.isascii() and port.isdigit() and int(port[:6]) <= _PORT_MAX):
            raise BadInputError(f"not a port: {port!r}")
        if any(character.isspace() for character in host):
            raise BadInputError(f"not HOST:PORT: {text!r}")
        host = "" if host in ("", "*") else read_host(host)
        return cls(host, int(port) if port else default_port)


@dataclass(frozen=True, slots=True)
class UnixPath:
    """A Unix socket.

    Attributes:
        path: Its name in the file system.
    """

    path: str


@dataclass(frozen=True, slots=True)
class UdpEndpoint(Endpoint):
    """The address of a UDP service."""


Place = Endpoint | UnixPath
"""Where a service listens, or where programs find one."""


def show_place(place: Place) -> str:
    """Return a place as people write it: HOST:PORT, udp:HOST:PORT or unix:PATH."""
    if isinstance(place, UnixPath):
        return f"unix:{place.path}"
    shown = show(place.host, place.port)
    return f"udp:{shown}" if isinstance(place, UdpEndpoint) else shown


def _split(text: str) -> tuple[str, str]:
    """Return host and port as they are written; the port is empty when it is not given."""
    if text.startswith("["):
        host, closing, rest = text[1:].partition("]")
        if not closing or (rest and not rest.startswith(":")):
            raise BadInputError(f"not HOST:PORT: {text!r}")
        return f"[{host}]", rest[1:]
    if text.isascii() and text.isdigit():
        return "", text
    host, _, port = text.rpartition(":")
    if ":" not in host:
        return (host, port) if ":" in text else (text, "")
    if not is_ipv6(host) or not port.isdigit():
        return text, ""
    if is_ipv6(text):
        whole = f"[{text}] (the whole is the address)"
        raise BadInputError(f"{text!r} can be read as {show(host, int(port))} or as {whole}: write it with brackets")
    return host, port


def bind(endpoints: Sequence[Endpoint], inherited: InheritedSockets | None = None) -> list[socket.socket]:
    """Bind and listen, or take sockets that were bound for us. One port for all when several ask for port 0.

    Raises BadInputError with one clear line.
    """
    return _bind(endpoints, socket.SOCK_STREAM, inherited or InheritedSockets())


def bind_udp(endpoints: Sequence[Endpoint], inherited: InheritedSockets | None = None) -> list[socket.socket]:
    """Bind for UDP, as `bind` does for TCP."""
    return _bind(endpoints, socket.SOCK_DGRAM, inherited or InheritedSockets())


def beside(sockets: Sequence[socket.socket]) -> tuple[Endpoint, ...]:
    """Return the addresses and ports that these sockets are bound to."""
    return tuple(Endpoint(bound_host(sock), sock.getsockname()[1]) for sock in sockets)


def _bind(endpoints: Sequence[Endpoint], kind: socket.SocketKind, inherited: InheritedSockets) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    chosen = 0
    try:
        for endpoint in endpoints:
            port = endpoint.port or chosen
            for family, address in _families(endpoint):
                optional = family == socket.AF_INET6 and not endpoint.host
                whole = (address[0], port, *address[2:])
                if not endpoint.host and family == socket.AF_INET and inherited.covers(kind, port):
                    continue
                sock = inherited.take(family, kind, whole) or _bind_one(family, kind, whole, optional=optional)
                if sock is None:
                    continue
                sockets.append(sock)
                port = sock.getsockname()[1]
                chosen = chosen or (port if not endpoint.port else 0)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _families(endpoint: Endpoint) -> list[tuple[socket.AddressFamily, tuple[Any, ...]]]:
    """Return the socket addresses to bind, whole: those of IPv6 have a zone."""
    if not endpoint.host:
        return [(socket.AF_INET, ("0.0.0.0", 0)), (socket.AF_INET6, ("::", 0))]
    try:
        found = socket.getaddrinfo(endpoint.host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise BadInputError(f"no such host: {endpoint.host}{_zone_hint(endpoint.host)}") from None
    unique = dict.fromkeys((family, tuple(address)) for family, _, _, _, address in found)
    return [(family, address) for family, address in unique if family in (socket.AF_INET, socket.AF_INET6)]


def _zone_hint(host: str) -> str:
    return f" (is there an interface {host.partition('%')[2]}?)" if "%" in host else ""


def _bind_one(
    family: socket.AddressFamily, kind: socket.SocketKind, address: tuple[Any, ...], *, optional: bool
) -> socket.socket | None:
    shown = show(with_zone(address), address[1])
    is_tcp = kind == socket.SOCK_STREAM
    try:
        sock = socket.socket(family, kind)
    except OSError:
        if optional:
            return None  # a machine without IPv6
        raise BadInputError(f"this machine cannot listen on {shown}") from None
    try:
        if is_tcp and os.name == "posix":  # for UDP it would let others take the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Both families bind the same port, each for itself.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        if is_tcp:
            sock.listen(limits.LISTEN_BACKLOG)
    except OSError as error:
        sock.close()
        if optional and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return None
        what = shown if is_tcp else f"{shown} (UDP)"
        raise BadInputError(f"cannot listen on {what}: {_reason(error, address)}") from None
    sock.setblocking(False)
    return sock


def _reason(error: OSError, address: tuple[Any, ...]) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is taken"
    if error.errno == errno.EINVAL and address[0].startswith("fe80:") and not address[3]:
        return f"an address of one link needs its interface: [{address[0]}%eth0]"
    return system_reason(error)


def publish(sockets: Sequence[socket.socket], key: FeedId, host: Endpoint | None) -> tuple[MultiserverAddress, ...]:
    """Return the addresses to publish. host: what the operator says; a wildcard bind alone says only `localhost`."""
    port = int(sockets[0].getsockname()[1])
    if host is not None:
        return (MultiserverAddress(NetAddress(host.host, host.port or port), key),)
    found: dict[NetAddress, None] = {}
    for sock in sockets:
        name = bound_host(sock)
        found[NetAddress("localhost" if name in _WILDCARDS else name, int(sock.getsockname()[1]))] = None
    return tuple(MultiserverAddress(address, key) for address in found)


def shown(sockets: Sequence[socket.socket]) -> list[str]:
    """Return where the sockets are bound, as HOST:PORT."""
    return [show(bound_host(sock), int(sock.getsockname()[1])) for sock in sockets]


def reflectors(tcp: Sequence[socket.socket], udp: Sequence[socket.socket]) -> tuple[int | str, ...]:
    """Return what members are told of the reflectors: a port, if it is the same at each address that they can reach
    us by, else HOST:PORT for those that have reached us at that address.
    """
    hosts = {str(sock.getsockname()[0]) for sock in tcp}
    at: dict[int, dict[str, None]] = {}
    for sock in udp:
        host, port = sock.getsockname()[:2]
        at.setdefault(int(port), {})[str(host)] = None
    told: list[int | str] = []
    for port, found in at.items():
        everywhere = hosts <= found.keys() or not found.keys().isdisjoint(_WILDCARDS)
        told += [port] if everywhere else [show(host, port) for host in found]
    return tuple(told)


def is_wildcard_only(sockets: Sequence[socket.socket]) -> bool:
    """Return whether only this machine can know how to dial us."""
    return all(sock.getsockname()[0] in _WILDCARDS for sock in sockets)


def joined(addresses: Sequence[MultiserverAddress]) -> str:
    """Return the alternatives as one multiserver address."""
    return format_address(addresses)

"""Where a room listens: the sockets it binds and the addresses it tells people."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ssbfast.errors import BadInputError
from ssbfast.ids import FeedId
from ssbfast.wire.address import MultiserverAddress, NetAddress, format_address

DEFAULT_PORT: Final = 8008
_WILDCARDS: Final = ("0.0.0.0", "::")
_BACKLOG: Final = 1024


@dataclass(frozen=True, slots=True)
class Endpoint:
    """host: a name or IP address, empty for every IPv4 and IPv6 address of this machine. port: 0 picks one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, default_port: int = DEFAULT_PORT) -> Endpoint:
        """Read HOST, HOST:PORT, :PORT, [IPV6]:PORT or a bare IPv6 address. Raises BadInputError."""
        host, port = text, ""
        if text.startswith("["):
            host, closing, rest = text[1:].partition("]")
            if not closing or (rest and not rest.startswith(":")):
                raise BadInputError(f"not HOST:PORT: {text!r}")
            port = rest[1:]
        elif text.count(":") == 1:
            host, _, port = text.partition(":")
        if port and not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65_535):
            raise BadInputError(f"not a port: {port!r}")
        if host == "*":
            host = ""
        if any(character.isspace() for character in host):
            raise BadInputError(f"not HOST:PORT: {text!r}")
        return cls(host, int(port) if port else default_port)


def bind(endpoints: Sequence[Endpoint]) -> list[socket.socket]:
    """Bind and listen. One port for all when several ask for port 0. Raises BadInputError with one clear line."""
    return _bind(endpoints, socket.SOCK_STREAM)


def bind_udp(endpoints: Sequence[Endpoint]) -> list[socket.socket]:
    """The same for UDP, where there is nothing to listen to."""
    return _bind(endpoints, socket.SOCK_DGRAM)


def beside(sockets: Sequence[socket.socket]) -> tuple[Endpoint, ...]:
    """The same addresses and ports."""
    return tuple(Endpoint(*sock.getsockname()[:2]) for sock in sockets)


def _bind(endpoints: Sequence[Endpoint], kind: socket.SocketKind) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    chosen = 0
    try:
        for endpoint in endpoints:
            port = endpoint.port or chosen
            for family, host in _families(endpoint):
                optional = family == socket.AF_INET6 and not endpoint.host
                sock = _bind_one(family, kind, host, port, optional=optional)
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


def _families(endpoint: Endpoint) -> list[tuple[socket.AddressFamily, str]]:
    if not endpoint.host:
        return [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]
    try:
        found = socket.getaddrinfo(endpoint.host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise BadInputError(f"no such host: {endpoint.host}") from None
    unique = dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found)
    return [(family, host) for family, host in unique if family in (socket.AF_INET, socket.AF_INET6)]


def _bind_one(
    family: socket.AddressFamily, kind: socket.SocketKind, host: str, port: int, *, optional: bool
) -> socket.socket | None:
    is_tcp = kind == socket.SOCK_STREAM
    try:
        sock = socket.socket(family, kind)
    except OSError:
        if optional:
            return None  # a machine without IPv6
        raise BadInputError(f"this machine cannot listen on {host}") from None
    try:
        if is_tcp and os.name == "posix":  # for UDP it would let others take the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Both families bind the same port, each for itself.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        if is_tcp:
            sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        if optional and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return None
        what = _show(host, port) if is_tcp else f"{_show(host, port)} (UDP)"
        raise BadInputError(f"cannot listen on {what}: {_reason(error)}") from None
    sock.setblocking(False)
    return sock


def _reason(error: OSError) -> str:
    return "the port is taken" if error.errno == errno.EADDRINUSE else os.strerror(error.errno or 0).lower()


def _show(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def publish(sockets: Sequence[socket.socket], key: FeedId, host: Endpoint | None) -> tuple[MultiserverAddress, ...]:
    """The addresses to tell people. host: what the operator says; a wildcard bind alone says only `localhost`."""
    port = int(sockets[0].getsockname()[1])
    if host is not None:
        return (MultiserverAddress(NetAddress(host.host, host.port or port), key),)
    found: dict[NetAddress, None] = {}
    for sock in sockets:
        name, number = sock.getsockname()[:2]
        found[NetAddress("localhost" if name in _WILDCARDS else str(name).partition("%")[0], int(number))] = None
    return tuple(MultiserverAddress(address, key) for address in found)


def shown(sockets: Sequence[socket.socket]) -> list[str]:
    """Where they are bound, as HOST:PORT."""
    return [_show(*sock.getsockname()[:2]) for sock in sockets]


def reflectors(tcp: Sequence[socket.socket], udp: Sequence[socket.socket]) -> tuple[int | str, ...]:
    """What members are told of the reflectors: a port, if it is one at each address that they can reach us by, else
    HOST:PORT for those who have reached us at that address.
    """
    hosts = {str(sock.getsockname()[0]) for sock in tcp}
    at: dict[int, dict[str, None]] = {}
    for sock in udp:
        host, port = sock.getsockname()[:2]
        at.setdefault(int(port), {})[str(host)] = None
    told: list[int | str] = []
    for port, found in at.items():
        everywhere = hosts <= found.keys() or not found.keys().isdisjoint(_WILDCARDS)
        told += [port] if everywhere else [_show(host, port) for host in found]
    return tuple(told)


def is_wildcard_only(sockets: Sequence[socket.socket]) -> bool:
    """Whether nobody but this machine can know how to dial us."""
    return all(sock.getsockname()[0] in _WILDCARDS for sock in sockets)


def joined(addresses: Sequence[MultiserverAddress]) -> str:
    """The alternatives as one multiserver address."""
    return format_address(addresses)

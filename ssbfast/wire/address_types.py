"""The types of multiserver addresses, and how they are printed. See `wire.address` for the grammar and for reading."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from ssbfast.errors import AddressError
from ssbfast.ids import ID_BYTES, FeedId, encode_key

ROOM_SEED: Final = "SSB+Room+PSK3TLYC2T86EHQCUHBUHASCASE18JBV24="
"""What stands for the seed in every Rooms 1 invite: a constant, no secret."""

NAME: Final = re.compile(r"[a-z][a-z0-9-]+")
"""The name of a protocol."""

WS_PORTS: Final = {"ws": 80, "wss": 443}
"""Ports that need not be said."""

INSTANCE_MAX: Final = 10**15 - 1
"""Instances are JavaScript numbers; these are exact there."""

_KNOWN: Final = frozenset(("net", "onion", "ws", "wss", "unix", "tunnel", "shs"))
_SPECIAL: Final = re.compile(r"[!:;~]")
_SPECIAL_BUT_COLON: Final = re.compile(r"[!;~]")
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")
_SCOPE: Final = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_ZONE_OF_URL: Final = re.compile(r"%25(?=[A-Za-z_])")
_PATH: Final = re.compile(r"[\x21-\x7e]*")
_HOST_MAX: Final = 253
_LABEL_MAX: Final = 63
_PORT_MAX: Final = 65_535


@dataclass(frozen=True, slots=True)
class NetAddress:
    """A TCP address.

    Attributes:
        host: Name, IPv4 or IPv6 address (without brackets, shortest form).
        port: 1..65535.
    """

    host: str
    port: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "host", check_host(self.host, 0))
        _check(is_port(self.port), "a port is a number from 1 to 65535")


@dataclass(frozen=True, slots=True)
class OnionAddress:
    """A TCP address that is reached through Tor.

    Attributes:
        host: A name that ends in .onion, or any other.
        port: 1..65535.
    """

    host: str
    port: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "host", check_host(self.host, 0))
        _check(is_port(self.port), "a port is a number from 1 to 65535")


@dataclass(frozen=True, slots=True)
class WebSocketAddress:
    """A WebSocket address.

    Attributes:
        host: As in NetAddress.
        port: 1..65535.
        secure: True for `wss`.
        path: Empty, or begins with a slash.
    """

    host: str
    port: int
    secure: bool = False
    path: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "host", check_host(self.host, 0))
        _check(is_port(self.port), "a port is a number from 1 to 65535")
        _check(_is_path(self.path) and self.path[:1] in ("", "/"), "a path begins with / and is printable ASCII")


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A Unix domain socket.

    Attributes:
        path: Printable ASCII without spaces.
    """

    path: str

    def __post_init__(self) -> None:
        _check(_is_path(self.path) and self.path != "", "a path is printable ASCII")


@dataclass(frozen=True, slots=True)
class TunnelAddress:
    """The address of a peer behind a portal.

    Attributes:
        portal: The room that we must have a session with; the address does not tell where it is.
        target: The peer to reach through it.
        instance: Which of several tunnels of the target (ssb-tunnel of 2018), 0..10**15-1, or None.
    """

    portal: FeedId
    target: FeedId
    instance: int | None = None

    def __post_init__(self) -> None:
        _check(isinstance(self.portal, FeedId) and isinstance(self.target, FeedId), "portal and target are feed ids")
        number = self.instance
        good = number is None or (type(number) is int and 0 <= number <= INSTANCE_MAX)
        _check(good, "an instance is a small number")

    def __str__(self) -> str:
        return format_address(self)


@dataclass(frozen=True, slots=True)
class OtherProtocol:
    """A protocol that is not known here, kept as it is.

    Attributes:
        name: The protocol's name.
        data: Its fields, without escapes.
    """

    name: str
    data: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        _check(NAME.fullmatch(self.name) is not None, "a protocol's name is a-z, 0-9 and -")
        _check(all(_is_path(item) for item in self.data), "data are printable ASCII")


Transport: TypeAlias = NetAddress | OnionAddress | WebSocketAddress | UnixAddress | TunnelAddress | OtherProtocol


@dataclass(frozen=True, slots=True)
class MultiserverAddress:
    """One way to reach a peer.

    Attributes:
        transport: The transport at the bottom.
        shs: The id that the secret handshake has to prove there, or None.
        seed: 32 bytes, the one-time key of an invite, or None.
        others: Protocols on top of the handshake.
    """

    transport: Transport
    shs: FeedId | None = None
    seed: bytes | None = field(default=None, repr=False)
    others: tuple[OtherProtocol, ...] = ()

    def __post_init__(self) -> None:
        tunnel = self.transport if isinstance(self.transport, TunnelAddress) else None
        _check(tunnel is None or self.shs in (None, tunnel.target), "the shs key is not the tunnel target's")
        _check(self.seed is None or (self.shs is not None and len(self.seed) == ID_BYTES), "a seed needs a shs key")
        clash = isinstance(self.transport, OtherProtocol) and self.transport.name in _KNOWN
        _check(not clash and all(other.name != "shs" for other in self.others), "a known protocol has its own type")

    @property
    def peer(self) -> FeedId | None:
        """Return the id of the peer there: the shs key, else a tunnel's target; None if the address has neither."""
        if self.shs is None and isinstance(self.transport, TunnelAddress):
            return self.transport.target
        return self.shs

    def __str__(self) -> str:
        return format_address(self)


@dataclass(frozen=True, slots=True)
class Invite:
    """A Rooms 1 invite: `net:HOST:PORT~shs:KEY:SSB+Room+PSK3TLYC2T86EHQCUHBUHASCASE18JBV24=`.

    Attributes:
        address: The room's address, without the seed.
    """

    address: MultiserverAddress

    def __post_init__(self) -> None:
        good = isinstance(self.address.transport, NetAddress) and self.address.shs is not None
        _check(good and self.address.seed is None and not self.address.others, "an invite is a host, a port and a key")

    def __str__(self) -> str:
        return f"{format_address(self.address)}:{ROOM_SEED}"


def format_address(address: MultiserverAddress | Transport | Iterable[MultiserverAddress]) -> str:
    """Print an address, or several as alternatives joined by `;`.

    A TunnelAddress alone is printed with its target's `~shs:` key, as peers expect it; other transports as they are.
    `parse_address` reads back exactly what was printed.

    Args:
        address: An address, a bare transport, or several addresses in order of preference.

    Returns:
        The text.
    """
    if isinstance(address, Iterable):
        return ";".join(format_address(one) for one in address)
    if not isinstance(address, MultiserverAddress):
        address = MultiserverAddress(address, address.target if isinstance(address, TunnelAddress) else None)
    parts = [_format_transport(address.transport)]
    if address.shs is not None:
        seed = () if address.seed is None else (encode_key(address.seed),)
        parts.append(_join("shs", encode_key(address.shs.key), *seed))
    parts += (_join(other.name, *other.data) for other in address.others)
    return "~".join(parts)


# ---------------------------------------------------------------- printing


def _join(name: str, *data: str) -> str:
    return ":".join((name, *(_SPECIAL.sub(r"!\g<0>", item) for item in data)))


def _format_transport(transport: Transport) -> str:
    match transport:
        case NetAddress(host, port):
            return _join("net", host, str(port))
        case OnionAddress(host, port):
            return _join("onion", host, str(port))
        case WebSocketAddress():
            return _format_ws(transport)
        case UnixAddress(path):
            return _join("unix", path)
        case TunnelAddress(portal, target, instance):
            return _join("tunnel", str(portal), str(target), *(() if instance is None else (str(instance),)))
        case OtherProtocol(name, data):
            return _join(name, *data)


def _format_ws(address: WebSocketAddress) -> str:
    """Return a URL; its colons stay as they are, because that is how JS peers print it."""
    name = "wss" if address.secure else "ws"
    host = f"[{address.host}]" if ":" in address.host else address.host
    port = "" if address.port == WS_PORTS[name] else f":{address.port}"
    path = _SPECIAL_BUT_COLON.sub(r"!\g<0>", address.path)
    return f"{name}://{host}{port}{path}"


# ---------------------------------------------------------------- checks


def check_host(text: str, offset: int) -> str:
    """Check a host and return it, IPv6 without brackets and in its shortest form. Raises AddressError.

    A zone that is written as URLs have it (`%25eth0`, RFC 6874) is returned as the system has it (`%eth0`).
    """
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" in bare:
        bare = _ZONE_OF_URL.sub("%", bare)
        scope = bare.partition("%")
        try:
            literal = ipaddress.IPv6Address(bare)
        except ValueError:
            raise AddressError("not an IPv6 address", offset) from None
        if not scope[1] or _SCOPE.fullmatch(scope[2]) is not None:
            return str(literal)
    elif len(text) <= _HOST_MAX and _HOST_NAME.fullmatch(text) is not None and _has_good_labels(text):
        return text
    raise AddressError("not a host", offset)


def _has_good_labels(name: str) -> bool:
    return all(0 < len(label) <= _LABEL_MAX for label in name.removesuffix(".").split("."))


def is_port(value: object) -> bool:
    return type(value) is int and 1 <= value <= _PORT_MAX


def _is_path(text: str) -> bool:
    return _PATH.fullmatch(text) is not None


def _check(good: bool, message: str) -> None:
    """Raise AddressError unless `good`, for addresses built, not parsed: there is no text to point into."""
    if not good:
        raise AddressError(message, 0)

"""The address that a request comes from, and the name that it was sent to; behind proxies, too. No I/O."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

from ssbfast.errors import BadInputError
from ssbfast.server.networks import Network
from ssbfast.wire.alias import may_be_alias

Headers: TypeAlias = Iterable[tuple[bytes, bytes]]

LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_FORWARDED_FOR = re.compile(r'(?:^|[;\s])for\s*=\s*("[^"]*"|[^;,"\s]+)', re.IGNORECASE)
_HOST = re.compile(r"(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9._-]{1,255})(?::([0-9]{1,5}))?")


class Proxies:
    """The proxies whose word about addresses is believed."""

    def __init__(self, networks: Sequence[Network] = ()) -> None:
        self._networks = tuple(networks)

    def trusts(self, host: str) -> bool:
        """Return whether a host is one of them."""
        address = _address(host)
        return address is not None and any(
            address.version == network.version and address in network for network in self._networks
        )

    def client(self, host: str, headers: Headers) -> str:
        """Return the host that a request comes from: the last hop that is no proxy of ours.

        Args:
            host: The other end of the connection.
            headers: The request's, with small names. X-Forwarded-For is believed before Forwarded, which proxies pass
                on as visitors wrote it.
        """
        if not self.trusts(host):
            return host
        ours: list[str] = []
        standard: list[str] = []
        for name, value in headers:
            if name == b"x-forwarded-for":
                ours += value.decode("latin-1").split(",")
            elif name == b"forwarded":
                for element in value.decode("latin-1").split(","):
                    found = _FORWARDED_FOR.search(element)
                    standard.append(found[1].strip('"') if found else "")
        return self._last(host, ours or standard)

    def _last(self, host: str, chain: list[str]) -> str:
        for hop in reversed(chain):
            address = _of_hop(hop.strip())
            if address is None:
                break
            host = str(address)
            if not self.trusts(host):
                break
        return host


def _of_hop(hop: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an address with or without a port; after IPv6 that has no brackets, too, as far as it is not one more part.

    The proxies of go-ssb-room are told to write $remote_addr:$remote_port.
    """
    if hop.startswith("["):
        return _address(hop[1:].partition("]")[0])
    if hop.count(":") == 1:
        return _address(hop.partition(":")[0])
    return _address(hop) or _address(hop.rpartition(":")[0])


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


# ---------------------------------------------------------------- names


@dataclass(frozen=True, slots=True)
class RequestHost:
    """The name that a request was sent to.

    Attributes:
        is_loopback: True for this machine's own names, whatever the site's.
        alias: The alias whose sub-domain it is; None for the site itself.
        origin: The origin of pages with this name.
    """

    is_loopback: bool
    alias: str | None
    origin: str


class SiteName:
    """The name of a site, as its base URL tells it, and which others are answered.

    Args:
        base_url: `https://HOST[:PORT]`, without a path.

    Raises:
        BadInputError: It is no such URL.
    """

    def __init__(self, base_url: str) -> None:
        try:
            parts = urlsplit(base_url)
            port = parts.port
        except ValueError:
            raise BadInputError("not the URL of a web site: it reads https://HOST or https://HOST:PORT") from None
        is_plain = parts.path in ("", "/") and not parts.query and not parts.fragment and parts.username is None
        if parts.scheme not in ("http", "https") or not parts.hostname or not is_plain:
            raise BadInputError("not the URL of a web site: it reads https://HOST or https://HOST:PORT")
        self.scheme = parts.scheme
        self.host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        if _HOST.fullmatch(self.host) is None:
            raise BadInputError("not the URL of a web site: its host has strange characters")
        self.port = port or (443 if parts.scheme == "https" else 80)
        self.netloc = self.host if port is None or port == self._default else f"{self.host}:{port}"
        self.url = f"{self.scheme}://{self.netloc}"

    @property
    def _default(self) -> int:
        return 443 if self.scheme == "https" else 80

    @property
    def is_secure(self) -> bool:
        """Return whether browsers come by TLS."""
        return self.scheme == "https"

    @property
    def is_loopback(self) -> bool:
        """Return whether it is this machine's own name."""
        return self.host in _LOOPBACK_NAMES

    def read(self, host: str, scheme: str) -> RequestHost | None:
        """Read a Host header; None for a name that is not ours.

        Args:
            host: The header's value.
            scheme: "http" or "https", as the connection says; used for loopback names, which no proxy is before.
        """
        found = _HOST.fullmatch(host)
        if found is None:
            return None
        name, port = found[1].lower().removesuffix("."), found[2]
        if name == self.host:
            return RequestHost(self.is_loopback, None, self._origin(name, port, scheme))
        if name in _LOOPBACK_NAMES:
            return RequestHost(True, None, f"{scheme}://{name}" + (f":{port}" if port else ""))
        label, _, rest = name.partition(".")
        if rest == self.host and may_be_alias(label):
            return RequestHost(self.is_loopback, label, self._origin(name, port, scheme))
        return None

    def _origin(self, name: str, port: str | None, scheme: str) -> str:
        if self.is_loopback:
            return f"{scheme}://{name}" + (f":{port}" if port else "")
        return self.url if name == self.host else f"{self.scheme}://{name}"

"""The addresses at which a peer says it can be reached, and those of them that we are ready to send to.

In `direct.offer` and its answer each side says: up to 8 candidates, how its NAT gives out ports, and whether it would
take part in a birthday search. What the other side says is hostile input: a liar must not turn us into a scanner of
ports, of our own network or of another network. `parse_whereabouts` looks at the shape only, `admit` at the addresses::

    {"candidates": [{"host": "192.0.2.1", "port": 4096, "kind": "host" | "reflexive"}, …],
     "mapping": "easy" | "hard" | "unknown", "birthday": true | false}

Junk is left out silently: an honest peer of a later version may know more kinds than we do.

**What the other side says proves nothing about an address.** It may repeat what it has heard of us. So private
addresses count for what *we* know: those on a subnet of our own interfaces; and others when reflectors inside of a
private network see us at a private address of the same family, for then the network routes them (`Surroundings`).
Link-local ones count on an own link-local subnet alone, and those where clouds answer with secrets never do. The rule
is the same for both roles, for candidates that are said and for sources of authentic probes.

The default gateway's address is one like any other on an own subnet: a peer may share its line with us and be that
gateway. Nothing below port 1024 is ever sent to, and few probes to what does not answer (`budgets.py`).
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from ssbfast import limits

Address: TypeAlias = tuple[str, int]
"""An IP literal and a port."""

IP: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

PORTS: Final = range(1024, 65536)
"""Below them live the services that a liar would like to have probed."""

LONGEST_LITERAL: Final = 45
"""Characters of ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255, the longest spelling of an address."""


class Kind(enum.Enum):
    """The source of an address."""

    HOST = "host"
    REFLEXIVE = "reflexive"
    PEER_REFLEXIVE = "peer reflexive"
    """An authentic probe came from there; never said, always seen."""


class NatMapping(enum.Enum):
    """The way in which a NAT gives out ports, as two reflectors saw it."""

    EASY = "easy"
    """One port for all destinations."""
    HARD = "hard"
    """Another port for each destination: the other side has to search for it, by birthday."""
    UNKNOWN = "unknown"
    """No two reflectors have answered."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One address that may reach a peer. host: a canonical IP literal without scope."""

    host: str = field(repr=False)
    port: int = field(repr=False)
    kind: Kind

    @property
    def address(self) -> Address:
        return self.host, self.port

    @property
    def is_v6(self) -> bool:
        return ":" in self.host

    def as_json(self) -> dict[str, object]:
        """Return the candidate as it is sent to the peer."""
        return {"host": self.host, "port": self.port, "kind": self.kind.value}


@dataclass(frozen=True, slots=True)
class Candidates:
    """The candidates of one side: at most 8, best first."""

    candidates: tuple[Candidate, ...] = ()
    mapping: NatMapping = NatMapping.UNKNOWN
    birthday: bool = False

    def as_json(self) -> dict[str, object]:
        """Return the members of an offer or answer that `parse_whereabouts` reads."""
        return {
            "candidates": [candidate.as_json() for candidate in self.candidates],
            "mapping": self.mapping.value,
            "birthday": self.birthday,
        }

    def reflexive(self) -> frozenset[str]:
        """Return the IP addresses at which reflectors saw this side."""
        return frozenset(item.host for item in self.candidates if item.kind is Kind.REFLEXIVE)


class Scope(enum.Enum):
    """The range within which an IP address means the same host."""

    PUBLIC = "public"
    PRIVATE = "private"
    """In one network and what it routes to."""
    LINK = "link"
    LOOPBACK = "loopback"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The facts at this end that decide over a peer's addresses.

    subnets: those that our own interfaces are on. reflexive: IP addresses at which reflectors saw us, as far as they
    can know (`is_credible`); a private one says that private addresses of its family are routed to us. reflectors:
    their own. loopback: let loopback addresses pass (tests and the demo).
    """

    subnets: tuple[Network, ...] = field(default=(), repr=False)
    reflexive: frozenset[str] = field(default=frozenset(), repr=False)
    reflectors: frozenset[str] = field(default=frozenset(), repr=False)
    loopback: bool = False


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


_LOOPBACK: Final = _networks("127.0.0.0/8", "::1/128")
_LINK: Final = _networks("169.254.0.0/16")
_PRIVATE: Final = _networks(
    "10.0.0.0/8",
    "100.64.0.0/10",  # carriers' NATs
    "172.16.0.0/12",
    "192.168.0.0/16",
    "198.18.0.0/15",  # benchmarks of networks, and what proxies make up
    "fc00::/7",
    "fec0::/10",
)
_UNICAST6: Final = _networks("2000::/3", "fc00::/7", "fec0::/10")
"""All IPv6 addresses that hosts may have, but for loopback and link-local ones: these mean nothing without a scope,
which only we could know. What is not here is unspecified, multicast, reserved, or IPv4 in disguise (mapped, compatible,
translated, NAT64)."""

_NEVER: Final = _networks(
    "0.0.0.0/8",
    "192.0.0.0/24",  # protocol assignments, a cloud's secrets among them
    "192.88.99.0/24",  # relays of 6to4
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, and 255.255.255.255
    "2001::/32",  # Teredo and 6to4: IPv4 in disguise
    "2002::/16",
    # Where clouds hand out secrets of the machine that asks, and their other services.
    "100.100.100.200/32",
    "168.63.129.16/32",
    "169.254.169.0/24",
    "169.254.170.0/24",
    "fd00:ec2::/32",
    "fd20:ce::/32",
)


def canonical_host(text: object) -> str | None:
    """Return an IP literal in its one spelling, an IPv4-mapped one as IPv4.

    None for anything else (names, scopes, junk).
    """
    if not isinstance(text, str) or len(text) > LONGEST_LITERAL or "%" in text:
        return None
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return str(ip)


def scope_of(host: str) -> Scope:
    """Return the range within which this literal means the same host."""
    ip = ipaddress.ip_address(host)
    if _among(ip, _LOOPBACK):
        return Scope.LOOPBACK
    if _among(ip, _LINK):
        return Scope.LINK
    return Scope.PRIVATE if _among(ip, _PRIVATE) else Scope.PUBLIC


def is_private(host: str) -> bool:
    """Return whether this literal means something within one network only (loopback included)."""
    return scope_of(host) is not Scope.PUBLIC


def is_credible(seen: Address, reflector: str, own: Collection[Address]) -> bool:
    """Return whether a reflector can have seen us at this address.

    seen: what it says. reflector: its own IP literal, at which it has answered. own: the addresses of our socket.
    From outside of a private network no peer is seen at a private address, unless there is no NAT in between.
    """
    inside = scope_of(seen[0])
    if inside is Scope.PUBLIC:
        return True
    outside = scope_of(reflector)
    return outside is inside or (inside is Scope.PRIVATE and outside is Scope.PUBLIC and seen in own)


def is_sendable(host: object, port: object, *, loopback: bool = False) -> bool:
    """Return whether any datagram may ever be sent there: the rules that need no surroundings."""
    if not isinstance(host, str) or canonical_host(host) != host or not isinstance(port, int) or port not in PORTS:
        return False
    ip = ipaddress.ip_address(host)
    if _among(ip, _LOOPBACK):
        return loopback
    return not _among(ip, _NEVER) and (ip.version == 4 or _among(ip, _UNICAST6))


def parse_whereabouts(value: object) -> Candidates:
    """Read a peer's candidates.

    value: anything that JSON can say. Looks at the first 8 candidates only; what is none is left out. Never raises.
    """
    if not isinstance(value, Mapping):
        return Candidates()
    listed = value.get("candidates")
    found = [_parse(item) for item in listed[: limits.CANDIDATES]] if isinstance(listed, list) else []
    mapping = value.get("mapping")
    known = {item.value: item for item in NatMapping}
    return Candidates(
        candidates=tuple(dict.fromkeys(item for item in found if item is not None)),
        mapping=known.get(mapping, NatMapping.UNKNOWN) if isinstance(mapping, str) else NatMapping.UNKNOWN,
        birthday=value.get("birthday") is True,
    )


def admit(theirs: Candidates, around: Surroundings) -> tuple[Candidate, ...]:
    """Return the peer's candidates that we send to: at most 8, in its order, none twice. Never raises."""
    out: dict[Address, Candidate] = {}
    for item in theirs.candidates[: limits.CANDIDATES]:
        # A reflector that names itself would have all its clients' peers send to it.
        names_itself = item.kind is Kind.REFLEXIVE and item.host in around.reflectors
        if not names_itself and may_send(item.address, around):
            out.setdefault(item.address, item)
    return tuple(out.values())


def may_send(address: Address, around: Surroundings) -> bool:
    """Return whether we send to this address, whether it was named or seen."""
    host, port = address
    if not is_sendable(host, port, loopback=around.loopback):
        return False
    ip = ipaddress.ip_address(host)
    own = [net for net in around.subnets if ip in net]
    if any(_is_edge(ip, net) for net in own):
        return False
    scope = scope_of(host)
    if scope in (Scope.PUBLIC, Scope.LOOPBACK):
        return True
    if any(scope_of(str(net.network_address)) is scope for net in own):  # a subnet of everything says nothing
        return True
    routed = (seen for seen in around.reflexive if (":" in seen) == (":" in host))
    return scope is Scope.PRIVATE and any(scope_of(seen) is scope for seen in routed)


def _parse(item: object) -> Candidate | None:
    if not isinstance(item, Mapping):
        return None
    host, port, kind = canonical_host(item.get("host")), item.get("port"), item.get("kind")
    if host is None or not isinstance(port, int) or port not in PORTS:
        return None
    if kind == Kind.HOST.value:
        return Candidate(host, port, Kind.HOST)
    return Candidate(host, port, Kind.REFLEXIVE) if kind == Kind.REFLEXIVE.value else None


def _among(ip: IP, networks: Iterable[Network]) -> bool:
    return any(ip in network for network in networks)


def _is_edge(ip: IP, network: Network) -> bool:
    """Return whether it is a subnet's own broadcast address, or its name.

    Old hosts take the name for the broadcast address, and IPv6's routers answer to it (RFC 4291, section 2.6.1).
    """
    if network.prefixlen >= network.max_prefixlen - 1:
        return False
    return ip == network.network_address or (ip.version == 4 and ip == network.broadcast_address)

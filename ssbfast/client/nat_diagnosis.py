"""The diagnosis of this machine's network: UDP, the NAT's treatment of ports, and the peers that can be reached.

Everything is measured with our own sockets and STUN requests to reflectors. How a NAT *filters* cannot be measured so:
it would take a server that answers from another address than was asked, which our reflectors, for good reasons, do not.
What follows from that stands in `outlook`.
"""

from __future__ import annotations

import asyncio
import enum
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ssbfast import limits
from ssbfast.direct.interfaces import HostAddress, host_addresses
from ssbfast.direct.port_mapper import PortMapper
from ssbfast.direct.stun_client import reflexive
from ssbfast.direct.udp import Address, UdpSocket
from ssbfast.direct.upnp_mapping import has_upnp
from ssbfast.errors import BadInputError
from ssbfast.net.endpoints import Endpoint
from ssbfast.net.name_lookup import resolve
from ssbfast.wire.direct.port_mapping import Protocol
from ssbfast.wire.direct.punch.candidates import canonical_host, is_private, is_sendable

_TOKEN: Final = b"\x3f"
"""First byte of a datagram to ourselves: a probe's by its range (`direct/udp.py`), and none by its number."""


class Nat(enum.Enum):
    """The NAT between our socket and the world, as far as reflectors can show it."""

    NONE = "none"
    """The world sees our own address."""
    EASY = "easy"
    """One port for all destinations."""
    HARD = "hard"
    """Another port for each destination (symmetric)."""
    UNKNOWN = "unknown"
    """There is a NAT, but only one reflector has answered."""
    SILENT = "silent"
    """No reflector has answered: UDP is blocked, or they are away."""
    UNASKED = "unasked"
    """There is no reflector to ask in this family, or no socket."""


class Works(enum.Enum):
    """The way to reach a peer behind a certain NAT."""

    DIRECT = "direct"
    BIRTHDAY = "birthday"
    """Direct if both sides allow a search (--birthday), else by the room's relay."""
    RELAY = "relay"
    PERHAPS = "perhaps"
    """Depends on what could not be measured."""


@dataclass(frozen=True, slots=True)
class Family:
    """The findings about IPv4, or IPv6. version: 4 or 6.

    asked: reflectors that were asked, seen: where those that answered have seen our socket. local_port: its port.
    hairpin: whether our NAT lets us reach ourselves by our outer address; None when there is nothing to try it with.
    """

    version: int
    nat: Nat
    asked: int = 0
    seen: tuple[Address, ...] = field(default=(), repr=False)
    local_port: int = 0
    hairpin: bool | None = None
    hosts: tuple[HostAddress, ...] = field(default=(), repr=False)

    @property
    def keeps_port(self) -> bool | None:
        """Return whether the world sees the port that we have; None when no reflector has told."""
        return all(port == self.local_port for _, port in self.seen) if self.seen else None

    def candidates(self) -> Iterator[tuple[str, str]]:
        """Return where peers may reach us: a kind and an address without port, none twice."""
        for host in dict.fromkeys(host for host, _ in self.seen):
            yield ("reflexive" if self.nat is not Nat.NONE else "public"), host
        for item in self.hosts:
            if not any(item.host == host for host, _ in self.seen):
                yield ("private" if is_private(item.host) else "public"), item.host

    def as_json(self) -> dict[str, Any]:
        return {
            "family": self.version,
            "nat": self.nat.value,
            "asked": self.asked,
            "answered": len(self.seen),
            "keeps_port": self.keeps_port,
            "hairpin": self.hairpin,
            "filtering": None,
        }


def classify(asked: int, seen: Sequence[Address], hosts: Iterable[str]) -> Nat:
    """Return what reflectors' answers mean. seen: one entry for each answer. hosts: our own addresses."""
    if not asked:
        return Nat.UNASKED
    if not seen:
        return Nat.SILENT
    own = set(hosts)
    if all(host in own for host, _ in seen):
        return Nat.NONE
    if len(seen) < 2:
        return Nat.UNKNOWN
    return Nat.EASY if len(set(seen)) == 1 else Nat.HARD


@dataclass(frozen=True, slots=True)
class Router:
    """Answer of our router to the wish for a mapped port.

    protocol: what it speaks; None: nothing that we do. host: where the world reaches a mapped port; None when it maps
    none, or when that address is a private one. asked: the protocols that it was asked in.
    """

    protocol: Protocol | None = None
    host: str | None = field(default=None, repr=False)
    asked: tuple[Protocol, ...] = tuple(Protocol)

    def as_json(self) -> dict[str, Any]:
        return {
            "protocol": None if self.protocol is None else self.protocol.value,
            "address": self.host,
            "asked": [protocol.value for protocol in self.asked],
        }


OTHERS: Final = ("public", "full-cone", "address", "port", "port-open", "symmetric", "blocked")
"""What may stand in front of the other side: no NAT; NATs with one port that let in every sender, or those that were
sent to (by address; by address and port, two sorts), or with a port for each destination; no UDP."""

_MATRIX: Final = {
    Nat.NONE: "direct direct direct direct direct direct relay",
    Nat.EASY: "direct direct direct direct direct birthday relay",
    Nat.HARD: "direct direct direct birthday birthday relay relay",
    Nat.UNKNOWN: "direct direct direct perhaps perhaps perhaps relay",
    Nat.SILENT: "relay relay relay relay relay relay relay",
    Nat.UNASKED: "perhaps perhaps perhaps perhaps perhaps perhaps relay",
}


def outlook(nat: Nat, *, maps: bool = False) -> dict[str, Works]:
    """Return, for each of `OTHERS`, how we shall reach it over IPv4. maps: our router maps ports for us.

    An easy NAT is taken for the strictest sort; one that filters by address, or not at all, reaches symmetric ones too.
    """
    row = _MATRIX[Nat.NONE if maps and nat in (Nat.EASY, Nat.HARD, Nat.UNKNOWN) else nat]
    return {other: Works(word) for other, word in zip(OTHERS, row.split(), strict=True)}


async def diagnose(reflectors: Sequence[Address], *, loopback: bool = False) -> tuple[Family, Family]:
    """Ask each of these reflectors, IP literals and ports, at once; at most a few seconds. IPv4, then IPv6.

    loopback: addresses that only this machine can reach count as well.
    Raises MissingExtraError without aioice.
    """
    hosts = host_addresses(loopback=loopback)
    v4, v6 = await asyncio.gather(
        *(
            _family(version, [to for to in dict.fromkeys(reflectors) if (":" in to[0]) == (version == 6)], hosts)
            for version in (4, 6)
        )
    )
    return v4, v6


async def ask_router() -> Router | None:
    """Ask our router for a mapping, and have it forget that; None when there is no router to ask, or no NAT.

    Raises MissingExtraError without ifaddr.
    """
    udp = _socket(4)
    if udp is None:
        return None
    try:
        mapping = PortMapper().map(udp.local[1], host_addresses())
        if mapping is None:
            return None
        udp.on_unused = mapping.close
        await mapping.settled(limits.UPNP_FIND_SECONDS)
        address = mapping.address
        asked = tuple(protocol for protocol in Protocol if protocol is not Protocol.UPNP or has_upnp())
        return Router(mapping.protocol, None if address is None else address[0], asked)
    finally:
        udp.close()


async def _family(version: int, reflectors: Sequence[Address], all_hosts: Iterable[HostAddress]) -> Family:
    hosts = tuple(item for item in all_hosts if item.is_v6 == (version == 6))
    udp = _socket(version) if reflectors else None
    if udp is None:
        return Family(version, Nat.UNASKED, hosts=hosts)
    try:
        answers = await asyncio.gather(*(reflexive(udp, to, limits.DOCTOR_SECONDS) for to in reflectors))
        seen = tuple(answer for answer in answers if answer is not None)
        nat = classify(len(reflectors), seen, (item.host for item in hosts))
        hairpin = await _hairpin(udp, seen[0]) if nat in (Nat.EASY, Nat.UNKNOWN) else None
        return Family(version, nat, len(reflectors), seen, udp.local[1], hairpin, hosts)
    finally:
        udp.close()


async def _hairpin(udp: UdpSocket, outer: Address) -> bool | None:
    """Return whether a datagram from another socket of ours to our outer address comes in."""
    other = _socket(6 if ":" in outer[0] else 4) if is_sendable(*outer, loopback=True) else None
    if other is None:
        return None
    token = _TOKEN + os.urandom(16)
    came = asyncio.Event()
    udp.probes = lambda data, _source: came.set() if data == token else None
    try:
        for _ in range(3):
            other.send(token, outer)
            try:
                await asyncio.wait_for(came.wait(), limits.HAIRPIN_SECONDS)
            except asyncio.TimeoutError:
                continue
            return True
        return False
    finally:
        udp.probes = None
        other.close()


def _socket(version: int) -> UdpSocket | None:
    try:
        return UdpSocket.open(socket.AF_INET if version == 4 else socket.AF_INET6)
    except OSError:  # no IPv6 here
        return None


async def find(servers: Sequence[Endpoint]) -> list[Address]:
    """Return the addresses of STUN servers given by name. Raises BadInputError for a name that does not exist."""
    found: dict[Address, None] = {}
    for server in servers:
        try:
            answers = await resolve(server.host, server.port, kind=socket.SOCK_DGRAM)
        except (OSError, UnicodeError):
            raise BadInputError(f"no such host: {server.host}") from None
        for _, _, _, _, address in answers:
            host = canonical_host(address[0])
            if host is not None:
                found[host, int(address[1])] = None
    return list(found)

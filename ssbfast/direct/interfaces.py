"""The addresses of this machine, with the subnets that they are on."""

from __future__ import annotations

import contextlib
import enum
import ipaddress
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ssbfast.direct.routes import default_routes
from ssbfast.errors import MissingExtraError
from ssbfast.wire.direct.punch.candidates import Network

_INTERFACES: Final = Path("/sys/class/net")
_POINT_TO_POINT: Final = 0x10
"""Flag of an interface (linux/if.h)."""


@dataclass(frozen=True, slots=True)
class HostAddress:
    """One address of an interface. host: a canonical IP literal."""

    host: str = field(repr=False)
    subnet: Network = field(repr=False)

    @property
    def is_v6(self) -> bool:
        return self.subnet.version == 6


class _Rank(enum.IntEnum):
    """Rank of an interface, by how likely others reach its addresses. The first are told first."""

    OUTWARD = 0
    """A default route would give this address to a connection."""
    DEFAULT = 1
    """A default route leads through the interface."""
    HARDWARE = 2
    ORDINARY = 3
    TUNNEL = 4
    """Point to point: a VPN, which the other end may be in, too."""
    CONTAINERS = 5
    """A bridge, or a cable, to containers and virtual machines of this very machine."""


def host_addresses(*, loopback: bool = False) -> list[HostAddress]:
    """Return all of them, none twice, those first that others are most likely to reach: few may be told.

    First come those that lead to the world; then those of interfaces with default routes; then those of hardware, of
    other interfaces, and of VPNs; bridges of containers come last. Among equals it is the system's order.

    Link-local IPv6 addresses are left out: without a scope, which differs from machine to machine, they mean nothing.
    loopback: with those that only this machine can reach. Raises MissingExtraError without the extra `direct`.
    """
    known: dict[HostAddress, str] = {}
    for item, interface in _all():
        if loopback or not item.subnet.is_loopback:
            known.setdefault(item, interface)
    outward = _outward()
    ways = {(version, route.interface) for version in (4, 6) for route in default_routes(version)}
    ranks = {name: _rank(name) for name in known.values()}

    def rank(item: HostAddress) -> _Rank:
        if item.host in outward:
            return _Rank.OUTWARD
        return _Rank.DEFAULT if (item.subnet.version, known[item]) in ways else ranks[known[item]]

    return sorted(known, key=rank)


def _outward() -> set[str]:
    """Return the addresses that the default routes would give to a connection. Nothing is sent."""
    found: set[str] = set()
    for family, somewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((somewhere, 9))
            found.add(str(probe.getsockname()[0]).partition("%")[0])
    return found


_CONTAINERS: Final = re.compile(
    r"(docker|podman|br-[0-9a-f]{12}$|veth|virbr|vnet|lxc|lxd|incus|cni|flannel|cali|cilium|kube|vmnet|vboxnet|vEthernet|vif"
    r"|VirtualBox|VMware|Hyper-V)",
    re.ASCII,
)
"""Beginnings of names (on Windows, of descriptions) of what leads to containers and virtual machines."""

_TUNNELS: Final = re.compile(
    r"(wg|tun|utun|tap|ppp|ipsec|gif|zt|tailscale|nordlynx|proton|WireGuard|Tailscale)", re.ASCII
)


def _rank(name: str) -> _Rank:
    if _is_hardware(name):
        return _Rank.HARDWARE
    if _CONTAINERS.match(name):
        return _Rank.CONTAINERS
    return _Rank.TUNNEL if _TUNNELS.match(name) or _is_point_to_point(name) else _Rank.ORDINARY


def _is_hardware(name: str, depth: int = 3) -> bool:
    """Return whether an interface is more than an invention of the system, or stands on one that is (Linux).

    A bridge, a bond, a VLAN stand on others.
    """
    there = _INTERFACES / name
    if (there / "device").exists():
        return True
    return depth > 0 and any(_is_hardware(lower.name[6:], depth - 1) for lower in there.glob("lower_*"))


def _is_point_to_point(name: str) -> bool:
    """Return whether there is one other end (Linux)."""
    with contextlib.suppress(OSError, ValueError):
        return bool(int((_INTERFACES / name / "flags").read_text(), 16) & _POINT_TO_POINT)
    return False


def _all() -> Iterator[tuple[HostAddress, str]]:
    """Yield each address, and the name of its interface: a description on Windows, which has no names."""
    try:
        import ifaddr
    except ImportError as error:
        raise MissingExtraError("direct connections need the extra: pip install 'ssbfast[direct]'") from error
    try:
        adapters = ifaddr.get_adapters()
    except OSError:  # no descriptor left, say: then we know of none
        return
    for adapter in adapters:
        name = adapter.nice_name.partition(":")[0]  # behind it is the label of an alias
        for ip in adapter.ips:
            text = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            try:
                address = ipaddress.ip_interface(f"{text}/{ip.network_prefix}")
            except ValueError:  # a prefix that is none: some systems report such for tunnels
                continue
            if address.version == 4 or not address.ip.is_link_local:
                yield HostAddress(str(address.ip), address.network), name

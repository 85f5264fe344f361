"""The addresses of this machine, with the subnets that they are on."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

from ssbfast.errors import MissingExtraError
from ssbfast.wire.direct.punch.candidates import Network


@dataclass(frozen=True, slots=True)
class HostAddress:
    """One address of an interface. host: a canonical IP literal."""

    host: str = field(repr=False)
    subnet: Network = field(repr=False)

    @property
    def is_v6(self) -> bool:
        return self.subnet.version == 6


def host_addresses(*, loopback: bool = False) -> list[HostAddress]:
    """Return all of them, none twice, those first that others are most likely to reach: few may be told.

    First come those that lead to the world; then those of interfaces that are hardware; then the others, bridges of
    containers above all. Among equals it is the system's order.

    Link-local IPv6 addresses are left out: without a scope, which differs from machine to machine, they mean nothing.
    loopback: with those that only this machine can reach. Raises MissingExtraError without the extra `direct`.
    """
    known = {item: is_hardware for item, is_hardware in _all() if loopback or not item.subnet.is_loopback}
    outward = _outward()
    return sorted(known, key=lambda it: (it.host not in outward, not known[it]))


def _outward() -> set[str]:
    """Return the addresses that the default routes would give to a connection. Nothing is sent."""
    found: set[str] = set()
    for family, somewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((somewhere, 9))
            found.add(str(probe.getsockname()[0]).partition("%")[0])
    return found


def _is_hardware(name: str) -> bool:
    """Return whether an interface is more than an invention of the system, as far as that can be told (Linux)."""
    return os.path.exists(f"/sys/class/net/{name}/device")


def _all() -> Iterator[tuple[HostAddress, bool]]:
    """Yield each address, and whether its interface is hardware."""
    try:
        import ifaddr
    except ImportError as error:
        raise MissingExtraError("direct connections need the extra: pip install 'ssbfast[direct]'") from error
    try:
        adapters = ifaddr.get_adapters()
    except OSError:  # no descriptor left, say: then we know of none
        return
    for adapter in adapters:
        is_hardware = _is_hardware(str(adapter.name))
        for ip in adapter.ips:
            text = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            try:
                address = ipaddress.ip_interface(f"{text}/{ip.network_prefix}")
            except ValueError:  # a prefix that is none: some systems report such for tunnels
                continue
            if address.version == 4 or not address.ip.is_link_local:
                yield HostAddress(str(address.ip), address.network), is_hardware

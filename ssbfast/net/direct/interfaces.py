"""The addresses of this machine, with the subnets that they are on."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field

from ssbfast.errors import MissingExtraError
from ssbfast.wire.punch.candidates import Network


@dataclass(frozen=True, slots=True)
class HostAddress:
    """One address of an interface. host: a canonical IP literal."""

    host: str = field(repr=False)
    subnet: Network = field(repr=False)

    @property
    def is_v6(self) -> bool:
        return self.subnet.version == 6


def host_addresses(*, loopback: bool = False) -> list[HostAddress]:
    """All of them, in the system's order, none twice.

    Link-local IPv6 addresses are left out: without a scope, which differs from machine to machine, they mean nothing.
    loopback: with those that only this machine can reach. Raises MissingExtraError without the extra `direct`.
    """
    return list(dict.fromkeys(item for item in _all() if loopback or not item.subnet.is_loopback))


def _all() -> Iterator[HostAddress]:
    try:
        import ifaddr
    except ImportError as error:
        raise MissingExtraError("direct connections need the extra: pip install 'ssbfast[direct]'") from error
    try:
        adapters = ifaddr.get_adapters()
    except OSError:  # no descriptor left, say: then we know of none
        return
    for adapter in adapters:
        for ip in adapter.ips:
            text = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            try:
                address = ipaddress.ip_interface(f"{text}/{ip.network_prefix}")
            except ValueError:  # a prefix that is none: some systems report such for tunnels
                continue
            if address.version == 4 or not address.ip.is_link_local:
                yield HostAddress(str(address.ip), address.network)

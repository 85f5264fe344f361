"""How many connections may be unproven at a time: before the handshake a peer is only an address."""

from __future__ import annotations

import ipaddress
from collections import Counter

from ssbfast import limits


class Gate:
    """Counts connections that have not finished the handshake, in all and per address.

    total, per_address: the caps. An IPv6 /64 counts as one address: that is what one household has.
    """

    def __init__(self, total: int = limits.HANDSHAKES, per_address: int = limits.HANDSHAKES_PER_ADDRESS) -> None:
        self._total = total
        self._per_address = per_address
        self._counts: Counter[str] = Counter()
        self._inside = 0

    @property
    def inside(self) -> int:
        return self._inside

    def enter(self, host: str) -> str | None:
        """Let one in; the ticket to give back at `leave`, or None when there is no room."""
        ticket = _group(host)
        if self._inside >= self._total or self._counts[ticket] >= self._per_address:
            if not self._counts[ticket]:
                del self._counts[ticket]
            return None
        self._inside += 1
        self._counts[ticket] += 1
        return ticket

    def leave(self, ticket: str) -> None:
        """The handshake is done, or the connection is gone."""
        self._inside -= 1
        self._counts[ticket] -= 1
        if not self._counts[ticket]:
            del self._counts[ticket]


def _group(host: str) -> str:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False).network_address)
    return str(address)

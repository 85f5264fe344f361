"""The default routes of this machine, as Linux tells them without root: `/proc/net/route` and `/proc/net/ipv6_route`.

Other systems tell nothing here: then there are none.
"""

from __future__ import annotations

import contextlib
import ipaddress
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_UP, _GATEWAY, _REJECT = 0x1, 0x2, 0x200  # flags of linux/route.h

_TOLD: Final = Path("/proc/net")
_FILE: Final = 256 * 1024
"""Characters of such a file that are read: a router with all routes of the world has 80 MB of them."""


@dataclass(frozen=True, slots=True)
class DefaultRoute:
    """One way to everywhere. interface: its name. gateway: an IP literal, None where the route leads to no router."""

    interface: str
    gateway: str | None = field(repr=False)
    metric: int


def default_routes(version: int) -> list[DefaultRoute]:
    """Return the default routes of IPv4 or IPv6 (4 or 6), those first that the system prefers."""
    path, parse = (("route", parse_route4), ("ipv6_route", parse_route6))[version == 6]
    with contextlib.suppress(OSError, UnicodeError), (_TOLD / path).open(encoding="ascii") as file:
        return parse(file.read(_FILE))
    return []


def parse_route4(text: str) -> list[DefaultRoute]:
    """Return the default routes in what `/proc/net/route` says; its addresses are written in this machine's order."""
    found = []
    for line in text.splitlines()[1:]:
        match line.split():
            case [name, "00000000", gateway, flags, _, _, metric, "00000000", *_] if int(flags, 16) & _UP:
                if not int(flags, 16) & _REJECT:
                    host = _native4(gateway) if int(flags, 16) & _GATEWAY else None
                    found.append(DefaultRoute(name, host, int(metric)))
    return sorted(found, key=lambda route: route.metric)


def parse_route6(text: str) -> list[DefaultRoute]:
    """Return the default routes in what `/proc/net/ipv6_route` says."""
    found = []
    for line in text.splitlines():
        match line.split():
            case [to, "00", _, "00", gateway, metric, _, _, flags, name] if not int(to, 16):
                if int(flags, 16) & _UP and not int(flags, 16) & _REJECT:
                    host = str(ipaddress.IPv6Address(int(gateway, 16))) if int(flags, 16) & _GATEWAY else None
                    found.append(DefaultRoute(name, host, int(metric, 16)))
    return sorted(found, key=lambda route: route.metric)


def _native4(text: str) -> str:
    return str(ipaddress.IPv4Address(int(text, 16).to_bytes(4, sys.byteorder)))

"""Networks that an operator names."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TypeAlias

from ssbfast.errors import BadInputError

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Read networks.

    Raises:
        BadInputError: One is no address and no CIDR.
    """
    try:
        return tuple(ipaddress.ip_network(text, strict=False) for text in texts)
    except ValueError:
        raise BadInputError("not a network: it reads 10.0.0.0/8 or an address") from None

"""Words for sockets: the host of an address with its zone, which the system keeps apart, and why a call failed."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
from typing import Any


def with_zone(address: tuple[Any, ...]) -> str:
    """Return the host of a socket's address; a link-local one with its interface, without which it is of no use.

    address: as `getsockname` and `getaddrinfo` give it: 2 members for IPv4, 4 for IPv6.
    """
    host = str(address[0])
    if len(address) < 4 or not address[3] or "%" in host:
        return host
    zone = str(address[3])
    with contextlib.suppress(OSError):  # the interface has gone
        zone = socket.if_indextoname(address[3])
    return f"{host}%{zone}"


def needs_zone(address: tuple[Any, ...]) -> bool:
    """Return whether a socket's address is of one link, and does not say of which."""
    if len(address) < 4 or address[3]:
        return False
    return ipaddress.ip_address(str(address[0]).partition("%")[0]).is_link_local


def bound_host(sock: socket.socket) -> str:
    """Return the host that a socket is bound to, with its zone."""
    return with_zone(sock.getsockname())


def system_reason(error: OSError) -> str:
    """Return the system's words for an error, which hold no address."""
    return os.strerror(error.errno or 0).lower()

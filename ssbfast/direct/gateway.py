"""The default gateway of this machine, and sockets that speak with it alone."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

from ssbfast.direct.interfaces import HostAddress
from ssbfast.direct.routes import default_routes
from ssbfast.wire.direct.punch.candidates import Scope, scope_of


def gateway_of(hosts: Sequence[HostAddress]) -> tuple[str, str] | None:
    """Return the default gateway, and our own address on the LAN that we share; None without such a LAN, or a NAT.

    hosts: the addresses of this machine.
    """
    gateway = next((route.gateway for route in default_routes(4)), None)
    if gateway is None:
        return None
    ip = ipaddress.ip_address(gateway)
    for item in hosts:
        if ip in item.subnet and item.host != gateway and scope_of(item.host) is Scope.PRIVATE:
            return gateway, item.host
    return None


def gateway_socket(gateway: str, own: str, port: int) -> socket.socket:
    """Open a UDP socket that speaks with the gateway alone, and whose datagrams no router takes any further.

    own: our address on the LAN. port: the gateway's. Raises OSError.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
        sock.bind((own, 0))
        sock.connect((gateway, port))
    except BaseException:
        sock.close()
        raise
    return sock

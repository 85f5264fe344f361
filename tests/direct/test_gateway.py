"""Which gateway is asked, and the sockets that speak with it alone."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from ssbfast.direct import gateway
from ssbfast.direct.interfaces import HostAddress
from ssbfast.direct.routes import DefaultRoute


@pytest.mark.parametrize(
    ("version", "host", "own", "found"),
    [
        (4, "192.168.1.1", "192.168.1.5/24", True),
        (4, "192.168.1.5", "192.168.1.5/24", False),  # ourselves
        (4, "192.168.1.1", "192.168.2.5/24", False),  # not on our LAN
        (4, "203.0.113.1", "203.0.113.5/24", False),  # there is no NAT
        (4, None, "10.8.0.2/24", False),  # a VPN without a router
        (6, "192.168.1.1", "192.168.1.5/24", False),
    ],
)
def test_which_gateway_is_asked(
    version: int, host: str | None, own: str, found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = DefaultRoute("eth1", "192.168.9.1", 700)
    routes = {version: [DefaultRoute("eth0", host, 100), second]}
    monkeypatch.setattr(gateway, "default_routes", lambda wanted: routes.get(wanted, []))
    ours = ipaddress.ip_interface(own)
    hosts = [
        HostAddress("fe80::5", ipaddress.ip_network("fe80::/64")),
        HostAddress(str(ours.ip), ours.network),
        HostAddress("192.168.9.2", ipaddress.ip_network("192.168.9.0/24")),
    ]
    assert gateway.gateway_of(hosts) == ((host, str(ours.ip)) if found else None)


async def test_a_socket_for_a_router_reaches_no_further() -> None:
    with gateway.gateway_socket("127.0.0.1", "127.0.0.1", 5351) as sock:
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 1
        assert sock.getpeername() == ("127.0.0.1", 5351)

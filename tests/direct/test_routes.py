"""What Linux says of its routes, read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ssbfast.direct import routes
from ssbfast.direct.routes import DefaultRoute, default_routes, parse_route4, parse_route6

ROUTES4 = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t0107A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
wg0\t00000000\t00000000\t0001\t0\t0\t700\t00000000\t0\t0\t0
wg0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0
eth9\t00000000\t0101A8C0\t0002\t0\t0\t0\t00000000\t0\t0\t0
*\t00000000\t00000000\t0201\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
junk
"""
NULL, ROUTER = "0" * 32, "fe800000000000000000000000000001"
ROUTES6 = f"""20010db8000000000000000000000000 40 {NULL} 00 {NULL} 00000100 00000001 00000000 00000001 eth0
{NULL} 00 {NULL} 00 {ROUTER} 00000400 00000003 00000000 00000003 eth0
{NULL} 00 {NULL} 00 {NULL} 00000100 00000003 00000000 00000001 wg0
{NULL} 00 {NULL} 00 {NULL} 00000001 00000001 00000000 00200201 lo
"""


@pytest.mark.skipif(sys.byteorder != "little", reason="the sample is of a little-endian machine")
def test_routes_of_ipv4() -> None:
    assert parse_route4(ROUTES4) == [
        DefaultRoute("eth0", "192.168.1.1", 100),
        DefaultRoute("wlan0", "192.168.7.1", 600),
        DefaultRoute("wg0", None, 700),
    ]


def test_routes_of_ipv6() -> None:
    assert parse_route6(ROUTES6) == [DefaultRoute("wg0", None, 256), DefaultRoute("eth0", "fe80::1", 1024)]


def test_this_machine_tells_its_own() -> None:
    for version in (4, 6):
        for route in default_routes(version):
            assert route.interface
            assert route.gateway is None or (":" in route.gateway) is (version == 6)


def test_a_system_that_tells_nothing_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "_TOLD", tmp_path)
    assert default_routes(4) == default_routes(6) == []

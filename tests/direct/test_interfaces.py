"""The addresses of this machine, compared with what another library says."""

from __future__ import annotations

import ipaddress
import socket

import ifaddr
import psutil
import pytest

from ssbfast.direct import interfaces
from ssbfast.direct.interfaces import host_addresses


def theirs() -> set[str]:
    listed = [item for items in psutil.net_if_addrs().values() for item in items]
    return {
        str(ipaddress.ip_address(item.address.partition("%")[0]))
        for item in listed
        if item.family in (socket.AF_INET, socket.AF_INET6)
    }


def test_all_of_them() -> None:
    ours = {item.host for item in host_addresses(loopback=True)}
    assert ours == {host for host in theirs() if ipaddress.ip_address(host) not in ipaddress.ip_network("fe80::/10")}
    assert "127.0.0.1" in ours


def test_loopback_by_a_switch() -> None:
    hosts = [item.host for item in host_addresses()]
    assert not any(ipaddress.ip_address(host).is_loopback for host in hosts)
    assert {"127.0.0.1", "::1"}.isdisjoint(hosts)


def test_subnets_hold_their_hosts() -> None:
    for item in host_addresses(loopback=True):
        assert ipaddress.ip_address(item.host) in item.subnet
        assert item.is_v6 == (":" in item.host)
        assert item.host not in repr(item)


def test_those_that_lead_somewhere_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the system lists before them: bridges of containers, tunnels."""
    bridges = [adapter(f"br-{n}", f"172.{17 + n}.0.1", 16) for n in range(12)]
    others = [("enp3s0", "192.168.1.5"), ("tun0", "10.8.0.2"), ("wlp2s0", "192.168.7.9")]
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: [*bridges, *(adapter(*one, 24) for one in others)])
    monkeypatch.setattr(interfaces, "_outward", lambda: {"10.8.0.2"})
    monkeypatch.setattr(interfaces, "_is_hardware", lambda name: name in ("enp3s0", "wlp2s0"))
    hosts = [item.host for item in host_addresses()]
    assert hosts[:4] == ["10.8.0.2", "192.168.1.5", "192.168.7.9", "172.17.0.1"]
    assert len(hosts) == 15


def adapter(name: str, host: str, prefix: int) -> ifaddr.Adapter:
    return ifaddr.Adapter(name, name, [ifaddr.IP(host, prefix, name)])


def test_where_the_default_routes_lead_is_one_of_our_addresses() -> None:
    assert interfaces._outward() <= theirs()

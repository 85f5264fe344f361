"""The addresses of this machine, compared with what another library says."""

from __future__ import annotations

import ipaddress
import socket

import psutil

from ssbfast.net.direct.interfaces import host_addresses


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

"""The addresses of this machine, compared with what another library says."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from pathlib import Path

import ifaddr
import psutil
import pytest

from ssbfast.direct import interfaces
from ssbfast.direct.interfaces import host_addresses
from ssbfast.direct.routes import DefaultRoute


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
    containers = ("docker0", "virbr0", "lxcbr0", "lxdbr0", "cni0", "podman0", "vethac1", "flannel.1", "cali7")
    bridges = [adapter(name, f"172.{17 + n}.0.1", 16) for n, name in enumerate(containers)]
    bridges += [adapter(f"br-{n:012x}", f"172.{27 + n}.0.1", 16) for n in range(3)]
    others = [
        ("wg0", "10.8.0.2"),
        ("tailscale0", "100.101.0.2"),
        ("corp", "10.9.0.2"),  # point to point
        ("br-lan", "192.168.2.5"),
        ("wlp2s0", "192.168.7.9"),
        ("uplink0:1", "192.168.5.5"),
        ("enp3s0", "192.168.1.5"),
    ]
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: [*bridges, *(adapter(*one, 24) for one in others)])
    monkeypatch.setattr(interfaces, "_outward", lambda: {"10.8.0.2"})
    monkeypatch.setattr(interfaces, "_is_hardware", lambda name: name in ("enp3s0", "wlp2s0"))
    monkeypatch.setattr(interfaces, "_is_point_to_point", lambda name: name == "corp")
    ways = {4: [DefaultRoute("uplink0", "192.168.5.1", 600)], 6: [DefaultRoute("docker0", "fe80::1", 1)]}
    monkeypatch.setattr(interfaces, "default_routes", ways.__getitem__)
    hosts = [item.host for item in host_addresses()]
    assert hosts[:3] == ["10.8.0.2", "192.168.5.5", "192.168.7.9"]  # outward, a default route, hardware
    assert hosts[3:8] == ["192.168.1.5", "192.168.2.5", "100.101.0.2", "10.9.0.2", "172.17.0.1"]
    assert len(hosts) == 19


@pytest.mark.skipif(sys.platform != "linux", reason="needs /sys")
def test_what_stands_on_hardware_is_hardware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_net = tmp_path / "net"
    for name, lower in {"eth0": None, "bond0": "eth0", "bond0.7": "bond0", "docker0": "veth1", "veth1": None}.items():
        (class_net / name).mkdir(parents=True)
        if lower is not None:
            (class_net / name / f"lower_{lower}").mkdir()
    (class_net / "eth0/device").mkdir()
    (class_net / "veth1/flags").write_text("0x1043\n")
    (class_net / "bond0/flags").write_text("0x10d1\n")
    monkeypatch.setattr(interfaces, "_INTERFACES", class_net)
    assert [name for name in sorted(os.listdir(class_net)) if interfaces._is_hardware(name)] == [
        "bond0",
        "bond0.7",
        "eth0",
    ]
    assert [interfaces._is_point_to_point(name) for name in ("bond0", "veth1", "none")] == [True, False, False]


def adapter(name: str, host: str, prefix: int) -> ifaddr.Adapter:
    return ifaddr.Adapter(name, name, [ifaddr.IP(host, prefix, name)])


def test_where_the_default_routes_lead_is_one_of_our_addresses() -> None:
    assert interfaces._outward() <= theirs()

"""Machines with many addresses that lead nowhere: bridges of containers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.nat.mixes import Mix, mixed
from tests.nat.neighbours import LabPrograms, Side, lab_programs

pytestmark = [pytest.mark.nat, pytest.mark.timeout(120)]


def bridges(street: LabPrograms, place: Side) -> None:
    """Twelve of them, which the system lists before the one that leads to the LAN; they are the same at both ends."""
    address = street.lab.address(place)
    for number in range(12):
        bridge(street, place, f"br{number}", 100 + number, f"172.{17 + number}.0.1/16")
    street.lab.run(place, ["ip", "address", "flush", "dev", "eth0"])
    street.lab.run(place, ["ip", "link", "set", "eth0", "master", bridge(street, place, "lan0", 200, f"{address}/24")])
    street.lab.run(place, ["ip", "route", "add", "default", "via", address.rpartition(".")[0] + ".1"])


def bridge(street: LabPrograms, place: Side, name: str, index: int, address: str) -> str:
    street.lab.run(place, ["ip", "link", "add", name, "index", str(index), "type", "bridge"])
    street.lab.run(place, ["ip", "address", "add", address, "dev", name])
    street.lab.run(place, ["ip", "link", "set", name, "up"])
    return name


def vpn(street: LabPrograms, place: Side, address: str) -> None:
    """The default route has another address than the LAN's, so that the room's sessions come from that, too."""
    lan = street.lab.address(place)
    bridge(street, place, "wg0", 300, f"{address}/32")
    router = lan.rpartition(".")[0] + ".1"
    street.lab.run(place, ["ip", "route", "replace", "default", "via", router, "src", address])
    street.lab.run("NA", ["ip", "route", "add", f"{address}/32", "via", lan])


@mixed("with_vpn", [False, True])
def test_peers_on_one_lan_meet_whatever_else_their_machines_have(with_vpn: bool, mix: Mix, tmp_path: Path) -> None:
    with lab_programs(tmp_path, "port", same_lan=True, mix=mix) as street:
        bridges(street, "A")
        bridges(street, "B")
        if with_vpn:
            vpn(street, "A", "10.77.0.1")
            vpn(street, "B", "10.77.0.2")
        street.room()
        street.listen("A")
        caller, port = street.connect("B")
        path = street.until_path(caller, "B", port)
        print(f"bridges {path['path']} {path['took_ms']} ms")
        assert path["path"] == "direct"

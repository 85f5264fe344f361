"""A room that only its link knows: an IPv6 address that is of use with the name of an interface alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.nat.neighbours import PORT, LabPrograms, Program, Side, lab_programs

pytestmark = [pytest.mark.nat, pytest.mark.timeout(120)]

LINK_LOCAL = "fe80::77"


def link_local_room(street: LabPrograms) -> str:
    """Run a room on A's machine, at an address of its LAN alone; what it prints as its address."""
    sides: tuple[tuple[Side, str], ...] = (("A", LINK_LOCAL), ("B", "fe80::78"))
    for place, address in sides:
        street.lab.run(place, ["sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6"])
        street.lab.run(place, ["ip", "address", "add", f"{address}/64", "dev", "eth0", "nodad"])
    words = ("room", "--data", str(street.data / "room"), "--json", "--listen", f"[{LINK_LOCAL}%eth0]:{PORT}")
    program = Program(*words, prefix=street.lab.prefix("A"))
    street._stack.enter_context(program)
    return str(program.event("listening")["address"])


def test_peers_meet_by_the_address_that_the_room_prints(tmp_path: Path) -> None:
    """Both machines call the interface eth0, so that the room's own words can be pasted at either."""
    with lab_programs(tmp_path, "port", same_lan=True) as street:
        address = link_local_room(street)
        assert f"net:{LINK_LOCAL.replace(':', '!:')}%eth0:{PORT}~shs:" in address, json.dumps(address)
        street.listen("A", "--room", address)
        caller, port = street.connect("B", "--room", address)
        caller.event("connected", path="tunnel")
        path = street.until_path(caller, "B", port)
        print(f"zone {path['path']} {path['took_ms']} ms")
        assert path["path"] == "direct"


def test_without_the_interface_the_message_names_it(tmp_path: Path) -> None:
    with lab_programs(tmp_path, "port", same_lan=True) as street:
        address = link_local_room(street)
        program = street.start("B", "attendants", "--room", address.replace("%eth0", ""))
        assert program.wait() == 1
        assert "could not connect: an address fe80:… needs its interface: fe80:…%eth0" in program.stderr

"""Birthday searches: a symmetric NAT and one that lets in only what was asked for.

Two searches run always, SSBFAST_TEST_BIRTHDAYS of them when it is set. A search may fail, in one of 300 cases: then
the next attempt must not search again, and the session stays on the relay.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from tests.nat.kinds import Kind
from tests.nat.mixes import Mix, mixed
from tests.nat.neighbours import PORT, lab_programs

pytestmark = [pytest.mark.nat, pytest.mark.timeout(240)]

COUNT: Final = int(os.environ.get("SSBFAST_TEST_BIRTHDAYS", "2"))
KINDS: Final[list[tuple[Kind, Kind]]] = [("port", "symmetric"), ("symmetric", "port")]


@mixed("number", range(COUNT))
def test_a_search_finds_the_way(number: int, mix: Mix, tmp_path: Path) -> None:
    with lab_programs(tmp_path, *KINDS[number % 2], mix=mix) as street:
        street.room()
        listener = street.listen("A", "--birthday")
        caller, port = street.connect("B", "--birthday")
        path = street.until_path(caller, "B", port)
        print(f"search {KINDS[number % 2]} {path['path']} {path['took_ms']} ms")
        assert path["path"] == "direct"
        assert listener.event("path")["path"] == "direct"
        street.echo("B", port, b"hello")


@pytest.mark.parametrize("kinds", KINDS)
def test_a_room_as_it_comes_is_enough(kinds: tuple[Kind, Kind], tmp_path: Path) -> None:
    """Whoever just starts one has two reflectors, which tell a symmetric NAT."""
    with lab_programs(tmp_path, *kinds) as street:
        street.room(as_it_comes=True)
        street.listen("A", "--birthday")
        caller, port = street.connect("B", "--birthday")
        path = street.until_path(caller, "B", port)
        print(f"search {kinds} {path['path']} {path['took_ms']} ms")
        assert path["path"] == "direct"


def test_with_one_reflector_people_hear_why_there_was_no_search(tmp_path: Path) -> None:
    with lab_programs(tmp_path, "port", "symmetric") as street:
        street.room("--udp", f":{PORT}", as_it_comes=True)
        street.listen("A", "--birthday")
        caller, port = street.connect("B", "--birthday")
        path = street.until_path(caller, "B", port)
        assert path["path"] == "tunnel"
        assert path["reason"].endswith("no birthday search: one reflector cannot tell a symmetric NAT")


def test_there_is_no_search_unless_both_want_one(tmp_path: Path) -> None:
    with lab_programs(tmp_path, "port", "symmetric") as street:
        street.room()
        street.listen("A")
        caller, port = street.connect("B", "--birthday")
        assert street.until_path(caller, "B", port)["path"] == "tunnel"
        counts = street.lab.counts()
        assert counts["A", "B"].udp_packets + counts["B", "A"].udp_packets < 300

"""What `ssbfast doctor` says behind each kind of NAT."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.nat.kinds import KINDS, Kind
from tests.nat.lab import ROOM
from tests.nat.neighbours import PORT, LabPrograms, lab_programs

pytestmark = [pytest.mark.nat, pytest.mark.timeout(120)]

NATS = {"public": "none", "symmetric": "hard", "blocked": "silent"}


def doctor(street: LabPrograms, *arguments: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "ssbfast", "doctor", "--data", str(street.path("A")), "--json", *arguments]
    told = [json.loads(line) for line in street.lab.run("A", command).stdout.splitlines()]
    assert all(event.pop("time") for event in told)
    return told


def network(told: list[dict[str, Any]], family: int) -> dict[str, Any]:
    return next(event for event in told if event["event"] == "network" and event["family"] == family)


def works(told: list[dict[str, Any]], other: str) -> str:
    return str(next(event["works"] for event in told if event["event"] == "outlook" and event["other"] == other))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_known_for_what_it_is(kind: Kind, tmp_path: Path) -> None:
    with lab_programs(tmp_path, kind, "port") as street:
        street.room()
        told = doctor(street, "--room", street.address(), "--stun", f"{ROOM[1]}:{PORT}")
        found = network(told, 4)
        assert found["nat"] == NATS.get(kind, "easy")
        assert found["hairpin"] is (False if found["nat"] == "easy" else None)
        assert (found["asked"], found["answered"]) == (3, 0 if kind == "blocked" else 3)
        addresses = {event["address"]: event["kind"] for event in told if event["event"] == "candidate"}
        if kind == "public":
            assert addresses == {street.lab.address("A"): "public"}
        elif kind == "blocked":
            assert addresses == {street.lab.address("A"): "private"}
        else:
            assert addresses == {street.lab.address("A"): "private", street.lab.public_address("A"): "reflexive"}
        easy = {"none": "direct", "easy": "direct", "hard": "birthday", "silent": "relay"}
        hard = {"none": "direct", "easy": "birthday", "hard": "relay", "silent": "relay"}
        assert (works(told, "port"), works(told, "symmetric")) == (easy[found["nat"]], hard[found["nat"]])
        assert network(told, 6)["nat"] == "unasked"


def test_ipv6_is_looked_at_for_itself(tmp_path: Path) -> None:
    with lab_programs(tmp_path, "symmetric", "port", a6="firewall") as street:
        street.room()
        told = doctor(street, "--room", street.address(), "--room", street.address(6))
        assert (network(told, 4)["nat"], network(told, 6)["nat"]) == ("hard", "none")
        assert works(told, "ipv6") == "direct"
        assert {"event": "candidate", "kind": "public", "address": street.lab.address6("A")} in told

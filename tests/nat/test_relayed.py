"""Forwards between two peers behind NATs, over the room's relay: what holds whatever the NATs are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.nat.neighbours import Blob, Side, lab_programs, other

pytestmark = [pytest.mark.nat, pytest.mark.timeout(120)]


@pytest.mark.parametrize("caller", ["A", "B"])
def test_behind_two_symmetric_nats(caller: Side, tmp_path: Path) -> None:
    with lab_programs(tmp_path, "symmetric", "symmetric") as street:
        room = street.room()
        target = other(caller)
        street.listen(target)
        program, port = street.connect(caller)
        street.echo(caller, port, b"hello" * 1000)
        assert program.event("connected")["peer"] == str(street.id(target))
        for blob in (Blob(5_000_000), Blob(7)):
            assert street.fetch(caller, port, blob)[:2] == (blob.size, blob.digest)
            assert street.put(caller, port, blob)[:2] == (blob.size, blob.digest)
        assert room.said("tunnel_opened") and not room.said("tunnel_closed")


def test_with_udp_blocked_and_everything_late_and_lossy(tmp_path: Path) -> None:
    with lab_programs(tmp_path, "blocked", "port", delay=0.030, loss=0.02) as street:
        street.room("--no-udp")
        street.listen("A", "--room", street.address(1))
        _, port = street.connect("B")
        assert street.echo("B", port, b"x") >= 0.120  # A and back, by way of S
        blob = Blob(300_000)
        assert street.fetch("B", port, blob)[:2] == (blob.size, blob.digest)


def test_ipv6_rooms(tmp_path: Path) -> None:
    with lab_programs(tmp_path, "port", "port", a6="firewall", b6="firewall") as street:
        street.room()
        street.listen("A", "--room", street.address(6))
        _, port = street.connect("B", "--room", street.address(6))
        street.echo("B", port, b"hello")


def test_a_room_that_is_killed_comes_back_as_itself(tmp_path: Path) -> None:
    with lab_programs(tmp_path) as street:
        room = street.room()
        listener = street.listen("A")
        program, port = street.connect("B")
        street.echo("B", port, b"before")
        room.process.kill()
        assert room.wait() != 0
        program.event("closed")
        street.room()
        listener.event("announced")
        street.echo("B", port, b"after")

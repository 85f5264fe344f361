"""`ssbfast listen` when something is wrong with its disk: who is kept out stays out, and the user learns why."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssbfast.store.peer_store import FILE, Store
from tests.helpers.processes import Running
from tests.helpers.room_processes import RoomProcesses, room_processes
from tests.helpers.small_disks import small_disk
from tests.helpers.stores import posix_only


@pytest.fixture
def place(tmp_path: Path) -> Iterator[RoomProcesses]:
    with room_processes(tmp_path) as made:
        yield made


def ended(process: Running) -> str:
    """What it has said on stderr, once it has been told to stop."""
    process.signal(signal.SIGTERM)
    assert process.wait() == 0
    return process.stderr


def test_a_refusal_on_a_full_disk_is_told_at_once(place: RoomProcesses) -> None:
    with small_disk(place.path("a")) as disk:
        place.room()
        place.follow("c", "a")
        place.id("a")
        listen = place.listen("a", 9)
        listen.event("announced")
        disk.fill()
        place.connect("c", str(place.id("a")))
        denied = listen.event("denied")
        assert (denied["origin"], denied["n"], denied["reason"]) == (str(place.id("c")), None, "stranger")
        said = ended(listen)
        assert said.count("\n") == 1 and "not recorded" in said and "the disk is full" in said


@posix_only
@pytest.mark.slow
def test_a_store_that_is_removed_lets_nobody_in(place: RoomProcesses) -> None:
    """Whom we blocked in it cannot be told any more. The new one that `block` makes counts at once."""
    place.room()
    place.friends("a", "c")
    place.friends("a", "d")
    listen = place.listen("a", 9)
    listen.event("announced")
    place.connect("c", str(place.id("a")))
    listen.event("accepted")
    store = place.path("a") / FILE
    good = store.read_bytes()
    store.unlink()
    assert "cannot be asked" in listen.event("closed")["reason"] or listen.event("denied")["reason"] == "graph away"
    place.connect("d", str(place.id("a")))
    while (denied := listen.event("denied"))["origin"] != str(place.id("d")):
        pass
    assert denied["reason"] == "graph away" and denied["n"] is None
    store.write_bytes(good)
    assert listen.event("accepted")["path"] == "tunnel"
    said = ended(listen)
    assert "was removed; nobody is let in" in said and len(said.splitlines()) >= 2


@posix_only
def test_a_block_in_the_store_that_takes_its_place_is_felt(place: RoomProcesses, tmp_path: Path) -> None:
    place.room()
    place.friends("a", "c")
    listen = place.listen("a", 9)
    listen.event("announced")
    place.connect("c", str(place.id("a")))
    listen.event("accepted")
    with Store(tmp_path / "other") as other:
        other.follow(place.id("c"))
        other.block(place.id("c"))
    os.replace(tmp_path / "other" / FILE, place.path("a") / FILE)
    assert listen.event("closed")["reason"] == "trust was withdrawn"
    assert listen.event("denied")["reason"] == "blocked"
    assert "another store has taken the place of ours" in ended(listen)

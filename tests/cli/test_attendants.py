"""`ssbfast attendants`: who is in a room, without being listed there."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.commands import assert_unusable, make_newer, printed, succeed
from tests.helpers.processes import run
from tests.helpers.room_processes import RoomProcesses, free_port, room_processes
from tests.helpers.rooms import feed


@pytest.fixture
def place(tmp_path: Path) -> Iterator[RoomProcesses]:
    with room_processes(tmp_path) as made:
        yield made


def attendants(place: RoomProcesses, *arguments: str) -> tuple[str, ...]:
    return ("attendants", "--data", str(place.path("c")), "--room", place.address(), *arguments)


def test_it_lists_who_is_there_and_not_itself(place: RoomProcesses) -> None:
    room = place.room()
    for name in ("a", "b"):
        place.listen(name, 9).event("announced")
        room.event("joined")
    portal = str(place.id("room"))
    assert printed(run(*attendants(place), "--json")) == [
        {"event": "attendant", "portal": portal, "id": str(who)} for who in sorted((place.id("a"), place.id("b")))
    ]
    text = run(*attendants(place)).stdout
    assert "2 present" in text
    assert f"  {place.id('a')}\n" in text
    place.listen("d", 9).event("announced")
    assert room.event("joined")["id"] == place.id("d").short  # the others were never listed


def test_it_leaves_no_identity_behind(place: RoomProcesses) -> None:
    place.room()
    assert printed(run(*attendants(place), "--json")) == []
    assert not place.path("c").exists()


def test_several_rooms(place: RoomProcesses) -> None:
    other = free_port()
    place.room()
    place.room("second", other)
    place.listen("a", 9, "--room", place.address("second", other)).event("announced")
    (found,) = printed(run(*attendants(place, "--room", place.address("second", other)), "--json"))
    assert found["portal"] == str(place.id("second"))


def test_watching_who_comes_and_goes(place: RoomProcesses) -> None:
    place.room()
    watching = place.start("attendants", "c", "--room", place.address(), "--watch")
    listen = place.listen("a", 9)
    expected = {"portal": str(place.id("room")), "id": str(place.id("a"))}
    assert watching.event("joined") == {"event": "joined", **expected}
    listen.signal(signal.SIGTERM)
    assert watching.event("left") == {"event": "left", **expected}
    watching.signal(signal.SIGINT)
    assert watching.wait() == 0
    assert watching.stderr == ""


def test_a_room_that_is_away(place: RoomProcesses) -> None:
    done = run(*attendants(place))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"ssbfast: room {place.id('room').short}: could not connect")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [(), ("--room", "nonsense"), ("--room", f"net:127.0.0.1:9~shs:{feed(1)}x"), ("--watch", "extra")]
)
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    assert_unusable(run("attendants", *arguments))


def test_a_secret_that_is_none(place: RoomProcesses) -> None:
    place.path("c").mkdir()
    (place.path("c") / "secret").write_text("{}")
    (place.path("c") / "secret").chmod(0o600)
    assert_unusable(run(*attendants(place)), "not a valid secret file")


def test_the_store_is_not_even_looked_at(place: RoomProcesses) -> None:
    make_newer(place.path("c"))
    place.room()
    assert printed(run(*attendants(place), "--json")) == []


def test_help() -> None:
    text = succeed("attendants", "--help")
    assert all(option in text for option in ("--room", "--watch", "--data", "--network-key", "--json"))

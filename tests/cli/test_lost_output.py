"""What is printed and cannot be written: a full disk is a failure, a reader that has left is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from ssbfast.store.peer_store import Store
from tests.helpers.processes import PATIENCE, run
from tests.helpers.room_processes import RoomProcesses, room_processes
from tests.helpers.rooms import feed
from tests.helpers.small_disks import small_disk
from tests.helpers.stores import RANDBELOW, batch, refusal

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
SHORT = (
    ("keys", "show"),
    ("follow", str(feed(7))),
    ("unfollow", str(feed(7))),
    ("block", str(feed(8))),
    ("unblock", str(feed(8))),
    ("contacts",),
    ("denials",),
    ("denials", "--follow", "1", "--yes"),
    ("keys", "show", "--json"),
    ("contacts", "--json"),
    ("denials", "--json"),
    ("--help",),
    ("--version",),
    ("listen", "--help"),
)


def into(stdout: int | IO[Any], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ssbfast", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture
def place(tmp_path: Path) -> Iterator[RoomProcesses]:
    with room_processes(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("peer")
    assert run("keys", "new", "--data", str(made)).returncode == 0
    with Store(made) as store:
        store.follow(feed(1))
        store.record(batch(refusal(1)), RANDBELOW)
    return made


def with_data(command: tuple[str, ...], data: Path) -> tuple[str, ...]:
    return command if command[-1].startswith("--h") or command[-1] == "--version" else (*command, "--data", str(data))


@needs_full
@pytest.mark.parametrize("command", SHORT)
def test_a_full_disk_is_one_line(data: Path, command: tuple[str, ...]) -> None:
    with FULL.open("wb") as full:
        done = into(full, *with_data(command, data))
    assert (done.returncode, done.stderr) == (1, "ssbfast: the output cannot be written: no space left on device\n")


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
@pytest.mark.parametrize("command", SHORT)
def test_a_reader_that_has_left_is_no_failure(data: Path, command: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stdout:
        done = into(stdout, *with_data(command, data))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.name != "posix", reason="descriptors of POSIX")
def test_a_stdout_that_is_not_for_writing(data: Path) -> None:
    with open(os.devnull, "rb") as stdout:
        done = into(stdout, "keys", "show", "--data", str(data))
    assert done.returncode == 1 and done.stderr.count("\n") == 1


@needs_full
def test_a_list_that_nobody_got_is_a_failure(place: RoomProcesses) -> None:
    """Commands with a loop have a thread that writes."""
    place.room()
    with FULL.open("wb") as full:
        done = into(full, "attendants", "--room", place.address(), "--data", str(place.path("a")))
    assert (done.returncode, done.stderr) == (1, "ssbfast: lines for stdout are lost: no space left on device\n")


@pytest.mark.slow
def test_a_service_outlives_a_full_log(place: RoomProcesses, tmp_path: Path) -> None:
    """And says how much is missing, once there is room."""
    with small_disk(tmp_path / "disk") as disk, (disk.path / "log").open("wb") as log:
        command = ("room", "--listen", f"127.0.0.1:{place.port}", "--data", str(place.path("room")), "--json")
        disk.fill()
        with subprocess.Popen(
            [sys.executable, "-m", "ssbfast", *command], stdout=log, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stderr is not None
                assert process.stderr.readline() == "ssbfast: lines for stdout are lost: no space left on device\n"
                place.listen("a", 9).event("announced")
                disk.free()
                place.listen("b", 9).event("announced")
                process.terminate()
                assert process.wait(PATIENCE) == 0
                assert process.stderr.read() == ""
            finally:
                process.kill()
        events = [json.loads(line)["event"] for line in (disk.path / "log").read_bytes().splitlines()]
        assert events[0] == "lost" and "joined" in events

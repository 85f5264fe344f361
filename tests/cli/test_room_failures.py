"""What goes wrong on a machine, one thing after the other, and the line by which a room tells it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from ssbfast import Keypair, RoomClient
from ssbfast.cli.room.clock_watch import Clocks
from ssbfast.errors import SSBError
from ssbfast.room.roles import Mode
from ssbfast.server.control import ask
from ssbfast.store import database
from ssbfast.store.room_store import FILE, RoomStore
from tests.helpers.commands import assert_unusable, run_here
from tests.helpers.memory_groups import memory_group
from tests.helpers.moved_clocks import MovedClocks
from tests.helpers.processes import PATIENCE, Running
from tests.helpers.room_processes import RoomProcesses, post, room_processes, web_server
from tests.helpers.room_stores import raw
from tests.helpers.small_disks import SmallDisk, small_disk
from tests.helpers.stores import posix_only, snapshot

QUIET = ("--listen", "127.0.0.1:0", "--no-udp")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[RoomProcesses]:
    with room_processes(tmp_path) as made:
        yield made


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "room") as made:
        yield made


def begin(data: Path) -> subprocess.CompletedProcess[str]:
    """Start a room that does not come far."""
    return run_here("room", "--data", str(data), *QUIET)


def made(data: Path) -> Path:
    """The directory of a room that was there before."""
    RoomStore(data).close()
    from ssbfast.keys import load_secret

    load_secret(data / "secret", create=True)
    return data


# ---------------------------------------------------------------- the data


def test_a_room_does_not_begin_on_a_full_disk(disk: SmallDisk) -> None:
    disk.fill()
    assert_unusable(begin(disk.path), "secret: No space left on device")


def test_a_room_does_not_begin_where_nothing_can_be_written(disk: SmallDisk) -> None:
    made(disk.path)
    disk.protect()
    before = snapshot(disk.path)
    assert_unusable(begin(disk.path), FILE, "the file system is read-only")
    assert snapshot(disk.path) == before


def newer(data: Path) -> None:
    raw(data, "PRAGMA user_version = 99")


def damaged(data: Path) -> None:
    (data / FILE).write_bytes(b"no store at all " * 1000)


def emptied(data: Path) -> None:
    os.truncate(data / FILE, 0)


def foreign(data: Path) -> None:
    (data / FILE).unlink()
    raw(data, "CREATE TABLE members (name)")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (newer, "was written by a newer version of ssbfast; nothing was changed"),
        (damaged, "it is damaged (file is not a database)"),
        (emptied, "is empty: who is a member and who is blocked is lost"),
        (foreign, "is another program's database"),
    ],
)
def test_a_store_that_cannot_be_ours_is_named_and_left_alone(
    tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    spoil(made(tmp_path))
    before = snapshot(tmp_path)
    assert_unusable(begin(tmp_path), str(tmp_path / FILE), words)
    assert snapshot(tmp_path) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "words"),
    [(newer, "newer version"), (damaged, "it is damaged"), (foreign, "another program's database")],
)
def test_a_store_that_is_exchanged_under_a_running_room(
    place: RoomProcesses, tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    """It is named, peers go on, and at the end it is as it was put there."""
    room = place.room()
    place.listen("a", 9).event("announced")
    other = made(tmp_path / "other")
    spoil(other)
    whole = (other / FILE).read_bytes()
    os.replace(other / FILE, place.path("room") / FILE)
    assert words in room.event("records_problem")["problem"]
    place.listen("b", 9).event("announced")
    room.signal(signal.SIGINT)
    assert room.wait() == 0 and room.stderr == ""
    assert (place.path("room") / FILE).read_bytes() == whole


@contextlib.contextmanager
def locked(data: Path) -> Iterator[None]:
    """The store, while another program is in the middle of a change."""
    with contextlib.closing(sqlite3.connect(data / FILE, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


def test_a_store_that_another_program_keeps_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path)
    raw(tmp_path, "PRAGMA journal_mode = DELETE")
    monkeypatch.setattr(database.connect, "__kwdefaults__", {"busy": 0.05, "create": True})
    with locked(tmp_path):
        assert_unusable(begin(tmp_path), FILE, "another process keeps it locked")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["full", "locked"])
def test_a_running_room_tells_that_it_cannot_write(place: RoomProcesses, disk: SmallDisk, what: str) -> None:
    """Peers go on; what changes something is refused until it can be written again."""
    words = {"full": "the disk is full", "locked": "another process keeps it locked"}[what]
    room = place.room()
    place.listen("a", 9).event("announced")
    with RoomStore(disk.path) as store:
        store.add_member(place.id("a"), by=None)
    with contextlib.ExitStack() as stack:
        if what == "full":
            disk.fill()
            stack.callback(disk.free)
        else:
            stack.enter_context(locked(disk.path))
        alias = register(place, "a", "alice")
        assert alias.returncode == 1 and "the room cannot keep this now" in alias.stderr
        assert words in room.event("records_problem")["problem"]
        place.listen("b", 9).event("announced")
    assert register(place, "a", "alice").returncode == 0
    room.signal(signal.SIGINT)
    assert room.wait() == 0 and room.stderr == ""


def register(place: RoomProcesses, name: str, alias: str) -> subprocess.CompletedProcess[str]:
    command = ("alias", "register", place.address(), alias, "--data", str(place.path(name)))
    return subprocess.run(
        [sys.executable, "-m", "ssbfast", *command], capture_output=True, text=True, timeout=PATIENCE, check=False
    )


# ---------------------------------------------------------------- the log


@posix_only
@pytest.mark.slow
def test_a_room_goes_on_without_a_journal(place: RoomProcesses) -> None:
    """First nobody reads it, then it is gone; what systemd says of stdout tells that it was the journal."""
    ours, journal = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    status = os.fstat(ours.fileno())
    env = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    data = str(place.path("room"))
    command = ("room", "--data", data, "--json", "--listen", f"127.0.0.1:{place.port}")
    with subprocess.Popen(
        [sys.executable, "-m", "ssbfast", *command], stdout=ours, stderr=subprocess.PIPE, text=True, env=env
    ) as room:
        try:
            ours.close()
            assert b'"listening"' in journal.recv(1000)
            place.listen("a", 9).event("announced")
            asyncio.run(visit(place.address()))  # of which nobody reads
            journal.close()
            assert room.stderr is not None
            asyncio.run(visit(place.address()))
            assert room.stderr.readline() == "ssbfast: nothing takes the log any more: it is lost, all else goes on\n"
            place.listen("b", 9).event("announced")
            room.terminate()
            assert room.wait(PATIENCE) == 0
            assert room.stderr.read() == ""
        finally:
            room.kill()


async def visit(address: str, times: int = 20) -> None:
    for _ in range(times):
        async with RoomClient(Keypair.generate()) as client:
            await client.join(address)


# ---------------------------------------------------------------- the time


def test_what_is_told_of_clocks() -> None:
    clocks = Clocks(100.0, 5000.0)
    assert list(clocks.look(101.1, 5001.1)) == []
    assert list(clocks.look(102.2, 8602.2)) == [("clock_set", 3600.0)]
    assert list(clocks.look(103.2, 8603.2)) == []
    assert list(clocks.look(104.2, 5004.2)) == [("clock_set", -3600.0)]
    assert list(clocks.look(165.2, 5065.2)) == [("stalled", 60.0)]


@pytest.mark.slow
def test_clocks_that_are_set_and_a_process_that_is_stopped(place: RoomProcesses, tmp_path: Path) -> None:
    """Neither ends a session or a tunnel, or keeps others from coming; each is one line."""
    clocks = MovedClocks(tmp_path)
    place.friends("a", "c")
    options = ("--data", str(place.path("room")), "--json", "--listen", f"127.0.0.1:{place.port}")
    with web_server() as service, place.keep(Running("room", *options, env=clocks.env)) as room:
        room.event("listening")
        listener = place.listen("a", service)
        listener.event("announced")
        caller, port = place.connect("c", str(place.id("a")))
        caller.event("connected")
        for wall, moved in ((3600, 3600.0), (-3600, -7200.0)):
            clocks.move(wall=wall)
            assert abs(room.event("clock_set")["seconds"] - moved) < 5
            asyncio.run(visit(place.address(), 2))
            post(port, b"x" * 1000)
        room.signal(signal.SIGSTOP)
        clocks.move(wall=-3540, steady=60)
        room.signal(signal.SIGCONT)
        assert 55 < room.event("stalled")["seconds"] < 70
        asyncio.run(visit(place.address(), 2))
        post(port, b"x" * 1000)
        told = ask(place.path("room"), "status")
        assert told["sessions"] == 2 and told["tunnels"] == 1 and 60 < told["seconds"] < 60 + 2 * PATIENCE
        listener.signal(signal.SIGINT)
        assert sum('"accepted"' in line for line in rest(listener)) == 1, "it is the first session still"
        room.signal(signal.SIGINT)
        assert room.wait() == 0 and room.stderr == ""


def rest(process: Running) -> Iterator[str]:
    while (line := process.line()) is not None:
        yield line


# ---------------------------------------------------------------- files and memory


def streams(url: str, addresses: int) -> Iterator[socket.socket]:
    """Streams of a site for visitors who read nothing, eight of each address, as a proxy tells of them."""
    parts = urlsplit(url)
    assert parts.port is not None
    for number in range(addresses):
        head = f"Host: {parts.netloc}\r\nX-Forwarded-For: 198.51.{number // 250}.{number % 250}\r\n"
        cookie = ""
        for path in ("/login", *["/login/wait"] * 8):
            sock = socket.create_connection(("127.0.0.1", parts.port), PATIENCE)
            with contextlib.suppress(ConnectionError):
                sock.sendall(f"GET {path} HTTP/1.1\r\n{head}{cookie}\r\n".encode())
                if not cookie and (found := re.search(rb"(?i)set-cookie: ([^;]+)", sock.recv(65536))):
                    cookie = f"Cookie: {found[1].decode()}\r\n"
            yield sock


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or shutil.which("prlimit") is None, reason="needs prlimit")
def test_a_site_s_visitors_leave_files_to_peers(place: RoomProcesses) -> None:
    place.id("room")
    arguments = ("--data", str(place.path("room")), "--json", "--listen", f"127.0.0.1:{place.port}", "--no-udp")
    prefix = ("prlimit", "--nofile=300:300")
    with place.keep(Running("room", *arguments, "--web", "127.0.0.1:0", prefix=prefix)) as room:
        room.event("listening")
        url = room.event("web_listening")["url"]
        with contextlib.ExitStack() as stack:
            for sock in streams(url, 60):
                stack.callback(sock.close)
            asyncio.run(visit(place.address(), 5))
            told = ask(place.path("room"), "limits")
            reached = {row["limit"]: row["reached"] for row in told}
            assert not reached.get("files"), "it never was out of files"
            assert psutil.Process(room.process.pid).num_fds() < 200
        room.signal(signal.SIGINT)
        assert room.wait() == 0 and room.stderr == ""


@pytest.mark.slow
def test_a_room_that_has_no_memory_is_killed_and_begins_anew(place: RoomProcesses) -> None:
    """That is what a system does with its group; the data and the socket that it leaves are of use."""
    command = ("--data", str(place.path("room")), "--json", "--listen", f"127.0.0.1:{place.port}")
    with memory_group() as group:
        with place.keep(Running("room", *command, prefix=group.prefix)) as room:
            room.event("listening")
            place.listen("a", 9).event("announced")
            with RoomStore(place.path("room")) as store:
                store.change_settings(by=None, mode=Mode.COMMUNITY)
            group.allow(group.held + MORE)
            asyncio.run(crowd(place.address(), room))
            assert room.wait() == -signal.SIGKILL
        group.allow(1 << 30)
        with place.keep(Running("room", *command, prefix=group.prefix)) as room:
            room.event("listening")
            assert ask_until(place.path("room"))["mode"] == "community"


MORE = 1 << 20
"""Bytes that a group of processes may have beside what it has."""


async def crowd(address: str, room: Running) -> None:
    """Peers that come and stay, until the room is no more."""
    async with contextlib.AsyncExitStack() as stack:
        while room.process.poll() is None:
            with contextlib.suppress(SSBError, OSError):
                client = await stack.enter_async_context(RoomClient(Keypair.generate()))
                await client.join(address)


def ask_until(data: Path) -> dict[str, object]:
    until = threading.Event()
    for _ in range(600):
        with contextlib.suppress(Exception):
            found: dict[str, object] = ask(data, "status")
            return found
        until.wait(0.1)
    raise AssertionError("it does not answer")


def test_a_command_without_memory_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("ssbfast.cli.room.run.read_secret", fail)
    assert_line(begin(tmp_path), 1, "out of memory")


def assert_line(done: subprocess.CompletedProcess[str], code: int, words: str) -> None:
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("ssbfast: ") and done.stderr.count("\n") == 1
    assert words in done.stderr

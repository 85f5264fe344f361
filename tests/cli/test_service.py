"""A room as a service: what its manager hears, SIGTERM, drain and restart, with tunnels running."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ssbfast.cli.service_manager import ServiceManager
from ssbfast.server import control
from tests.helpers.commands import events, failed, run_here
from tests.helpers.processes import PATIENCE, Running
from tests.helpers.room_processes import RoomProcesses, post, room_processes, web_server

pytestmark = pytest.mark.skipif(not control.is_supported(), reason="no Unix sockets here")


class Manager:
    """A service manager's socket, and what it hears."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(str(path))
        self._sock.settimeout(PATIENCE)

    def hear(self) -> list[str]:
        return self._sock.recv(4096).decode().split("\n")

    def hear_until(self, line: str) -> list[str]:
        while line not in (lines := self.hear()):
            pass
        return lines

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


# ---------------------------------------------------------------- what the manager hears


async def test_it_hears_that_the_loop_turns(manager: Manager) -> None:
    told = ServiceManager({"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "30000"})
    told.start(7, "fine")
    assert manager.hear() == ["READY=1", "MAINPID=7", "STATUS=fine"]
    assert await asyncio.to_thread(manager.hear) == ["WATCHDOG=1"]
    assert await asyncio.to_thread(manager.hear) == ["WATCHDOG=1"]
    told.stop("over")
    await asyncio.to_thread(manager.hear_until, "STOPPING=1")
    told.close()


@pytest.mark.parametrize(
    "environ",
    [{}, {"NOTIFY_SOCKET": "/no/such/socket"}, {"NOTIFY_SOCKET": "@no-such-name", "WATCHDOG_USEC": "x"}],
    ids=["none", "away", "abstract"],
)
async def test_without_a_manager_nothing_happens(environ: dict[str, str]) -> None:
    told = ServiceManager(environ)
    told.start(1, "fine")
    told.stop("over")
    told.close()


async def test_the_watchdog_of_another_process_is_not_ours(manager: Manager) -> None:
    told = ServiceManager({"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "3000", "WATCHDOG_PID": "1"})
    told.start(7, "fine")
    await asyncio.sleep(0.05)
    told.tell("LAST=1")
    assert [manager.hear()[0], manager.hear()[0]] == ["READY=1", "LAST=1"]
    told.close()


# ---------------------------------------------------------------- processes


@pytest.fixture
def place(tmp_path: Path) -> Iterator[RoomProcesses]:
    with room_processes(tmp_path) as made:
        yield made


def through(place: RoomProcesses, service: int) -> tuple[Running, Running, int]:
    """A friend's service, reached through the room: both programs, and the port of the forward."""
    place.friends("a", "c")
    listener = place.listen("a", service)
    listener.event("announced")
    caller, port = place.connect("c", str(place.id("a")))
    caller.event("connected")
    return listener, caller, port


class Download:
    """Bytes that come through a forward while something happens to the room."""

    def __init__(self, port: int) -> None:
        self.posts = 0
        self.errors: list[BaseException] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(port,), daemon=True)
        self._thread.start()

    def _work(self, port: int) -> None:
        try:
            while not self._over.is_set():
                post(port, os.urandom(20_000))
                self.posts += 1
        except BaseException as error:
            self.errors.append(error)

    def close(self) -> None:
        self._over.set()
        self._thread.join()


@pytest.mark.slow
def test_restarting_refuses_nobody_and_breaks_no_tunnel(place: RoomProcesses, tmp_path: Path, manager: Manager) -> None:
    env = {**os.environ, "NOTIFY_SOCKET": str(manager.path)}
    data = str(place.path("room"))
    address = ("127.0.0.1", place.port)
    arguments = ("room", "--data", data, "--json", "--listen", f"127.0.0.1:{place.port}", "--drain-seconds", "2")
    with web_server() as service, place.keep(Running(*arguments, env=env)) as old:
        old.event("listening")
        assert "READY=1" in manager.hear()
        listener, caller, port = through(place, service)
        download = Download(port)
        (told,) = events("room", "restart", "--data", data)
        successor = psutil.Process(told["pid"])
        try:
            assert f"MAINPID={told['pid']}" in manager.hear_until("READY=1")
            posts = download.posts
            for _ in range(20):
                socket.create_connection(address, PATIENCE).close()
            until = time.monotonic() + PATIENCE
            while download.posts < posts + 3 and not download.errors:
                assert time.monotonic() < until
                time.sleep(0.01)
            assert not download.errors, "the tunnel went on in the old process"
            download.close()
            assert old.wait() == 0
            listener.event("announced")  # in the new one
            assert events("room", "attendants", "--data", data)[0]["id"] == str(place.id("a"))
            until = time.monotonic() + PATIENCE
            while True:  # the caller needs a moment to find its target again
                try:
                    post(port, b"x" * 1000)
                    break
                except (OSError, ValueError):
                    assert time.monotonic() < until
            assert caller.process.poll() is None
        finally:
            successor.terminate()
            psutil.wait_procs([successor], PATIENCE)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGTERM", "drain"])
def test_tunnels_have_their_time(how: str, place: RoomProcesses, manager: Manager) -> None:
    env = {**os.environ, "NOTIFY_SOCKET": str(manager.path)}
    data = str(place.path("room"))
    arguments = ("room", "--data", data, "--json", "--listen", f"127.0.0.1:{place.port}")
    with web_server() as service, place.keep(Running(*arguments, env=env)) as room:
        room.event("listening")
        listener, _caller, port = through(place, service)
        download = Download(port)
        if how == "drain":
            assert events("room", "drain", "--data", data) == [{"event": "drain", "seconds": 30.0}]
        else:
            room.signal(signal.SIGTERM)
        assert room.event("draining")["tunnels"] == 1
        manager.hear_until("STOPPING=1")
        posts = download.posts
        while download.posts < posts + 3 and not download.errors:
            time.sleep(0.01)
        assert not download.errors and room.process.poll() is None
        download.close()
        listener.signal(signal.SIGINT)  # the last tunnel ends
        assert room.wait() == 0


@pytest.mark.slow
def test_a_second_signal_does_not_wait_for_tunnels(place: RoomProcesses) -> None:
    with web_server() as service:
        room = place.room()
        through(place, service)
        room.signal(signal.SIGTERM)
        room.event("draining")
        room.signal(signal.SIGTERM)
        assert room.wait() == 0


@pytest.mark.slow
def test_a_successor_with_a_mistake_is_told(place: RoomProcesses, tmp_path: Path) -> None:
    config = tmp_path / "room.toml"
    config.write_text(f'data = "{place.path("room")}"\nlisten = "127.0.0.1:{place.port}"\n')
    with place.keep(Running("room", "--config", str(config), "--json")) as room:
        room.event("listening")
        until = time.monotonic() + PATIENCE
        while not (place.path("room") / control.FILE).exists():
            assert time.monotonic() < until
        config.write_text("lisen = 1\n")
        failed(run_here("room", "restart", "--data", str(place.path("room")), "--json"), 2, "input", "exit code 2")
        socket.create_connection(("127.0.0.1", place.port), PATIENCE).close()


ACTIVATED = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, "-m", "ssbfast", *sys.argv[2:]])
"""


@pytest.mark.slow
def test_a_room_serves_the_sockets_that_systemd_has_bound(tmp_path: Path) -> None:
    """They were bound before, so that a caller who comes while the room starts waits."""
    with socket.create_server(("127.0.0.1", 0)) as bound, socket.create_connection(bound.getsockname()) as early:
        where = f"127.0.0.1:{bound.getsockname()[1]}"
        early.sendall(b"\0" * 64)
        early.settimeout(PATIENCE)
        number = bound.fileno()
        command = [sys.executable, "-c", ACTIVATED, str(number), "room", "--data", str(tmp_path), "--no-udp"]
        room = subprocess.Popen([*command, "--listen", where, "--json"], stdout=subprocess.PIPE, pass_fds=[number])
        try:
            assert room.stdout is not None and where in json.loads(room.stdout.readline())["address"]
            with contextlib.suppress(ConnectionResetError):
                assert early.recv(1) == b"", "it was accepted, and no handshake begins like that"
            room.terminate()
            assert room.wait(PATIENCE) == 0
        finally:
            room.kill()
            room.communicate()


def test_none_runs(tmp_path: Path) -> None:
    for command in ("drain", "restart"):
        failed(run_here("room", command, "--data", str(tmp_path), "--json"), 2, "input", "no room runs")

"""SIGHUP of a running `ssbfast share`: services and friends change, what stays goes on, mistakes change nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.processes import PATIENCE, Running
from tests.helpers.room_processes import RoomProcesses, post, room_processes, web_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP here"),
]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[RoomProcesses]:
    with room_processes(tmp_path) as made:
        yield made


def options(place: RoomProcesses, services: str, more: str = "") -> Path:
    path = place.data / "peer.toml"
    path.write_text(f'room = "{place.address()}"\npath = "tunnel"\n{more}\n[services]\n{services}', encoding="utf-8")
    return path


def test_services_and_friends_change_and_no_session_ends(place: RoomProcesses) -> None:
    place.room()
    place.friends("a", "c")
    with web_server() as web:
        file = options(place, f"web = {web}\nold = {web}\n")
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with manager:
            manager.bind(str(place.data / "notify"))
            manager.settimeout(PATIENCE)
            env = {**os.environ, "NOTIFY_SOCKET": str(place.data / "notify")}
            command = ("share", "--config", str(file), "--data", str(place.path("a")), "--no-ticket", "--json")
            sharing = place.keep(Running(*command, env=env))
            assert f"READY=1\nMAINPID={sharing.process.pid}\n" in manager.recv(4096).decode()
        sharing.event("announced")
        caller, port = place.connect("c", f"{place.id('a')}/web")
        assert post(port, b"hello") == b"hello"
        kept = socket.create_connection(("127.0.0.1", port), PATIENCE)
        with kept:
            kept.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")

            file.write_text("serices = 1", encoding="utf-8")
            sharing.signal(signal.SIGHUP)
            assert f"{file}:1:1: there is no option 'serices'" in sharing.event("reread_failed")["reason"]

            options(place, f'new = {web}\nweb = {web}\n[for]\nnew = "{place.id("b")}"', "connections = 9")
            sharing.signal(signal.SIGHUP)
            found = sharing.event("reread")
            assert (found["services"], found["added"], found["removed"]) == (["new", "web"], ["new"], ["old"])
            assert sharing.event("service")["name"] == "new"
            kept.sendall(b"b")
            assert kept.recv(4096).startswith(b"HTTP/1.1 200"), "a request that had begun before both went on"
        assert post(port, b"again") == b"again"
        assert caller.process.poll() is None
        sharing.signal(signal.SIGTERM)
        assert sharing.wait() == 0
        assert "ssbfast: connections: changes take effect when it is started again\n" in sharing.stderr


def test_a_terminal_that_is_closed_ends_it_and_without_a_file_it_is_not_read(place: RoomProcesses) -> None:
    import pty  # not on Windows

    file = options(place, "ssh = 22")
    command = [sys.executable, "-m", "ssbfast", "share", "--config", str(file), "--data", str(place.path("a"))]
    pid, terminal = pty.fork()
    if not pid:
        os.execve(command[0], command, {**os.environ, "NO_COLOR": "1"})
    seen = b""
    while b"You are" not in seen:
        seen += os.read(terminal, 4096)
    os.kill(pid, signal.SIGHUP)
    while b"offered ssh" not in seen:
        seen += os.read(terminal, 4096)
    os.close(terminal)
    until = time.monotonic() + PATIENCE
    while (done := os.waitpid(pid, os.WNOHANG)) == (0, 0):
        assert time.monotonic() < until
        time.sleep(0.02)
    assert os.waitstatus_to_exitcode(done[1]) in (0, 1), "its last lines have no reader"
    plain = [*command[:4], "ssh=22", "--room", place.address(), *command[6:]]
    with subprocess.Popen(plain, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None and process.stdout.readline().startswith(b"You are")
        process.send_signal(signal.SIGHUP)
        assert process.wait(PATIENCE) == 0

"""A laptop sleeps: one peer stands still for longer than a session may be without a path, and then goes on."""

from __future__ import annotations

import importlib.util
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssbfast import limits
from tests.helpers.require import require
from tests.helpers.room_processes import RoomProcesses, room_processes
from tests.helpers.stores import posix_only

ASLEEP = limits.CARRIER_SECONDS + 15.0


@pytest.fixture
def place(tmp_path: Path) -> Iterator[RoomProcesses]:
    with room_processes(tmp_path) as made:
        yield made


@posix_only
@pytest.mark.slow
@pytest.mark.parametrize("path", ["auto", "tunnel"])
@pytest.mark.parametrize("who", ["connect", "listen"])
def test_a_session_and_its_connections_outlive_a_sleep(place: RoomProcesses, who: str, path: str) -> None:
    if path == "auto":
        require("aioquic", importlib.util.find_spec("aioquic") is not None)
    place.room()
    place.friends("a", "c")
    with socket.create_server(("127.0.0.1", 0)) as service:
        service.settimeout(60.0)
        listen = place.listen("a", service.getsockname()[1], path=path)
        listen.event("announced")
        connect, port = place.connect("c", str(place.id("a")), path=path)
        connect.event("connected")
        if path == "auto":
            for process in (listen, connect):
                while process.event("path")["path"] != "direct":
                    pass
        with socket.create_connection(("127.0.0.1", port), timeout=60.0) as client, service.accept()[0] as server:
            server.settimeout(60.0)
            client.sendall(b"before")
            assert server.recv(100) == b"before"
            sleeper = connect if who == "connect" else listen
            sleeper.signal(signal.SIGSTOP)
            time.sleep(ASLEEP)
            client.sendall(b"asleep")
            sleeper.signal(signal.SIGCONT)
            assert server.recv(100) == b"asleep"
            server.sendall(b"and back")
            assert client.recv(100) == b"and back"
    for process in (listen, connect):
        process.signal(signal.SIGTERM)
        assert process.wait() == 0

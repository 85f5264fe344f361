"""A laptop sleeps: one peer stands still for longer than a session may be without a path, and then goes on."""

from __future__ import annotations

import importlib.util
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
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


class Pair:
    """Two peers with a connection through their session; one of them is going to sleep."""

    def __init__(self, place: RoomProcesses, stack: ExitStack, who: str, path: str) -> None:
        target, caller = f"a-{who}", f"c-{who}"
        place.friends(target, caller)
        service = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        service.settimeout(60.0)
        listen = place.listen(target, service.getsockname()[1], path=path)
        listen.event("announced")
        connect, port = place.connect(caller, str(place.id(target)), path=path)
        connect.event("connected")
        self.processes = (listen, connect)
        if path == "auto":
            for process in self.processes:
                while process.event("path")["path"] != "direct":
                    pass
        self.client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60.0))
        self.server = stack.enter_context(service.accept()[0])
        self.server.settimeout(60.0)
        self.sleeper = connect if who == "connect" else listen

    def pass_on(self, data: bytes) -> None:
        self.client.sendall(data)
        assert self.server.recv(100) == data


@posix_only
@pytest.mark.slow
@pytest.mark.parametrize("path", ["auto", "tunnel"])
def test_a_session_and_its_connections_outlive_a_sleep(place: RoomProcesses, path: str) -> None:
    """The sleep of its caller, and that of its target: two pairs sleep at the same time."""
    if path == "auto":
        require("aioquic", importlib.util.find_spec("aioquic") is not None)
    place.room()
    with ExitStack() as stack:
        pairs = {who: Pair(place, stack, who, path) for who in ("connect", "listen")}
        for pair in pairs.values():
            pair.pass_on(b"before")
            pair.sleeper.signal(signal.SIGSTOP)
        time.sleep(ASLEEP)
        for who, pair in pairs.items():
            print(who)  # seen when it fails
            pair.client.sendall(b"asleep")
            pair.sleeper.signal(signal.SIGCONT)
            assert pair.server.recv(100) == b"asleep"
            pair.server.sendall(b"and back")
            assert pair.client.recv(100) == b"and back"
    for pair in pairs.values():
        for process in pair.processes:
            process.signal(signal.SIGTERM)
            assert process.wait() == 0

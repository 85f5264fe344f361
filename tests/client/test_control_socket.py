"""The sockets of running peers in a data directory: each process has one of its own, and dead ones go."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.client import control_socket
from ssbfast.client.control_socket import SOCKET, ControlSocket, _make_words, questions, running
from ssbfast.client.identity_lock import IdentityLock
from ssbfast.errors import BadInputError
from ssbfast.net.control_socket import is_supported
from tests.helpers.rooms import feed

pytestmark = pytest.mark.skipif(not is_supported(), reason="no Unix sockets here")


async def asked(path: Path, name: str = "who") -> Any:
    def ask() -> Any:
        with questions(path) as asking:
            return asking.ask(name)[0]

    return await asyncio.to_thread(ask)


def leave(data: Path, pid: int) -> Path:
    """What a process leaves that was killed."""
    path = data / f"peer-{pid}-00112233.socket"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    return path


def dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    return gone.pid


async def test_each_process_has_its_own_and_the_lock_s_holder_comes_first(tmp_path: Path) -> None:
    async with (
        ControlSocket.beside(tmp_path, "connect"),
        ControlSocket.beside(tmp_path, "open"),
        IdentityLock(tmp_path, "share"),
    ):
        paths = running(tmp_path)
        assert paths[0] == tmp_path / SOCKET
        commands = [(await asked(path))["command"] for path in paths]
        assert commands[0] == "share" and sorted(commands[1:]) == ["connect", "open"]
    assert running(tmp_path) == [] and running(tmp_path / "none") == []


async def test_dead_ones_are_removed_and_nothing_else(tmp_path: Path) -> None:
    dead = leave(tmp_path, dead_pid())
    starting = leave(tmp_path, os.getpid())  # bound, and does not listen yet
    (tmp_path / f"peer-{dead_pid()}-44556677.socket").write_text("precious")
    (tmp_path / "peer-x-44556677.socket").write_text("precious")
    found = running(tmp_path)
    assert not dead.exists() and starting in found and starting.exists()
    assert [path.read_text() for path in tmp_path.glob("peer-*-44556677.socket")] == ["precious"] * 2


async def test_a_living_one_of_a_process_that_is_not_seen_here_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in another container, on the same directory."""
    async with ControlSocket.beside(tmp_path, "connect"):
        monkeypatch.setattr(control_socket, "_is_gone", lambda _pid: True)
        (path,) = await asyncio.to_thread(running, tmp_path)
        assert await asked(path)


async def test_there_are_only_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PEER_SOCKETS", 2)
    async with (
        ControlSocket.beside(tmp_path, "connect"),
        ControlSocket.beside(tmp_path, "connect"),
        ControlSocket.beside(tmp_path, "connect"),
    ):
        assert len(running(tmp_path)) == len(list(tmp_path.iterdir())) == 2


async def test_a_directory_that_allows_none(tmp_path: Path) -> None:
    async with ControlSocket.beside(tmp_path / "none", "connect"):
        assert running(tmp_path / "none") == []


async def test_words_need_a_room() -> None:
    client: Any = SimpleNamespace(rooms=())
    tickets: Any = None
    for wanted, told in ((None, "in no room now: ssbfast status"), (str(feed(1)), "not in that room now")):
        with pytest.raises(BadInputError, match=told):
            await _make_words(client, tickets, {"room": wanted})

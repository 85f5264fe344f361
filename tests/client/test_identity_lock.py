"""Two services with one identity: the second says so. What is left of a process that was killed stops nobody."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssbfast.client import identity_lock
from ssbfast.client.identity_lock import LOCK, SOCKET, IdentityLock, who
from ssbfast.errors import BadInputError
from tests.helpers.room_processes import RoomProcesses, kill, room_processes
from tests.helpers.stores import posix_only

PATIENCE = 60.0


@pytest.fixture
def place(tmp_path: Path) -> Iterator[RoomProcesses]:
    with room_processes(tmp_path) as made:
        yield made


async def ask(data: Path, line: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(data / SOCKET))
    writer.write(line)
    with contextlib.suppress(ConnectionError):
        answer = await asyncio.wait_for(reader.readline(), PATIENCE)
        writer.close()
        return answer
    return b""


async def in_thread(data: Path) -> dict[str, object] | None:
    return await asyncio.get_running_loop().run_in_executor(None, who, data)


@posix_only
async def test_one_at_a_time(tmp_path: Path) -> None:
    async with IdentityLock(tmp_path):
        with pytest.raises(BadInputError) as caught:
            async with IdentityLock(tmp_path):
                pytest.fail("two at a time")
        assert f"another ssbfast listen (pid {os.getpid()})" in str(caught.value) and "--data" in str(caught.value)
        assert await in_thread(tmp_path) is not None  # who was turned away has taken nothing along
    async with IdentityLock(tmp_path):
        pass
    assert not (tmp_path / SOCKET).exists()


@posix_only
async def test_it_says_who_has_it(tmp_path: Path) -> None:
    async with IdentityLock(tmp_path, "share"):
        about = json.loads(await ask(tmp_path, b'{"ask": "who"}\n'))["answer"]
        assert about == await in_thread(tmp_path)
        assert set(about) == {"command", "pid", "since"} and about["since"].endswith("Z")
        assert stat.S_IMODE((tmp_path / SOCKET).stat().st_mode) == 0o600
        with pytest.raises(BadInputError, match=f"another ssbfast share .pid {os.getpid()}."):
            await asyncio.to_thread(lambda: asyncio.run(IdentityLock(tmp_path).__aenter__()))


@posix_only
async def test_a_socket_that_was_left_behind(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / SOCKET))
    async with IdentityLock(tmp_path):
        assert b"pid" in await ask(tmp_path, b'{"ask": "who"}\n')


@posix_only
async def test_a_file_in_the_place_of_the_socket_stays(tmp_path: Path) -> None:
    (tmp_path / SOCKET).write_text("precious")
    async with IdentityLock(tmp_path):
        assert (await in_thread(tmp_path) or {})["pid"] == os.getpid()
        with pytest.raises(BadInputError, match=f"pid {os.getpid()}"):
            await IdentityLock(tmp_path).__aenter__()
    # and what is not ours is not removed at the end either
    assert (tmp_path / SOCKET).read_text() == "precious"


@posix_only
async def test_a_long_path(tmp_path: Path) -> None:
    data = tmp_path / ("x" * 120)
    data.mkdir()
    async with IdentityLock(data):
        assert (data / SOCKET).exists() == os.path.isdir("/proc/self/fd")
        assert (await in_thread(data) or {})["pid"] == os.getpid()


async def test_without_unix_sockets_the_file_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX", raising=False)
    async with IdentityLock(tmp_path):
        with pytest.raises(BadInputError, match=f"pid {os.getpid()}"):
            await IdentityLock(tmp_path).__aenter__()
    assert not (tmp_path / SOCKET).exists()


@posix_only
async def test_without_locks_the_socket_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(_file: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    async with IdentityLock(tmp_path):
        monkeypatch.setattr(identity_lock, "_lock", no_locks)
        other = asyncio.get_running_loop().run_in_executor(None, identity_lock._locked, tmp_path / LOCK)
        assert await asyncio.wait_for(other, PATIENCE) is None
    file = identity_lock._locked(tmp_path / LOCK)
    assert file is not None
    os.close(file)


@posix_only
def test_a_second_listen_says_so(place: RoomProcesses) -> None:
    place.room()
    first = place.listen("a", 9)
    first.event("announced")
    second = place.listen("a", 10)
    assert second.wait() == 2
    assert second.stderr.count("\n") == 1 and f"another ssbfast listen (pid {first.process.pid})" in second.stderr
    failure = json.loads(second.line() or "null")
    assert (failure["event"], failure["code"]) == ("error", 2) and second.line() is None
    connect, _ = place.connect("a", str(place.id("b")), "--anyway")  # another role, nobody's place
    other = place.listen("b", 11)
    other.event("announced")
    assert connect.process.poll() is None and first.process.poll() is None
    kill(first)
    third = place.listen("a", 10)
    third.event("announced")
    third.signal(signal.SIGTERM)
    assert third.wait() == 0

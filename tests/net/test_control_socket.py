"""Control sockets: one line is asked and one answered, to their owner; clients that misuse them cost others nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import stat
import struct
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.errors import BadInputError, RefusedError
from ssbfast.net import control_socket
from ssbfast.net.control_socket import ControlServer, NotRunningError, Questions, Words
from tests.helpers.rawpeer import eventually

pytestmark = pytest.mark.skipif(not control_socket.is_supported(), reason="no Unix sockets here")

WORDS = Words("nothing runs", "another user's", "it does not answer")
PATIENCE = 60.0


def refuse(_request: dict[str, Any]) -> Any:
    raise RefusedError("not now")


@asynccontextmanager
async def served(tmp_path: Path) -> AsyncIterator[Path]:
    """A socket that answers `one`, `wait` (when it is told to) and `refuse`."""
    path = tmp_path / "socket"
    server = ControlServer(
        {"one": lambda _request: {"is": 1}, "wait": lambda _request: asyncio.sleep(3600), "refuse": refuse}, "this"
    )
    await server.start(control_socket.bind(path))
    yield path
    await server.close()


async def asked(path: Path, name: str = "one") -> Any:
    def ask() -> Any:
        with Questions(path, WORDS) as questions:
            return questions.ask(name)[0]

    return await asyncio.wait_for(asyncio.to_thread(ask), PATIENCE)


def connect(path: Path) -> socket.socket:
    """A connection that says nothing yet."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(path))
    sock.settimeout(PATIENCE)
    return sock


def flood(path: Path, enough: threading.Event) -> None:
    """A thousand connections, and more until it is enough, that say nothing, as fast as they are taken."""
    held: deque[socket.socket] = deque()
    count = 0
    try:
        while count < 1000 or not enough.is_set():
            count += 1
            held.append(connect(path))
            if len(held) > 200:
                held.popleft().close()
    finally:
        for sock in held:
            sock.close()


async def test_a_socket_that_another_user_has_put_there_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a group may write to the directory: its words would be read out as ours, for example."""
    owner, other = 4711, 4712

    class Found:
        st_mode = stat.S_IFSOCK | 0o777
        st_uid = other

    async with served(tmp_path) as path:
        monkeypatch.setattr(control_socket, "is_ours", lambda _client: True)
        monkeypatch.setattr(control_socket.os, "lstat", lambda _path: Found)
        monkeypatch.setattr(control_socket.os, "geteuid", lambda: owner)
        with pytest.raises(BadInputError, match="another user's"):
            await asked(path)
        for user, of in ((other, other), (owner, 0), (0, other)):
            monkeypatch.setattr(control_socket.os, "geteuid", lambda user=user: user)
            monkeypatch.setattr(Found, "st_uid", of)
            assert await asked(path) == {"is": 1}


@pytest.mark.skipif(sys.platform != "linux", reason="how Linux tells of the other end")
def test_users_with_the_highest_numbers_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers have such."""

    class Client:
        def getsockopt(self, *_: int) -> bytes:
            return struct.pack("=i2I", 4711, 3_000_000_000, 3_000_000_000)

    for user, ours in ((3_000_000_000, True), (1000, False)):
        monkeypatch.setattr(control_socket.os, "geteuid", lambda user=user: user)
        assert control_socket.is_ours(Client()) is ours


async def test_answers_and_errors(tmp_path: Path) -> None:
    async with served(tmp_path) as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert await asked(path) == {"is": 1}
        with pytest.raises(BadInputError, match="not now"):
            await asked(path, "refuse")
        with pytest.raises(BadInputError, match="this does not know"):
            await asked(path, "what")
        assert not control_socket.is_dead(path)
    with pytest.raises(NotRunningError, match="nothing runs"):
        await asked(path)
    assert control_socket.is_dead(path)


async def test_some_requests_have_several_answers_as_long_as_the_client_waits(tmp_path: Path) -> None:
    path, ended = tmp_path / "socket", list[int]()

    async def count(request: dict[str, Any]) -> AsyncIterator[Any]:
        try:
            yield 1
            if request.get("fails"):
                raise RefusedError("not now")
            if request.get("waits"):
                await asyncio.sleep(3600)
            yield 2
        finally:
            ended.append(len(ended) + 1)

    server = ControlServer({"count": count}, "this")
    await server.start(control_socket.bind(path))

    async def ask(**members: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(json.dumps({"ask": "count", **members}).encode() + b"\n")
        assert await reader.readline() == b'{"answer": 1}\n'
        return reader, writer

    for members, last in (({}, b'{"answer": 2}\n'), ({"fails": True}, b'{"error": "not now"}\n')):
        reader, writer = await ask(**members)
        assert await reader.readline() == last
        writer.close()
    assert ended == [1, 2]
    _reader, writer = await ask(waits=True)
    writer.close()
    await eventually(lambda: ended == [1, 2, 3])
    reader, writer = await ask(waits=True)
    writer.write(b'{"ask": "one"}\n')  # it is to wait for its answer
    assert await reader.read() == b"" and ended == [1, 2, 3, 4]
    writer.close()
    await server.close()


async def test_another_user_is_not_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(control_socket._PEER_USER, sys.platform, lambda _client: 4_000_000)
    async with served(tmp_path) as path:
        with pytest.raises(BadInputError, match="does not answer"):
            await asked(path)


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"{}\n",
        b"[]\n",
        b'{"ask": 3}\n',
        b'{"ask": ["one"]}\n',
        b"\xff\xfe\n",
        b'{"ask": null}\n',
        b"[" * 3000 + b"\n",
    ],
)
async def test_nonsense_is_answered_and_the_next_line_is_served(tmp_path: Path, line: bytes) -> None:
    async with served(tmp_path) as path:
        reader, writer = await asyncio.open_unix_connection(path)
        for half in (line[:1], line[1:]):
            writer.write(half)
            await asyncio.sleep(0)
        assert set(json.loads(await reader.readline())) == {"error"}
        writer.write(b'{"ask": "one"}\n')
        assert json.loads(await reader.readline()) == {"answer": {"is": 1}}
        writer.close()


async def test_silent_clients_and_half_lines_lose_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONTROL_SECONDS", 0.1)
    async with served(tmp_path) as path:
        for word in (b"", b'{"ask": "o', b"x" * (limits.CONTROL_LINE * 3)):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(word)
            with contextlib.suppress(ConnectionError):  # closed with bytes unread
                assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
            writer.close()


async def test_clients_that_never_read_lose_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONTROL_SECONDS", 0.2)
    path = tmp_path / "socket"
    server = ControlServer({"much": lambda _request: "x" * 4_000_000}, "this")
    await server.start(control_socket.bind(path))
    deaf = connect(path)
    deaf.sendall(b'{"ask": "much"}\n' * 100)
    await eventually(lambda: server._clients)
    await eventually(lambda: not server._clients)
    deaf.close()
    await server.close()


async def test_a_thousand_connections_do_not_keep_an_honest_one_out(tmp_path: Path) -> None:
    async with served(tmp_path) as path:
        enough = threading.Event()
        flooding = asyncio.create_task(asyncio.to_thread(flood, path, enough))
        try:
            for _ in range(5):
                assert await asked(path) == {"is": 1}
        finally:
            enough.set()
            await flooding


async def test_clients_that_wait_for_an_answer_keep_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CONTROL_CLIENTS", 4)
    monkeypatch.setattr(limits, "CONTROL_CLOSE_SECONDS", 0.1)
    async with served(tmp_path) as path:
        waiting = [await asyncio.to_thread(connect, path) for _ in range(4)]
        for sock in waiting:
            sock.sendall(b'{"ask": "wait"}\n')
        await asyncio.sleep(0.1)
        with pytest.raises(BadInputError, match="does not answer"):
            await asked(path)
        for sock in waiting:
            sock.setblocking(False)
            with pytest.raises(BlockingIOError):
                sock.recv(1)
            sock.close()


async def test_the_most_silent_client_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONTROL_CLIENTS", 2)
    async with served(tmp_path) as path:
        ends = [await asyncio.open_unix_connection(path) for _ in range(2)]
        (busy, asks), (silent, quiet) = ends
        for _ in range(2):
            asks.write(b'{"ask": "one"}\n')
            assert b"answer" in await asyncio.wait_for(busy.readline(), PATIENCE)
            if not silent.at_eof():
                assert await asked(path) == {"is": 1}
                assert await asyncio.wait_for(silent.read(), PATIENCE) == b""
        asks.close()
        quiet.close()

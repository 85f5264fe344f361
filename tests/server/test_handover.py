"""A room that takes over from another one: no connection is refused, and a failed successor changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ssbfast.errors import BadInputError
from ssbfast.keys import Keypair
from ssbfast.server import control, handover
from ssbfast.server.control import Control, ask
from ssbfast.server.handover import Predecessor, Succession
from ssbfast.server.room_server import RoomServer
from tests.helpers.served_room import LOCAL

pytestmark = pytest.mark.skipif(not control.is_supported(), reason="no Unix sockets here")


class Old:
    """A room with its control socket."""

    def __init__(self, data: Path) -> None:
        self.server = RoomServer(Keypair.generate(), listen=[LOCAL])
        self.succession = Succession(lambda: self.server.sockets, self._stop_listening)
        self.control = Control(data, self.succession.handlers())

    async def _stop_listening(self) -> None:
        await self.server.stop_listening()


@pytest.fixture
async def old(tmp_path: Path) -> AsyncIterator[Old]:
    room = Old(tmp_path)
    await room.server.start()
    await room.control.start()
    yield room
    await room.control.close()
    await room.server.close()


async def predecessor(data: Path) -> Predecessor:
    return await asyncio.to_thread(Predecessor, data)


async def test_no_connection_is_refused_while_another_process_takes_over(old: Old, tmp_path: Path) -> None:
    port = old.server.port
    over = asyncio.Event()
    made = 0

    async def knock() -> None:
        nonlocal made
        while not over.is_set():
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"\0" * 64)
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read(1) == b"", "a room answers no handshake that is none"
            writer.close()
            made += 1

    knocking = asyncio.create_task(knock())
    for _ in range(3):
        before = await predecessor(tmp_path)
        server = RoomServer(old.server.me, listen=old.server._listen, inherited=before.sockets)
        server._listen = (type(LOCAL)("127.0.0.1", port),)
        await server.start()
        assert server.port == port and {sock.getsockname() for sock in server.sockets} == {
            sock.getsockname() for sock in old.server.sockets
        }
        served = Control(tmp_path, {})
        await served.start(takes_over=True)
        await asyncio.to_thread(before.retire)
        assert old.succession.taken_over.is_set() and old.server.sockets == ()
        served.take_place()
        await old.control.close()
        assert served.path.exists(), "it is the new room's"
        so_far = made
        while made < so_far + 5:
            await asyncio.sleep(0.001)
        before.close()
        await served.close()
        await old.server.close()
        old.server = server
        old.succession = Succession(lambda: old.server.sockets, old._stop_listening)
        old.control = Control(tmp_path, old.succession.handlers())
        await old.control.start()
    over.set()
    await knocking


async def test_a_successor_that_dies_changes_nothing(old: Old, tmp_path: Path) -> None:
    before = await predecessor(tmp_path)
    assert before and len(before.sockets) == len(old.server.sockets)
    before.close()
    assert not old.succession.taken_over.is_set()
    (await asyncio.open_connection("127.0.0.1", old.server.port))[1].close()
    again = await predecessor(tmp_path)
    await asyncio.to_thread(again.retire)
    again.close()
    with pytest.raises(BadInputError, match="taken over already"):
        await asyncio.to_thread(ask, tmp_path, "take_over")


async def test_a_socket_that_nothing_took_is_closed(old: Old, tmp_path: Path) -> None:
    port = old.server.port
    before = await predecessor(tmp_path)
    await asyncio.to_thread(before.retire)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_process_that_the_room_began_knows_it(
    old: Old, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(await predecessor(tmp_path)) as before:
        assert not before.has_begun_us
    monkeypatch.setattr(handover.os, "getppid", handover.os.getpid)  # as if the old room were the parent
    with contextlib.closing(await predecessor(tmp_path)) as before:
        assert before.has_begun_us


async def test_one_of_two_successors_takes_over(old: Old, tmp_path: Path) -> None:
    first, second = await predecessor(tmp_path), await predecessor(tmp_path)
    await asyncio.to_thread(first.retire)
    with pytest.raises(BadInputError, match="taken over already"):
        await asyncio.to_thread(second.retire)
    first.close()
    second.close()


async def test_a_successor_that_dies_leaves_the_control_socket(old: Old, tmp_path: Path) -> None:
    before, served = await predecessor(tmp_path), Control(tmp_path, {})
    await served.start(takes_over=True)
    await served.close()
    before.close()
    assert list(tmp_path.iterdir()) == [old.control.path]
    again = await predecessor(tmp_path)
    assert again
    again.close()


async def test_where_no_room_runs_there_is_nothing_to_take(tmp_path: Path) -> None:
    before = await predecessor(tmp_path)
    assert not before and len(before.sockets) == 0
    await asyncio.to_thread(before.retire)
    before.close()


async def test_a_new_process_that_fails_is_told(old: Old, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "-c", "import sys; sys.exit(3)"])
    for _ in range(2):
        with pytest.raises(BadInputError, match="exit code 3, and this one goes on"):
            await asyncio.to_thread(ask, tmp_path, "restart")
    assert old.server.sockets


async def test_one_that_is_never_ready_is_ended(old: Old, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[subprocess.Popen[bytes]] = []

    class Kept(subprocess.Popen[bytes]):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)  # type: ignore[call-overload]  # as Popen is called
            begun.append(self)

    monkeypatch.setattr(handover.subprocess, "Popen", Kept)
    monkeypatch.setattr(handover.limits, "HANDOVER_SECONDS", 0.5)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-c", "import time; time.sleep(600)"])
    with pytest.raises(BadInputError, match=r"not ready in .* and this one goes on"):
        await asyncio.to_thread(ask, tmp_path, "restart")
    assert begun[0].poll() is not None


async def test_a_program_that_is_gone_is_told(old: Old, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    with pytest.raises(BadInputError, match="and this one goes on: No such file"):
        await asyncio.to_thread(ask, tmp_path, "restart")


async def test_a_room_that_is_told_to_end_has_no_successor(
    old: Old, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "-c", "import time; time.sleep(600)"])
    restart = asyncio.create_task(asyncio.to_thread(ask, tmp_path, "restart"))
    while old.succession._process is None:
        await asyncio.sleep(0.001)
    old.succession.end()
    with pytest.raises(BadInputError, match="told to end, and so was the new one"):
        await restart
    with pytest.raises(BadInputError, match="this room ends"):
        await asyncio.to_thread(ask, tmp_path, "restart")


async def test_a_container_has_no_second_process(old: Old, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover.os, "getpid", lambda: 1)
    monkeypatch.setattr(sys, "executable", "/none")
    with pytest.raises(BadInputError, match="first process of a container"):
        await asyncio.to_thread(ask, tmp_path, "restart")

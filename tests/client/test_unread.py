"""Programs whose stdout and stderr are pipes that nobody reads: they work on, and a signal ends them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ssbfast import Keypair, RoomClient, load_secret
from ssbfast.room.tunnel_auth import AllowList
from tests.helpers.clients import RoomWithClients, echo_api, room_with_clients
from tests.helpers.rawpeer import eventually
from tests.helpers.room_processes import RoomProcesses, free_port, room_processes, web_server

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX pipes and signals")

PATIENCE = 60.0


def full_pipe(stack: contextlib.ExitStack) -> int:
    """The end of it to write to; not a byte more goes in."""
    reader, writer = os.pipe()
    stack.callback(os.close, reader)
    stack.callback(os.close, writer)
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x")
    os.set_blocking(writer, True)
    return writer


@contextlib.contextmanager
def unread(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with contextlib.ExitStack() as stack:
        out, err = full_pipe(stack), full_pipe(stack)
        process = subprocess.Popen(
            [sys.executable, "-m", "ssbfast", *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


async def ended(process: subprocess.Popen[bytes]) -> int:
    return await asyncio.to_thread(process.wait, PATIENCE)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[RoomProcesses]:
    with room_processes(tmp_path) as made:
        yield made


@pytest.fixture
async def room() -> AsyncIterator[RoomWithClients]:
    async with room_with_clients() as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("as_json", [(), ("--json",)], ids=["people", "json"])
async def test_a_room(place: RoomProcesses, as_json: tuple[str, ...]) -> None:
    """It has something to say from the first moment: that its UDP port is taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", place.port))
        data = ("--data", str(place.path("room")), "--listen", f"127.0.0.1:{place.port}")
        address = place.address()
        with unread("room", *data, *as_json) as process:
            a, c = Keypair.generate(), Keypair.generate()
            async with (
                RoomClient(a, admission=AllowList([c.id]), api=echo_api()) as target,
                RoomClient(c) as caller,
            ):
                await asyncio.wait_for(target.join(address, wait=True), PATIENCE)
                await caller.join(address, announce=False)
                for _ in range(50):
                    peer = await caller.connect(a.id)
                    assert await peer.call("add", 1, 2) == 3
                    await peer.close()
                process.send_signal(signal.SIGTERM)
                assert await ended(process) == 0


@pytest.mark.slow
async def test_listen_and_connect(place: RoomProcesses) -> None:
    """Each has something to say at once: that everyone is welcome, that others reach the port."""
    place.room()
    c = place.id("c")
    port = free_port()
    rooms = ("--room", place.address(), "--path", "tunnel")
    with web_server() as service:
        offer = ("listen", "--data", str(place.path("a")), "--forward", f"127.0.0.1:{service}", "--policy", "everyone")
        call = ("connect", str(place.id("a")), "--data", str(place.path("c")), "--bind", f"0.0.0.0:{port}", "--anyway")
        with unread(*offer, *rooms) as listening, unread(*call, *rooms) as calling:
            assert c
            await eventually(lambda: answers(port), PATIENCE)
            for process in (calling, listening):
                process.send_signal(signal.SIGTERM)
                assert await ended(process) == 0


def answers(port: int) -> bool:
    """Whether the service is there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return sock.recv(5) == b"HTTP/"
    return False


@pytest.mark.slow
@pytest.mark.parametrize("command", ["attendants", "doctor"])
async def test_lists_wait_for_their_reader_until_a_signal(command: str, room: RoomWithClients, tmp_path: Path) -> None:
    await room.client()
    with unread(command, "--data", str(tmp_path), "--room", room.address) as process:
        await eventually(lambda: room.room.server._next_session > 2, PATIENCE)  # it came in
        await asyncio.sleep(1)  # it has all that it wanted, most probably
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == 0


async def test_attendants_that_watch(room: RoomWithClients, tmp_path: Path) -> None:
    with unread("attendants", "--watch", "--data", str(tmp_path), "--room", room.address) as process:
        await eventually(lambda: room.room.server._sessions, PATIENCE)
        for _ in range(20):
            client = await room.client()
            await client.close()
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == 0


async def test_an_error_at_the_end(tmp_path: Path) -> None:
    load_secret(tmp_path / "secret", create=True)
    with unread("room", "--data", str(tmp_path), "--listen", "127.0.0.1:0", "--udp", "192.0.2.1:5") as process:
        assert await ended(process) == 2

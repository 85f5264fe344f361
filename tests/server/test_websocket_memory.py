"""What a room holds for a session over a WebSocket that idles."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ssbfast.client.room_client import RoomClient
from ssbfast.keys import Keypair

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
WARM, SESSIONS = 40, 200
MOST = 12 * 1024

ROOM = """
import asyncio, gc, sys
from ssbfast import Endpoint, Keypair, RoomServer
from tests.helpers.websockets import websocket_of

async def main():
    async with RoomServer(Keypair.generate(), listen=[Endpoint("127.0.0.1", 0)], udp=()) as room:
        async with websocket_of(room) as place:
            print(place.address, flush=True)
            while await asyncio.to_thread(sys.stdin.readline):
                gc.collect()
                print(len(room.limits.sessions), flush=True)

asyncio.run(main())
"""


@contextlib.contextmanager
def running_room() -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", ROOM], cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def held(process: subprocess.Popen[str], sessions: int) -> int:
    """Bytes that the room's process has to itself, once it is tidy and has that many sessions."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert int(process.stdout.readline()) == sessions
    return int(psutil.Process(process.pid).memory_full_info().uss)


async def test_an_idle_session_costs_little() -> None:
    async with contextlib.AsyncExitStack() as stack:
        process = stack.enter_context(running_room())
        assert process.stdout is not None
        address = process.stdout.readline().strip()

        async def enter(count: int) -> None:
            for _ in range(count):
                client = await stack.enter_async_context(RoomClient(Keypair.generate()))
                await client.join(address, announce=False, attendants=False, stay=False)

        await enter(WARM)
        before = held(process, WARM)
        await enter(SESSIONS)
        assert held(process, WARM + SESSIONS) - before <= SESSIONS * MOST

"""A room in a process of its own: `python -m tests.helpers.room_process STALL_SECONDS [POOL]`.

Its events come as JSON lines on stdout; it ends when its stdin does. ROOM_SEED (hex) and ROOM_PORT in the environment
make it the same room again.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

from ssbfast import limits
from ssbfast.ids import FeedId
from tests.helpers.served_room import LAVISH

ROOT = Path(__file__).parents[2]


class RoomProcess:
    """What is known of it from outside. address, port, id: as its `listening` event said. events: all so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        self.ps = psutil.Process(process.pid)
        self.address = ""
        self.id: FeedId
        self._reader: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        return int(self.address.split("~")[0].rsplit(":", 1)[1])

    @property
    def rss(self) -> int:
        """Resident bytes."""
        return int(self.ps.memory_info().rss)

    def named(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == name]

    async def ready(self) -> None:
        assert self.process.stdout is not None
        event = json.loads(await asyncio.wait_for(self.process.stdout.readline(), 30))
        self.address, self.id = event["address"], FeedId.parse(event["id"])
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.events.append(json.loads(line))

    async def close(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        if self._reader is not None:
            await self._reader


@asynccontextmanager
async def room_process(stall_seconds: float = limits.STALL_SECONDS, **environment: str) -> AsyncIterator[RoomProcess]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.helpers.room_process", str(stall_seconds)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    room = RoomProcess(process)
    try:
        await room.ready()
        yield room
    finally:
        await room.close()
        process._transport.close()  # type: ignore[attr-defined]  # asyncio leaves its pipes to the collector


async def _main(stall_seconds: float) -> None:
    from ssbfast.keys import Keypair
    from ssbfast.net.endpoints import Endpoint
    from ssbfast.server.room_server import RoomServer

    def tell(event: dict[str, Any]) -> None:
        print(json.dumps(event), flush=True)

    seed, port = os.environ.get("ROOM_SEED"), int(os.environ.get("ROOM_PORT", "0"))
    me = Keypair.generate() if seed is None else Keypair.from_seed(bytes.fromhex(seed))
    server = RoomServer(
        me, listen=[Endpoint("127.0.0.1", port)], on_event=tell, stall_seconds=stall_seconds, caps=LAVISH
    )
    async with server:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_main(float(sys.argv[1])))

"""A go-ssb-room in a process of its own, which whoever runs the tests has built: it is no part of this repository."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

from ssbfast.ids import FeedId
from tests.helpers.rawpeer import PATIENCE

VARIABLE = "SSBFAST_PEER_GO_ROOM"
WHY = f"{VARIABLE} names no go-ssb-room server: build its cmd/server and put the path of the binary there"


def binary() -> Path | None:
    """The server to test against."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named and Path(named).is_file() else None


DOMAIN = "room.test"


class GoRoom:
    """A running room. address: as its members dial it; web: the port of its web site, which expects a proxy."""

    def __init__(self, data: Path, port: int, web: int) -> None:
        self._data = data
        self.web = web
        self.id = FeedId.parse(json.loads((data / "secret").read_text())["id"])
        self.address = f"net:127.0.0.1:{port}~shs:{str(self.id).removeprefix('@').removesuffix('.ed25519')}"

    def add_member(self, feed: FeedId, role: int = 1) -> None:
        """Make a key a member, as its dashboard and its program insert-user do."""
        self.run("INSERT INTO members (role, pub_key) VALUES (?, ?)", role, str(feed))

    def run(self, statement: str, *values: object) -> None:
        with closing(sqlite3.connect(self._data / "roomdb", timeout=PATIENCE)) as database, database:
            database.execute(statement, values)


@asynccontextmanager
async def go_room(data: Path, mode: str, *arguments: str) -> AsyncIterator[GoRoom]:
    """Run a room in a mode until the end of the block."""
    program = binary()
    assert program is not None, WHY
    port, web = free_port(), free_port()
    process = await asyncio.create_subprocess_exec(
        *(str(program), "-repo", str(data), "-lismux", f"127.0.0.1:{port}", "-lishttp", f"127.0.0.1:{web}"),
        *("-https-domain", DOMAIN, "-mode", mode, "-nounixsock", "-dbg", "", *arguments),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        while b"event=serving" not in (line := await asyncio.wait_for(process.stderr.readline(), PATIENCE)):
            assert line, "the room has ended"
        reading = asyncio.create_task(process.stderr.read())  # else it stops when the pipe is full
        await _until_it_listens(port)
        yield GoRoom(data, port, web)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    finally:
        process.kill()
        await process.wait()


async def _until_it_listens(port: int) -> None:
    """It says that it serves a moment before it does."""

    async def dial() -> None:
        while True:
            try:
                _reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return

    await asyncio.wait_for(dial(), PATIENCE)


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

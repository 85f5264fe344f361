"""Peers of go-muxrpc in our room: what go-ssb and its like do there.

The peer is `go/main.go` beside this file, which whoever runs the tests has built.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ssbfast.ids import MAIN_NETWORK
from ssbfast.keys import Keypair
from ssbfast.room.methods import MEMBERS_ONLY
from ssbfast.room.roles import Role
from ssbfast.wire.alias import sign_alias
from tests.helpers.kept_room import KEYS, KeptRoom, kept_room
from tests.helpers.rawpeer import PATIENCE

VARIABLE = "SSBFAST_PEER_GO_MUXRPC"
WHY = f"{VARIABLE} names no peer: build tests/interop/go (GOFLAGS=-mod=mod go build) and put its path there"
PROGRAM = Path(os.environ.get(VARIABLE) or "/nonexistent")

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(120),
    pytest.mark.skipif(not PROGRAM.is_file(), reason=WHY),
]
MEMBER, MODERATOR = KEYS[Role.MEMBER], KEYS[Role.MODERATOR]


class GoPeer:
    """A peer in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._numbers = itertools.count(1)

    async def do(self, what: str, name: str, *args: Any, take: int = 0) -> Any:
        """Call the room; return what comes, or raise RuntimeError with its error."""
        assert self._process.stdin is not None
        number = next(self._numbers)
        line = {"n": number, "do": what, "name": name.split("."), "args": list(args), "take": take}
        self._process.stdin.write(json.dumps(line).encode() + b"\n")
        told = await self.line()
        assert told["n"] == number
        if "error" in told:
            raise RuntimeError(told["error"])
        return told["value"]

    async def line(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(await asyncio.wait_for(self._process.stdout.readline(), PATIENCE))


@asynccontextmanager
async def go_peer(room: KeptRoom, seed: bytes) -> AsyncIterator[GoPeer]:
    texts = [base64.b64encode(data).decode() for data in (room.server.me.id.key, MAIN_NETWORK.key, seed)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        str(PROGRAM), f"127.0.0.1:{room.server.port}", *texts, stdin=pipe, stdout=pipe
    )
    try:
        yield GoPeer(process)
    finally:
        process.kill()
        await process.wait()


def seed_of(role: Role) -> bytes:
    return bytes([60 + role]) * 32


async def test_a_member_of_go(tmp_path: Path) -> None:
    async with kept_room(tmp_path) as room, AsyncExitStack() as stack:
        peer = await stack.enter_async_context(go_peer(room, seed_of(Role.MEMBER)))
        metadata = await peer.do("async", "room.metadata")
        assert metadata["membership"] is True and metadata["features"] == ["tunnel", "room2", "alias"]
        assert await peer.do("async", "whoami") == {"id": str(room.server.me.id)}
        (state,) = await peer.do("source", "room.attendants", take=1)
        assert state == {"type": "state", "ids": [str(MEMBER.id)]}
        (members,) = await peer.do("source", "room.members")
        assert {"id": str(MEMBER.id)} in members and len(members) == 3
        url = await peer.do("text", "room.registerAlias", "gopher", sign_alias(MEMBER, room.server.me.id, "gopher"))
        assert url == "https://127.0.0.1/gopher"
        assert await peer.do("async", "room.listAliases", str(MEMBER.id)) == ["gopher"]
        assert await peer.do("async", "room.revokeAlias", "gopher") is True
        with pytest.raises(RuntimeError, match="no such alias"):
            await peer.do("async", "room.revokeAlias", "gopher")
        assert await peer.do("async", "httpAuth.sendSolution", "sc", "cc", "solution") is False
        raw = await room.room.raw(MODERATOR)
        tunnel = raw.connect(room.server.me.id, MEMBER.id)
        for _ in range(20):
            tunnel.write(bytes(range(256)) * 64)
        assert await tunnel.read(20 * 16_384) == bytes(range(256)) * 64 * 20
        await room.block(MEMBER.id)
        assert (await tunnel.wait_ended()) is not None
        while (await peer.line()).get("event") != "closed":
            pass


async def test_a_stranger_of_go(tmp_path: Path) -> None:
    async with kept_room(tmp_path) as room, AsyncExitStack() as stack:
        key = Keypair.from_seed(b"s" * 32)
        peer = await stack.enter_async_context(go_peer(room, b"s" * 32))
        assert (await peer.do("async", "room.metadata"))["membership"] is False
        for name in ("room.attendants", "room.members", "tunnel.endpoints"):
            with pytest.raises(RuntimeError, match=MEMBERS_ONLY):
                await peer.do("source", name)
        with pytest.raises(RuntimeError, match="only members may have an alias"):
            await peer.do("text", "room.registerAlias", "gopher", sign_alias(key, room.server.me.id, "gopher"))
        assert isinstance(await peer.do("async", "tunnel.ping"), int)

"""Two peers of ours on one TCP connection, without a room in between."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ssbfast.keys import Keypair
from ssbfast.net.api import Api
from ssbfast.net.dial import dial
from ssbfast.net.link import Link
from ssbfast.net.peer import Peer
from ssbfast.net.relay import Relay
from ssbfast.wire.handshake import ClientHandshake, ServerHandshake
from ssbfast.wire.muxrpc import MuxEvent, MuxRPC
from tests.helpers.rawpeer import eventually


def listening_in(monkeypatch: pytest.MonkeyPatch, mux: MuxRPC, hear: Callable[[bytes], bool]) -> None:
    """From now on `hear` is told each body that comes to this one; what it says no to, it does not get."""
    receive = MuxRPC.receive

    def heard(self: MuxRPC, flags: int, req: int, body: bytes) -> list[MuxEvent]:
        return receive(self, flags, req, body) if self is not mux or hear(body) else []

    monkeypatch.setattr(MuxRPC, "receive", heard)


class PeerPair:
    """here is the dialler, there the server; each with a relay of its own."""

    here: Peer
    there: Peer

    def __init__(self) -> None:
        self.relays = (Relay(pool=16 * 1024 * 1024), Relay(pool=16 * 1024 * 1024))

    @property
    def lent(self) -> int:
        return sum(relay.hub.lent for relay in self.relays)


@asynccontextmanager
async def connected(
    there: Api | None = None, here: Api | None = None, *, split: bool = False, **options: Any
) -> AsyncIterator[PeerPair]:
    """there, here: what each serves. options: for the server's link. At the end nothing may be left."""
    loop = asyncio.get_running_loop()
    tasks = asyncio.all_tasks()
    keys = (Keypair.generate(), Keypair.generate())
    pair = PeerPair()
    pair.here, pair.there = Peer(api=here), Peer(api=there)
    sock = socket.create_server(("127.0.0.1", 0))
    handshake = ServerHandshake(keys[1])
    server = await loop.create_server(lambda: Link(pair.relays[1], handshake, pair.there, **options), sock=sock)
    try:
        await dial(
            "127.0.0.1",
            sock.getsockname()[1],
            lambda: Link(pair.relays[0], ClientHandshake(keys[0], keys[1].id), pair.here, split=split),
        )
        await pair.here.wait_opened()
        await pair.there.wait_opened()
        yield pair
    finally:
        server.close()
        for peer in (pair.here, pair.there):
            if peer._link is not None:
                peer.link.abort()
                await peer.wait_closed()
    await eventually(lambda: asyncio.all_tasks() <= tasks | {asyncio.current_task()})
    await eventually(lambda: pair.lent == 0)
    await eventually(lambda: not pair.here._tasks and not pair.there._tasks)
    for peer in (pair.here, pair.there):
        assert not peer._streams and not peer._tunnels and not peer._answers and not peer._tasks
        assert peer.mux.open_streams == 0

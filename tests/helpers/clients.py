"""Room clients around a living room, whose events are kept; and a look at what they leave behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import psutil

from ssbfast.client.room_client import RoomClient
from ssbfast.keys import Keypair
from ssbfast.net.api import Api
from ssbfast.net.peer import Peer
from ssbfast.net.stream import Stream
from tests.helpers.rawpeer import eventually
from tests.helpers.served_room import ServedRoom, served_room


def echo_api() -> Api:
    api = Api()

    @api.call("add")
    async def add(_peer: Peer, a: int, b: int) -> int:
        return a + b

    @api.duplex("echo")
    async def echo(_peer: Peer, stream: Stream) -> None:
        async for item in stream:
            await stream.send(item)

    return api


class RecordingClient(RoomClient):
    """A client that keeps its events."""

    def __init__(self, me: Keypair | None = None, **options: Any) -> None:
        self.events: list[dict[str, Any]] = []
        super().__init__(me or Keypair.generate(), api=echo_api(), on_event=self.events.append, **options)

    def named(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == name]

    async def told(self, name: str, count: int = 1) -> dict[str, Any]:
        """The `count`-th event of that name, when it comes."""
        await eventually(lambda: len(self.named(name)) >= count)
        return self.named(name)[count - 1]


class RoomWithClients:
    """A room, and clients that leave before it closes."""

    def __init__(self, room: ServedRoom, stack: AsyncExitStack) -> None:
        self.room = room
        self.id = room.server.me.id
        self.address = room.server.address
        self._stack = stack

    async def client(self, me: Keypair | None = None, *, join: bool = True, **options: Any) -> RecordingClient:
        client = await self._stack.enter_async_context(RecordingClient(me, **options))
        if join:
            await client.join(self.address)
        return client


@asynccontextmanager
async def room_with_clients(**options: Any) -> AsyncIterator[RoomWithClients]:
    async with served_room(**options) as room, AsyncExitStack() as stack:
        yield RoomWithClients(room, stack)


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Whatever happens inside: afterwards there are no more tasks and descriptors than before."""
    tasks, descriptors = asyncio.all_tasks(), psutil.Process().num_fds()
    yield
    await eventually(lambda: asyncio.all_tasks() <= tasks)
    gc.collect()
    await eventually(lambda: psutil.Process().num_fds() <= descriptors)

"""A room on a real socket of this machine, with whoever a test brings; nothing may be left of it afterwards."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psutil

from ssbfast.keys import Keypair
from ssbfast.net.endpoints import Endpoint
from ssbfast.net.relay import Relay
from ssbfast.server.limit_table import DELAYED, LIMITS, RoomCaps
from ssbfast.server.room_server import RoomServer
from tests.helpers.rawpeer import RawPeer, RawTunnel, eventually

LOCAL = Endpoint("127.0.0.1", 0)
LAVISH = RoomCaps(
    {name: limit.most for name, limit in LIMITS.items() if name.startswith((*DELAYED, "sessions_per_key"))}
)
"""Caps of a room in which one peer may do in a second what others do in an hour."""


class ServedRoom:
    """server, its events so far, and a relay that all raw peers of the test share."""

    def __init__(self, **options: Any) -> None:
        self.events: list[dict[str, Any]] = []
        self.server = RoomServer(Keypair.generate(), listen=[LOCAL], on_event=self.events.append, **options)
        self.relay = Relay(pool=64 * 1024 * 1024, stall_seconds=60)
        self.peers: list[RawPeer] = []

    async def raw(self, me: Keypair | None = None, *, announce: bool = True, split: bool = False) -> RawPeer:
        peer = RawPeer(me or Keypair.generate(), self.relay)
        self.peers.append(peer)
        return await peer.join(self.server.port, self.server.me.id, announce=announce, split=split)

    async def tunnel(self, caller: RawPeer, target: RawPeer) -> tuple[RawTunnel, RawTunnel]:
        """Both ends of a new tunnel."""
        here = caller.connect(self.server.me.id, target.id)
        return here, await target.accept()

    def named(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == name]

    @property
    def splices(self) -> int:
        return sum(len(session.splices) for session in self.server._sessions.values())

    async def is_empty(self) -> None:
        """Everybody is gone, and nothing is left of them."""
        relay, server = self.server.relay, self.server
        await eventually(lambda: not server._sessions and not server.limits.connections)
        await eventually(lambda: not relay.turns.is_busy)
        assert not server.limits.sessions and not server.limits.tunnels
        assert len(server.portal) == 0
        await eventually(lambda: relay.hub.lent == 0)
        await eventually(lambda: not relay._links and not relay._outlets and not relay._waiting)


@asynccontextmanager
async def served_room(**options: Any) -> AsyncIterator[ServedRoom]:
    """Open a room; at the end everybody leaves, and no task, file descriptor or queue memory may be left."""
    tasks = asyncio.all_tasks()
    room = ServedRoom(**options)
    before = psutil.Process().num_fds()
    async with room.server:
        yield room
        for peer in room.peers:
            if not peer.gone.is_set():
                peer.link.release(peer)
                peer.link.abort()
        await room.is_empty()
    await eventually(lambda: asyncio.all_tasks() <= tasks | {asyncio.current_task()})
    gc.collect()
    await eventually(lambda: psutil.Process().num_fds() <= before)
    await eventually(lambda: room.relay.hub.lent == 0)

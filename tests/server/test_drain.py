"""A room that ends: whoever is idle leaves, tunnels go on for a while, and nobody new gets in."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.helpers.rawpeer import eventually, settle
from tests.helpers.served_room import served_room


async def test_idle_sessions_leave_and_tunnels_end_by_themselves() -> None:
    async with served_room() as room:
        target, caller, idle, other = [await room.raw() for _ in range(4)]
        here, there = await room.tunnel(caller, target)
        draining = asyncio.create_task(room.server.drain(60))
        await eventually(lambda: idle.gone.is_set() and other.gone.is_set())
        assert (idle.error, other.error) == (None, None), "they heard a goodbye"
        here.write(b"x" * 100_000)
        await there.read(100_000)
        assert not draining.done() and not target.gone.is_set() and not caller.gone.is_set()
        here.end()
        there.end()
        await draining
        assert (target.error, caller.error) == (None, None)
        assert room.named("draining") == [{"event": "draining", "seconds": 60, "sessions": 4, "tunnels": 1}]


async def test_the_time_of_tunnels_ends() -> None:
    async with served_room() as room:
        target, caller = await room.raw(), await room.raw()
        await room.tunnel(caller, target)
        await room.server.drain(0.2)
        assert not target.gone.is_set() and len(room.server.limits.tunnels) == 1, "closing is what ends it"
        await room.server.drain(0)


async def test_nobody_new_gets_in() -> None:
    async with served_room() as room:
        port = room.server.port
        await room.server.drain()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
        assert room.server.take_connection("127.0.0.1") is None
        assert room.server.is_draining and room.server.sockets == ()


async def test_a_handshake_that_has_begun_is_finished() -> None:
    async with served_room() as room:
        silent = socket.create_connection(("127.0.0.1", room.server.port))
        await eventually(lambda: len(room.server.limits.connections) == 1)
        draining = asyncio.create_task(room.server.drain(60))
        await settle()
        assert not draining.done()
        silent.close()
        await draining


async def test_a_session_that_has_just_come_has_a_moment() -> None:
    async with served_room() as room:
        peer = await room.raw()
        await room.server.drain(0.3, grace=60)
        assert not peer.gone.is_set()
        await room.server.drain(60, grace=0)
        await eventually(peer.gone.is_set)


async def test_a_crowd_does_not_leave_in_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssbfast.limits.DRAIN_STEP", 60.0)
    async with served_room() as room:
        peers = [await room.raw(announce=False) for _ in range(8)]
        draining = asyncio.create_task(room.server.drain())
        await eventually(lambda: any(peer.gone.is_set() for peer in peers))
        assert sum(peer.gone.is_set() for peer in peers) < 8
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)

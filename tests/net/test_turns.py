"""A storm of handshakes beside a tunnel that moves data: bounded work a tick, counted and not timed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import Counter

import pytest

from ssbfast import limits
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.limits import MiB
from ssbfast.net.handshaking import Handshaking
from ssbfast.net.turns import Turns
from ssbfast.wire.handshake import ClientHandshake, Send
from tests.helpers.livingroom import living_room
from tests.helpers.rawpeer import eventually

CALLERS = 60
"""Below HANDSHAKES_PER_ADDRESS."""


class Caller:
    """One that knocks over a real socket."""

    def __init__(self, room: FeedId, port: int) -> None:
        self._shaking = ClientHandshake(Keypair.generate(), room)
        self._loop = asyncio.get_running_loop()
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setblocking(False)
        self.sock.send(self._shaking.start())
        self.third = b""

    async def prepare(self) -> None:
        """Up to message 3, which is not sent."""
        (send,) = self._shaking.receive(await self._loop.sock_recv(self.sock, 64))
        assert isinstance(send, Send)
        self.third = send.data

    async def finish(self) -> None:
        assert self._shaking.receive(await self._loop.sock_recv(self.sock, 80))
        self.sock.close()


async def test_a_storm_is_taken_in_turns_and_a_tunnel_moves_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    async with living_room() as room:
        here, there = await room.tunnel(await room.raw(), await room.raw())
        loop = asyncio.get_running_loop()
        callers = [Caller(room.server.me.id, room.server.port) for _ in range(CALLERS)]
        await asyncio.gather(*(caller.prepare() for caller in callers))
        steps: Counter[int] = Counter()
        moved: list[int] = []
        ticks = 0

        def tick() -> None:
            nonlocal ticks
            ticks += 1
            if len(moved) < CALLERS:
                loop.call_soon(tick)

        def counted(self: Handshaking, data: bytes) -> None:
            steps[ticks] += 1
            moved.append(there.count)
            take(self, data)

        take = Handshaking._take
        monkeypatch.setattr(Handshaking, "_take", counted)
        data = os.urandom(4 * MiB)
        here.write(data)
        tick()
        for caller in callers:  # all in one turn of the loop
            caller.sock.send(caller.third)
        await asyncio.gather(*(caller.finish() for caller in callers))
        assert sum(steps.values()) == CALLERS
        assert max(steps.values()) <= limits.HANDSHAKE_STEPS
        assert moved[0] < moved[-1]
        assert await there.read(len(data)) == data


async def test_who_says_too_much_before_his_turn_is_refused() -> None:
    async with living_room() as room:
        reader, writer = await asyncio.open_connection("127.0.0.1", room.server.port)
        writer.write(bytes(4 * limits.EARLY_BYTES))
        with contextlib.suppress(ConnectionError):  # it did not read all of that
            assert await reader.read() == b""
        writer.close()
        await eventually(lambda: room.server.gate.inside == 0)


async def test_keys_are_made_in_advance_and_wiped() -> None:
    turns = Turns(asyncio.get_running_loop())
    assert turns.ephemeral() is None
    await eventually(lambda: len(turns._keys) == limits.EPHEMERALS)
    one, other = turns.ephemeral(), turns.ephemeral()
    assert one is not None and other is not None and one.public != other.public
    left = turns._keys[0]
    turns.close()
    assert not any(left._secret) and turns._keys == []
    assert any(one._secret)  # taken: it is the handshake's to wipe


async def test_no_keys_are_made_while_somebody_waits_for_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns(asyncio.get_running_loop())
    taken: list[int] = []
    for i in range(3 * limits.HANDSHAKE_STEPS):
        turns.queue(lambda i=i: taken.append(i))  # type: ignore[misc]
    turns._make()
    assert not turns._keys
    await asyncio.sleep(0)
    assert len(taken) == limits.HANDSHAKE_STEPS
    await eventually(lambda: taken == list(range(3 * limits.HANDSHAKE_STEPS)))
    turns.close()

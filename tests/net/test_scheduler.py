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
from ssbfast.net.ephemeral_keys import Ephemerals
from ssbfast.net.handshake_driver import Handshaking
from ssbfast.net.scheduler import LoopTurns
from ssbfast.wire.handshake import ClientHandshake, Send
from tests.helpers.rawpeer import eventually
from tests.helpers.served_room import served_room

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
    async with served_room() as room:
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
    async with served_room() as room:
        reader, writer = await asyncio.open_connection("127.0.0.1", room.server.port)
        writer.write(bytes(4 * limits.EARLY_BYTES))
        with contextlib.suppress(ConnectionError):  # it did not read all of that
            assert await reader.read() == b""
        writer.close()
        await eventually(lambda: not room.server.limits.connections)


async def test_keys_are_made_in_advance_and_wiped() -> None:
    keys = Ephemerals(asyncio.get_running_loop(), lambda: False)
    assert keys.take() is None
    await eventually(lambda: len(keys._keys) == limits.EPHEMERALS)
    one, other = keys.take(), keys.take()
    assert one is not None and other is not None and one.public != other.public
    left = keys._keys[0]
    keys.close()
    assert not any(left._secret) and keys._keys == []
    assert any(one._secret)  # taken: it is the handshake's to wipe


async def test_no_keys_are_made_while_somebody_waits_for_a_turn() -> None:
    turns = LoopTurns(asyncio.get_running_loop())
    keys = Ephemerals(asyncio.get_running_loop(), lambda: turns.is_busy)
    share, taken = turns.share(), []
    for i in range(3 * limits.HANDSHAKE_STEPS):
        turns.queue(share, lambda i=i: taken.append(i))  # type: ignore[misc]
    keys._make()
    assert not keys._keys
    await asyncio.sleep(0)
    assert 0 < len(taken) <= limits.HANDSHAKE_STEPS
    await eventually(lambda: taken == list(range(3 * limits.HANDSHAKE_STEPS)))
    keys.close()


async def test_work_that_fails_ends_nobody_elses() -> None:
    loop = asyncio.get_running_loop()
    turns, told, done = LoopTurns(loop), [], []
    loop.set_exception_handler(lambda _loop, context: told.append(context["exception"]))
    turns.queue(turns.share(), lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    turns.queue(turns.share(), lambda: done.append(1))
    await eventually(lambda: done)
    assert isinstance(told[0], ZeroDivisionError) and not turns.is_busy

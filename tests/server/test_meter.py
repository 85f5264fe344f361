"""Limits on bytes: bounded, fair, and nothing at all where none is set."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.ids import FeedId
from ssbfast.server.inbound import Inbound, MeteredInbound
from ssbfast.server.limit_table import RoomCaps
from ssbfast.server.meter import Meter
from tests.helpers.rawpeer import eventually
from tests.helpers.served_room import served_room

KEYS = [FeedId(bytes([n]) * 32) for n in range(9)]
STEP = 0.01
MB = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.now = 100.0


def sent_by(
    caps: dict[str, float], demands: dict[tuple[int, str], float], seconds: float
) -> tuple[dict[int, int], Counter[str]]:
    """What senders get through that want to send so many bytes a second; each waits as it is told.

    demands: by number of a key, and network.
    """
    clock, reached = Clock(), Counter[str]()
    meter = Meter(RoomCaps(caps), lambda: clock.now, lambda name: reached.update([name]))
    sent: dict[int, int] = Counter()
    ready = dict.fromkeys(demands, clock.now)
    owing = dict.fromkeys(demands, 0.0)
    end = clock.now + seconds
    while clock.now < end:
        for who, demand in demands.items():
            owing[who] = min(owing[who] + demand * STEP, demand)
            while clock.now >= ready[who] and owing[who] >= 1:
                n = int(min(owing[who], meter.piece))
                owing[who] -= n
                sent[who[0]] += n
                ready[who] = clock.now + meter.sent(KEYS[who[0]], who[1], n)
        clock.now += STEP
    return sent, reached


def test_a_key_sends_its_rate_and_one_second_at_once_whatever_its_addresses_are() -> None:
    sent, reached = sent_by({"bytes_per_key": MB}, {(1, "a"): 20 * MB, (1, "b"): 20 * MB, (2, "a"): MB / 2}, 10)
    assert 10 * MB <= sent[1] <= 11.2 * MB
    assert sent[2] == pytest.approx(5 * MB, rel=0.01)
    assert set(reached) == {"bytes_per_key"}


def test_of_the_whole_the_modest_have_what_they_want_and_the_greedy_share_the_rest() -> None:
    demands = {(1, "a"): 50.0 * MB, (2, "b"): 50.0 * MB, (3, "c"): MB}
    sent, reached = sent_by({"bytes": 9 * MB}, demands, 10)
    assert sent[3] == pytest.approx(10 * MB, rel=0.01)
    assert sent[1] == pytest.approx(sent[2], rel=0.15)
    assert 90 * MB <= sum(sent.values()) <= 101 * MB
    assert set(reached) == {"bytes"}


def test_many_keys_of_one_address_have_one_share() -> None:
    demands = {(n, "crowd"): 50.0 * MB for n in range(1, 8)}
    sent, _ = sent_by({"bytes": 8 * MB}, {**demands, (0, "alone"): 3.5 * MB}, 10)
    assert sent[0] == pytest.approx(35 * MB, rel=0.02)
    assert sum(sent.values()) <= (10 + 2) * 8 * MB


def test_what_nobody_else_wants_one_may_have() -> None:
    sent, _ = sent_by({"bytes": 8 * MB}, {(1, "a"): 50.0 * MB}, 10)
    assert 80 * MB <= sent[1] <= 89 * MB


def test_keys_that_are_done_are_forgotten() -> None:
    clock = Clock()
    meter = Meter(RoomCaps({"bytes": MB, "bytes_per_key": MB}), lambda: clock.now, lambda _name: None)
    for key in KEYS:
        assert meter.sent(key, str(key)[:2], 1000) == 0
    clock.now += 2 * limits.METER_SECONDS
    meter.sent(KEYS[0], "other", 1000)
    assert list(meter._senders) == [KEYS[0]]
    assert meter._keys_of == {"other": 1}


# ---------------------------------------------------------------- in a room


async def test_without_limits_nothing_is_measured() -> None:
    async with served_room() as room:
        await room.raw()
        assert room.server.limits.meter is None
        assert [type(session.link) for session in room.server._sessions.values()] == [Inbound]


LIMITS = ("bytes", "bytes_per_key", "bytes_per_tunnel")
RATE = 400_000


@pytest.mark.parametrize("name", LIMITS)
async def test_what_is_sent_beyond_the_rate_comes_whole_and_late(name: str) -> None:
    async with served_room(caps=RoomCaps({name: RATE})) as room:
        caller, target = await room.raw(), await room.raw()
        here, there = await room.tunnel(caller, target)
        loop, data = asyncio.get_running_loop(), os.urandom(2 * RATE)
        began = loop.time()
        here.write(data)
        assert await there.read(len(data)) == data
        assert loop.time() - began >= 0.8  # a second's worth beyond the burst
        assert set(room.server.limits.tally.total) == {name}


@pytest.mark.parametrize("name", LIMITS)
async def test_a_sender_that_waits_makes_no_other_wait(name: str) -> None:
    async with served_room(caps=RoomCaps({name: RATE})) as room:
        greedy, target, modest, other = [await room.raw() for _ in range(4)]
        assert all(type(session.link) is MeteredInbound for session in room.server._sessions.values())
        here, there = await room.tunnel(greedy, target)
        here.write(bytes(100 * RATE))
        await eventually(lambda: room.server.limits.tally.total.get(name, 0) > 0)
        for _ in range(5):
            near, far = await room.tunnel(modest, other)
            near.write(bytes(2000))
            await far.read(2000)
        assert await target.call("whoami"), "who receives does not wait"
        assert len(there.received) < 50 * RATE


async def test_each_tunnel_and_each_direction_has_a_rate_of_its_own() -> None:
    rate = 400_000
    async with served_room(caps=RoomCaps({"bytes_per_tunnel": rate})) as room:
        caller, target = await room.raw(), await room.raw()
        pairs = [await room.tunnel(caller, target) for _ in range(3)]
        for here, there in pairs:
            here.write(bytes(rate // 2))
            there.write(bytes(rate // 2))
        for here, there in pairs:
            await eventually(lambda h=here, t=there: len(h.received) == len(t.received) == rate // 2)  # type: ignore[misc]
        assert not room.server.limits.tally.total


async def test_a_session_that_waits_leaves_at_once() -> None:
    async with served_room(caps=RoomCaps({"bytes_per_key": limits.METER_LEAST})) as room:
        caller, target = await room.raw(), await room.raw()
        here, _there = await room.tunnel(caller, target)
        here.write(bytes(100 * limits.METER_LEAST))
        await eventually(lambda: bool(room.server.limits.tally.total))
        session: Any = next(iter(room.server._sessions.values()))
        assert session.link.is_held
        session.link.close()
        assert not session.link.is_held

"""Sessions cut at every step of their way out of the room and back: nothing is left of any of them, at either end."""

from __future__ import annotations

import asyncio
import gc
import os
import random
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.budgets import NO_DELAY, Rates
from ssbfast.direct.budgets import Resources
from ssbfast.net.stun_server import Limiter
from tests.helpers.cuts import HOW, LOST, Cut, SessionRuns, cutting, descriptors
from tests.helpers.meeting import MeetingClients, meeting, paths_of
from tests.helpers.rawpeer import eventually

CUTS = int(os.environ.get("SSBFAST_TEST_CUTS", "112"))
"""A thousand take a minute."""

AFTER = (0.0, 0.0, 0.0005, 0.002, 0.006, 0.012)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends a session's things is to be the end of the session, not a deadline: those of paths never come."""
    for name in ("PUNCH_SECONDS", "DECISION_SECONDS", "OFFER_SECONDS", "PREPARED_SECONDS"):
        monkeypatch.setattr(limits, name, 600.0)
    for name, seconds in {
        "UPGRADE_SECONDS": 0.05, "DIRECT_FAREWELL_SECONDS": 0.05, "DOWN_SECONDS": 0.05,
        "RECONNECT_FIRST": 0.02, "STANDBY_RETRY_MAX": 0.1, "DIRECT_LOST_SECONDS": 0.2, "DIRECT_PING_BUSY": 0.05,
        "GOODBYE_SECONDS": 1.0,
    }.items():  # fmt: skip
        monkeypatch.setattr(limits, name, seconds)
    # The room has patience with a peer that opens a tunnel every 20 ms, and asks where it is.
    monkeypatch.setattr(Rates, "spend", lambda *_args: NO_DELAY)
    monkeypatch.setattr(Limiter, "allows", lambda *_args: True)


@pytest.mark.slow
@pytest.mark.timeout(600 + CUTS)
@pytest.mark.parametrize(("how", "cuts"), [(HOW, CUTS), (LOST, max(CUTS // 16, 2))], ids=["sessions", "rooms"])
async def test_cuts_at_every_step_leave_no_socket_no_task_and_no_traceback(how: tuple[str, ...], cuts: int) -> None:
    loop, rng = asyncio.get_running_loop(), random.Random(7)
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: told.append(context))
    async with cutting() as blade, meeting(connect=False) as met:
        lives = SessionRuns(met, blade)
        total = max([await lives.whole() for _ in range(3)])
        await nothing_is_left(met)
        tasks, files = asyncio.all_tasks(), descriptors()
        for number in range(cuts):
            moment = (number // len(how)) * total // (cuts // len(how))
            await lives.cut(Cut(moment, how[number % len(how)], rng.choice(AFTER)))
            assert not told, told
        await eventually(lambda: met.caller.rooms and met.target.rooms)
        await nothing_is_left(met)
        await eventually(lambda: len(asyncio.all_tasks()) <= len(tasks))
        gc.collect()
        assert descriptors() <= files
        assert not told


async def nothing_is_left(met: MeetingClients) -> None:
    """Neither client has anything of a session that is over."""
    paths = [paths_of(client) for client in (met.caller, met.target)]
    await eventually(lambda: not any(one._by_id or one._by_peer or one._standbys or one._probation for one in paths))
    await eventually(lambda: all(udp.is_closed for udp in met.net.opened))
    await eventually(lambda: not met.server.traffic().open and not met.listener.traffic().open)
    while not met.service.connections.empty():
        met.service.connections.get_nowait().writer.transport.abort()
    resources = Resources.shared()
    assert resources.attempts.total == 0 and resources.sockets.total == 0 and not resources._pace._turns

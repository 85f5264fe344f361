"""Sessions cut at every step of their way out of the room and back: nothing is left of any of them, at either end."""

from __future__ import annotations

import asyncio
import gc
import os
import random
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.net.direct.resources import Resources
from ssbfast.net.reflector import Limiter
from tests.helpers.cuts import HOW, Cut, Lives, cutting, descriptors
from tests.helpers.meeting import meeting, paths_of
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
    monkeypatch.setattr(Limiter, "allows", lambda *_args: True)  # the room's reflector, asked a thousand times


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_cuts_at_every_step_leave_no_socket_no_task_and_no_traceback() -> None:
    loop, rng = asyncio.get_running_loop(), random.Random(7)
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: told.append(context))
    async with cutting() as blade, meeting(connect=False) as met:
        lives = Lives(met, blade)
        total = max([await lives.whole() for _ in range(3)])
        paths = [paths_of(client) for client in (met.caller, met.target)]
        await eventually(lambda: not any(one._by_id for one in paths))
        await eventually(lambda: all(udp.is_closed for udp in met.net.opened))
        tasks, files = asyncio.all_tasks(), descriptors()
        for number in range(CUTS):
            moment = (number // len(HOW)) * total // (CUTS // len(HOW))
            await lives.cut(Cut(moment, HOW[number % len(HOW)], rng.choice(AFTER)))
            assert not told, told
        await eventually(lambda: not any(one._by_id or one._standbys or one._probation for one in paths))
        await eventually(lambda: all(udp.is_closed for udp in met.net.opened))
        await eventually(lambda: asyncio.all_tasks() <= tasks)
        gc.collect()
        assert descriptors() <= files
        assert not told
        resources = Resources.shared()
        assert resources.attempts.total == 0 and resources.sockets.total == 0 and not resources._pace._turns

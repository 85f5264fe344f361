"""Let the sessions of a room leave before the room ends: idle ones spread over a moment, others after their tunnels."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection

from ssbfast import limits
from ssbfast.server.session import RoomSession


async def drain(
    sessions: Callable[[], Collection[RoomSession]], unproven: Callable[[], int], seconds: float, grace: float
) -> None:
    """Say goodbye to all sessions in turn; return when none is left, or the time is over.

    Args:
        sessions: Returns those that are there.
        unproven: Returns how many connections are still in the handshake; they become sessions first.
        seconds: How long tunnels may go on.
        grace: Seconds that a session has at least since its connection came.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    spread = min(limits.DRAIN_SPREAD, seconds, len(sessions()) * limits.DRAIN_STEP)
    while sessions() or unproven():
        passed = loop.time() - began
        if passed >= seconds:
            return
        idle = [one for one in sessions() if one.link.is_open and not one.splices and one.age() >= grace]
        share = limits.DRAIN_TICK / max(spread - passed, limits.DRAIN_TICK)
        for session in idle[: math.ceil(len(idle) * share)]:
            session.link.close()
        await asyncio.sleep(min(limits.DRAIN_TICK, seconds - passed))

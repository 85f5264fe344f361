"""Keep a room joined: from the first attempt until the room is left, however often its session is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from ssbfast import limits
from ssbfast.backoff import Backoff
from ssbfast.client.joined_room import JoinedRoom
from ssbfast.errors import DeadlineError, SessionEndedError, SSBError

Enter = Callable[[JoinedRoom, float], Awaitable[None]]
"""Tries each way to the room once, with so many seconds for each TCP connection. Raises SSBError."""


class Tell(Protocol):
    def __call__(self, event: str, room: JoinedRoom, **members: object) -> None: ...


async def keep(
    room: JoinedRoom,
    enter: Enter,
    tell: Tell,
    *,
    stay: bool,
    wait: bool,
    backoff: Backoff | None = None,
    sleep: Callable[[float], Awaitable[None]] | None = None,
) -> None:
    """Enter the room, and enter it again whenever its session is lost, until it is left.

    stay: come back. wait: go on trying when it cannot be reached at first. `room.first` tells how the first time went.
    Ends when the room is left; when cancelled, nothing is left behind.
    """
    backoff = backoff or Backoff()
    sleep = sleep or asyncio.sleep
    loop = asyncio.get_running_loop()
    seconds = limits.DIAL_SECONDS
    try:
        while True:
            try:
                await enter(room, seconds)
            except SSBError as error:
                if not room.first.done() and not (wait and isinstance(error, DeadlineError | SessionEndedError)):
                    room.first.set_exception(error)
                    return
                problem: SSBError | None = error
            else:
                problem = await _wait_until_lost(room, backoff, tell, loop)
                if not stay:
                    return
            if room.is_leaving:
                return
            pause = backoff.next()
            reason = "goodbye" if problem is None else str(problem)
            room.problem = reason
            tell("reconnecting", room, reason=reason, seconds=round(pause, 3))
            await sleep(pause)
            seconds = limits.RECONNECT_DIAL_SECONDS
    finally:
        await _leave(room)


async def _wait_until_lost(
    room: JoinedRoom, backoff: Backoff, tell: Tell, loop: asyncio.AbstractEventLoop
) -> SSBError | None:
    """Wait until the session is lost; return why it was."""
    if room.is_leaving:
        return None  # a cancellation can get lost in `wait_for`, before Python 3.12
    began = loop.time()
    if not room.first.done():
        room.first.set_result(None)
    if room.is_external:
        tell("external", room)
    elif room.announce is not False:
        tell("announced", room)
    session = room.session
    await session.wait_closed()
    backoff.lasted(loop.time() - began)
    return session.error


async def _leave(room: JoinedRoom) -> None:
    """Close what a cancelled keeper still holds."""
    if room.is_open:
        room.session.link.abort()
        await room.session.wait_closed()

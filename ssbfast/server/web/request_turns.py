"""The order in which requests to a web site begin: one a tick of the loop, so that a room's own work comes between."""

from __future__ import annotations

import asyncio
from collections import deque


class RequestTurns:
    """The turns of all requests, in the order in which they came.

    A request costs a millisecond before it waits for something, and hundreds of connections may bring one at the same
    time: together they would keep every call in the room waiting.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_planned = False

    async def wait(self) -> None:
        """Wait for a turn: the next tick's, when no others wait."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.append(turn)
        if not self._is_planned:
            self._is_planned = True
            loop.call_soon(self._give)
        await turn

    def _give(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # cancelled: the server ends
                turn.set_result(None)
                break
        self._is_planned = bool(self._waiting)
        if self._is_planned:
            asyncio.get_running_loop().call_soon(self._give)

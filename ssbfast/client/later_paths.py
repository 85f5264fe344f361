"""Direct paths that are made ready behind the first sessions, so that the bytes of these need not wait for it.

What direct paths need takes half a second to load. Here nothing of it is loaded before its time, and then in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ssbfast.errors import DirectUnavailableError

if TYPE_CHECKING:
    from ssbfast.net.peer import Peer


class LaterPaths:
    """The sessions that wait for direct paths to be ready.

    seconds: how long the first one has before that. begin: called in the loop once they can be made, before the calls
    that each session has waited for.
    """

    def __init__(self, seconds: float, begin: Callable[[], None]) -> None:
        self._seconds = seconds
        self._begin = begin
        self._waiting: dict[Peer, Callable[[], None]] = {}
        self._hurry = asyncio.Event()
        self._loading: asyncio.Task[None] | None = None

    def add(self, peer: Peer, begun: Callable[[], None]) -> None:
        """Call `begun` once direct paths can be made, unless the session is dropped before."""
        self._waiting[peer] = begun
        if self._loading is None:
            self._loading = asyncio.get_running_loop().create_task(self._load())

    def drop(self, peer: Peer) -> None:
        """Let a session wait no more: it is over, or may not hear our addresses any more."""
        self._waiting.pop(peer, None)

    async def hurry(self) -> None:
        """Load now what is to be loaded for the sessions that wait; return when they have begun."""
        self._hurry.set()
        if self._loading is not None:
            await asyncio.shield(self._loading)

    async def close(self) -> None:
        """Begin nothing any more."""
        self._waiting.clear()
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)

    async def _load(self) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), self._seconds)
        if not await _loaded():
            return  # as where the extra is not installed: sessions stay in the room
        self._begin()
        waiting = list(self._waiting.values())
        self._waiting.clear()
        for begun in waiting:
            begun()


async def _loaded() -> bool:
    """Load what direct paths need, in a thread that holds up no exit; return whether it is there."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[bool] = loop.create_future()

    def tell(is_there: bool) -> None:
        if not found.done():
            found.set_result(is_there)

    def load() -> None:
        try:
            importlib.import_module("ssbfast.client.direct_paths").ready()
            is_there = True
        except DirectUnavailableError:
            is_there = False
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(tell, is_there)

    threading.Thread(target=load, name="direct-paths", daemon=True).start()
    return await found

"""Visits to rooms for one peer there: a room is joined for the first tunnel, and left when none needs it any more."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from ssbfast.client.joined_room import Announce, JoinedRoom
from ssbfast.ids import FeedId


class Join(Protocol):
    """`RoomClient.join`."""

    async def __call__(
        self, address: str, announce: Announce = True, *, stay: bool = True, attendants: bool | None = None
    ) -> JoinedRoom: ...


class Visit:
    """One room. joining: done when we are in. users: how many are opening a tunnel."""

    def __init__(self, room: FeedId, joining: asyncio.Task[JoinedRoom]) -> None:
        self.room = room
        self.joining = joining
        self.users = 0


class Visits:
    """The rooms that one client is in to reach peers there.

    join: joins a room. is_used: returns whether a tunnel of ours goes through a room.
    """

    def __init__(self, join: Join, is_used: Callable[[JoinedRoom], bool]) -> None:
        self._join = join
        self._is_used = is_used
        self._visits: dict[FeedId, Visit] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    def has(self, room: JoinedRoom) -> bool:
        """Return whether we are in a room only to visit."""
        return any(_is_in(visit) and visit.joining.result() is room for visit in self._visits.values())

    @contextlib.asynccontextmanager
    async def visiting(self, room: FeedId, address: str) -> AsyncIterator[JoinedRoom]:
        """Be in a room, to open a tunnel. Several that do so at once share one session with it. address: its."""
        visit = self._visits.get(room)
        if visit is None or (visit.joining.done() and not _is_in(visit)):
            joining = self._join(address, announce=False, stay=False, attendants=False)
            visit = self._visits[room] = Visit(room, asyncio.ensure_future(joining))
        visit.users += 1
        try:
            yield await asyncio.shield(visit.joining)
        finally:
            visit.users -= 1
            self._leave_if_unused(visit)

    def on_closed(self) -> None:
        """Take note that a tunnel has ended, whichever it was: leave the rooms that no tunnel goes through."""
        for visit in list(self._visits.values()):
            self._leave_if_unused(visit)

    async def close(self) -> None:
        """Leave all rooms."""
        for visit in self._visits.values():
            visit.joining.cancel()
        await asyncio.gather(*(visit.joining for visit in self._visits.values()), return_exceptions=True)
        self._visits.clear()
        await asyncio.gather(*self._leaving, return_exceptions=True)

    def _leave_if_unused(self, visit: Visit) -> None:
        if visit.users > 0 or (_is_in(visit) and self._is_used(visit.joining.result())):
            return
        if self._visits.get(visit.room) is visit:
            del self._visits[visit.room]
        if _is_in(visit):
            visit.joining.result().is_leaving = True  # nobody else begins anything there
        leaving = asyncio.ensure_future(_leave(visit.joining))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)


def _is_in(visit: Visit) -> bool:
    """Return whether we are in the room (and not: on the way, or lost)."""
    joining = visit.joining
    return joining.done() and not joining.cancelled() and joining.exception() is None and joining.result().is_open


async def _leave(joining: asyncio.Task[JoinedRoom]) -> None:
    if not joining.done():
        joining.cancel()
    await asyncio.wait((joining,))
    if not joining.cancelled() and joining.exception() is None:
        await joining.result().leave()

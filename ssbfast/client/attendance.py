"""Who comes and goes at a room, as its clients are told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeVar

from ssbfast import limits
from ssbfast.errors import FeedIdError
from ssbfast.ids import FeedId

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Attendance:
    """Somebody came to a room, or left it."""

    id: FeedId
    present: bool


class Changes:
    """What one listener has not been told yet. present: who is there at the beginning.

    A change that takes back an untold one removes it, so that a slow listener never has more waiting than there are
    people, gone ones included. A listener that never waits lets others have their turn all the same.
    """

    def __init__(self, present: Iterable[FeedId]) -> None:
        self._untold = dict.fromkeys(sorted(present, key=attrgetter("key")), True)
        self._news = asyncio.Event()
        self._ended = False
        self._told = 0

    def __len__(self) -> int:
        return len(self._untold)

    def tell(self, who: FeedId, present: bool) -> None:
        if self._untold.pop(who, None) is None:
            self._untold[who] = present
            self._news.set()

    def end(self) -> None:
        """Nothing more comes."""
        self._ended = True
        self._news.set()

    async def next(self) -> Attendance | None:
        """The next change; None at the end."""
        self._told += 1
        if self._told % limits.ATTENDANCE_EVENTS == 0:
            await asyncio.sleep(0)
        while not self._untold:
            if self._ended:
                return None
            self._news.clear()
            await self._news.wait()
        who = next(iter(self._untold))
        return Attendance(who, self._untold.pop(who))


class Pace:
    """How fast one room's list is read: `ATTENDANCE_EVENTS` at a time, then everybody else has a turn.

    What the room sends meanwhile waits in the stream's inbox, and then at the room.
    """

    def __init__(self) -> None:
        self._left = limits.ATTENDANCE_EVENTS

    async def spend(self, events: int) -> None:
        """So many events were dealt with: pause if that were enough for this turn."""
        self._left -= events
        if self._left <= 0:
            self._left = limits.ATTENDANCE_EVENTS
            await asyncio.sleep(limits.ATTENDANCE_PAUSE_SECONDS)


def slices(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut into pieces for one turn each."""
    for at in range(0, len(items), limits.ATTENDANCE_EVENTS):
        yield items[at : at + limits.ATTENDANCE_EVENTS]


def feed_ids(texts: Sequence[Any]) -> list[FeedId]:
    """Return those of a peer's texts that are feed ids."""
    found: list[FeedId] = []
    for text in texts:
        try:
            found.append(FeedId.parse(text))
        except FeedIdError:
            continue
    return found

"""Who comes and goes at a room, as its clients are told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ssbfast import limits
from ssbfast.errors import FeedIdError
from ssbfast.ids import FeedId


@dataclass(frozen=True, slots=True)
class Attendance:
    """Somebody came to a room, or left it."""

    id: FeedId
    present: bool


class Changes:
    """What one listener has not been told yet. present: who is there at the beginning.

    A change that takes back an untold one removes it, so that a slow listener never has more waiting than there are
    people.
    """

    def __init__(self, present: Iterable[FeedId]) -> None:
        self._untold = dict.fromkeys(sorted(present), True)
        self._news = asyncio.Event()
        self._ended = False

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
        while not self._untold:
            if self._ended:
                return None
            self._news.clear()
            await self._news.wait()
        who = next(iter(self._untold))
        return Attendance(who, self._untold.pop(who))


def feed_ids(texts: Any) -> set[FeedId]:
    """Those of a peer's texts that are feed ids, as many as a room may have attendants."""
    found: set[FeedId] = set()
    for text in texts if isinstance(texts, list) else ():
        try:
            found.add(FeedId.parse(text))
        except FeedIdError:
            continue
        if len(found) >= limits.ATTENDANTS:
            break
    return found

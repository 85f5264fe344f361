"""Why keys were refused last, for moderators: in memory, bounded, and without addresses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from ssbfast import limits
from ssbfast.budgets import Caps, Places, Rings
from ssbfast.ids import FeedId


class Why(Enum):
    """Why a proven key got no session."""

    BLOCKED = "blocked"
    STRANGER = "stranger"
    NO_PLACE = "no place"

    @property
    def label(self) -> str:
        """Return it as a label of measurements."""
        return self.value.replace(" ", "_")


@dataclass(frozen=True, slots=True, eq=False)
class Refusal:
    """The last refusal of a key. time: seconds since 1970."""

    feed: FeedId
    why: Why
    time: float


class Refusals:
    """The last refusals of a room, one a key. A network has so many: its oldest gives way.

    now: the wall clock, in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._of: dict[FeedId, Refusal] = {}
        caps = Caps(limits.REFUSALS_KEPT, limits.REFUSALS_KEPT_PER_ADDRESS)
        self._places: Places[Refusal] = Places("refusals", caps, lambda refusal: refusal.time)

    def add(self, feed: FeedId, networks: Rings, why: Why) -> None:
        """Note that a key was refused just now."""
        self._remove(self._of.get(feed))
        self._remove(self._places.ask(networks).leaves)
        refusal = self._of[feed] = Refusal(feed, why, self._now())
        self._places.add(refusal, networks)

    def last(self, feed: FeedId) -> Refusal | None:
        """Return the last refusal of a key, if it is kept."""
        return self._of.get(feed)

    def latest(self) -> list[Refusal]:
        """Return all that are kept, the newest first."""
        return sorted(self._of.values(), key=lambda refusal: -refusal.time)

    def _remove(self, refusal: Refusal | None) -> None:
        if refusal is not None:
            del self._of[refusal.feed]
            self._places.remove(refusal)

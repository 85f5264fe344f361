"""Slots that many origins share: the origin that takes the most loses first.

`Slots` holds what a stranger may make us hold: unfinished handshakes, refused callers, sessions. It says which entry
has to go when a new one finds no room. Adding and removing take constant time, however many entries there are.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Slots(Generic[T]):
    """Hold at most `most` entries, and at most `per_origin` of one origin.

    A new entry is always taken. When its origin is at its limit, the oldest of that origin goes. When all slots are
    taken, entries of the lowest rank go first; among them the origin with the most loses its oldest.

    most, per_origin: counts. Origin None is no origin: it has all slots, but is as greedy as any other.
    is_spare: whether an entry can go with little harm; of an origin that loses one, the oldest of these is preferred.
    """

    def __init__(self, most: int, per_origin: int, *, is_spare: Callable[[T], bool] | None = None) -> None:
        self._most = most
        self._per_origin = per_origin
        self._is_spare = is_spare
        self._where: dict[T, tuple[int, Hashable]] = {}
        self._ranks: dict[int, _Rank[T]] = {}
        self._held: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        return len(self._where)

    def __iter__(self) -> Iterator[T]:
        return iter(self._where)

    def __contains__(self, entry: object) -> bool:
        return entry in self._where

    def add(self, entry: T, origin: Hashable, rank: int = 0) -> T | None:
        """Add an entry; return the one that loses its slot for it, which is forgotten already.

        rank: entries of a higher one keep their slots longer.
        """
        gone = self._make_room(origin)
        self._put(entry, origin, rank)
        return gone

    def move(self, entry: T, rank: int) -> None:
        """Give an entry another rank; there it is the newest. Harmless when it has gone."""
        where = self._where.get(entry)
        if where is not None and where[0] != rank:
            self.discard(entry)
            self._put(entry, where[1], rank)

    def discard(self, entry: T) -> None:
        """Free the slot of an entry. Harmless when it has gone."""
        where = self._where.pop(entry, None)
        if where is None:
            return
        number, origin = where
        rank = self._ranks[number]
        rank.remove(entry, origin)
        if not rank.groups:
            del self._ranks[number]
        self._held[origin] -= 1
        if not self._held[origin]:
            del self._held[origin]

    # ------------------------------------------------------------ inside

    def _put(self, entry: T, origin: Hashable, number: int) -> None:
        rank = self._ranks.get(number)
        if rank is None:
            rank = self._ranks[number] = _Rank()
        rank.add(entry, origin)
        self._where[entry] = number, origin
        self._held[origin] += 1

    def _make_room(self, origin: Hashable) -> T | None:
        gone: T | None = None
        if origin is not None and self._held[origin] >= self._per_origin:
            gone = self._of_origin(origin)
        elif len(self._where) >= self._most:
            gone = self._of_greediest()
        if gone is not None:
            self.discard(gone)
        return gone

    def _of_origin(self, origin: Hashable) -> T:
        groups = [rank.groups[origin] for _, rank in sorted(self._ranks.items()) if origin in rank.groups]
        return self._choose(groups)

    def _of_greediest(self) -> T:
        rank = self._ranks[min(self._ranks)]
        return self._choose(rank.groups[origin] for origin in rank.greediest())

    def _choose(self, groups: Iterable[dict[T, None]]) -> T:
        """Return the first entry that is spare; else the oldest of the first group."""
        oldest: T | None = None
        for entry in itertools.chain.from_iterable(groups):
            if self._is_spare is None or self._is_spare(entry):
                return entry
            oldest = entry if oldest is None else oldest
        if oldest is None:
            raise LookupError("no entry")
        return oldest


class _Rank(Generic[T]):
    """The entries of one rank by origin, and the origins by how many entries they have."""

    def __init__(self) -> None:
        self.groups: dict[Hashable, dict[T, None]] = {}
        self._levels: dict[int, dict[Hashable, None]] = {}
        self._top = 0

    def add(self, entry: T, origin: Hashable) -> None:
        group = self.groups.setdefault(origin, {})
        self._leave(origin, len(group))
        group[entry] = None
        self._enter(origin, len(group))

    def remove(self, entry: T, origin: Hashable) -> None:
        group = self.groups[origin]
        self._leave(origin, len(group))
        del group[entry]
        if group:
            self._enter(origin, len(group))
        else:
            del self.groups[origin]
        while self._top and self._top not in self._levels:
            self._top -= 1

    def greediest(self) -> dict[Hashable, None]:
        """Return the origins with the most entries; first the one that has had so many for the longest time."""
        return self._levels[self._top]

    def _enter(self, origin: Hashable, level: int) -> None:
        self._levels.setdefault(level, {})[origin] = None
        self._top = max(self._top, level)

    def _leave(self, origin: Hashable, level: int) -> None:
        if level:
            origins = self._levels[level]
            del origins[origin]
            if not origins:
                del self._levels[level]

"""The shares of scarce resources that attempts may have, for each peer and in all. No I/O; time is passed in.

`Unanswered`      checks that leave for one address while it answers none
`AttemptPlaces`   attempts that have sockets
`SocketPlaces`    UDP sockets of attempts, of birthday searches and of direct paths

A peer is its key: neither more sessions nor more rooms give it more.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ssbfast import limits
from ssbfast.wire.direct.punch.candidates import Address


class Unanswered:
    """Checks sent to addresses that have answered none: few to each address, whichever peers name it, however often.

    What a peer claims may be the address of a third party. Only the answer to a check of ours proves that it is not.
    """

    def __init__(self) -> None:
        self._sent: dict[Address, tuple[int, float]] = {}  # how many, since when; the oldest first

    @property
    def remembered(self) -> int:
        """Return the number of addresses remembered."""
        return len(self._sent)

    def take(self, address: Address, now: float, *, heard: bool = False) -> bool:
        """Let one check leave for that address, or return False.

        heard: an authentic check has come from there, which may be forged, but does more work than harm.
        """
        self._forget(now)
        count, since = self._sent.get(address, (0, now))
        if count >= limits.UNANSWERED_CHECKS * (2 if heard else 1):
            return False
        self._sent[address] = count + 1, since
        return True

    def answered(self, address: Address) -> None:
        """Forget an address: it has answered a check of ours."""
        self._sent.pop(address, None)

    def _forget(self, now: float) -> None:
        while self._sent:
            oldest = next(iter(self._sent))
            is_old = now - self._sent[oldest][1] >= limits.UNANSWERED_SECONDS
            if not is_old and len(self._sent) < limits.UNANSWERED_ADDRESSES:
                return
            del self._sent[oldest]


class Stage(enum.IntEnum):
    """The stage of an attempt. The attempt that is least far along is given up first."""

    SPARE = enum.auto()
    """Made in advance: no peer waits for it."""
    WAITING = enum.auto()
    """Its addresses are told, or are about to be; punching has not begun."""
    PUNCHING = enum.auto()


@dataclass(slots=True, eq=False)
class Place:
    """One attempt's place. stage: set by its owner as it goes on. give_up: ends the attempt, which then leaves."""

    key: bytes = field(repr=False)
    stage: Stage
    give_up: Callable[[], None] = field(repr=False)


class AttemptPlaces:
    """The places of attempts: at most `per_key` with one peer, and `most` in all.

    A peer that has all of its own gives up the one that is least far along, the oldest of those. When all places are
    taken, a spare attempt goes, else one of the peer that has most, if the new one would still have fewer. One that
    punches is given up only so that a peer with none gets one.
    """

    def __init__(self, most: int = limits.ATTEMPTS, per_key: int = limits.ATTEMPTS_PER_KEY) -> None:
        self._most = most
        self._per_key = per_key
        self._places: list[Place] = []  # the oldest first

    @property
    def total(self) -> int:
        """Return the number of attempts that have a place."""
        return len(self._places)

    def enter(self, key: bytes, stage: Stage, give_up: Callable[[], None]) -> Place | None:
        """Return a place for an attempt with that peer, None when there is none. Others may be given up for it."""
        held = self.held(key)
        if held >= self._per_key:
            loser = _first(place for place in self._places if place.key == key)
            if loser is None or loser.stage is Stage.PUNCHING or stage is Stage.SPARE:
                return None
            loser.give_up()
        elif len(self._places) >= self._most:
            loser = None if stage is Stage.SPARE else self._loser(held)
            if loser is None:
                return None
            loser.give_up()
        place = Place(key, stage, give_up)
        self._places.append(place)
        return place

    def leave(self, place: Place) -> None:
        """Free a place; harmless when it was freed already."""
        if place in self._places:
            self._places.remove(place)

    def held(self, key: bytes) -> int:
        """Return the number of places that peer holds."""
        return sum(place.key == key for place in self._places)

    def _loser(self, held: int) -> Place | None:
        """Return the attempt to give up for a peer that has `held` places itself."""
        spare = next((place for place in self._places if place.stage is Stage.SPARE), None)
        if spare is not None:
            return spare
        (greediest, most), *_ = Counter(place.key for place in self._places).most_common(1)
        if most < held + 2:
            return None
        loser = _first(place for place in self._places if place.key == greediest)
        return None if loser is None or (loser.stage is Stage.PUNCHING and held) else loser


class SocketPlaces:
    """The number of UDP sockets that each peer holds.

    A search's sockets count apart, and there is one search at a time.

    most: in all. per_key: with one peer, which may also have no more than a part of what is free. What only repeats a
    farewell is given up when its peer needs the place.
    """

    def __init__(self, most: int, per_key: int = limits.UDP_SOCKETS_PER_KEY) -> None:
        self._most = most
        self._per_key = per_key
        self._held: Counter[bytes] = Counter()
        self._searching: object = None

    @property
    def total(self) -> int:
        """Return the number of sockets held, without those of a search."""
        return self._held.total()

    def held(self, key: bytes) -> int:
        """Return the number of sockets that peer holds."""
        return self._held[key]

    def take(self, key: bytes) -> bool:
        """Let that peer have one more, or return False."""
        free = self._most - self.total
        if self._held[key] >= min(self._per_key, max(free // limits.UDP_SOCKETS_FREE_SHARE, 1)) or free <= 0:
            return False
        self._held[key] += 1
        return True

    def give_back(self, key: bytes) -> None:
        """Note that one socket is closed."""
        self._held[key] -= 1
        if self._held[key] <= 0:
            del self._held[key]

    def begin_search(self, owner: object) -> bool:
        """Let an attempt open the sockets of a search; return False when another one has them."""
        if self._searching is None:
            self._searching = owner
        return self._searching is owner

    def end_search(self, owner: object) -> None:
        """Note that a search's sockets are closed but one, which counts for its peer from now on."""
        if self._searching is owner:
            self._searching = None


def _first(places: Iterable[Place]) -> Place | None:
    """Return the oldest of those that are least far along."""
    return min(places, key=lambda place: place.stage, default=None)

"""The refused connections that are remembered. Identities are free: a crowd of new ones must not flush the log.

Two sections. *Known* keys (followed or blocked by us) are few, and the newest of each stay. *Strangers* have 64
places a room and 1,024 in all, given out by reservoir sampling: each refusal of a stranger has the same chance to be
remembered, early or late, and a caller that sends a flood crowds out only itself. What is not remembered is counted.

Refusals gather in a `Batch`; once a second `plan` decides which of them go into the store, and what goes out for
them. A batch is bounded too: it samples for itself, and `plan` merges two samples into one that is as fair.

Only keys that message 3 has proved get here. Randomness comes from outside: `randbelow(n)` gives 0..n-1.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ssbfast import limits
from ssbfast.ids import FeedId
from ssbfast.room.tunnel_auth import Reason
from ssbfast.wire.address import TunnelAddress, format_address

RandBelow = Callable[[int], int]


@dataclass(frozen=True, slots=True)
class Denial:
    """One refused connection.

    room: the room it came through. origin: the caller's id. time: seconds since 1970.
    known: `origin` was in our follow graph. proven: message 3 has proved the key.
    number: its name in the store, never given twice; None as long as it is not stored.
    alias: the origin's name in the room, as people write it: only once its owner's signature, the owner and the room
        were verified, at `verified_at`.
    """

    room: FeedId
    origin: FeedId
    reason: Reason
    time: float
    known: bool = False
    proven: bool = True
    number: int | None = None
    alias: str | None = None
    verified_at: float | None = None

    @property
    def address(self) -> str | None:
        """Return the origin's tunnel address, if verified: built from the room that we are in and the proven key."""
        return format_address(TunnelAddress(self.room, self.origin)) if self.proven else None


@dataclass(slots=True)
class RoomTally:
    """The counts of one room.

    refused: all refused connections. faults: those in which the room named an origin that was not the proven key.
    population: refusals of strangers that its places were given out among. places: how many it has.
    """

    refused: int = 0
    faults: int = 0
    population: int = 0
    places: int = limits.DENIALS_PER_ROOM


@dataclass(frozen=True, slots=True)
class Row:
    """A remembered denial, as far as decisions need it. number: None for one that is not stored yet."""

    room: FeedId
    origin: FeedId
    number: int | None = None
    denial: Denial | None = field(default=None, repr=False)


class _Sample:
    """A uniform sample, out of `population`, of a batch's refusals of strangers at one room."""

    __slots__ = ("_of_key", "items", "population")

    def __init__(self) -> None:
        self.population = 0
        self.items: list[Denial] = []
        self._of_key: Counter[FeedId] = Counter()

    def add(self, denial: Denial, randbelow: RandBelow) -> None:
        if self._of_key[denial.origin] >= limits.DENIALS_PER_KEY:
            # The same key again and again: it takes its own oldest place, and no chance from others.
            self._drop(next(index for index, item in enumerate(self.items) if item.origin == denial.origin))
            self._keep(denial)
            return
        self.population += 1
        if len(self.items) < limits.DENIALS_PER_ROOM:
            self._keep(denial)
            return
        chosen = randbelow(self.population)
        if chosen < len(self.items):
            self._drop(chosen)
            self._keep(denial)

    def _keep(self, denial: Denial) -> None:
        self.items.append(denial)
        self._of_key[denial.origin] += 1

    def _drop(self, index: int) -> None:
        origin = self.items.pop(index).origin
        self._of_key[origin] -= 1
        if not self._of_key[origin]:
            del self._of_key[origin]


class Batch:
    """Refusals since the last write. Bounded, however many come."""

    def __init__(self, randbelow: RandBelow) -> None:
        self.strangers: dict[FeedId, _Sample] = {}
        self.known: dict[FeedId, deque[Denial]] = {}
        self.refused: Counter[FeedId] = Counter()
        self.faults: Counter[FeedId] = Counter()
        self._randbelow = randbelow

    def __len__(self) -> int:
        """Return how many refusals the batch stands for."""
        return self.refused.total()

    def add(self, denial: Denial) -> None:
        """Note a refused connection. Raise ValueError for a key that was not proven."""
        if not denial.proven:
            raise ValueError("only proven keys are recorded")
        self.refused[denial.room] += 1
        if denial.reason is Reason.MISMATCH:
            self.faults[denial.room] += 1
        if not denial.known:
            sample = self.strangers.setdefault(denial.room, _Sample())
            sample.add(denial, self._randbelow)
            return
        recent = self.known.pop(denial.origin, None) or deque(maxlen=limits.DENIALS_PER_KEY)
        recent.append(denial)
        self.known[denial.origin] = recent  # at the end: the first are those that have been silent for longest
        if len(self.known) > limits.DENIALS_KNOWN:
            del self.known[next(iter(self.known))]

    def denials(self) -> list[Denial]:
        """Return all refusals that the batch holds, of one section after the other."""
        samples = (*(sample.items for sample in self.strangers.values()), *self.known.values())
        return [denial for sample in samples for denial in sample]

    def absorb(self, later: Batch) -> None:
        """Take in a batch that was begun later, after a failed write of this one."""
        refused, faults = self.refused + later.refused, self.faults + later.faults
        populations = {room: sample.population for room, sample in self.strangers.items()}
        for recent in later.known.values():
            for denial in recent:
                self.add(denial)
        for room, sample in later.strangers.items():
            for denial in sample.items:
                self.add(denial)
            self.strangers[room].population = populations.get(room, 0) + sample.population
        self.refused, self.faults = refused, faults


@dataclass(slots=True)
class Plan:
    """The work of one write: `delete` numbers, `insert` in this order, and set the tallies of `rooms`."""

    delete: list[int] = field(default_factory=list)
    insert: list[Denial] = field(default_factory=list)
    rooms: dict[FeedId, RoomTally] = field(default_factory=dict)


def plan(
    batch: Batch,
    randbelow: RandBelow,
    *,
    strangers: Sequence[Row],
    known: Sequence[Row],
    tallies: dict[FeedId, RoomTally],
) -> Plan:
    """Decide what a batch changes.

    strangers, known: the rows of both sections, oldest first. tallies: of every room (missing ones are new).
    The result names every room whose tally has changed; what was passed in is not changed.
    """
    out = Plan(rooms={room: _copy(tally) for room, tally in tallies.items()})
    for room, count in batch.refused.items():
        tally = out.rooms.setdefault(room, RoomTally())
        tally.refused += count
        tally.faults += batch.faults[room]
    kept = _merge_strangers(batch, randbelow, strangers, out.rooms) + _merge_known(batch, known)
    stay = {row.number for row in kept}
    out.delete = [row.number for row in (*strangers, *known) if row.number is not None and row.number not in stay]
    out.insert = sorted((row.denial for row in kept if row.denial is not None), key=lambda denial: denial.time)
    out.rooms = {room: tally for room, tally in out.rooms.items() if tally != tallies.get(room)}
    return out


# ---------------------------------------------------------------- strangers


def _merge_strangers(
    batch: Batch, randbelow: RandBelow, rows: Sequence[Row], rooms: dict[FeedId, RoomTally]
) -> list[Row]:
    kept: dict[FeedId, list[Row]] = {}
    for row in rows:
        kept.setdefault(row.room, []).append(row)
    for room, sample in batch.strangers.items():
        kept[room] = _merge_room(kept.get(room, []), rooms[room], sample, randbelow)
    total = sum(map(len, kept.values()))
    while total > limits.DENIALS_STRANGERS:
        # Places for a new room come from the one that has most. A uniform sample without a random item is one still.
        room = max(kept, key=lambda name: len(kept[name]))
        kept[room].pop(randbelow(len(kept[room])))
        rooms.setdefault(room, RoomTally()).places = len(kept[room])
        total -= 1
    return [row for section in kept.values() for row in section]


def _merge_room(old: list[Row], tally: RoomTally, sample: _Sample, randbelow: RandBelow) -> list[Row]:
    """Merge two uniform samples into one; `tally.population` grows by the new one's."""
    old, fresh, repeats = _set_repeats_apart(old, sample)
    # What was sampled stands for the whole batch: leave out of its population what the repeats stand for.
    population = round(sample.population * len(fresh) / (len(fresh) + repeats)) if fresh else 0
    places = min(tally.places, tally.population + population)
    chosen: list[Row] = []
    stays, comes = tally.population, population
    tally.population += population
    while len(chosen) < places:
        # Draw from both populations together, without putting back: so a place goes to each refusal with one chance.
        if randbelow(stays + comes) < stays:
            stays -= 1
            pool = old
        else:
            comes -= 1
            pool = fresh
        pool = pool or old or fresh
        if not pool:
            break
        chosen.append(pool.pop(randbelow(len(pool))))
    return sorted(chosen, key=_age)


def _set_repeats_apart(old: list[Row], sample: _Sample) -> tuple[list[Row], list[Row], int]:
    """Set apart the newest refusals of keys that have all their places: they replace their own oldest ones."""
    old = list(old)
    fresh: list[Row] = []
    repeats = 0
    of_key = Counter(row.origin for row in old)
    for denial in sample.items:
        row = Row(denial.room, denial.origin, None, denial)
        if of_key[denial.origin] < limits.DENIALS_PER_KEY:
            of_key[denial.origin] += 1
            fresh.append(row)
            continue
        repeats += 1
        pool = old if any(item.origin == denial.origin for item in old) else fresh
        oldest = next(index for index, item in enumerate(pool) if item.origin == denial.origin)
        del pool[oldest]
        pool.append(row)
    return old, fresh, repeats


def _age(row: Row) -> tuple[bool, float]:
    """Order rows by age: stored ones by number, then new ones by time."""
    return (row.number is None, float(row.number) if row.number is not None else row.denial.time if row.denial else 0.0)


# ---------------------------------------------------------------- known keys


def _merge_known(batch: Batch, rows: Sequence[Row]) -> list[Row]:
    """Keep the newest of each key, and of all together."""
    new = [Row(item.room, item.origin, None, item) for recent in batch.known.values() for item in recent]
    everything = [*rows, *sorted(new, key=_age)]
    of_key: Counter[FeedId] = Counter()
    kept: list[Row] = []
    for row in reversed(everything):
        of_key[row.origin] += 1
        if of_key[row.origin] <= limits.DENIALS_PER_KEY and len(kept) < limits.DENIALS_KNOWN:
            kept.append(row)
    return kept[::-1]


def _copy(tally: RoomTally) -> RoomTally:
    return RoomTally(tally.refused, tally.faults, tally.population, tally.places)

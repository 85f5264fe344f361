"""What is remembered of refused connections: bounded, fair to strangers, and never at the cost of known keys."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssbfast import limits
from ssbfast.ids import FeedId
from ssbfast.room.denials import Batch, Denial, Plan, RandBelow, RoomTally, Row, plan
from ssbfast.room.tunnel_auth import Reason
from tests.helpers.rooms import feed

ROOM, OTHER = feed(9_000_001), feed(9_000_002)


def refusal(who: int, room: FeedId = ROOM, known: bool = False, time: float = 0.0) -> Denial:
    reason = Reason.BLOCKED if known else Reason.STRANGER
    return Denial(room, feed(who), reason, time, known)


class Log:
    """A model of the store."""

    def __init__(self, seed: int = 1) -> None:
        self.randbelow: RandBelow = random.Random(seed).randrange
        self.kept: list[Denial] = []
        self.tallies: dict[FeedId, RoomTally] = {}
        self.time = 0.0
        self._last = 0

    def write(self, batch: Batch) -> Plan:
        sections = {
            known: [Row(item.room, item.origin, item.number) for item in self.kept if item.known is known]
            for known in (False, True)
        }
        changes = plan(batch, self.randbelow, strangers=sections[False], known=sections[True], tallies=self.tallies)
        gone = set(changes.delete)
        assert len(gone) == len(changes.delete) and gone <= {item.number for item in self.kept}
        self.kept = [item for item in self.kept if item.number not in gone]
        for denial in changes.insert:
            self._last += 1
            self.kept.append(replace(denial, number=self._last))
        self.tallies.update(changes.rooms)
        self.check()
        return changes

    def check(self) -> None:
        strangers = Counter(item.room for item in self.kept if not item.known)
        known = Counter(item.origin for item in self.kept if item.known)
        assert sum(strangers.values()) <= limits.DENIALS_STRANGERS
        assert max(strangers.values(), default=0) <= limits.DENIALS_PER_ROOM
        assert sum(known.values()) <= limits.DENIALS_KNOWN
        of_key = Counter((item.room if not item.known else None, item.origin) for item in self.kept)
        assert max(of_key.values(), default=0) <= limits.DENIALS_PER_KEY
        for room, tally in self.tallies.items():
            assert strangers[room] <= tally.places
            assert strangers[room] == min(tally.places, tally.population)
            assert tally.refused >= sum(item.room == room for item in self.kept)

    def batch(self, *refusals: Denial) -> Plan:
        batch = Batch(self.randbelow)
        for denial in refusals:
            self.time += 1
            batch.add(replace(denial, time=self.time))
        return self.write(batch)

    def origins(self, room: FeedId = ROOM, known: bool = False) -> list[FeedId]:
        return [item.origin for item in self.kept if item.room == room and item.known is known]


def test_a_few_are_all_kept_in_their_order() -> None:
    log = Log()
    log.batch(refusal(3), refusal(1), refusal(2, known=True), refusal(3))
    log.batch(refusal(4), refusal(1, OTHER))
    assert [item.origin for item in log.kept] == [feed(n) for n in (3, 1, 2, 3, 4, 1)]
    assert [item.number for item in log.kept] == [1, 2, 3, 4, 5, 6]
    assert log.tallies[ROOM] == RoomTally(refused=5, population=4)
    assert log.tallies[OTHER] == RoomTally(refused=1, population=1)


def test_nothing_happened() -> None:
    log = Log()
    log.batch(refusal(1))
    assert log.batch() == Plan()


def test_faults_of_the_room_are_counted() -> None:
    log = Log()
    mismatch = replace(refusal(1), reason=Reason.MISMATCH)
    log.batch(mismatch, refusal(2), replace(mismatch, known=True))
    assert log.tallies[ROOM].faults == 2 and log.tallies[ROOM].refused == 3
    assert [item.reason for item in log.kept] == [Reason.MISMATCH, Reason.STRANGER, Reason.MISMATCH]


def test_unproven_keys_are_not_recorded() -> None:
    batch = Batch(random.Random(1).randrange)
    with pytest.raises(ValueError):
        batch.add(replace(refusal(1), proven=False))
    assert len(batch) == 0


def test_the_address_is_built_from_room_and_proven_key() -> None:
    denial = refusal(1)
    assert denial.address is not None and denial.address.startswith(f"tunnel:{ROOM}:{feed(1)}~shs:")
    assert replace(denial, proven=False).address is None


@pytest.mark.parametrize("batch_size", [1, 50, 100_000])
@pytest.mark.slow
def test_a_hundred_thousand_strangers(batch_size: int) -> None:
    """The log stays bounded throughout, and known peers get in between them."""
    log = Log()
    count = 100_000 if batch_size > 1 else 2_000
    rooms = [feed(8_000_000 + n) for n in range(3)]
    batch = Batch(log.randbelow)
    friends = 0
    for n in range(count):
        batch.add(refusal(n, rooms[n % 3], time=float(n)))
        if n % (count // 10) == 5:
            friends += 1
            batch.add(refusal(7_000_000 + friends, rooms[0], known=True, time=float(n)))
        if (n + 1) % batch_size == 0:
            log.write(batch)
            batch = Batch(log.randbelow)
    assert len(log.kept) == 3 * 64 + 10
    assert log.origins(rooms[0], known=True) == [feed(7_000_001 + n) for n in range(10)]
    assert sum(tally.refused for tally in log.tallies.values()) == count + 10
    assert sum(tally.population for tally in log.tallies.values()) == count


def test_a_batch_is_bounded() -> None:
    batch = Batch(random.Random(1).randrange)
    for n in range(20_000):
        batch.add(refusal(n))
        batch.add(refusal(n % 5000, known=True))
    assert len(batch) == 40_000
    assert len(batch.strangers[ROOM].items) == limits.DENIALS_PER_ROOM
    assert len(batch.known) == limits.DENIALS_KNOWN
    assert max(map(len, batch.known.values())) <= limits.DENIALS_PER_KEY


@pytest.mark.parametrize("batch_size", [1, 7, 40, 400])
@pytest.mark.slow
def test_every_stranger_has_the_same_chance(batch_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Early or late, in a small batch or a big one: 6 of 40 are kept, each in 15 % of the cases."""
    monkeypatch.setattr(limits, "DENIALS_PER_ROOM", 6)
    runs, people = 1_500, 40
    log = Log(2)
    kept: Counter[FeedId] = Counter()
    for _run in range(runs):
        log.kept, log.tallies = [], {ROOM: RoomTally(places=6)}
        for start in range(0, people, batch_size):
            log.batch(*(refusal(n) for n in range(start, min(people, start + batch_size))))
        kept.update(log.origins())
    expected = runs * 6 / people
    assert sum(kept.values()) == runs * 6
    # Chi-squared with 39 degrees of freedom (a little less, drawn without putting back): 80 is p < 0.0002, seed fixed.
    assert sum((kept[feed(n)] - expected) ** 2 / expected for n in range(people)) < 80


def test_rooms_share_the_places_fairly() -> None:
    log = Log()
    rooms = [feed(8_000_000 + n) for n in range(40)]
    for n, room in enumerate(rooms):
        log.batch(*(refusal(1000 * n + k, room) for k in range(70)))
    sizes = [len(log.origins(room)) for room in rooms]
    assert sum(sizes) == limits.DENIALS_STRANGERS
    assert max(sizes) - min(sizes) <= 40 and min(sizes) >= 1024 // 41 - 1
    # The oldest room goes on being sampled in the places that it has left.
    before = set(log.origins(rooms[0]))
    log.batch(*(refusal(500_000 + k, rooms[0]) for k in range(5_000)))
    assert len(log.origins(rooms[0])) == sizes[0]
    assert not before & set(log.origins(rooms[0])) or len(before & set(log.origins(rooms[0]))) < sizes[0]


def test_who_gives_way_to_another_room_is_left_to_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DENIALS_STRANGERS", 12)
    log = Log(3)
    kept: Counter[FeedId] = Counter()
    for _run in range(1_000):
        log.kept, log.tallies = [], {}
        log.batch(*(refusal(n) for n in range(12)))
        log.batch(*(refusal(n, OTHER) for n in range(50, 56)))
        assert len(log.origins()) == len(log.origins(OTHER)) == 6
        kept.update(log.origins())
    assert sum((kept[feed(n)] - 500) ** 2 / 500 for n in range(12)) < 40  # 11 degrees of freedom, seed fixed


def test_more_rooms_than_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DENIALS_STRANGERS", 50)
    log = Log()
    for n in range(limits.DENIALS_STRANGERS + 10):
        log.batch(refusal(n, feed(8_000_000 + n)))
    assert len(log.kept) == limits.DENIALS_STRANGERS
    log.batch(*(refusal(n, feed(8_000_000 + n)) for n in range(100)))


@pytest.mark.parametrize("batch_size", [1, 3, 500])
def test_one_persistent_stranger_does_not_crowd_out_the_others(batch_size: int) -> None:
    log = Log()
    log.batch(*(refusal(n) for n in range(10)))
    for _start in range(0, 500, batch_size):
        log.batch(*(refusal(77) for _ in range(batch_size)))
    log.batch(*(refusal(100 + n) for n in range(10)))
    assert Counter(log.origins()) == Counter(
        {**{feed(n): 1 for n in (*range(10), *range(100, 110))}, feed(77): limits.DENIALS_PER_KEY}
    )
    mine = [item.time for item in log.kept if item.origin == feed(77)]
    assert mine == sorted(mine) and len(mine) == limits.DENIALS_PER_KEY
    assert mine[-1] == max(item.time for item in log.kept if item.origin not in map(feed, range(100, 110)))


def test_known_keys_keep_their_newest() -> None:
    log = Log()
    for _ in range(30):
        log.batch(refusal(1, known=True), refusal(2, OTHER, known=True))
    assert len(log.kept) == 2 * limits.DENIALS_PER_KEY
    assert [item.number for item in log.kept] == list(range(45, 61))


def test_known_keys_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DENIALS_KNOWN", 20)
    log = Log()
    log.batch(refusal(999))
    for n in range(50):
        log.batch(refusal(n, known=True))
    log.batch(*(refusal(n, known=True) for n in range(100, 130)))
    assert log.origins(known=True) == [feed(n) for n in range(110, 130)]
    assert log.origins() == [feed(999)]


def test_a_batch_that_could_not_be_written_takes_in_the_next() -> None:
    log = Log()
    first, second = Batch(log.randbelow), Batch(log.randbelow)
    for n in range(100):
        first.add(refusal(n))
        second.add(refusal(1000 + n))
    second.add(replace(refusal(5, known=True), reason=Reason.MISMATCH))
    second.add(refusal(6, OTHER))
    first.absorb(second)
    assert len(first) == 202
    log.write(first)
    assert log.tallies[ROOM] == RoomTally(refused=201, faults=1, population=200)
    assert log.tallies[OTHER].refused == 1
    assert log.origins(known=True) == [feed(5)]


events = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2), st.booleans()), max_size=40)


@given(st.lists(events, max_size=6), st.integers(0, 1000))
def test_whatever_comes(batches: list[list[tuple[int, int, bool]]], seed: int) -> None:
    """`Log.check` looks after every write."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "DENIALS_PER_ROOM", 4)
        patch.setattr(limits, "DENIALS_STRANGERS", 7)
        patch.setattr(limits, "DENIALS_KNOWN", 5)
        patch.setattr(limits, "DENIALS_PER_KEY", 2)
        log = Log(seed)
        rooms = [ROOM, OTHER, feed(9_000_003)]
        log.tallies = {room: RoomTally(places=4) for room in rooms}
        for batch in batches:
            log.batch(*(refusal(who, rooms[room], known) for who, room, known in batch))
        assert sum(tally.refused for tally in log.tallies.values()) == sum(map(len, batches))

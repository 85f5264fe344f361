"""Slots that origins share: who loses when there are none left."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ssbfast.client.slots import Slots


def test_the_greediest_loses_its_oldest() -> None:
    slots: Slots[str] = Slots(4, 4)
    for entry in ("a1", "b1", "a2", "a3"):
        assert slots.add(entry, entry[0]) is None
    assert slots.add("c1", "c") == "a1"
    assert slots.add("d1", "d") == "a2"
    assert slots.add("d2", "d") == "b1"  # all have one now; the first to have it goes
    assert slots.add("e1", "e") == "d1"
    assert list(slots) == ["a3", "c1", "d2", "e1"]


def test_an_origin_at_its_limit_loses_its_own() -> None:
    slots: Slots[str] = Slots(10, 2)
    assert [slots.add(f"a{i}", "a") for i in range(4)] == [None, None, "a0", "a1"]
    assert slots.add("b0", "b") is None and len(slots) == 3


def test_callers_without_origin_share_what_is_free() -> None:
    slots: Slots[str] = Slots(4, 1)
    assert [slots.add(f"n{i}", None) for i in range(4)] == [None] * 4
    assert slots.add("a", "a") == "n0"
    assert slots.add("n4", None) == "n1"


def test_a_higher_rank_stays_until_there_is_no_lower_one() -> None:
    slots: Slots[str] = Slots(3, 3)
    for entry in ("k1", "k2"):
        slots.add(entry, "k", 1)
    slots.add("s", "s")
    assert slots.add("t", "t") == "s"
    assert slots.add("l", "l", 1) == "t"
    assert slots.add("u", "u") == "k1"


def test_an_origin_of_two_ranks_loses_the_lower_one_first() -> None:
    slots: Slots[str] = Slots(9, 3)
    for entry, rank in (("high", 2), ("low", 0), ("lower", 0)):
        slots.add(entry, "a", rank)
    assert slots.add("new", "a", 1) == "low"
    slots.move("high", 0)
    slots.move("gone", 0)
    assert slots.add("newer", "a", 1) == "lower"
    assert slots.add("newest", "a", 1) == "high"


def test_what_is_spare_goes_first() -> None:
    spare = {"a2", "b1"}
    slots: Slots[str] = Slots(4, 2, is_spare=lambda entry: entry in spare)
    for entry in ("a1", "a2", "b1", "c1"):
        slots.add(entry, entry[0])
    assert slots.add("a3", "a") == "a2"
    assert slots.add("a4", "a") == "a1"  # none of its own is spare
    assert slots.add("d1", "d") == "a3"  # the greediest has none either, and loses all the same
    assert slots.add("e1", "e") == "b1"
    assert slots.add("f1", "f") == "c1"  # nobody's is


ENTRIES = st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 2))


@given(st.lists(ENTRIES, max_size=120))
def test_counts_stay_below_the_limits_and_nobody_suffers_for_a_greedier_one(
    steps: list[tuple[bool, int, int]],
) -> None:
    slots: Slots[int] = Slots(8, 3)
    inside: dict[int, tuple[int, int]] = {}
    for number, (enters, origin, rank) in enumerate(steps):
        if not enters and inside:
            leaves = sorted(inside)[origin % len(inside)]
            slots.discard(leaves)
            del inside[leaves]
            continue
        gone = slots.add(number, origin, rank)
        held = [place[0] for place in inside.values()]
        if gone is None:
            assert len(inside) < 8 and held.count(origin) < 3
        else:
            loser, lowest = inside.pop(gone)
            if held.count(origin) >= 3:
                assert loser == origin
            else:
                of_rank = [place[0] for place in [*inside.values(), (loser, lowest)] if place[1] == lowest]
                assert all(place[1] >= lowest for place in inside.values())
                assert of_rank.count(loser) == max(map(of_rank.count, of_rank))
                assert all(gone < entry for entry, place in inside.items() if place == (loser, lowest))
        inside[number] = origin, rank
        assert sorted(slots) == sorted(inside) and len(slots) == len(inside)
        assert gone not in slots and number in slots

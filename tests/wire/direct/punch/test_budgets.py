"""What peers, and all of them together, may have: whatever comes and goes, it is never more."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssbfast import limits
from ssbfast.wire.direct.punch.budgets import AttemptPlaces, Place, SocketPlaces, Stage, Unanswered
from ssbfast.wire.direct.punch.candidates import Address

PLACE = ("198.51.100.1", 5000)


# ---------------------------------------------------------------- checks that nobody answers


def test_ten_checks_for_one_address() -> None:
    unanswered = Unanswered()
    assert [unanswered.take(PLACE, 1.0) for _ in range(12)] == [True] * 10 + [False] * 2
    assert [unanswered.take(PLACE, 2.0, heard=True) for _ in range(12)] == [True] * 10 + [False] * 2
    assert unanswered.take(("198.51.100.1", 5001), 2.0)
    assert not unanswered.take(PLACE, 60.9)
    assert unanswered.take(PLACE, 61.0), "a minute after the first"


def test_an_answer_makes_it_anew() -> None:
    unanswered = Unanswered()
    for _ in range(10):
        assert unanswered.take(PLACE, 1.0)
    unanswered.answered(PLACE)
    assert unanswered.take(PLACE, 1.0)
    unanswered.answered(("198.51.100.1", 5001))


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 9)), max_size=300))
def test_no_address_gets_more_in_any_minute(plan: list[tuple[int, float]]) -> None:
    unanswered = Unanswered()
    went: dict[int, list[float]] = {}
    now = 0.0
    for port, pause in plan:
        now += pause
        if unanswered.take(("198.51.100.1", 5000 + port), now):
            went.setdefault(port, []).append(now)
    for times in went.values():
        for index, begin in enumerate(times):
            in_a_minute = sum(when < begin + limits.UNANSWERED_SECONDS for when in times[index:])
            assert in_a_minute < 2 * limits.UNANSWERED_CHECKS, "two of its minutes overlap with any other one"


def test_what_is_remembered_is_bounded() -> None:
    unanswered = Unanswered()
    many = limits.UNANSWERED_ADDRESSES + 500
    addresses: list[Address] = [(f"198.51.{n // 250}.{n % 250}", 5000) for n in range(many)]
    for number, address in enumerate(addresses):
        unanswered.take(address, number / 1000)
    assert unanswered.remembered == limits.UNANSWERED_ADDRESSES
    assert unanswered.take(PLACE, 200.0) and unanswered.remembered == 1


# ---------------------------------------------------------------- attempts


class Crowd:
    """The peers that have places. given_up: those whose places were taken, in order."""

    def __init__(self, most: int = 6, per_key: int = 3) -> None:
        self.places = AttemptPlaces(most, per_key)
        self.there: list[Place] = []
        self.given_up: list[Place] = []

    def enter(self, key: str, stage: Stage = Stage.WAITING) -> Place | None:
        found: list[Place] = []

        def give_up() -> None:
            self.given_up.append(found[0])
            self.leave(found[0])

        place = self.places.enter(key.encode(), stage, give_up)
        if place is not None:
            found.append(place)
            self.there.append(place)
        return place

    def leave(self, place: Place) -> None:
        self.there.remove(place)
        self.places.leave(place)

    def all(self) -> Counter[str]:
        return Counter(place.key.decode() for place in self.there)


def test_a_further_attempt_takes_the_place_of_the_peer_s_own_oldest() -> None:
    crowd = Crowd()
    other = crowd.enter("b")
    first, second, third = (crowd.enter("a") for _ in range(3))
    assert first and second and third and other
    assert crowd.enter("a") and crowd.given_up == [first]
    second.stage = Stage.PUNCHING
    assert crowd.enter("a") and crowd.given_up == [first, third]
    assert crowd.all() == {"a": 3, "b": 1}


def test_a_spare_one_goes_first() -> None:
    crowd = Crowd()
    crowd.enter("a")
    spare = crowd.enter("a", Stage.SPARE)
    crowd.enter("a")
    assert crowd.enter("a") and crowd.given_up == [spare]
    assert crowd.enter("a", Stage.SPARE) is None and crowd.given_up == [spare], "nothing is given up for a spare one"


def test_what_punches_is_not_given_up_for_the_peer_s_own() -> None:
    crowd = Crowd()
    for _ in range(3):
        crowd.enter("a", Stage.PUNCHING)
    assert crowd.enter("a") is None and not crowd.given_up


@pytest.mark.parametrize("stage", [Stage.WAITING, Stage.PUNCHING])
def test_when_all_places_are_taken_the_greediest_loses(stage: Stage) -> None:
    crowd = Crowd()
    for key in "aaabbc":
        crowd.enter(key, stage)
    assert crowd.enter("d") and [place.key for place in crowd.given_up] == [b"a"]
    assert crowd.all() == {"a": 2, "b": 2, "c": 1, "d": 1}
    assert crowd.enter("e") and crowd.enter("f") and crowd.all() == dict.fromkeys("abcdef", 1)
    assert crowd.enter("g") is None and crowd.enter("a") is None, "none has more than one"


def test_a_spare_place_of_anybody_is_there_for_whoever_needs_it() -> None:
    crowd = Crowd()
    for key in "abcdef":
        crowd.enter(key, Stage.SPARE if key == "c" else Stage.PUNCHING)
    assert crowd.enter("g", Stage.SPARE) is None
    assert crowd.enter("g") and [place.key for place in crowd.given_up] == [b"c"]


moves = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(Stage), st.sampled_from(["enter", "leave", "go on"])),
    max_size=200,
)


@given(moves)
def test_whatever_attempts_come_and_go(plan: list[tuple[str, Stage, str]]) -> None:
    crowd = Crowd()
    for key, stage, what in plan:
        own = [place for place in crowd.there if place.key == key.encode()]
        if what == "leave" and own:
            crowd.leave(own[0])
            crowd.places.leave(own[0])
        elif what == "go on" and own:
            own[-1].stage = max(own[-1].stage, stage)
        elif what == "enter":
            before = crowd.all()
            entered = crowd.enter(key, stage)
            if stage is not Stage.SPARE and not own and max(before.values(), default=0) > 1:
                assert entered is not None, "whoever has none gets one while another has two"
        assert crowd.places.total == len(crowd.there) <= 6
        assert max(crowd.all().values(), default=0) <= 3
        assert all(crowd.places.held(key.encode()) == count for key, count in crowd.all().items())


# ---------------------------------------------------------------- sockets


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=400), st.integers(0, 64))
@settings(deadline=None)
def test_sockets_never_pass_the_cap(plan: list[tuple[int, bool]], most: int) -> None:
    places = SocketPlaces(most)
    held: Counter[int] = Counter()
    for key, takes in plan:
        if takes:
            free = most - held.total()
            took = places.take(bytes([key]))
            held[key] += took
            if free and not held[key] - took:
                assert took, "whoever has none gets one of what is free"
        elif held[key]:
            held[key] -= 1
            places.give_back(bytes([key]))
        assert places.total == held.total() <= most
        assert all(places.held(bytes([key])) == count <= limits.UDP_SOCKETS_PER_KEY for key, count in held.items())


def test_greedy_peers_leave_sockets_for_others() -> None:
    """Each of them takes what it gets, again and again: a newcomer still finds the two that an attempt needs."""
    places = SocketPlaces(256)
    for _ in range(100):
        for key in range(60):
            places.take(bytes([key]))
    assert places.total > 200
    assert places.take(b"new") and places.take(b"new")


def test_one_search_at_a_time() -> None:
    places = SocketPlaces(256)
    one, two = object(), object()
    assert places.begin_search(one) and places.begin_search(one)
    assert not places.begin_search(two)
    places.end_search(two)
    assert not places.begin_search(two)
    places.end_search(one)
    assert places.begin_search(two)
    assert places.total == 0


def test_repr_shows_no_key() -> None:
    place = Crowd().enter("\x7fkey")
    assert "key'" not in repr(place) and "x7f" not in repr(place)

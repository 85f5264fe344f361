"""The arithmetic of budgets: whatever peers do, in any order, sums stay below caps and shares are not taken."""

from __future__ import annotations

import random
from collections import Counter, deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssbfast import limits
from ssbfast.budgets import (
    NO_DELAY,
    Allowance,
    Bucket,
    Caps,
    Penalties,
    Places,
    Rate,
    Rates,
    Share,
    Tally,
    Turns,
    rings,
)

# ---------------------------------------------------------------- networks


@pytest.mark.parametrize(
    ("host", "networks"),
    [
        ("192.0.2.1", ("192.0.2.1",)),
        ("::ffff:192.0.2.1", ("192.0.2.1",)),
        ("2001:db8:1:2::9", ("2001:db8:1::/48", "2001:db8:1::/56", "2001:db8:1:2::/64")),
        ("fe80::1%eth0", ("fe80::/48", "fe80::/56", "fe80::/64")),
        ("", ("",)),
        ("nonsense", ("nonsense",)),
    ],
)
def test_an_address_lies_in_its_networks(host: str, networks: tuple[str, ...]) -> None:
    assert rings(host) == networks


# ---------------------------------------------------------------- rates


def test_a_bucket_forgives_with_time_and_not_more_than_was_spent() -> None:
    bucket = Bucket(0.0)
    assert bucket.spend(10, 2.0, 0.0) == 10
    assert bucket.level(2.0, 3.0) == 4
    assert bucket.level(2.0, 2.0) == 4  # a clock that went back forgives nothing and takes nothing
    assert bucket.level(2.0, 100.0) == 0


TIGHT = {"calls": Allowance(key=Rate(2, 10), address=Rate(5, 20), own=Rate(1, 3))}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.floats(0, 2)), max_size=120))
def test_no_key_spends_more_than_its_rate_however_many_sessions_it_has(
    steps: list[tuple[int, int, float]],
) -> None:
    """Those who wait as they are told spend at most the key's, each session its own, and one unit more."""
    rates, now, wait, spent = Rates(TIGHT), 0.0, dict.fromkeys(range(6), 0.0), 0
    for session, _, pause in steps:
        now += pause
        if now < wait[session]:
            continue
        spent += 1
        wait[session] = now + rates.spend("calls", session, "key", ("a",), now).seconds
    assert spent <= (10 + 2 * now) + 6 * (3 + 1 * now + 1) + 1e-6


def test_a_neighbour_who_spends_everything_leaves_each_session_its_own_allowance() -> None:
    rates = Rates(TIGHT)
    for n in range(1000):
        rates.spend("calls", f"greedy {n % 7}", f"key {n}", ("a",), 0.0)
    assert rates.spend("calls", "greedy 1", "key", ("a",), 0.0).seconds > 100
    assert [rates.spend("calls", "modest", "other", ("a",), 0.0) for _ in range(3)] == [NO_DELAY] * 3
    delay = rates.spend("calls", "modest", "other", ("a",), 0.0)
    assert 0 < delay.seconds <= 1.0 + 1e-9  # its own rate, not the neighbour's
    assert delay.limit == "calls_per_address"
    assert rates.spend("calls", "elsewhere", "another", ("b",), 0.0) is NO_DELAY


def test_a_sweep_forgets_who_is_forgiven_and_nobody_else() -> None:
    rates = Rates(TIGHT)
    for n in range(100):
        for _ in range(4):  # one more than is its own
            rates.spend("calls", n, n, ("a",), 0.0)
    assert len(rates) == 201
    rates.sweep(4.0, 1000)
    assert len(rates) == 1  # the address has spent a hundred
    assert rates.spend("calls", 5, 5, ("a",), 4.0) is NO_DELAY
    rates.sweep(200.0, 1000)
    assert len(rates) == 0


def test_accounts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BUDGET_ENTRIES", 50)
    rates = Rates(TIGHT)
    for n in range(1000):
        rates.spend("calls", n, n, (str(n),), 0.0)
    assert len(rates) <= 50


# ---------------------------------------------------------------- places

ADDRESSES = [("a",), ("b",), ("w/48", "v/56", "n/64"), ("w/48", "v/56", "m/64"), ("w/48", "u/56", "o/64")]


@given(st.integers(1, 12), st.integers(1, 4), st.lists(st.integers(0, 6), max_size=150), st.randoms())
def test_places_never_pass_a_cap_and_newcomers_come_in(
    whole: int, address: int, steps: list[int], rng: random.Random
) -> None:
    places: Places[int] = Places("things", Caps(whole, address), lambda item: item)
    for number, step in enumerate(steps):
        if step >= len(ADDRESSES):
            inside = list(places)
            if inside:
                places.remove(rng.choice(inside))
            continue
        networks = ADDRESSES[step]
        verdict = places.ask(networks)
        assert verdict.enters  # everybody here may be sent away
        if verdict.leaves is not None:
            assert verdict.leaves in places and verdict.reason in ("things", "things_per_address")
            places.remove(verdict.leaves)
        places.add(number, networks)
        assert len(places) <= whole
        for network, cap in (pair for known in ADDRESSES for pair in places.caps.of(known)):
            assert places.held(network) <= cap
    for item in places:
        places.remove(item)
    assert len(places) == 0 and not places._of


@given(st.integers(2, 30), st.integers(1, 5))
def test_whoever_holds_little_loses_nothing_to_whoever_holds_much(whole: int, modest: int) -> None:
    places: Places[tuple[str, int]] = Places("things", Caps(whole, whole), lambda item: item[1])
    modest = min(modest, whole // 2)
    for n in range(modest):
        places.add(("modest", n), ("m",))
    for n in range(200):  # greedy, from one address, then from many
        networks = ("g",) if n < 100 else (f"g{n % 7}",)
        verdict = places.ask(networks)
        if verdict.leaves is not None:
            held = places.held(networks[0])
            if verdict.leaves[0] == "modest":
                assert held < places.held("m")  # only to one that holds less
            places.remove(verdict.leaves)
        if verdict.enters:
            places.add(("greedy", n), networks)
    assert places.held("m") >= min(modest, whole // 10)  # ten addresses


def test_of_addresses_that_hold_as_many_a_newcomer_does_not_lose_its_place_first() -> None:
    """It was any of them: in a crowd a connection went whose request was on its way."""
    places: Places[int] = Places("things", Caps(256, 256), lambda _item: 0)
    for item in range(512):
        verdict = places.ask((f"address {item}",))
        if verdict.leaves is not None:
            assert verdict.leaves < 256
            places.remove(verdict.leaves)
        places.add(item, (f"address {item}",))
    assert set(places) == set(range(256, 512))


def test_nobody_who_may_not_be_sent_away_is() -> None:
    places: Places[int] = Places("things", Caps(2, 2), lambda item: None if item < 10 else item)
    places.add(1, ("a",))
    places.add(2, ("a",))
    assert not places.ask(("a",)).enters and not places.ask(("b",)).enters
    places.remove(2)
    places.add(12, ("a",))
    assert places.ask(("b",)).leaves == 12
    assert places.least("a") == 12 and places.least("c") is None


# ---------------------------------------------------------------- penalties

HOME = ("192.0.2.1",)


def penalties(longest: float = 60.0) -> Penalties:
    return Penalties(failures=Rate(1.0, 10.0), trials=Rate(4.0, 4.0), longest=longest)


def fail_until_penalised(table: Penalties, networks: tuple[str, ...], now: float) -> int:
    """How many failures it takes."""
    return next(n for n in range(1, 1000) if table.fail(networks, now))


def test_a_few_failures_and_slow_ones_have_no_penalty() -> None:
    table = penalties()
    assert not any(table.fail(HOME, 0.0) for _ in range(10))
    assert not any(table.fail(HOME, float(second)) for second in range(10, 500))
    assert not table.is_penalised(HOME, 500.0)


def test_each_penalty_is_twice_as_long_up_to_a_bound_and_forgotten_after() -> None:
    table, now, lengths = penalties(longest=17.0), 0.0, []
    for _ in range(4):
        assert fail_until_penalised(table, HOME, now) == 11
        began = now
        while table.is_penalised(HOME, now):
            now += 0.5
        lengths.append(now - began)
    assert lengths == [limits.PENALTY_FIRST_SECONDS, 2 * limits.PENALTY_FIRST_SECONDS, 17.0, 17.0]
    assert not table.fail(("192.0.2.9",), now + 15.5)
    table.sweep(now + 16.0, 100)
    assert len(table) == 2
    table.sweep(now + 16.6, 100)
    assert len(table) == 1
    table.sweep(now + 17.0, 100)
    assert len(table) == 0
    fail_until_penalised(table, HOME, now)
    assert not table.is_penalised(HOME, now + limits.PENALTY_FIRST_SECONDS)


def test_in_a_penalty_a_few_may_try_and_what_fails_of_them_makes_it_longer() -> None:
    table, now, tried = penalties(), 0.0, 0
    fail_until_penalised(table, HOME, now)
    while now < 30.0:
        assert table.is_penalised(HOME, now)
        for _ in range(100):
            if table.may_try(HOME, now):
                tried += 1
                table.fail(HOME, now)
        now += 0.25
    assert 30 * 4 - 1 <= tried <= 30 * 4 + 4
    assert table.may_try(("192.0.2.2",), now)


def test_a_wide_network_has_a_penalty_after_more_failures_than_a_narrow_one() -> None:
    table = penalties()
    fails = [fail_until_penalised(table, rings(f"2001:db8:8:{n:x}::1"), 0.0) for n in (0x100, 0x200, 0x300, 0x400)]
    assert fails == [11, 11, 11, 8], "the fourth meets what the /48 has left"
    assert table.is_penalised(rings("2001:db8:8:500::1"), 1.0)
    assert not table.is_penalised(rings("2001:db8:9::1"), 1.0)


def test_penalties_are_kept_of_so_many_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PENALTY_ENTRIES", 50)
    table = penalties()
    for n in range(500):
        table.fail((f"192.0.2.{n}",), 0.0)
    assert len(table) == 50


# ---------------------------------------------------------------- turns


class Machine:
    """A loop that does what `Turns` says, in a time of its own."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.now = 0.0
        self.used: Counter[str] = Counter()

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until and self.turns:
            turn = self.turns.next()
            assert turn is not None
            share, work = turn
            before = self.now
            work()
            self.turns.spent(share, self.now - before, self.now)

    def busy(self, name: str, share: Share, cost: float) -> None:
        """A share that always has work of this cost."""

        def work() -> None:
            self.now += cost
            self.used[name] += round(cost * 1e6)
            self.turns.queue(share, work)

        self.turns.queue(share, work)


@given(st.lists(st.floats(0.0001, 0.002), min_size=2, max_size=12), st.randoms())
def test_busy_addresses_have_equal_parts_whatever_their_work_costs(costs: list[float], rng: random.Random) -> None:
    machine = Machine()
    for n, cost in enumerate(costs):
        for _ in range(rng.randrange(1, 4)):  # sessions do not multiply an address's part
            machine.busy(str(n), machine.turns.share((str(n),)), cost)
    machine.run(2.0)
    used = [machine.used[str(n)] / 1e6 for n in range(len(costs))]
    assert max(used) - min(used) < 2 * (limits.TURN_LEAD + 2 * max(costs)) + 0.002 * len(costs)


@given(st.integers(1, 60), st.floats(0, 30), st.floats(0.0001, 0.002))
@pytest.mark.slow
def test_nobody_waits_for_longer_than_a_second_because_of_what_it_did_before(
    others: int, before: float, cost: float
) -> None:
    machine = Machine()
    share = machine.turns.share(("late",))
    machine.turns.spent(share, before, 0.0)  # as much as it likes, while nobody else wanted anything
    for n in range(others):
        machine.busy(f"{n}", machine.turns.share((f"{n}",)), cost)
    machine.run(0.5)
    asked = machine.now
    done: list[float] = []
    machine.turns.queue(share, lambda: done.append(machine.now))
    machine.run(2.0)
    assert done and done[0] - asked <= limits.TURN_LEAD * others + 2 * cost * (others + 1) <= 1.0


def test_a_newcomer_among_a_hundred_busy_sessions_of_its_own_address_comes_soon() -> None:
    machine = Machine()
    for n in range(100):
        machine.busy(str(n), machine.turns.share(("a",)), 0.0005)
    machine.run(1.0)
    asked, done = machine.now, []
    machine.turns.queue(machine.turns.share(("a",)), lambda: done.append(machine.now))
    machine.run(1.0)
    assert done and done[0] - asked <= 0.002


def test_who_uses_little_is_light_and_its_whole_address_has_to_be() -> None:
    turns = Turns()
    one, other = turns.share(("a",)), turns.share(("a",))
    assert turns.is_light(one, 0.0)
    turns.spent(one, limits.LIGHT_SECONDS * 2, 0.0)
    assert not turns.is_light(one, 0.0) and not turns.is_light(other, 0.0)
    assert turns.is_light(turns.share(("b",)), 0.0)
    later = 2 * limits.LIGHT_SECONDS / limits.LIGHT_SHARE
    assert turns.is_light(one, later) and turns.is_light(other, later)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["queue", "run", "close", "open"])), max_size=80))
def test_all_that_is_queued_is_done_once_and_nothing_is_left(steps: list[tuple[int, str]]) -> None:
    turns, shares, asked, done = Turns(), {}, 0, deque[int]()
    for number, step in steps:
        if step == "open":
            if number not in shares:
                shares[number] = turns.share((str(number % 2), str(number % 3)))
        elif step == "queue" and number in shares:
            turns.queue(shares[number], lambda asked=asked: done.append(asked))
            asked += 1
        elif step == "close" and number in shares:
            turns.close(shares.pop(number))
        elif step == "run" and (turn := turns.next()) is not None:
            turn[1]()
            turns.spent(turn[0], 0.001, 0.0)
        assert len(turns) == asked - len(done)
    while (turn := turns.next()) is not None:
        turn[1]()
        turns.spent(turn[0], 0.001, 0.0)
    for share in shares.values():
        turns.close(share)
    assert sorted(done) == list(range(asked))
    assert not turns._root.children and not turns._root.members


# ---------------------------------------------------------------- what was reached


def test_limits_are_counted_and_told_once() -> None:
    tally = Tally()
    assert [tally.add("calls"), tally.add("calls"), tally.add("opens")] == [True, False, False]
    assert tally.take() == {"calls": 2, "opens": 1}
    assert tally.take() == {} and tally.total == {"calls": 2, "opens": 1}
    assert tally.add("calls")

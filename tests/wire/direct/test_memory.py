"""Memory that windows of direct paths may grow by: a hundred greedy keys beside an honest one; credit that follows."""

from __future__ import annotations

import pytest

from ssbfast import limits
from ssbfast.wire.direct.carriers.retransmission import Window
from ssbfast.wire.direct.memory import Credit, MemoryBudget, MemoryShare

MIB = 1024 * 1024
SESSION = 3
RTT = 0.2
FIRST, MOST = limits.DIRECT_STREAM_WINDOW, limits.DIRECT_STREAM_WINDOW_MAX


def fast(credit: Credit, stream: int = SESSION, rounds: int = 30, used: int = 0) -> int:
    """Let a reader use up its whole window in each round trip; return what it has used in the end."""
    for round in range(rounds):
        credit.used(stream, used, round * RTT, RTT)
        used += credit.window(stream)
    return used


def greedy_window(share: MemoryShare) -> Window:
    """Return the window of a sender on a path without end."""
    window = Window(MIB, limits.CARRIER_WINDOW_MAX, limits.CARRIER_WINDOW_PLAIN, share)
    window.rtt = RTT
    for round in range(40):
        window.acked(window.size, round * RTT, full=True)
    return window


def test_no_key_takes_more_than_its_part_and_none_the_last() -> None:
    budget = MemoryBudget(1000)
    first, second = budget.share(b"a"), budget.share(b"a")
    assert first.take(100) == 100 and second.take(10_000) == 400
    assert first.take(10_000) == second.take(10_000) == 0
    assert budget.share(b"b").take(10_000) == 250
    assert budget.free == 250
    first.give_back(10_000)
    assert budget.free == 350 and first.held == 0
    second.close()
    assert budget.free == 750 and second.take(1) == 0
    second.give_back(400)
    assert budget.free == 750


def test_one_session_gets_all_that_it_can_use() -> None:
    budget = MemoryBudget()
    share = budget.share(b"a")
    credit = Credit(share, SESSION)
    fast(credit)
    assert credit.window(SESSION) == MOST
    assert greedy_window(share).size == limits.CARRIER_WINDOW_MAX
    assert credit.whole == limits.DIRECT_WINDOW + MOST - FIRST


def test_a_hundred_greedy_keys_leave_an_honest_one_its_first_windows() -> None:
    budget = MemoryBudget()
    held = []
    for number in range(100):
        share = budget.share(b"%d" % number)
        credit = Credit(share, SESSION)
        fast(credit)
        for stream in range(4, 4 * 256, 4):
            fast(credit, stream, 6)
        greedy_window(share)
        held.append(share.held)
        assert share.held <= limits.PATH_MEMORY // 2
    assert sum(held) + budget.free == limits.PATH_MEMORY and budget.free > 0
    honest = budget.share(b"honest")
    credit = Credit(honest, SESSION)
    fast(credit)
    assert credit.window(SESSION) >= FIRST
    assert greedy_window(honest).size >= limits.CARRIER_WINDOW_PLAIN


def test_what_sessions_had_is_there_for_others() -> None:
    budget = MemoryBudget()
    shares = [budget.share(b"%d" % number) for number in range(100)]
    for share in shares:
        fast(Credit(share, SESSION))
        greedy_window(share)
    assert budget.free < MIB
    for share in shares:
        share.close()
    assert budget.free == limits.PATH_MEMORY
    credit = Credit(budget.share(b"honest"), SESSION)
    fast(credit)
    assert credit.window(SESSION) == MOST
    credit.close()
    credit.close()
    assert budget.free == limits.PATH_MEMORY


def test_a_window_that_shrinks_gives_back_what_it_grew_by() -> None:
    budget = MemoryBudget()
    window = greedy_window(budget.share(b"a"))
    assert budget.free == limits.PATH_MEMORY - (limits.CARRIER_WINDOW_MAX - limits.CARRIER_WINDOW_PLAIN)
    window.shrink()
    assert budget.free == limits.PATH_MEMORY and window.size == MIB
    window.shrink()
    assert budget.free == limits.PATH_MEMORY


@pytest.mark.parametrize(("rounds", "rtt"), [(2.1, RTT), (1.0, 0.0)], ids=["slow", "unknown"])
def test_a_slow_reader_gets_no_more(rounds: float, rtt: float) -> None:
    credit = Credit(MemoryBudget().share(b"a"), SESSION)
    for turn in range(50):  # half of it in so many round trips
        credit.used(SESSION, turn * FIRST // 2, turn * rounds * RTT, rtt)
    assert credit.window(SESSION) == FIRST and credit.whole == limits.DIRECT_WINDOW


def test_a_reader_that_stops_gets_no_more() -> None:
    credit = Credit(MemoryBudget().share(b"a"), SESSION)
    for turn in range(50):
        credit.used(SESSION, FIRST // 4, turn * 0.001, RTT)
    assert credit.window(SESSION) == FIRST


def test_streams_share_what_their_path_has_grown_by() -> None:
    """What one that is over had goes to the next: its credit cannot be taken back."""
    budget = MemoryBudget()
    credit = Credit(budget.share(b"a"), SESSION)
    for stream in (4, 8, 12):
        fast(credit, stream)
        assert credit.window(stream) > limits.DIRECT_FORWARD_WINDOW
        credit.over(stream)
        assert credit.window(stream) == limits.DIRECT_FORWARD_WINDOW
    grown = credit.whole
    assert grown <= limits.DIRECT_WINDOW_MAX and budget.free < limits.PATH_MEMORY
    fast(credit)
    assert credit.window(SESSION) == MOST and credit.whole == grown
    credit.close()
    assert budget.free == limits.PATH_MEMORY


def test_what_one_path_gives_is_bounded() -> None:
    credit = Credit(MemoryBudget(2**40).share(b"a"), SESSION)
    for stream in (SESSION, *range(4, 400, 4)):
        fast(credit, stream)
    grown = sum(credit.window(stream) - limits.DIRECT_FORWARD_WINDOW for stream in range(4, 400, 4))
    assert credit.window(SESSION) == MOST
    assert credit.whole == limits.DIRECT_WINDOW_MAX == limits.DIRECT_WINDOW + MOST - FIRST + grown

"""The instrument: what it makes of what the honest pair tells."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.hostile.trial import MB, Figures, Told, frozen, percentile, phase, verdicts

GOOD = [Told("call", n * 0.05, 0.001, None) for n in range(200)] + [
    Told("join", n * 0.2, 0.01, None) for n in range(50)
]


def figures(told: list[Told]) -> Figures:
    """Ten seconds of attack in which so much was told, idle time without a fault before and after."""
    good = phase(GOOD, 0, 10)
    return Figures(("lists",), good, phase(told, 0, 10), good, frozen(told, 0, 10), stopped=0.1)


def red(measured: Figures) -> set[str]:
    return {name for name, (_, _, holds) in verdicts(measured, idle_p99=0.001).items() if not holds}


def test_nothing_is_red_without_a_fault() -> None:
    assert red(figures(GOOD)) == set()


def test_a_call_belongs_to_the_time_in_which_it_was_made() -> None:
    told = [Told("call", 1.0, 3.0, "time-out"), Told("call", 4.1, 0.1, None)]
    first, second = phase(told, 0, 4), phase(told, 4, 8)
    assert (first.calls, first.failed_calls, first.worst) == (1, 1, 3.0)
    assert (second.calls, second.failed_calls, second.answers) == (1, 0, 0.25)


def test_calls_that_fail_count_for_answers_and_p99() -> None:
    told = [replace(one, took=3.0, error="time-out") if n % 4 == 0 else one for n, one in enumerate(GOOD)]
    assert {"answers", "p99", "joins"} <= red(figures(told))


@pytest.mark.parametrize(("op", "name"), [("join", "joins"), ("visit", "visits"), ("lost", "lost")])
def test_one_failure_is_red(op: str, name: str) -> None:
    assert red(figures([*GOOD, Told(op, 5.0, 0.1, "no")])) == {name}


def test_in_a_flood_slow_joins_and_memory_meanwhile_are_red() -> None:
    late = [replace(one, took=0.035) if one.op == "join" else one for one in GOOD]
    assert red(figures(late)) == set()
    measured = replace(figures(late), names=("flood",), rss_base=30 * MB, rss_peak=80 * MB, rss_after=30 * MB)
    assert red(measured) == {"connect"}
    assert red(replace(measured, names=("flood-own",), rss_peak=81 * MB)) == {"peak"}


def test_memory_log_and_end() -> None:
    measured = figures(GOOD)
    assert red(replace(measured, rss_base=30 * MB, rss_after=40 * MB)) == set()
    assert red(replace(measured, rss_base=30 * MB, rss_after=41 * MB)) == {"rss"}
    assert red(replace(measured, log=1001.0)) == {"log"}
    assert red(replace(measured, stopped=None)) == {"alive"}
    assert red(replace(measured, alive=False)) == {"alive"}


def test_silence_is_the_longest_gap_and_not_our_own_sleep() -> None:
    told = [Told("call", 0.0, 0.5, None), Told("call", 1.0, 3.0, None), Told("call", 1.5, 3.0, "time-out")]
    assert frozen(told, 0, 5) == 3.5
    assert frozen([*told, Told("lag", 2.0, 1.0, None)], 0, 5) == 2.5


def test_percentiles() -> None:
    assert percentile([], 0.99) == 0
    assert percentile([3, 1, 2], 0.5) == 2
    assert percentile(list(range(200)), 0.99) == 198

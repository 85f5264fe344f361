"""Nobody can stop a room or starve a peer: each attack for a few seconds, beside an honest pair.

What decides is counted: joins, tunnels and sessions of honest peers that failed, answers, bytes. Of times only a
standstill decides, because a test machine is shared; `python -m tests.hostile --all` measures them.

An attack takes 15 to 35 s. A run makes one of each row, and SSBFAST_TEST_ATTACKS=all the others as well.
"""

from __future__ import annotations

import os
import sys

import pytest

from tests.conftest import QUICK
from tests.hostile.attacks import ATTACKS, SHORT, pairs
from tests.hostile.trial import MB, Figures, percentile, run, verdicts

SECONDS = 3.5
FLOOD_SECONDS = 60.0
IDLE_SECONDS = 2.0
FROZEN_SECONDS = 2.0
ANSWERS = 0.7
"""Of the calls that were made: they are made by the clock, so that this is no timing."""
LOG = 1_000
"""Bytes a second above what honest peers cause."""
GROWTH = 10 * MB
PEAK = 50 * MB
STOP_SECONDS = 10.0
CHOSEN = (
    "lists", "unfinished", "calls", "tunnels", "announces", "knocks-12", "flood-own", "joins", "files-unread", "resets",
    "stranger",
)  # fmt: skip
"""One of each row: three minutes in all. None that another one contains."""
PAIRS = 4

rest = pytest.mark.skipif(
    os.environ.get("SSBFAST_TEST_ATTACKS") != "all", reason="the rest of the attacks: SSBFAST_TEST_ATTACKS=all"
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, dials from 127.0.0.2 and others"),
    pytest.mark.skipif(QUICK, reason="time, and the full run: the quick one (SSBFAST_TEST_QUICK) makes no attacks"),
]


def check(figures: Figures) -> None:
    """All of it at once: who mends the room wants to see all that is wrong."""
    attack = figures.attack
    is_flood = any(ATTACKS[name].flood for name in figures.names)
    wrong = {
        "there was an attack": sum(n for what, n in figures.did.items() if what != "cpu %") > 0,
        "the room is alive": figures.alive,
        "it ended when it was told to": figures.stopped is not None,
        f"answers to {ANSWERS:.0%} of all calls": attack.calls - attack.failed_calls >= ANSWERS * attack.calls,
        "no join failed": figures.failed("join") == 0,
        "no friend's tunnel failed": figures.failed("visit") == 0,
        "no honest session was lost": figures.lost == 0,
        f"never silent for {FROZEN_SECONDS:g} s": figures.frozen <= FROZEN_SECONDS,
        f"memory is back within {GROWTH // MB} MB": figures.growth <= GROWTH,
        f"a flood costs {PEAK // MB} MB at most": not is_flood or figures.rss_peak - figures.rss_base <= PEAK,
        f"prints less than {LOG} bytes a second": figures.log <= LOG,
    }
    assert [what for what, holds in wrong.items() if not holds] == [], _words(figures)


def _words(figures: Figures) -> str:
    results = verdicts(figures, percentile(figures.idle_calls, 0.99))
    measured = ", ".join(f"{name} {value:.4g} (bound {bound:g})" for name, (value, bound, _) in results.items())
    errors = figures.attack.errors, figures.after.errors
    return f"{measured}; errors {errors}; did {figures.did}; stderr {figures.stderr_head!r}"


def test_each_row_has_an_attack() -> None:
    assert {ATTACKS[name].row[:2] for name in CHOSEN} == {attack.row[:2] for attack in ATTACKS.values()} - {"-"}
    assert set(CHOSEN) <= set(SHORT)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in CHOSEN else rest) for name in SHORT])
def test_an_attack(name: str) -> None:
    figures = run([name], seconds=SECONDS, idle_seconds=IDLE_SECONDS)
    check(figures)


@rest
@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.flood])
def test_a_flood_for_a_minute(name: str) -> None:
    check(run([name], seconds=FLOOD_SECONDS, idle_seconds=FLOOD_SECONDS / 3))


@pytest.mark.parametrize(
    "names",
    [pytest.param(pair, marks=rest if n else [], id="+".join(pair)) for n, pair in enumerate(pairs(PAIRS, seed=1))],
)
def test_two_attacks_at_once(names: tuple[str, str]) -> None:
    check(run(names, seconds=SECONDS, idle_seconds=IDLE_SECONDS))

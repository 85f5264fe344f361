"""Measure the row of QUIC: our engine in C beside other libraries and today's direct path."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator

from benchmarks.measured import Measured, Plan, digits, ratios
from benchmarks.targets import QUIC
from ssbfast import native


def quic(plan: Plan) -> Iterator[Measured]:
    """All cases: each end, to each baseline that can be run here."""
    if sys.version_info < (3, 11):
        plan.absent["QUIC"] = "aioquic needs Python 3.11"
        return
    from benchmarks.quic import contest
    from benchmarks.quic.contest import COMPARED, FIGURES, OURS

    pairs, absent = contest.available()
    plan.absent.update(absent)
    if not any(pair.name == OURS for pair in pairs):
        return
    costs = contest.measure(pairs, plan.rounds, plan.megabytes / Plan.megabytes)
    found = {pair.name: some for pair, some in costs.items()}
    for name, baselines in COMPARED.items():
        for baseline in baselines:
            for end, figure in FIGURES.items():
                if baseline not in found:
                    continue
                own, theirs = [*map(figure, found[name])], [*map(figure, found[baseline])]
                ours, base = (f"{digits(statistics.median(some))} ns/B" for some in (own, theirs))
                way = "" if name == OURS else " without GSO"
                yield Measured(QUIC, f"{end}{way} to {baseline}", native.BACKEND, ours, base, ratios(theirs, own))

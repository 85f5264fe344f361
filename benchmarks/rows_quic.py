"""Measure the row of QUIC: our engine in C beside other libraries and today's direct path."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from functools import partial
from typing import Final

from benchmarks.measured import Measured, Plan, digits, ratios
from benchmarks.targets import LOSSY, QUIC
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


LOSS: Final = 0.01
DELAY: Final = 0.010
LOSSY_BYTES: Final = 6_000_000


def lossy(plan: Plan) -> Iterator[Measured]:
    """MB/s over a way that loses 1 % each way and takes 20 ms: each library at both ends, one chance a round."""
    if sys.version_info < (3, 11):
        plan.absent["QUIC"] = "aioquic needs Python 3.11"
        return
    from benchmarks.quic.lossy import LossyWay
    from benchmarks.quic.pairs import transfer
    from benchmarks.quic.programs import MissingError, build

    found: dict[str, list[float]] = {}
    for peer in ("ssbfast", "quic-go", "quinn"):
        try:
            if peer != "ssbfast":
                build(peer)
        except MissingError as error:
            plan.absent[peer] = str(error)
        else:
            found[peer] = []
    for seed in range(plan.rounds):
        for peer, rates in found.items():
            way = partial(LossyWay, delay=DELAY, loss=LOSS, seed=seed)
            ends = transfer(peer, peer, "receive", LOSSY_BYTES, way=way, suite="chacha20", datagram=1400)
            if not all(end.is_right for end in ends):
                raise RuntimeError(f"{peer}: a wrong answer")
            rates.append(LOSSY_BYTES / ends[0].seconds / 1e6)
    own = found.pop("ssbfast")
    for peer, rates in found.items():
        ours, base = (f"{digits(statistics.median(some))} MB/s" for some in (own, rates))
        yield Measured(LOSSY, f"to {peer}", native.BACKEND, ours, base, ratios(own, rates))

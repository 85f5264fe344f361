"""QUIC by several libraries between two processes on this machine: nanoseconds of CPU a byte, at each end.

    python -m benchmarks.bench_quic [--quick] [--rounds N] [--only WORD,…]

Each pair is one library at both ends, the server receives. Pairs take turns; what arrives is compared by digest. A
ratio is the median of the ratios within each round, with the least and the largest. Only pairs with the same cipher,
datagrams of the same size and the same use of segmentation (GSO) compare libraries; each line says what it has.
`ssbfast` is the engine in C alone; `direct path` is the whole of `bench_direct.py` with it, `today` the same on
aioquic, which chooses the cipher: their senders' figures have the handshake in them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from unittest.mock import patch

from benchmarks.baselines import environment
from benchmarks.measured import digits, ratios, say
from benchmarks.quic.pairs import TransferError, transfer
from benchmarks.quic.programs import FOLDERS, MissingError, build, command
from ssbfast.cli.bench.runner import cpu_model

DATAGRAM: Final = 1400
DIRECT: Final = {"today": "aioquic", "direct path": "auto"}
"""Values of SSBFAST_DIRECT for the direct path of `bench_direct.py`."""
OURS: Final = "ssbfast, GSO"
COMPARED: Final = {
    OURS: ("aioquic", "today", "quic-go, GSO", "quic-go, AES, GSO", "quinn, GSO", "quinn, AES, GSO"),
    "ssbfast": ("today", "quic-go", "quinn"),
}
"""Pairs of ours, and what each is compared with."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Costs of one transfer: ns of CPU a byte of receiver and sender, MB/s."""

    receiver: float
    sender: float
    rate: float


@dataclass(frozen=True, slots=True)
class Pair:
    """One library at both ends. megabytes: of a transfer; those in Python get few."""

    name: str
    peer: str
    suite: str
    gso: bool
    megabytes: int

    @property
    def about(self) -> str:
        """Return what it is to be compared by."""
        return f"{self.suite}, {DATAGRAM} B{', GSO' if self.gso else ''}"

    def run(self, part: float) -> Cost:
        """Transfer a part of the bytes. Raises MissingError, TransferError."""
        n = round(self.megabytes * 1e6 * part)
        if self.peer in DIRECT:
            from benchmarks import bench_direct  # for pytest, which it needs, too

            with patch.dict(os.environ, SSBFAST_DIRECT=DIRECT[self.peer]):
                done = bench_direct.transfer("ours", n)
            if not done.correct:
                raise TransferError(f"{self.name}: a wrong answer")
            return Cost(done.receiver / n * 1e9, done.sender / n * 1e9, n / done.seconds / 1e6)
        ends = transfer(
            self.peer, self.peer, "receive", n, suite=self.suite, gso="on" if self.gso else "off", datagram=DATAGRAM
        )
        if not all(end.is_right for end in ends):
            raise TransferError(f"{self.name}: a wrong answer")
        receiver, sender = ends
        return Cost(receiver.cpu / n * 1e9, sender.cpu / n * 1e9, n / receiver.seconds / 1e6)


PAIRS: Final = (
    Pair("aioquic", "aioquic", "chacha20", False, 24),
    Pair("today", "today", "aioquic's choice", False, 24),
    Pair("direct path, GSO", "direct path", "chacha20", True, 200),
    Pair("quic-go, GSO", "quic-go", "chacha20", True, 200),
    Pair("quic-go, AES, GSO", "quic-go", "aes128", True, 200),
    Pair("quic-go", "quic-go", "chacha20", False, 100),
    Pair("quinn, GSO", "quinn", "chacha20", True, 200),
    Pair("quinn, AES, GSO", "quinn", "aes128", True, 200),
    Pair("quinn", "quinn", "chacha20", False, 100),
    Pair(OURS, "ssbfast", "chacha20", True, 200),
    Pair("ssbfast", "ssbfast", "chacha20", False, 100),
)
FIGURES: Final[dict[str, Callable[[Cost], float]]] = {
    "receiver": lambda cost: cost.receiver,
    "sender": lambda cost: cost.sender,
}


def available(words: str = "") -> tuple[list[Pair], dict[str, str]]:
    """Return the pairs whose names hold one of these words and that can be run, and why others cannot."""
    absent = {}
    for name in FOLDERS:
        with contextlib.suppress(MissingError):  # `command` says it below
            build(name)
    found = []
    for pair in PAIRS:
        if words and not any(word in pair.name for word in words.split(",")):
            continue
        try:
            if pair.peer not in DIRECT:
                command(pair.peer)
        except MissingError as error:
            absent[pair.peer] = str(error)
        else:
            found.append(pair)
    return found, absent


def measure(pairs: Sequence[Pair], rounds: int, part: float = 1.0) -> dict[Pair, list[Cost]]:
    """Let the pairs take turns."""
    found: dict[Pair, list[Cost]] = {pair: [] for pair in pairs}
    for number in range(rounds):
        for pair in pairs:
            say(f"round {number + 1} of {rounds}: {pair.name}")
            found[pair].append(pair.run(part))
    return found


def table(found: dict[Pair, list[Cost]]) -> list[str]:
    """Return the medians, and what others cost in times of ours, with GSO or without, as lines of Markdown."""
    named = {pair.name: costs for pair, costs in found.items()}
    lines = [
        "| pair | what | receiver ns/B | sender ns/B | MB/s | receiver ÷ ours | sender ÷ ours |",
        "|---|---|---|---|---|---|---|",
    ]
    for pair, costs in found.items():
        ours = named.get(OURS if pair.gso or pair.name in COMPARED[OURS] else "ssbfast")
        cells = [pair.name, pair.about]
        cells += [digits(statistics.median(map(figure, costs))) for figure in FIGURES.values()]
        cells.append(digits(statistics.median(cost.rate for cost in costs)))
        for figure in FIGURES.values():
            if ours is None or ours is costs:
                cells.append("")
                continue
            middle, least, most = ratios([*map(figure, costs)], [*map(figure, ours)])
            cells.append(f"{digits(middle)} ({digits(least)}–{digits(most)})")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_quic", description="CPU a byte of QUIC.")
    parser.add_argument("--quick", action="store_true", help="one short round: rough figures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="only pairs whose names hold one of these words")
    options = parser.parse_args()
    pairs, absent = available(options.only)
    found = measure(pairs, 1 if options.quick else options.rounds, 0.2 if options.quick else 1.0)
    print(f"{cpu_model()}, loopback; our SIMD path: {environment()['backend']}.")
    for name, why in absent.items():
        print(f"Not there: {name} ({why}).")
    print("\n".join(["", *table(found)]))

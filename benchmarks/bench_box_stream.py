"""Box stream: sealing and opening, by size of the body.

`mix` is what JS peers send: a box of 9 bytes (the packet's head) before every body, here of 1000 bytes. Sealing is
one call a box, as programs do it; `64k` is one call of 65,536 bytes, which fills 16 boxes. Opening is always one call
for a read of 64 KiB or a little more.
"""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.baselines import BOXES, KEY, NONCE, Boxes, sealed
from benchmarks.conftest import Note

TOTAL = 65_536
SIZES: dict[str, tuple[int, ...]] = {
    "9": (9,),
    "64": (64,),
    "256": (256,),
    "1024": (1024,),
    "4096": (4096,),
    "mix": (9, 1000),
}


def bodies(sizes: tuple[int, ...]) -> list[bytes]:
    """Bodies of these sizes in turn, up to `TOTAL` bytes."""
    count = TOTAL // sum(sizes)
    return [hashlib.shake_128(b"%d" % i).digest(size) for i in range(count) for size in sizes]


def cases(group: str, labels: list[str]) -> list[Any]:
    """One case for each size and contender; those of a size are shown together."""
    return [
        pytest.param(BOXES[name], label, id=f"{label}-{name}", marks=pytest.mark.benchmark(group=f"{group} {label}"))
        for label in labels
        for name in BOXES
        if not (label == "64k" and name == "pynacl")  # it takes one body a call
    ]


@pytest.mark.parametrize(("boxes", "label"), cases("seal", [*SIZES, "64k"]))
def bench_seal(benchmark: BenchmarkFixture, note: Note, boxes: Boxes, label: str) -> None:
    plains = [b"".join(bodies((4096,)))] if label == "64k" else bodies(SIZES[label])
    sealer = boxes.sealer(KEY, NONCE)
    correct = b"".join(sealer.seal(plain) for plain in plains) == sealed(plains)
    note(correct=correct)

    def seal() -> None:
        for plain in plains:
            sealer.seal(plain)

    benchmark(seal)
    note(correct=correct, nbytes=sum(map(len, plains)), boxes=len(plains), sizes=label)


@pytest.mark.parametrize(("boxes", "label"), cases("open", list(SIZES)))
def bench_open(benchmark: BenchmarkFixture, note: Note, boxes: Boxes, label: str) -> None:
    plains = bodies(SIZES[label])
    wire = sealed(plains)
    correct = boxes.opener(KEY, NONCE).open(wire) == plains
    note(correct=correct)

    def fresh() -> tuple[tuple[Any, bytes], dict[str, Any]]:
        return (boxes.opener(KEY, NONCE), wire), {}

    timed: Any = benchmark  # its pedantic() has no types
    timed.pedantic(lambda opener, data: opener.open(data), setup=fresh, rounds=100, warmup_rounds=3)
    note(correct=correct, nbytes=sum(map(len, plains)), boxes=len(plains), sizes=label)

"""The relay engine: what comes in on one link leaves, re-numbered, on another (receive → lane → flush).

No sockets: one read of about 64 KiB, then one flush. Bodies of 4087, 1000 and 64 bytes; `merged` has head and body in
one box, as we send; `split` has a box for each, as JS peers send.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.baselines import ENGINES, PlainRelay, packet, sealed
from benchmarks.conftest import Note
from ssbfast.cli.bench.relay import REQ_IN, REQ_OUT, EngineRelay, arrived

TOTAL = 65_536
SIZES = (4087, 1000, 64)
Relay = Callable[[bytes], bytes]


def _by_engine(name: str) -> Callable[[], Relay]:
    return lambda: EngineRelay(ENGINES[name]).relay


RELAYS: dict[str, Callable[[], Relay]] = {
    **{name: _by_engine(name) for name in ENGINES},
    "pynacl": lambda: PlainRelay(REQ_OUT).relay,
}


def cases() -> list[Any]:
    return [
        pytest.param(make, style, size, id=f"{style}-{size}-{name}", marks=pytest.mark.benchmark(group=group))
        for style in ("merged", "split")
        for size in SIZES
        for group in (f"splice {style} {size}",)
        for name, make in RELAYS.items()
    ]


def traffic(style: str, size: int) -> tuple[bytes, bytes]:
    """The sealed bytes of one read, and the payload in them."""
    plains: list[bytes] = []
    payload: list[bytes] = []
    for i in range(TOTAL // (size + 9)):
        payload.append(hashlib.shake_128(b"%d" % i).digest(size))
        whole = packet(0x08, REQ_IN, payload[-1])
        plains += [whole] if style == "merged" else [whole[:9], whole[9:]]
    return sealed(plains), b"".join(payload)


@pytest.mark.parametrize(("make", "style", "size"), cases())
def bench_splice(benchmark: BenchmarkFixture, note: Note, make: Callable[[], Relay], style: str, size: int) -> None:
    wire, payload = traffic(style, size)
    out = make()(wire)
    correct = arrived(out) == ({REQ_OUT}, payload)
    note(correct=correct)

    def fresh() -> tuple[tuple[Relay, bytes], dict[str, Any]]:
        return (make(), wire), {}

    timed: Any = benchmark  # its pedantic() has no types
    timed.pedantic(lambda relay, data: relay(data), setup=fresh, rounds=100, warmup_rounds=3)
    note(correct=correct, nbytes=len(payload), sizes=str(size), style=style, wire_in=len(wire), wire_out=len(out))

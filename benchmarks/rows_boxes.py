"""Rows of the report that run in this process: box streams in C and through Python, beside other stacks."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from benchmarks import compat, kernels, streams
from benchmarks.baselines import KEY, NONCE
from benchmarks.measured import Measured, Plan, compared, say
from benchmarks.targets import BATCHED, COMPAT, IN_C, NATIVE, ONE_IN_C, TO_JS, Row
from ssbfast import pure
from ssbfast.cli.bench.box_stream import CASES, along, paths
from ssbfast.cli.bench.contest import WrongAnswerError
from ssbfast.cli.bench.runner import figures
from ssbfast.wire.box_stream import Boxer, Unboxer

_KINDS: Final = ("native", "batched", "compat")


def in_c(plan: Plan) -> Iterator[Measured]:
    yield from _kernels(plan, IN_C, 0)


def one_in_c(plan: Plan) -> Iterator[Measured]:
    yield from _kernels(plan, ONE_IN_C, 1)


def _kernels(plan: Plan, row: Row, at_once: int) -> Iterator[Measured]:
    if (reason := kernels.why_not()) is not None:
        plan.absent["kernels in C"] = reason
        return
    for case, sizes in kernels.SIZES.items():
        say(f"{row.name}, {case}")
        found = kernels.measure(sizes, at_once, min(kernels.ROUNDS_MAX, 2 * plan.turns + 1))
        boxes = found["bytes"] / sum(sizes) * len(sizes)
        for way in kernels.WAYS:
            taken = {path: rounds[way] for path, rounds in found["taken"].items()}
            yield from compared(row, f"{way} {case}", figures(taken, "libsodium"), "libsodium", boxes)


def one_chunk(plan: Plan) -> Iterator[Measured]:
    yield from _to_original(plan, NATIVE, "native")


def batched(plan: Plan) -> Iterator[Measured]:
    yield from _to_original(plan, BATCHED, "batched")


def old_classes(plan: Plan) -> Iterator[Measured]:
    """The classes to the native API on the same path; and to the originals, without a target."""
    for case, (taken, pieces) in _python(plan).items():
        for path in paths():
            mine = {path: taken[f"compat {path}"], "native": taken[f"native {path}"]}
            yield from compared(COMPAT, case, figures(mine, "native"), "native", pieces)


def _to_original(plan: Plan, row: Row, kind: str) -> Iterator[Measured]:
    for case, (taken, pieces) in _python(plan).items():
        if "original" not in taken:
            plan.absent["PySecretHandshake"] = "SSBFAST_PEERS names no directory with it"
            return
        mine = {path: taken[f"{kind} {path}"] for path in paths()} | {"original": taken["original"]}
        yield from compared(row, case, figures(mine, "original"), "original", pieces)


Rounds = dict[str, list[tuple[float, float]]]


@functools.cache
def _python(plan: Plan) -> dict[str, tuple[Rounds, int]]:
    """By case: (CPU, wall) of each round of the original, and of ours by kind and path; and how many pieces."""
    stacks, loop = compat.stacks(), asyncio.new_event_loop()
    found = {}
    for size in compat.SIZES:
        plains = compat.plain_texts(size)
        for path in paths():
            _check(path, plains)
        for verb, work in (("write", compat.writers(stacks, plains)), ("read", compat.readers(stacks, plains, loop))):
            say(f"Python API, {verb} {size}")
            contenders: dict[str, Callable[[], object]] = {
                f"{kind} {path}": along(path, work[kind]) for path in paths() for kind in _KINDS
            }
            if "original" in work:
                contenders["original"] = work["original"]
            if len({one() for one in contenders.values()}) != 1:
                raise WrongAnswerError(f"not all come to the same: {verb} {size}")
            timed = {name: partial(streams.timed, one, 1) for name, one in contenders.items()}
            found[f"{verb} {size}"] = streams.take_turns(timed, plan.turns), len(plains)
    loop.close()
    return found


def _check(path: str, plains: list[bytes]) -> None:
    wire = pure.Sealer(KEY, NONCE).seal_many(plains)
    sealed = along(path, lambda: Boxer(KEY, NONCE).seal_many(plains))()
    if sealed != wire or along(path, lambda: Unboxer(KEY, NONCE).open_boxes(wire))() != plains:
        raise WrongAnswerError(f"{path} gives a wrong answer")


def to_others(plan: Plan) -> Iterator[Measured]:
    """Ours on each path, PyNaCl, pure, Go and OpenSSL, each to JavaScript."""
    for way, case, _, found in streams.measure(plan.turns, plan.absent):
        say(f"{TO_JS.name}, {way} {case}")
        yield from compared(TO_JS, f"{way} {case}", found, "js", len(streams.bodies_of(CASES[case])))

"""The fuzz targets of the parsers, as properties: kept inputs, inputs made of them, any bytes, and long ones."""

from __future__ import annotations

import time
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.corpora import CORPUS, LONGEST, kept
from tests.fuzz.parsers import TARGETS
from tests.fuzz.parsers.target import Target

EACH: Final = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
LONG: Final = 60_000
SECONDS: Final = 10.0
"""Of processor time for one long input: thousands of times what it takes. What grows by squares takes longer."""

_Edit = tuple[int, int, bytes]


def _edited(seed: bytes, edits: list[_Edit]) -> bytes:
    """Replace some bytes at each place, given in 65,536ths of the length, by others."""
    for place, cut, put in edits:
        at = place * (len(seed) + 1) >> 16
        seed = seed[:at] + put + seed[at + cut :]
    return seed


def _inputs(name: str) -> st.SearchStrategy[bytes]:
    seeds = kept(name)
    put = st.one_of(st.binary(max_size=4), st.sampled_from(seeds).map(lambda seed: seed[:40]))
    edits = st.lists(st.tuples(st.integers(0, 65535), st.integers(0, 12), put), max_size=5)
    return st.one_of(st.binary(max_size=200), st.builds(_edited, st.sampled_from(seeds), edits))


def test_each_target_has_a_corpus_and_says_what_holds() -> None:
    assert len(TARGETS) >= 19
    assert [name for name, target in TARGETS.items() if not target.__doc__ or not kept(name)] == []
    assert [path for path in CORPUS.rglob("*") if path.is_file() and path.stat().st_size > LONGEST] == []


@EACH
def test_kept_inputs(target: Target) -> None:
    for data in [b"", *kept(target.__name__)]:
        target(data)


@EACH
@given(data=st.data())
def test_made_inputs(target: Target, data: st.DataObject) -> None:
    target(data.draw(_inputs(target.__name__)))


@EACH
def test_long_inputs(target: Target) -> None:
    for seed in kept(target.__name__)[:3]:
        for part in (seed, seed[len(seed) // 2 :], seed[:1], seed[-1:]):
            for data in (part * (LONG // max(1, len(part))), seed + part * (LONG // max(1, len(part)))):
                begun = time.process_time()
                target(data)
                assert time.process_time() - begun < SECONDS

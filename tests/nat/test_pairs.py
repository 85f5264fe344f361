"""Every pair of NATs: who meets directly, and who stays on the relay and is told so in time.

A is the target and B the caller; the pairs are ordered, so that each kind is met in both roles. A few pairs run
always, and three of them with aioquic alone at one end, which meet every kind that lets UDP through; all 38 with every
mix when SSBFAST_TEST_LAB=all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, get_args

import pytest

from tests.nat.kinds import Kind
from tests.nat.mixes import ALL, ENGINES, MIXES, Mix, mixed
from tests.nat.neighbours import Blob, lab_programs

pytestmark = [pytest.mark.nat, pytest.mark.timeout(240)]

HARD: Final = {("port", "symmetric"), ("port-open", "symmetric"), ("symmetric", "symmetric")}
"""Who cannot meet without a search, either way round."""

DECISION_MS: Final = 15_000

TELLING: Final = {
    ("public", "symmetric"),
    ("symmetric", "full-cone"),
    ("address", "symmetric"),
    ("port", "port"),
    ("port", "port-open"),
    ("port-open", "port"),
    ("port-open", "port-open"),
    ("port", "symmetric"),
    ("port", "blocked"),
}


def can_meet(a: Kind, b: Kind) -> bool:
    return "blocked" not in (a, b) and not {(a, b), (b, a)} & HARD


def pairs() -> list[tuple[Kind, Kind]]:
    kinds = [kind for kind in get_args(Kind) if kind != "blocked"]
    matrix = [(a, b) for a in kinds for b in kinds]
    return [*matrix, ("blocked", "port"), ("port", "blocked")]


PAIRS: Final = [pair for pair in pairs() if pair in TELLING or ALL]
MIXED: Final[list[tuple[Kind, Kind]]] = [("symmetric", "full-cone"), ("address", "public"), ("port", "port-open")]
"""What runs with each mix: every kind that QUIC passes, once."""


def test_there_are_38_of_which_31_can_meet() -> None:
    assert len(pairs()) == 38
    assert sum(can_meet(*pair) for pair in pairs()) == 31
    assert set(pairs()) >= TELLING
    assert sorted(kind for pair in MIXED for kind in pair) == sorted({*get_args(Kind)} - {"blocked"})


@mixed("a b", PAIRS, *((mix, pair) for mix in MIXES if mix is not ENGINES for pair in MIXED))
def test_pair(a: Kind, b: Kind, mix: Mix, tmp_path: Path) -> None:
    with lab_programs(tmp_path, a, b, mix=mix) as street:
        room = street.room()
        listener = street.listen("A")
        caller, port = street.connect("B")
        path = street.until_path(caller, "B", port)
        print(f"pair {mix} {a} {b} {path['path']} {path['took_ms']} ms, rtt {path['rtt_ms']}")
        blob, relayed, direct = Blob(1_000_000), street.relayed(), street.direct()
        assert street.fetch("B", port, blob)[:2] == (blob.size, blob.digest)
        relayed, direct = street.relayed() - relayed, street.direct() - direct
        if can_meet(a, b):
            assert path["path"] == "direct"
            assert listener.event("path")["path"] == "direct"
            assert relayed < blob.size // 10 and direct > blob.size
        else:
            assert path["path"] == "tunnel"
            assert path["took_ms"] <= DECISION_MS
            assert relayed > blob.size and direct < blob.size // 10
        assert not caller.said("closed") and not listener.said("closed")
        assert len(room.said("tunnel_opened")) == (2 if can_meet(a, b) else 1)

"""What the two ends of a lab run go on with after QUIC's handshake: the engine in C, or aioquic alone.

    @mixed("kind", ["port", "symmetric"], (AIOQUIC_CALLS, "port"))
    def test_…(kind: Kind, mix: Mix, tmp_path: Path) -> None:
        with lab_programs(tmp_path, kind, mix=mix) as street: …

Each case runs with the engine at both ends, and what is named beside them with another mix. SSBFAST_TEST_LAB=all runs
all that the lab knows: every case with every mix, all 38 pairs of NATs, every kind of router that maps ports.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import pytest

Engine = Literal["native", "aioquic"]
"""For SSBFAST_DIRECT: there is no direct path at all where the engine cannot take over, so that it is known to have."""


class Mix(NamedTuple):
    """The engines of A, which is the target, and of B, which calls."""

    target: Engine
    caller: Engine

    def __str__(self) -> str:
        return "/".join("engine" if end == "native" else end for end in self)


ENGINES: Final = Mix("native", "native")
AIOQUIC_CALLS: Final = Mix("native", "aioquic")
AIOQUIC_LISTENS: Final = Mix("aioquic", "native")
MIXES: Final = (ENGINES, AIOQUIC_CALLS, AIOQUIC_LISTENS)

ALL: Final = os.environ.get("SSBFAST_TEST_LAB") == "all"


def mixed(names: str, cases: Sequence[Any], *also: tuple[Mix, Any]) -> pytest.MarkDecorator:
    """Parametrize a test by these names, which may be none (then the case is `()`), and by `mix`.

    also: what runs always, beside all cases with the engine at both ends.
    """
    chosen = [(mix, case) for mix in MIXES for case in cases] if ALL else [*((ENGINES, case) for case in cases), *also]
    rows = [(mix, case if isinstance(case, tuple) else (case,)) for mix, case in chosen]
    values = [pytest.param(mix, *case, id="-".join(map(str, (*case, mix)))) for mix, case in rows]
    return pytest.mark.parametrize(["mix", *names.split()], values)

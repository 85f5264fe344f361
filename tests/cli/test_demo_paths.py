"""The judgement of the demo's second half: each report that does not fit to the others is noticed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from ssbfast.cli.demo.path_change import IN_FLIGHT, PLAIN_BYTES, Change, DemoError, DirectResult, judge

SIZE = 32_000_000
CUT = 24_000_000
REST = SIZE - CUT

Reports = list[dict[str, Any]]


def path(name: str, seconds: float) -> dict[str, Any]:
    return {"event": "path", "path": name, "seconds": seconds, "reason": "so it was"}


def returned() -> dict[str, Any]:
    hashes = {"sent_sha256": "h", "returned_sha256": "h"}
    return {"event": "direct_returned", "bytes": SIZE, "seconds": 5.0, "longest_pause": 1.6, **hashes}


@dataclass
class Said:
    """What everybody says of a demo that held; tests alter it."""

    target: Reports = field(default_factory=lambda: [path("direct", 0.1), path("tunnel", 3.6), returned()])
    caller: Reports = field(
        default_factory=lambda: [
            path("direct", 0.1),
            {"event": "cut", "bytes": CUT, "took": 2.0, "seconds": 2.1},
            path("tunnel", 3.7),
            {"event": "direct_received", "bytes": SIZE, "sha256": "h", "longest_pause": 1.5},
        ]
    )
    tunnels: Reports = field(default_factory=lambda: [{"bytes": 2_000}, {"bytes": 2 * REST}])

    def judge(self) -> DirectResult:
        return judge(SIZE, self.target, self.caller, self.tunnels)


def test_what_fits_together_holds() -> None:
    result = Said().judge()
    assert (result.size, result.sha256, result.before_cut) == (SIZE, "h", CUT)
    assert result.mb_per_second == 12.0
    assert (result.cut_at, result.pause) == (2.1, 1.6)
    assert (result.room_before, result.room_after) == (2_000, 2 * REST)
    assert result.changes["A"] == (Change("direct", 0.1, "so it was"), Change("tunnel", 3.6, "so it was"))
    assert [change.seconds for change in result.changes["C"]] == [0.1, 3.7]


def test_attempts_that_came_to_nothing_change_nothing() -> None:
    said = Said()
    said.caller.insert(0, path("tunnel", 0.05))
    said.caller.append(path("tunnel", 12.0))
    assert [change.seconds for change in said.judge().changes["C"]] == [0.1, 3.7]


def test_all_tunnels_behind_the_first_count_as_the_way_back() -> None:
    said = Said(tunnels=[{"bytes": 2_000}, {"bytes": 1_000}, {"bytes": 2 * REST}])
    assert said.judge().room_after == 2 * REST + 1_000


ARRIVED = "are not the bytes that were sent"
WENT = "did not go directly and then through the room again"
MORE = "more bytes than were left to send"


@pytest.mark.parametrize(
    ("alter", "reason"),
    [
        (lambda said: said.target[2].update(sent_sha256="x"), ARRIVED),
        (lambda said: said.target[2].update(returned_sha256="x"), ARRIVED),
        (lambda said: said.caller[3].update(sha256="x"), ARRIVED),
        (lambda said: said.target[2].update(bytes=SIZE - 1), ARRIVED),
        (lambda said: said.caller[3].update(bytes=SIZE + 1), ARRIVED),
        (lambda said: said.target.pop(0), f"peer A's session {WENT}"),
        (lambda said: said.target.pop(1), f"peer A's session {WENT}"),
        (lambda said: said.caller.pop(2), f"peer C's session {WENT}"),
        (lambda said: said.target.append(path("direct", 9.0)), f"peer A's session {WENT}"),
        (lambda said: said.caller[1].update(seconds=3.8), "left its direct path before that was cut"),
        (lambda said: said.caller[1].update(seconds=0.05), "left its direct path before that was cut"),
        (lambda said: said.tunnels[0].update(bytes=PLAIN_BYTES + 1), "carried bytes that the peers say went directly"),
        (lambda said: said.tunnels[1].update(bytes=REST - 1), "fewer bytes than arrived after the cut"),
        (lambda said: said.tunnels[1].update(bytes=2 * SIZE), MORE),
        (lambda said: said.tunnels[1].update(bytes=2 * REST + REST // 25 + IN_FLIGHT + PLAIN_BYTES + 1), MORE),
        (lambda said: said.caller.pop(1), "no part reported 'cut'"),
        (lambda said: said.target.pop(2), "no part reported 'direct_returned'"),
    ],
)
def test_what_does_not_fit_is_noticed(alter: Callable[[Said], object], reason: str) -> None:
    said = Said()
    alter(said)
    with pytest.raises(DemoError, match=reason):
        said.judge()

"""Paths that get narrower, and wider again, while sessions use them: a router swallows what is too long, silently."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.processes import PATIENCE
from tests.nat.mixes import AIOQUIC_CALLS, AIOQUIC_LISTENS, Mix, mixed
from tests.nat.neighbours import Blob, LabPrograms, Program, Side, lab_programs

pytestmark = [pytest.mark.nat, pytest.mark.timeout(240)]

NARROW: Final = 1300
"""Bytes of an IP packet: 1,200 of UDP pass, 1,400 do not."""

TOO_NARROW: Final = 1100

GAP: Final = 10.0
"""Seconds without a byte that a test stands: two in truth, but this machine may be busy."""


@contextlib.contextmanager
def narrowed(street: LabPrograms, length: int) -> Iterator[None]:
    """No UDP between the peers that is longer than this passes A's router."""
    for line in (
        "add table ip narrow",
        "add chain ip narrow through { type filter hook forward priority 10; }",
        f"add rule ip narrow through meta l4proto udp ip length > {length} drop",
    ):
        street.lab.run("NA", ["nft", line])
    try:
        yield
    finally:
        street.lab.run("NA", ["nft", "delete", "table", "ip", "narrow"])


def paths(program: Program, count: int) -> list[str]:
    """The paths that it has told of, as soon as they are so many."""
    until = time.monotonic() + PATIENCE
    while len(told := program.said("path")) < count and time.monotonic() < until:
        time.sleep(0.05)
    return [event["path"] for event in told]


PATHS: Final = {"native": ["direct"], "aioquic": ["direct", "tunnel", "direct"]}
"""What a caller tells when that sends: the engine takes shorter datagrams at once; aioquic's next path has them."""


@mixed("server", ["A", "B"], (AIOQUIC_LISTENS, "A"), (AIOQUIC_CALLS, "B"))
def test_a_path_that_gets_narrower_costs_moments_or_is_back_with_shorter_datagrams(
    server: Side, mix: Mix, tmp_path: Path
) -> None:
    """The bytes come from the target, or from the caller; the caller is B."""
    engine = mix.target if server == "A" else mix.caller  # the sender's
    with lab_programs(tmp_path, "port", "port", mix=mix) as street:
        street.room()
        street.listen("A")
        caller, port = street.connect("B")
        assert street.until_path(caller, "B", port)["path"] == "direct"
        blob = Blob(400_000)
        move = street.fetch if server == "A" else street.put
        move("B", port, blob)
        with narrowed(street, NARROW):
            moved = move("B", port, blob)
            print(f"narrowed {mix} {server} {moved.seconds:.2f} s, gap {moved.gap:.2f} s")
            assert moved[:2] == (blob.size, blob.digest)
            assert moved.gap < GAP
            assert paths(caller, len(PATHS[engine])) == PATHS[engine]
            before = street.direct()
            move("B", port, blob)
            assert street.direct() - before > blob.size
        move("B", port, blob)  # and it is wide again
        assert len(caller.said("path")) == len(PATHS[engine])


@mixed("", [()])
def test_where_not_even_the_shortest_datagrams_pass_the_session_is_in_the_room(mix: Mix, tmp_path: Path) -> None:
    with lab_programs(tmp_path, "port", "port", mix=mix) as street:
        street.room()
        street.listen("A")
        caller, port = street.connect("B")
        assert street.until_path(caller, "B", port)["path"] == "direct"
        blob = Blob(400_000)
        with narrowed(street, TOO_NARROW):
            moved = street.fetch("B", port, blob)
            assert moved[:2] == (blob.size, blob.digest) and moved.gap < GAP
            assert paths(caller, 3) == ["direct", "tunnel", "tunnel"]
            street.fetch("B", port, blob)

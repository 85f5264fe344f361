"""QUIC with other implementations: aioquic as it comes, quic-go and quinn, each with our engine, in both roles.

The programs are those of `benchmarks/quic`. Each pair moves bytes one way, the other way and there and back, while the
other implementation updates its keys as often as it can. SSBFAST_TEST_QUIC_BYTES says how many, 100 MB when the engine
is to be tried hard.
"""

from __future__ import annotations

import os
import sys

import pytest

from tests.helpers.require import require

if sys.version_info < (3, 11):
    pytest.skip("aioquic needs Python 3.11: there are no direct paths", allow_module_level=True)
pytest.importorskip("fcntl", reason="the programs of QUIC's peers need POSIX")

from benchmarks.quic import programs
from benchmarks.quic.pairs import OTHER, Outcome, transfer
from benchmarks.quic.peer import JOBS

pytestmark = pytest.mark.interop

BYTES = int(os.environ.get("SSBFAST_TEST_QUIC_BYTES", "2_000_000"))
UPDATES = 100
"""Packets between two key updates of the other end."""
OURS = "ssbfast"
OTHERS = ("aioquic", "quic-go", "quinn")


def needed(*peers: str) -> None:
    """Skip unless these programs are there."""
    for peer in peers:
        try:
            programs.command(peer)
        except programs.MissingError as missing:
            require(peer, False, str(missing))


def checked(server: str, client: str, job: str) -> tuple[Outcome, Outcome]:
    """Transfer, and look at both ends."""
    needed(server, client)
    ends = transfer(server, client, job, BYTES, suite="chacha20", updates=UPDATES)
    assert [(end.peer, end.job) for end in ends] == [(server, job), (client, OTHER[job])]
    assert all(end.is_right for end in ends), ends
    assert all("CHACHA20" in end.said["suite"].upper() for end in ends)
    return ends


def updates_of_ours(ends: tuple[Outcome, Outcome]) -> int:
    """Return how many updates of the other end our engine has followed."""
    return sum(int(end.said["figures"]["updates"]) for end in ends if end.peer == OURS)


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.timeout(240)
def test_our_engine_dials(other: str, job: str) -> None:
    ends = checked(other, OURS, job)
    assert updates_of_ours(ends) > 0


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.timeout(240)
def test_our_engine_listens(other: str, job: str) -> None:
    ends = checked(OURS, other, job)
    assert updates_of_ours(ends) > 0


@pytest.mark.parametrize("job", ["send", "ask"])
@pytest.mark.timeout(240)
def test_our_engine_at_both_ends(job: str) -> None:
    checked(OURS, OURS, job)


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("aioquic_listens", [True, False], ids=["listens", "dials"])
@pytest.mark.timeout(240)
def test_aioquic(other: str, aioquic_listens: bool) -> None:
    """The programs themselves: what our engine is to do, aioquic does."""
    pair = ("aioquic", other) if aioquic_listens else (other, "aioquic")
    checked(*pair, "ask")

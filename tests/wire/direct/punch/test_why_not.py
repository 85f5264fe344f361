"""Why there is no birthday search, as people are told it."""

from __future__ import annotations

import pytest

from ssbfast.wire.direct.punch import birthday
from ssbfast.wire.direct.punch.candidates import Candidate, Candidates, Kind, NatMapping

EASY, HARD, UNKNOWN = NatMapping.EASY, NatMapping.HARD, NatMapping.UNKNOWN


def end(mapping: NatMapping, wants: bool = True) -> Candidates:
    return Candidates((Candidate("192.0.2.1", 4000, Kind.REFLEXIVE),), mapping, wants)


@pytest.mark.parametrize(
    ("ours", "theirs", "reflectors", "why"),
    [
        (end(UNKNOWN, False), end(HARD), 1, None),  # who does not search asks for no reason
        (end(EASY), end(HARD, False), 2, "the other end does not search, or not again so soon"),
        (end(UNKNOWN), end(HARD), 1, "one reflector cannot tell a symmetric NAT"),
        (end(UNKNOWN), end(HARD), 0, "no reflector has answered"),
        (end(EASY), end(UNKNOWN), 2, "the other end cannot tell the kind of its NAT"),
        (end(HARD), end(HARD), 2, "both NATs are symmetric"),
        (end(EASY), end(EASY), 2, "neither NAT is symmetric"),
        (end(EASY), end(HARD), 2, None),
        (end(HARD), end(EASY), 2, None),
    ],
)
def test_why_not(ours: Candidates, theirs: Candidates, reflectors: int, why: str | None) -> None:
    assert birthday.why_not(ours, theirs, reflectors) == why

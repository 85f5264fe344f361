"""What goes wrong with many connections is told once a second, with how many it were."""

from __future__ import annotations

import asyncio

import pytest

from ssbfast import limits
from ssbfast.keys import Keypair
from ssbfast.net.forward.failures import Complaint, Complaints
from tests.helpers.rawpeer import eventually

A = Keypair.generate().id


async def test_the_first_is_told_at_once_and_the_others_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COMPLAINT_SECONDS", 1000.0)
    told: list[Complaint] = []
    complaints = Complaints(told.append)
    for _ in range(100):
        complaints.add(A, "down")
    complaints.add(None, "full")
    assert told == [Complaint(A, "down", 1)]
    complaints._next()
    complaints._next()
    assert told[1:] == [Complaint(A, "down", 99), Complaint(None, "full", 1)]
    complaints.close()
    assert complaints._timer is None


async def test_the_next_is_told_when_it_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COMPLAINT_SECONDS", 0.01)
    told: list[Complaint] = []
    complaints = Complaints(told.append)
    for reason in ("a", "b", "b", "c"):
        complaints.add(A, reason)
    await eventually(lambda: len(told) == 3)
    assert [(one.reason, one.count) for one in told] == [("a", 1), ("b", 2), ("c", 1)]
    await eventually(lambda: complaints._timer is None)
    complaints.add(A, "d")
    assert told[3].reason == "d"
    complaints.close()
    await asyncio.sleep(0)


async def test_kinds_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COMPLAINT_SECONDS", 1000.0)
    complaints = Complaints(lambda _one: None)
    for number in range(2 * limits.COMPLAINT_KINDS):
        complaints.add(None, str(number))
    assert len(complaints._counts) == limits.COMPLAINT_KINDS
    complaints.close()

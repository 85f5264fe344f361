"""Which session leaves when its address has no place left."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.server.limit_table import RoomCaps
from ssbfast.server.room_limits import RoomLimits

NETWORKS = ("192.0.2.1",)
_numbers = itertools.count()


class FakeSession:
    """age: seconds since it came. moved: bytes of its one tunnel, None for no tunnel. siblings: sessions of its key."""

    def __init__(self, age: float, moved: int | None = None, siblings: int = 1) -> None:
        self.networks = NETWORKS
        self.began = 1000.0 - age + next(_numbers) / 1e6
        self.splices = {} if moved is None else {1: SimpleNamespace(moved=(moved, 0))}
        self.is_dismissed = False
        self._age, self._siblings = age, siblings

    def age(self) -> float:
        return self._age

    def siblings(self) -> int:
        return self._siblings

    def dismiss(self) -> None:
        self.is_dismissed = True


USED, UNUSED = limits.UNUSED_TUNNEL + 1, limits.UNUSED_TUNNEL


@pytest.mark.parametrize(
    ("leaves", "stay"),
    [
        (FakeSession(60), [FakeSession(60, USED), FakeSession(0.5), FakeSession(60, UNUSED)]),
        (FakeSession(60, UNUSED), [FakeSession(60, USED), FakeSession(0.5)]),
        (FakeSession(0.5), [FakeSession(60, USED), FakeSession(0.5, UNUSED)]),
        (FakeSession(60, siblings=5), [FakeSession(60, siblings=2), FakeSession(60)]),
        (FakeSession(30), [FakeSession(60), FakeSession(90)]),
    ],
    ids=["no tunnel", "tunnel that is not used", "new, beside a tunnel that is used", "key with most", "newest"],
)
def test_the_least_deserving_leaves(leaves: FakeSession, stay: list[FakeSession]) -> None:
    books = RoomLimits(
        RoomCaps({"sessions": 100, "sessions_per_address": 1 + len(stay)}), lambda: 1000.0, lambda _limit: None
    )
    everyone: list[Any] = [stay[0], leaves, *stay[1:]]
    for session in everyone:
        books.sessions.add(session, NETWORKS)
    newcomer: Any = FakeSession(0)
    assert books.enter(newcomer)
    assert [session for session in everyone if session.is_dismissed] == [leaves]

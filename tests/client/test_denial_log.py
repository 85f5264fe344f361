"""Refusals on their way into the store: at once, at most once a second, and none lost on the way out."""

from __future__ import annotations

import asyncio
import itertools
import random
import sqlite3
from pathlib import Path
from unittest import mock

import pytest

from ssbfast import limits
from ssbfast.client.denial_log import DenialLog
from ssbfast.room.denials import Denial
from ssbfast.room.tunnel_auth import Reason, Relation, Verdict
from ssbfast.store.peer_store import FILE, Store
from tests.helpers.rooms import feed

ROOM = feed(1000)
STRANGER = Verdict(Reason.STRANGER, Relation())
BLOCKED = Verdict(Reason.BLOCKED, Relation(blocks=True))


class Log(DenialLog):
    """With the writes counted, and what was told."""

    def __init__(self, data: Path) -> None:
        self.told: list[Denial] = []
        self.news = asyncio.Event()
        clock = itertools.count(17)
        super().__init__(
            data, recorded=self._tell, now=lambda: float(next(clock)), randbelow=random.Random(1).randrange
        )
        self._record = mock.patch.object(self._store, "record", wraps=self._store.record).start()

    @property
    def writes(self) -> int:
        return int(self._record.call_count)

    def failed(self) -> bool:
        return self.failure is not None

    def _tell(self, denial: Denial) -> None:
        self.told.append(denial)
        self.news.set()


def stored(data: Path) -> list[Denial]:
    with Store(data) as store:
        return store.denials()


async def test_the_first_is_written_at_once(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.refused(ROOM, feed(1), STRANGER)
    await log.news.wait()
    assert log.told == stored(tmp_path) == [Denial(ROOM, feed(1), Reason.STRANGER, 17.0, number=1)]
    await log.close()
    await log.close()


async def test_the_section_follows_from_the_relation(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.refused(ROOM, feed(1), BLOCKED)
    log.refused(ROOM, feed(2), Verdict(Reason.MISMATCH, Relation(True)))
    log.refused(ROOM, feed(3), Verdict(Reason.GRAPH_AWAY, None))
    log.refused(ROOM, feed(4), Verdict(None, Relation(True)))  # was let in
    await log.close()
    log.refused(ROOM, feed(5), STRANGER)  # too late
    assert [(item.origin, item.known) for item in stored(tmp_path)] == [
        (feed(1), True),
        (feed(2), True),
        (feed(3), False),
    ]
    assert log.told == stored(tmp_path)


async def test_a_flood_is_few_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause between writes lasts until the test says so."""
    paused: list[float] = []
    over = asyncio.Event()
    real = asyncio.sleep

    async def pause(seconds: float) -> None:
        if seconds:
            paused.append(seconds)
            await over.wait()
            over.clear()
        await real(0)

    monkeypatch.setattr("ssbfast.client.denial_log.asyncio.sleep", pause)
    log = Log(tmp_path)
    log.refused(ROOM, feed(0), STRANGER)
    await log.news.wait()
    for n in range(1, 5000):
        log.refused(ROOM, feed(n), STRANGER)
        if n % 500 == 0:
            await real(0)
    log.refused(ROOM, feed(7777), BLOCKED)
    assert log.writes == 1
    log.news.clear()
    over.set()
    await log.news.wait()
    assert log.writes == 2 and paused[0] == limits.DENIAL_WRITE_SECONDS
    assert len(stored(tmp_path)) == limits.DENIALS_PER_ROOM + 1
    assert feed(7777) in [item.origin for item in log.told]
    with Store(tmp_path) as store:
        assert store.denial_counts()[ROOM].refused == 5001
    await log.close()
    assert log.writes == 2


async def test_closing_writes_what_waits(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.refused(ROOM, feed(1), STRANGER)
    await log.news.wait()
    log.refused(ROOM, feed(2), STRANGER)
    await log.close()
    assert [item.number for item in log.told] == [1, 2]
    assert log.told == stored(tmp_path)


async def test_a_write_that_fails_is_made_good(tmp_path: Path) -> None:
    log = Log(tmp_path)
    blocker = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    log._store._connection.execute("PRAGMA busy_timeout = 1")
    log.refused(ROOM, feed(1), STRANGER)
    while not log.failed():
        await asyncio.sleep(0.01)
    log.refused(ROOM, feed(2), STRANGER)
    blocker.execute("ROLLBACK")
    blocker.close()
    await log.close()
    assert not log.failed()
    assert [item.origin for item in stored(tmp_path)] == [feed(1), feed(2)]


async def test_nothing_is_left_behind(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.refused(ROOM, feed(1), STRANGER)
    await log.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_what_a_listener_does_may_fail(tmp_path: Path) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context["exception"]))

    def broken(denial: Denial) -> None:
        raise ValueError(denial)

    log = DenialLog(tmp_path, recorded=broken)
    for n in range(3):
        log.refused(ROOM, feed(n), STRANGER)
    await log.close()
    assert len(complaints) == len(stored(tmp_path)) == 3

"""The keeper of a room's records: it writes in a thread, and tells the room what is different before it answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ssbfast.errors import StoreError
from ssbfast.room.records import Outcome
from ssbfast.room.registry import Change, Registry, RoleChanged
from ssbfast.room.roles import Role
from ssbfast.server.keeper import Keeper
from ssbfast.store.room_store import RoomStore
from tests.helpers.rawpeer import eventually
from tests.helpers.rooms import feed

A, B = feed(1), feed(2)


class Kept:
    def __init__(self, store: RoomStore) -> None:
        self.store = store
        self.changes: list[Change] = []
        self.problems: list[str] = []
        self.keeper = Keeper(store, Registry(feed(9)), self._take, self.problems.append)

    def _take(self, changes: Sequence[Change]) -> None:
        self.changes += changes


@asynccontextmanager
async def kept(data: Path) -> AsyncIterator[Kept]:
    with RoomStore(data) as store:
        found = Kept(store)
        found.keeper.load()
        found.keeper.start()
        yield found
        await found.keeper.close()


async def test_a_change_is_felt_before_it_is_answered(tmp_path: Path) -> None:
    async with kept(tmp_path) as at:
        assert await at.keeper.run(at.store.add_member, A, by=None) is Outcome.DONE
        assert at.changes == [RoleChanged(A, Role.EXTERNAL, Role.MEMBER)]
        assert at.keeper.registry.role(A) is Role.MEMBER
        assert [member.feed for member in await at.keeper.read(at.store.members)] == [A]


async def test_many_changes_at_once_are_each_felt_once(tmp_path: Path) -> None:
    async with kept(tmp_path) as at:
        feeds = [feed(number) for number in range(10, 60)]
        await asyncio.gather(*(at.keeper.run(at.store.add_member, one, by=None) for one in feeds))
        assert [change.feed for change in at.changes if isinstance(change, RoleChanged)] == feeds


async def test_a_caller_that_is_cancelled_leaves_its_change_to_finish(tmp_path: Path) -> None:
    async with kept(tmp_path) as at:
        begun, go = threading.Event(), threading.Event()

        def slow() -> Any:
            begun.set()
            assert go.wait(20)
            return at.store.add_member(A, by=None)

        caller = asyncio.create_task(at.keeper.run(slow))
        await eventually(begun.is_set)
        caller.cancel()
        go.set()
        await eventually(lambda: at.changes)
        assert caller.cancelled() and at.keeper.registry.role(A) is Role.MEMBER


async def test_what_another_connection_writes_is_seen(tmp_path: Path) -> None:
    async with kept(tmp_path) as at:
        with RoomStore(tmp_path) as other:
            other.block(A, "", by=None)
            await eventually(lambda: at.keeper.registry.role(A) is Role.BLOCKED)
            other.unblock(A, by=None)
            await at.keeper.refresh()
            assert at.keeper.registry.role(A) is Role.EXTERNAL


async def test_a_store_that_cannot_be_read_is_told_once_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kept(tmp_path) as at:
        looks = 0

        def broken() -> object:
            nonlocal looks
            looks += 1
            raise StoreError("the disk is gone")

        with monkeypatch.context() as patch:
            patch.setattr(at.store, "stamp", broken)
            await eventually(lambda: looks >= 3)
        assert at.problems == ["the disk is gone"]
        with RoomStore(tmp_path) as other:
            other.add_member(B, by=None)
            await eventually(lambda: at.keeper.registry.role(B) is Role.MEMBER)


async def test_a_closed_keeper_changes_nothing(tmp_path: Path) -> None:
    async with kept(tmp_path) as at:
        await at.keeper.close()
        with pytest.raises(StoreError):
            await at.keeper.run(at.store.add_member, A, by=None)
        assert list(at.store.members()) == []

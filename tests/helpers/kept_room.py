"""A room with records on a real socket, and keys of every role in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.room.roles import Mode, Role
from ssbfast.server.keeper import Keeper
from ssbfast.store.room_store import RoomStore
from tests.helpers.served_room import LAVISH, ServedRoom, served_room

KEYS: dict[Role, Keypair] = {
    role: Keypair.from_seed(bytes([60 + role]) * 32) for role in Role if role is not Role.OPERATOR
}
"""A key of each role."""


class KeptRoom:
    """room: what `served_room` gives. store: its records."""

    def __init__(self, room: ServedRoom, store: RoomStore) -> None:
        self.room = room
        self.store = store
        self.server = room.server

    @property
    def keeper(self) -> Keeper:
        assert self.server.keeper is not None
        return self.server.keeper

    async def block(self, feed: FeedId) -> None:
        await self.keeper.run(self.store.block, feed, "", by=None, force=True)

    async def unblock(self, feed: FeedId) -> None:
        await self.keeper.run(self.store.unblock, feed, by=None)

    async def add(self, feed: FeedId, role: Role = Role.MEMBER) -> None:
        await self.keeper.run(self.store.add_member, feed, role, by=None)

    async def remove(self, feed: FeedId) -> None:
        await self.keeper.run(self.store.remove_member, feed, by=None, force=True)

    async def change_mode(self, mode: Mode) -> None:
        await self.keeper.run(self.store.change_settings, by=None, mode=mode)


@asynccontextmanager
async def kept_room(data: Path, mode: Mode = Mode.COMMUNITY, **options: Any) -> AsyncIterator[KeptRoom]:
    """Open a room in a mode, with a key of each role; at the end nothing may be left of it."""
    with RoomStore(data) as store:
        store.change_settings(by=None, mode=mode)
        for role in (Role.MEMBER, Role.MODERATOR, Role.ADMIN):
            store.add_member(KEYS[role].id, role, by=None)
        store.block(KEYS[Role.BLOCKED].id, "on purpose", by=None)
        store.stamp()  # opens its second connection: what is open from now on is the room's
        options.setdefault("caps", LAVISH)
        async with served_room(records=store, **options) as room:
            yield KeptRoom(room, store)

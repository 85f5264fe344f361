"""A room that we have joined: its session, what it says of itself, and who is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from ssbfast import limits
from ssbfast.errors import DeadlineError, FeedIdError, RemoteError, SessionEndedError, SSBError
from ssbfast.ids import FeedId
from ssbfast.net.peer import Peer
from ssbfast.net.streams import Stream
from ssbfast.wire.muxrpc import NOT_ALLOWED


@dataclass(frozen=True, slots=True)
class Attendance:
    """Somebody came to a room, or left it."""

    id: FeedId
    present: bool


class JoinedRoom:
    """One room, as long as the session with it lasts.

    name: what it calls itself, or None. features: what it says it can, e.g. "tunnel", "room2".
    attendants: who is there now; `changes()` tells who comes and goes.
    """

    def __init__(self) -> None:
        self.peer: Peer | None = None
        self.name: str | None = None
        self.features: frozenset[str] = frozenset()
        self.attendants: set[FeedId] = set()
        self._listeners: list[asyncio.Queue[Attendance | None]] = []
        self._listing: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def session(self) -> Peer:
        """The session with the room. Raises SessionEndedError when there is none."""
        if self.peer is None:
            raise SessionEndedError("not in the room")
        return self.peer

    @property
    def id(self) -> FeedId:
        return self.session.id

    async def enter(self, *, announce: bool) -> None:
        """Find out which generation of room it is and, if wanted, subscribe: that is what announces us."""
        metadata = await self._first(("room.metadata", "tunnel.isRoom"))
        if isinstance(metadata, dict):
            name = metadata.get("name")
            self.name = name if isinstance(name, str) else None
            features = metadata.get("features")
            if isinstance(features, list):
                self.features = frozenset(item for item in features if isinstance(item, str))
        elif metadata is not True:
            raise RemoteError("the other end is not a room")
        if announce:
            listed = asyncio.get_running_loop().create_future()
            self._listing = asyncio.get_running_loop().create_task(self._follow(listed))
            try:
                await asyncio.wait_for(listed, limits.CALL_SECONDS)
            except asyncio.TimeoutError:
                raise DeadlineError("the room did not say who is there") from None

    async def leave(self) -> None:
        """Say goodbye to the room."""
        if self.peer is not None:
            await self.peer.close()
        if self._listing is not None:
            self._listing.cancel()

    async def changes(self) -> AsyncIterator[Attendance]:
        """First everybody who is there, then who comes and goes, until the session is over."""
        queue: asyncio.Queue[Attendance | None] = asyncio.Queue()
        for present in sorted(self.attendants):
            queue.put_nowait(Attendance(present, True))
        if self._is_closed:
            return
        self._listeners.append(queue)
        try:
            while (change := await queue.get()) is not None:
                yield change
        finally:
            self._listeners.remove(queue)

    def closed(self) -> None:
        """From the session: it is over."""
        self._is_closed = True
        for queue in self._listeners:
            queue.put_nowait(None)

    # ------------------------------------------------------------ inside

    async def _first(self, names: tuple[str, ...]) -> Any:
        """Ask the newest method first; an older room does not know it."""
        for name in names[:-1]:
            try:
                return await self.session.call(name, timeout=limits.CALL_SECONDS)
            except RemoteError as error:
                if not error.message.endswith(NOT_ALLOWED):
                    raise
        return await self.session.call(names[-1], timeout=limits.CALL_SECONDS)

    async def _follow(self, listed: asyncio.Future[None]) -> None:
        try:
            try:
                await self._follow_attendants(self.session.source("room.attendants"), listed)
            except RemoteError as error:
                if not error.message.endswith(NOT_ALLOWED):
                    raise
                await self._follow_endpoints(self.session.source("tunnel.endpoints"), listed)
        except SSBError as error:
            if not listed.done():
                listed.set_exception(error)
        if not listed.done():
            listed.set_exception(RemoteError("the room did not say who is there"))

    async def _follow_attendants(self, stream: Stream, listed: asyncio.Future[None]) -> None:
        async for event in stream:
            if not isinstance(event, dict):
                continue
            kind = event.get("type")
            if kind == "state":
                self._set(event.get("ids"))
                if not listed.done():
                    listed.set_result(None)
            elif kind in ("joined", "left"):
                self._change(event.get("id"), kind == "joined")

    async def _follow_endpoints(self, stream: Stream, listed: asyncio.Future[None]) -> None:
        async for everybody in stream:
            self._set(everybody)
            if not listed.done():
                listed.set_result(None)

    def _set(self, texts: Any) -> None:
        now = {who for who in map(_feed_id, texts if isinstance(texts, list) else ()) if who is not None}
        before = self.attendants
        self.attendants = now
        for who in sorted(before - now):
            self._tell(Attendance(who, False))
        for who in sorted(now - before):
            self._tell(Attendance(who, True))

    def _change(self, text: Any, present: bool) -> None:
        who = _feed_id(text)
        if who is None or (who in self.attendants) is present:
            return
        (self.attendants.add if present else self.attendants.discard)(who)
        self._tell(Attendance(who, present))

    def _tell(self, change: Attendance) -> None:
        for queue in self._listeners:
            queue.put_nowait(change)


def _feed_id(text: Any) -> FeedId | None:
    try:
        return FeedId.parse(text)
    except FeedIdError:
        return None

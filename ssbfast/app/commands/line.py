"""A line to one peer: a tunnel that is opened again whenever it was lost."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any, Final

from ssbfast.app.commands.peer_words import REFUSED
from ssbfast.app.commands.peering import together
from ssbfast.app.commands.standard_error import warn
from ssbfast.app.commands.targets import Target
from ssbfast.app.joined_room import JoinedRoom
from ssbfast.app.room_client import RoomClient
from ssbfast.errors import NotDialledError, RefusedError, SSBError
from ssbfast.net.peer import Peer
from ssbfast.room.trust import Reason

PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 7.0)
"""Seconds between attempts, the last again and again; a target that comes, or a room that is back, cuts them short."""

REFUSED_PAUSES: Final = 2.0
"""So many times longer when the target is there and refuses: each attempt is a line on its screen."""

_ADVICE: Final = {
    Reason.STRANGER: "you do not follow {who}; first: ssbfast follow {who}{flag} (or --anyway)",
    Reason.BLOCKED: "you block {who}; first: ssbfast unblock {who}{flag} (or --anyway)",
}


class Line:
    """A tunnel to `target` that is kept open.

    opened: gets each new tunnel. tell: gets an event `waiting` whenever there is a new reason why there is none.
    anyway: dial whatever we think of the target. flag: for commands that are advised, see `PeerWords`.
    """

    def __init__(
        self,
        client: RoomClient,
        target: Target,
        *,
        anyway: bool,
        opened: Callable[[Peer], None],
        tell: Callable[[dict[str, Any]], None],
        flag: str = "",
    ) -> None:
        self._client = client
        self._target = target
        self._anyway = anyway
        self._opened = opened
        self._tell = tell
        self._flag = flag
        self._rooms: list[JoinedRoom] = []
        self._changed = asyncio.Event()

    async def watch(self, room: JoinedRoom) -> None:
        """Try at once when the target comes into this room, or the room is back."""
        if room.is_listed:
            warn(f"room {room.id.short} lists whoever looks at its list, and so you")
        self._rooms.append(room)
        await together(self._await_target(room), self._await_room(room))

    async def _await_target(self, room: JoinedRoom) -> None:
        async for change in room.changes():
            if change.present and change.id == self._target.who:
                self._changed.set()

    async def _await_room(self, room: JoinedRoom) -> None:
        while True:
            await room.wait_joined()
            self._changed.set()
            await room.session.wait_closed()

    async def keep(self) -> None:
        """Keep the tunnel open. Raises RefusedError when we ourselves do not want to dial (any more)."""
        attempt = 0
        told: str | None = None
        await self._changed.wait()  # until the first room is there
        while True:
            self._changed.clear()
            try:
                peer = await self._dial()
            except NotDialledError as error:
                reason = self._objection(error)
            except SSBError as error:
                reason = self._explain(error)
            else:
                attempt, told = 0, None
                self._opened(peer)
                await peer.wait_closed()
                continue
            if reason != told:
                self._tell_why(reason)
                told = reason
            pause = PAUSES[min(attempt, len(PAUSES) - 1)] * random.uniform(0.75, 1.25)
            if reason == REFUSED:
                pause *= REFUSED_PAUSES
            attempt += 1
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), pause)

    # ------------------------------------------------------------ inside

    def _tell_why(self, reason: str) -> None:
        me, who = self._client.me.id, self._target.who
        self._tell({"event": "waiting", "id": str(me), "peer": str(who), "reason": reason})

    async def _dial(self) -> Peer:
        problem: SSBError | None = None
        for way in self._target.ways or (self._target.who,):
            try:
                return await self._client.connect(way, anyway=self._anyway)
            except NotDialledError:
                raise
            except SSBError as error:
                problem = error
        raise problem or RefusedError("could not connect")

    def _objection(self, error: NotDialledError) -> str:
        """Our own trust says no: for good, unless it only could not be asked."""
        reason = Reason(error.reason)
        advice = _ADVICE.get(reason)
        if advice is None:
            return "whom we follow cannot be found out just now"
        raise RefusedError(advice.format(who=self._target.who, flag=self._flag))

    def _explain(self, error: SSBError) -> str:
        if not any(room.is_open for room in self._rooms):
            return "no room can be reached"
        if not isinstance(error, RefusedError):
            return str(error)
        if any(self._target.who in room.attendants for room in self._rooms if room.is_open):
            return REFUSED
        return "not in the room"

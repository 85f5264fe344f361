"""A persistent tunnel to one peer: it is opened again whenever it was lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

from ssbfast import limits
from ssbfast.backoff import Backoff
from ssbfast.cli.peer_options import together
from ssbfast.cli.peer_output import REFUSED
from ssbfast.cli.resolve_target import Target
from ssbfast.cli.standard_error import warn
from ssbfast.client.joined_room import JoinedRoom
from ssbfast.client.room_client import RoomClient
from ssbfast.errors import NotDialledError, RefusedError, SSBError
from ssbfast.net.peer import Peer
from ssbfast.room.tunnel_auth import Reason

_ADVICE: Final = {
    Reason.STRANGER: "you do not follow {who}; first: ssbfast follow {who}{flag} (or --anyway)",
    Reason.BLOCKED: "you block {who}; first: ssbfast unblock {who}{flag} (or --anyway)",
}


class PersistentTunnel:
    """A tunnel to `target` that is kept open.

    on_opened: called with each new tunnel.
    on_event: called with an event `waiting` whenever there is a new reason why there is no tunnel.
    anyway: dial against the word of the follow graph, too. flag: for commands that are advised, see `PeerWords`.
    backoff: the pauses between attempts.
    """

    def __init__(
        self,
        client: RoomClient,
        target: Target,
        *,
        anyway: bool,
        on_opened: Callable[[Peer], None],
        on_event: Callable[[dict[str, Any]], None],
        flag: str = "",
        backoff: Backoff | None = None,
    ) -> None:
        self._client = client
        self._target = target
        self._anyway = anyway
        self._on_opened = on_opened
        self._on_event = on_event
        self._flag = flag
        self._backoff = backoff or Backoff()
        self._rooms: list[JoinedRoom] = []
        self._changed = asyncio.Event()

    async def watch(self, room: JoinedRoom) -> None:
        """Try at once when the target comes into this room, or the room is back."""
        if room.is_listed:
            warn(f"room {room.id.short} lists every peer that reads its list, and so you")
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
        told: str | None = None
        await self._changed.wait()  # until the first room is there
        while True:
            self._changed.clear()
            reason: str | None = None
            try:
                peer = await self._dial()
            except NotDialledError as error:
                reason = self._objection(error)
            except SSBError as error:
                reason = self._explain(error)
            else:
                await self._hold(peer)
            if reason is not None and reason != told:
                self._tell_why(reason)
            told = reason
            await self._pause(reason)

    # ------------------------------------------------------------ inside

    async def _hold(self, peer: Peer) -> None:
        """Use a tunnel until it is over."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._on_opened(peer)
        await peer.wait_closed()
        self._backoff.lasted(loop.time() - began)
        self._changed.clear()  # what was news while it was open

    async def _pause(self, reason: str | None) -> None:
        """Wait before the next attempt. reason: why this one failed; None when it led to a session.

        A target that comes, or a room that is back, cuts the pause short: to a half, since a room that cuts sessions
        may also say that the target has just come; to the first pause if no target was reached.
        """
        pause = self._backoff.next()
        least = pause / 2
        if reason == REFUSED:
            pause *= limits.REFUSED_PAUSES
        elif reason is not None:
            least = min(least, limits.RECONNECT_FIRST / 2)
        await asyncio.sleep(least)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._changed.wait(), pause - least)

    def _tell_why(self, reason: str) -> None:
        me, who = self._client.me.id, self._target.who
        self._on_event({"event": "waiting", "id": str(me), "peer": str(who), "reason": reason})

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
        """Return our own trust's objection: for good, unless it only could not be asked."""
        reason = Reason(error.reason)
        advice = _ADVICE.get(reason)
        if advice is None:
            return "the follow graph cannot be asked just now"
        raise RefusedError(advice.format(who=self._target.who, flag=self._flag))

    def _explain(self, error: SSBError) -> str:
        if not any(room.is_open for room in self._rooms):
            return "no room can be reached"
        if not isinstance(error, RefusedError):
            return str(error)
        if any(self._target.who in room.attendants for room in self._rooms if room.is_open):
            return REFUSED
        if any(room.is_external for room in self._rooms if room.is_open):
            return "not in the room, or refused"
        return "not in the room"

"""The aliases of refused peers, looked for beside everything else: a denial neither waits for its name nor needs it.

Rooms forward nothing that a caller says of itself. So the room that we share is asked which aliases the caller's proven
key has there, and its web site for each of them. The web site is the one at the address by which we are in the room:
the room's word does not send us anywhere else. What is shown is verified: signed by that key, for that room.

Spec: SIP 7, "Tunneled authentication".
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from ssbfast import limits
from ssbfast.client.aliases import check_owner, list_aliases, resolve_alias
from ssbfast.client.joined_room import JoinedRoom, KeyedEndpoint
from ssbfast.errors import SSBError, WebSiteError
from ssbfast.ids import FeedId
from ssbfast.pasted.web_links import alias_at, is_literal, is_loopback
from ssbfast.room.denials import Denial
from ssbfast.wire.alias import Alias


class DenialNames:
    """The search for names, one at a time, each origin once an hour.

    room_of: returns the room with this id, if we are in it. named: called with each denial whose alias was verified.
    """

    def __init__(
        self, room_of: Callable[[FeedId], JoinedRoom | None], named: Callable[[Denial], Awaitable[None]]
    ) -> None:
        self._room_of = room_of
        self._named = named
        self._asked: dict[tuple[FeedId, FeedId], tuple[float, Alias | None]] = {}  # the oldest first
        self._waiting: list[Denial] = []
        self._working: asyncio.Task[None] | None = None

    def on_denied(self, denial: Denial) -> None:
        """Look for the origin's name, if it may be looked for now."""
        if not denial.proven:
            return
        now = asyncio.get_running_loop().time()
        while self._asked and next(iter(self._asked.values()))[0] <= now - limits.ALIAS_LOOKUP_SECONDS:
            del self._asked[next(iter(self._asked))]
        key = denial.room, denial.origin
        if key not in self._asked:
            if len(self._asked) >= limits.ALIAS_LOOKUPS or self._room_of(denial.room) is None:
                return
            self._asked[key] = now, None
        elif self._asked[key][1] is None:
            return
        self._waiting.append(denial)
        if self._working is None:
            self._working = asyncio.get_running_loop().create_task(self._work())

    async def close(self) -> None:
        """Stop looking."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait((self._working,))

    async def _work(self) -> None:
        try:
            while self._waiting:
                denial = self._waiting.pop(0)
                key = denial.room, denial.origin
                asked_at, alias = self._asked.get(key, (0.0, None))
                if alias is None:
                    alias = await self._find(denial)
                if alias is None:
                    continue
                if key in self._asked:
                    self._asked[key] = asked_at, alias
                await self._named(replace(denial, alias=str(alias), verified_at=time.time()))
        finally:
            self._working = None

    async def _find(self, denial: Denial) -> Alias | None:
        room = self._room_of(denial.room)
        if room is None:
            return None
        try:
            names = await list_aliases(room.session, denial.origin)
        except SSBError:
            return None
        for name in names[: limits.ALIAS_LOOKUP_NAMES]:
            for site in web_sites(room):
                try:
                    alias = await resolve_alias(alias_at(site, name))
                    check_owner(alias, denial.origin, denial.room)
                except WebSiteError:
                    continue
                return alias
        return None


def web_sites(room: JoinedRoom) -> list[str]:
    """Return where a room's web site may be: at the hosts by which we are in the room."""
    return list(dict.fromkeys(site for way in room.ways if (site := _site(way)) is not None))


def _site(way: KeyedEndpoint) -> str | None:
    host = f"[{way.host}]" if ":" in way.host else way.host
    if way.web is not None and (way.web.secure or is_loopback(way.host)):
        return f"{'https' if way.web.secure else 'http'}://{host}:{way.port}"
    if way.web is not None or is_literal(way.host) or is_loopback(way.host):
        return None
    return f"https://{host}"

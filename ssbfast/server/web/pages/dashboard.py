"""The first page after sign-in: who is here now, and figures; they change as the room does."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ssbfast import limits
from ssbfast.ids import FeedId
from ssbfast.room.roles import STORED_ROLES, Action, Role
from ssbfast.server.web.event_stream import EventStream
from ssbfast.server.web.landing import addresses
from ssbfast.server.web.pages.common import done, names_of
from ssbfast.server.web.site import Site, wall_time

_PARTS: Final = ("numbers", "people")
"""What changes on the page: templates `_live_NAME.html`, and the elements with these ids."""

_SHARE: Final = 20
"""Snapshots take at most one part in so many of the time."""

_MINUTE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Present:
    """A peer that is here. is_visitor: it has no tunnel address of its own."""

    feed: FeedId
    names: tuple[str, ...]
    role: Role
    is_visitor: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The room at one moment, as everybody who may see it sees it."""

    people: tuple[Present, ...]
    online: int
    visitors: int
    tunnels: int
    members: int
    blocked: int


class Board:
    """What is shown of the room, worked out and drawn once for all who look.

    A snapshot of a room with 10,000 attendants takes milliseconds: there is a new one only when something has happened,
    and so rarely that all of them take a small part of the time.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._snapshot: Snapshot | None = None
        self._cost = 0.0
        self._made = 0.0
        self._is_watching = False
        self._drawn: dict[tuple[object, ...], str] = {}
        self._pages: dict[tuple[object, ...], bytes] = {}
        self._invites: dict[object, tuple[int | None, float, int]] = {}
        self._viewers: set[asyncio.Event] = set()
        self._is_stale = True

    def _on_event(self, _event: Mapping[str, Any]) -> None:
        self._is_stale = True
        for viewer in self._viewers:
            viewer.set()

    @contextlib.contextmanager
    def viewer(self) -> Iterator[asyncio.Event]:
        """Give an event that is set whenever something has happened."""
        stirred = asyncio.Event()
        self._viewers.add(stirred)
        try:
            yield stirred
        finally:
            self._viewers.discard(stirred)

    @property
    def is_behind(self) -> bool:
        """Return whether something has happened since the last snapshot."""
        return self._is_stale

    def snapshot(self) -> Snapshot:
        """Return the room as it is, or as it was a moment ago."""
        if not self._is_watching:
            self._site.room.events.watch(self._on_event)
            self._is_watching = True
        now = time.perf_counter()
        if self._snapshot is None or (self._is_stale and now - self._made >= self._cost * _SHARE):
            self._is_stale = False
            self._snapshot = _look(self._site)
            self._drawn.clear()
            self._pages.clear()
            self._made = time.perf_counter()
            self._cost = self._made - now
        return self._snapshot

    async def open_invites(self, feed: FeedId | None, *, all: bool) -> int:
        """Return how many invites are open: a member's, or all."""
        key, number, now = None if all else feed, self._site.registry.number, wall_time()
        found = self._invites.get(key)
        if found is None or found[0] != number or now - found[1] > _MINUTE:
            invites = await self._site.keeper.read(self._site.records.open_invites, now)
            if len(self._invites) >= limits.WEB_STREAMS:
                self._invites.clear()
            found = self._invites[key] = (number, now, sum(invites.values()) if all else invites.get(feed, 0))
        return found[2]

    async def figures(self, request: Request) -> dict[str, Any]:
        """Return what a visitor sees of the room."""
        site, feed = self._site, self._site.visitor(request).feed
        sees_all = site.registry.may(feed, Action.SEE_ALL_INVITES)
        open_invites = await self.open_invites(feed, all=sees_all)
        shown = self.snapshot()
        return {
            "people": shown.people,
            "more": shown.online + shown.visitors - len(shown.people),
            "online": shown.online,
            "visitors": shown.visitors,
            "tunnels": shown.tunnels,
            "members": shown.members,
            "blocked": shown.blocked if site.registry.may(feed, Action.SEE_DENIED) else None,
            "open_invites": open_invites,
            "is_moderator": sees_all,
        }

    async def parts(self, request: Request) -> dict[str, str]:
        """Return the parts of the page that change. Who sees the same gets the same text, drawn once."""
        context = await self.figures(request)
        language = self._site.language(request)
        found = {}
        for part in _PARTS:
            key = (part, language, context["blocked"] is None, context["is_moderator"], context["open_invites"])
            if key not in self._drawn:
                if len(self._drawn) >= limits.WEB_PAGES_DRAWN:
                    self._drawn.clear()
                self._drawn[key] = self._site.markup(request, f"_live_{part}.html", **context)
            found[part] = self._drawn[key]
        return found

    async def page(self, request: Request) -> Response:
        """Answer with the whole page, drawn once in the same way."""
        site, parts, said = self._site, await self.parts(request), done(self._site, request)
        key = (site.visitor(request).role, site.language(request), site.registry.settings, said, *parts.values())
        if key not in self._pages:
            if len(self._pages) >= limits.WEB_PAGES_DRAWN:
                self._pages.clear()
            safe = {part: Markup(html) for part, html in parts.items()}  # templates'
            where = addresses(site, request)
            self._pages[key] = site.shared_page(request, "dashboard.html", addresses=where, done=said, **safe)
        return site.own_page(request, self._pages[key])


def _look(site: Site) -> Snapshot:
    room, registry = site.room, site.registry
    online, visitors = room.live.online(), room.live.visitors()
    names = names_of(registry)
    people = [Present(feed, names(feed), registry.role(feed), False) for feed in online[: limits.WEB_LIVE_PEOPLE]]
    places = limits.WEB_LIVE_PEOPLE - len(people)
    people += [Present(feed, (), registry.role(feed), True) for feed in visitors[:places]]
    roles = Counter(standing.role for standing in registry.keys().values())
    return Snapshot(
        tuple(people),
        len(online),
        len(visitors),
        len(room.tunnels),
        sum(roles[role] for role in STORED_ROLES),
        roles[Role.BLOCKED],
    )


def routes(site: Site) -> list[Route]:
    """Return the routes of the first page."""
    board = Board(site)

    async def show(request: Request) -> Response:
        site.require(request, Action.SIGN_IN)
        return await board.page(request)

    async def events(request: Request) -> Response:
        visitor = site.require(request, Action.SEE_ONLINE)

        async def is_allowed() -> bool:
            return site.registry.may(visitor.feed, Action.SEE_ONLINE) and await site.sessions.is_current(visitor)

        return EventStream(site, request, _changes(site, board, request), is_allowed)

    return [Route("/dashboard", show), Route("/dashboard/events", events)]


async def _changes(site: Site, board: Board, request: Request) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
    """Yield the parts of the page that are different, at most once in `WEB_LIVE_SECONDS`."""
    feed = site.visitor(request).feed
    sent: dict[str, str] = {}
    with board.viewer() as stirred:
        while True:
            stirred.clear()
            if not site.registry.may(feed, Action.SEE_ONLINE):
                yield "gone", {}
                return
            parts = await board.parts(request)
            changed = {part: html for part, html in parts.items() if sent.get(part) != html}
            sent = parts
            if changed:
                yield "part", changed
            await asyncio.sleep(limits.WEB_LIVE_SECONDS)
            if not board.is_behind:
                await stirred.wait()

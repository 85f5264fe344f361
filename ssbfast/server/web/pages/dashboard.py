"""The first page after sign-in: who is here now, and figures; they change as the room does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ssbfast import limits
from ssbfast.ids import FeedId
from ssbfast.room.roles import Action, Role
from ssbfast.server.web.event_stream import EventStream
from ssbfast.server.web.landing import addresses
from ssbfast.server.web.pages.common import done, names_of
from ssbfast.server.web.site import Site, wall_time

_PARTS = ("numbers", "people")
"""What changes on the page: templates `_live_NAME.html`, and the elements with these ids."""


@dataclass(frozen=True, slots=True)
class Present:
    """A peer that is here. is_visitor: it has no tunnel address of its own."""

    feed: FeedId
    names: tuple[str, ...]
    role: Role
    is_visitor: bool


def routes(site: Site) -> list[Route]:
    """Return the routes of the first page."""

    async def show(request: Request) -> Response:
        site.require(request, Action.SIGN_IN)
        return await site.render(
            request,
            "dashboard.html",
            addresses=addresses(site, request),
            done=done(site, request),
            **await figures(site, request),
        )

    async def events(request: Request) -> Response:
        visitor = site.require(request, Action.SEE_ONLINE)

        async def is_allowed() -> bool:
            return site.registry.may(visitor.feed, Action.SEE_ONLINE) and await site.sessions.is_current(visitor)

        return EventStream(site, request, _changes(site, request), is_allowed)

    return [Route("/dashboard", show), Route("/dashboard/events", events)]


async def figures(site: Site, request: Request) -> dict[str, Any]:
    """Return what the page shows of the room as it is now."""
    room, registry = site.room, site.registry
    online, visitors = room.online(), room.visitors()
    names = names_of(registry)
    shown = [Present(feed, names(feed), registry.role(feed), False) for feed in online[: limits.WEB_LIVE_PEOPLE]]
    places = limits.WEB_LIVE_PEOPLE - len(shown)
    shown += [Present(feed, (), registry.role(feed), True) for feed in visitors[:places]]
    stored = (Role.MEMBER, Role.MODERATOR, Role.ADMIN)
    feed = site.visitor(request).feed
    is_moderator = registry.may(feed, Action.SEE_ALL_INVITES)
    invites = await site.keeper.read(site.records.open_invites, wall_time())
    return {
        "people": shown,
        "more": len(online) + len(visitors) - len(shown),
        "online": len(online),
        "visitors": len(visitors),
        "tunnels": room.tunnels,
        "members": sum(registry.count(role) for role in stored),
        "blocked": registry.count(Role.BLOCKED) if registry.may(feed, Action.SEE_DENIED) else None,
        "open_invites": sum(invites.values()) if is_moderator else invites.get(feed, 0),
        "is_moderator": is_moderator,
    }


async def _changes(site: Site, request: Request) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
    """Yield the parts of the page that are different, at most once in `WEB_LIVE_SECONDS`."""
    feed = site.visitor(request).feed
    stirred = asyncio.Event()
    stirred.set()
    undo = site.room.watch(lambda _event: stirred.set())
    sent: dict[str, str] = {}
    try:
        while True:
            await stirred.wait()
            stirred.clear()
            if not site.registry.may(feed, Action.SEE_ONLINE):
                yield "gone", {}
                return
            context = await figures(site, request)
            parts = {part: site.markup(request, f"_live_{part}.html", **context) for part in _PARTS}
            changed = {part: html for part, html in parts.items() if sent.get(part) != html}
            sent = parts
            if changed:
                yield "part", changed
            await asyncio.sleep(limits.WEB_LIVE_SECONDS)
    finally:
        undo()

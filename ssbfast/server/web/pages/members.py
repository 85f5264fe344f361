"""Members: the list with its search, a page for each, and what moderators and admins may do to them."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ssbfast import limits
from ssbfast.ids import FeedId, encode_key
from ssbfast.room.codes import hash_of, new_code
from ssbfast.room.records import Outcome, Standing
from ssbfast.room.roles import STORED_ROLES, Action, Role, right_for
from ssbfast.server.web.errors import WebError
from ssbfast.server.web.pages.common import (
    CHANGED,
    N_,
    OUTCOMES,
    REFUSED,
    back,
    done,
    feed_in,
    is_stored,
    lines,
    must_be,
    names_of,
    one_line,
    page_of,
    read_person,
)
from ssbfast.server.web.sessions import Visitor
from ssbfast.server.web.site import Site, wall_time
from ssbfast.server.web.templating import feed_path, qr

T = TypeVar("T")

NO_ID = N_("This is neither an SSB id nor an alias of this room.")
OWN_ROOM = N_("This is the id of the room itself.")
YOURSELF = N_("This is you. To leave, use “Leave the room” on your own page.")


@dataclass(frozen=True, slots=True)
class Row:
    """A member in the list."""

    feed: FeedId
    role: Role
    names: tuple[str, ...]
    is_online: bool


@dataclass(frozen=True, slots=True)
class Rights:
    """What a visitor may do to a key.

    Attributes:
        roles: The roles that it may be given, its own one left out.
        remove: Remove it from the members.
        block: Block it.
        link: Make a login link for it.
    """

    roles: tuple[Role, ...]
    remove: bool
    block: bool
    link: bool


def rights_over(site: Site, visitor: Visitor, target: FeedId) -> Rights:
    """Return what a visitor may do to a key, as the registry knows both now."""
    registry, feed = site.registry, visitor.feed
    if feed is None or target == site.room.me.id:
        return Rights((), False, False, False)
    role = registry.role(target)
    is_over = registry.may_act_on(feed, target) and target != feed
    may_block = registry.may(feed, Action.BLOCK) and is_over
    roles = tuple(
        wanted for wanted in STORED_ROLES if wanted is not role and registry.may(feed, right_for(role, wanted))
    )
    return Rights(
        roles if role is not Role.BLOCKED else (),
        may_block and is_stored(role),
        may_block and role is not Role.BLOCKED,
        registry.may(feed, Action.HELP_SIGN_IN) and is_stored(role),
    )


async def effects_on(site: Site, feed: FeedId) -> dict[str, int]:
    """Return what ends with a key: sessions and tunnels, aliases and invites."""
    load = site.room.live.load(feed)
    invites = await site.keeper.read(site.records.open_invites, wall_time())
    return {
        "sessions": load.sessions,
        "tunnels": load.tunnels,
        "aliases": len(site.registry.aliases_of(feed)),
        "invites": invites.get(feed, 0),
    }


def routes(site: Site) -> list[Route]:
    """Return the routes of the members' pages."""
    pages = _Pages(site)
    person = "/members/{id}"
    return [
        Route("/members", pages.list, methods=["GET"]),
        Route("/members", pages.add, methods=["POST"]),
        Route(person, pages.show, methods=["GET"]),
        Route(f"{person}/role", pages.ask_role, methods=["GET"]),
        Route(f"{person}/role", pages.role, methods=["POST"]),
        Route(f"{person}/remove", pages.ask_remove, methods=["GET"]),
        Route(f"{person}/remove", pages.remove, methods=["POST"]),
        Route(f"{person}/block", pages.ask_block, methods=["GET"]),
        Route(f"{person}/block", pages.block, methods=["POST"]),
        Route(f"{person}/login-link", pages.ask_link, methods=["GET"]),
        Route(f"{person}/login-link", pages.link, methods=["POST"]),
    ]


class _Pages:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._order: tuple[int | None, list[FeedId]] | None = None  # of which line of the audit log
        self._ordering = asyncio.Lock()

    # ------------------------------------------------------------ the list

    async def list(self, request: Request) -> Response:
        self._site.require(request, Action.SEE_MEMBERS)
        return await self._list(request)

    async def _list(self, request: Request, status: int = 200, problem: str = "", value: str = "") -> Response:
        site = self._site
        query = one_line(request.query_params.get("q", ""))[: limits.WEB_QUERY]
        standings = dict(site.registry.keys())
        order = await self._ordered(standings)
        page = page_of(request, await _found(standings, order, query) if query else order)
        is_online, names = site.room.portal.is_announced, names_of(site.registry)
        rows = [Row(feed, site.registry.role(feed), names(feed), is_online(feed)) for feed in page.items]
        return await site.render(
            request,
            "members.html",
            status,
            page=page,
            rows=rows,
            query=query,
            rest=f"&q={quote(query)}" if query else "",
            problem=problem,
            value=value,
            may_add=site.registry.may(site.visitor(request).feed, Action.NOMINATE_MODERATOR),
            done=done(site, request),
        )

    async def _ordered(self, standings: Mapping[FeedId, Standing]) -> Sequence[FeedId]:
        """Return all members in order; worked out once for all that ask at the same time."""
        async with self._ordering:
            number = self._site.registry.number
            if self._order is None or self._order[0] != number:
                self._order = number, await _order(standings)
            return self._order[1]

    async def add(self, request: Request) -> Response:
        """Make a key a member."""
        site = self._site
        visitor = site.require(request, Action.NOMINATE_MODERATOR)
        form = await site.form(request)
        text = one_line(form.get("id"))
        feed = read_person(site.registry, text)
        problem = NO_ID if feed is None else OWN_ROOM if feed == site.room.me.id else ""
        if not problem and feed is not None:
            site.require(request, Action.NOMINATE_MODERATOR)
            outcome = await site.change(site.records.add_member, feed, by=visitor.feed)
            if outcome is Outcome.DONE:
                return back(site, f"/members/{feed_path(feed)}", "added")
            problem = N_("This key is a member already.") if outcome is Outcome.UNCHANGED else OUTCOMES[outcome]
        return await self._list(request, 400, site.text(request)(problem), text)

    # ------------------------------------------------------------ one member

    async def show(self, request: Request) -> Response:
        return await self._show(request, self._seen(request))

    def _seen(self, request: Request) -> FeedId:
        """Return the key of a page that the visitor may see. Others are not told whether there is one: 404."""
        site = self._site
        visitor = site.require(request, Action.SEE_MEMBERS)
        feed = feed_in(request)
        is_known = is_stored(site.registry.role(feed)) or site.registry.may(visitor.feed, Action.SEE_DENIED)
        must_be(is_known and feed != site.room.me.id, 404)
        return feed

    async def _show(self, request: Request, feed: FeedId, status: int = 200, problem: str = "") -> Response:
        site = self._site
        visitor = site.visitor(request)
        is_moderator = site.registry.may(visitor.feed, Action.SEE_DENIED)
        member = await site.keeper.read(site.records.member, feed)
        denied = None
        if is_moderator and site.registry.role(feed) is Role.BLOCKED:
            every = await site.keeper.read(site.records.denied)
            denied = next((one for one in every if one.feed == feed), None)
        aliases = [(alias.name, site.room.web.alias_url(alias.name)) for alias in site.registry.aliases_of(feed)]
        return await site.render(
            request,
            "member.html",
            status,
            feed=feed,
            role=site.registry.role(feed),
            member=member,
            denied=denied,
            aliases=aliases,
            names=names_of(site.registry),
            load=site.room.live.load(feed) if is_moderator else None,
            is_online=site.room.portal.is_announced(feed),
            rights=rights_over(site, visitor, feed),
            is_self=visitor.feed == feed,
            refusal=site.room.refusals.last(feed) if is_moderator else None,
            reasons=REFUSED,
            problem=problem,
            done=done(site, request),
        )

    async def _ask(self, request: Request, what: str, feed: FeedId, **more: Any) -> Response:
        """Show the page that names the person and what will happen."""
        site = self._site
        return await site.render(
            request,
            "member_ask.html",
            what=what,
            feed=feed,
            role=site.registry.role(feed),
            names=names_of(site.registry)(feed),
            effects=await effects_on(site, feed),
            mode=site.registry.mode.value,
            back=f"/members/{feed_path(feed)}",
            **more,
        )

    async def _refused(self, request: Request, feed: FeedId, outcome: Outcome) -> Response:
        return await self._show(request, feed, 409, self._site.text(request)(OUTCOMES.get(outcome, CHANGED)))

    # ------------------------------------------------------------ role

    async def ask_role(self, request: Request) -> Response:
        site, feed = self._site, self._seen(request)
        rights = rights_over(site, site.visitor(request), feed)
        must_be(bool(rights.roles))
        return await self._ask(request, "role", feed, roles=rights.roles)

    async def role(self, request: Request) -> Response:
        """Change a role; a key without one becomes a member with it."""
        site, feed = self._site, self._seen(request)
        form = await site.form(request)
        wanted = next((role for role in STORED_ROLES if role.word == form.get("role")), None)
        if wanted is None:
            raise WebError(400)
        visitor, old = site.visitor(request), site.registry.role(feed)
        if wanted is not old:
            must_be(wanted in rights_over(site, visitor, feed).roles)
        records = site.records
        if is_stored(old):
            outcome = await site.change(records.set_role, feed, wanted, by=visitor.feed, expected=old)
        else:
            outcome = await site.change(records.add_member, feed, wanted, by=visitor.feed)
        if outcome in (Outcome.DONE, Outcome.UNCHANGED):
            return back(site, f"/members/{feed_path(feed)}", "role")
        return await self._refused(request, feed, outcome)

    # ------------------------------------------------------------ remove and block

    async def ask_remove(self, request: Request) -> Response:
        feed = self._seen(request)
        must_be(rights_over(self._site, self._site.visitor(request), feed).remove)
        return await self._ask(request, "remove", feed)

    async def remove(self, request: Request) -> Response:
        """Remove a member."""
        site, feed = self._site, self._seen(request)
        await site.form(request)
        visitor = site.visitor(request)
        must_be(rights_over(site, visitor, feed).remove)
        outcome = await site.change(site.records.remove_member, feed, by=visitor.feed)
        if outcome is Outcome.DONE:
            return back(site, "/members", "removed")
        return await self._refused(request, feed, outcome)

    async def ask_block(self, request: Request) -> Response:
        feed = self._seen(request)
        must_be(rights_over(self._site, self._site.visitor(request), feed).block)
        return await self._ask(request, "block", feed)

    async def block(self, request: Request) -> Response:
        """Block a key."""
        site, feed = self._site, self._seen(request)
        form = await site.form(request)
        visitor = site.visitor(request)
        must_be(rights_over(site, visitor, feed).block)
        comment = lines(form.get("comment"))[: limits.NOTE_LETTERS]
        outcome = await site.change(site.records.block, feed, comment, by=visitor.feed)
        if outcome is Outcome.DONE:
            return back(site, "/blocked", "blocked")
        return await self._refused(request, feed, outcome)

    # ------------------------------------------------------------ login links

    async def ask_link(self, request: Request) -> Response:
        feed = self._seen(request)
        must_be(rights_over(self._site, self._site.visitor(request), feed).link)
        return await self._ask(request, "link", feed)

    async def link(self, request: Request) -> Response:
        """Make a login link, which is shown once."""
        site, feed = self._site, self._seen(request)
        await site.form(request)
        visitor = site.visitor(request)
        must_be(rights_over(site, visitor, feed).link)
        code = new_code()
        expires = wall_time() + limits.LOGIN_LINK_SECONDS
        outcome = await site.change(site.records.add_link, hash_of(code), feed, "login", expires, by=visitor.feed)
        if outcome is not Outcome.DONE:
            return await self._refused(request, feed, outcome)
        link = site.url(f"/login/link?code={code}")
        return await site.render(
            request,
            "login_link_made.html",
            feed=feed,
            names=names_of(site.registry)(feed),
            link=link,
            qr=await site.in_thread(qr, link),
            minutes=int(limits.LOGIN_LINK_SECONDS / 60),
        )


async def _order(standings: Mapping[FeedId, Standing]) -> list[FeedId]:
    """Return all members, admins first, then by name. In pieces, between which the loop goes on."""
    runs = []
    for piece in _pieces(standings.items()):
        keys = [
            (-standing.role, not standing.aliases, standing.aliases[0].name if standing.aliases else "", feed.key, feed)
            for feed, standing in piece
            if is_stored(standing.role)
        ]
        runs.append(sorted(keys))
        await asyncio.sleep(0)
    found: list[FeedId] = []
    for merged in _pieces(heapq.merge(*runs)):
        found += [key[-1] for key in merged]
        await asyncio.sleep(0)
    return found


async def _found(standings: Mapping[FeedId, Standing], order: Sequence[FeedId], query: str) -> list[FeedId]:
    """Return the members whose alias contains a text, or whose id begins with it. In pieces, as `_order`."""
    word = query.lower()
    key = query.removeprefix("@").translate(str.maketrans("-_", "+/")).partition(".")[0] or "@"
    found: list[FeedId] = []
    for piece in _pieces(order):
        found += [
            feed
            for feed in piece
            if feed in standings
            and (encode_key(feed.key).startswith(key) or any(word in alias.name for alias in standings[feed].aliases))
        ]
        await asyncio.sleep(0)
    return found


def _pieces(items: Iterable[T]) -> Iterator[list[T]]:
    """Yield items in lists that take a millisecond."""
    rest = iter(items)
    while piece := list(islice(rest, limits.WEB_MEMBERS_AT_ONCE)):
        yield piece

"""Blocked keys, with comments: for moderators."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ssbfast import limits
from ssbfast.room.records import Outcome
from ssbfast.room.roles import Action
from ssbfast.server.web.pages.common import (
    N_,
    OUTCOMES,
    REFUSED,
    back,
    done,
    feed_in,
    is_sure,
    lines,
    names_of,
    one_line,
    page_of,
    read_person,
)
from ssbfast.server.web.pages.members import NO_ID, OWN_ROOM, YOURSELF, effects_on, rights_over
from ssbfast.server.web.site import Site

ALREADY = N_("This key is blocked already.")
NOT_YOURS = N_("Moderators may not block admins.")


def routes(site: Site) -> list[Route]:
    """Return the routes of blocked keys."""

    async def show(request: Request) -> Response:
        site.require(request, Action.SEE_DENIED)
        return await shown(request)

    async def shown(
        request: Request, status: int = 200, problem: str = "", value: str = "", comment: str = ""
    ) -> Response:
        found = await site.keeper.read(site.records.denied)
        return await site.render(
            request,
            "blocked.html",
            status,
            page=page_of(request, found),
            names=names_of(site.registry),
            refusals=site.room.refusals.latest(),
            reasons=REFUSED,
            problem=site.text(request)(problem) if problem else "",
            value=value,
            comment=comment,
            done=done(site, request),
        )

    async def block(request: Request) -> Response:
        visitor = site.require(request, Action.BLOCK)
        form = await site.form(request)
        text, comment = one_line(form.get("id")), lines(form.get("comment"))[: limits.NOTE_LETTERS]
        feed = read_person(site.registry, text)
        if feed is None:
            return await shown(request, 400, NO_ID, text, comment)
        if feed in (site.room.me.id, visitor.feed):
            return await shown(request, 400, YOURSELF if feed == visitor.feed else OWN_ROOM, text, comment)
        site.require(request, Action.BLOCK)
        if not rights_over(site, visitor, feed).block:
            is_over = visitor.feed is not None and site.registry.may_act_on(visitor.feed, feed)
            return await shown(request, 400 if is_over else 403, ALREADY if is_over else NOT_YOURS, text, comment)
        if not is_sure(form):
            return await site.render(
                request,
                "member_ask.html",
                what="block",
                feed=feed,
                names=names_of(site.registry)(feed),
                effects=await effects_on(site, feed),
                back="/blocked",
                comment=comment,
            )
        outcome = await site.change(site.records.block, feed, comment, by=visitor.feed)
        if outcome is Outcome.DONE:
            return back(site, "/blocked", "blocked")
        return await shown(request, 409, OUTCOMES[outcome], text, comment)

    async def unblock(request: Request) -> Response:
        visitor = site.require(request, Action.BLOCK)
        feed = feed_in(request)
        await site.form(request)
        site.require(request, Action.BLOCK)
        outcome = await site.change(site.records.unblock, feed, by=visitor.feed)
        return back(site, "/blocked", "unblocked" if outcome is Outcome.DONE else "")

    return [
        Route("/blocked", show, methods=["GET"]),
        Route("/blocked", block, methods=["POST"]),
        Route("/blocked/{id}/remove", unblock, methods=["POST"]),
    ]

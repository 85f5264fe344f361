"""Invites: one's own, for moderators all; a new one is shown once."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ssbfast import limits
from ssbfast.ids import FeedId
from ssbfast.room.codes import hash_of, new_code
from ssbfast.room.records import Invite, Outcome
from ssbfast.room.roles import Action
from ssbfast.server.web.errors import WebError
from ssbfast.server.web.invite_pages import check_not_full, claim_uri, invite_url
from ssbfast.server.web.pages.common import N_, Page, back, done, names_of, number_in, one_line
from ssbfast.server.web.site import Site, wall_time
from ssbfast.server.web.templating import qr

_DAY = 86_400.0
BAD_DAYS = N_("An invite is valid for 1 to %(most)s days.")
BAD_USES = N_("An invite lets 1 to %(most)s people in.")


@dataclass(frozen=True, slots=True)
class Row:
    """An invite in the list. state: "open", "used", "over", "revoked", or "asleep": its maker may not invite now."""

    invite: Invite
    state: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """A new invite, as it was asked for."""

    note: str = ""
    days: str = ""
    uses: str = "1"


def state_of(site: Site, invite: Invite, now: float) -> str:
    """Return how an invite is."""
    if invite.revoked is not None:
        return "revoked"
    if invite.used >= invite.uses:
        return "used"
    if invite.expires is not None and now >= invite.expires:
        return "over"
    return "open" if invite.by is None or site.registry.may(invite.by, Action.CREATE_INVITE) else "asleep"


async def page_in(site: Site, feed: FeedId | None, sees_all: bool, number: int, now: float) -> Page[Row]:
    """Return one page of the invites that a visitor sees; the store sorts them, for there may be many."""
    size = limits.WEB_PAGE
    found, total = await site.keeper.read(
        site.records.invites_page, feed, all=sees_all, now=now, first=(number - 1) * size, count=size
    )
    count = max(1, -(-total // size))
    if number > count:
        return await page_in(site, feed, sees_all, count, now)
    return Page([Row(invite, state_of(site, invite, now)) for invite in found], number, count, total)


def routes(site: Site) -> list[Route]:
    """Return the routes of invites."""

    async def show(request: Request) -> Response:
        site.require(request, Action.SIGN_IN)
        return await shown(request)

    async def shown(request: Request, status: int = 200, problem: str = "", wanted: Wanted | None = None) -> Response:
        feed = site.visitor(request).feed
        sees_all = site.registry.may(feed, Action.SEE_ALL_INVITES)
        number = max(1, number_in(request.query_params.get("page", "1"), 1))
        return await site.render(
            request,
            "invites.html",
            status,
            page=await page_in(site, feed, sees_all, number, wall_time()),
            sees_all=sees_all,
            may_invite=site.registry.may(feed, Action.CREATE_INVITE),
            wanted=wanted or Wanted(days=str(site.registry.settings.invite_days)),
            problem=problem,
            names=names_of(site.registry),
            most_days=limits.INVITE_DAYS,
            most_uses=limits.INVITE_USES,
            done=done(site, request),
        )

    async def create(request: Request) -> Response:
        visitor = site.require(request, Action.SIGN_IN)
        site.require(request, Action.CREATE_INVITE)
        form = await site.form(request)
        _ = site.text(request)
        days_text, uses_text = (one_line(form.get(name))[: limits.WEB_QUERY] for name in ("days", "uses"))
        wanted = Wanted(one_line(form.get("note"))[: limits.NOTE_LETTERS], days_text, uses_text)
        days, uses = number_in(wanted.days), number_in(wanted.uses)
        problem = ""
        if not 1 <= days <= limits.INVITE_DAYS:
            problem = _(BAD_DAYS, most=limits.INVITE_DAYS)
        elif not 1 <= uses <= limits.INVITE_USES:
            problem = _(BAD_USES, most=limits.INVITE_USES)
        if problem:
            return await shown(request, 400, problem, wanted)
        site.spend(request, "invites", str(visitor.feed))
        site.require(request, Action.CREATE_INVITE)
        code = new_code()
        expires = wall_time() + days * _DAY
        made = await site.change(
            site.records.create_invite, hash_of(code), by=visitor.feed, note=wanted.note, expires=expires, uses=uses
        )
        check_not_full(made)
        link = invite_url(site, code)
        image = await site.in_thread(qr, link)
        return await site.render(
            request,
            "invite_made.html",
            link=link,
            uri=claim_uri(site, code),
            qr=image,
            expires=expires,
            uses=uses,
            back="/invites",
        )

    async def revoke(request: Request) -> Response:
        visitor = site.require(request, Action.SIGN_IN)
        await site.form(request)
        number = number_in(str(request.path_params["number"]))
        if not await may_revoke(number, visitor.feed):
            raise WebError(404)
        outcome = await site.change(site.records.revoke_invite, number, by=visitor.feed)
        return back(site, "/invites", "revoked" if outcome is Outcome.DONE else "")

    async def may_revoke(number: int, feed: FeedId | None) -> bool:
        if site.registry.may(feed, Action.SEE_ALL_INVITES):
            return True
        own = await site.keeper.read(site.records.invites, feed, all=False)
        return any(invite.number == number for invite in own)

    return [
        Route("/invites", show, methods=["GET"]),
        Route("/invites", create, methods=["POST"]),
        Route("/invites/{number}/revoke", revoke, methods=["POST"]),
    ]

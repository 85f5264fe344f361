"""One's own page: aliases, invites, browsers that are signed in, the password, and the way out."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ssbfast.ids import FeedId
from ssbfast.room.records import Outcome
from ssbfast.room.roles import Action
from ssbfast.server.web import passwords
from ssbfast.server.web.errors import WebError
from ssbfast.server.web.pages.common import LAST_ADMIN, N_, OUTCOMES, back, done, names_of
from ssbfast.server.web.pages.members import effects_on
from ssbfast.server.web.site import Site

WEAKNESSES = (
    N_("a password has 12 characters or more"),
    N_("a password has 256 characters or less"),
    N_("this password is a common one"),
)
"""What `passwords.weakness` says."""

DIFFERENT = N_("The two passwords are not the same.")


def routes(site: Site) -> list[Route]:
    """Return the routes of one's own page."""

    def own(request: Request) -> FeedId:
        feed = site.require(request, Action.SIGN_IN).feed
        if feed is None:
            raise WebError(401)
        return feed

    async def show(request: Request) -> Response:
        own(request)
        return await shown(request)

    async def shown(request: Request, status: int = 200, **problems: Any) -> Response:
        feed = own(request)
        records, now = site.records, site.wall_time()
        member = await site.keeper.read(records.member, feed)
        sessions = await site.keeper.read(records.web_sessions, feed)
        invites = await site.keeper.read(records.invites, feed, all=False)
        return await site.render(
            request,
            "me.html",
            status,
            feed=feed,
            role=site.registry.role(feed),
            member=member,
            aliases=[(alias.name, site.room.alias_url(alias.name)) for alias in site.registry.aliases_of(feed)],
            open_invites=sum(invite.is_open(now) for invite in invites),
            sessions=[(session, session.hash == site.visitor(request).session_hash) for session in sessions],
            done=done(site, request),
            **{"problem": "", **problems},
        )

    async def end_session(request: Request) -> Response:
        feed = own(request)
        form = await site.form(request)
        wanted = form.get("session")
        sessions = await site.keeper.read(site.records.web_sessions, feed)
        mine = site.visitor(request).session_hash
        if wanted == "others":
            for session in sessions:
                if session.hash != mine:
                    await site.keeper.run(site.records.end_web_sessions, feed, session.hash)
            return back(site, "/me", "ended-all")
        found = next((session for session in sessions if session.hash.hex() == wanted), None)
        if found is None:
            raise WebError(404)
        await site.keeper.run(site.records.end_web_sessions, feed, found.hash)
        return back(site, "/login") if found.hash == mine else back(site, "/me", "ended")

    async def set_password(request: Request) -> Response:
        feed = own(request)
        form = await site.form(request)
        _ = site.text(request)
        if "remove" in form:
            await site.keeper.run(site.records.set_password, feed, None, by=feed)
            return back(site, "/me", "password-gone")
        password = form.get("password")
        if password != form.get("again"):
            return await shown(request, 400, problem=_(DIFFERENT))
        names = (site.room_name, *names_of(site.registry)(feed))
        weakness = passwords.weakness(password, *names)
        if weakness is not None:
            return await shown(request, 400, problem=_(weakness))
        stored = await site.in_thread(passwords.store, password)
        own(request)
        await site.keeper.run(site.records.set_password, feed, stored, by=feed)
        return back(site, "/me", "password")

    async def ask_leave(request: Request) -> Response:
        feed = own(request)
        return await asked(request, feed)

    async def asked(request: Request, feed: FeedId, status: int = 200, problem: str = "") -> Response:
        return await site.render(
            request,
            "leave_ask.html",
            status,
            effects=await effects_on(site, feed),
            mode=site.registry.mode.value,
            problem=problem,
        )

    async def leave(request: Request) -> Response:
        feed = own(request)
        await site.form(request)
        own(request)
        outcome = await site.keeper.run(site.records.remove_member, feed, by=feed)
        if outcome is Outcome.DONE:
            return back(site, "/")
        reason = OUTCOMES.get(outcome, LAST_ADMIN)
        return await asked(request, feed, 409, site.text(request)(reason))

    return [
        Route("/me", show, methods=["GET"]),
        Route("/me/sessions/end", end_session, methods=["POST"]),
        Route("/me/password", set_password, methods=["POST"]),
        Route("/me/leave", ask_leave, methods=["GET"]),
        Route("/me/leave", leave, methods=["POST"]),
    ]

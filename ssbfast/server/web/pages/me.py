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
from ssbfast.server.web.site import Site, wall_time

WEAKNESSES = (
    N_("a password has 12 characters or more"),
    N_("a password has 256 characters or less"),
    N_("this password is a common one"),
)
"""What `passwords.weakness` says."""

DIFFERENT = N_("The two passwords are not the same.")


def routes(site: Site) -> list[Route]:
    """Return the routes of one's own page."""
    pages = _Pages(site)
    return [
        Route("/me", pages.show, methods=["GET"]),
        Route("/me/sessions/end", pages.end_session, methods=["POST"]),
        Route("/me/password", pages.set_password, methods=["POST"]),
        Route("/me/leave", pages.ask_leave, methods=["GET"]),
        Route("/me/leave", pages.leave, methods=["POST"]),
    ]


class _Pages:
    def __init__(self, site: Site) -> None:
        self._site = site

    def _own(self, request: Request) -> FeedId:
        feed = self._site.require(request, Action.SIGN_IN).feed
        if feed is None:
            raise WebError(401)
        return feed

    async def show(self, request: Request) -> Response:
        self._own(request)
        return await self._shown(request)

    async def _shown(self, request: Request, status: int = 200, **problems: Any) -> Response:
        feed = self._own(request)
        records = self._site.records
        member = await self._site.keeper.read(records.member, feed)
        sessions = await self._site.keeper.read(records.web_sessions, feed)
        invites = await self._site.keeper.read(records.open_invites, wall_time())
        return await self._site.render(
            request,
            "me.html",
            status,
            feed=feed,
            role=self._site.registry.role(feed),
            member=member,
            aliases=[
                (alias.name, self._site.room.web.alias_url(alias.name))
                for alias in self._site.registry.aliases_of(feed)
            ],
            open_invites=invites.get(feed, 0),
            sessions=[(session, session.hash == self._site.visitor(request).session_hash) for session in sessions],
            done=done(self._site, request),
            **{"problem": "", **problems},
        )

    async def end_session(self, request: Request) -> Response:
        feed = self._own(request)
        form = await self._site.form(request)
        wanted = form.get("session")
        sessions = await self._site.keeper.read(self._site.records.web_sessions, feed)
        mine = self._site.visitor(request).session_hash
        if wanted == "others":
            for session in sessions:
                if session.hash != mine:
                    await self._site.change(self._site.records.end_web_sessions, feed, session.hash)
            return back(self._site, "/me", "ended-all")
        found = next((session for session in sessions if session.hash.hex() == wanted), None)
        if found is None:
            raise WebError(404)
        await self._site.change(self._site.records.end_web_sessions, feed, found.hash)
        return back(self._site, "/login") if found.hash == mine else back(self._site, "/me", "ended")

    async def set_password(self, request: Request) -> Response:
        feed = self._own(request)
        form = await self._site.form(request)
        _ = self._site.text(request)
        if "remove" in form:
            await self._site.change(self._site.records.set_password, feed, None, by=feed)
            return back(self._site, "/me", "password-gone")
        password = form.get("password")
        if password != form.get("again"):
            return await self._shown(request, 400, problem=_(DIFFERENT))
        names = (self._site.room_name, *names_of(self._site.registry)(feed))
        weakness = passwords.weakness(password, *names)
        if weakness is not None:
            return await self._shown(request, 400, problem=_(weakness))
        stored = await self._site.in_thread(passwords.store, password)
        self._own(request)
        await self._site.change(self._site.records.set_password, feed, stored, by=feed)
        return back(self._site, "/me", "password")

    async def ask_leave(self, request: Request) -> Response:
        feed = self._own(request)
        return await self._asked(request, feed)

    async def _asked(self, request: Request, feed: FeedId, status: int = 200, problem: str = "") -> Response:
        return await self._site.render(
            request,
            "leave_ask.html",
            status,
            effects=await effects_on(self._site, feed),
            mode=self._site.registry.mode.value,
            problem=problem,
        )

    async def leave(self, request: Request) -> Response:
        feed = self._own(request)
        await self._site.form(request)
        self._own(request)
        outcome = await self._site.change(self._site.records.remove_member, feed, by=feed)
        if outcome is Outcome.DONE:
            return back(self._site, "/")
        reason = OUTCOMES.get(outcome, LAST_ADMIN)
        return await self._asked(request, feed, 409, self._site.text(request)(reason))

"""Signing in: by SSB from either side, by a link, by a password; and signing out.

No session's token is ever in a URL, in a page or in an event: it is set as a cookie, as the answer to a form of the
very browser that began (or to the request by which an app opened it).

Source: SIP 6.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ssbfast import limits
from ssbfast.errors import BadInputError, FeedIdError, SSBError
from ssbfast.ids import FeedId
from ssbfast.pasted.addresses import read_id
from ssbfast.room.records import Outcome
from ssbfast.room.roles import Action, Role
from ssbfast.room.sign_in import SignIn, SignInState
from ssbfast.server.web import passwords
from ssbfast.server.web.errors import WebError
from ssbfast.server.web.event_stream import Events, EventStream
from ssbfast.server.web.invite_pages import intent_for
from ssbfast.server.web.pages.language import local_path
from ssbfast.server.web.pages.settings import FIRST_SETTINGS
from ssbfast.server.web.sessions import browser_hash
from ssbfast.server.web.site import Site, code_hash, wall_time, wants_json
from ssbfast.server.web.templating import qr
from ssbfast.wire.http_auth import is_nonce, is_solution, new_nonce

FIRST_PAGE: Final = "/dashboard"
"""Where members go once they are signed in."""

_NEXT: Final = 500
"""Characters of the page that a visitor goes on to."""

REFUSED: Final = "No member of this room has confirmed this sign-in."
UNCONFIRMED: Final = "Your app has not confirmed it yet."
WRONG_PASSWORD: Final = "The name or the password is wrong."
BAD_LINK: Final = "This link is not valid: it was used, it is too old, or it never was one."


def routes(site: Site) -> list[Route]:
    """Return the routes of this module."""
    pages = SignInPages(site)
    return [
        Route("/login", pages.login),
        Route("/login/wait", pages.wait),
        Route("/login/finish", pages.finish, methods=["POST"]),
        Route("/login/password", pages.password_form, methods=["GET"]),
        Route("/login/password", pages.password, methods=["POST"]),
        Route("/login/link", pages.link_form, methods=["GET"]),
        Route("/login/link", pages.link, methods=["POST"]),
        Route("/logout", pages.logout_form, methods=["GET"]),
        Route("/logout", pages.logout, methods=["POST"]),
    ]


def start_uri(site: Site, sign_in: SignIn) -> str:
    """Return the URI by which an app solves a challenge of ours."""
    members = {
        "action": "start-http-auth",
        "sid": str(site.room.me.id),
        "sc": sign_in.sc,
        "multiserverAddress": site.address,
    }
    return f"ssb:experimental?{urlencode(members, quote_via=quote, safe='')}"


class SignInPages:
    """The handlers."""

    def __init__(self, site: Site) -> None:
        self._site = site

    # ------------------------------------------------------------ by SSB

    async def login(self, request: Request) -> Response:
        """Show the ways to sign in; or take one of them, when an app has opened this page."""
        query = request.query_params
        if "ssb-http-auth" in query:
            return await self._by_app(request, _nonce(query.get("cid")), _nonce(query.get("cc")))
        if "sc" in query:
            return await self._on_another_screen(request, _nonce(query.get("sc")))
        goal = _goal(query.get("next", ""))
        if self._site.visitor(request).is_signed_in:
            return self._site.redirect(goal)
        return await self._wait_page(request, self._begin(request), goal=goal)

    async def _by_app(self, request: Request, cid: str, cc: str) -> Response:
        """Sign in the peer that opened this page in a browser, if it solves our challenge over its session."""
        site = self._site
        try:
            feed = FeedId.parse(cid)
        except FeedIdError:
            raise WebError(400, "The app gave no SSB id.") from None
        if not is_nonce(cc):
            raise WebError(400, "The app gave no challenge.")
        if request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            # Another site's link would sign its visitor in as somebody else. An app's link has "none" here.
            return await site.render(
                request, "login_confirm.html", feed=feed, here=f"{request.url.path}?{request.url.query}"
            )
        site.spend(request, "sign_ins")
        began = site.now()
        if not await self._has_solved(feed, cc):
            # Strangers, members who are away, and apps that refuse at once: all take as long.
            await asyncio.sleep(began + limits.SIGN_IN_REFUSAL_SECONDS - site.now())
            site.room.measures.sign_ins["app", "refused"] += 1
            raise WebError(403, REFUSED)
        response = await site.render(request, "login_done.html", feed=feed)
        await site.sign_in(request, response, feed, "app")
        return response

    async def _has_solved(self, feed: FeedId, cc: str) -> bool:
        """Ask a member's app to solve a challenge; return whether it did."""
        site = self._site
        if not site.registry.may(feed, Action.SIGN_IN):
            return False
        sc = new_nonce()
        try:
            solution = await site.room.own_calls.request_solution(feed, sc, cc)
        except SSBError:
            return False
        return is_solution(site.room.me.id, feed, sc, cc, solution) and site.registry.may(feed, Action.SIGN_IN)

    async def _on_another_screen(self, request: Request, sc: str) -> Response:
        """Show, on the device with the app, which browser it would sign in."""
        self._site.spend(request, "sign_ins")
        sign_in = self._site.sign_ins.find(sc, self._site.now())
        if sign_in is None or sign_in.state is not SignInState.OPEN:
            raise WebError(404)
        uri = start_uri(self._site, sign_in)
        return await self._site.render(
            request, "login_remote.html", code=sign_in.code, uri=intent_for(request, uri) or uri
        )

    def _begin(self, request: Request, link: bytes | None = None) -> SignIn:
        site = self._site
        site.spend(request, "sign_ins")
        browser = browser_hash(site.pre(request))
        return site.sign_ins.begin(browser, site.incoming(request).networks, site.now(), link=link)

    async def _wait_page(self, request: Request, sign_in: SignIn, error: str = "", goal: str = FIRST_PAGE) -> Response:
        site = self._site
        uri = start_uri(site, sign_in)
        remote = site.url("/login?" + urlencode({"sc": sign_in.sc}, quote_via=quote, safe=""))
        return await site.render(
            request,
            "login.html",
            code=sign_in.code,
            uri=intent_for(request, uri) or uri,
            qr=await site.in_thread(qr, remote),
            is_first=sign_in.link is not None,
            goal=goal,
            error=site.text(request)(error) if error else "",
        )

    async def wait(self, request: Request) -> Response:
        """Tell a browser when its challenge is solved; nothing but that it is."""
        site = self._site
        pre = site.incoming(request).pre
        sign_in = None if pre is None else site.sign_ins.of_browser(browser_hash(pre), site.now())
        if sign_in is None:
            raise WebError(403)
        return EventStream(site, request, self._outcome(sign_in))

    async def _outcome(self, sign_in: SignIn) -> Events:
        if sign_in.state is SignInState.OPEN:
            settled = self._site.settled(sign_in)
            try:
                await asyncio.wait_for(settled.wait(), sign_in.until - self._site.now())
            except asyncio.TimeoutError:
                yield "failed", {}
                return
        event: Mapping[str, Any] = {}
        yield ("solved" if sign_in.state is SignInState.SOLVED else "failed"), event

    async def finish(self, request: Request) -> Response:
        """Exchange a solved challenge for a session, in the browser that it belongs to."""
        site = self._site
        incoming = site.incoming(request)
        goal = _goal((await site.form(request)).get("next"))
        if incoming.visitor.is_signed_in:  # another tab was faster
            return site.redirect(goal)
        if incoming.pre is None:
            raise WebError(403, REFUSED)
        browser = browser_hash(incoming.pre)
        waiting = site.sign_ins.of_browser(browser, site.now())
        if waiting is not None and waiting.state is SignInState.OPEN:
            return await self._wait_page(request, waiting, UNCONFIRMED, goal)
        done = site.sign_ins.finish(browser, site.now())
        if done is None or done.feed is None:
            raise WebError(403, REFUSED)
        if done.link is not None:
            await self._make_admin(done.feed, done.link)
            goal = self._first_goal(done.feed)
        return await self._sign_in(request, done.feed, "browser" if done.link is None else "admin_link", goal)

    async def _make_admin(self, feed: FeedId, link: bytes) -> None:
        """Use up the link by which the first admin of a room comes in."""
        site = self._site
        outcome = await site.change(site.records.take_admin_link, link, feed, wall_time())
        if outcome is not Outcome.DONE:
            raise WebError(403, REFUSED if outcome is Outcome.BLOCKED else BAD_LINK)

    def _first_goal(self, feed: FeedId) -> str:
        """Return where a link leads: the only admin of a room without a name is asked for it."""
        registry = self._site.registry
        is_first = registry.role(feed) is Role.ADMIN and registry.count(Role.ADMIN) == 1
        return FIRST_SETTINGS if is_first and not registry.settings.name else FIRST_PAGE

    async def _sign_in(self, request: Request, feed: FeedId, way: str, goal: str = FIRST_PAGE) -> Response:
        if not self._site.registry.may(feed, Action.SIGN_IN):
            raise WebError(403, REFUSED)
        response = self._site.redirect(goal)
        await self._site.sign_in(request, response, feed, way)
        return response

    # ------------------------------------------------------------ by link

    async def link_form(self, request: Request) -> Response:
        """Show what a login link is for: looking at it, as previews of messages do, does not use it up."""
        site = self._site
        site.spend(request, "sign_ins")
        code = request.query_params.get("code", "")
        found = await site.keeper.read(site.records.find_link, code_hash(code), wall_time())
        if found is None:
            raise WebError(404, BAD_LINK)
        site.pre(request)
        return await site.render(request, "login_link.html", code=code, feed=found[0], error="")

    async def link(self, request: Request) -> Response:
        """Use a login link."""
        site = self._site
        form = await site.form(request)
        site.spend(request, "sign_ins")
        hashed = code_hash(form.get("code"))
        found = await site.keeper.read(site.records.find_link, hashed, wall_time())
        if found is None:
            raise WebError(403, BAD_LINK)
        if found[0] is None:  # the first admin's: its key has to be proven first
            return await self._wait_page(request, self._begin(request, link=hashed))
        taken = await site.change(site.records.take_link, hashed, wall_time())
        if taken is None or taken[0] is None:
            raise WebError(403, BAD_LINK)
        return await self._sign_in(request, taken[0], "link", self._first_goal(taken[0]))

    # ------------------------------------------------------------ by password

    async def password_form(self, request: Request) -> Response:
        """Show the form."""
        self._site.pre(request)
        goal = _goal(request.query_params.get("next", ""))
        return await self._site.render(request, "login_password.html", error="", name="", goal=goal)

    async def password(self, request: Request) -> Response:
        """Compare a password. Whether the key is unknown or the password wrong, text and time are the same."""
        site = self._site
        form = await site.form(request)
        goal = _goal(form.get("next"))
        given = form.get("name")[: limits.ADDRESS_TEXT]
        feed = self._who(given)
        site.spend(request, "passwords")
        account = str(feed) if feed is not None else hashlib.sha256(given.encode("utf-8", "replace")).hexdigest()
        site.spend(request, "passwords_of_key", account)
        stored = None if feed is None else await site.keeper.read(site.records.password, feed)
        is_right = await site.in_thread(passwords.is_right, form.get("password"), stored)
        if not is_right or feed is None or not site.registry.may(feed, Action.SIGN_IN):
            site.room.measures.sign_ins["password", "refused"] += 1
            if wants_json(request):
                raise WebError(403, WRONG_PASSWORD)
            error = site.text(request)(WRONG_PASSWORD)
            return await site.render(request, "login_password.html", 403, error=error, name=given, goal=goal)
        return await self._sign_in(request, feed, "password", goal)

    def _who(self, given: str) -> FeedId | None:
        alias = self._site.registry.alias(given.lower())
        if alias is not None:
            return alias.feed
        try:
            return read_id(given)
        except BadInputError:
            return None

    # ------------------------------------------------------------ out

    async def logout_form(self, request: Request) -> Response:
        """Ask whether to sign out: looking at a page signs nobody out."""
        self._site.require(request, Action.SIGN_IN)
        return await self._site.render(request, "logout.html")

    async def logout(self, request: Request) -> Response:
        """Sign this browser out."""
        site = self._site
        site.require(request, Action.SIGN_IN)
        await site.form(request)
        incoming = site.incoming(request)
        await site.sessions.end(incoming.visitor)
        response = site.redirect("/")
        incoming.cookies.drop(response, incoming.cookies.session)
        return response


def _goal(text: str) -> str:
    """Return the page of ours that a visitor wanted before the sign-in; the first one for anything else."""
    path = local_path(text) if len(text) <= _NEXT else "/"
    return FIRST_PAGE if path == "/" or path.startswith(("/login", "/logout")) else path


def _nonce(text: str | None) -> str:
    """Return a text in base64 from a query, where some apps leave its + as it is, which means a blank."""
    return (text or "").replace(" ", "+")

"""The site as an ASGI application: what guards every request, the routes, and the error pages."""

from __future__ import annotations

import asyncio
import http
import logging
import secrets
import traceback
from collections.abc import Callable, Iterable
from email.utils import formatdate
from typing import Final
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import Message, Receive, Scope, Send

from ssbfast import limits
from ssbfast.errors import StoreError
from ssbfast.room.alias_rules import RESERVED
from ssbfast.server.web import alias_pages, invite_pages, landing, metrics, pages, sign_in_pages
from ssbfast.server.web.client_address import RequestHost
from ssbfast.server.web.errors import WebError
from ssbfast.server.web.request_limits import TooMany
from ssbfast.server.web.request_turns import RequestTurns
from ssbfast.server.web.sessions import Cookies
from ssbfast.server.web.site import Incoming, Site, too_many, wall_time, wants_json

_LOG = logging.getLogger("ssbfast.web")
_LOG.addHandler(logging.NullHandler())

MODULES: Final = (landing, invite_pages, sign_in_pages, metrics, pages)
"""The modules of pages: each has `routes(site)`. Aliases come last, because they take every name that is left."""

HEALTH: Final = "/healthz"

_CSP: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = (
    (b"content-security-policy", _CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
_HSTS: Final = (b"strict-transport-security", b"max-age=31536000")

_TITLES: Final = {
    400: "That cannot be understood",
    401: "Sign in first",
    403: "You may not do that",
    404: "There is no such page",
    405: "That is done in another way",
    413: "That is too long",
    415: "That kind of content is not taken here",
    429: "Too many requests",
    500: "Something went wrong here",
    503: "The room cannot do that just now",
}
_TEXTS: Final = {
    400: "The request is not one that this site knows.",
    401: "This page is for members who are signed in.",
    403: "Your role in this room does not allow it.",
    404: "The address is wrong, or what was here is gone.",
    405: "This page is opened in another way.",
    413: "What you sent is longer than this site takes.",
    415: "What you sent is of a kind that this site does not take.",
    429: "Wait a little, then try again.",
    500: "That is our mistake, not yours.",
    503: "Try again in a few seconds.",
}


class Application:
    """The site for uvicorn.

    Args:
        site: The site.
        more: Functions that give further routes, as the modules of pages do.
    """

    def __init__(self, site: Site, more: Iterable[Callable[[Site], list[Route]]] = ()) -> None:
        self._site = site
        routes: list[BaseRoute] = [Route("/static/{path:path}", self._static), Route(HEALTH, self._health)]
        for make in (*(module.routes for module in MODULES), *more, alias_pages.routes):
            routes += make(site)
        self._router = Router(routes, redirect_slashes=False, default=self._not_found)
        self._alias = alias_pages.subdomain(site)
        self._turns = RequestTurns()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        is_started = False
        began = self._site.now()
        await self._turns.wait()

        async def guarded(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
                self._count(scope["path"], message["status"], self._site.now() - began)
                message = {**message, "headers": self._headers(scope, message["headers"])}
            await send(message)

        request = Request(scope, receive)
        try:
            incoming = await self._let_in(scope, request)
            if incoming.host.alias is not None:
                await (await self._alias(request))(scope, receive, guarded)
            else:
                await self._router(scope, receive, guarded)
        except Exception as error:
            if is_started:
                self._report(error)
                raise
            if isinstance(error, WebError) and error.status == http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                await _drain(receive)
            await (await self._error(request, error))(scope, receive, guarded)

    def _count(self, path: str, status: int, seconds: float) -> None:
        """Count an answer. What visitors may write in a path is no label: there are only so many."""
        first = path.split("/", 2)[1] if path.startswith("/") else ""
        route = first if first in RESERVED else "alias" if first else "landing"
        measures = self._site.room.measures
        measures.requests[route, status] += 1
        measures.request_seconds.add(seconds)

    # ------------------------------------------------------------ before

    async def _let_in(self, scope: Scope, request: Request) -> Incoming:
        """Find out what every page needs to know. Raises WebError."""
        site = self._site
        peer = scope["client"][0] if scope.get("client") else ""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        host = site.name.read(request.headers.get("host", ""), scope["scheme"])
        if host is None and request.url.path == HEALTH:  # asked by address, by whatever looks after the process
            host = RequestHost(True, None, "")
        if host is None:
            raise WebError(400, "This site has another name.")
        is_secure = scope["scheme"] == "https" or (site.name.is_secure and not host.is_loopback)
        networks = site.networks(peer, headers)
        incoming = Incoming(host, networks, Cookies(is_secure))
        scope["ssbfast"] = incoming
        try:
            site.limits.spend("requests", networks, site.now())
        except TooMany as error:
            raise too_many(error.seconds) from None
        if int_of(request.headers.get("content-length")) > limits.WEB_BODY:
            raise WebError(413)
        if len(headers) > limits.WEB_HEADERS:
            raise WebError(400)
        if "transfer-encoding" in request.headers and "content-length" in request.headers:
            raise WebError(400, headers={"Connection": "close"})  # a proxy may have seen another end of the body
        if is_plain(request, site.proxies.trusts(peer)) and site.name.is_secure and not host.is_loopback:
            raise WebError(308, headers={"Location": site.name.url + same_target(scope)})
        if host.alias is None and not request.url.path.startswith("/static/"):
            cookies = request.cookies
            incoming.pre = _short(cookies.get(incoming.cookies.pre))
            token = _short(cookies.get(incoming.cookies.session))
            if token is not None:
                incoming.visitor = await site.sessions.find(token)
        return incoming

    def _headers(self, scope: Scope, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        incoming: Incoming | None = scope.get("ssbfast")
        names = {name for name, _ in headers}
        found = [*headers, *_HEADERS, (b"date", formatdate(wall_time(), usegmt=True).encode())]
        if b"cache-control" not in names:
            found.append((b"cache-control", b"no-store"))
        if incoming is None:
            return found
        if incoming.cookies.is_secure:
            found.append(_HSTS)
        if incoming.new_pre is not None:
            response = Response()
            incoming.cookies.put(response, incoming.cookies.pre, incoming.new_pre, limits.LOGIN_LINK_SECONDS)
            found += [(name, value) for name, value in response.raw_headers if name == b"set-cookie"]
        return found

    # ------------------------------------------------------------ errors

    async def _not_found(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise WebError(404)

    async def _error(self, request: Request, error: Exception) -> Response:
        incoming: Incoming | None = request.scope.get("ssbfast")
        known = self._known(error)
        if known.status == 308:
            return Response(status_code=308, headers=known.headers)
        if known.status == 401 and is_for_reader(request):
            return self._site.redirect(f"/login?next={quote(same_target(request.scope), safe='/')}")
        if known.status == 404 and incoming is not None:
            try:
                self._site.limits.spend("misses", incoming.networks, self._site.now())
            except TooMany as limit:
                known = too_many(limit.seconds)
        text = known.text or _TEXTS.get(known.status, _TEXTS[400])
        if incoming is None:
            return Response(f"{text}\n", known.status, known.headers, "text/plain; charset=utf-8")
        if wants_json(request):
            return self._site.json({"status": "failed", "error": text}, known.status, known.headers)
        say = self._site.text(request)
        return await self._site.render(
            request,
            "error.html",
            known.status,
            headers=known.headers,
            title=say(_TITLES.get(known.status, _TITLES[400])),
            message=say(text),
            incident=known.incident,
            path="/",  # nothing of the request: pages that are not there are all the same
        )

    def _known(self, error: Exception) -> WebError:
        if isinstance(error, WebError):
            return error
        if isinstance(error, HTTPException):
            return WebError(error.status_code, headers=error.headers)
        if isinstance(error, StoreError):
            return WebError(503, headers={"Retry-After": "5"})
        return WebError(500, incident=self._report(error))

    def _report(self, error: Exception) -> str:
        """Log an error of ours without anything of the request; return its id."""
        number = secrets.token_hex(4)
        frame = traceback.extract_tb(error.__traceback__)[-1:]
        where = f"{frame[0].filename.rpartition('/')[2]}:{frame[0].lineno}" if frame else "?"
        _LOG.error("request %s failed: %s at %s", number, type(error).__name__, where)
        return number

    # ------------------------------------------------------------ two small ones

    async def _static(self, request: Request) -> Response:
        found = self._site.static_file(request.url.path)
        if found is None:
            raise WebError(404)
        return Response(found[1], media_type=found[0], headers={"Cache-Control": "public, max-age=31536000, immutable"})

    async def _health(self, request: Request) -> Response:
        is_draining = self._site.is_draining or self._site.room.is_draining
        return Response("draining\n" if is_draining else "ok\n", 503 if is_draining else 200, media_type="text/plain")


async def _drain(receive: Receive) -> None:
    """Read some of a body that is too long, and throw it away: who is still sending does not hear that it is."""
    read = 0
    try:
        while read < limits.WEB_DRAIN:
            message = await asyncio.wait_for(receive(), limits.WEB_DRAIN_SECONDS)
            read += len(message.get("body", b""))
            if message["type"] != "http.request" or not message.get("more_body"):
                return
    except asyncio.TimeoutError:
        return


def is_plain(request: Request, is_proxied: bool) -> bool:
    """Return whether a trusted proxy says that the browser came without TLS."""
    said = request.headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
    return is_proxied and said == "http"


def is_for_reader(request: Request) -> bool:
    """Return whether a page was opened, which can be opened again after the sign-in: no form, no JSON, no events."""
    accepted = request.headers.get("accept", "*/*")
    return request.method in ("GET", "HEAD") and not wants_json(request) and ("html" in accepted or "*/*" in accepted)


def same_target(scope: Scope) -> str:
    """Return path and query of a request as they stand in a URL: whatever is in them, it is ASCII without blanks."""
    path, query = quote(scope["path"], safe="/@:~+=,;"), quote(scope["query_string"], safe="/@:~+=,;%&?")
    return (path if path.startswith("/") else "/") + (f"?{query}" if query else "")


def int_of(text: str | None) -> int:
    """Return a length; 0 for none. (h11 has refused what is no number.)"""
    return int(text) if text is not None and text.isascii() and text.isdigit() else 0


def _short(cookie: str | None) -> str | None:
    return cookie if cookie and len(cookie) <= 64 else None

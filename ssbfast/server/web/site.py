"""The site of a room: what all of its pages share."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from ssbfast import limits
from ssbfast.budgets import Caps, Places, Rings, rings
from ssbfast.errors import LocalProtocolError
from ssbfast.ids import FeedId
from ssbfast.room.codes import hash_of, new_code
from ssbfast.room.records import Outcome, RoomRecords
from ssbfast.room.registry import Registry
from ssbfast.room.roles import Action, Mode
from ssbfast.room.sign_in import SignIn, SignIns
from ssbfast.server.keeper import Keeper
from ssbfast.server.room_server import RoomServer
from ssbfast.server.web.client_address import Headers, Proxies, RequestHost, SiteName
from ssbfast.server.web.errors import WebError
from ssbfast.server.web.languages import LANGUAGES, Text, language_of, text_of, wishes
from ssbfast.server.web.request_limits import RequestLimits, TooMany
from ssbfast.server.web.sessions import NOBODY, Cookies, Sessions, Visitor, csrf_token, is_csrf_token
from ssbfast.server.web.templating import STATIC, Templates, door, static_url

T = TypeVar("T")
LANGUAGE_COOKIE: Final = "lang"
"""The language that a visitor has chosen. It is no secret."""

_FORM: Final = "application/x-www-form-urlencoded"


@dataclass(slots=True)
class Incoming:
    """What the guard has found out about a request, before any page sees it.

    Attributes:
        host: The name that it was sent to.
        networks: The networks by which its sender is counted, widest first.
        cookies: The names of cookies for it.
        visitor: Who sent it.
        pre: The value of the cookie of a browser that is not signed in; None without one.
        new_pre: A new one, which the answer sets.
    """

    host: RequestHost
    networks: Rings
    cookies: Cookies
    visitor: Visitor = NOBODY
    pre: str | None = None
    new_pre: str | None = None


@dataclass(frozen=True, slots=True)
class RoomView:
    """The room as templates see it."""

    name: str
    id: str
    mode: Mode
    description: str


class Form:
    """The fields of a form."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self._fields = fields

    def get(self, name: str, default: str = "") -> str:
        """Return a field without blanks at its ends."""
        return next((value.strip() for key, value in self._fields if key == name), default)

    def all(self, name: str) -> list[str]:
        """Return all fields of a name."""
        return [value.strip() for key, value in self._fields if key == name]

    def __contains__(self, name: str) -> bool:
        return any(key == name for key, _ in self._fields)


class EventStreams:
    """The streams of a site, counted. One of the greediest network ends when a visitor with fewer needs its place."""

    def __init__(self, most: int = limits.WEB_STREAMS) -> None:
        caps = Caps(most, limits.WEB_STREAMS_PER_ADDRESS)
        self._open: Places[asyncio.Event] = Places("web_streams", caps, self._worth)
        self._of: dict[asyncio.Event, str] = {}

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, networks: Rings) -> asyncio.Event:
        """Take a place; return what is set when the stream has to end. Raises WebError 429 when there is none.

        An address that has all that one may have keeps those: a browser asks again for a stream that ends.
        """
        verdict = self._open.ask(networks)
        if self._open.held(networks[-1]) >= self._open.caps.address or not verdict.enters:
            raise too_many(limits.WEB_STREAM_PING)
        if verdict.leaves is not None:
            self.leave(verdict.leaves)
            verdict.leaves.set()
        closing = asyncio.Event()
        self._open.add(closing, networks)
        self._of[closing] = networks[-1]
        return closing

    def leave(self, closing: asyncio.Event) -> None:
        """Give a place back."""
        self._open.remove(closing)
        self._of.pop(closing, None)

    def close(self) -> None:
        """End all streams."""
        for closing in self._open:
            closing.set()

    def _worth(self, closing: asyncio.Event) -> int:
        return -self._open.held(self._of[closing])


class Site:
    """What the pages of a room's site are made with.

    Args:
        room: The room, with records.
        base_url: Where browsers find the site: `https://room.example`.
        proxies: The proxies whose word about addresses is believed.
        request_limits: What one address may ask.
        metrics_token: With it `/metrics` may be read from elsewhere than this machine.

    Attributes:
        name: The site's name, and which others are answered.
        sign_ins: The challenges by which members sign in.
        sessions: The browsers that are signed in.
        connections: How many visitors may have open; and how many proxies.
        streams: The streams of events that are open.

    Raises:
        BadInputError: `base_url` is none.
        LocalProtocolError: The room keeps no records.
    """

    def __init__(
        self,
        room: RoomServer,
        base_url: str,
        *,
        proxies: Proxies | None = None,
        request_limits: RequestLimits | None = None,
        metrics_token: str | None = None,
    ) -> None:
        if room.keeper is None:
            raise LocalProtocolError("a web site needs a room with records")
        self.room = room
        self.keeper: Keeper = room.keeper
        self.name = SiteName(base_url)
        self.proxies = proxies or Proxies()
        self.limits = RequestLimits() if request_limits is None else request_limits
        self.sessions = Sessions(self.keeper, room.registry)
        self.sign_ins = SignIns(room.me.id, self._may_sign_in, self._on_settled)
        files = room.limits.leave_files(2 * limits.WEB_CONNECTIONS + limits.WEB_STREAMS)
        self.connections = max(min(files // 4, limits.WEB_CONNECTIONS), 1)
        self.streams = EventStreams(files - 2 * self.connections)
        self.metrics_token = metrics_token
        self.is_draining = False
        self._settled: dict[str, asyncio.Event] = {}
        self._thread: ThreadPoolExecutor | None = None
        self._waiting = 0
        self._static = _read_static(STATIC)
        self._templates = Templates(url=self.url)
        self._marks = {"csrf": new_code(), "own_door": new_code()}  # that no alias and no text can hold

    @property
    def records(self) -> RoomRecords:
        """Return the room's records, for `change` and `keeper.read`."""
        return self.keeper.records

    @property
    def registry(self) -> Registry:
        """Return what the room knows of keys in memory."""
        return self.room.registry

    @property
    def address(self) -> str:
        """Return the address by which peers dial the room: `net:HOST:PORT~shs:KEY`."""
        return str(self.room.addresses[0])

    @property
    def room_name(self) -> str:
        """Return the room's name for people."""
        return self.registry.settings.name or self.name.host

    def url(self, path: str = "/") -> str:
        """Return the absolute URL of a path of the site."""
        return self.name.url + path

    def now(self) -> float:
        """Return seconds of a clock that does not jump."""
        return asyncio.get_running_loop().time()

    def close(self) -> None:
        """End what waits."""
        self.is_draining = True
        self.streams.close()
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    # ------------------------------------------------------------ requests

    def networks(self, peer: str, headers: Headers) -> Rings:
        """Return the networks by which a request is counted. peer: the other end of its connection."""
        return rings(self.proxies.client(peer, headers))

    def incoming(self, request: Request) -> Incoming:
        """Return what is known of a request."""
        found: Incoming = request.scope["ssbfast"]
        return found

    def visitor(self, request: Request) -> Visitor:
        """Return who a request comes from."""
        return self.incoming(request).visitor

    def require(self, request: Request, action: Action) -> Visitor:
        """Return who a request comes from, if they may do something.

        Raises:
            WebError: 401, which leads to the sign-in, for somebody who is not signed in; else 403.
        """
        visitor = self.visitor(request)
        if not self.registry.may(visitor.feed, action):
            raise WebError(401 if visitor.feed is None else 403)
        return visitor

    async def change(self, method: Callable[..., T], *args: object, **options: object) -> T:
        """Call a method of the records that changes something, by `keeper.run`.

        Raises:
            WebError: 403, when the records say that the visitor may not, by the role that it has by then.
            StoreError: The records cannot be written just now.
        """
        result = await self.keeper.run(method, *args, **options)
        if Outcome.FORBIDDEN in (result, getattr(result, "outcome", None)):
            raise WebError(403)
        return result

    def spend(self, request: Request, kind: str, account: str | None = None) -> None:
        """Charge a request to its address (or another account) before it is worked on.

        Raises:
            WebError: 429, when there is nothing left.
        """
        try:
            accounts = (account,) if account is not None else self.incoming(request).networks
            self.limits.spend(kind, accounts, self.now())
        except TooMany as error:
            raise too_many(error.seconds) from None

    def has_left(self, request: Request, kind: str) -> None:
        """Raise WebError 429 if an address has nothing left of a kind; charge nothing."""
        try:
            self.limits.check(kind, self.incoming(request).networks, self.now())
        except TooMany as error:
            raise too_many(error.seconds) from None

    def pre(self, request: Request) -> str:
        """Return the cookie of a browser that is not signed in; a new one is set by the answer."""
        incoming = self.incoming(request)
        if incoming.pre is None:
            incoming.pre = incoming.new_pre = new_code()
        return incoming.pre

    async def body(self, request: Request) -> bytes:
        """Read the body of a request.

        Raises:
            WebError: 413 for more than `WEB_BODY`, also without a length; 400 when the browser has gone.
        """
        found = bytearray()
        try:
            async for chunk in request.stream():
                found += chunk
                if len(found) > limits.WEB_BODY:
                    raise WebError(413)
        except ClientDisconnect:
            raise WebError(400) from None
        return bytes(found)

    async def json_body(self, request: Request) -> dict[str, Any]:
        """Read a JSON object. Raises WebError 400 for anything else."""
        try:
            value = json.loads(await self.body(request))
        except (ValueError, RecursionError):
            raise WebError(400, "The body is no JSON.") from None
        if not isinstance(value, dict):
            raise WebError(400, "The body is no JSON object.")
        return value

    async def open_form(self, request: Request) -> Form:
        """Read a form that anybody may send, because no cookie has to do with what it does."""
        if media_type(request) != _FORM:
            raise WebError(415)
        text = (await self.body(request)).decode("utf-8", "replace")
        try:
            return Form(parse_qsl(text, keep_blank_values=True, max_num_fields=limits.WEB_FIELDS))
        except ValueError:
            raise WebError(400, "The form has too many fields.") from None

    async def form(self, request: Request) -> Form:
        """Read a form of a page of ours.

        Raises:
            WebError: 403 when another site sent it, or its field `csrf` is not that of the browser's cookie; 413, 415.
        """
        self._check_origin(request)
        incoming = self.incoming(request)
        secret = incoming.visitor.token or incoming.pre
        form = await self.open_form(request)
        if secret is None or incoming.new_pre is not None or not is_csrf_token(secret, form.get("csrf")):
            raise WebError(403, "This form is out of date: go back, reload the page and try again.")
        return form

    def _check_origin(self, request: Request) -> None:
        fetch_site = request.headers.get("sec-fetch-site")
        origin = request.headers.get("origin")
        if fetch_site is not None:
            is_ours = fetch_site == "same-origin" and origin in (None, "null", self.incoming(request).host.origin)
        else:
            is_ours = origin in (None, self.incoming(request).host.origin)
        if not is_ours:
            raise WebError(403, "This form was sent by another site.")

    # ------------------------------------------------------------ answers

    async def render(
        self,
        request: Request,
        template: str,
        status: int = 200,
        /,
        *,
        headers: Mapping[str, str] | None = None,
        **context: Any,
    ) -> Response:
        """Return a page.

        Args:
            request: What it answers.
            template: Its name in templates/.
            status: The HTTP status.
            headers: Further headers.
            context: What the template gets, beside is_signed_in, own_door, room, csrf, path, may and what `Templates`
                gives.
        """
        own = self._own(request)
        return self._page(self.markup(request, template, **own, **context).encode(), status, headers)

    def markup(self, request: Request, template: str, /, **context: Any) -> str:
        """Return what a template makes: a page, or a part of one for a browser that has it open.

        What is the visitor's own is given in `context`; all else is the same for all of one role.
        """
        visitor = self.visitor(request)
        settings = self.registry.settings
        return self._templates.render(
            template,
            self.text(request),
            is_signed_in=visitor.is_signed_in,
            room=RoomView(self.room_name, str(self.room.me.id), settings.mode, settings.description),
            may=lambda action: self.registry.may(visitor.feed, Action[action]),
            **{"path": request.url.path, **context},
        )

    def shared_page(self, request: Request, template: str, /, **context: Any) -> bytes:
        """Return a page for all members of one role: `own_page` puts in what is a visitor's own."""
        return self.markup(request, template, **self._marks, **context).encode()

    def own_page(self, request: Request, shared: bytes) -> Response:
        """Answer with a page that `shared_page` has made."""
        for name, text in self._own(request).items():
            shared = shared.replace(self._marks[name].encode(), text.encode())
        return self._page(shared)

    def _own(self, request: Request) -> dict[str, str]:
        """Return what of a page is a visitor's own."""
        visitor = self.visitor(request)
        return {"csrf": self.csrf(request), "own_door": door(visitor.feed, "small") if visitor.is_signed_in else ""}

    @staticmethod
    def _page(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        return Response(body, status, dict(headers or {}), "text/html; charset=utf-8")

    def json(self, value: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        """Return JSON."""
        return JSONResponse(dict(value), status, dict(headers or {}))

    def redirect(self, path: str) -> Response:
        """Send a browser on to a page of ours, after a form."""
        return Response(status_code=303, headers={"Location": path})

    def csrf(self, request: Request) -> str:
        """Return the token that forms for this browser carry; empty for one without a cookie of ours."""
        incoming = self.incoming(request)
        secret = incoming.visitor.token or incoming.pre
        return csrf_token(secret) if secret else ""

    def language(self, request: Request) -> str:
        """Return the language of the pages for a visitor: the chosen one, else the first that its browser wants."""
        accepted = request.headers.get("accept-language", "")
        return language_of(accepted, request.cookies.get(LANGUAGE_COOKIE), self.registry.settings.language)

    def notice_languages(self, request: Request) -> list[str]:
        """Return the languages in which a visitor reads notices, the dearest first: more than pages have."""
        chosen = request.cookies.get(LANGUAGE_COOKIE)
        first = [chosen] if chosen in LANGUAGES else []
        return [*first, *wishes(request.headers.get("accept-language", "")), self.registry.settings.language]

    def choose_language(self, request: Request, response: Response, language: str) -> None:
        """Let a browser remember the language that its visitor has chosen."""
        is_secure = self.incoming(request).cookies.is_secure
        response.set_cookie(
            LANGUAGE_COOKIE, language, max_age=31_536_000, path="/", secure=is_secure, httponly=True, samesite="lax"
        )

    def text(self, request: Request) -> Text:
        """Return the texts of a visitor's language."""
        return text_of(self.language(request))

    def static_file(self, path: str) -> tuple[str, bytes] | None:
        """Return type and content of a file of static/ by its path."""
        return self._static.get(path)

    # ------------------------------------------------------------ signing in

    async def sign_in(self, request: Request, response: Response, feed: FeedId, way: str) -> None:
        """Sign a member in: begin a session, and let a response set its cookie. The old one of the browser ends.

        way: how it came in, for the measurements.
        """
        self.room.measures.sign_ins[way, "done"] += 1
        incoming = self.incoming(request)
        await self.sessions.end(incoming.visitor)
        token = await self.sessions.begin(feed, request.headers.get("user-agent", ""))
        incoming.cookies.put(response, incoming.cookies.session, token, limits.WEB_SESSION_MOST)
        if incoming.pre is not None:
            incoming.new_pre = None
            incoming.cookies.drop(response, incoming.cookies.pre)

    def settled(self, sign_in: SignIn) -> asyncio.Event:
        """Return what is set once a challenge is solved, failed or given up."""
        return self._settled.setdefault(sign_in.sc, asyncio.Event())

    def _may_sign_in(self, feed: FeedId) -> bool:
        return self.registry.may(feed, Action.SIGN_IN)

    def _on_settled(self, sign_in: SignIn) -> None:
        event = self._settled.pop(sign_in.sc, None)
        if event is not None:
            event.set()

    # ------------------------------------------------------------ slow work

    async def in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do slow work (a password, a QR code) beside the loop, one piece at a time.

        Raises:
            WebError: 429, when too much waits already.
        """
        if self._waiting >= limits.WEB_WORK:
            raise too_many(5.0)
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="ssbfast-web")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(*arguments))
        finally:
            self._waiting -= 1


def too_many(seconds: float) -> WebError:
    """Return the error for an address that asks too much."""
    return WebError(429, headers={"Retry-After": str(max(1, int(seconds + 0.999)))})


def media_type(request: Request) -> str:
    """Return the media type of a request's body, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def wants_json(request: Request) -> bool:
    """Return whether a request wants JSON: by its query, by what it accepts, or by what it sends."""
    if request.query_params.get("encoding") == "json" or media_type(request) == "application/json":
        return True
    accepted = request.headers.get("accept", "")
    return "application/json" in accepted and "text/html" not in accepted


def code_hash(code: str) -> bytes:
    """Return the hash of an invite's or link's code; of another one, if it is none."""
    return hash_of(code) or hashlib.sha256(b"no code").digest()


def wall_time() -> float:
    """Return seconds since 1970."""
    return time.time()


_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".txt": "text/plain; charset=utf-8",
}


def _read_static(folder: Path) -> dict[str, tuple[str, bytes]]:
    """Return type and content of the files that browsers may have, by their paths."""
    files = [file for file in sorted(folder.iterdir()) if file.suffix in _TYPES and file.is_file()]
    return {static_url(file.name): (_TYPES[file.suffix], file.read_bytes()) for file in files}

"""A room with its web site on this machine, and browsers without a window: who has a cookie, and what a page says."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.net.endpoints import Endpoint, bind
from ssbfast.room.codes import hash_of, new_code
from ssbfast.room.roles import Mode, Role
from ssbfast.server.room_server import RoomServer
from ssbfast.server.web.request_limits import RATES, RequestLimits
from ssbfast.server.web.server import WebServer
from ssbfast.server.web.sessions import csrf_token
from ssbfast.server.web.site import Site
from ssbfast.store.room_store import RoomStore

LOCAL = Endpoint("127.0.0.1", 0)
LAVISH = {kind: type(rate)(1e9, 1e9) for kind, rate in RATES.items()}
"""Rates of a site that one test may ask as often as it likes."""


@dataclass(frozen=True)
class Answer:
    """An answer: status, headers (small letters) and body."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def words(self) -> str:
        """What a reader sees, blanks joined."""
        reader = _Words()
        reader.feed(self.text)
        return " ".join(" ".join(reader.words).split())


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def handle_data(self, data: str) -> None:
        self.words.append(data)


class Stream:
    """A stream of events."""

    def __init__(self, port: int, path: str, headers: Mapping[str, str]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self._connection.request("GET", path, headers=dict(headers))
        self._answer = self._connection.getresponse()

    async def next(self) -> tuple[str, Any]:
        """Return the next event with its data, pings left out; ("", None) at the end."""
        return await asyncio.to_thread(self._next)

    def _next(self) -> tuple[str, Any]:
        name = ""
        while line := self._answer.readline().decode():
            if line.startswith("event: "):
                name = line[7:].strip()
            elif line.startswith("data: ") and name != "ping":
                return name, json.loads(line[6:])
        return "", None

    def close(self) -> None:
        """Go away."""
        self._answer.close()
        self._connection.close()


@dataclass
class Browser:
    """A browser. token: its session's, None for a visitor."""

    port: int
    token: str | None = None
    language: str = "en"
    headers: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, **headers: str) -> Answer:
        return await asyncio.to_thread(self._ask, "GET", path, None, headers)

    async def post(self, path: str, *, csrf: str | None = None, **fields: Any) -> Answer:
        """Send a form; with the right token, unless another one is given."""
        right = csrf_token(self.token) if self.token else ""
        body = urlencode({"csrf": right if csrf is None else csrf, **fields})
        return await asyncio.to_thread(
            self._ask, "POST", path, body, {"Content-Type": "application/x-www-form-urlencoded"}
        )

    async def stream(self, path: str) -> Stream:
        """Open a stream of events; the caller closes it."""
        return await asyncio.to_thread(Stream, self.port, path, self._headers({}))

    def _headers(self, more: Mapping[str, str]) -> dict[str, str]:
        cookies = {"Cookie": f"ssb={self.token}"} if self.token else {}
        return {"Accept-Language": self.language, **cookies, **self.headers, **more}

    def _ask(self, method: str, path: str, body: str | None, more: Mapping[str, str]) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, self._headers(more))
            found = connection.getresponse()
            headers = {name.lower(): value for name, value in found.getheaders()}
            return Answer(found.status, headers, found.read().decode("utf-8"))
        finally:
            connection.close()


class Place:
    """A room, its store and its site."""

    def __init__(self, room: RoomServer, store: RoomStore, web: WebServer) -> None:
        self.room = room
        self.store = store
        self.web = web
        self.port = web.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def member(self, role: Role = Role.MEMBER, feed: FeedId | None = None) -> FeedId:
        """Add a key with a role; EXTERNAL adds none, BLOCKED blocks it."""
        feed = feed or Keypair.generate().id
        keeper = self.web.site.keeper
        if role is Role.BLOCKED:
            await keeper.run(self.store.block, feed, "spam", by=None)
        elif role is not Role.EXTERNAL:
            await keeper.run(self.store.add_member, feed, role, by=None)
        return feed

    async def browser(self, feed: FeedId | None = None, language: str = "en") -> Browser:
        """Return a browser; of a member that is signed in, if one is given."""
        if feed is None:
            return Browser(self.port, None, language)
        token = new_code()
        await self.web.site.keeper.run(self.store.add_web_session, hash_of(token), feed, "Firefox", time.time())
        return Browser(self.port, token, language)

    async def alias(self, name: str, feed: FeedId) -> None:
        """Register an alias without asking for a real signature."""
        signature = hashlib.sha512(name.encode()).digest()
        await self.web.site.keeper.run(self.store.register_alias, name, feed, signature, most=8, now=time.time())

    async def invite(self, by: FeedId | None = None, **options: Any) -> str:
        """Make an invite; return its code."""
        code = new_code()
        options.setdefault("expires", time.time() + 86_400)
        await self.web.site.keeper.run(self.store.create_invite, hash_of(code), by=by, **options)
        return code

    async def mode(self, mode: Mode) -> None:
        """Change the mode, as an operator does."""
        await self.web.site.keeper.run(self.store.change_settings, by=None, mode=mode)


@asynccontextmanager
async def web_room(data: Path, mode: Mode = Mode.COMMUNITY, **settings: Any) -> AsyncIterator[Place]:
    """A room with a web site, in a mode."""
    store = RoomStore(data)
    try:
        store.change_settings(by=None, mode=mode, **settings)
        async with RoomServer(Keypair.generate(), name="test", listen=[LOCAL], udp=(), records=store) as room:
            sockets = bind([LOCAL])
            port = sockets[0].getsockname()[1]
            site = Site(room, f"http://127.0.0.1:{port}", request_limits=RequestLimits(LAVISH))
            async with WebServer(site, sockets) as web:
                yield Place(room, store, web)
    finally:
        store.close()


def links_in(text: str) -> list[str]:
    """Return what a page refers to: href, src, action."""
    return re.findall(r'(?:href|src|action)="([^"]*)"', text)

"""A room with a web site, on real sockets of this machine; and browsers that speak HTTP to it, without a library."""

from __future__ import annotations

import asyncio
import gc
import html
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jinja2
import psutil

from ssbfast.budgets import Rate
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.net.endpoints import bind
from ssbfast.room.codes import hash_of, new_code
from ssbfast.room.roles import Mode, Role
from ssbfast.server.web.certificate import SiteCertificate
from ssbfast.server.web.client_address import LOOPBACK, Proxies
from ssbfast.server.web.request_limits import RATES, RequestLimits
from ssbfast.server.web.server import WebServer
from ssbfast.server.web.site import Site
from ssbfast.store.room_store import RoomStore
from ssbfast.wire.alias import decode_signature, sign_alias
from tests.helpers.rawpeer import PATIENCE, eventually
from tests.helpers.served_room import LAVISH, LOCAL, ServedRoom

_CSRF = re.compile(r'name="csrf" value="([0-9a-f]{64})"')
LAVISH_RATES = {kind: Rate(1e9, 1e9) for kind in RATES}


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """The one header of a name."""
        found = [value for key, value in self.headers if key == name]
        assert len(found) < 2, f"{name} is there twice"
        return found[0] if found else None

    @property
    def cookies(self) -> dict[str, str]:
        """Set-Cookie headers as they are, by the cookie's name."""
        return {value.partition("=")[0]: value for key, value in self.headers if key == "set-cookie"}

    @property
    def csrf(self) -> str:
        found = _CSRF.search(self.text)
        assert found, self.text
        return found[1]

    @property
    def plain(self) -> bytes:
        """All that says something, to compare pages: without the date."""
        return repr((self.status, [pair for pair in self.headers if pair[0] != "date"], self.body)).encode()


async def read_answer(reader: asyncio.StreamReader, *, method: str = "GET") -> Answer:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    length = dict(headers).get("content-length")
    body = b""
    if method != "HEAD" and length is not None:
        body = await asyncio.wait_for(reader.readexactly(int(length)), PATIENCE)
    return Answer(int(first.split(" ")[1]), headers, body)


class Browser:
    """A browser with its cookies. host: what it says in the Host header; address: what a proxy says of it."""

    def __init__(
        self, site: ServedSite, *, host: str | None = None, address: str | None = None, **headers: str
    ) -> None:
        self.site = site
        self.host = f"127.0.0.1:{site.port}" if host is None else host
        self.cookies: dict[str, str] = {}
        self.always = {name.replace("_", "-"): value for name, value in headers.items()}
        if address is not None:
            self.always["X-Forwarded-For"] = address

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.site.port)

    async def ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        sent = {"Host": self.host, "Connection": "close", **self.always}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if body or method == "POST":
            sent["Content-Length"] = str(len(body))
        sent |= headers or {}
        reader, writer = await self.open()
        try:
            lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
            writer.write(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body)
            answer = await read_answer(reader, method=method)
        finally:
            writer.close()
        for name, value in answer.cookies.items():
            self.cookies[name] = value.partition("=")[2].partition(";")[0]
            if "Max-Age=0" in value:
                del self.cookies[name]
        return answer

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.ask("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    async def form(self, path: str, fields: Mapping[str, str], **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.ask(
            "POST",
            path,
            urlencode(fields).encode(),
            {"Content-Type": "application/x-www-form-urlencoded", **sent},
        )

    async def submit(self, page: str, path: str, fields: Mapping[str, str] | None = None, **headers: str) -> Answer:
        """Open a page, and send a form of it."""
        return await self.form(path, {"csrf": (await self.get(page)).csrf, **(fields or {})}, **headers)

    async def post_json(self, path: str, value: Any, kind: str = "application/json", **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.ask("POST", path, json.dumps(value).encode(), {"Content-Type": kind, **sent})

    async def events(self, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, int]:
        """Open a stream of events; return its reader, its writer and the status."""
        reader, writer = await self.open()
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\nCookie: {cookie}\r\n\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        return reader, writer, int(head.split()[1])


async def next_event(reader: asyncio.StreamReader) -> str:
    """The name of the next event of a stream; empty at its end."""
    while line := await asyncio.wait_for(reader.readline(), PATIENCE):
        if line.startswith(b"event: "):
            return line.split()[1].decode()
    return ""


class ServedSite:
    """A room, its store and its site."""

    def __init__(self, room: ServedRoom, store: RoomStore, web: WebServer, port: int) -> None:
        self.room = room
        self.store = store
        self.web = web
        self.site = web.site
        self.port = port

    @property
    def id(self) -> FeedId:
        return self.room.server.me.id

    def browser(self, **options: Any) -> Browser:
        return Browser(self, **options)

    async def member(self, role: Role = Role.MEMBER, me: Keypair | None = None) -> Keypair:
        me = me or Keypair.generate()
        await self.site.keeper.run(self.store.add_member, me.id, role, by=None)
        return me

    async def mode(self, mode: Mode) -> None:
        await self.site.keeper.run(self.store.change_settings, by=None, mode=mode)

    async def invite(self, **options: Any) -> str:
        code = new_code()
        options = {"by": None, **options}
        await self.site.keeper.run(self.store.create_invite, hash_of(code), **options)
        return code

    async def alias(self, name: str, me: Keypair) -> str:
        signature = sign_alias(me, self.id, name)
        await self.site.keeper.run(
            self.store.register_alias,
            name,
            me.id,
            decode_signature(signature),
            most=8,
            now=0.0,
        )
        return signature

    async def link(self, feed: FeedId | None, purpose: str = "login", expires: float = 1e12) -> str:
        code = new_code()
        await self.site.keeper.run(self.store.add_link, hash_of(code), feed, purpose, expires, by=None)
        return code

    async def signed_in(self, me: Keypair, **options: Any) -> Browser:
        """A browser in which a member is signed in, by a link."""
        browser = self.browser(**options)
        code = await self.link(me.id)
        answer = await browser.submit(f"/login/link?code={code}", "/login/link", {"code": code})
        assert answer.status == 303, answer.text
        return browser

    async def claim(self, code: str, feed: FeedId, **options: Any) -> Any:
        return (await self.browser(**options).post_json("/claim", {"id": str(feed), "invite": code})).json()


class _Compiled(jinja2.BytecodeCache):
    """Templates as the first site has compiled them: each takes 25 ms."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: jinja2.bccache.Bucket) -> None:
        if bucket.key in self._kept:
            bucket.bytecode_from_string(self._kept[bucket.key])

    def dump_bytecode(self, bucket: jinja2.bccache.Bucket) -> None:
        self._kept[bucket.key] = bucket.bytecode_to_string()


_COMPILED = _Compiled()


@asynccontextmanager
async def served_site(
    folder: Path,
    *,
    mode: Mode = Mode.COMMUNITY,
    base_url: str | None = None,
    rates: Mapping[str, Rate] = LAVISH_RATES,
    proxies: Proxies | None = None,
    certificate: tuple[str, str] | None = None,
    **options: Any,
) -> AsyncIterator[ServedSite]:
    """Open a room with a site. Nothing may be left of either."""
    tasks = asyncio.all_tasks()
    before = psutil.Process().num_fds()
    with RoomStore(folder) as store:
        store.change_settings(by=None, mode=mode)
        room = ServedRoom(records=store, caps=LAVISH, **options)
        async with room.server:
            sockets = bind([LOCAL])
            port = sockets[0].getsockname()[1]
            site = Site(
                room.server,
                base_url or f"http://127.0.0.1:{port}",
                proxies=proxies or Proxies(LOOPBACK),
                request_limits=RequestLimits(rates),
            )
            site._templates.environment.bytecode_cache = _COMPILED
            own = None if certificate is None else SiteCertificate(certificate)
            async with WebServer(site, sockets, certificate=own) as web:
                yield ServedSite(room, store, web, port)
                for peer in room.peers:
                    if not peer.gone.is_set():
                        peer.link.release(peer)
                        peer.link.abort()
            await room.is_empty()
    await eventually(lambda: asyncio.all_tasks() <= tasks | {asyncio.current_task()})
    gc.collect()
    await eventually(lambda: psutil.Process().num_fds() <= before)


def uris(page: Answer) -> list[str]:
    """The `ssb:` links of a page."""
    return [html.unescape(found) for found in re.findall(r'href="(ssb:[^"]*)"', page.text)]

"""What a fresh and hostile reader tried on the site: each of these went wrong once."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from markdown_it.token import Token
from starlette.requests import Request
from starlette.types import Scope

from ssbfast import limits
from ssbfast.budgets import Caps
from ssbfast.room.records import NewInvite, Notice, Outcome
from ssbfast.room.roles import Role
from ssbfast.server.web import templating
from ssbfast.server.web.app import Application
from ssbfast.server.web.connection import HttpConnection
from ssbfast.server.web.site import EventStreams, Incoming
from ssbfast.wire.http_auth import new_nonce, solve
from tests.helpers import tls
from tests.helpers.rawpeer import PATIENCE, eventually
from tests.helpers.served_site import ServedSite, next_event, read_answer, served_site
from tests.helpers.websockets import upgrade


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[ServedSite]:
    async with served_site(tmp_path) as site:
        yield site


async def opened(site: ServedSite, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(data)
    await writer.drain()
    return reader, writer


# ---------------------------------------------------------------- odd input


@pytest.mark.parametrize("number", ["9" * 5000, "9" * 20, "²", "0", "-1", "x"])
async def test_odd_numbers_of_invites_are_404(site: ServedSite, number: str) -> None:
    browser = await site.signed_in(await site.member(Role.MODERATOR))
    answer = await browser.submit("/me", f"/invites/{quote(number)}/revoke")
    assert answer.status in (303, 404), answer.status
    assert (await site.browser().get(f"/invites/{quote(number)}/revoke")).status == 405


@pytest.mark.parametrize("path", ["/%00", "/%0d%0aX:y", "/%e2%82%ac", "/a%3fb", "//evil.example", "/login?sc=%00+%2b"])
async def test_the_way_to_tls_keeps_the_path(tmp_path: Path, path: str) -> None:
    async with served_site(tmp_path, base_url="https://room.example") as site:
        browser = site.browser(host="room.example")
        answer = await browser.get(path, X_Forwarded_Proto="http")
        where = answer.header("location")
        assert answer.status == 308 and where is not None
        assert where.lower() == "https://room.example" + path.lower()


async def test_two_lengths_of_a_body_are_refused_and_the_connection_ends(site: ServedSite) -> None:
    host = f"Host: 127.0.0.1:{site.port}\r\n"
    body = b"0\r\n\r\nGET /healthz HTTP/1.1\r\n" + host.encode() + b"\r\n"
    head = f"POST /claim HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    reader, writer = await opened(site, head + body)
    found = await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    assert found.startswith(b"HTTP/1.1 400 ") and found.count(b"HTTP/1.1 ") == 1


# ---------------------------------------------------------------- places


async def test_who_never_sends_the_body_shuts_nobody_out(site: ServedSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body has 30 seconds, and one network after the other could have held all places so."""
    monkeypatch.setattr(site.web.places._proxied, "caps", type(site.web.places._proxied.caps)(8, 8))
    head = f"POST /language HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\nContent-Length: 9\r\n"
    head += "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    held = [await opened(site, head.encode()) for _ in range(8)]
    await eventually(lambda: sum(one.worth == 0 and one.cycle is not None for one in site.web.places._proxied) == 8)
    assert (await site.browser().get("/healthz")).status == 200
    for _, writer in held:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_connections_that_never_begin_tls_have_places_too(tmp_path: Path) -> None:
    """They were counted from the first request on, and each held a file for a minute."""
    file = tmp_path / "certificate.pem"
    file.write_bytes(tls.certificate("localhost"))
    async with served_site(tmp_path / "room", base_url="https://localhost", certificate=(str(file), str(file))) as site:
        site.web.places._proxied.caps = Caps(8, 8)
        held = [await opened(site, b"") for _ in range(12)]
        await eventually(lambda: sum(reader.at_eof() for reader, _ in held) == 4)
        honest = {"ssl": tls.trusting(), "server_hostname": "localhost"}
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port, **honest)  # type: ignore[arg-type]
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), PATIENCE)).startswith(b"HTTP/1.1 200 ")
        for _, one in [(reader, writer), *held]:
            one.close()
            with suppress(ConnectionError):
                await one.wait_closed()


async def test_a_visitor_in_a_crowd_that_says_nothing_is_answered(site: ServedSite) -> None:
    """All that had come were accepted in one turn, and the visitor lost its place before its request was read."""
    site.web.places._proxied.caps = Caps(64, 64)
    with ExitStack() as stack:
        visitor, *_crowd = [stack.enter_context(socket.create_connection(("127.0.0.1", site.port))) for _ in range(400)]
        visitor.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n\r\n".encode())
        visitor.setblocking(False)
        answer = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(visitor, 100), PATIENCE)
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_requests_begin_one_a_tick(site: ServedSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that had come began in one tick, and calls in the room waited for them."""
    ticks, began = [0], []
    let_in = Application._let_in

    async def noted(self: Application, scope: Scope, request: Request) -> Incoming:
        began.append(ticks[0])
        return await let_in(self, scope, request)

    monkeypatch.setattr(Application, "_let_in", noted)
    request = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n\r\n".encode()
    connections = [await opened(site, b"") for _ in range(20)]

    async def count() -> None:
        while len(began) < 60:
            ticks[0] += 1
            await asyncio.sleep(0)

    for _, writer in connections:
        writer.write(request * 3)
    await asyncio.wait_for(count(), PATIENCE)
    assert len(set(began)) == 60
    for reader, writer in connections:
        await read_answer(reader)
        writer.close()


async def test_little_is_read_at_once(site: ServedSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of a MiB was, and a hundred bodies took a hundred MiB."""
    sizes: list[int] = []
    received = HttpConnection.data_received
    monkeypatch.setattr(
        HttpConnection, "data_received", lambda self, data: (sizes.append(len(data)), received(self, data))[1]
    )
    answer = await site.browser().ask("POST", "/claim", bytes(1_000_000), {"Content-Type": "application/json"})
    assert answer.status == 413
    assert sum(sizes) > 100_000 and max(sizes) <= limits.WEB_HEADER


_GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.mark.parametrize("data", [b"x" * 40_000, _GET, _GET * 3, b"", upgrade()[1], _GET + upgrade()[1]])
async def test_nothing_of_a_connection_waits_for_the_garbage_collector(
    site: ServedSite, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A room collects rarely: what a crowd of refused connections had sent was 130 MiB."""
    left: list[weakref.ref[HttpConnection]] = []
    made = HttpConnection.connection_made
    monkeypatch.setattr(
        HttpConnection, "connection_made", lambda self, raw: (left.append(weakref.ref(self)), made(self, raw))[1]
    )
    gc.collect()
    gc.disable()
    try:
        reader, writer = await opened(site, data)
        if data:
            await asyncio.wait_for(reader.read(100), PATIENCE)
        if b"websocket" not in data:
            writer.transport.abort()
        await eventually(lambda: left and not len(site.web.places))
        await eventually(lambda: all(one() is None for one in left))
        writer.transport.abort()
    finally:
        gc.enable()


# ---------------------------------------------------------------- streams


async def test_the_stream_of_a_browser_that_signed_out_ends_while_the_room_is_busy(
    site: ServedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pings only asked whether it is signed in, and where something happens all the time there are none."""
    monkeypatch.setattr(limits, "WEB_LIVE_SECONDS", 0.01)
    monkeypatch.setattr(limits, "WEB_STREAM_CHECK", 0.0)
    me = await site.member()
    browser = await site.signed_in(me)
    reader, writer, status = await browser.events("/dashboard/events")
    assert (status, await next_event(reader)) == (200, "part")
    await site.site.keeper.run(site.store.end_web_sessions, me.id)

    async def stir() -> None:
        while True:
            await site.member()

    stirring = asyncio.create_task(stir())
    try:
        await asyncio.wait_for(reader.read(), PATIENCE)
    finally:
        stirring.cancel()
        await asyncio.gather(stirring, return_exceptions=True)
        writer.close()


async def test_a_stream_that_is_not_read_gives_its_file_back_with_its_place(
    site: ServedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WEB_LIVE_SECONDS", 0.001)
    monkeypatch.setattr(limits, "WEB_BODY_SECONDS", 3600.0)
    site.site.streams = EventStreams(1)
    site.web.listener._sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    browser = await site.signed_in(await site.member())
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", site.port))
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        reader.sendall(f"GET /dashboard/events HTTP/1.1\r\nHost: {browser.host}\r\nCookie: {cookies}\r\n\r\n".encode())
        await eventually(lambda: len(site.site.streams) == 1)
        (connection,) = {one for one in gc.get_objects() if isinstance(one, HttpConnection) and not one._is_over}
        while connection._stalled is None:
            await site.member()
        await lose_place(site, connection)


async def lose_place(site: ServedSite, connection: HttpConnection) -> None:
    """Open a stream for somebody else; then the connection of the other one is over."""
    other = site.browser(address="192.0.2.9")
    await other.get("/login")
    _, late, status = await other.events("/login/wait")
    assert status == 200
    await eventually(lambda: connection._is_over)
    late.close()


# ---------------------------------------------------------------- sign-in


async def test_what_a_key_solved_is_gone_with_its_role(site: ServedSite) -> None:
    """It is not there again when the key is."""
    me = await site.member()
    ins, now = site.site.sign_ins, asyncio.get_running_loop().time()
    sign_in = ins.begin(b"browser", ("network",), now)
    cc = new_nonce()
    assert ins.solve(me.id, sign_in.sc, cc, solve(me, site.id, sign_in.sc, cc), now)
    await site.site.keeper.run(site.store.block, me.id, "", by=None)
    await site.site.keeper.run(site.store.unblock, me.id, by=None)
    await site.member(me=me)
    assert ins.finish(b"browser", now) is None


async def test_an_invite_of_somebody_who_was_just_blocked_is_not_told(
    site: ServedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = await site.member()
    browser = await site.signed_in(me)
    csrf = (await browser.get("/create-invite")).csrf
    monkeypatch.setattr(site.store, "create_invite", lambda *_args, **_options: NewInvite(Outcome.FORBIDDEN))
    assert (await browser.form("/create-invite", {"csrf": csrf})).status == 403


# ---------------------------------------------------------------- work


async def test_a_notice_is_made_into_html_once(site: ServedSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long one takes a tenth of a second, and each visitor of the front page asks for it."""
    body = "[" * 3000
    await site.site.keeper.run(site.store.write_notice, Notice("description", "en", "", body, 1.0), by=None)
    calls = []
    parse = templating._notices().parse

    def counted(source: str) -> list[Token]:
        calls.append(source)
        return parse(source)

    monkeypatch.setattr(templating._notices(), "parse", counted)
    for _ in range(3):
        assert body in (await site.browser().get("/")).text
    assert len(calls) == 1

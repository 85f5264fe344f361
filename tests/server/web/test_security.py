"""What others must not get out of the site, or into it."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from ssbfast import limits
from ssbfast.budgets import Rate, rings
from ssbfast.room.roles import Mode, Role
from ssbfast.server.networks import parse_networks
from ssbfast.server.web.client_address import Proxies
from ssbfast.server.web.connection import HttpConnection, JoinedWrites
from ssbfast.server.web.errors import WebError
from ssbfast.server.web.request_limits import RATES, RequestLimits, TooMany
from ssbfast.server.web.site import EventStreams
from tests.helpers.rawpeer import PATIENCE, eventually
from tests.helpers.served_site import LAVISH_RATES, Answer, Browser, ServedSite, read_answer, served_site

HOST = "room.example"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[ServedSite]:
    async with served_site(tmp_path) as site:
        yield site


async def raw(site: ServedSite, *data: bytes) -> bytes:
    """All that comes back for bytes, until the other end closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    found = b""
    try:
        with suppress(ConnectionError):
            for piece in data:
                writer.write(piece)
                await writer.drain()
            while piece := await asyncio.wait_for(reader.read(65536), PATIENCE):
                found += piece
    finally:
        writer.close()
    return found


# ---------------------------------------------------------------- forms of other sites


async def test_a_form_needs_its_token(site: ServedSite) -> None:
    browser = await site.signed_in(await site.member())
    other = await site.signed_in(await site.member())
    foreign = (await other.get("/logout")).csrf
    for token in ("", "x", "0" * 64, foreign):
        assert (await browser.form("/logout", {"csrf": token})).status == 403
    assert (await browser.form("/logout", {})).status == 403
    assert (await browser.get("/logout")).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "none"},
        {"Sec_Fetch_Site": "same-origin", "Origin": "https://evil.example"},
    ],
)
async def test_a_form_of_another_site_is_refused_with_the_right_token(
    site: ServedSite, headers: dict[str, str]
) -> None:
    browser = await site.signed_in(await site.member())
    token = (await browser.get("/logout")).csrf
    assert (await browser.form("/logout", {"csrf": token}, **headers)).status == 403
    assert (await browser.get("/logout")).status == 200


@pytest.mark.parametrize("kind", ["origin", "fetch metadata", "both", "null"])
async def test_our_own_forms_pass(site: ServedSite, kind: str) -> None:
    browser = await site.signed_in(await site.member())
    token = (await browser.get("/logout")).csrf
    origin = f"http://127.0.0.1:{site.port}"
    headers = {
        "origin": {"Origin": origin},
        "fetch metadata": {"Sec_Fetch_Site": "same-origin"},
        "both": {"Sec_Fetch_Site": "same-origin", "Origin": origin},
        "null": {"Sec_Fetch_Site": "same-origin", "Origin": "null"},  # what Referrer-Policy: no-referrer makes of it
    }[kind]
    assert (await browser.form("/logout", {"csrf": token}, **headers)).status == 303


@pytest.mark.parametrize("path", ["/login/finish", "/login/link", "/login/password"])
async def test_signing_in_needs_a_form_of_ours(site: ServedSite, path: str) -> None:
    """Else another site signs its visitor in as somebody else."""
    me = await site.member()
    code = await site.link(me.id)
    fields = {"code": code, "name": str(me.id), "password": "x"}
    assert (await site.browser().form(path, fields)).status == 403
    browser = site.browser()
    token = (await browser.get("/login")).csrf
    assert (await browser.form(path, {**fields, "csrf": token}, Origin="https://evil.example")).status == 403
    assert not site.store.web_sessions(me.id)


async def test_json_is_no_form(site: ServedSite) -> None:
    browser = await site.signed_in(await site.member())
    token = (await browser.get("/logout")).csrf
    assert (await browser.post_json("/logout", {"csrf": token})).status == 415


@pytest.mark.parametrize(
    "path", ["/logout", "/create-invite", "/login/link", "/login/password", "/login", "/join", "/claim"]
)
async def test_looking_changes_nothing(site: ServedSite, path: str) -> None:
    browser = await site.signed_in(await site.member())
    before = site.store.news(None).number
    await browser.get(path)
    await browser.ask("HEAD", path)
    assert site.store.news(None).number == before


# ---------------------------------------------------------------- headers and cookies


async def test_headers_of_every_answer(site: ServedSite) -> None:
    browser = await site.signed_in(await site.member())
    for path in ("/", "/login", "/nope", "/logout", "/join?invite=x&encoding=json", "/healthz", "/dashboard"):
        for one in (browser, site.browser()):
            answer = await one.get(path)
            policy = answer.header("content-security-policy") or ""
            assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
            assert answer.header("x-content-type-options") == "nosniff"
            assert answer.header("referrer-policy") == "no-referrer"
            assert answer.header("cache-control") == "no-store"
            assert answer.header("server") is None
            assert answer.header("strict-transport-security") is None
            assert "<script>" not in answer.text and "style=" not in answer.text and " onclick" not in answer.text


async def test_cookies_by_tls(tmp_path: Path) -> None:
    async with served_site(tmp_path, base_url=f"https://{HOST}") as site:
        browser = await site.signed_in(await site.member(), host=HOST)
        assert set(browser.cookies) == {"__Host-ssb"}
        answer = await site.browser(host=HOST).get("/login")
        assert answer.header("strict-transport-security") == "max-age=31536000"
        cookie = answer.cookies["__Host-ssb-pre"]
        assert {"HttpOnly", "Secure", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
        assert "Domain" not in cookie
        stranger = site.browser(host=HOST)
        stranger.cookies["ssb"] = browser.cookies["__Host-ssb"]  # a name that other hosts could set
        assert (await stranger.get("/logout")).status == 303


async def test_static_files_are_immutable(site: ServedSite) -> None:
    page = await site.browser().get("/")
    paths = set(re.findall(r'"(/static/[^"]+)"', page.text))
    assert len(paths) >= 3
    for path in paths:
        answer = await site.browser().get(path)
        assert answer.status == 200 and "immutable" in (answer.header("cache-control") or "")


@pytest.mark.parametrize(
    "path",
    [
        "/static/../site.py",
        "/static/x/../../site.py",
        "/static/%2e%2e/site.py",
        "/static/..%2f..%2fsite.py",
        "/static//etc/passwd",
        "/static/%00",
        "/static/x\\..\\site.py",
        "/../../etc/passwd",
        "//evil.example/",
        "/%2e%2e/%2e%2e/etc/passwd",
    ],
)
async def test_no_path_leads_out(site: ServedSite, path: str) -> None:
    answer = await site.browser().get(path)
    assert answer.status == 404 and b"root:" not in answer.body and b"class Site" not in answer.body


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (HOST, 200),
        (HOST.upper(), 200),
        (f"{HOST}:443", 200),
        ("localhost", 200),
        ("127.0.0.1:3000", 200),
        ("[::1]:3000", 200),
        ("evil.example", 400),
        (f"{HOST}.evil.example", 400),
        (f"evil{HOST}", 400),
        (f"a.b.{HOST}", 400),
        (f"_x.{HOST}", 400),
        (f"{HOST}@evil.example", 400),
        ("", 400),
        ("127.0.0.2", 400),
    ],
)
async def test_host_names(tmp_path: Path, host: str, status: int) -> None:
    async with served_site(tmp_path, base_url=f"https://{HOST}") as site:
        answer = await site.browser(host=host, X_Forwarded_Host="evil.example").get("/")
        assert answer.status == status
        assert "evil" not in answer.text


async def test_health_is_told_by_any_name(site: ServedSite) -> None:
    assert (await site.browser(host="10.1.2.3:3000").get("/healthz")).body == b"ok\n"
    assert (await site.browser(host="10.1.2.3:3000").get("/")).status == 400


async def test_links_hold_the_sites_own_name(tmp_path: Path) -> None:
    async with served_site(tmp_path, base_url=f"https://{HOST}", mode=Mode.OPEN) as site:
        browser = site.browser(host="localhost")
        answer = await browser.ask("POST", "/create-invite", headers={"Accept": "application/json"})
        assert answer.json()["url"].startswith(f"https://{HOST}/join?")


async def test_a_proxy_that_says_http_is_sent_to_https(tmp_path: Path) -> None:
    async with served_site(tmp_path, base_url=f"https://{HOST}") as site:
        answer = await site.browser(host=HOST, X_Forwarded_Proto="http").get("/login?x=1")
        assert (answer.status, answer.header("location")) == (308, f"https://{HOST}/login?x=1")
        assert (await site.browser(host=HOST, X_Forwarded_Proto="https").get("/login")).status == 200
    async with served_site(tmp_path, base_url=f"https://{HOST}", proxies=Proxies()) as site:
        assert (await site.browser(host=HOST, X_Forwarded_Proto="http").get("/login")).status == 200


# ---------------------------------------------------------------- limits

FEW = {**LAVISH_RATES, "claims": Rate(1e-9, 3)}


async def statuses(browsers: list[Browser], path: str) -> list[int]:
    return [(await browser.get(path)).status for browser in browsers]


async def test_an_address_is_counted_over_all_its_connections(tmp_path: Path) -> None:
    async with served_site(tmp_path, rates=FEW, proxies=Proxies()) as site:
        forged = [site.browser(address=f"192.0.2.{n}") for n in range(5)]
        assert await statuses(forged, "/join?invite=x") == [404, 404, 404, 429, 429]
        limited = await site.browser().get("/join?invite=x&encoding=json")
        assert limited.status == 429 and int(limited.header("retry-after") or 0) > 0
        assert (await site.browser().get("/")).status == 200


async def test_behind_a_proxy_it_is_the_last_hop_that_counts(tmp_path: Path) -> None:
    async with served_site(tmp_path, rates=FEW) as site:
        forged = [site.browser(address=f"203.0.113.{n}, 192.0.2.1") for n in range(5)]
        assert await statuses(forged, "/join?invite=x") == [404, 404, 404, 429, 429]
        assert await statuses([site.browser(address="192.0.2.2")], "/join?invite=x") == [404]
        v6 = [site.browser(address=f"2001:db8:0:1::{n}") for n in range(5)]
        assert await statuses(v6, "/join?invite=x") == [404, 404, 404, 429, 429]
        assert await statuses([site.browser(address="2001:db8:0:2::1")], "/join?invite=x") == [404]


def test_who_comes_through_proxies() -> None:
    proxies = Proxies(parse_networks(["10.0.0.0/8", "::1"]))

    def client(host: str, **headers: str) -> str:
        pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        return proxies.client(host, pairs)

    assert client("192.0.2.9", x_forwarded_for="1.1.1.1") == "192.0.2.9"
    assert client("10.0.0.1") == "10.0.0.1"
    assert client("10.0.0.1", x_forwarded_for="6.6.6.6, 1.1.1.1") == "1.1.1.1"
    assert client("10.0.0.1", x_forwarded_for="6.6.6.6, 1.1.1.1, 10.9.9.9") == "1.1.1.1"
    assert client("10.0.0.1", x_forwarded_for="1.1.1.1:5555") == "1.1.1.1"
    assert client("10.0.0.1", x_forwarded_for="[2001:db8::1]:5555") == "2001:db8::1"
    assert client("10.0.0.1", x_forwarded_for="2001:db8:1:2:3:4:5:6:5555") == "2001:db8:1:2:3:4:5:6"
    assert rings(client("10.0.0.1", x_forwarded_for="2001:db8:1:2::3:5555")) == rings("2001:db8:1:2::3")
    assert client("10.0.0.1", x_forwarded_for="1.1.1.1, rubbish") == "10.0.0.1"
    assert client("10.0.0.1", x_forwarded_for="1.1.1.1, rubbish, 10.0.0.2") == "10.0.0.2"
    assert client("::1", forwarded='for=6.6.6.6, for="[2001:db8::1]:99";proto=https') == "2001:db8::1"
    assert client("::ffff:10.0.0.1", x_forwarded_for="1.1.1.1") == "1.1.1.1"
    # What proxies pass on as it came would make a visitor the proxy itself, or a neighbour.
    assert client("10.0.0.1", x_forwarded_for="1.1.1.1", forwarded="for=6.6.6.6") == "1.1.1.1"


async def test_what_is_not_there_is_guessed_slowly(tmp_path: Path) -> None:
    async with served_site(tmp_path, rates={**LAVISH_RATES, "misses": Rate(1e-9, 3)}) as site:
        await site.alias("alice", await site.member())
        assert await statuses([site.browser()] * 5, "/nobody") == [404, 404, 404, 429, 429]
        assert await statuses([site.browser()], "/alice") == [429]  # else it is told from those that are not there
        assert await statuses([site.browser()], "/login") == [200]


async def test_passwords_are_tried_five_times(tmp_path: Path) -> None:
    rates = {**RATES, "sign_ins": LAVISH_RATES["sign_ins"]}
    async with served_site(tmp_path, rates=rates) as site:
        me, fields = await site.member(), {"name": "", "password": "x"}
        fields["name"] = str(me.id)
        found = []
        for n in range(limits.PASSWORD_TRIES + 2):
            browser = site.browser(address=f"192.0.2.{n}")
            found.append((await browser.submit("/login/password", "/login/password", fields)).status)
        assert found == [403] * limits.PASSWORD_TRIES + [429] * 2


async def test_an_address_tries_twenty_passwords(tmp_path: Path) -> None:
    async with served_site(tmp_path, rates={**LAVISH_RATES, "passwords": Rate(1e-9, 4)}) as site:
        browser = site.browser()
        token = (await browser.get("/login/password")).csrf
        found = []
        for n in range(6):
            fields = {"csrf": token, "name": f"somebody-{n}", "password": "x"}
            found.append((await browser.form("/login/password", fields)).status)
        assert found == [403] * 4 + [429] * 2


async def test_streams_of_an_address(site: ServedSite) -> None:
    browser = site.browser()
    await browser.get("/login")
    opened = [await browser.events("/login/wait") for _ in range(limits.WEB_STREAMS_PER_ADDRESS + 1)]
    assert [status for _, _, status in opened] == [200] * limits.WEB_STREAMS_PER_ADDRESS + [429]
    for _, writer, _ in opened:
        writer.close()
    await eventually(lambda: len(site.site.streams) == 0)


THOUSAND = [rings(f"2001:db8:7:{number:x}::1") for number in range(1_000)]
"""Addresses of one stranger, each in a /64 of its own, all in one /48."""


def test_a_thousand_addresses_of_a_stranger_have_the_streams_of_a_household() -> None:
    streams = EventStreams()
    first = streams.enter(rings("2001:db8:8::1"))
    opened = [streams.enter(networks) for networks in THOUSAND]
    assert len(streams) == limits.WEB_STREAMS_PER_ADDRESS * 4 + 1
    assert sum(closing.is_set() for closing in opened) == 1_000 - limits.WEB_STREAMS_PER_ADDRESS * 4
    assert not first.is_set()
    assert not streams.enter(rings("192.0.2.1")).is_set()


def test_a_visitor_gets_a_stream_where_a_stranger_has_all() -> None:
    streams = EventStreams()
    first = streams.enter(rings("192.0.2.1"))
    opened = []
    for number in range(1_000):
        with suppress(WebError):
            opened += [streams.enter(rings(f"198.51.{number // 250}.{number % 250}")) for _ in range(2)]
    assert len(streams) == limits.WEB_STREAMS
    late = streams.enter(rings("192.0.2.2"))
    assert len(streams) == limits.WEB_STREAMS and not first.is_set() and not late.is_set()
    for closing in opened:
        streams.leave(closing)
    assert len(streams) == 2


def test_a_thousand_addresses_of_a_stranger_ask_as_a_household_does() -> None:
    table, passed = RequestLimits({"claims": Rate(20 / 60, 20.0)}), 0
    for networks in THOUSAND * 2:
        with suppress(TooMany):
            table.spend("claims", networks, 0.0)
            passed += 1
    assert passed == 20 * 4
    for _ in range(20):
        table.spend("claims", rings("2001:db8:8::1"), 0.0)
    with pytest.raises(TooMany):
        table.spend("claims", rings("2001:db8:8::1"), 0.0)
    table.spend("claims", rings("2001:db8:8:1::1"), 0.0)  # its neighbour in the /56


# ---------------------------------------------------------------- bodies and slow peers


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "application/json"])
async def test_long_bodies_are_413(site: ServedSite, kind: str) -> None:
    body = b"x" * (1024 * 1024)
    head = f"POST /claim HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\n".encode()
    assert b" 413 " in await raw(site, head + b"Content-Length: %d\r\n\r\n" % len(body))
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    assert b" 413 " in await raw(site, head + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 16, b"0\r\n\r\n")


async def test_forms_with_many_fields_are_400(site: ServedSite) -> None:
    answer = await site.browser().form("/claim", {f"f{n}": "" for n in range(limits.WEB_FIELDS + 1)})
    assert answer.status == 400


@pytest.mark.parametrize(
    "data",
    [
        b"rubbish\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300),
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\nb\r\n\r\n" + b"\0" * 10,
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"POST /claim HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /claim HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /claim HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_no_http_is_400(site: ServedSite, data: bytes) -> None:
    said = await raw(site, data)
    assert said.startswith(b"HTTP/1.1 4") and b"evil" not in said


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WEB_HEADER_SECONDS", 0.3)
    monkeypatch.setattr(limits, "WEB_BODY_SECONDS", 0.3)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n",
        b"POST /claim HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET /lo",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
    ],
)
async def test_slow_peers_are_cut_off(hurry: None, site: ServedSite, data: bytes) -> None:
    await raw(site, data)
    await eventually(lambda: len(site.web.places) == 0)


async def test_a_body_has_its_own_time(site: ServedSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WEB_HEADER_SECONDS", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    head = b"POST /claim HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
    writer.write(head + b"{")
    await asyncio.sleep(0.5)
    writer.write(b"}")
    assert (await read_answer(reader)).status == 200
    writer.close()


async def test_dripping_does_not_help(hurry: None, site: ServedSite) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
    for _ in range(100):
        writer.write(b"X: y\r\n")
        await asyncio.sleep(0.02)
        if reader.at_eof() or writer.is_closing() or reader.exception() is not None:
            break
    with suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(-1), PATIENCE) == b""
    writer.close()


async def test_two_hundred_slow_connections_keep_nobody_out(tmp_path: Path) -> None:
    async with served_site(tmp_path, proxies=Proxies()) as site:
        slow = []
        for _ in range(200):
            _, writer = await asyncio.open_connection("127.0.0.1", site.port)
            writer.write(b"GET / HTTP/1.1\r\n")
            slow.append(writer)
        assert (await site.browser().get("/")).status == 200
        assert len(site.web.places) <= limits.WEB_CONNECTIONS_PER_ADDRESS
        for writer in slow:
            writer.close()
        await eventually(lambda: len(site.web.places) == 0)


async def test_a_connection_serves_many_requests(site: ServedSite) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for _ in range(3):
        writer.write(request)
        assert (await read_answer(reader)).body == b"ok\n"
    writer.write(request * 3)  # at once
    assert [(await read_answer(reader)).status for _ in range(3)] == [200] * 3
    writer.close()


# ---------------------------------------------------------------- what is said and written

XSS = "\"><script>alert('x')</script>"


async def test_nothing_that_was_sent_is_markup(site: ServedSite) -> None:
    browser = await site.signed_in(await site.member(Role.ADMIN))
    await site.site.keeper.run(site.store.change_settings, by=None, name=XSS, description=XSS)
    given = quote(XSS, safe="")
    paths = ("/", f"/{given}", f"/join?invite={given}", f"/login?sc={given}", f"/login/link?code={given}", "/login")
    strange = site.browser(User_Agent=XSS, Accept_Language=XSS, Referer=XSS)
    answers = [await one.get(path) for one in (browser, strange) for path in paths]
    fields = {"name": XSS, "password": XSS, "id": XSS, "invite": XSS, "code": XSS, "next": XSS}
    guest = site.browser()
    forms = ("/login/password", "/login/link", "/claim")
    answers += [await guest.submit("/login/password", path, fields) for path in forms]
    for answer in answers:
        assert "<script>" not in answer.text


@pytest.mark.parametrize(
    "path", ["/join?invite=a%0d%0aX-Evil:1", "/login?ssb-http-auth=1%0d%0aX-Evil:1", "/x%0d%0aX-Evil:1"]
)
async def test_no_header_comes_from_a_request(site: ServedSite, path: str) -> None:
    answer = await site.browser().get(path)
    assert answer.header("x-evil") is None


async def test_only_paths_of_this_site_are_gone_on_to(site: ServedSite) -> None:
    for path in ("//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"):
        answer = await site.browser().form("/language", {"language": "de", "next": path})
        assert answer.header("location") == "/"


async def test_no_line_of_a_log_holds_an_address_a_code_or_a_cookie(
    site: ServedSite, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    me = await site.member()
    browser = await site.signed_in(me, address="192.0.2.77")
    code = await site.invite()
    await browser.get(f"/join?invite={code}")
    await browser.get("/nope?secret=sesame")
    await raw(site, b"rubbish secret=sesame\r\n\r\n")

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"sesame {code}")

    monkeypatch.setattr(site.site, "url", fail)
    answer = await browser.get(f"/join?invite={code}")
    assert answer.status == 500 and "sesame" not in answer.text and "RuntimeError" not in answer.text
    (line,) = [record.getMessage() for record in caplog.records if record.name == "ssbfast.web"]
    assert re.fullmatch(r"request [0-9a-f]{8} failed: RuntimeError at \w+\.py:\d+", line)
    assert line.split()[1] in answer.text
    told = caplog.text + repr([event for event in site.room.events if event["event"] != "listening"])
    for secret in (code, browser.cookies["ssb"], "192.0.2.77", "127.0.0.1", "sesame", str(me.id)):
        assert secret not in told


def test_a_room_without_a_site_loads_nothing_of_it(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from ssbfast.cli.room import run, command\n"
        "from ssbfast.server.room_server import RoomServer\n"
        "from ssbfast.store.room_store import RoomStore\n"
        "from ssbfast.keys import Keypair\n"
        "from ssbfast.net.endpoints import Endpoint\n"
        "async def main():\n"
        f"    with RoomStore({str(tmp_path)!r}) as store:\n"
        "        async with RoomServer(Keypair.generate(), listen=[Endpoint('127.0.0.1', 0)], records=store): pass\n"
        "asyncio.run(main())\n"
        "extra = {'starlette', 'uvicorn', 'websockets', 'jinja2', 'segno', 'markdown_it', 'h11', 'prometheus_client'}\n"
        "print(sorted(extra & {name.partition('.')[0] for name in sys.modules}),"
        " [name for name in sys.modules if name.startswith('ssbfast.server.web')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"


async def test_while_it_ends_it_says_so(site: ServedSite) -> None:
    assert (await site.browser().get("/healthz")).body == b"ok\n"
    site.site.is_draining = True
    answer: Answer = await site.browser().get("/healthz")
    assert answer.status == 503


async def test_an_answer_is_sent_at_once_and_in_one_piece(site: ServedSite, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    delays: list[int] = []
    start, flush = HttpConnection.connection_made, JoinedWrites.flush

    def counted(joined: JoinedWrites) -> None:
        if joined._pieces:
            sent.append(b"".join(joined._pieces))
        flush(joined)

    def seen(connection: HttpConnection, transport: asyncio.Transport) -> None:
        start(connection, transport)
        delays.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(JoinedWrites, "flush", counted)
    monkeypatch.setattr(HttpConnection, "connection_made", seen)
    answer = await raw(site, b"GET /healthz HTTP/1.1\r\nHost: room.example\r\nConnection: close\r\n\r\n")
    assert len(delays) == 1 and delays[0] and sent == [answer] and answer.endswith(b"ok\n")

"""Signing in over HTTP: both initiations of SIP 6, links, passwords; and those who try without being asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from ssbfast import limits
from ssbfast.client.room_client import RoomClient
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.room.roles import Mode, Role
from ssbfast.server.web import passwords
from ssbfast.wire.http_auth import new_nonce, solve
from tests.helpers.rawpeer import eventually
from tests.helpers.served_site import Answer, Browser, ServedSite, next_event, served_site, uris


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[ServedSite]:
    async with served_site(tmp_path) as site:
        yield site


@pytest.fixture(autouse=True)
def _refusals_are_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SIGN_IN_REFUSAL_SECONDS", 0.1)


@asynccontextmanager
async def app(site: ServedSite, me: Keypair, consent: Any = lambda request: True) -> AsyncIterator[RoomClient]:
    """An app of a member, which is in the room."""
    async with RoomClient(me, on_sign_in=consent) as client:
        client.joined = await client.join(site.room.server.address, announce=False)  # type: ignore[attr-defined]
        yield client


def by_app(me: FeedId, cc: str | None = None) -> str:
    cc = new_nonce() if cc is None else cc
    return f"/login?ssb-http-auth=1&cid={quote(str(me), safe='')}&cc={quote(cc, safe='')}"


async def is_signed_in(browser: Browser) -> bool:
    return (await browser.get("/logout")).status == 200


def challenge(page: Answer) -> str:
    (uri,) = uris(page)
    return parse_qs(urlsplit(uri).query, strict_parsing=True)["sc"][0]


# ---------------------------------------------------------------- begun by an app


async def test_refusals_wait_alike_so_that_none_tells_who_is_online(
    site: ServedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger, a member who is away, and one whose app refuses: each waits until the same time."""
    slept: list[float] = []
    sleep = asyncio.sleep

    async def counted(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    away, here = await site.member(), await site.member()
    async with app(site, here, lambda request: False):
        monkeypatch.setattr(limits, "SIGN_IN_REFUSAL_SECONDS", 1000.0)
        monkeypatch.setattr("ssbfast.server.web.sign_in_pages.asyncio.sleep", counted)
        answers = [await site.browser().get(by_app(me.id)) for me in (Keypair.generate(), away, here)]
        waits = [seconds for seconds in slept if seconds > 900]
    assert len(waits) == 3 and {answer.status for answer in answers} == {403}
    assert len({answer.plain for answer in answers}) == 1


async def test_an_app_signs_its_browser_in(site: ServedSite) -> None:
    me, asked = await site.member(), []
    cc = new_nonce()

    async def consent(request: Any) -> bool:
        asked.append(request)
        return True

    browser = site.browser()
    async with app(site, me, consent):
        answer = await browser.get(by_app(me.id, cc))
    assert answer.status == 200
    assert (asked[0].room, asked[0].cc) == (site.id, cc) and len(asked) == 1
    cookie = answer.cookies["ssb"]
    assert cookie.endswith("HttpOnly; Max-Age=2592000; Path=/; SameSite=lax")
    assert browser.cookies["ssb"] not in answer.text
    assert await is_signed_in(browser)
    (session,) = site.store.web_sessions(me.id)
    assert session.hash != browser.cookies["ssb"].encode()


async def test_its_base64_may_have_lost_its_plus_signs(site: ServedSite) -> None:
    me = await site.member(me=next(key for key in iter(Keypair.generate, None) if "+" in str(key.id)))
    cc = next(nonce for nonce in iter(new_nonce, None) if "+" in nonce)
    async with app(site, me):
        answer = await site.browser().get(f"/login?ssb-http-auth=1&cid={me.id}&cc={cc}")
    assert answer.status == 200


@pytest.mark.parametrize("why", ["stranger", "away", "no consent", "blocked", "no auth"])
async def test_whoever_is_not_confirmed_gets_403(site: ServedSite, why: str) -> None:
    me = Keypair.generate() if why in ("stranger", "blocked") else await site.member()
    if why == "blocked":
        await site.site.keeper.run(site.store.block, me.id, "", by=None)
    browser = site.browser()
    if why in ("away", "blocked"):
        answer = await browser.get(by_app(me.id))
    else:
        consent = {"no consent": lambda request: False, "no auth": None}.get(why, lambda request: True)
        async with app(site, me, consent):
            answer = await browser.get(by_app(me.id))
    assert answer.status == 403
    assert not answer.cookies and not site.store.web_sessions(me.id)


@pytest.mark.parametrize("kind", ["other key", "other room", "other sc", "other cc", "text", "number", "none"])
async def test_a_wrong_solution_is_403(site: ServedSite, kind: str) -> None:
    me, other = await site.member(), await site.member()
    async with RoomClient(me) as client:

        @client._for_rooms.call("httpAuth.requestSolution")
        async def request_solution(room: Any, sc: str, cc: str) -> object:
            return {
                "other key": solve(other, site.id, sc, cc),
                "other room": solve(me, other.id, sc, cc),
                "other sc": solve(me, site.id, new_nonce(), cc),
                "other cc": solve(me, site.id, sc, new_nonce()),
                "text": "x",
                "number": 7,
                "none": None,
            }[kind]

        await client.join(site.room.server.address, announce=False)
        answer = await site.browser().get(by_app(me.id))
    assert answer.status == 403 and not answer.cookies


@pytest.mark.parametrize("cc", ["", "short", "a" * 42, "a" * 500, "<" * 44])
async def test_a_bad_challenge_is_400(site: ServedSite, cc: str) -> None:
    me = await site.member()
    assert (await site.browser().get(by_app(me.id, cc))).status == 400
    assert (await site.browser().get("/login?ssb-http-auth=1&cid=x&cc=" + "a" * 44)).status == 400


async def test_another_sites_link_does_not_sign_in_by_itself(site: ServedSite) -> None:
    me, asked = await site.member(), []

    def consent(request: Any) -> bool:
        asked.append(request)
        return True

    async with app(site, me, consent):
        browser = site.browser()
        page = await browser.get(by_app(me.id), Sec_Fetch_Site="cross-site")
        assert page.status == 200 and not page.cookies and not asked
        assert (await browser.get(by_app(me.id), Sec_Fetch_Site="none")).cookies
        assert (await site.browser().get(by_app(me.id), Sec_Fetch_Site="same-origin")).cookies


# ---------------------------------------------------------------- begun by the browser


async def test_a_browser_is_signed_in_by_an_app(site: ServedSite) -> None:
    me, browser = await site.member(), site.browser()
    page = await browser.get("/login")
    (uri,) = uris(page)
    query = parse_qs(urlsplit(uri).query, strict_parsing=True)
    assert list(query) == ["action", "sid", "sc", "multiserverAddress"]
    assert query["action"] == ["start-http-auth"] and query["sid"] == [str(site.id)]
    assert query["multiserverAddress"] == [site.room.server.address]
    assert len(query["sc"][0]) == 44
    assert "HttpOnly" in page.cookies["ssb-pre"]

    reader, writer, status = await browser.events("/login/wait")
    assert status == 200
    async with app(site, me) as client:
        assert await client.sign_in(client.joined, query["sc"][0])  # type: ignore[attr-defined]
    assert await next_event(reader) == "solved"
    assert await next_event(reader) == ""
    writer.close()

    done = await browser.form("/login/finish", {"csrf": page.csrf})
    assert done.status == 303 and done.header("location") == "/dashboard"
    assert "ssb-pre" not in browser.cookies
    assert await is_signed_in(browser)


async def test_nothing_of_a_session_is_in_the_stream(site: ServedSite) -> None:
    me, browser = await site.member(), site.browser()
    page = await browser.get("/login")
    reader, writer, _ = await browser.events("/login/wait")
    async with app(site, me) as client:
        await client.sign_in(client.joined, challenge(page))  # type: ignore[attr-defined]
    said = await reader.read(-1)
    writer.close()
    assert said.endswith(b"event: solved\ndata: {}\n\n\r\n0\r\n\r\n")


async def test_without_its_cookie_nobody_finishes(site: ServedSite) -> None:
    me, browser, thief = await site.member(), site.browser(), site.browser()
    page = await browser.get("/login")
    async with app(site, me) as client:
        await client.sign_in(client.joined, challenge(page))  # type: ignore[attr-defined]
    assert (await thief.form("/login/finish", {"csrf": page.csrf})).status == 403
    own = await thief.get("/login")
    assert (await thief.form("/login/finish", {"csrf": page.csrf})).status == 403
    finish = await thief.form("/login/finish", {"csrf": own.csrf, "sc": challenge(page)})
    assert finish.status == 200 and "ssb" not in finish.cookies  # its own challenge, which is open
    for one, status in ((thief, 200), (site.browser(), 403)):
        _, writer, found = await one.events("/login/wait")
        writer.close()
        assert found == status
    assert (await browser.form("/login/finish", {"csrf": page.csrf})).status == 303


async def test_a_made_up_cookie_fixes_nothing(site: ServedSite) -> None:
    """Who plants a cookie of its own in a browser does not come in with it: the session's is a new one."""
    me, browser, thief = await site.member(), site.browser(), site.browser()
    await thief.get("/login")
    browser.cookies.update(thief.cookies)
    page = await browser.get("/login")
    async with app(site, me) as client:
        await client.sign_in(client.joined, challenge(page))  # type: ignore[attr-defined]
    assert (await browser.form("/login/finish", {"csrf": page.csrf})).status == 303
    assert not await is_signed_in(thief)
    assert (await thief.submit("/login", "/login/finish")).status == 200
    assert not await is_signed_in(thief)


async def test_two_browsers_have_two_challenges(site: ServedSite) -> None:
    me = await site.member()
    one, two = site.browser(), site.browser()
    first, second = await one.get("/login"), await two.get("/login")
    assert challenge(first) != challenge(second)
    async with app(site, me) as client:
        await client.sign_in(client.joined, challenge(second))  # type: ignore[attr-defined]
    assert (await two.form("/login/finish", {"csrf": second.csrf})).status == 303
    assert (await one.form("/login/finish", {"csrf": first.csrf})).status == 200  # not yet
    assert not await is_signed_in(one)


async def test_a_wrong_solution_fails_the_page(site: ServedSite) -> None:
    me, browser = await site.member(), site.browser()
    page = await browser.get("/login")
    reader, writer, _ = await browser.events("/login/wait")
    peer = await site.room.raw(me, announce=False)
    cc = new_nonce()
    solution = solve(Keypair.generate(), site.id, challenge(page), cc)
    assert await peer.call("httpAuth.sendSolution", challenge(page), cc, solution) is False
    assert await next_event(reader) == "failed"
    writer.close()
    assert (await browser.form("/login/finish", {"csrf": page.csrf})).status == 403


async def test_a_stranger_signs_nobody_in(site: ServedSite) -> None:
    browser, me, cc = site.browser(), Keypair.generate(), new_nonce()
    page = await browser.get("/login")
    peer = await site.room.raw(me, announce=False)
    solution = solve(me, site.id, challenge(page), cc)
    assert await peer.call("httpAuth.sendSolution", challenge(page), cc, solution) is False
    assert (await browser.form("/login/finish", {"csrf": page.csrf})).status == 403


async def test_the_other_screen_shows_the_same_four_characters(site: ServedSite) -> None:
    page = await site.browser().get("/login")
    sign_in = site.site.sign_ins.find(challenge(page), asyncio.get_running_loop().time())
    assert sign_in is not None and sign_in.code in page.text
    remote = await site.browser().get(f"/login?sc={quote(sign_in.sc, safe='')}")
    assert remote.status == 200 and sign_in.code in remote.text
    assert challenge(remote) == sign_in.sc
    assert not remote.cookies


@pytest.mark.parametrize("sc", ["abc", "", "%00", "A" * 43 + "%3D", "a" * 400])
async def test_other_challenges_are_404(site: ServedSite, sc: str) -> None:
    assert (await site.browser().get(f"/login?sc={sc}")).status == 404


async def test_a_solved_challenge_is_shown_to_nobody(site: ServedSite) -> None:
    me, browser = await site.member(), site.browser()
    sc = challenge(await browser.get("/login"))
    async with app(site, me) as client:
        await client.sign_in(client.joined, sc)  # type: ignore[attr-defined]
    assert (await site.browser().get(f"/login?sc={quote(sc, safe='')}")).status == 404


async def test_a_stream_that_is_dropped_leaves_nothing(site: ServedSite) -> None:
    browser = site.browser()
    await browser.get("/login")
    streams = [await browser.events("/login/wait") for _ in range(3)]
    await eventually(lambda: len(site.site.streams) == 3)
    for _, writer, _ in streams:
        writer.close()
    await eventually(lambda: len(site.site.streams) == 0)


async def test_an_expired_challenge_fails(site: ServedSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SIGN_IN_SECONDS", 0.3)
    browser = site.browser()
    page = await browser.get("/login")
    reader, writer, _ = await browser.events("/login/wait")
    assert await next_event(reader) == "failed"
    writer.close()
    assert (await browser.form("/login/finish", {"csrf": page.csrf})).status == 403


async def test_streams_ping(site: ServedSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WEB_STREAM_PING", 0.05)
    browser = site.browser()
    await browser.get("/login")
    reader, writer, _ = await browser.events("/login/wait")
    assert [await next_event(reader) for _ in range(2)] == ["ping", "ping"]
    writer.close()


# ---------------------------------------------------------------- links


async def test_a_link_works_once_and_only_by_a_form(site: ServedSite) -> None:
    me = await site.member()
    code = await site.link(me.id)
    for _ in range(2):  # previews of messages look at it
        assert (await site.browser().get(f"/login/link?code={code}")).status == 200
    browser, late = site.browser(), site.browser()
    await late.get(f"/login/link?code={code}")
    answer = await browser.submit(f"/login/link?code={code}", "/login/link", {"code": code})
    assert answer.status == 303 and await is_signed_in(browser)
    assert (await late.get(f"/login/link?code={code}")).status == 404
    page = await late.get("/login/password")
    assert (await late.form("/login/link", {"csrf": page.csrf, "code": code})).status == 403


@pytest.mark.parametrize("code", ["", "x", "%00", "a" * 43])
async def test_other_links_are_404(site: ServedSite, code: str) -> None:
    assert (await site.browser().get(f"/login/link?code={code}")).status == 404


async def test_an_expired_link_is_404(site: ServedSite) -> None:
    code = await site.link((await site.member()).id, expires=time.time() - 1)
    assert (await site.browser().get(f"/login/link?code={code}")).status == 404


async def test_a_link_for_someone_who_was_removed_is_worth_nothing(site: ServedSite) -> None:
    me = await site.member()
    code = await site.link(me.id)
    browser = site.browser()
    page = await browser.get(f"/login/link?code={code}")
    await site.site.keeper.run(site.store.remove_member, me.id, by=None)
    assert (await browser.form("/login/link", {"csrf": page.csrf, "code": code})).status == 403
    assert not site.store.web_sessions(me.id)


async def test_the_first_link_makes_the_first_app_an_admin(site: ServedSite) -> None:
    me, browser = Keypair.generate(), site.browser()
    code = await site.link(None, "admin")
    page = await browser.submit(f"/login/link?code={code}", "/login/link", {"code": code})
    assert page.status == 200 and "ssb" not in browser.cookies
    async with app(site, me) as client:
        assert await client.sign_in(client.joined, challenge(page))  # type: ignore[attr-defined]
    assert site.room.server.registry.role(me.id) is Role.EXTERNAL  # its browser has not come back yet
    answer = await browser.form("/login/finish", {"csrf": page.csrf})
    assert (answer.status, answer.header("location")) == (303, "/settings/first")
    assert site.room.server.registry.role(me.id) is Role.ADMIN
    assert await is_signed_in(browser)
    assert (await site.browser().get(f"/login/link?code={code}")).status == 404


async def test_two_browsers_with_the_first_link_make_one_admin(site: ServedSite) -> None:
    code = await site.link(None, "admin")
    statuses = []
    keys = [Keypair.generate(), Keypair.generate()]
    browsers = [site.browser(), site.browser()]
    pages = [await one.submit(f"/login/link?code={code}", "/login/link", {"code": code}) for one in browsers]
    for me, browser, page in zip(keys, browsers, pages, strict=True):
        async with app(site, me) as client:
            assert await client.sign_in(client.joined, challenge(page))  # type: ignore[attr-defined]
        statuses.append((await browser.form("/login/finish", {"csrf": page.csrf})).status)
    assert statuses == [303, 403]
    assert [site.room.server.registry.role(me.id) for me in keys] == [Role.ADMIN, Role.EXTERNAL]


# ---------------------------------------------------------------- passwords

GOOD = "violet-lantern-17-harbour"


async def with_password(site: ServedSite, password: str = GOOD) -> Keypair:
    me = await site.member()
    await site.site.keeper.run(site.store.set_password, me.id, passwords.store(password), by=None)
    return me


@pytest.mark.parametrize("by_alias", [True, False])
async def test_a_password_signs_in(site: ServedSite, by_alias: bool) -> None:
    me, browser = await with_password(site), site.browser()
    await site.alias("alice", me)
    name = "Alice" if by_alias else str(me.id)
    answer = await browser.submit("/login/password", "/login/password", {"name": name, "password": GOOD})
    assert answer.status == 303 and await is_signed_in(browser)


async def test_unknown_keys_and_wrong_passwords_look_the_same(site: ServedSite) -> None:
    me, without = await with_password(site), await site.member()
    texts = set()
    for name in (str(me.id), str(without.id), str(Keypair.generate().id), "nobody", ""):
        fields = {"name": name, "password": GOOD + "!"}
        page = await site.browser().submit("/login/password", "/login/password", fields)
        assert page.status == 403 and not any(key == "ssb" for key in page.cookies)
        texts.add(page.text.split("<form method")[0])
    assert len(texts) == 1


async def test_a_member_that_was_removed_has_no_password(site: ServedSite) -> None:
    me = await with_password(site)
    await site.site.keeper.run(site.store.remove_member, me.id, by=None)
    answer = await site.browser().submit("/login/password", "/login/password", {"name": str(me.id), "password": GOOD})
    assert answer.status == 403


@pytest.mark.parametrize(
    "password",
    ["short", "a" * 12, "123456789012", "password1234", "Password!2024", "abcabcabcabc", "qwertyuiop12", "x" * 300],
)
def test_weak_passwords(password: str) -> None:
    assert passwords.weakness(password)


@pytest.mark.parametrize("password", [GOOD, "corect horse batery stapel", "Ein Satz mit Umläuten: äöü"])
def test_good_passwords(password: str) -> None:
    assert passwords.weakness(password) is None


def test_what_is_kept_of_a_password() -> None:
    one, two = passwords.store(GOOD), passwords.store(GOOD)
    assert one != two and GOOD.encode() not in one
    assert passwords.is_right(GOOD, one) and not passwords.is_right(GOOD + " ", one)
    assert not passwords.is_right(GOOD, None) and not passwords.is_right(GOOD, b"") and not passwords.is_right("", None)


# ---------------------------------------------------------------- sessions


async def test_signing_out_ends_the_session_here(site: ServedSite) -> None:
    me = await site.member()
    browser, other = await site.signed_in(me), await site.signed_in(me)
    copy = dict(browser.cookies)
    answer = await browser.submit("/logout", "/logout")
    assert answer.status == 303 and not browser.cookies
    browser.cookies = copy
    assert (await browser.get("/logout")).status == 303
    assert await is_signed_in(other)


async def test_an_app_signs_all_browsers_out(site: ServedSite) -> None:
    me = await site.member()
    browsers = [await site.signed_in(me) for _ in range(3)]
    peer = await site.room.raw(me, announce=False)
    assert await peer.call("httpAuth.invalidateAllSolutions") is True
    assert [(await browser.get("/logout")).status for browser in browsers] == [303] * 3


async def test_an_app_that_signs_out_everywhere_means_waiting_browsers_too(site: ServedSite) -> None:
    me, browser, cc = await site.member(), site.browser(), new_nonce()
    page = await browser.get("/login")
    peer = await site.room.raw(me, announce=False)
    solution = solve(me, site.id, challenge(page), cc)
    assert await peer.call("httpAuth.sendSolution", challenge(page), cc, solution) is True
    assert await peer.call("httpAuth.invalidateAllSolutions") is True
    assert (await browser.form("/login/finish", {"csrf": page.csrf})).status == 403


async def test_a_member_that_is_removed_between_solution_and_finish_stays_out(site: ServedSite) -> None:
    me, browser = await site.member(), site.browser()
    page = await browser.get("/login")
    async with app(site, me) as client:
        assert await client.sign_in(client.joined, challenge(page))  # type: ignore[attr-defined]
    await site.site.keeper.run(site.store.remove_member, me.id, by=None)
    assert (await browser.form("/login/finish", {"csrf": page.csrf})).status == 403
    assert "ssb" not in browser.cookies


@pytest.mark.parametrize("loss", ["removed", "blocked"])
async def test_who_loses_its_role_is_out_at_the_next_request(site: ServedSite, loss: str) -> None:
    me = await site.member()
    browser = await site.signed_in(me)
    if loss == "removed":
        await site.site.keeper.run(site.store.remove_member, me.id, by=None)
    else:
        await site.site.keeper.run(site.store.block, me.id, "", by=None)
    assert (await browser.get("/logout")).status == 303
    await site.site.keeper.run(site.store.unblock, me.id, by=None)
    await site.site.keeper.run(site.store.add_member, me.id, by=None)
    assert (await browser.get("/logout")).status == 303  # nothing comes back by itself


async def test_a_role_that_changes_counts_at_the_next_request(site: ServedSite) -> None:
    await site.mode(Mode.RESTRICTED)
    me = await site.member(Role.MODERATOR)
    await site.member(Role.ADMIN)
    browser = await site.signed_in(me)
    assert (await browser.get("/create-invite")).status == 200
    await site.site.keeper.run(site.store.set_role, me.id, Role.MEMBER, by=None)
    assert (await browser.get("/create-invite")).status == 403


@pytest.mark.parametrize(("idle", "age", "holds"), [(86_000, 0, True), (86_500, 0, False), (10, 31 * 86_400, False)])
async def test_how_long_a_session_holds(site: ServedSite, idle: float, age: float, holds: bool) -> None:
    me = await site.member()
    browser = await site.signed_in(me)
    (session,) = site.store.web_sessions(me.id)
    now = time.time()
    await site.site.keeper.run(site.store.end_web_sessions, me.id)
    await site.site.keeper.run(site.store.add_web_session, session.hash, me.id, "x", now - age)
    await site.site.keeper.run(site.store.touch_web_session, session.hash, now - idle)
    if not age:
        await site.site.keeper.run(site.store.end_web_sessions, me.id)
        await site.site.keeper.run(site.store.add_web_session, session.hash, me.id, "x", now - idle)
    assert await is_signed_in(browser) is holds
    if holds:  # a visit counts
        assert site.store.web_sessions(me.id)[0].seen >= now


async def test_sessions_survive_a_restart_and_challenges_do_not(tmp_path: Path) -> None:
    async with served_site(tmp_path) as site:
        me = await site.member()
        cookies = (await site.signed_in(me)).cookies
        waiting = site.browser()
        page = await waiting.get("/login")
    async with served_site(tmp_path, base_url=None) as site:
        browser, again = site.browser(), site.browser()
        browser.cookies, again.cookies = dict(cookies), dict(waiting.cookies)
        assert await is_signed_in(browser)
        assert (await browser.submit("/logout", "/logout")).status == 303
        assert (await again.form("/login/finish", {"csrf": page.csrf})).status == 403


async def test_a_second_sign_in_ends_the_browsers_first(site: ServedSite) -> None:
    me = await site.member()
    browser = await site.signed_in(me)
    async with app(site, me):
        assert (await browser.get(by_app(me.id))).status == 200
    assert len(site.store.web_sessions(me.id)) == 1


@pytest.mark.parametrize("token", ["", "x", "a" * 43, "a" * 5000, "é", '"'])
async def test_other_cookies_are_nobodys(site: ServedSite, token: str) -> None:
    browser = site.browser()
    browser.cookies["ssb"] = token
    assert (await browser.get("/logout")).status == 303


async def test_only_the_family_of_a_browser_is_kept(site: ServedSite) -> None:
    me = await site.member()
    await site.signed_in(me, User_Agent="Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0")
    assert [session.browser for session in site.store.web_sessions(me.id)] == ["Firefox"]


# ---------------------------------------------------------------- the page that was wanted


async def test_a_page_for_members_leads_to_the_sign_in_and_back(site: ServedSite) -> None:
    me = await site.member()
    await site.site.keeper.run(site.store.set_password, me.id, passwords.store(GOOD), by=None)
    browser = site.browser()
    answer = await browser.get("/members?q=a%20b&page=2")
    assert answer.status == 303 and answer.header("location") == "/login?next=/members%3Fq%3Da%2520b%26page%3D2"
    for page in (answer.header("location"), "/login/password?next=/members%3Fq%3Da%2520b%26page%3D2"):
        assert 'name="next" value="/members?q=a%20b&amp;page=2"' in (await browser.get(page or "")).text
    fields = {"name": str(me.id), "password": GOOD, "next": "/members?q=a%20b&page=2"}
    assert (await browser.submit("/login/password", "/login/password", fields)).header("location") == fields["next"]
    assert (await browser.get("/login?next=/aliases")).header("location") == "/aliases"


@pytest.mark.parametrize(
    "wanted",
    [
        *(
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
        ),
        *("javascript:alert(1)", "", "/", "/logout", "/login?sc=x", "/" + "x" * 501, "/\u00e4", '/"><script>'),
    ],
)
async def test_other_sites_and_the_way_out_are_no_page_to_go_on_to(site: ServedSite, wanted: str) -> None:
    browser = await site.signed_in(await site.member())
    assert (await browser.get(f"/login?next={quote(wanted, safe='')}")).header("location") == "/dashboard"


async def test_forms_json_and_events_of_strangers_are_401(site: ServedSite) -> None:
    browser = site.browser()
    await browser.get("/login")
    assert (await browser.form("/members", {"id": "x"})).status == 401
    assert (await browser.get("/members", Accept="application/json")).status == 401
    assert (await browser.get("/dashboard/events", Accept="text/event-stream")).status == 401
    assert (await browser.get("/dashboard", Accept="text/html,*/*;q=0.8")).status == 303

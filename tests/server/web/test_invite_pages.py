"""Invites over HTTP: the façades of SIP 5, claims and their races."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from ssbfast import limits
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.room.codes import hash_of, new_code
from ssbfast.room.roles import Mode, Role
from ssbfast.store.room_store import RoomStore
from tests.helpers.served_site import ServedSite, served_site, uris

INVALID = {"status": "failed", "error": "this invite is not valid"}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[ServedSite]:
    async with served_site(tmp_path) as site:
        yield site


# ---------------------------------------------------------------- the façades


async def test_the_page_of_an_invite_holds_the_uri_of_sip_5(site: ServedSite) -> None:
    code = await site.invite()
    page = await site.browser().get(f"/join?invite={code}")
    assert page.status == 200
    (uri,) = uris(page)
    post_to = f"http://127.0.0.1:{site.port}/claim"
    assert uri == f"ssb:experimental?action=claim-http-invite&invite={code}&postTo={quote(post_to, safe='')}"
    assert "<svg" in page.text and f'value="{code}"' in page.text


@pytest.mark.parametrize("agent", ["Mozilla/5.0 (Linux; Android 14) Chrome/120.0 Mobile", "Mozilla/5.0 Firefox/120"])
async def test_chrome_on_android_gets_an_intent(site: ServedSite, agent: str) -> None:
    code = await site.invite()
    page = await site.browser().get(f"/join?invite={code}", User_Agent=agent)
    assert ("intent://experimental?" in page.text) is ("Android" in agent)
    assert ("#Intent;scheme=ssb;end;" in page.text) is ("Android" in agent)


@pytest.mark.parametrize("name", ["invite", "token"])
async def test_json_says_where_to_claim(site: ServedSite, name: str) -> None:
    code = await site.invite()
    answer = await site.browser().get(f"/join?{name}={code}&encoding=json")
    assert answer.status == 200
    assert answer.header("content-type") == "application/json"
    assert answer.json() == {
        "status": "successful",
        "invite": code,
        "postTo": f"http://127.0.0.1:{site.port}/claim",
    }


async def test_unknown_used_and_expired_invites_look_the_same(site: ServedSite) -> None:
    used, expired, revoked = await site.invite(), await site.invite(expires=time.time() - 1), await site.invite()
    assert (await site.claim(used, Keypair.generate().id))["status"] == "successful"
    number = site.store.find_invite(hash_of(revoked)).number
    await site.site.keeper.run(site.store.revoke_invite, number, by=None)
    pages, answers = set(), set()
    for code in (new_code(), used, expired, revoked, "", "x", "a" * 500, "%00", "../..", "<script>"):
        page = await site.browser().get(f"/join?invite={quote(code)}")
        answer = await site.browser().get(f"/join?invite={quote(code)}&encoding=json")
        assert (page.status, answer.status) == (404, 200)
        pages.add(page.plain)
        answers.add(answer.plain)
        assert answer.json() == INVALID
    assert len(pages) == len(answers) == 1


async def test_no_invite_at_all_looks_the_same(site: ServedSite) -> None:
    assert (await site.browser().get("/join")).status == 404
    assert (await site.browser().get("/join?encoding=json")).json() == INVALID


# ---------------------------------------------------------------- claims


@pytest.mark.parametrize("path", ["/claim", "/invite/consume"])
@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/JSON;q=1"])
async def test_a_claim_makes_a_member(site: ServedSite, path: str, kind: str) -> None:
    code, feed = await site.invite(), Keypair.generate().id
    answer = await site.browser().post_json(path, {"id": str(feed), "invite": code}, kind)
    assert answer.status == 200
    assert answer.header("content-type") == "application/json"
    said = answer.json()
    assert said.pop("features") == ["tunnel", "room2", "alias", "httpAuth", "httpInvite"]
    assert said == {"status": "successful", "multiserverAddress": site.room.server.address}
    assert site.room.server.registry.role(feed) is Role.MEMBER


async def test_a_claim_may_be_chunked(site: ServedSite) -> None:
    code, feed = await site.invite(), Keypair.generate().id
    body = b'{"id":"%s","invite":"%s"}' % (str(feed).encode(), code.encode())
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[at : at + 7]), body[at : at + 7]) for at in range(0, len(body), 7))
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(
        b"POST /claim HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    )
    assert b'"status":"successful"' in await reader.read(-1)
    writer.close()


async def test_a_form_claims_too(site: ServedSite) -> None:
    code, feed = await site.invite(), Keypair.generate().id
    page = await site.browser().form("/claim", {"id": f" {feed} ", "invite": code})
    assert page.status == 200 and site.room.server.address in page.text
    assert site.room.server.registry.role(feed) is Role.MEMBER
    assert (await site.browser().form("/claim", {"id": str(feed), "invite": new_code()})).status == 404


async def test_a_form_with_a_wrong_id_is_shown_again(site: ServedSite) -> None:
    code = await site.invite()
    page = await site.browser().form("/claim", {"id": "<b>me</b>", "invite": code})
    assert page.status == 400 and f'value="{code}"' in page.text
    assert "<b>me" not in page.text


@pytest.mark.parametrize(
    "body", [{}, {"id": 7, "invite": "x"}, {"id": None, "invite": None}, {"id": "@x", "invite": []}]
)
async def test_claims_that_are_none_are_refused_with_200(site: ServedSite, body: object) -> None:
    answer = await site.browser().post_json("/claim", body)
    assert answer.status == 200 and answer.json()["status"] == "failed"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 60_000])
async def test_bodies_that_are_no_json_are_400(site: ServedSite, body: bytes) -> None:
    answer = await site.browser().ask("POST", "/claim", body, {"Content-Type": "application/json"})
    assert answer.status == 400 and answer.json()["status"] == "failed"


async def test_other_kinds_of_bodies_are_415(site: ServedSite) -> None:
    assert (await site.browser().ask("POST", "/claim", b"x", {"Content-Type": "text/plain"})).status == 415


async def test_a_blocked_key_gets_the_text_of_an_invalid_invite(site: ServedSite) -> None:
    code, feed = await site.invite(), Keypair.generate().id
    await site.site.keeper.run(site.store.block, feed, "spam", by=None)
    assert await site.claim(code, feed) == INVALID
    assert (await site.claim(code, Keypair.generate().id))["status"] == "successful"


async def test_a_member_uses_nothing_up(site: ServedSite) -> None:
    code, member = await site.invite(), await site.member()
    for _ in range(3):
        assert (await site.claim(code, member.id))["status"] == "successful"
    assert (await site.claim(code, Keypair.generate().id))["status"] == "successful"
    assert await site.claim(code, Keypair.generate().id) == INVALID


async def test_the_room_itself_claims_nothing(site: ServedSite) -> None:
    code = await site.invite()
    assert (await site.claim(code, site.id))["error"] == "this is not an SSB id"
    assert (await site.claim(code, Keypair.generate().id))["status"] == "successful"


async def test_one_of_fifty_claims_wins(site: ServedSite) -> None:
    code = await site.invite()
    feeds = [Keypair.generate().id for _ in range(50)]
    said = await asyncio.gather(*(site.claim(code, feed) for feed in feeds))
    winners = [feed for feed, one in zip(feeds, said, strict=True) if one["status"] == "successful"]
    assert len(winners) == 1
    assert [one for one in said if one["status"] != "successful"] == [INVALID] * 49
    assert [member.feed for member in site.store.members()] == winners


@pytest.mark.parametrize("uses", [2, 7])
async def test_as_many_win_as_an_invite_has_uses(site: ServedSite, uses: int) -> None:
    code = await site.invite(uses=uses)
    said = await asyncio.gather(*(site.claim(code, Keypair.generate().id) for _ in range(12)))
    assert [one["status"] for one in said].count("successful") == uses == len(site.store.members())


@pytest.mark.parametrize("loss", ["role", "member", "block", "mode"])
async def test_an_invite_is_worth_what_its_maker_may(site: ServedSite, loss: str) -> None:
    maker = await site.member(Role.MODERATOR if loss == "mode" else Role.MEMBER)
    other = await site.member(Role.ADMIN)
    code = await site.invite(by=maker.id)
    run, store = site.site.keeper.run, site.store
    if loss == "role":
        await site.mode(Mode.RESTRICTED)  # in which members make none
    elif loss == "member":
        await run(store.remove_member, maker.id, by=other.id)
    elif loss == "block":
        await run(store.block, maker.id, "", by=other.id)
    else:
        await site.mode(Mode.RESTRICTED)
        assert (await site.browser().get(f"/join?invite={code}")).status == 200
        await run(store.set_role, maker.id, Role.MEMBER, by=other.id)
    assert (await site.browser().get(f"/join?invite={code}")).status == 404
    assert await site.claim(code, Keypair.generate().id) == INVALID


async def test_a_claim_lets_a_session_in_at_once(site: ServedSite) -> None:
    code, peer = await site.invite(), await site.room.raw(announce=False)
    assert (await peer.call("room.metadata"))["membership"] is False
    assert (await site.claim(code, peer.id))["status"] == "successful"
    assert (await peer.call("room.metadata"))["membership"] is True


async def test_claims_survive_a_restart(tmp_path: Path) -> None:
    feed = Keypair.generate().id
    async with served_site(tmp_path) as site:
        code, second = await site.invite(), await site.invite()
        assert (await site.claim(code, feed))["status"] == "successful"
    async with served_site(tmp_path) as site:
        assert site.room.server.registry.role(feed) is Role.MEMBER
        assert await site.claim(code, Keypair.generate().id) == INVALID
        assert (await site.claim(second, Keypair.generate().id))["status"] == "successful"


# ---------------------------------------------------------------- making one


@pytest.mark.parametrize(
    ("mode", "role", "status"),
    [
        (Mode.OPEN, None, 200),
        (Mode.OPEN, Role.MEMBER, 200),
        (Mode.COMMUNITY, None, 401),
        (Mode.COMMUNITY, Role.MEMBER, 200),
        (Mode.RESTRICTED, None, 401),
        (Mode.RESTRICTED, Role.MEMBER, 403),
        (Mode.RESTRICTED, Role.MODERATOR, 200),
    ],
)
async def test_who_may_make_an_invite(tmp_path: Path, mode: Mode, role: Role | None, status: int) -> None:
    async with served_site(tmp_path, mode=mode) as site:
        browser = site.browser() if role is None else await site.signed_in(await site.member(role))
        page = await browser.get("/create-invite")
        assert page.status == (303 if status == 401 else status)  # to the sign-in
        assert not site.store.invites()  # looking makes none
        csrf = page.csrf if status == 200 and role is not None else ""
        answer = await browser.form("/create-invite", {"csrf": csrf}, Accept="application/json")
        assert answer.status == status
        if status != 200:
            assert not site.store.invites()
            return
        (code,) = parse_qs(urlsplit(answer.json()["url"]).query)["invite"]
        assert answer.json()["url"] == f"http://127.0.0.1:{site.port}/join?invite={code}"
        assert (await site.claim(code, Keypair.generate().id))["status"] == "successful"


async def test_an_invite_of_nobody_ends_with_the_open_room(tmp_path: Path) -> None:
    async with served_site(tmp_path, mode=Mode.OPEN) as site:
        answer = await site.browser().ask("POST", "/create-invite", headers={"Accept": "application/json"})
        (code,) = parse_qs(urlsplit(answer.json()["url"]).query)["invite"]
        for mode, is_valid in ((Mode.COMMUNITY, False), (Mode.RESTRICTED, False), (Mode.OPEN, True)):
            await site.mode(mode)
            said = (await site.browser().get(f"/join?invite={code}&encoding=json")).json()
            assert (said["status"] == "successful") is is_valid


async def test_a_page_shows_the_new_invite(tmp_path: Path) -> None:
    async with served_site(tmp_path, mode=Mode.OPEN) as site:
        page = await site.browser().ask("POST", "/create-invite")
        assert page.status == 200 and f"http://127.0.0.1:{site.port}/join?invite=" in page.text
        assert page.header("cache-control") == "no-store"


async def test_a_room_that_is_full_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = {"status": "failed", "error": "the room is full: ask its moderators"}
    monkeypatch.setattr(limits, "SELF_JOINED_MEMBERS", 1)
    monkeypatch.setattr(limits, "SELF_JOINED_INVITES", 2)
    async with served_site(tmp_path, mode=Mode.OPEN) as site:
        browser, someone = site.browser(), Keypair.generate().id
        made = [(await browser.ask("POST", "/create-invite", headers={"Accept": "application/json"})) for _ in range(3)]
        assert [one.status for one in made] == [200, 200, 403]
        assert "Ask its moderators" in made[2].json()["error"]
        first, second = (one.json()["url"].partition("invite=")[2] for one in made[:2])
        assert (await site.claim(first, Keypair.generate().id))["status"] == "successful"
        assert await site.claim(second, someone) == full
        page = await browser.form("/claim", {"id": str(someone), "invite": second})
        assert page.status == 403 and "Ask its moderators" in page.text
        assert (await site.claim(await site.invite(), someone))["status"] == "successful"
        assert (await site.claim(second, someone))["status"] == "successful"  # a member already


# ---------------------------------------------------------------- what others write meanwhile


async def test_another_process_revokes_an_invite(site: ServedSite, tmp_path: Path) -> None:
    code = await site.invite()
    with RoomStore(tmp_path) as other:
        other.revoke_invite(other.find_invite(hash_of(code)).number, by=None)
    assert await site.claim(code, FeedId(bytes(31) + b"\1")) == INVALID

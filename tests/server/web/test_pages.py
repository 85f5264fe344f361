"""The pages after sign-in: what they show and what their forms do."""

from __future__ import annotations

import asyncio
import html
import re
import time
from pathlib import Path
from typing import Any

from ssbfast import limits
from ssbfast.budgets import rings
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.net.relay import Relay
from ssbfast.room.codes import hash_of
from ssbfast.room.records import AliasRecord, Standing
from ssbfast.room.roles import Mode, Role
from ssbfast.server.refusals import Refusals, Why
from ssbfast.server.web import passwords
from ssbfast.server.web.pages import members as members_pages
from ssbfast.server.web.pages.common import one_line
from ssbfast.server.web.pages.language import local_path
from ssbfast.server.web.sessions import csrf_token
from ssbfast.server.web.templating import door, feed_of_path, feed_path, markdown
from ssbfast.store.room_store import RoomStore
from tests.helpers.rawpeer import RawPeer, eventually
from tests.helpers.web_pages import Place, Stream, web_room


class Peers:
    """Peers with sessions at a room."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._relay = Relay(pool=16 * 1024 * 1024, stall_seconds=60)

    async def join(self, me: Keypair, *, announce: bool = True) -> RawPeer:
        peer = RawPeer(me, self._relay)
        return await peer.join(self._place.room.port, self._place.room.me.id, announce=announce)


def path_of(feed: FeedId, what: str = "") -> str:
    return f"/members/{feed_path(feed)}{what}"


# ---------------------------------------------------------------- dashboard


async def test_the_first_page_shows_who_is_here_and_follows(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        peers, here, late = Peers(place), Keypair.generate(), Keypair.generate()
        await place.member(feed=here.id)
        await place.member(feed=late.id)
        await place.alias("early", here.id)
        await place.alias("late", late.id)
        await peers.join(here)
        browser = await place.browser(here.id)
        second = await place.browser(late.id)
        page = await browser.get("/dashboard")
        assert "early" in page.words and "late" not in page.words and str(place.room.me.id) in page.text
        streams = [await browser.stream("/dashboard/events"), await second.stream("/dashboard/events")]
        firsts = [await _part(stream) for stream in streams]
        assert all("early" in first["people"] and "late" not in first["people"] for first in firsts)
        gone = await peers.join(late)
        for stream in streams:
            assert "late" in (await _part(stream))["people"]
        gone.link.abort()
        for stream in streams:
            assert "late" not in (await _part(stream))["people"]
        for stream in streams:
            stream.close()


async def test_an_invite_that_a_command_makes_is_seen_at_once(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        stream = await (await place.browser(await place.member(Role.ADMIN))).stream("/dashboard/events")
        await _part(stream)
        with RoomStore(tmp_path) as other:
            other.create_invite(b"h" * 32, by=None)
        assert "open invites</a></dt><dd>1<" in (await _part(stream))["numbers"]
        stream.close()


async def test_the_stream_of_a_blocked_member_ends(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        feed, other = await place.member(), await place.member()
        stream = await (await place.browser(feed)).stream("/dashboard/events")
        kept = await (await place.browser(other)).stream("/dashboard/events")
        await _part(stream)
        await _part(kept)
        await place.member(Role.BLOCKED, feed)
        assert (await stream.next())[0] == "gone" and (await stream.next())[0] == ""
        assert "numbers" in await _part(kept)
        kept.close()
        stream.close()


async def _part(stream: Stream) -> dict[str, str]:
    """Return the next parts of a page."""
    name, data = await stream.next()
    assert name == "part"
    return dict(data)


async def test_the_first_page_is_drawn_once_for_all_who_see_the_same(tmp_path: Path, monkeypatch: Any) -> None:
    async with web_room(tmp_path) as place:
        drawn: list[str] = []
        markup = place.web.site.markup

        def counted(request: Any, template: str, /, **context: Any) -> str:
            drawn.append(template)
            return markup(request, template, **context)

        monkeypatch.setattr(place.web.site, "markup", counted)
        members = [await place.browser(await place.member()) for _ in range(3)]
        moderator = await place.browser(await place.member(Role.MODERATOR))
        german = await place.browser(await place.member(), "de")
        pages = [(await one.get("/dashboard")).text for one in (*members, *members, moderator, german)]
        assert len(drawn) - drawn.count("dashboard.html") == 3 * 2  # three kinds of viewers, two parts
        assert "online" in pages[0] and 'href="/blocked"' in pages[-2] and "Mitglieder" in pages[-1]
        await place.invite(None)
        await place.member()
        assert "<dd>1</dd>" in (await moderator.get("/dashboard")).text.partition("open invites")[2]
        assert "<dd>6</dd>" in (await members[0].get("/dashboard")).text.partition(">members<")[2]


async def test_many_people_are_cut_short(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(limits, "WEB_LIVE_PEOPLE", 1)
    async with web_room(tmp_path) as place:
        peers, keys = Peers(place), [Keypair.generate() for _ in range(3)]
        for key in keys[:2]:
            await place.member(feed=key.id)
        for key in keys:
            await peers.join(key, announce=key is not keys[2])
        page = await (await place.browser(keys[0].id)).get("/dashboard")
        words = page.words
        assert page.text.count('class="mono" title="@') == 1, "the whole id of the one that is shown"
        assert "and 2 more" in words and "1 visitors" in words.replace("visitors 1", "1 visitors")


# ---------------------------------------------------------------- members


async def test_members_are_found_by_alias_and_id(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        anna, bert = await place.member(), await place.member()
        await place.alias("anna", anna)
        browser = await place.browser(bert)
        for query, sees_anna, sees_bert in (
            ("", True, True),
            ("ANN", True, False),
            (bert.short[:6], False, True),
            (str(anna), True, False),
            (feed_path(anna), True, False),
            ("zz-top", False, False),
            ("@", False, False),
        ):
            page = (await browser.get("/members?q=" + query.replace("+", "%2B").replace("…", ""))).text
            page = page[page.index("<section") :]
            assert (feed_path(anna) in page, feed_path(bert) in page) == (sees_anna, sees_bert), query


async def test_many_members_have_pages(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("ssbfast.server.web.pages.common.page_of.__defaults__", (2,))
    async with web_room(tmp_path) as place:
        feeds = [await place.member() for _ in range(5)]
        browser = await place.browser(feeds[0])
        seen: set[str] = set()
        for number, expected in ((1, 2), (2, 2), (3, 1), (9, 1)):
            page = (await browser.get(f"/members?page={number}")).text
            found = set(re.findall(r'class="who" href="/members/([^"]+)"', page))
            assert len(found) == expected
            seen |= found
        assert seen == {feed_path(feed) for feed in feeds}
        for odd in ("-1", "x", "99999999999", "%00"):
            assert (await browser.get(f"/members?page={odd}")).status == 200


async def test_many_members_are_put_in_order_and_looked_through_in_pieces(monkeypatch: Any) -> None:
    monkeypatch.setattr(limits, "WEB_MEMBERS_AT_ONCE", 2)
    feeds = [FeedId(bytes([number]) * 32) for number in range(1, 10)]
    roles = [Role.MEMBER, Role.ADMIN, Role.BLOCKED, Role.MODERATOR, *[Role.MEMBER] * 5]
    names = {4: "zoe", 6: "amy", 8: "amy-2"}
    standings = {
        feed: Standing(roles[at], (AliasRecord(names[at], feed, b"", 0.0),) if at in names else ())
        for at, feed in enumerate(feeds)
    }
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    order = await members_pages._order(standings)
    assert [feeds.index(feed) for feed in order] == [1, 3, 6, 8, 4, 0, 5, 7] and turns >= 8  # pieces
    turns = 0
    assert await members_pages._found(standings, order, "AMY") == [feeds[6], feeds[8]] and turns >= 4
    del standings[feeds[6]]
    assert await members_pages._found(standings, order, "amy") == [feeds[8]]
    assert await members_pages._found(standings, order, feed_path(feeds[3])[:9]) == [feeds[3]]
    task.cancel()


async def test_what_a_block_does_stands_on_its_page(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        admin = await place.browser(await place.member(Role.ADMIN))
        peers, key, friend = Peers(place), Keypair.generate(), Keypair.generate()
        await place.member(feed=key.id)
        await place.member(feed=friend.id)
        await place.alias("spammer", key.id)
        await place.invite(key.id)
        sessions = [await peers.join(key), await peers.join(key, announce=False)]
        target = await peers.join(friend)
        sessions[0].connect(place.room.me.id, friend.id)
        await target.accept()
        page = (await admin.get(path_of(key.id, "/block"))).words
        assert "Block spammer?" in page and str(key.id) in page
        for sentence in ("2 sessions and 1 tunnel end", "1 alias is deleted", "1 open invite is revoked"):
            assert sentence in page
        assert place.room.registry.role(key.id) is Role.MEMBER  # looking changes nothing
        found = await admin.post(path_of(key.id, "/block"), comment="ads")
        assert (found.status, found.headers["location"]) == (303, "/blocked?done=blocked")
        assert place.room.live.load(key.id).sessions == 0 and len(place.room.tunnels) == 0
        assert place.room.registry.alias("spammer") is None
        assert place.room.live.load(friend.id).sessions == 1
        words = (await admin.get("/blocked?done=blocked")).words
        assert "ads" in words and "The key is blocked" in words
        assert "ads" in (await admin.get(path_of(key.id))).words
        await admin.post(f"/blocked/{feed_path(key.id)}/remove")
        assert place.room.registry.role(key.id) is Role.EXTERNAL


async def test_a_key_of_the_list_is_blocked_after_its_effects_were_shown(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        moderator = await place.browser(await place.member(Role.MODERATOR))
        peers, key = Peers(place), Keypair.generate()
        await place.member(feed=key.id)
        await place.alias("spammer", key.id)
        await peers.join(key)
        page = await moderator.post("/blocked", id="spammer", comment='"ads" <b>')
        assert page.status == 200 and "Block spammer?" in page.words and "1 session and 0 tunnels end" in page.words
        assert place.room.registry.role(key.id) is Role.MEMBER and place.room.live.load(key.id).sessions == 1
        asked = dict(re.findall(r'<input type="hidden" name="(id|sure)" value="([^"]+)"', page.text))
        comment = re.search(r"<textarea[^>]*>([^<]*)</textarea>", page.text)
        assert 'action="/blocked"' in page.text and comment and html.unescape(comment[1]) == '"ads" <b>'
        again = {name: html.unescape(value) for name, value in asked.items()}
        assert (await moderator.post("/blocked", **again, comment="ads")).status == 303
        assert place.room.registry.role(key.id) is Role.BLOCKED and place.room.live.load(key.id).sessions == 0


async def test_roles_are_changed_and_looked_at_first(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        admin = await place.browser(await place.member(Role.ADMIN))
        feed, other = await place.member(), await place.member()
        page = (await admin.get(path_of(feed, "/role"))).text
        assert 'value="moderator"' in page and 'value="admin"' in page and 'value="member"' not in page
        assert (await admin.post(path_of(feed, "/role"), role="moderator")).status == 303
        assert place.room.registry.role(feed) is Role.MODERATOR
        for odd in ("operator", "blocked", "external", "", "4"):
            assert (await admin.post(path_of(other, "/role"), role=odd)).status == 400
        moderator = await place.browser(feed)
        assert 'value="admin"' not in (await moderator.get(path_of(other, "/role"))).text
        assert (await moderator.post(path_of(other, "/role"), role="moderator")).status == 303
        assert (await moderator.post(path_of(other, "/role"), role="member")).status == 403
        stranger = Keypair.generate().id
        assert (await moderator.post("/members", id=str(stranger))).headers["location"].endswith("?done=added")
        again = await moderator.post("/members", id=feed_path(stranger))
        assert again.status == 400 and "a member already" in again.words
        for odd in ("", "nobody", "@x", str(place.room.me.id), "A" * 5000):
            assert (await moderator.post("/members", id=odd)).status == 400
        assert place.room.registry.role(other) is Role.MODERATOR


async def test_a_login_link_is_shown_once_and_signs_in(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        admin = await place.browser(await place.member(Role.ADMIN))
        feed, other = await place.member(), await place.member()
        codes = []
        for one in (feed, other):
            page = await admin.post(path_of(one, "/login-link"))
            codes.append(re.search(r"/login/link\?code=([\w-]+)", page.text)[1])  # type: ignore[index]
            assert codes[-1] not in (await admin.get(path_of(one))).text
        now = time.time()
        assert place.store.take_link(hash_of(codes[0]) or b"", now) == (feed, "login")
        assert place.store.take_link(hash_of(codes[0]) or b"", now) is None
        assert place.store.take_link(hash_of(codes[1]) or b"", now + limits.LOGIN_LINK_SECONDS + 1) is None


async def test_removing_a_member(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        moderator = await place.browser(await place.member(Role.MODERATOR))
        feed, other = await place.member(), await place.member()
        assert "becomes a visitor" in (await moderator.get(path_of(feed, "/remove"))).words
        assert (await moderator.post(path_of(feed, "/remove"))).headers["location"] == "/members?done=removed"
        assert place.room.registry.role(feed) is Role.EXTERNAL
        assert (await moderator.post(path_of(feed, "/remove"))).status == 403
        assert place.room.registry.role(other) is Role.MEMBER
        assert (await moderator.get("/members/@nonsense")).status == 404


# ---------------------------------------------------------------- invites and aliases


async def test_invites_are_made_seen_and_revoked(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        feed, other = await place.member(), await place.member()
        member, second = await place.browser(feed), await place.browser(other)
        moderator = await place.browser(await place.member(Role.MODERATOR))
        page = await member.post("/invites", note="for Zoë", days=2, uses=3)
        code = re.search(r"/join\?invite=([\w-]+)", page.text)[1]  # type: ignore[index]
        assert "3 people" in page.words and page.headers["cache-control"] == "no-store"
        await second.post("/invites", note="other", days=1, uses=1)
        invite = place.store.find_invite(hash_of(code) or b"")
        assert invite is not None and (invite.by, invite.uses, invite.note) == (feed, 3, "for Zoë")
        assert abs((invite.expires or 0) - time.time() - 2 * 86_400) < 60
        for browser, sees in ((member, (True, False)), (second, (False, True)), (moderator, (True, True))):
            words = (await browser.get("/invites")).text
            assert ("for Zoë" in words, ">other<" in words) == sees and code not in words
        assert (await second.post(f"/invites/{invite.number}/revoke")).status == 404
        assert (await member.post(f"/invites/{invite.number}/revoke")).status == 303
        assert "revoked" in (await member.get("/invites")).words
        assert (await moderator.post("/invites/999999/revoke")).status == 303
        assert (await moderator.post("/invites/99999999999999999999/revoke")).status in (303, 404)
        for days, uses in ((0, 1), (366, 1), (1, 0), (1, 101), ("x", 1), (1, ""), ("9" * 30, 1), ("1.5", 1), ("-3", 1)):
            found = await member.post("/invites", days=days, uses=uses, note="kept")
            assert found.status == 400 and 'value="kept"' in found.text, (days, uses)


async def test_an_invite_of_somebody_who_may_not_invite_now_is_marked(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        await place.invite(await place.member(), note="mine")
        await place.invite(None, note="operators")
        moderator = await place.browser(await place.member(Role.MODERATOR))
        assert "not valid now" not in (await moderator.get("/invites")).words
        await place.mode(Mode.RESTRICTED)
        words = (await moderator.get("/invites")).words
        assert words.count("not valid now") == 1


async def test_aliases_are_the_owners_and_the_moderators(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        feed, other = await place.member(), await place.member()
        for name, owner in (("mine", feed), ("hers", other), ("more", other)):
            await place.alias(name, owner)
        member = await place.browser(feed)
        moderator = await place.browser(await place.member(Role.MODERATOR))
        assert "hers" not in (await member.get("/aliases")).text
        assert "hers" in (await moderator.get("/aliases")).text
        assert (await member.post("/aliases/hers/revoke")).status == 404
        assert (await member.get("/aliases/mine/revoke")).status == 200
        assert place.room.registry.alias("mine") is not None
        assert (await member.post("/aliases/mine/revoke")).headers["location"] == "/aliases?done=freed"
        assert (await moderator.post("/aliases/hers/revoke")).status == 303
        assert place.room.registry.alias("mine") is None and place.room.registry.alias("hers") is None
        assert place.room.registry.alias("more") is not None
        await place.mode(Mode.RESTRICTED)
        assert "nobody can use them now" in (await member.get("/aliases")).words


# ---------------------------------------------------------------- settings and notices


async def test_a_mode_is_changed_after_its_effects_were_shown(tmp_path: Path) -> None:
    async with web_room(tmp_path, Mode.OPEN) as place:
        admin = await place.browser(await place.member(Role.ADMIN))
        peers, keys = Peers(place), [Keypair.generate() for _ in range(2)]
        for key in keys:
            await peers.join(key)
        asked = await admin.post("/settings/mode", mode="community")
        assert "2 peers that are here without being members become visitors" in asked.words
        assert place.room.registry.mode is Mode.OPEN
        wrong = await admin.post("/settings/mode", mode="community", was="restricted", sure="yes")
        assert wrong.status == 409 and place.room.registry.mode is Mode.OPEN
        await admin.post("/settings/mode", mode="community", was="open", sure="yes", keep="yes")
        assert [place.room.registry.role(key.id) for key in keys] == [Role.MEMBER] * 2
        await peers.join(Keypair.generate(), announce=False)
        await place.alias("somebody", keys[0].id)
        await place.invite(keys[0].id)
        words = (await admin.post("/settings/mode", mode="restricted")).words
        for sentence in (
            "1 peer that is not a member is cut off",
            "1 alias no longer works",
            "1 open invite is no longer",
        ):
            assert sentence in words
        await admin.post("/settings/mode", mode="restricted", was="community", sure="yes")
        await eventually(lambda: not place.room.live.visitors())
        assert "1 alias works again" in (await admin.post("/settings/mode", mode="open")).words
        for odd in ("", "closed", "OPEN"):
            assert (await admin.post("/settings/mode", mode=odd)).status == 400


async def test_settings_are_saved_whole_or_not(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        admin = await place.browser(await place.member(Role.ADMIN))
        good = {"name": "Hut", "description": "x", "language": "de", "invite_days": 7, "alias_style": "subdomain"}
        good["mode_by"] = "moderator"
        assert (await admin.post("/settings", **good)).headers["location"] == "/settings?done=saved"
        settings = place.room.registry.settings
        assert (settings.name, settings.language, settings.invite_days) == ("Hut", "de", 7)
        for bad in (
            {"language": "xx"},
            {"language": "English"},
            {"invite_days": "0"},
            {"invite_days": "many"},
            {"alias_style": "dns"},
            {"mode_by": "member"},
        ):
            found = await admin.post("/settings", **{**good, "name": "Other", **bad})
            assert found.status == 400 and 'value="Other"' in found.text, bad
        assert place.room.registry.settings == settings
        await admin.post("/settings", **{**good, "name": "a\r\nSet-Cookie: x\u202e" + "n" * 400})
        assert len(place.room.registry.settings.name) == limits.SETTING_LETTERS
        assert "\n" not in place.room.registry.settings.name and "\u202e" not in place.room.registry.settings.name


async def test_a_notice_that_is_missing_in_a_language_falls_back(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        moderator = await place.browser(await place.member(Role.MODERATOR))
        german, english = await place.browser(None, "de"), await place.browser(None, "en")
        assert "haben das noch nicht geschrieben" in (await german.get("/notices/news")).words
        await moderator.post("/notices/news", language="fr", title="Bonjour", body="**gras**")
        await moderator.post("/notices/conduct", language="en", title="Rules", body="Be kind")
        for browser in (german, english):
            page = (await browser.get("/notices/news")).text
            assert "<strong>gras</strong>" in page and 'lang="fr"' in page
        await moderator.post("/notices/news", language="de", title="Hallo", body="Neues")
        assert "Neues" in (await german.get("/notices/news")).words
        assert "gras" not in (await english.get("/notices/news")).words  # any language, and always the same
        assert "Be kind" in (await german.get("/notices/conduct")).words
        french = await place.browser(None, "fr-CA, de;q=0.5")  # pages are in German then, notices are not
        assert "gras" in (await french.get("/notices/news")).words
        await moderator.post("/notices/description", language="de", body="Hier")
        await moderator.post("/notices/description", language="fr", body="Ici")
        assert "Ici" in (await french.get("/")).words and "Hier" in (await german.get("/")).words
        preview = await moderator.post("/notices/news", language="de", title="T", body="*neu*", preview="yes")
        assert "<em>neu</em>" in preview.text and "Neues" in (await german.get("/notices/news")).words
        for language in ("", "English", "de-DE", "../x"):
            assert (await moderator.post("/notices/news", language=language, body="x")).status == 400
        assert (await moderator.post("/notices/news", language="de", body="x" * 20_001)).status == 400
        await moderator.post("/notices/news", language="de", body="")
        assert "gras" in (await german.get("/notices/news")).words
        for odd in ("/notices/other", "/notices/other/edit"):
            assert (await moderator.get(odd)).status == 404
        assert (await moderator.get("/notices/news/edit?language=<x>")).status == 200


# ---------------------------------------------------------------- own page, audit


async def test_browsers_are_signed_out_one_by_one(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        feed, other = await place.member(), await place.member()
        first, second, third = [await place.browser(feed) for _ in range(3)]
        stranger = await place.browser(other)
        assert (await first.get("/me")).text.count('name="session"') == 4
        hashed = (hash_of(second.token or "") or b"").hex()
        assert (await stranger.post("/me/sessions/end", session=hashed)).status == 404
        assert (await first.post("/me/sessions/end", session=hashed)).status == 303
        assert (await second.get("/me")).status == 303 and (await third.get("/me")).status == 200
        await first.post("/me/sessions/end", session="others")
        assert (await third.get("/me")).status == 303 and (await first.get("/me")).status == 200
        mine = (hash_of(first.token or "") or b"").hex()
        assert (await first.post("/me/sessions/end", session=mine)).headers["location"] == "/login"
        assert (await stranger.get("/me")).status == 200


async def test_a_password_is_set_and_removed(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        feed, other = await place.member(), await place.member()
        browser = await place.browser(feed)
        for password, again in (
            ("short", "short"),
            ("password1234", "password1234"),
            ("a long good one", "another one"),
        ):
            assert (await browser.post("/me/password", password=password, again=again)).status == 400
        assert place.store.password(feed) is None
        assert (await browser.post("/me/password", password="a long good one", again="a long good one")).status == 303
        assert passwords.is_right("a long good one", place.store.password(feed))
        assert place.store.password(other) is None
        await browser.post("/me/password", remove="yes")
        assert place.store.password(feed) is None


async def test_the_log_tells_who_did_what_in_pages(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(limits, "WEB_AUDIT_PAGE", 3)
    async with web_room(tmp_path) as place:
        feed = await place.member(Role.MODERATOR)
        await place.alias("guard", feed)
        moderator = await place.browser(feed)
        bad = [Keypair.generate().id for _ in range(2)]
        for one in bad:
            await moderator.post("/blocked", id=str(one), sure="yes")
        page = await moderator.get("/audit")
        assert f"guard blocked {bad[0].short}" in page.words and f"guard blocked {bad[1].short}" in page.words
        older = re.search(r"/audit\?before=\d+", page.text)[0]  # type: ignore[index]
        assert "the operator added guard" in (await moderator.get(older)).words
        german = await place.browser(feed, "de")
        assert f"guard blockierte {bad[0].short}" in (await german.get("/audit")).words
        for odd in ("x", "-1", "9" * 40):
            assert (await moderator.get(f"/audit?before={odd}")).status == 200
        assert "Sessions" in (await moderator.get("/measurements")).words


# ---------------------------------------------------------------- small things


async def test_the_language_is_chosen_and_kept(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        browser = await place.browser(None, "en")
        found = await browser.post("/language", language="de", next="/notices/privacy")
        assert (found.status, found.headers["location"]) == (303, "/notices/privacy")
        browser.headers["Cookie"] = found.headers["set-cookie"].partition(";")[0]
        assert '<html lang="de">' in (await browser.get("/")).text
        assert (await browser.post("/language", language="xx")).status == 400
        for odd in ("https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "", "/a\r\nb"):
            assert (await browser.post("/language", language="de", next=odd)).headers["location"] == "/"
            assert local_path(odd) == "/"


def test_ids_in_paths_are_canonical() -> None:
    feed, other = Keypair.generate().id, Keypair.generate().id
    assert feed_of_path(feed_path(feed)) == feed != feed_of_path(feed_path(other))
    for odd in (
        "",
        "@",
        feed_path(feed)[1:],
        feed_path(feed) + "=",
        str(feed),
        "@" + "é" * 43,
        feed_path(feed)[:-1] + "_",
    ):
        assert feed_of_path(odd) is None or feed_of_path(odd) != feed


def test_markdown_has_no_html_no_images_and_no_first_heading() -> None:
    html = markdown("# A\n\n<script>x</script> ![i](http://x/y.png) [l](javascript:alert(1)) <b>\n\n[ok](https://a.b)")
    assert "<script" not in html and "<img" not in html and 'href="javascript' not in html and "<b>" not in html
    assert "<h2>A</h2>" in html and 'href="https://a.b"' in html


def test_one_line_has_nothing_that_hides() -> None:
    assert one_line(" a\r\nb\x00\u202ec\ud800 ") == "a  bc"


# ---------------------------------------------------------------- what is kept in memory


async def test_a_browser_s_session_is_read_once_between_two_changes(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(limits, "RECORDS_LOOK_SECONDS", 3_600.0)  # a look at the store is a change, too
    async with web_room(tmp_path) as place:
        browser = await place.browser(await place.member())
        asked: list[bytes] = []
        read = place.store.web_session

        def counted(hashed: bytes) -> Any:
            asked.append(hashed)
            return read(hashed)

        monkeypatch.setattr(place.store, "web_session", counted)
        assert [(await browser.get("/me")).status for _ in range(4)] == [200] * 4 and len(asked) == 1
        await place.member()
        assert (await browser.get("/me")).status == 200 and len(asked) == 2


async def test_a_session_that_another_process_ends_is_over(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        feed = await place.member()
        browser = await place.browser(feed)
        assert (await browser.get("/me")).status == 200
        with RoomStore(tmp_path) as other:
            other.end_web_sessions(feed)
        for _ in range(200):
            if (await browser.get("/me")).status != 200:
                break
            await asyncio.sleep(0.05)
        assert (await browser.get("/me")).status != 200


async def test_a_session_in_memory_expires(tmp_path: Path, monkeypatch: Any) -> None:
    async with web_room(tmp_path) as place:
        browser = await place.browser(await place.member())
        assert (await browser.get("/me")).status == 200
        monkeypatch.setattr(limits, "WEB_SESSION_IDLE", 0.0)
        assert (await browser.get("/me")).status != 200


async def test_sessions_in_memory_are_so_many(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(limits, "WEB_SESSIONS_KNOWN", 2)
    async with web_room(tmp_path) as place:
        browsers = [await place.browser(await place.member()) for _ in range(5)]
        known = place.web.site.sessions._known
        most = 0
        for browser in browsers * 4:  # each change of the room empties what is known
            assert (await browser.get("/me")).status == 200
            most = max(most, len(known))
        assert most == 2


async def test_a_page_that_is_drawn_once_holds_nothing_of_the_first_that_saw_it(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        feeds = [await place.member(feed=FeedId(bytes([number]) * 32)) for number in (1, 2)]
        first, second = [await place.browser(feed) for feed in feeds]
        pages = [(await browser.get("/dashboard")).text for browser in (first, second)]
        for page, own, other in ((pages[0], first, second), (pages[1], second, first)):
            assert own.token and other.token
            assert csrf_token(own.token) in page and csrf_token(other.token) not in page
            assert all(mark not in page for mark in place.web.site._marks.values())
        assert str(door(feeds[0], "small")) != str(door(feeds[1], "small"))
        assert str(door(feeds[1], "small")) in pages[1] and str(door(feeds[0], "small")) not in pages[1]
        assert (await second.post("/logout")).status == 303


async def test_pages_that_are_kept_are_so_many(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(limits, "WEB_PAGES_DRAWN", 1)
    async with web_room(tmp_path) as place:
        feed = await place.member()
        kept: list[int] = []
        shared_page = place.web.site.shared_page

        def counted(request: Any, template: str, /, **context: Any) -> bytes:
            kept.append(1)
            return shared_page(request, template, **context)

        monkeypatch.setattr(place.web.site, "shared_page", counted)
        for language in ("en", "en", "de", "en"):
            page = await (await place.browser(feed, language)).get("/dashboard")
            assert page.status == 200 and f'lang="{language}"' in page.text
        assert len(kept) == 3  # the second is the first's; the last one was given up for the German one


# ---------------------------------------------------------------- who was refused


async def test_moderators_see_why_a_key_was_refused_last(tmp_path: Path) -> None:
    async with web_room(tmp_path, Mode.RESTRICTED) as place:
        peers, blocked, stranger = Peers(place), Keypair.generate(), Keypair.generate()
        await place.member(Role.BLOCKED, blocked.id)
        moderator = await place.browser(await place.member(Role.MODERATOR))
        member = await place.browser(await place.member())
        assert "Turned away" not in (await moderator.get("/blocked")).words
        joins = [asyncio.create_task(peers.join(key)) for key in (blocked, stranger)]
        await eventually(lambda: len(place.room.refusals.latest()) == 2)
        words = (await moderator.get("/blocked")).words.partition("Turned away lately")[2]
        assert stranger.id.short in words and "It is no member." in words and "127.0.0" not in words
        assert blocked.id.short in words and "It is blocked here." in words
        assert "It is no member." in (await moderator.get(path_of(stranger.id))).words
        assert "It is blocked here." in (await moderator.get(path_of(blocked.id))).words
        assert (await member.get("/blocked")).status == 403 and (await member.get(path_of(stranger.id))).status == 404
        for join in joins:
            join.cancel()
        await asyncio.gather(*joins, return_exceptions=True)


def test_refusals_are_bounded_and_a_stranger_pushes_out_its_own_only() -> None:
    times = iter(range(1_000_000))
    refusals = Refusals(lambda: float(next(times)))
    honest = FeedId(bytes([255]) * 32)
    refusals.add(honest, rings("192.0.2.1"), Why.STRANGER)
    for number in range(2_000):
        refusals.add(FeedId(number.to_bytes(32, "big")), rings(f"2001:db8:7:{number:x}::1"), Why.STRANGER)
    assert refusals.last(honest) is not None
    assert len(refusals.latest()) == limits.REFUSALS_KEPT_PER_ADDRESS * 4 + 1
    for number in range(2_000):
        refusals.add(FeedId(number.to_bytes(32, "big")), rings(f"198.51.100.{number % 200}"), Why.STRANGER)
    assert len(refusals.latest()) == limits.REFUSALS_KEPT
    refusals.add(honest, rings("192.0.2.1"), Why.BLOCKED)
    assert [one.why for one in refusals.latest() if one.feed == honest] == [Why.BLOCKED]
    assert refusals.latest()[0].feed == honest


def test_a_key_that_comes_again_has_one_refusal() -> None:
    refusals = Refusals(iter(range(1_000)).__next__)
    neighbour, busy = FeedId(bytes(32)), FeedId(bytes([1]) * 32)
    refusals.add(neighbour, rings("192.0.2.1"), Why.BLOCKED)
    for _ in range(100):
        refusals.add(busy, rings("192.0.2.1"), Why.STRANGER)
    assert [(one.feed, one.time) for one in refusals.latest()] == [(busy, 100), (neighbour, 0)]


# ---------------------------------------------------------------- the first run


async def test_the_first_admin_is_asked_for_name_and_mode(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        feed = await place.member(Role.ADMIN)
        admin, member = await place.browser(feed), await place.browser(await place.member())
        page = await admin.get("/settings/first")
        assert 'value="community" checked' in page.text and 'href="/dashboard">Later' in page.text
        assert (await member.get("/settings/first")).status == 403
        assert (await member.post("/settings/first", name="x", mode="open")).status == 403
        assert (await admin.post("/settings/first", name="x", mode="shut")).status == 400
        assert place.room.registry.settings.name == "" and place.room.registry.mode is Mode.COMMUNITY
        answer = await admin.post("/settings/first", name=" The\nshed ", mode="restricted")
        assert answer.headers["location"] == "/dashboard?done=saved"
        assert place.room.registry.settings.name == "The shed" and place.room.registry.mode is Mode.RESTRICTED


async def test_a_first_mode_that_others_feel_is_confirmed(tmp_path: Path) -> None:
    async with web_room(tmp_path, Mode.OPEN) as place:
        admin = await place.browser(await place.member(Role.ADMIN))
        await Peers(place).join(Keypair.generate())
        page = await admin.post("/settings/first", name="shed", mode="community")
        assert page.status == 200 and "becomes a visitor" in page.words
        assert place.room.registry.mode is Mode.OPEN and place.room.registry.settings.name == "shed"

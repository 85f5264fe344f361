"""Who gets which page, in each mode: every role at once, by HTTP."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ssbfast.keys import Keypair
from ssbfast.room.roles import Mode, Role
from ssbfast.server.web.templating import feed_path
from tests.helpers.web_pages import Browser, Place, web_room

ROLES = (Role.EXTERNAL, Role.BLOCKED, Role.MEMBER, Role.MODERATOR, Role.ADMIN)
"""EXTERNAL and BLOCKED: their sessions were there before they lost their role."""

FOR_MEMBERS = ("/dashboard", "/members", "/members/{member}", "/invites", "/aliases", "/me", "/me/leave")
FOR_MODERATORS = (
    *("/blocked", "/notices", "/notices/news/edit", "/audit", "/measurements", "/members/{stranger}"),
    *("/members/{other}/role", "/members/{other}/remove", "/members/{other}/block"),
)
FOR_ADMINS = ("/settings", "/members/{member}/login-link", "/members/{moderator}/role", "/members/{admin}/remove")
FOR_ALL = ("/notices/privacy", "/notices/description")

LEAST = {
    **dict.fromkeys(FOR_MEMBERS, Role.MEMBER),
    **dict.fromkeys(FOR_MODERATORS, Role.MODERATOR),
    **dict.fromkeys(FOR_ADMINS, Role.ADMIN),
    **dict.fromkeys(FOR_ALL, Role.EXTERNAL),
}
"""The lowest role that gets a page, the same in all modes; written by hand, not from the table of rights."""


@pytest.mark.parametrize("mode", Mode)
async def test_each_page_is_for_its_roles(tmp_path: Path, mode: Mode) -> None:
    async with web_room(tmp_path, mode) as place:
        feeds = {role: await place.member(Role.MEMBER) for role in ROLES}
        browsers = {role: await place.browser(feed) for role, feed in feeds.items()}
        for role, feed in feeds.items():
            if role in (Role.MODERATOR, Role.ADMIN):
                await place.web.site.keeper.run(place.store.set_role, feed, role, by=None)
        await place.member(Role.ADMIN)
        await place.member(Role.BLOCKED, feeds[Role.BLOCKED])
        await place.web.site.keeper.run(place.store.remove_member, feeds[Role.EXTERNAL], by=None)
        people = {
            "member": feed_path(feeds[Role.MEMBER]),
            "moderator": feed_path(feeds[Role.MODERATOR]),
            "admin": feed_path(feeds[Role.ADMIN]),
            "other": feed_path(await place.member()),
            "stranger": feed_path(Keypair.generate().id),
        }
        people["admin"] = feed_path(await place.member(Role.ADMIN))
        for path, least in LEAST.items():
            for role, browser in browsers.items():
                found = await browser.get(path.format(**people))
                if role >= least or least is Role.EXTERNAL:
                    assert found.status == 200, (path, role)
                elif role <= Role.EXTERNAL:
                    assert found.status == 303 and found.headers["location"].startswith("/login?next=/"), (path, role)
                else:
                    assert found.status == (404 if "stranger" in path else 403), (path, role)


@pytest.mark.parametrize("mode", Mode)
async def test_who_may_invite(tmp_path: Path, mode: Mode) -> None:
    async with web_room(tmp_path, mode) as place:
        for role in (Role.MEMBER, Role.MODERATOR, Role.ADMIN):
            browser = await place.browser(await place.member(role))
            may = mode is not Mode.RESTRICTED or role > Role.MEMBER
            assert ('name="uses"' in (await browser.get("/invites")).text) is may
            found = await browser.post("/invites", note="x", days=3, uses=2)
            assert found.status == (200 if may else 403)
            assert ("/join?invite=" in found.text) is may


FORMS = (
    ("/members", {"id": "{stranger}"}),
    ("/members/{other}/role", {"role": "moderator"}),
    ("/members/{other}/remove", {}),
    ("/members/{other}/block", {"comment": "x"}),
    ("/blocked", {"id": "{stranger}", "sure": "yes"}),
    ("/blocked/{blocked}/remove", {}),
    ("/notices/news", {"language": "en", "body": "hello"}),
)
"""What moderators may do."""

FORMS_OF_ADMINS = (
    ("/settings/mode", {"mode": "open", "was": "community", "sure": "yes"}),
    ("/settings", {"language": "en", "invite_days": "3", "alias_style": "path", "mode_by": "admin"}),
    ("/members/{other}/login-link", {}),
    ("/members/{moderator}/role", {"role": "member"}),
    ("/members/{other}/role", {"role": "admin"}),
)


async def test_forms_of_others_change_nothing(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        await place.member(Role.ADMIN)
        other, moderator = await place.member(), await place.member(Role.MODERATOR)
        people = {
            "other": feed_path(other),
            "moderator": feed_path(moderator),
            "blocked": feed_path(await place.member(Role.BLOCKED)),
            "stranger": str(Keypair.generate().id),
        }
        member = await place.browser(await place.member())
        second = await place.browser(await place.member(Role.MODERATOR))
        visitor = await place.browser()
        before = place.store.news(None)
        for path, fields in (*FORMS, *FORMS_OF_ADMINS):
            fields = {name: value.format(**people) for name, value in fields.items()}
            for browser in (
                visitor,
                member,
                *([second] if (path, fields) not in FORMS and path.startswith("/set") else []),
            ):
                found = await browser.post(path.format(**people), **fields)
                assert found.status in (401, 403), path
        for path, fields in FORMS_OF_ADMINS:
            found = await second.post(path.format(**people), **fields)
            assert found.status == 403, path
        assert place.store.news(None) == before


async def test_forms_need_the_token_and_our_own_page(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        await place.member(Role.ADMIN)
        admin = await place.browser(await place.member(Role.ADMIN))
        elsewhere = Browser(place.port, admin.token, headers={"Origin": "https://evil.example"})
        other = await place.member()
        people = {"other": feed_path(other), "moderator": feed_path(await place.member(Role.MODERATOR))}
        people |= {"blocked": feed_path(await place.member(Role.BLOCKED)), "stranger": str(Keypair.generate().id)}
        before = place.store.news(None)
        for path, fields in (*FORMS, *FORMS_OF_ADMINS):
            fields = {name: value.format(**people) for name, value in fields.items()}
            path = path.format(**people)
            assert (await admin.post(path, csrf="", **fields)).status == 403, path
            assert (await admin.post(path, csrf="0" * 64, **fields)).status == 403, path
            assert (await elsewhere.post(path, **fields)).status == 403, path
        assert place.store.news(None) == before


class TooLate:
    """Lets something be written just before a method of a store, as if that had been first in the queue."""

    def __init__(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        self._first: Callable[[], object] | None = None
        self.calls = 0
        for name in WRITES:
            monkeypatch.setattr(place.store, name, self._after(getattr(place.store, name)))

    def _after(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def later(*args: object, **options: object) -> Any:
            if self._first is None:
                return method(*args, **options)
            first, self._first = self._first, None
            first()
            self.calls += 1
            return method(*args, **options)

        return later

    def begin(self, first: Callable[[], object]) -> None:
        self._first = first


WRITES = (
    *("add_member", "set_role", "remove_member", "block", "unblock", "change_settings", "create_invite"),
    *("revoke_invite", "revoke_alias", "add_link", "write_notice"),
)


@pytest.mark.parametrize("how", ["block", "remove_member", "set_role"])
async def test_what_waits_is_not_done_for_one_that_has_lost_its_role(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    async with web_room(tmp_path) as place:
        await place.member(Role.ADMIN)
        other, moderator = await place.member(), await place.member(Role.MODERATOR)
        await place.alias("other", other)
        await place.invite(other)
        people = {"other": feed_path(other), "moderator": feed_path(moderator)}
        people |= {"blocked": feed_path(await place.member(Role.BLOCKED)), "stranger": str(Keypair.generate().id)}
        lose = {
            "block": partial(place.store.block, comment="", by=None),
            "remove_member": partial(place.store.remove_member, by=None),
            "set_role": partial(place.store.set_role, role=Role.MEMBER, by=None),
        }[how]
        late = TooLate(place, monkeypatch)
        more = [("/aliases/other/revoke", {}), ("/invites/1/revoke", {})]
        if how != "set_role":  # members may invite
            more.append(("/invites", {"days": "3", "uses": "1"}))
        for number, (path, fields) in enumerate((*FORMS, *FORMS_OF_ADMINS, *more), 1):
            actor = await place.member(Role.ADMIN)
            browser = await place.browser(actor)
            before, invites = place.store.news(None), place.store.invites()
            late.begin(lambda: lose(actor))  # noqa: B023 - it is called in this turn
            found = await browser.post(
                path.format(**people), **{name: value.format(**people) for name, value in fields.items()}
            )
            assert (found.status, late.calls) == (403, number), path
            after = place.store.news(None)
            assert after.settings == before.settings
            assert {**after.standings, actor: None} == {**before.standings, actor: None}
            assert place.store.invites() == invites and not place.store.notices()


async def test_moderators_may_do_nothing_to_admins(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        await place.member(Role.ADMIN)
        admin = await place.member(Role.ADMIN)
        await place.alias("boss", admin)
        moderator = await place.browser(await place.member(Role.MODERATOR))
        path = f"/members/{feed_path(admin)}"
        assert (await moderator.get(path)).status == 200
        for what in ("role", "remove", "block", "login-link"):
            assert (await moderator.get(f"{path}/{what}")).status == 403
            assert (await moderator.post(f"{path}/{what}", role="member")).status == 403
        assert (await moderator.post("/blocked", id=str(admin))).status == 403
        assert (await moderator.post("/aliases/boss/revoke")).status == 404
        assert place.store.member(admin) is not None and place.room.registry.alias("boss") is not None


async def test_the_last_admin_stays(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        feed = await place.member(Role.ADMIN)
        admin = await place.browser(feed)
        own = f"/members/{feed_path(feed)}"
        for path, fields in ((f"{own}/role", {"role": "member"}), ("/me/leave", {})):
            found = await admin.post(path, **fields)
            assert found.status == 409 and "The last admin stays" in found.words, path
        assert (await admin.post(f"{own}/remove")).status == 403
        assert (await admin.post("/blocked", id=str(feed))).status == 400
        assert place.room.registry.role(feed) is Role.ADMIN
        other = await place.member(Role.ADMIN)
        assert (await admin.post("/me/leave")).status == 303
        assert place.room.registry.role(feed) is Role.EXTERNAL and place.room.registry.role(other) is Role.ADMIN


async def test_a_role_that_is_lost_counts_at_the_next_request(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        await place.member(Role.ADMIN)
        feed, other = await place.member(Role.MODERATOR), await place.member(Role.MODERATOR)
        browser, second = await place.browser(feed), await place.browser(other)
        assert (await browser.get("/audit")).status == 200
        await place.web.site.keeper.run(place.store.set_role, feed, Role.MEMBER, by=None)
        assert (await browser.get("/audit")).status == 403
        await place.member(Role.BLOCKED, feed)
        assert (await browser.get("/dashboard")).status == 303
        assert (await second.get("/audit")).status == 200


async def test_a_mode_may_be_the_moderators_business(tmp_path: Path) -> None:
    async with web_room(tmp_path, mode_by=Role.MODERATOR) as place:
        moderator, member = (
            await place.browser(await place.member(Role.MODERATOR)),
            await place.browser(await place.member()),
        )
        assert (await member.get("/settings")).status == 403
        page = await moderator.get("/settings")
        assert 'name="mode"' in page.text and 'name="mode_by"' not in page.text
        asked = await moderator.post("/settings/mode", mode="restricted")
        assert asked.status == 200 and place.room.registry.mode is Mode.COMMUNITY
        await moderator.post("/settings/mode", mode="restricted", was="community", sure="yes")
        assert place.room.registry.mode is Mode.RESTRICTED

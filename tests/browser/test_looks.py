"""Every page as it looks: contrast, names for what can be used, focus, width; light and dark, in both languages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ssbfast.keys import Keypair
from ssbfast.net.relay import Relay
from ssbfast.room.roles import Role
from ssbfast.server.web.templating import feed_path
from tests.helpers.chromium import chromium, window
from tests.helpers.rawpeer import RawPeer
from tests.helpers.web_pages import web_room

pytestmark = pytest.mark.slow

OPEN_TO_ALL = ("/", "/login", "/login/password", "/notices/privacy", "/notices/description", "/lina-k")
MEMBERS = (
    *("/dashboard", "/members", "/members?q=nobody", "/invites", "/aliases", "/aliases/lina-k/revoke", "/blocked"),
    "/settings/first",
    *("/settings", "/notices", "/notices/news/edit", "/me", "/me/leave", "/audit", "/measurements"),
)
PERSON = ("", "/role", "/remove", "/block", "/login-link")

LOOK = """() => {
  const problems = [];
  const parse = (text) => {
    const found = text.match(/[\\d.]+/g).map(Number);
    return found.length < 4 ? [...found, 1] : found;
  };
  const over = (top, under) => top.slice(0, 3).map((c, i) => c * top[3] + under[i] * (1 - top[3])).concat(1);
  const ground = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const light = (c) => {
    const [r, g, b] = c.slice(0, 3).map((v) => (v /= 255, v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const seen = (e) => e.getClientRects().length > 0 && getComputedStyle(e).visibility === "visible";
  const says = (e) => e.outerHTML.slice(0, 120);
  const check = (e, color, what) => {
    const back = ground(e), found = ratio(over(parse(color), back), back);
    if (found < 4.5) problems.push(`contrast ${found.toFixed(2)} ${what}: ${says(e)}`);
  };
  for (const e of document.querySelectorAll("body *")) {
    if (!seen(e)) continue;
    const style = getComputedStyle(e);
    if ([...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) check(e, style.color, "text");
    if (e.matches("input, textarea, select")) check(e, style.color, "field");
    if (e.placeholder) check(e, getComputedStyle(e, "::placeholder").color, "placeholder");
  }
  for (const e of document.querySelectorAll("input:not([type=hidden]), select, textarea")) {
    if (!seen(e)) continue;
    const label = e.getAttribute("aria-label") || [...e.labels].map((l) => l.textContent.trim()).join("");
    if (!label) problems.push(`no label: ${says(e)}`);
  }
  for (const e of document.querySelectorAll("a, button, summary")) {
    if (seen(e) && !(e.textContent.trim() || e.getAttribute("aria-label"))) problems.push(`no name: ${says(e)}`);
  }
  for (const e of document.querySelectorAll("button, .button, input:not([type=hidden]), select, textarea")) {
    const box = e.getBoundingClientRect();
    const least = e.matches("[type=radio], [type=checkbox]") ? 18 : 24;
    if (seen(e) && !e.matches(".hidden") && Math.min(box.width, box.height) < least) problems.push(`small: ${says(e)}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) problems.push(`twice: #${id}`);
  for (const e of document.querySelectorAll("[aria-labelledby], [aria-describedby]")) {
    for (const name of ["aria-labelledby", "aria-describedby"]) {
      const id = e.getAttribute(name);
      if (id && !document.getElementById(id)) problems.push(`${name} of nothing: ${says(e)}`);
    }
  }
  if (document.querySelectorAll("h1").length !== 1) problems.push("not one h1");
  if (document.querySelectorAll("main").length !== 1) problems.push("not one main");
  if (!document.title.trim() || !document.documentElement.lang) problems.push("no title or language");
  return problems;
}"""
"""What is wrong with a page, as far as a program can tell."""

FOCUS = """() => {
  const e = document.activeElement;
  if (!e || e === document.body) return null;
  const shown = e.matches("[type=radio]") ? e.closest(".choice") : e;
  const style = getComputedStyle(shown), box = e.getBoundingClientRect();
  const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  return {key: e.outerHTML.slice(0, 200), ring, inside: box.width > 0 && box.right > 0};
}"""


@pytest.mark.parametrize(
    ("language", "width", "dark"), [("en", 1280, False), ("de", 360, True)], ids=["en-1280-light", "de-360-dark"]
)
async def test_every_page(tmp_path: Path, language: str, width: int, dark: bool) -> None:
    async with web_room(tmp_path, name="A room with a long name", description="For people and their gardens") as place:
        admin_id, key = await place.member(Role.ADMIN), Keypair.generate()
        person = await place.member(Role.MODERATOR, key.id)
        await place.alias("lina-k", person)
        await place.member(Role.BLOCKED)
        await place.invite(None, note="an invite with a note that is so long that it needs more than one line" * 2)
        code = await place.invite(person)
        peer = RawPeer(key, Relay(pool=4 * 1024 * 1024, stall_seconds=60))
        await peer.join(place.room.port, place.room.me.id)
        admin = await place.browser(admin_id)
        found: dict[str, Any] = {}
        async with chromium() as browser, window(browser, place.url, language=language, width=width, dark=dark) as here:
            for path in (*OPEN_TO_ALL, f"/join?invite={code}"):
                assert await here.open(path) == 200, path
                found[path] = [
                    *await here.page.evaluate(LOOK),
                    *([f"{path} is too wide"] * (await here.overflow() > 0)),
                ]
            await here.sign_in(admin.token)
            for path in (*MEMBERS, *(f"/members/{feed_path(person)}{what}" for what in PERSON)):
                assert await here.open(path) == 200, path
                found[path] = [
                    *await here.page.evaluate(LOOK),
                    *([f"{path} is too wide"] * (await here.overflow() > 0)),
                ]
            await here.open("/invites")
            await here.click('form[action="/invites"] button')
            found["an invite"] = await here.page.evaluate(LOOK)
            assert here.problems == []
            assert await here.open("/no-such-page") == 404
            found["404"] = await here.page.evaluate(LOOK)
        assert {path: problems for path, problems in found.items() if problems} == {}


@pytest.mark.parametrize("width", [1280, 360])
async def test_the_keyboard_reaches_everything_and_shows_where_it_is(tmp_path: Path, width: int) -> None:
    async with web_room(tmp_path) as place:
        await place.member()
        admin = await place.browser(await place.member(Role.ADMIN))
        async with chromium() as browser, window(browser, place.url, width=width) as here:
            await here.sign_in(admin.token)
            for path in ("/dashboard", "/members", "/settings", "/invites"):
                await here.open(path)
                wanted = await here.page.evaluate(
                    "[...document.querySelectorAll('a, button, input, select, textarea, summary')].filter("
                    "e => e.checkVisibility() && e.type !== 'hidden' && (e.type !== 'radio' || e.checked)).length"
                )
                seen = set()
                for _ in range(wanted + 5):
                    await here.page.keyboard.press("Tab")
                    focus = await here.page.evaluate(FOCUS)
                    if focus is None:
                        break
                    assert focus["ring"] and focus["inside"], (path, focus["key"])
                    seen.add(focus["key"])
                assert len(seen) >= wanted - 3, path  # equal buttons of several lines count once
            await here.open("/dashboard")
            await here.page.keyboard.press("Tab")
            await here.page.keyboard.press("Enter")
            assert here.page.url.endswith("#main")
            assert here.problems == []


async def test_the_first_page_is_live(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        keys = [Keypair.generate() for _ in range(2)]
        for name, key in zip(("anna", "bert"), keys, strict=True):
            await place.member(feed=key.id)
            await place.alias(name, key.id)
        viewer = await place.browser(await place.member())
        relay = Relay(pool=4 * 1024 * 1024, stall_seconds=60)
        async with chromium() as browser, window(browser, place.url) as here, window(browser, place.url) as there:
            for one in (here, there):
                await one.sign_in(viewer.token)
                await one.open("/dashboard")
                await one.page.wait_for_selector("[data-live-state].live")
            peers = [await RawPeer(key, relay).join(place.room.port, place.room.me.id) for key in keys]
            for one in (here, there):
                await one.page.wait_for_selector("#people >> text=anna")
                await one.page.wait_for_selector("#people >> text=bert")
            peers[0].link.abort()
            for one in (here, there):
                await one.page.wait_for_selector("#people >> text=anna", state="detached")
                assert await one.page.is_visible("#people >> text=bert")
                assert one.problems == []

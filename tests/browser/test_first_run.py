"""From the first link to a block, as people do it: in two languages and two widths, with scripts and without."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ssbfast.keys import Keypair
from ssbfast.net.relay import Relay
from ssbfast.room.codes import hash_of, new_code
from ssbfast.room.roles import Role
from ssbfast.server.web.templating import feed_path
from ssbfast.wire.http_auth import new_nonce, solve
from tests.helpers.chromium import Window, chromium, window
from tests.helpers.rawpeer import RawPeer
from tests.helpers.web_pages import Place, web_room

pytestmark = pytest.mark.slow


class App:
    """An SSB app: it has a session with the room, and signs what its person confirms."""

    def __init__(self, place: Place) -> None:
        self.me = Keypair.generate()
        self._room = place.room
        self._peer = RawPeer(self.me, Relay(pool=4 * 1024 * 1024, stall_seconds=60))

    async def connect(self) -> None:
        await self._peer.join(self._room.port, self._room.me.id, announce=False)

    async def sign(self, uri: str) -> Any:
        """Open a link of a page."""
        query = parse_qs(urlsplit(uri).query)
        assert query["action"] == ["start-http-auth"] and query["sid"] == [str(self._room.me.id)]
        sc, cc = query["sc"][0], new_nonce()
        return await self._peer.call("httpAuth.sendSolution", sc, cc, solve(self.me, self._room.me.id, sc, cc))


async def sign_in(place: Window, app: App, scripts: bool, goal: str = "/dashboard") -> None:
    """Sign in on the page that is open; goal: where that leads."""
    uri = await place.page.get_attribute('a[href^="ssb:"]', "href")
    if not scripts:
        assert await app.sign(uri) is True
        await place.click('form[action="/login/finish"] button')
    else:
        async with place.page.expect_navigation(url=f"**{goal}"):
            assert await app.sign(uri) is True
    assert place.page.url.endswith(goal)


@pytest.mark.parametrize(  # each with each other value of another
    ("language", "width", "scripts"),
    [("en", 1280, True), ("en", 360, False), ("de", 1280, False), ("de", 360, True)],
    ids=["en-1280-scripts", "en-360-plain", "de-1280-plain", "de-360-scripts"],
)
async def test_from_the_first_link_to_a_block(tmp_path: Path, language: str, width: int, scripts: bool) -> None:
    async with web_room(tmp_path) as place, chromium() as browser:
        admin, guest = App(place), App(place)
        await admin.connect()
        code = new_code()
        await place.web.site.keeper.run(place.store.add_link, hash_of(code), None, "admin", time.time() + 900, by=None)
        options: dict[str, Any] = {"language": language, "width": width, "scripts": scripts}
        async with window(browser, place.url, **options) as here, window(browser, place.url, **options) as there:
            # The operator's link makes an admin.
            await here.open(f"/login/link?code={code}")
            await here.click('form[action="/login/link"] button')
            await sign_in(here, admin, scripts, "/settings/first")
            assert await here.overflow() <= 0
            await here.page.fill("#name", "The shed")
            await here.click('form[action="/settings/first"] button')
            assert place.room.registry.settings.name == "The shed"
            assert place.room.registry.role(admin.me.id) is Role.ADMIN
            assert await here.page.get_attribute("html", "lang") == language

            # It invites somebody.
            await here.open("/invites")
            await here.page.fill("#note", "for Zoë")
            await here.click('form[action="/invites"] button')
            link = await here.page.input_value("#link")
            assert await here.page.is_visible('button[data-copy="link"]') is scripts

            # The guest claims, connects and signs in.
            await there.open(link)
            await there.page.fill("#id", "not an id")
            await there.click('form[action="/claim"] button')
            assert await there.page.is_visible("#problem")
            await there.page.fill("#id", str(guest.me.id))
            await there.click('form[action="/claim"] button')
            assert await there.page.input_value("#address") == str(place.room.addresses[0])
            assert place.room.registry.role(guest.me.id) is Role.MEMBER
            await guest.connect()
            await there.click('main a[href="/login"]')
            await sign_in(there, guest, scripts)

            # The admin blocks.
            await here.open("/members")
            await here.click(f'a[href="/members/{feed_path(guest.me.id)}"]')
            await here.click('a[href$="/block"]')
            assert re.search(r"1 (session|Verbindung)", await here.page.inner_text("main"))
            await here.page.fill("#comment", "advertises")
            for page in (here, there):
                assert await page.overflow() <= 0
                assert [one for one in page.problems if " 400 " not in one] == []
            await here.click('form[action$="/block"] button')
            assert "advertises" in await here.page.inner_text("main")
            assert place.room.live.load(guest.me.id).sessions == 0
            if scripts:  # The dashboard is live: it notices by itself.
                await there.page.wait_for_url("**/login?next=/dashboard")
            await there.open("/dashboard")
            assert "/login?next=/dashboard" in there.page.url
            assert here.problems == []
            await here.click(".me" if width > 1000 else ".brand")
            await here.open("/me")
            await here.click('#main form[action="/me/sessions/end"] button')
            await here.open("/dashboard")
            assert "/login?next=/dashboard" in here.page.url

"""What people write is shown as text: hostile words in every place that takes some, in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssbfast.keys import Keypair
from ssbfast.room.records import Notice
from ssbfast.room.roles import Role
from ssbfast.server.web.templating import feed_path
from tests.helpers.chromium import chromium, window
from tests.helpers.web_pages import web_room

pytestmark = pytest.mark.slow

HIT = "window.hit=1"
TAGS = (
    f"\"'><script>{HIT}</script><img src=x onerror={HIT}><svg onload={HIT}>"
    f"<iframe srcdoc='<script>parent.{HIT}</script>'>"
    f"</title></textarea></select></style></script><script>{HIT}</script>{{{{7*7}}}}${{7*7}}%(n)s"
)
LINE = TAGS + "\u202egnirts" + "w" * 120
MARKDOWN = f"""# {TAGS}

[a](javascript:{HIT}) [b](JaVaScRiPt&colon;{HIT}) [c](java&#10;script:{HIT}) [d](data:text/html,<script>{HIT}</script>)
[e](vbscript:{HIT}) [f](<javascript:{HIT}>) [g]: javascript:{HIT} ![h](http://192.0.2.1/x.png)
[i](//192.0.2.1/x 'a" onmouseover="{HIT}')
<javascript:{HIT}> <http://192.0.2.1/"onclick="{HIT}>

[g] ![j][k] {LINE}

[k]: data:image/svg+xml,<svg/onload={HIT}>

<div onclick="{HIT}">raw</div> <!-- comment --> <style>body {{ display: none }}</style>

```"><script>{HIT}</script>
{TAGS}
```

> {"> " * 60}deep

| {TAGS} |
|---|
"""
LINKS = "() => [...document.querySelectorAll('a[href], form[action]')].map((e) => e.href || e.action)"
STRANGE = """() => [...document.querySelectorAll("main *")].flatMap((e) => [
  ...(e.matches("iframe, style, object, embed, base, meta, link, img:not([src^='data:'])") ? [e.outerHTML] : []),
  ...[...e.attributes].filter((a) => a.name.startsWith("on") || a.name === "srcdoc").map((a) => a.name),
])"""


async def test_what_people_write_is_text(tmp_path: Path) -> None:
    async with web_room(tmp_path, name=LINE[:200], description=LINE[-200:]) as place:
        admin_id, person = await place.member(Role.ADMIN), await place.member()
        for name in ("description", "news", "code-of-conduct", "privacy"):
            await place.web.site.keeper.run(
                place.store.write_notice, Notice(name, "en", LINE[:200], MARKDOWN, 1.0), by=admin_id
            )
        await place.web.site.keeper.run(place.store.block, Keypair.generate().id, LINE, by=admin_id)
        code = await place.invite(admin_id, note=LINE)
        admin = await place.browser(admin_id)
        problems = []
        async with chromium() as browser, window(browser, place.url, width=360) as here:
            await here.page.set_extra_http_headers({"X-Forwarded-For": TAGS.replace("\n", " ")})

            async def look(path: str) -> None:
                status = await here.open(path)
                links = [
                    link for link in await here.page.evaluate(LINKS) if not link.startswith(("http", "ssb:", "mailto:"))
                ]
                found = [*links, *await here.page.evaluate(STRANGE)]
                if await here.page.evaluate("window.hit") is not None:
                    found.append("a script ran")
                if (over := await here.overflow()) > 0:
                    found.append(f"{over} pixels too wide")
                problems.extend([(path, status, one) for one in found])

            for path in ("/", f"/join?invite={code}", "/login", "/notices/news", "/notices/privacy"):
                await look(path)
            await here.sign_in(admin.token)
            for path in (
                *(
                    "/dashboard",
                    "/members",
                    "/invites",
                    "/aliases",
                    "/blocked",
                    "/settings",
                    "/notices",
                    "/me",
                    "/audit",
                ),
                *(
                    "/notices/news/edit",
                    "/notices/description/edit",
                    f"/members/{feed_path(person)}/block",
                    "/measurements",
                ),
            ):
                await look(path)
        assert problems == [] and here.problems == []

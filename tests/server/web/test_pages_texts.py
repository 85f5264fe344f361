"""Texts: none is missing in German, what others wrote is never markup, and pages ask no other server."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.room.records import Notice
from ssbfast.room.roles import Role
from ssbfast.server.web.languages import LANGUAGES, Text, language_of, read_po, text_of
from ssbfast.server.web.templating import STATIC, feed_path
from tests.helpers.web_pages import Browser, Place, web_room
from tests.helpers.web_texts import PLACE, texts

NASTY = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='x",
    "{{ 7*7 }}",
    "%(n)s",
    "\u202e<b>",
)
PAGES = (
    *("/", "/dashboard", "/members", "/invites", "/aliases", "/blocked", "/settings", "/notices", "/me", "/audit"),
    *("/measurements", "/notices/news", "/notices/privacy", "/notices/news/edit", "/me/leave", "/login/password"),
    *("/login", "/create-invite", "/no-such-page"),
)


def everything(language: str) -> dict[tuple[str, str], tuple[str, ...]]:
    content = (PLACE / "locale" / f"{language}.po").read_text(encoding="utf-8")
    return {(one, many): forms for one, many, forms in read_po(content) if one}


@pytest.mark.parametrize("language", sorted(set(LANGUAGES) - {"en"}))
def test_every_text_is_translated_and_none_is_left_over(language: str) -> None:
    found, wanted = everything(language), texts()
    assert len(wanted) > 300
    assert [text for text in wanted if text not in found] == []
    assert [text for text in found if text not in wanted] == []
    for (one, many), forms in found.items():
        assert all(forms) and len(forms) == (2 if many else 1), one
        for form in forms:
            assert set(re.findall(r"%\(\w+\)s", form)) == set(re.findall(r"%\(\w+\)s", many or one)), one
            assert not set(form) & set('<>"'), one  # texts stand in attributes as well
            assert re.findall(r"[.:?…]$", form) == re.findall(r"[.:?…]$", many or one), one


def test_a_catalogue_is_read_as_gettext_does() -> None:
    content = (
        '# x\nmsgid ""\nmsgstr ""\n"Plural-Forms: nplurals=2; plural=n>1;\\n"\n\n#: a\nmsgid "a "\n"b"\nmsgstr "c\\n"\n'
    )
    content += (
        'msgid "%(n)s x"\nmsgid_plural "%(n)s y"\nmsgstr[0] "eins"\nmsgstr[1] "zwei"\n#~ msgid "old"\n#~ msgstr "alt"\n'
    )
    assert list(read_po(content))[1:] == [("a b", "", ("c\n",)), ("%(n)s x", "%(n)s y", ("eins", "zwei"))]
    text = Text("fr", {("x", "y"): ("eins", "zwei"), "<b>%(who)s</b>": ("<i>%(who)s</i>",)}, "n > 1")
    assert [text.ngettext("x", "y", n) for n in (0, 1, 2)] == ["eins", "eins", "zwei"]
    assert text("other %(x)s", x=1) == "other 1" and text("100 %") == "100 %"
    assert str(text.html("<b>%(who)s</b>", who="<script>")) == "<i>&lt;script&gt;</i>"


@pytest.mark.parametrize(
    ("accepted", "chosen", "default", "expected"),
    [
        ("de-DE,de;q=0.9,en;q=0.8", None, "en", "de"),
        ("en;q=0.3, de;q=0.7", None, "en", "de"),
        ("fr, ja", None, "de", "de"),
        ("de", "en", "en", "en"),
        ("de", "xx", "en", "de"),
        ("de;q=0", None, "en", "en"),
        ("de;q=nonsense", None, "en", "en"),
        ("", None, "xx", "en"),
        (",;,;q=,\x00" * 1000, "<x>", "", "en"),
    ],
)
def test_the_language_of_a_visitor(accepted: str, chosen: str | None, default: str, expected: str) -> None:
    assert language_of(accepted, chosen, default) == expected
    assert text_of(expected).language == expected


def test_templates_have_no_inline_code_and_no_foreign_files() -> None:
    sources = [*(PLACE / "templates").glob("*.html"), *STATIC.iterdir()]
    assert len(sources) > 30
    for path in sources:
        source = path.read_text(encoding="utf-8")
        assert not re.search(r'\sstyle=|\son[a-z]+="|<style|javascript:|\|\s*safe\b', source), path.name
        assert not re.search(
            r"(?<!{ )url\(|@import|https?://(?!www\.w3\.org/2000/svg)[^\s\"<]*\.(?:js|css|png|svg|woff)", source
        )
        for tag in re.findall(r"<script[^>]*>(?!</script>)|<(?:link|img|script)[^>]*(?:href|src)=\"https?:", source):
            raise AssertionError((path.name, tag))
    assert len((STATIC / "room.css").read_text(encoding="utf-8").splitlines()) < 400
    assert len((STATIC / "room.js").read_text(encoding="utf-8").splitlines()) < 150


async def test_whatever_people_write_is_text(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        admin_id, other = await place.member(Role.ADMIN), await place.member()
        admin = await place.browser(admin_id)
        for word in NASTY:
            await admin.post("/invites", note=word, days=1, uses=1)
            await admin.post("/blocked", id=str(Keypair.generate().id), comment=word, sure="yes")
            await admin.post("/notices/news", language="en", title=word, body=f"{word}\n\n[x]({word})\n\n    {word}")
            await admin.post("/notices/description", language="en", title=word, body=word)
            settings = {"name": word, "description": word, "language": "en", "invite_days": 3, "alias_style": "path"}
            assert (await admin.post("/settings", **settings, mode_by="admin")).status == 303
            await _look(place, admin, other)
            for path, fields in (
                ("/members", {"id": word}),
                ("/blocked", {"id": word, "comment": word}),
                ("/invites", {"note": word, "days": word, "uses": word}),
                ("/settings", {**settings, "language": word, "mode_by": word}),
                ("/notices/news", {"language": word, "title": word, "body": word}),
                ("/notices/news", {"language": "en", "title": word, "body": word, "preview": "yes"}),
                ("/me/password", {"password": word, "again": word}),
                ("/settings/mode", {"mode": word}),
                ("/language", {"language": word, "next": word}),
            ):
                found = await admin.post(path, **fields)
                assert found.status in (200, 400), path
                _is_clean(found.text)
            for query in (
                "/members?q=",
                "/members?page=",
                "/notices/news/edit?language=",
                "/audit?before=",
                "/me?done=",
            ):
                found = await admin.get(query + "".join(f"%{byte:02x}" for byte in word.encode()))
                assert found.status == 200, query
                _is_clean(found.text)


async def test_a_notice_in_the_store_is_not_trusted_either(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        admin, visitor = await place.browser(await place.member(Role.ADMIN)), await place.browser()
        for language in ("en", 'x"><script>', "../../etc"):
            for name in ("news", "description", "<b>"):
                place.store.write_notice(Notice(name, language, NASTY[0], NASTY[1], time.time()), by=None)
        for browser in (admin, visitor):
            for path in ("/", "/notices/news"):
                found = await browser.get(path)
                assert found.status == 200
                _is_clean(found.text)
        _is_clean((await admin.get("/notices")).text)


async def _look(place: Place, admin: Browser, other: FeedId) -> None:
    invite = await place.invite(None, note="x")
    person = f"/members/{feed_path(other)}"
    asked = [f"{person}{what}" for what in ("", "/role", "/remove", "/block", "/login-link")]
    visitor = await place.browser()
    for path in (*PAGES, *asked, f"/join?invite={invite}"):
        found = await (visitor if path == "/login" else admin).get(path)
        assert found.status == (404 if path == "/no-such-page" else 200), path
        assert found.headers["cache-control"] == "no-store"
        _is_clean(found.text)


def _is_clean(page: str) -> None:
    """No tag or attribute of a visitor's, and nothing that a template should have filled in."""
    reader = _Tags()
    reader.feed(page)
    assert reader.scripts == 1 and reader.odd == []
    assert "\u202e" not in page and ">49<" not in page and "Undefined" not in page and "&lt;Macro" not in page


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.scripts = 0
        self.odd: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.odd += [tag] if tag in ("img", "b>", "iframe", "style") else []
        self.odd += [name for name, value in attrs if name.startswith("on") or name == "style"]
        self.odd += [
            value for name, value in attrs if name == "href" and value and re.match(r"\s*(javascript|data):", value)
        ]

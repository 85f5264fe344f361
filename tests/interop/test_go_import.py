"""A room of go-ssb-room, furnished in its web site and by its members, taken over by `ssbfast room import-go`."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

import pytest

from ssbfast.client.aliases import resolve_alias
from ssbfast.client.web_request import request_json
from ssbfast.errors import InviteError, SSBError
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair, load_secret
from ssbfast.room.tunnel_auth import AllowList
from tests.helpers.clients import RecordingClient
from tests.helpers.processes import Running, run
from tests.interop.go_room import WHY, GoRoom, binary, go_room
from tests.interop.go_web import GoBrowser

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(180),
    pytest.mark.skipif(binary() is None, reason=WHY),
]

ADMIN, MODERATOR, ALICE, BOB, BLOCKED, GONE = (Keypair.from_seed(bytes([90 + n]) * 32) for n in range(6))
NEWS = "Open *tonight*.\n\nBring tea."


async def furnish(room: GoRoom, operator: RecordingClient) -> list[str]:
    """Do in its web site what an operator does. Returns three invites: two good, one claimed."""
    browser = GoBrowser(room)
    await browser.sign_in(operator)

    async def post(page: str, path: str, **fields: str) -> None:
        status, text = await browser.submit(page, path, **fields)
        assert status == 303, text

    for who in (MODERATOR, ALICE, BOB, GONE):
        await post("/admin/members", "/admin/members/add", pub_key=str(who.id))
    await post("/admin/members", "/admin/members/change-role?id=2", role="RoleModerator")
    await post("/admin/denied", "/admin/denied/add", pub_key=str(BLOCKED.id), comment="spam & more")
    about = {"id": "1", "title": "Tea Room", "content": "For *tea*.", "language": "en-GB"}
    await post("/admin/notice/edit?id=1", "/admin/notice/save", **about)
    news = {"id": "2", "title": "News", "content": NEWS.replace("\n", "\r\n"), "language": "en-GB"}
    await post("/admin/notice/edit?id=2", "/admin/notice/save", **news)
    swedish = {"name": "NoticeNews", "title": "Nytt", "content": "Te.", "language": "sv-SE"}
    await post("/admin/notice/translation/draft?name=NoticeNews", "/admin/notice/translation/add", **swedish)
    await post("/admin/settings", "/admin/settings/set-language", lang="de-DE")
    await post("/admin/settings", "/admin/settings/set-privacy", privacy_mode="ModeCommunity")
    invites = [await browser.invite() for _ in range(3)]
    (code,) = parse_qs(urlsplit(invites[2]).query)["token"]
    answer = await browser.post_json("/invite/consume", {"id": str(BOB.id), "invite": code})
    assert answer["status"] == "successful"
    return invites


async def command(*arguments: str) -> list[dict[str, Any]]:
    done = await asyncio.to_thread(run, "room", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_all_of_it(tmp_path: Path) -> None:
    old, new = tmp_path / "go", tmp_path / "room"
    async with (
        go_room(old, "restricted") as room,
        RecordingClient(ADMIN, on_sign_in=lambda _request: True) as operator,
        RecordingClient(ALICE) as alice,
        RecordingClient(GONE) as gone,
    ):
        room.add_member(ADMIN.id, 3)
        await operator.join(room.address)
        invites = await furnish(room, operator)
        joined = await alice.join(room.address)
        await alice.register_alias(joined, "alice")
        await alice.register_alias(joined, "news")  # a page of ours
        await gone.register_alias(await gone.join(room.address), "gone")
        room.run("INSERT INTO fallback_passwords (password_hash, member_id) VALUES (x'00', 1)")
        browser = GoBrowser(room)
        await browser.sign_in(operator)
        status, text = await browser.submit("/admin/members/remove/confirm?id=5", "/admin/members/remove", id="5")
        assert status == 303, text
    before = files(old)

    (event,) = await command("import-go", str(old), "--data", str(new))
    assert event["event"] == "would_import" and not new.exists()
    (event,) = await command("import-go", str(old), "--data", str(new), "--yes")
    assert files(old) == before
    assert (event["id"], event["mode"]) == (str(room.id), "community")
    assert (event["members"], event["denied"], event["aliases"], event["invites"]) == (4, 1, 2, 2)
    assert event["notices"] == 3 and event["left_out"] == [] and event["with_password"] == [str(ADMIN.id)]
    assert load_secret(new / "secret").id == room.id
    assert {one["id"]: one["role"] for one in await command("members", "--data", str(new))} == {
        str(ADMIN.id): "admin",
        str(MODERATOR.id): "moderator",
        str(ALICE.id): "member",
        str(BOB.id): "member",
    }
    (denied,) = await command("deny", "--data", str(new))
    assert (denied["id"], denied["comment"]) == (str(BLOCKED.id), "spam & more")
    (settings,) = await command("settings", "--data", str(new))
    assert (settings["mode"], settings["language"], settings["name"]) == ("community", "de", "Tea Room")

    arguments = ("--data", str(new), "--listen", "127.0.0.1:0", "--no-udp", "--web", "127.0.0.1:0", "--json")
    running = await asyncio.to_thread(Running, "room", *arguments)
    with running:
        address = (await asyncio.to_thread(running.event, "listening"))["address"]
        site = (await asyncio.to_thread(running.event, "web_listening"))["url"]
        await it_works(room.id, address, site, [f"{site}/join?{urlsplit(link).query}" for link in invites])
        running.signal(signal.SIGTERM)
        assert await asyncio.to_thread(running.wait) == 0


async def it_works(room: FeedId, address: str, site: str, invites: list[str]) -> None:
    """Do in the new room what its members did in the old one. invites: two good, one claimed."""
    friend = Keypair.generate()
    async with (
        RecordingClient(ALICE, admission=AllowList([friend.id])) as alice,
        RecordingClient(friend) as guest,
        RecordingClient(BLOCKED) as blocked,
    ):
        joined = await alice.join(address)
        assert joined.is_member and await alice.aliases(joined) == ["alice", "news"]
        for path in ("alice", "alias/alice", "alias/news"):
            alias = await resolve_alias(f"{site}/{path}")
            assert (alias.user, alias.room) == (ALICE.id, room)
        shown = await asyncio.to_thread(run, "alias", "show", f"{site}/alias/alice", "--json")
        assert json.loads(shown.stdout)["id"] == str(ALICE.id), shown.stderr
        peer = await guest.consume(f"{site}/alias/alice")
        assert await peer.call("add", 1, 2) == 3
        await peer.close()
        with pytest.raises(SSBError):
            await blocked.join(address, stay=False)
        with pytest.raises(InviteError, match="not valid"):
            await guest.join(invites[2])
        assert (await guest.join(invites[0])).is_member
        with pytest.raises(InviteError, match="not valid"):
            await blocked.join(invites[1])

    def page(path: str, language: str = "en") -> str:
        with urlopen(Request(f"{site}{path}", headers={"Accept-Language": language})) as answer:
            return str(answer.read().decode())

    assert "<em>tea</em>" in await asyncio.to_thread(page, "/")
    assert "<em>tonight</em>" in await asyncio.to_thread(page, "/notices/news")
    assert "Te." in await asyncio.to_thread(page, "/notices/news", "sv-SE, en")
    assert "To be updated" not in await asyncio.to_thread(page, "/notices/privacy")
    late = RecordingClient()
    async with late:
        (code,) = parse_qs(urlsplit(invites[1]).query)["token"]
        answer = await request_json(f"{site}/claim", body={"id": str(late.me.id), "invite": code})
        assert answer["status"] == "successful"
        assert (await late.join(answer["multiserverAddress"])).is_member

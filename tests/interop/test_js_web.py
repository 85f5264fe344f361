"""The web site of our room, with the JavaScript clients of invites and sign-in, and a checker of SIP 5, 6 and 7."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from ssbfast.store.room_store import RoomStore
from tests.helpers.processes import Running
from tests.interop.js_modules import JS_DIR
from tests.interop.jspeer import JSError, JSPeer, StartPeer, id_of

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]


@dataclass(frozen=True)
class Answer:
    status: int
    cookies: dict[str, str]
    text: str


@dataclass
class Site:
    """`ssbfast room --web`, in a process of its own. invite: the first one; address: the room's."""

    data: Path
    address: str
    url: str
    invite: str

    def more_invites(self, count: int) -> list[str]:
        from ssbfast.room.codes import hash_of, new_code

        codes = [new_code() for _ in range(count)]
        with RoomStore(self.data) as store:
            for code in codes:
                store.create_invite(hash_of(code) or b"", by=None)
        return [f"{self.url}/join?invite={code}" for code in codes]

    def ask(self, method: str, path: str, cookies: dict[str, str] | None = None, **fields: str) -> Answer:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in (cookies or {}).items())}
        if method == "POST":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, urlencode(fields) if fields else None, headers)
        answer = connection.getresponse()
        found = [value.partition(";")[0].partition("=") for value in answer.headers.get_all("Set-Cookie") or []]
        text = answer.read().decode()
        connection.close()
        return Answer(answer.status, {name: value for name, _, value in found if value}, text)


@pytest.fixture
def site(network: bytes, tmp_path: Path) -> Iterator[Site]:
    data = tmp_path / "room"
    key = base64.b64encode(network).decode()
    arguments = ("--data", str(data), "--listen", "127.0.0.1:0", "--no-udp", "--network-key", key, "--json")
    with Running("room", *arguments, "--web", "127.0.0.1:0") as command:
        address = command.event("listening")["address"]
        told = command.event("web_listening")
        yield Site(data, address, told["url"], told["invite"])
        command.signal(signal.SIGTERM)
        assert command.wait() == 0, command.stderr


async def member(site: Site, peers: StartPeer, invite: str) -> JSPeer:
    """A peer that has claimed an invite and is in the room."""
    peer = await peers("room-client-2/web")
    await peer.connect(site.address)
    assert await peer.plugin("httpInviteClient", "claim", invite) == site.address
    return peer


@pytest.mark.parametrize("by_uri", [False, True])
async def test_the_client_of_invites_claims_by_link_and_by_uri(site: Site, peers: StartPeer, by_uri: bool) -> None:
    link = site.invite
    if by_uri:
        page = await asyncio.to_thread(site.ask, "GET", link.removeprefix(site.url))
        link = next(unescape(uri) for uri in re.findall(r'href="(ssb:[^"]+)"', page.text))
    peer = await member(site, peers, link)
    assert (await peer.call(id_of(site.address), "room.metadata"))["membership"] is True
    other = await peers("room-client-2/web")
    await other.connect(site.address)
    with pytest.raises(JSError, match="this invite is not valid"):
        await other.plugin("httpInviteClient", "claim", link)


async def test_the_client_of_sign_in_begins(site: Site, peers: StartPeer) -> None:
    peer = await member(site, peers, site.invite)
    room = id_of(site.address)
    url = urlsplit(await peer.plugin("httpAuthClient", "produceSignInWebUrl", room))
    assert (url.scheme, url.hostname, url.path) == ("https", "127.0.0.1", "/login")
    answer = await asyncio.to_thread(site.ask, "GET", f"/login?{url.query}")
    assert answer.status == 200
    assert (await asyncio.to_thread(site.ask, "GET", "/logout", answer.cookies)).status == 200

    assert await peer.plugin("httpAuthClient", "invalidateAllSessions", room) is True
    assert (await asyncio.to_thread(site.ask, "GET", "/logout", answer.cookies)).status == 303


async def test_the_client_of_sign_in_answers(site: Site, peers: StartPeer) -> None:
    peer = await member(site, peers, site.invite)
    page = await asyncio.to_thread(site.ask, "GET", "/login")
    (uri,) = (unescape(found) for found in re.findall(r'href="(ssb:[^"]+)"', page.text))
    assert await peer.plugin("httpAuthClient", "consumeSignInSsbUri", uri) is True
    csrf = re.search(r'name="csrf" value="([0-9a-f]+)"', page.text)
    assert csrf is not None
    done = await asyncio.to_thread(lambda: site.ask("POST", "/login/finish", page.cookies, csrf=csrf[1]))
    assert done.status == 303
    assert (await asyncio.to_thread(site.ask, "GET", "/logout", done.cookies)).status == 200


async def test_a_checker_follows_the_specifications(
    js_modules: None, site: Site, network: bytes, tmp_path: Path
) -> None:
    options = {
        "invites": [site.invite, *site.more_invites(2)],
        "network": base64.b64encode(network).decode(),
        "path": str(tmp_path / "checker"),
    }
    (tmp_path / "checker").mkdir()
    done = await asyncio.to_thread(
        subprocess.run,
        ["node", "web_checker.js", json.dumps(options)],
        cwd=JS_DIR,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    steps = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [step for step in steps if not step["ok"]] == [], done.stderr
    assert len(steps) >= 35 and done.returncode == 0

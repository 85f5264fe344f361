"""Our clients on the web site of a go-ssb-room as it is: its aliases, its invites, its sign-in."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from ssbfast.errors import AliasError, InviteError
from ssbfast.keys import Keypair, load_secret
from ssbfast.room.tunnel_auth import AllowList
from ssbfast.wire.alias import Alias
from tests.helpers.clients import RecordingClient
from tests.helpers.processes import Running, run
from tests.interop.go_room import DOMAIN, WHY, binary, go_room
from tests.interop.go_web import GoBrowser, https, name_here, name_there, uris

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(120),
    pytest.mark.skipif(binary() is None, reason=WHY),
]


@pytest.mark.parametrize("flag", ["-aliases-as-subdomains=true", "-aliases-as-subdomains=false"])
async def test_an_alias_there(flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers at HOST/alias/NAME in either setting; at NAME.HOST its proxy asks there."""
    alice, visitor = Keypair.generate(), Keypair.generate()
    async with (
        go_room(tmp_path, "community", flag) as room,
        https(room) as port,
        RecordingClient(alice, admission=AllowList([visitor.id])) as target,
        RecordingClient(visitor) as caller,
    ):
        name_here(monkeypatch, port)
        room.add_member(alice.id)
        joined = await target.join(room.address)
        told = await target.register_alias(joined, "alice")
        assert told == (f"https://{DOMAIN}/alias/alice" if "false" in flag else f"https://alice.{DOMAIN}")
        _status, page = await GoBrowser(room).get("/alias/alice")
        (uri,) = uris(page)
        for text in (told, f"https://{DOMAIN}/alias/alice", f"alice.{DOMAIN}", f"@alice@{DOMAIN}", uri):
            found = await caller.resolve(text)
            assert isinstance(found, Alias) and (found.user, found.room, found.name) == (alice.id, room.id, "alice")
        for text in (told, uri):
            peer = await caller.consume(text)
            assert peer.id == alice.id and await peer.call("add", 20, 22) == 42
            await peer.close()
        with pytest.raises(AliasError, match="no such alias"):
            await caller.resolve(f"https://{DOMAIN}/alias/bob")


@pytest.mark.parametrize("form", ["link", "uri"])
async def test_an_invite_there(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    admin, other = Keypair.generate(), Keypair.generate()
    async with (
        go_room(tmp_path, "restricted") as room,
        https(room) as port,
        RecordingClient(admin, on_sign_in=lambda _request: True) as operator,
        RecordingClient(other) as client,
    ):
        name_here(monkeypatch, port)
        room.add_member(admin.id, 3)
        await operator.join(room.address)
        browser = GoBrowser(room)
        await browser.sign_in(operator)
        link = await browser.invite()
        assert link.startswith(f"https://{DOMAIN}/join?token=")
        if form == "uri":
            _status, page = await browser.get(link.removeprefix(f"https://{DOMAIN}"))
            link = uris(page)[0]
        joined = await client.join(link)
        assert joined.id == room.id and joined.is_member
        with pytest.raises(InviteError, match="not valid"):
            async with RecordingClient() as late:
                await late.join(link)


async def test_commands_take_its_links(tmp_path: Path) -> None:
    admin = Keypair.generate()
    me = load_secret(tmp_path / "target" / "secret", True)
    caller = load_secret(tmp_path / "caller" / "secret", True)
    async with (
        go_room(tmp_path / "go", "community") as room,
        https(room) as port,
        RecordingClient(admin, on_sign_in=lambda _request: True) as operator,
    ):
        environment = name_there(tmp_path / "names", port)
        room.add_member(admin.id, 3)
        await operator.join(room.address)
        browser = GoBrowser(room)
        await browser.sign_in(operator)
        listen = ("--forward", "127.0.0.1:1", "--allow", str(caller.id), "--data", str(tmp_path / "target"), "--json")

        def running(*arguments: str) -> Running:
            return Running(*arguments, env=environment)

        async def event(process: Running, name: str) -> dict[str, Any]:
            return await asyncio.to_thread(process.event, name)

        link = await browser.invite()
        with running("listen", "--room", link, *listen) as listening:
            assert (await event(listening, "announced"))["portal"] == str(room.id)
            done = await asyncio.to_thread(
                run, "alias", "register", room.address, "alice", *listen[-3:], env=environment
            )
            assert done.returncode == 0, done.stderr
            url = f"https://{DOMAIN}/alias/alice"
            done = await asyncio.to_thread(run, "alias", "show", url, "--json", env=environment)
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["id"] == str(me.id)
            calls = ("--bind", "127.0.0.1:0", "--anyway", "--data", str(tmp_path / "caller"), "--json")
            for where in ((url,), (str(me.id), "--room", await browser.invite())):
                with running("connect", *where, *calls) as connecting:
                    assert (await event(connecting, "connected"))["peer"] == str(me.id)
                    connecting.signal(signal.SIGTERM)
                    assert await asyncio.to_thread(connecting.wait) == 0
            listening.signal(signal.SIGTERM)
            assert await asyncio.to_thread(listening.wait) == 0
            assert room.address.partition("~")[2] in listening.stderr and link not in listening.stderr

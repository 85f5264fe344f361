"""`ssbfast alias`, and where other commands take an alias or a web invite."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ssbfast.ids import FeedId, encode_key
from ssbfast.keys import Keypair, load_secret
from ssbfast.room.denials import Batch, Denial
from ssbfast.room.roles import Mode
from ssbfast.room.tunnel_auth import AllowList, Reason
from ssbfast.store.peer_store import Store
from ssbfast.wire.alias import sign_alias
from tests.helpers.clients import RecordingClient
from tests.helpers.commands import assert_unusable, failed
from tests.helpers.kept_room import kept_room
from tests.helpers.processes import Running, run
from tests.helpers.served_room import served_room
from tests.helpers.stores import RANDBELOW
from tests.helpers.web_sites import WebSite, alias_json, alias_uri, tells, web_site

ALICE, ROOM = Keypair.from_seed(b"a" * 32), Keypair.from_seed(b"r" * 32).id
ADDRESS = f"net:room.example:8008~shs:{encode_key(ROOM.key)}"


@pytest.fixture
async def site() -> AsyncIterator[WebSite]:
    async with web_site() as found:
        yield found


async def command(*arguments: str) -> Any:
    """Run a command beside this loop, which it asks."""
    return await asyncio.to_thread(run, *arguments)


async def out(*arguments: str) -> str:
    done = await command(*arguments)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


# ---------------------------------------------------------------- show


async def test_show(site: WebSite) -> None:
    site.pages["/alice"] = tells(alias_json(ALICE, ROOM, ADDRESS))
    told = json.loads(await out("alias", "show", f"{site.url}/alice", "--json"))
    del told["time"]
    assert told == {
        "event": "alias",
        "alias": "alice",
        "id": str(ALICE.id),
        "portal": str(ROOM),
        "address": ADDRESS,
        "url": f"{site.url}/alice",
    }
    text = await out("alias", "show", f"{site.url}/alice")
    assert str(ALICE.id) in text and ADDRESS in text


async def test_show_a_uri() -> None:
    assert str(ALICE.id) in await out("alias", "show", alias_uri(ALICE, ROOM, ADDRESS))


async def test_show_a_lie(site: WebSite) -> None:
    site.pages["/alice"] = tells(alias_json(ALICE, ROOM, ADDRESS, signature=sign_alias(ALICE, ROOM, "bob")))
    failed(await command("alias", "show", f"{site.url}/alice", "--json"), 1, "alias", "not signed by its owner")


@pytest.mark.parametrize("text", ["https://room.example", "http://room.example/alice", str(ALICE.id), ADDRESS, ""])
async def test_show_what_is_no_alias(text: str) -> None:
    assert_unusable(await command("alias", "show", text))


# ---------------------------------------------------------------- our own


async def test_register_list_revoke(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "peer"))
    me = load_secret(tmp_path / "peer" / "secret", True)
    async with kept_room(
        tmp_path / "room", Mode.COMMUNITY, alias_url=lambda name: f"https://room.example/{name}"
    ) as room:
        where = room.server.address
        refused = await command("alias", "register", where, "alice", *data)
        assert refused.returncode == 1 and refused.stderr.count("\n") == 1 and "member" in refused.stderr
        await room.add(me.id)
        assert "https://room.example/alice" in await out("alias", "register", where, "alice", *data)
        taken = room.server.registry.alias("alice")
        assert taken is not None and taken.feed == me.id
        assert (await out("alias", "list", where, *data)).split() == ["alice"]
        assert (await out("alias", "list", where, str(me.id), *data)).split() == ["alice"]
        listed = json.loads(await out("alias", "list", where, *data, "--json"))
        assert listed["alias"] == "alice"
        await out("alias", "revoke", where, "alice", *data)
        assert await out("alias", "list", where, *data) == ""
        again = await command("alias", "revoke", where, "alice", *data)
        assert again.returncode == 1 and "no such alias" in again.stderr
        assert_unusable(await command("alias", "register", where, "Not_An_Alias", *data), "an alias is")


# ---------------------------------------------------------------- elsewhere


async def test_connect_by_alias_needs_no_room(tmp_path: Path, site: WebSite) -> None:
    data = tmp_path / "peer"
    me = load_secret(data / "secret", True)
    async with served_room() as room, RecordingClient(admission=AllowList([me.id])) as target:
        await target.join(room.server.address)
        site.pages["/alice"] = tells(alias_json(target.me, room.server.me.id, room.server.address))
        bind = ("--bind", "127.0.0.1:0", "--anyway", "--data", str(data), "--json")
        connecting = await asyncio.to_thread(Running, "connect", f"{site.url}/alice", *bind)
        with connecting:
            connected = await asyncio.to_thread(connecting.event, "connected")
            assert connected["peer"] == str(target.me.id)
            assert str(me.id) not in target.rooms[0].attendants
            connecting.signal(signal.SIGTERM)
            assert await asyncio.to_thread(connecting.wait) == 0


async def test_connect_without_room_or_alias() -> None:
    assert_unusable(await command("connect", str(ALICE.id), "--bind", "127.0.0.1:0"), "--room")


async def test_connect_by_an_alias_of_another_room(tmp_path: Path, site: WebSite) -> None:
    site.pages["/alice"] = tells(alias_json(ALICE, ROOM, ADDRESS))
    other = f"net:127.0.0.1:1~shs:{encode_key(ALICE.id.key)}"
    bind = ("--room", other, "--bind", "127.0.0.1:0", "--data", str(tmp_path / "peer"))
    assert_unusable(await command("connect", f"{site.url}/alice", *bind), "none of the rooms")
    assert not (tmp_path / "peer").exists()


async def test_listen_claims_a_web_invite(tmp_path: Path, site: WebSite) -> None:
    async with served_room() as room:
        site.pages["/join"] = tells({"status": "success", "invite": "abc", "postTo": f"{site.url}/claim"})
        site.pages["/claim"] = tells({"status": "successful", "multiserverAddress": room.server.address})
        arguments = ("--forward", "127.0.0.1:1", "--data", str(tmp_path), "--json")
        listening = await asyncio.to_thread(Running, "listen", "--room", f"{site.url}/join?invite=abc", *arguments)
        with listening:
            announced = await asyncio.to_thread(listening.event, "announced")
            assert announced["portal"] == str(room.server.me.id)
            listening.signal(signal.SIGTERM)
            assert await asyncio.to_thread(listening.wait) == 0
            assert room.server.address in listening.stderr  # what to say the next time
            assert "abc" not in listening.stderr
    assert json.loads(site.asked[1][2])["id"] == str(load_secret(tmp_path / "secret").id)


async def test_an_invite_that_is_used_up(tmp_path: Path, site: WebSite) -> None:
    site.pages["/join"] = tells({"status": "failed", "error": "used"})
    arguments = ("--forward", "127.0.0.1:1", "--data", str(tmp_path), "--json")
    done = await command("listen", "--room", f"{site.url}/join?invite=abc", *arguments)
    failed(done, 1, "invite", "not valid")


# ---------------------------------------------------------------- the name of a refused peer


@pytest.fixture
def refused(tmp_path: Path) -> Path:
    """A peer that has refused Alice twice in one room and once in another."""
    with Store(tmp_path) as store:
        batch = Batch(RANDBELOW)
        for room in (ROOM, ROOM, FeedId(bytes(31) + b"\x07")):
            batch.add(Denial(room, ALICE.id, Reason.STRANGER, 1.0))
        store.record(batch, RANDBELOW)
    return tmp_path


async def test_a_denial_gets_its_name(refused: Path, site: WebSite) -> None:
    site.pages["/alice"] = tells(alias_json(ALICE, ROOM, ADDRESS))
    data = ("--data", str(refused))
    name = f"{site.url}/alice"
    said = await out("denials", "1", "--alias", f"{site.url}/alice", *data)
    assert said.strip() == f"{ALICE.id} ({name}) was refused"
    rows = [json.loads(line) for line in (await out("denials", *data, "--json")).splitlines()]
    denials = [row for row in rows if row["event"] == "denied"]
    assert [row["alias"] for row in denials] == [name, name, None]
    assert denials[0]["verified_at"].endswith("Z") and denials[2]["verified_at"] is None
    table = (await out("denials", *data)).splitlines()
    assert f"{ALICE.id.short} ({name})" in table[0] and name not in table[2]
    assert f"({name})" in await out("denials", "2", *data)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (alias_json(Keypair.from_seed(b"m" * 32), ROOM, ADDRESS), "another peer's"),
        (alias_json(ALICE, ALICE.id, f"net:h:1~shs:{encode_key(ALICE.id.key)}"), "another room"),
        (alias_json(ALICE, ROOM, ADDRESS, signature="x"), "signature"),
        ({"status": "failed"}, "no such alias"),
    ],
)
async def test_a_false_name_changes_nothing(refused: Path, site: WebSite, told: Any, words: str) -> None:
    site.pages["/alice"] = tells(told)
    done = await command("denials", "1", "--alias", f"{site.url}/alice", "--data", str(refused), "--json")
    failed(done, 1, "alias", words)
    with Store(refused) as store:
        assert {denial.alias for denial in store.denials()} == {None}


@pytest.mark.parametrize("is_hers", [True, False])
async def test_a_named_denial_says_where_to_call_back(tmp_path: Path, site: WebSite, is_hers: bool) -> None:
    data = tmp_path / "peer"
    me = load_secret(data / "secret", True)
    async with served_room() as room, RecordingClient(admission=AllowList([me.id])) as alice:
        await alice.join(room.server.address)
        with Store(data) as store:
            batch = Batch(RANDBELOW)
            batch.add(Denial(room.server.me.id, alice.me.id, Reason.STRANGER, 1.0))
            store.record(batch, RANDBELOW)
            store.name_denials(room.server.me.id, alice.me.id, f"{site.url}/alice", 2.0)
        owner = alice.me if is_hers else ALICE
        site.pages["/alice"] = tells(alias_json(owner, room.server.me.id, room.server.address))
        arguments = ("denials", "--connect", "1", "--bind", "127.0.0.1:0", "--anyway", "--data", str(data), "--json")
        if not is_hers:
            failed(await command(*arguments), 1, "alias", "another peer's now")
            return
        calling = await asyncio.to_thread(Running, *arguments)
        with calling:
            assert (await asyncio.to_thread(calling.event, "connected"))["peer"] == str(alice.me.id)
            calling.signal(signal.SIGTERM)
            assert await asyncio.to_thread(calling.wait) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--alias", "alice.room.example"),
        ("1", "--alias", "nonsense"),
        ("9", "--alias", "alice.room.example"),
        ("9",),
        ("0",),
        ("1", "--follow", "1"),
    ],
)
async def test_mistakes(refused: Path, arguments: tuple[str, ...]) -> None:
    assert_unusable(await command("denials", *arguments, "--data", str(refused)))

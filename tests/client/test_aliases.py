"""Aliases at a peer: a web site that lies in every way, visits to rooms, web invites, and refused peers' names."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssbfast import limits
from ssbfast.client import aliases, web_request
from ssbfast.client.aliases import check_owner, resolve_alias
from ssbfast.client.denial_log import DenialLog
from ssbfast.client.follow_graph import MemoryGraph
from ssbfast.client.tunnel_auth import Trust
from ssbfast.client.web_invites import claim_invite
from ssbfast.errors import (
    AliasError,
    BadInputError,
    InviteError,
    LocalProtocolError,
    RefusedError,
    SessionEndedError,
    SSBError,
)
from ssbfast.ids import FeedId, encode_key
from ssbfast.keys import Keypair
from ssbfast.pasted.addresses import read_room_or_invite
from ssbfast.pasted.web_links import InviteLink, alias_at
from ssbfast.room.tunnel_auth import AllowList
from ssbfast.store.peer_store import Store
from ssbfast.wire.alias import Alias, sign_alias
from tests.helpers import tls
from tests.helpers.clients import RecordingClient
from tests.helpers.rawpeer import eventually
from tests.helpers.rooms import feed
from tests.helpers.served_room import served_room
from tests.helpers.web_sites import (
    WebSite,
    alias_json,
    alias_uri,
    chunked,
    drips,
    floods,
    hangs_up,
    moved,
    says,
    silent,
    tells,
    web_site,
)

ALICE, MALLORY, ROOM = Keypair.generate(), Keypair.generate(), Keypair.generate().id
ADDRESS = f"net:room.example:8008~shs:{encode_key(ROOM.key)}"
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.fixture
async def site() -> AsyncIterator[WebSite]:
    async with web_site() as found:
        yield found


def truth(**other: Any) -> dict[str, Any]:
    return alias_json(ALICE, ROOM, ADDRESS, **other)


# ---------------------------------------------------------------- what is true


@pytest.mark.parametrize("path", ["/alice", "/alias/alice"])
@pytest.mark.parametrize("page", [tells, chunked])
async def test_an_alias_is_resolved(site: WebSite, path: str, page: Any) -> None:
    site.pages[path] = page(truth())
    found = await resolve_alias(f"{site.url}{path}")
    assert (found.name, found.user, found.room, found.address) == ("alice", ALICE.id, ROOM, ADDRESS)
    assert str(found) == f"{site.url}/alice"
    assert site.targets == [f"{path}?encoding=json"]
    assert b"Cookie" not in site.heads[0] and b"Accept: application/json" in site.heads[0]


async def test_signatures_in_all_three_forms(site: WebSite) -> None:
    signature = sign_alias(ALICE, ROOM, "alice")
    bare = signature.removesuffix(".sig.ed25519")
    for form in (signature, bare, bare.replace("+", "-").replace("/", "_")):
        site.pages["/alice"] = tells(truth(signature=form))
        assert (await resolve_alias(f"{site.url}/alice")).user == ALICE.id


async def test_a_uri_needs_no_web_site() -> None:
    found = await resolve_alias(alias_uri(ALICE, ROOM, ADDRESS))
    assert (found.user, found.room, str(found)) == (ALICE.id, ROOM, "alice")


async def test_three_redirects_are_followed(site: WebSite) -> None:
    site.pages |= {"/alice": moved("/1"), "/1": moved("/2", 307), "/2": moved(f"{site.url}/3"), "/3": tells(truth())}
    assert (await resolve_alias(f"{site.url}/alice")).user == ALICE.id


async def test_a_site_is_asked_wherever_it_may_have_the_alias(site: WebSite) -> None:
    site.pages["/alias/alice"] = tells(truth())
    assert (await resolve_alias(alias_at(site.url, "alice"))).user == ALICE.id
    assert [target.partition("?")[0] for target in site.targets] == ["/alice", "/alias/alice"]


async def test_the_proxies_of_the_environment_are_not_asked(site: WebSite, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    site.pages["/alice"] = tells(truth())
    assert (await resolve_alias(f"{site.url}/alice")).user == ALICE.id


# ---------------------------------------------------------------- what is not

LIES = {
    "another user": (truth(userId=str(MALLORY.id)), "not signed by its owner"),
    "another room": (truth(roomId=str(feed(1))), "address is not its room's"),
    "another room's signature": (truth(signature=sign_alias(ALICE, feed(1), "alice")), "not signed by its owner"),
    "another alias's signature": (truth(signature=sign_alias(ALICE, ROOM, "bob")), "not signed by its owner"),
    "a stranger's signature": (truth(signature=sign_alias(MALLORY, ROOM, "alice")), "not signed by its owner"),
    "another alias": (alias_json(ALICE, ROOM, ADDRESS, "bob"), "another alias"),
    "no signature": (truth(signature=""), "signature cannot be read"),
    "a number as signature": (truth(signature=7), "signature cannot be read"),
    "no id": (truth(userId="@x.ed25519"), "an id"),
    "a missing id": (truth(roomId=None), "an id"),
    "an address without a key": (truth(multiserverAddress=ADDRESS.partition("~")[0]), "address is not its room's"),
    "a key that is not the room's": (
        truth(multiserverAddress=f"net:room.example:8008~shs:{encode_key(MALLORY.id.key)}"),
        "address is not its room's",
    ),
    "no address": (truth(multiserverAddress="net:"), "address cannot be read"),
    "an address that is not dialled": (truth(multiserverAddress="unix:/tmp/x"), "address is not its room's"),
    "a failure": ({"status": "failed", "error": "no such alias"}, "no such alias"),
    "no status": ({}, "no such alias"),
    "a list": ([], "not that of a room"),
    "a text": ("alice", "not that of a room"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_is_named_and_nobody_is_dialled(site: WebSite, lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, words = LIES[lie]
    site.pages["/alice"] = tells(answer)
    async with RecordingClient() as client:
        monkeypatch.setattr(client._visits, "_join", None)
        with pytest.raises(AliasError, match=words) as caught:
            await client.consume(f"{site.url}/alice")
    assert_says_little(caught.value)


PAGES = {
    "an error": (says(500, b"oops"), r"an error \(500\)"),
    "not found": (says(404, b"{}"), "no such alias"),
    "not JSON": (says(200, b"<html>"), "not JSON"),
    "not UTF-8": (says(200, b'"\xff"'), "not JSON"),
    "deep": (says(200, b"[" * 60_000), "not JSON"),
    "nothing": (says(200), "not JSON"),
    "10 MB": (floods(HEAD, b"x" * 65_536, 160), "too long"),
    "10 MB in chunks": (
        floods(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 2_000_000),
        "too long",
    ),
    "an endless head": (floods(b"HTTP/1.1 200 OK\r\n", b"X-Y: " + b"z" * 60_000 + b"\r\n", 90), "too long"),
    "one byte over": (says(200, b" " * (limits.WEB_ANSWER - 1) + b"[]"), "too long"),
    "no HTTP": (floods(b"SSH-2.0-x\r\n", b"", 0), "cannot be read"),
    "hangs up": (hangs_up, "cannot be read|connection ended"),
    "to plain http": (moved("http://room.example/alice"), "another host"),
    "to another scheme": (moved("https://127.0.0.1/alice"), "from https to something else"),
    "to a file": (moved("file:///etc/passwd"), "something else"),
    "to another port": (moved("http://127.0.0.1:1/alice"), "another host"),
    "to another host": (moved("http://127.0.0.2/alice"), "another host"),
    "to nowhere": (says(302), "somewhere else"),
    "in circles": (moved("/alice"), "again and again"),
}


@pytest.mark.parametrize("page", PAGES)
async def test_a_web_site_that_does_not_tell(site: WebSite, page: str) -> None:
    site.pages["/alice"], words = PAGES[page]
    with pytest.raises(AliasError, match=words) as caught:
        await resolve_alias(f"{site.url}/alice")
    assert_says_little(caught.value)


@pytest.mark.parametrize(
    "page",
    [silent, drips(b"HTTP/1.1 200 OK\r\n", b"X", 0.02), drips(HEAD, b" ", 0.02), drips(HEAD + b"[", b" ", 0.02)],
)
async def test_a_slow_web_site_costs_so_much_and_no_more(
    site: WebSite, page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WEB_SECONDS", 0.4)
    site.pages["/alice"] = page
    with pytest.raises(AliasError, match="in time"):
        await asyncio.wait_for(resolve_alias(f"{site.url}/alice"), 20)


async def test_a_web_site_that_is_not_there() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(AliasError, match="cannot be reached: connection refused") as caught:
            await resolve_alias(f"http://127.0.0.1:{sock.getsockname()[1]}/alice")
    assert_says_little(caught.value)


async def test_https_needs_a_certificate_for_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async with web_site(tls.serving()) as site:
        site.pages["/alice"] = tells(truth())
        url = f"https://localhost:{site.port}/alice"
        with pytest.raises(AliasError, match="certificate cannot be believed") as caught:
            await resolve_alias(url)
        assert_says_little(caught.value)
        monkeypatch.setattr(web_request, "tls_context", lambda: tls.trusting("elsewhere"))
        with pytest.raises(AliasError, match="certificate cannot be believed"):
            await resolve_alias(url)
        assert site.asked == []
        monkeypatch.setattr(web_request, "tls_context", tls.trusting)
        assert (await resolve_alias(url)).user == ALICE.id
        site.pages["/alice"] = moved(f"http://localhost:{site.port}/alice")
        with pytest.raises(AliasError, match="from https to something else"):
            await resolve_alias(url)


@pytest.mark.parametrize("text", ["http://room.example/alice", "https://room.example/", "alice", str(feed(1))])
async def test_what_is_no_alias_is_not_asked_for(text: str) -> None:
    with pytest.raises(BadInputError):
        await resolve_alias(text)


async def test_a_web_site_elsewhere_does_not_send_us_to_this_machine() -> None:
    key = encode_key(ROOM.key)
    told = ";".join(
        f"{transport}~shs:{key}"
        for transport in ("net:127.0.0.1:1", "net:localhost:1", "ws://room.example", "wss://room.example", "onion:x:1")
    )
    found = aliases.alias_from(truth(multiserverAddress=told), "alice", "https://room.example/alice")
    assert found.address == f"wss://room.example~shs:{key}"
    only_here = truth(multiserverAddress=f"net:127.0.0.1:8008~shs:{key}")
    with pytest.raises(AliasError, match="its room's"):
        aliases.alias_from(only_here, "alice", "https://room.example/alice")
    assert aliases.alias_from(only_here, "alice", "http://127.0.0.1/alice").room == ROOM


def test_an_alias_cannot_be_made_up() -> None:
    addresses = aliases.parse_address(ADDRESS)
    with pytest.raises(AliasError):
        Alias("alice", ALICE.id, ROOM, addresses, bytes(64))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
TOLD = st.fixed_dictionaries({}, optional={name: st.just(value) | JSON for name, value in truth().items()})


@given(TOLD | JSON)
def test_whatever_a_web_site_says_is_an_alias_or_an_error(answer: Any) -> None:
    try:
        found = aliases.alias_from(answer, "alice", "https://room.example/alice")
    except AliasError as error:
        assert_says_little(error)
    else:
        assert (found.user, found.room) == (ALICE.id, ROOM)


def test_how_people_write_it() -> None:
    def alias(url: str) -> str:
        return str(aliases.alias_from(truth(), "alice", url))

    assert alias("https://alice.room.example/") == "alice.room.example"
    assert alias("https://room.example/alice") == alias("https://room.example/alias/alice") == "room.example/alice"


def assert_says_little(error: Exception) -> None:
    text = str(error)
    assert "\n" not in text and "127.0.0" not in text and "room.example" not in text and ".ed25519" not in text


# ---------------------------------------------------------------- visits


async def test_an_alias_is_consumed_and_the_room_left(site: WebSite) -> None:
    async with served_room() as room, RecordingClient() as caller:
        async with RecordingClient(admission=AllowList([caller.me.id])) as target:
            await target.join(room.server.address)
            site.pages["/alice"] = tells(alias_json(target.me, room.server.me.id, room.server.address))
            one, other = await asyncio.gather(*(caller.consume(f"{site.url}/alice") for _ in range(2)))
            assert await one.call("add", 1, 2) == 3
            assert len(caller.rooms) == 1  # shared
            assert not caller.rooms[0].attendants
            assert caller.me.id not in target.rooms[0].attendants
            await one.close()
            assert caller.rooms and await other.call("add", 1, 2) == 3
            await other.close()
            await eventually(lambda: not caller.staying)
            again = await caller.consume(await caller.resolve(f"{site.url}/alice"))
            assert await again.call("add", 2, 2) == 4
        await eventually(lambda: not caller.staying)


async def test_a_room_that_we_are_in_is_not_joined_and_not_left(site: WebSite) -> None:
    async with served_room() as room, RecordingClient() as caller:
        admission = AllowList([caller.me.id])
        async with RecordingClient(admission=admission) as target:
            await target.join(room.server.address)
            joined = await caller.join(room.server.address)
            uri = alias_uri(target.me, room.server.me.id, room.server.address)
            peer = await caller.consume(uri)
            assert caller.staying == (joined,)
            await peer.close()
            await asyncio.sleep(0)
            assert caller.rooms == (joined,)


async def test_a_visit_that_begins_as_another_ends() -> None:
    async with served_room() as room, RecordingClient() as caller:
        admission = AllowList([caller.me.id])
        async with RecordingClient(admission=admission) as target:
            await target.join(room.server.address)
            alias = await caller.resolve(alias_uri(target.me, room.server.me.id, room.server.address))
            peer = await caller.consume(alias)
            for turns in range(8):
                beginning = asyncio.ensure_future(caller.consume(alias))
                for _ in range(turns):
                    await asyncio.sleep(0)
                await peer.close()
                peer = await beginning
                assert await peer.call("add", 1, 2) == 3
            await peer.close()
            for _ in range(3):  # at once, while the room is being left
                await (await caller.consume(alias)).close()
            await eventually(lambda: not caller.staying)


async def test_an_alias_is_a_target(site: WebSite) -> None:
    async with served_room() as room, RecordingClient() as caller:
        admission = AllowList([caller.me.id])
        async with RecordingClient(admission=admission) as target:
            await target.join(room.server.address)
            site.pages["/alice"] = tells(alias_json(target.me, room.server.me.id, room.server.address))
            uri = alias_uri(target.me, room.server.me.id, room.server.address)
            for text in (f"{site.url}/alice", uri):
                peer = await caller.connect(text)
                assert peer.id == target.me.id
                await peer.close()
            await eventually(lambda: not caller.staying)
            joined = await caller.join(room.server.address)
            peer = await caller.connect(await caller.resolve(uri), room=joined)
            assert await peer.call("add", 1, 2) == 3
            elsewhere = alias_uri(target.me, ROOM, ADDRESS)
            with pytest.raises(LocalProtocolError):
                await caller.connect(elsewhere, room=joined)


async def test_a_visit_that_comes_to_nothing_leaves_nothing() -> None:
    async with served_room() as room, RecordingClient() as caller, RecordingClient() as target:
        await target.join(room.server.address)
        uri = alias_uri(target.me, room.server.me.id, room.server.address)
        with pytest.raises(SSBError):
            await caller.consume(uri)
        await eventually(lambda: not caller.staying and not caller._visits._visits)
        absent = alias_uri(ALICE, room.server.me.id, room.server.address)
        with pytest.raises(RefusedError):
            await caller.consume(absent)
        await eventually(lambda: not caller.staying and not caller._visits._visits)
    with pytest.raises(SessionEndedError):
        async with RecordingClient() as caller:
            await caller.consume(alias_uri(ALICE, room.server.me.id, room.server.address))


async def test_a_visit_ends_with_its_client() -> None:
    async with served_room() as room:
        async with RecordingClient() as caller, RecordingClient(admission=AllowList([caller.me.id])) as target:
            await target.join(room.server.address)
            await caller.consume(alias_uri(target.me, room.server.me.id, room.server.address))
            await caller.close()
            assert not caller.staying
        await eventually(lambda: room.server.population == 0)


# ---------------------------------------------------------------- web invites


@pytest.mark.parametrize("status", ["successful", "success"])
@pytest.mark.parametrize("word", ["invite", "token"])
async def test_an_invite_is_claimed_and_the_room_joined(site: WebSite, status: str, word: str) -> None:
    async with served_room() as room, RecordingClient() as client:
        site.pages["/join"] = tells({"status": status, "invite": "abc", "postTo": f"{site.url}/claim"})
        site.pages["/claim"] = tells({"status": "successful", "multiserverAddress": room.server.address})
        joined = await client.join(f"{site.url}/join?{word}=abc")
        assert joined.id == room.server.me.id
    assert site.targets == [f"/join?{word}=abc&encoding=json", "/claim"]
    assert json.loads(site.asked[1][2]) == {"id": str(client.me.id), "invite": "abc"}
    assert b"Content-Type: application/json\r\n" in site.heads[1]


async def test_an_invite_in_a_uri_is_claimed(site: WebSite) -> None:
    site.pages["/claim"] = tells({"status": "successful", "multiserverAddress": ADDRESS.replace("room.example", "::1")})
    uri = f"ssb:experimental?action=claim-http-invite&invite=abc&postTo=http%3A%2F%2F127.0.0.1%3A{site.port}%2Fclaim"
    link = read_room_or_invite(uri)
    assert isinstance(link, InviteLink)
    assert "shs:" in await claim_invite(link, ALICE.id)


GOOD_PAGE = {"status": "successful", "invite": "abc"}


@pytest.mark.parametrize(
    ("page", "claimed", "words"),
    [
        ({"status": "failed", "error": "x"}, None, "not valid"),
        ([], None, "not that of a room"),
        ({**GOOD_PAGE, "postTo": "http://room.example/claim"}, None, "where to claim"),
        ({**GOOD_PAGE, "postTo": 7}, None, "where to claim"),
        ({"status": "successful", "postTo": "HERE"}, None, None),
        (GOOD_PAGE | {"postTo": "HERE"}, {"status": "failed", "error": "used"}, "not valid"),
        (GOOD_PAGE | {"postTo": "HERE"}, {"status": "successful"}, "was claimed, but"),
        (GOOD_PAGE | {"postTo": "HERE"}, {"status": "successful", "multiserverAddress": "net:x:1"}, "was claimed, but"),
    ],
)
async def test_an_invite_that_comes_to_nothing(site: WebSite, page: Any, claimed: Any, words: str | None) -> None:
    if isinstance(page, dict) and page.get("postTo") == "HERE":
        page = {**page, "postTo": f"{site.url}/claim"}
    site.pages["/join"] = tells(page)
    if claimed is not None:
        site.pages["/claim"] = tells(claimed)
    with pytest.raises(InviteError, match=words or "not valid|whole|claim"):
        await claim_invite(InviteLink(url=f"{site.url}/join?invite=abc"), ALICE.id)


async def test_a_claim_follows_no_redirect(site: WebSite) -> None:
    site.pages["/claim"] = moved("/elsewhere", 307)
    with pytest.raises(InviteError, match="somewhere else"):
        await claim_invite(InviteLink(code="abc", post_to=f"{site.url}/claim"), ALICE.id)
    assert len(site.asked) == 1


# ---------------------------------------------------------------- the names of refused peers


class NamingRoom:
    """A room's answers to room.listAliases, as a client asks."""

    def __init__(self, site: WebSite, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[FeedId] = []

        async def list_aliases(_session: object, who: FeedId) -> list[str]:
            self.asked.append(who)
            return names

        monkeypatch.setattr("ssbfast.client.denial_names.list_aliases", list_aliases)
        monkeypatch.setattr("ssbfast.client.denial_names.web_sites", lambda _room: [site.url])


@pytest.fixture(autouse=True)
def _refusals_are_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REFUSAL_SECONDS", 0.2)


async def refused_by(client: RecordingClient, caller: RecordingClient) -> None:
    with pytest.raises(Exception):  # noqa: B017  # whatever the refusal looks like at the caller
        await caller.connect(client.me.id)


@pytest.mark.parametrize("lie", [None, "user", "room", "signature", "10 MB", "elsewhere", "500"])
async def test_a_denial_has_a_name_only_when_that_is_verified(
    tmp_path: Path, site: WebSite, monkeypatch: pytest.MonkeyPatch, lie: str | None
) -> None:
    async with served_room() as room:
        trust = Trust(MemoryGraph(), denials=DenialLog(tmp_path))
        async with RecordingClient(trust=trust, name_denials=True) as target, RecordingClient() as caller:
            asked = NamingRoom(site, ["alice"], monkeypatch).asked
            portal, address = room.server.me.id, room.server.address
            good = alias_json(caller.me, portal, address)
            site.pages["/alice"] = {
                None: tells(good),
                "user": tells(alias_json(MALLORY, portal, address)),
                "room": tells(alias_json(caller.me, ROOM, ADDRESS)),
                "signature": tells({**good, "signature": sign_alias(caller.me, ROOM, "alice")}),
                "10 MB": floods(HEAD, b"x" * 65_536, 160),
                "elsewhere": moved("https://room.example/alice"),
                "500": says(500),
            }[lie]
            await target.join(address)
            await caller.join(address)
            await refused_by(target, caller)
            denied = await target.told("denied")
            assert denied["origin"] == str(caller.me.id)
            await eventually(lambda: site.asked and target._names is not None and target._names._working is None)
            await refused_by(target, caller)
            await target.told("denied", 2)
            await eventually(lambda: target._names is not None and target._names._working is None)
            named = target.named("denied_alias")
            assert asked == [caller.me.id]  # once an hour
            assert len(site.targets) <= 2
        await trust.close()
    with Store(tmp_path) as store:
        stored = [(denial.alias, denial.verified_at) for denial in store.denials()]
    if lie is not None:
        assert named == [] and stored == [(None, None)] * 2
        return
    assert [event["alias"] for event in named] == [f"{site.url}/alice"] * 2
    assert all(alias == named[0]["alias"] and verified is not None for alias, verified in stored)


async def test_a_silent_web_site_does_not_delay_a_denial(
    tmp_path: Path, site: WebSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served_room() as room:
        trust = Trust(MemoryGraph(), denials=DenialLog(tmp_path))
        async with RecordingClient(trust=trust, name_denials=True) as target, RecordingClient() as caller:
            NamingRoom(site, ["alice"], monkeypatch)
            monkeypatch.setattr(limits, "WEB_SECONDS", 2.0)
            site.pages["/alice"] = silent
            await target.join(room.server.address)
            await caller.join(room.server.address)
            await refused_by(target, caller)
            await target.told("denied")
            await eventually(lambda: site.asked)
            assert target.named("denied_alias") == []
        await trust.close()
    with Store(tmp_path) as store:
        assert [denial.alias for denial in store.denials()] == [None]


async def test_so_many_are_looked_for_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    from ssbfast.client.denial_names import DenialNames
    from ssbfast.room.denials import Denial
    from ssbfast.room.tunnel_auth import Reason

    asked: list[FeedId] = []

    class Names(DenialNames):
        async def _find(self, denial: Denial) -> Alias | None:
            asked.append(denial.origin)
            return None

    async def named(_denial: Denial) -> None:
        raise AssertionError("nothing was found")

    names = Names(lambda _room: object(), named)  # type: ignore[arg-type,return-value]
    for n in range(1, 3 * limits.ALIAS_LOOKUPS):
        names.on_denied(Denial(ROOM, feed(n), Reason.STRANGER, time.time()))
        names.on_denied(Denial(ROOM, feed(n), Reason.STRANGER, time.time(), proven=False))
    await eventually(lambda: names._working is None)
    assert len(asked) == len(set(asked)) == limits.ALIAS_LOOKUPS
    await names.close()


def test_whose_alias_it_is() -> None:
    alias = aliases.alias_from(truth(), "alice", "https://room.example/alice")
    check_owner(alias, ALICE.id, ROOM)
    for user, room in ((MALLORY.id, ROOM), (ALICE.id, feed(1))):
        with pytest.raises(AliasError):
            check_owner(alias, user, room)

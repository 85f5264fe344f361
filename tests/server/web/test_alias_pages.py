"""Aliases over HTTP: the endpoint of SIP 7, by path and by sub-domain; and that nothing shows what is not there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.room.roles import Mode
from ssbfast.wire.alias import decode_signature, verify_alias
from tests.helpers.served_site import ServedSite, served_site, uris

HOST = "room.example"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[ServedSite]:
    async with served_site(tmp_path, base_url=f"https://{HOST}") as site:
        yield site


@pytest.fixture
async def alice(site: ServedSite) -> Keypair:
    me = await site.member()
    await site.alias("alice-2", me)
    return me


PLACES = [
    (HOST, "/alice-2"),
    (HOST, "/alias/alice-2"),
    (f"alice-2.{HOST}", "/"),
    (f"alice-2.{HOST}", "/alias/alice-2"),  # from a proxy that was set up for go-ssb-room
]


@pytest.mark.parametrize(("host", "path"), PLACES)
async def test_json_is_that_of_sip_7(site: ServedSite, alice: Keypair, host: str, path: str) -> None:
    answer = await site.browser(host=host).get(f"{path}?encoding=json")
    assert answer.status == 200 and answer.header("content-type") == "application/json"
    said = answer.json()
    signature = said.pop("signature")
    assert said == {
        "status": "successful",
        "multiserverAddress": site.room.server.address,
        "roomId": str(site.id),
        "userId": str(alice.id),
        "alias": "alice-2",
    }
    assert signature.endswith(".sig.ed25519")
    decoded = decode_signature(signature)
    assert decoded is not None and verify_alias(site.id, alice.id, "alice-2", decoded)


@pytest.mark.parametrize(("host", "path"), PLACES)
async def test_the_page_holds_the_uri_of_sip_7(site: ServedSite, alice: Keypair, host: str, path: str) -> None:
    page = await site.browser(host=host).get(path)
    assert page.status == 200
    (uri,) = uris(page)
    assert uri.startswith("ssb:experimental?action=consume-alias&alias=alice-2&userId=%40")
    query = parse_qs(urlsplit(uri).query, strict_parsing=True)
    assert list(query) == ["action", "alias", "userId", "signature", "roomId", "multiserverAddress"]
    assert {name: values for name, values in query.items() if name != "signature"} == {
        "action": ["consume-alias"],
        "alias": ["alice-2"],
        "userId": [str(alice.id)],
        "roomId": [str(site.id)],
        "multiserverAddress": [site.room.server.address],
    }
    assert not any(letter in uri for letter in '@+/=" ' if letter != "=")
    assert "refresh" not in page.text  # it opens nothing by itself


async def test_an_unknown_alias_is_a_failure_that_apps_can_read(site: ServedSite) -> None:
    for host, path in ((HOST, "/bob"), (HOST, "/alias/bob"), (f"bob.{HOST}", "/")):
        answer = await site.browser(host=host).get(f"{path}?encoding=json")
        assert answer.status == 200
        assert answer.json() == {"status": "failed", "error": "no such alias"}


@pytest.mark.parametrize("suffix", ["", "?encoding=json"])
async def test_in_a_restricted_room_an_alias_is_an_unknown_page(site: ServedSite, alice: Keypair, suffix: str) -> None:
    await site.mode(Mode.RESTRICTED)
    seen = {
        (await site.browser(host=host).get(path + suffix)).plain
        for host, path in (
            (HOST, "/alice-2"),
            (HOST, "/alias/alice-2"),
            (f"alice-2.{HOST}", "/"),
            (HOST, "/nobody"),
            (HOST, "/alias/nobody"),
            (f"nobody.{HOST}", "/"),
            (HOST, "/not/a/page"),
            (HOST, "/ALICE"),
            (HOST, "/alice-2/"),
            (f"alice-2.{HOST}", "/login"),
        )
    }
    assert len(seen) == 1
    assert b"404" in seen.pop()[:6]


async def test_in_other_rooms_an_unknown_alias_is_an_unknown_page(site: ServedSite, alice: Keypair) -> None:
    one = await site.browser(host=HOST).get("/nobody")
    other = await site.browser(host=HOST).get("/not/a/page")
    assert one.plain == other.plain and one.status == 404


async def test_it_says_nothing_of_who_is_there(site: ServedSite, alice: Keypair) -> None:
    before = (await site.browser(host=HOST).get("/alice-2")).plain
    await site.room.raw(alice)
    assert (await site.browser(host=HOST).get("/alice-2")).plain == before


@pytest.mark.parametrize(
    "name",
    ["Alice-2", "alice_2", "-alice", "alice-", "a" * 64, "alice.2", "%00", "alice-2%0d%0aSet-Cookie:x=1", "ä", ""],
)
async def test_other_names_are_no_aliases(site: ServedSite, alice: Keypair, name: str) -> None:
    for path in (f"/alias/{name}", f"/{name}" if name else "/x"):
        answer = await site.browser(host=HOST).get(path.encode("utf-8").decode("latin-1"))
        assert answer.status in (400, 404)
        assert not answer.cookies


async def test_no_page_of_the_site_can_be_an_alias(site: ServedSite) -> None:
    from ssbfast.room import alias_rules

    routes = site.web.listener.app._router.routes
    firsts = {route.path.split("/")[1] for route in routes}
    names = {first for first in firsts if first and not first.startswith(("{", "."))}
    assert {name for name in names if alias_rules.may_be_registered(name)} == set()


@pytest.mark.parametrize("letters", [1, 63])
async def test_short_and_long_names(site: ServedSite, letters: int) -> None:
    me = await site.member()
    await site.alias("a" * letters, me)
    assert (await site.browser(host=f"{'a' * letters}.{HOST}").get("/?encoding=json")).json()["userId"] == str(me.id)


async def test_a_revoked_alias_is_gone_at_once(site: ServedSite, alice: Keypair) -> None:
    await site.site.keeper.run(site.store.revoke_alias, "alice-2", by=None)
    assert (await site.browser(host=HOST).get("/alice-2")).status == 404


async def test_an_alias_page_has_no_session(site: ServedSite, alice: Keypair) -> None:
    answer = await site.browser(host=f"alice-2.{HOST}").get("/")
    assert not answer.cookies
    assert (await site.browser(host=f"alice-2.{HOST}").form("/", {})).status == 405
    assert (await site.browser(host=f"alice-2.{HOST}").get("/alias/bob")).status == 404
    assert FeedId.parse(str(alice.id)) == alice.id

"""Sessions over WebSockets on the site's own port, beside its pages."""

from __future__ import annotations

from pathlib import Path

from ssbfast import limits
from ssbfast.client.room_client import RoomClient
from ssbfast.ids import encode_key
from ssbfast.keys import Keypair
from ssbfast.room.roles import Mode
from ssbfast.wire.http_auth import new_nonce
from tests.helpers.rawpeer import eventually
from tests.helpers.served_site import ServedSite, served_site
from tests.server.web.test_sign_in_pages import by_app


def address(site: ServedSite) -> str:
    return f"ws:127.0.0.1:{site.port}~shs:{encode_key(site.id.key)}"


async def test_peers_meet_over_the_sites_port(tmp_path: Path) -> None:
    async with served_site(tmp_path, mode=Mode.OPEN) as site:
        async with RoomClient(Keypair.generate()) as one, RoomClient(Keypair.generate()) as other:
            room = await one.join(address(site))
            await other.join(address(site))
            await eventually(lambda: len(site.room.server.live.online()) == 2)
            assert room.id == site.id
            assert len(site.web.places) == 0  # they take no place of pages
            assert (await site.browser().get("/")).status == 200
        await eventually(lambda: not site.room.server.live.online())


async def test_a_session_over_a_websocket_signs_in(tmp_path: Path) -> None:
    async with served_site(tmp_path) as site:
        me = await site.member()
        async with RoomClient(me, on_sign_in=lambda request: True) as client:
            await client.join(address(site), announce=False)
            assert (await site.browser().get(by_app(me.id, new_nonce()))).status == 200


async def test_the_end_of_the_site_is_a_goodbye(tmp_path: Path) -> None:
    async with RoomClient(Keypair.generate()) as client:
        async with served_site(tmp_path, mode=Mode.OPEN) as site:
            room = await client.join(address(site), stay=False)
            session = room.session
        await session.wait_closed()
        assert session.error is None


async def test_pages_that_are_no_sessions_refuse_the_upgrade(tmp_path: Path) -> None:
    async with served_site(tmp_path) as site:
        headers = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        assert (await site.browser().ask("GET", "/login", headers=headers)).status == 404
        assert limits.WEB_CONNECTIONS > 0

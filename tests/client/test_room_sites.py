"""The name of a room: what its web site tells, and what is not believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ssbfast.client import room_sites
from ssbfast.client.room_sites import name_of, room_at
from ssbfast.errors import WebSiteError
from ssbfast.ids import encode_key
from ssbfast.keys import Keypair
from ssbfast.wire.address import parse_address
from tests.helpers.web_pages import web_room

KEY = Keypair.from_seed(b"r" * 32).id
ROOM = f"net:room.example:8008~shs:{encode_key(KEY.key)}"
WEB = f"wss:room.example:8443~shs:{encode_key(KEY.key)}"


async def test_a_site_tells_the_address_of_its_room(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place:
        name, key = f"127.0.0.1:{place.port}", encode_key(place.room.me.id.key)
        assert (await room_at(name)).split(";")[0] == place.room.address
        assert await name_of(parse_address(f"ws:{name}~shs:{key}")[0]) == name
        assert await name_of(parse_address(f"ws:{name}~shs:{encode_key(KEY.key)}")[0]) is None, "another room"
        assert await name_of(parse_address(f"ws:127.0.0.1:9~shs:{key}")[0]) is None, "no site"
        assert await name_of(parse_address(place.room.address)[0]) is None, "no name"


@pytest.mark.parametrize(
    ("room", "url", "name"),
    [
        (ROOM, "https://room.example/?encoding=json", "room.example"),
        (WEB, "https://room.example:8443/?encoding=json", "room.example:8443"),
        (WEB.replace(":8443", ":443"), "https://room.example/?encoding=json", "room.example"),
    ],
)
async def test_where_a_site_is(monkeypatch: pytest.MonkeyPatch, room: str, url: str, name: str) -> None:
    async def request_json(asked: str, **_: Any) -> Any:
        assert asked == url
        return {"roomId": str(KEY), "multiserverAddress": f"{ROOM};{WEB}"}

    monkeypatch.setattr(room_sites, "request_json", request_json)
    assert await name_of(parse_address(room)[0]) == name


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"roomId": str(KEY)},
        {"multiserverAddress": ROOM},
        {"roomId": 7, "multiserverAddress": 7},
        {"roomId": str(Keypair.generate().id), "multiserverAddress": ROOM},
        {"roomId": str(KEY), "multiserverAddress": "net:room.example:8008"},
        {"roomId": str(KEY), "multiserverAddress": ROOM.replace("room.example", "127.0.0.1")},
        {"roomId": str(KEY), "multiserverAddress": ROOM.replace("net:", "ws:")},
    ],
)
async def test_what_is_not_believed(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    async def request_json(*_: Any, **__: Any) -> Any:
        return answer

    monkeypatch.setattr(room_sites, "request_json", request_json)
    with pytest.raises(WebSiteError, match="tells no room's address"):
        await room_at("room.example")

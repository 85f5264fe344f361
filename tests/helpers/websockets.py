"""WebSockets of a test: a room's end on a port of its own, and a hand-made client that obeys nobody."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.uri import parse_uri

from ssbfast.ids import FeedId, encode_key
from ssbfast.net import websocket
from ssbfast.server.room_server import RoomServer


class Place:
    """Where a room answers WebSockets. hosts: where its connections came from, as the room was told."""

    def __init__(self, room: FeedId, port: int, *, secure: bool) -> None:
        self.port = port
        self.hosts: list[str] = []
        host = "localhost" if secure else "127.0.0.1"
        self.address = f"{'wss' if secure else 'ws'}://{host}:{port}/~shs:{encode_key(room.key)}"


@asynccontextmanager
async def websocket_of(room: RoomServer, tls: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[Place]:
    loop = asyncio.get_running_loop()
    made = websocket.protocol_class(lambda host: (place.hosts.append(host), room.take_connection(host))[1], **options)
    server = await loop.create_server(made, "127.0.0.1", 0, ssl=tls)
    place = Place(room.me.id, server.sockets[0].getsockname()[1], secure=tls is not None)
    try:
        yield place
    finally:
        server.close()


def upgrade(path: str = "/", **headers: str) -> tuple[ClientProtocol, bytes]:
    """A client's parser, and its request."""
    parser = ClientProtocol(parse_uri(f"ws://127.0.0.1{path}"))
    request = parser.connect()
    for name, value in headers.items():
        request.headers[name.replace("_", "-")] = value
    parser.send_request(request)
    return parser, b"".join(parser.data_to_send())


def masked(*frames: Frame) -> list[bytes]:
    return [frame.serialize(mask=True) for frame in frames]

"""Programs in a process of their own: our room, a server that only shakes hands, the target. See `processes.py`.

    python -m benchmarks.children room [uvloop]
    python -m benchmarks.children web
    python -m benchmarks.children handshakes
    python -m benchmarks.children target ADDRESS-OF-ROOM [direct]

Each prints one JSON line when it is ready, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from ssbfast.client.direct_paths import Direct
from ssbfast.client.room_client import RoomClient
from ssbfast.ids import NetworkId
from ssbfast.keys import Keypair
from ssbfast.net.api import Api
from ssbfast.net.endpoints import Endpoint, bind
from ssbfast.net.link import Link
from ssbfast.net.peer import Peer
from ssbfast.net.relay import Relay
from ssbfast.net.sockets import tune_transport
from ssbfast.net.stream import Stream
from ssbfast.room.tunnel_auth import AllowList
from ssbfast.server.room_server import RoomServer
from ssbfast.wire.handshake import ServerHandshake

NETWORK: Final = NetworkId(hashlib.sha256(b"ssbfast benchmark network").digest())
ITEMS: Final = 64
"""Different items of a bulk transfer; they come round and round."""


def keypair(name: str) -> Keypair:
    """The benchmarks' own identities."""
    return Keypair.from_seed(hashlib.sha256(f"ssbfast benchmark {name}".encode()).digest())


CALLER: Final = keypair("caller")
TARGET: Final = keypair("target")
ROOM: Final = keypair("room")


def items_of(size: int) -> list[bytes]:
    """What both ends know a bulk transfer of items of `size` bytes brings, in order."""
    content = hashlib.shake_128(b"ssbfast benchmark").digest(size * ITEMS)
    return [content[i * size : (i + 1) * size] for i in range(ITEMS)]


class Sink:
    """Serves bench.sink (counts, and compares each item with what it has to be), bench.received and bench.echo."""

    def __init__(self) -> None:
        self.api = Api()
        self._received = {"bytes": 0, "wrong": 0}
        self.api.sink("bench.sink")(self._sink)
        self.api.call("bench.received")(self._report)
        self.api.call("bench.echo")(self._echo)

    async def _sink(self, peer: Peer, stream: Stream, size: int) -> None:
        expected = items_of(size)
        count = wrong = 0
        async for item in stream:
            if item != expected[count % ITEMS]:
                wrong += 1
            count += 1
        self._received = {"bytes": count * size, "wrong": wrong}

    async def _report(self, peer: Peer) -> dict[str, int]:
        return self._received

    async def _echo(self, peer: Peer, value: Any) -> Any:
        return value


class _Inbound(Link):
    """A connection that comes straight to the target, without a room."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        tune_transport(transport)
        super().connection_made(transport)


async def run_room() -> None:
    """Our room, in Open mode, on a port of its own choice."""
    async with RoomServer(ROOM, network=NETWORK, listen=[Endpoint("127.0.0.1", 0)]) as room:
        await _ready(address=room.address)


async def run_room_with_web() -> None:
    """The same room with its web site and records, and an admin who is signed in: `cookie` is the browser's."""
    from ssbfast.room.codes import hash_of, new_code
    from ssbfast.room.roles import Role
    from ssbfast.server.web.client_address import LOOPBACK, Proxies
    from ssbfast.server.web.server import WebServer
    from ssbfast.server.web.site import Site
    from ssbfast.store.room_store import RoomStore

    admin, code = keypair("admin").id, new_code()
    with tempfile.TemporaryDirectory(prefix="ssbfast-bench-") as data, RoomStore(data) as records:
        records.add_member(admin, Role.ADMIN, by=None)
        records.add_web_session(hash_of(code) or b"", admin, "a browser", time.time())
        room = RoomServer(ROOM, network=NETWORK, listen=[Endpoint("127.0.0.1", 0)], records=records)
        sock = bind([Endpoint("127.0.0.1", 0)])[0]
        url = f"http://localhost:{sock.getsockname()[1]}"
        async with room, WebServer(Site(room, url, proxies=Proxies(LOOPBACK)), [sock]) as web:
            await _ready(address=room.address, web=web.port, cookie=f"ssb={code}")


async def run_handshakes() -> None:
    """A server that lets everybody in and has nothing to offer."""
    relay = Relay()

    def inbound() -> Link:
        return _Inbound(relay, ServerHandshake(ROOM, network=NETWORK, ephemeral=relay.ephemerals.take()), Peer())

    server = await asyncio.get_running_loop().create_server(inbound, "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    await _ready(address=f"net:127.0.0.1:{port}~shs:{base64.b64encode(ROOM.id.key).decode()}")
    server.close()


async def run_target(room: str, path: str = "tunnel") -> None:
    """A peer that is announced in a room, serves CALLER, and can be dialled by TCP as well.

    path: "direct" has its sessions leave the room.
    """
    api = Sink().api
    direct = Direct(loopback=True) if path == "direct" else None
    relay = Relay()
    loop = asyncio.get_running_loop()

    def inbound() -> Link:
        return _Inbound(relay, ServerHandshake(TARGET, network=NETWORK), Peer(api=api))

    server = await loop.create_server(inbound, "127.0.0.1", 0)
    friends = AllowList([CALLER.id])
    async with RoomClient(TARGET, network=NETWORK, admission=friends, api=api, direct=direct) as client:
        await client.join(room)
        await _ready(port=server.sockets[0].getsockname()[1])
    server.close()


async def _ready(**what: Any) -> None:
    print(json.dumps({"event": "ready", **what}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def main(args: list[str]) -> None:
    programs: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
        "room": run_room,
        "web": run_room_with_web,
        "handshakes": run_handshakes,
        "target": run_target,
    }
    run = asyncio.run
    if args[-1] == "uvloop":
        import uvloop

        run = uvloop.run
        args.pop()
    run(programs[args[0]](*args[1:]))


if __name__ == "__main__":
    main(sys.argv[1:])

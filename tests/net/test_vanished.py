"""A peer whose packets are dropped: no FIN, no RST, nothing. It lives in a network namespace of its own.

::

    this namespace ── room ── 10.213.N.1 (veth) ═══ (veth) 10.213.N.2 ── peer ── namespace
                                              set down, from the far side
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ssbfast import limits
from ssbfast.client.room_client import RoomClient
from ssbfast.keys import Keypair
from ssbfast.net.endpoints import Endpoint
from ssbfast.server.room_server import RoomServer
from tests.helpers.namespaces import built, ip

ROOT = Path(__file__).parents[2]
_PEER = """
import asyncio, sys
from ssbfast.client.room_client import RoomClient
from ssbfast.keys import Keypair

async def main():
    listed, idle = RoomClient(Keypair.from_seed(bytes(range(32)))), RoomClient(Keypair.generate())
    async with listed, idle:
        await listed.join(sys.argv[1])
        await idle.join(sys.argv[1], announce=False)
        print("joined", flush=True)
        await asyncio.sleep(1000)

asyncio.run(main())
"""


class Namespace:
    """A network namespace with one cable to us. here, there: the addresses of its ends."""

    def __init__(self) -> None:
        self.name = f"ssbf{os.getpid()}"
        self.cable = f"sf{os.getpid()}"
        self.here, self.there = (f"10.213.{os.getpid() % 251}.{last}" for last in (1, 2))

    def build(self) -> None:
        inside = ("netns", "exec", self.name, "ip")
        ip("netns", "add", self.name)
        ip("link", "add", self.cable, "type", "veth", "peer", "name", "far", "netns", self.name)
        ip("address", "add", f"{self.here}/30", "dev", self.cable)
        ip("link", "set", self.cable, "up")
        ip(*inside, "address", "add", f"{self.there}/30", "dev", "far")
        ip(*inside, "link", "set", "far", "up")

    def cut(self) -> None:
        """From now on nothing gets through, and nobody is told: packets to the far side are dropped on arrival."""
        ip("netns", "exec", self.name, "ip", "address", "flush", "dev", "far")

    def remove(self) -> None:
        for words in (("link", "delete", self.cable), ("netns", "delete", self.name)):
            subprocess.run(("ip", *words), check=False, capture_output=True)


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with built(Namespace()) as namespace:
        yield namespace


@pytest.mark.slow
@pytest.mark.nat
@pytest.mark.timeout(120)
async def test_a_vanished_peer_is_gone_from_the_list_within_a_minute(namespace: Namespace) -> None:
    events: list[dict[str, object]] = []
    me = Keypair.from_seed(bytes(range(32))).id
    room = RoomServer(Keypair.generate(), listen=[Endpoint(namespace.here, 0)], on_event=events.append)
    async with room, AsyncExitStack() as stack:
        process = await asyncio.create_subprocess_exec(
            *("ip", "netns", "exec", namespace.name, sys.executable, "-c", _PEER, room.address),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        try:
            assert process.stdout is not None
            assert await asyncio.wait_for(process.stdout.readline(), 30) == b"joined\n"
            assert room.portal.attendants() == [me]
            namespace.cut()
            client = await stack.enter_async_context(RoomClient(Keypair.generate()))
            await client.join(room.address)  # one is told of it, which nobody acknowledges; the other just idles
            loop = asyncio.get_running_loop()
            began = loop.time()
            while len(room.portal) > 1 and loop.time() < began + 60:
                await asyncio.sleep(0.1)
            assert room.portal.attendants() == [client.me.id] and len(room.portal) == 1
            assert loop.time() - began > limits.KEEPALIVE_IDLE / 2  # it was silence, not an end, that told
            assert [event["event"] for event in events] == ["listening", "joined", "joined", "left"]
            assert process.returncode is None
        finally:
            process.kill()
            await process.communicate()

"""Reach a friend's TCP service at a local port: use_service.py DIRECTORY ROOM TUNNEL_ADDRESS."""

import asyncio
import sys
from pathlib import Path

from ssbfast import ForwardListener, RoomClient, load_secret


async def main(directory, room_address, tunnel_address):
    me = load_secret(Path(directory) / "secret", create=True)
    async with (
        ForwardListener("127.0.0.1", 0) as listener,
        RoomClient(me) as client,
    ):
        await client.join(room_address, announce=False)
        peer = await client.connect(tunnel_address)
        listener.peer = peer
        host, port = listener.address
        print(f"http://{host}:{port}", flush=True)
        await peer.wait_closed()


asyncio.run(main(*sys.argv[1:]))

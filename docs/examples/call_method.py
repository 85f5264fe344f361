"""Call a friend's method: call_method.py SECRET ROOM TUNNEL_ADDRESS."""

import asyncio
import sys

from ssbfast import RoomClient, load_secret


async def main(secret, room_address, tunnel_address):
    me = load_secret(secret, create=True)
    async with RoomClient(me) as client:
        await client.join(room_address, announce=False)
        peer = await client.connect(tunnel_address)
        print(await peer.call("greet", "Carol"))


asyncio.run(main(*sys.argv[1:]))

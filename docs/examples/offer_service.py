"""Offer a local TCP service to those whom we follow: offer_service.py DIRECTORY ROOM PORT."""

import asyncio
import sys
from pathlib import Path

from ssbfast import Api, DenialLog, ForwardServer, RoomClient, StoreGraph, Trust, load_secret


async def main(directory, room_address, port):
    data = Path(directory)  # that of `ssbfast follow --data DIRECTORY`
    me = load_secret(data / "secret", create=True)
    trust = Trust(StoreGraph(data), denials=DenialLog(data))
    api = Api()
    try:
        async with (
            ForwardServer("127.0.0.1", int(port)) as service,
            RoomClient(me, trust=trust, api=api) as client,
        ):
            service.register(api)
            room = await client.join(room_address, wait=True)
            print(client.tunnel_address(room), flush=True)
            await room.wait_left()
    finally:
        await trust.close()


asyncio.run(main(*sys.argv[1:]))

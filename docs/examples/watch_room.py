"""Run a room and print its events, one JSON object a line: watch_room.py SECRET PORT."""

import asyncio
import json
import sys

from ssbfast import Endpoint, RoomServer, load_secret


def on_event(event):
    print(json.dumps(event), flush=True)


async def main(secret, port):
    me = load_secret(secret, create=True)
    async with RoomServer(me, listen=[Endpoint("127.0.0.1", int(port))], udp=(), on_event=on_event):
        await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))

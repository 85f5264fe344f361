"""The four kinds of muxrpc calls, served and called through a room: streams.py ROOM."""

import asyncio
import sys

from ssbfast import AllowList, Api, Keypair, RoomClient

api = Api()


@api.call("add")
async def add(peer, a, b):
    return a + b


@api.source("count")
async def count(peer, n):
    for number in range(n):
        yield number


@api.sink("collect")
async def collect(peer, stream):
    async for item in stream:
        print("collected", item)


@api.duplex("echo")
async def echo(peer, stream):
    async for item in stream:
        await stream.send(item)


async def main(room_address):
    server_keys = Keypair.generate()
    client_keys = Keypair.generate()
    only_client = AllowList([client_keys.id])
    async with (
        RoomClient(server_keys, admission=only_client, api=api) as server,
        RoomClient(client_keys) as client,
    ):
        await server.join(room_address)
        await client.join(room_address, announce=False)
        peer = await client.connect(server_keys.id)

        print("sum", await peer.call("add", 2, 3))

        async for number in peer.source("count", 3):
            print("counted", number)

        async with peer.sink("collect") as stream:
            await stream.send("one item")

        async with peer.duplex("echo") as stream:
            await stream.send({"text": "hello"})
            async for item in stream:
                print("echoed", item)
                break


asyncio.run(main(*sys.argv[1:]))

"""A room and two peers in one process: Carol reaches Alice through the room."""

import asyncio

from ssbfast import AllowList, Api, Endpoint, Keypair, RoomClient, RoomServer

api = Api()


@api.call("greet")
async def greet(peer, name):
    return f"hello {name}"


async def main():
    alice_keys = Keypair.generate()
    carol_keys = Keypair.generate()
    only_carol = AllowList([carol_keys.id])
    async with (
        RoomServer(Keypair.generate(), listen=[Endpoint("127.0.0.1", 0)]) as room,
        RoomClient(alice_keys, admission=only_carol, api=api) as alice,
        RoomClient(carol_keys) as carol,
    ):
        await alice.join(room.address)
        await carol.join(room.address)
        peer = await carol.connect(alice_keys.id)
        print(peer.id == alice_keys.id)
        print(await peer.call("greet", "Carol"))


asyncio.run(main())

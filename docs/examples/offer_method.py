"""Offer a method to one friend: offer_method.py SECRET ROOM FRIEND."""

import asyncio
import sys

from ssbfast import AllowList, Api, FeedId, RoomClient, load_secret

api = Api()


@api.call("greet")
async def greet(peer, name):
    return f"hello {name}, you are {peer.id}"


async def main(secret, room_address, friend):
    me = load_secret(secret, create=True)
    only_friend = AllowList([FeedId.parse(friend)])
    async with RoomClient(me, admission=only_friend, api=api) as client:
        room = await client.join(room_address)
        print(client.tunnel_address(room), flush=True)
        async for peer in client.incoming():
            print("let in", peer.id, flush=True)


asyncio.run(main(*sys.argv[1:]))

"""Two peers leave the room for a direct path: direct_path.py ROOM."""

import asyncio
import sys

from ssbfast import AllowList, Direct, Keypair, RoomClient


async def main(room_address):
    alice_keys = Keypair.generate()
    carol_keys = Keypair.generate()
    direct = Direct(loopback=True)  # loopback: both peers are on this machine
    path_changes = asyncio.Queue()

    def on_event(event):
        if event["event"] == "path":
            path_changes.put_nowait(event["path"])

    # Addresses are told only to peers that we follow or name, so each names the other.
    async with (
        RoomClient(alice_keys, admission=AllowList([carol_keys.id]), direct=direct) as alice,
        RoomClient(carol_keys, admission=AllowList([alice_keys.id]), direct=direct, on_event=on_event) as carol,
    ):
        await alice.join(room_address)
        await carol.join(room_address)
        peer = await carol.connect(alice_keys.id)
        print("begins on:", peer.path)
        print("now on:", await path_changes.get())
        print(peer.path == "direct", await peer.call("manifest") is not None)


asyncio.run(main(*sys.argv[1:]))

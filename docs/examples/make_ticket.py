"""Let in one more peer, by a ticket: make_ticket.py DIRECTORY ROOM."""

import asyncio
import sys
from pathlib import Path

from ssbfast import RoomClient, StoreGraph, Tickets, Trust, load_secret, parse_address


async def main(directory, room_address):
    data = Path(directory)
    me = load_secret(data / "secret", create=True)
    trust = Trust(StoreGraph(data))
    tickets = Tickets(me, data, name="home", on_paired=lambda paired: print("paired with", paired.id, flush=True))
    try:
        async with RoomClient(me, trust=trust, tickets=tickets) as client:
            room = await client.join(room_address, wait=True)
            print(await tickets.make(parse_address(room_address)[0], seconds=600), flush=True)
            await room.wait_left()
    finally:
        await tickets.close()
        await trust.close()


asyncio.run(main(*sys.argv[1:]))

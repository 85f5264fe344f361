"""`ssbfast attendants`: the peers in a room, without being listed there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssbfast.cli.nicknames import Nicknames, full_option
from ssbfast.cli.options import SECRET, peer_options, read_secret
from ssbfast.cli.peer_options import RoomAddress, in_room, room_option, stay_in
from ssbfast.cli.peer_output import PeerWords
from ssbfast.cli.standard_error import warn
from ssbfast.errors import SSBError
from ssbfast.ids import NetworkId

if TYPE_CHECKING:
    from ssbfast.cli.output import Printer
    from ssbfast.client.joined_room import JoinedRoom
    from ssbfast.keys import Keypair


@click.command()
@room_option()
@click.option("--watch", is_flag=True, help="Stay, and print each peer that joins or leaves.")
@full_option
@peer_options
def attendants(rooms: tuple[RoomAddress, ...], watch: bool, data: Path, network: NetworkId, as_json: bool) -> int:
    """List the peers that are in a room now.

    You are not listed yourself, except by rooms that list every peer that asks; a warning tells you. Without an
    identity in --data it uses a temporary one.

    \b
    Examples:
      ssbfast attendants --room net:room.example:8008~shs:KEY
      ssbfast attendants --room net:room.example:8008~shs:KEY --watch --json
    """
    from ssbfast.cli.runner import run_until_stopped

    me = _identity(data)

    async def work(printer: Printer) -> int:
        from ssbfast.client.room_client import RoomClient

        async with RoomClient(me, network=network, on_event=printer.event if watch else None) as client:
            if watch:
                how: dict[str, Any] = {"announce": False, "attendants": True}
                await stay_in(client, rooms, lambda room: _watch(room, printer), tell=printer.event, **how)
            for room in dict.fromkeys(rooms):
                try:
                    joined = await client.join(room.text, announce=False, attendants=True, stay=False)
                except SSBError as error:
                    raise in_room(room, error) from error
                await _list(joined, printer, names)
        return 0

    with Nicknames(data) as names:
        return run_until_stopped(work, as_json=as_json, words=PeerWords(show=names))


def _identity(data: Path) -> Keypair:
    from ssbfast.keys import Keypair

    return read_secret(data / SECRET) if os.path.lexists(data / SECRET) else Keypair.generate()


async def _list(room: JoinedRoom, printer: Printer, show: Callable[[str], str] = str) -> None:
    _look_at_list(room)
    present = sorted(room.attendants)
    title = f"Room {room.id}{f' ({room.name})' if room.name else ''}: {len(present)} present"
    found = [{"event": "attendant", "portal": str(room.id), "id": str(who)} for who in present]
    await printer.report(found, lambda event: f"  {show(event['id'])}", title=title)


async def _watch(room: JoinedRoom, printer: Printer) -> None:
    _look_at_list(room)
    async for change in room.changes():
        name = "joined" if change.present else "left"
        printer.event({"event": name, "portal": str(room.id), "id": str(change.id)})


def _look_at_list(room: JoinedRoom) -> None:
    """Warn of what is unusual about its list. Raises SSBError when we are not told it."""
    if room.is_listed:
        warn(f"room {room.id.short} lists every peer that reads its list, and so you for that time")
    elif room.is_external:
        raise SSBError(f"room {room.id.short}: it tells its members alone who is there")

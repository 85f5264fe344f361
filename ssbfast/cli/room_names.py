"""Rooms that are not given as addresses: those of peer.toml and the environment, and those that are named."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Final

from ssbfast.cli.options import has_store
from ssbfast.cli.peer_options import RoomAddress
from ssbfast.errors import BadInputError, WebSiteError
from ssbfast.wire.address import NetAddress, WebSocketAddress, parse_address

_NAME: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*(:[0-9]{1,5})?")


def configured_rooms() -> list[RoomAddress]:
    """Return the rooms that `ssbfast share` without arguments would join.

    Web invites are left out: which room they are for is known only when they are claimed. Raises BadInputError for a
    file with a mistake.
    """
    from ssbfast.cli.config import share_context
    from ssbfast.cli.config_file import loaded_config

    context = share_context()
    loaded = loaded_config(context)
    if loaded is not None:
        loaded.must_be_right()
    return [room for room in context.params["rooms"] if isinstance(room, RoomAddress)]


def read_room_or_name(text: str, data: Path) -> RoomAddress:
    """Return the room that an address or a name stands for.

    A name is HOST or HOST:PORT: of a room that we or our contacts are in, else of a room's web site, which is asked.
    Raises BadInputError.
    """
    name = text.strip().lower()
    if _NAME.fullmatch(name) is None:
        return RoomAddress.parse(text)
    known = {room.portal: room for room in _known(data) if name in _names_of(room)}
    if len(known) > 1:
        raise BadInputError(f"several rooms are called {name} here: give the room's address, as in --room ADDRESS")
    return next(iter(known.values())) if known else _ask(name)


def _known(data: Path) -> list[RoomAddress]:
    from ssbfast.store.peer_store import Store

    found = configured_rooms()
    if has_store(data):
        with Store(data, reading=True) as store:
            found += [RoomAddress.parse(one.room) for one in store.contacts() if one.room is not None]
    return found


def _names_of(room: RoomAddress) -> set[str]:
    ways = [one.transport for one in parse_address(room.text)]
    dialled = [way for way in ways if isinstance(way, NetAddress | WebSocketAddress)]
    return {name for way in dialled for name in (way.host.lower(), f"{way.host.lower()}:{way.port}")}


def _ask(name: str) -> RoomAddress:
    from ssbfast.client.room_sites import room_at

    try:
        return RoomAddress.parse(asyncio.run(room_at(name)))
    except WebSiteError as error:
        why = f"no room called {name} is known here, and {error}"
        raise BadInputError(f"{why}: give the room's address, as in --room ADDRESS") from None

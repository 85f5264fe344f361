"""`ssbfast alias`: names of peers in rooms. Show what one stands for; register, revoke and list one's own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ssbfast.cli.command_group import CommandGroup
from ssbfast.cli.nicknames import peer_argument
from ssbfast.cli.options import callback, json_option, peer_options, say
from ssbfast.cli.peer_options import Given, claim, in_room, load_me, parse_given
from ssbfast.errors import SSBError
from ssbfast.ids import NetworkId
from ssbfast.pasted.addresses import read_alias

if TYPE_CHECKING:
    from ssbfast.client.joined_room import JoinedRoom
    from ssbfast.client.room_client import RoomClient
    from ssbfast.ids import FeedId
    from ssbfast.pasted.web_links import AliasLink
    from ssbfast.wire.alias import Alias

T = TypeVar("T")


def _new(name: str) -> str:
    from ssbfast.client.aliases import new_alias

    return new_alias(name)


_room = click.argument("room", metavar="ROOM", callback=callback(parse_given))
_name = click.argument("name", metavar="NAME")


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
def alias() -> None:
    """Show, register and revoke aliases: names of peers in rooms.

    An alias is what people can say and type instead of an id: alice.room.example or room.example/alice. Whoever asks
    the room's web site for it learns your id and the room's address, signed by you.
    """


@alias.command()
@click.argument("link", metavar="ALIAS", callback=callback(read_alias))
@json_option
def show(link: AliasLink | Alias, as_json: bool) -> None:
    """Show what an alias stands for, once its signature is verified. Nobody is called but the room's web site.

    \b
    Examples:
      ssbfast alias show alice.room.example
      ssbfast alias show https://room.example/alice
    """
    from ssbfast.client.aliases import resolve_alias

    found = asyncio.run(resolve_alias(link))
    event = {
        "event": "alias",
        "alias": found.name,
        "id": str(found.user),
        "portal": str(found.room),
        "address": found.address,
        "url": found.url,
    }
    text = f"{found} is {found.user}\nin room {found.room}\nat {found.address}"
    say(event, text, as_json=as_json)


@alias.command()
@_room
@click.argument("name", metavar="NAME", callback=callback(_new))
@peer_options
def register(room: Given, name: str, data: Path, network: NetworkId, as_json: bool) -> None:
    """Register an alias of yours in a room where you are a member. Prints its web address.

    \b
    Example:
      ssbfast alias register net:room.example:8008~shs:KEY alice
    """

    async def work(client: RoomClient, joined: JoinedRoom) -> str:
        return await client.register_alias(joined, name)

    url = _in(room, work, data, network)
    say({"event": "alias", "alias": name, "url": url}, f"Registered: {url}", as_json=as_json)


@alias.command()
@_room
@_name
@peer_options
def revoke(room: Given, name: str, data: Path, network: NetworkId, as_json: bool) -> None:
    """Give up one of your aliases in a room. Links to it lead nowhere from then on."""

    async def work(client: RoomClient, joined: JoinedRoom) -> None:
        await client.revoke_alias(joined, name)

    _in(room, work, data, network)
    say({"event": "alias_revoked", "alias": name}, f"Revoked: {name}", as_json=as_json)


@alias.command("list")
@_room
@peer_argument("[@ID|NICK]", required=False)
@peer_options
def list_(room: Given, who: FeedId | None, data: Path, network: NetworkId, as_json: bool) -> None:
    """List your aliases in a room, or those of another peer there."""

    async def work(client: RoomClient, joined: JoinedRoom) -> list[str]:
        return await client.aliases(joined, who)

    names = _in(room, work, data, network)
    for name in names:
        say({"event": "alias", "alias": name}, name, as_json=as_json)
    if not names and not as_json:
        click.echo("There are no aliases.", err=True)


def _in(given: Given, work: Callable[[RoomClient, JoinedRoom], Awaitable[T]], data: Path, network: NetworkId) -> T:
    """Join a room without being listed, do something there, and leave."""
    me = load_me(data)
    (room,) = claim((given,), me.id)

    async def run() -> T:
        from ssbfast.client.room_client import RoomClient

        how: dict[str, Any] = {"announce": False, "attendants": False, "stay": False}
        async with RoomClient(me, network=network) as client:
            try:
                joined = await client.join(room.text, **how)
                return await work(client, joined)
            except SSBError as error:
                raise in_room(room, error) from error

    return asyncio.run(run())

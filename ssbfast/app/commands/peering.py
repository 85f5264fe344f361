"""What `listen`, `connect` and `attendants` have in common: rooms to join, and whom to trust."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ssbfast.app.commands.options import SECRET, callback, several
from ssbfast.errors import AddressError, BadInputError, HandshakeError, SSBError
from ssbfast.ids import FeedId, NetworkId
from ssbfast.room.trust import Policy
from ssbfast.wire.address import NetAddress, parse_address

if TYPE_CHECKING:
    from ssbfast.app.joined_room import JoinedRoom
    from ssbfast.app.room_client import RoomClient
    from ssbfast.app.trusting import Trust
    from ssbfast.keys import Keypair

Command = TypeVar("Command", bound=Callable[..., Any])

_EVERYONE: Final = "policy `everyone`: whoever knows your id may open tunnels, except those whom you block"


@dataclass(frozen=True, slots=True)
class RoomAddress:
    """A room as it was given. text: its address. portal: the room's id."""

    text: str
    portal: FeedId

    @classmethod
    def parse(cls, text: str) -> RoomAddress:
        """Raises AddressError for what is no address of a room, or has no way to dial it."""
        for alternative in parse_address(text):
            if isinstance(alternative.transport, NetAddress) and alternative.shs is not None:
                return cls(text, alternative.shs)
        raise AddressError("needs a net: address with the room's key (net:HOST:PORT~shs:KEY)", 0)


@dataclass(frozen=True, slots=True)
class TrustOptions:
    policy: Policy
    allow: tuple[FeedId, ...]
    ssb_server: str | None

    def __bool__(self) -> bool:
        """Whether any of them was given."""
        return self != TrustOptions(Policy.FOLLOWS, (), None)


def _ssb_server(text: str | None) -> str | None:
    return None if text is None else RoomAddress.parse(text).text  # both are net: addresses with a key


def room_option(*, required: bool = True) -> Callable[[Command], Command]:
    """--room, repeatable."""
    return click.option(
        "--room",
        "rooms",
        multiple=True,
        required=required,
        metavar="ADDRESS",
        callback=several(RoomAddress.parse),
        help="A room's address (net:HOST:PORT~shs:KEY) or invite; repeatable.",
    )


def trust_options(command: Command) -> Command:
    """--policy, --allow and --ssb-server; `trust_from` takes them out of the command's options."""
    for option in (
        click.option(
            "--ssb-server",
            metavar="ADDRESS",
            callback=callback(_ssb_server),
            help="Ask this ssb server whom it follows and blocks, instead of our own contacts.",
        ),
        click.option(
            "--allow", multiple=True, metavar="@ID", callback=several(FeedId.parse), help="Somebody else; repeatable."
        ),
        click.option(
            "--policy",
            type=click.Choice([policy.value for policy in Policy]),
            default=Policy.FOLLOWS.value,
            show_default=True,
            help="Who is welcome: whom you follow, only those of --allow, or everyone. Never those whom you block.",
        ),
    ):
        command = option(command)
    return command


def trust_from(options: dict[str, Any]) -> TrustOptions:
    return TrustOptions(Policy(options.pop("policy")), options.pop("allow"), options.pop("ssb_server"))


def load_me(data: Path) -> Keypair:
    """Our identity, made if there is none; but nothing is made beside a store that cannot be used."""
    from ssbfast.app.store import FILE, Store
    from ssbfast.keys import load_secret

    if (data / FILE).exists():
        Store(data).close()
    return load_secret(data / SECRET, create=True)


def open_trust(options: TrustOptions, data: Path, me: Keypair, network: NetworkId) -> Trust:
    """What decides over our tunnels. Says aloud when that is nobody. Raises BadInputError."""
    from ssbfast.app.denial_log import DenialLog
    from ssbfast.app.follow_graph import FollowGraph, StoreGraph
    from ssbfast.app.ssb_server_graph import SsbServerGraph
    from ssbfast.app.trusting import Trust

    if options.policy is Policy.ALLOW and not options.allow:
        raise BadInputError("--policy allow lets in nobody without --allow @ID")
    graph: FollowGraph
    if options.ssb_server is None:
        graph = StoreGraph(data)
    else:
        graph = SsbServerGraph(options.ssb_server, me, network=network)
    trust = Trust(graph, policy=options.policy, allowed=options.allow, denials=DenialLog(data))
    if options.policy is Policy.EVERYONE:
        warn(_EVERYONE)
    return trust


def warn(message: str) -> None:
    """Something that the user has to know, also when stdout is JSON for a program."""
    print(f"ssbfast: {message}", file=sys.stderr, flush=True)


async def enter(client: RoomClient, rooms: tuple[RoomAddress, ...], **how: Any) -> list[JoinedRoom]:
    """Join rooms, waiting for those that cannot be reached, and stay in them.

    how: options of `RoomClient.join`. A room that is none, or refuses us, is told and left out; raises what the last
    one said when that goes for all.
    """
    attempts = [asyncio.ensure_future(_enter(client, room, how)) for room in dict.fromkeys(rooms)]
    try:
        outcomes = await asyncio.gather(*attempts)
    finally:
        for attempt in attempts:
            attempt.cancel()
    joined = [room for room in outcomes if not isinstance(room, SSBError)]
    problems = [problem for problem in outcomes if isinstance(problem, SSBError)]
    if not joined:
        raise problems[-1]
    for problem in problems:
        warn(str(problem))
    return joined


async def _enter(client: RoomClient, room: RoomAddress, how: dict[str, Any]) -> JoinedRoom | SSBError:
    try:
        return await client.join(room.text, stay=True, wait=True, **how)
    except SSBError as error:
        hint = " (wrong key in its address, another network, or it refuses us)"
        return SSBError(f"room {room.portal.short}: {error}{hint if isinstance(error, HandshakeError) else ''}")


async def until_left(rooms: list[JoinedRoom]) -> None:
    """Wait until every room has been left for good. Raises SSBError: the program has nothing to do any more."""
    await asyncio.gather(*(room.wait_left() for room in rooms))
    raise SSBError("no room is left")

"""The options that `listen`, `connect` and `attendants` share: rooms to join, and trust."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias, TypeVar

import click

from ssbfast import limits
from ssbfast.cli.nicknames import peers_option
from ssbfast.cli.options import SECRET, callback, has_store, read_secret, several
from ssbfast.cli.standard_error import warn
from ssbfast.errors import BadInputError, BusyError, HandshakeError, SSBError
from ssbfast.ids import FeedId, NetworkId
from ssbfast.pasted.addresses import read_room, read_room_or_invite
from ssbfast.pasted.web_links import InviteLink
from ssbfast.room.tunnel_auth import Policy

if TYPE_CHECKING:
    from ssbfast.cli.output import Event
    from ssbfast.client.joined_room import JoinedRoom
    from ssbfast.client.room_client import RoomClient
    from ssbfast.client.tunnel_auth import Trust
    from ssbfast.keys import Keypair

Command = TypeVar("Command", bound=Callable[..., Any])

_EVERYONE: Final = "policy `everyone`: every peer that knows your id may open tunnels, except those that you block"


@dataclass(frozen=True, slots=True)
class RoomAddress:
    """The address of a room that was given. text: its address. portal: the room's id."""

    text: str
    portal: FeedId

    @classmethod
    def parse(cls, text: str) -> RoomAddress:
        """Read it as it was pasted. Raises BadInputError for what is no address of a room, or cannot be dialled."""
        return cls(*read_room(text))


Given: TypeAlias = RoomAddress | InviteLink
"""A room as it was given: its address, or a web invite."""


def parse_given(text: str) -> Given:
    """Read a room's address or a web invite. Raises BadInputError."""
    found = read_room_or_invite(text)
    return found if isinstance(found, InviteLink) else RoomAddress(*found)


def claim(rooms: Sequence[Given], me: FeedId) -> tuple[RoomAddress, ...]:
    """Claim the web invites among rooms, for our id; return the addresses of all. Raises InviteError."""
    return tuple(_claimed(room, me) if isinstance(room, InviteLink) else room for room in rooms)


def _claimed(invite: InviteLink, me: FeedId) -> RoomAddress:
    from ssbfast.client.web_invites import claim_invite

    room = RoomAddress.parse(asyncio.run(claim_invite(invite, me)))
    warn(f"you are a member of room {room.portal} now; the invite is used up, so from now on: --room {room.text}")
    return room


@dataclass(frozen=True, slots=True)
class TrustOptions:
    policy: Policy
    allow: tuple[FeedId, ...]
    ssb_server: str | None

    def __bool__(self) -> bool:
        """Return whether any of them was given."""
        return self != TrustOptions(Policy.FOLLOWS, (), None)

    def check(self) -> None:
        """Check the options; raise BadInputError for those that do not go together."""
        if self.policy is Policy.ALLOW and not self.allow:
            raise BadInputError("--policy allow lets in nobody without --allow @ID")


def _ssb_server(text: str | None) -> str | None:
    return None if text is None else RoomAddress.parse(text).text  # both are net: addresses with a key


def room_option(*, required: bool = True, invites: bool = False) -> Callable[[Command], Command]:
    """Add --room, repeatable. invites: also take web invites, which `claim` then claims."""
    form = "A room's address (net:HOST:PORT~shs:KEY, wss:…)"
    return click.option(
        "--room",
        "rooms",
        multiple=True,
        required=required,
        metavar="ADDRESS",
        callback=several(parse_given if invites else RoomAddress.parse),
        help=f"{form} or invite{', https:…/join?invite=… as well' if invites else ''}; repeatable.",
    )


def trust_options(command: Command) -> Command:
    """Add --policy, --allow and --ssb-server; `trust_from` takes them out of the command's options."""
    for option in (
        click.option(
            "--ssb-server",
            metavar="ADDRESS",
            callback=callback(_ssb_server),
            help="Ask this ssb server for follows and blocks, instead of our own contacts.",
        ),
        peers_option("--allow", help="Let in this peer too"),
        click.option(
            "--policy",
            type=click.Choice([policy.value for policy in Policy]),
            default=Policy.FOLLOWS.value,
            show_default=True,
            help="The peers that may connect: those that you follow, only those of --allow, or everyone. Blocked peers"
            " never may.",
        ),
    ):
        command = option(command)
    return command


def trust_from(options: dict[str, Any]) -> TrustOptions:
    return TrustOptions(Policy(options.pop("policy")), options.pop("allow"), options.pop("ssb_server"))


def load_me(data: Path) -> Keypair:
    """Return our identity, made if there is none; but nothing is made beside a store that cannot be used."""
    from ssbfast.store.peer_store import Store

    if has_store(data):
        with Store(data) as store:
            store.check()
    return read_secret(data / SECRET, create=True)


def open_trust(options: TrustOptions, data: Path, me: Keypair, network: NetworkId) -> Trust:
    """Return what decides over our tunnels. Warns when no peer is kept out. Raises BadInputError."""
    from ssbfast.client.denial_log import DenialLog
    from ssbfast.client.follow_graph import FollowGraph, StoreGraph
    from ssbfast.client.ssb_server_graph import SsbServerGraph
    from ssbfast.client.tunnel_auth import Trust

    server = options.ssb_server
    graph: FollowGraph
    graph = StoreGraph(data, report=warn) if server is None else SsbServerGraph(server, me, network=network)
    trust = Trust(graph, policy=options.policy, allowed=options.allow, denials=DenialLog(data, report=warn))
    if options.policy is Policy.EVERYONE:
        warn(_EVERYONE)
    return trust


async def stay_in(
    client: RoomClient,
    rooms: tuple[RoomAddress, ...],
    work: Callable[[JoinedRoom], Awaitable[None]],
    *,
    tell: Callable[[Event], None],
    **how: Any,
) -> NoReturn:
    """Stay in rooms that do not change, as `RoomsToStay` does. Raises SSBError when all of them refuse us."""
    stays = RoomsToStay(client, work, tell=tell, **how)
    stays.only(rooms)
    await stays.keep()


class RoomsToStay:
    """Rooms that we stay in, and do `work` in each; those that cannot be reached are waited for.

    tell: gets an event `reconnecting` when a room is none, or refuses us; it is asked again later. how: options of
    `RoomClient.join`.
    """

    def __init__(
        self,
        client: RoomClient,
        work: Callable[[JoinedRoom], Awaitable[None]],
        *,
        tell: Callable[[Event], None],
        **how: Any,
    ) -> None:
        self._client = client
        self._work = work
        self._tell = tell
        self._how = how
        self._staying: dict[RoomAddress, asyncio.Task[None]] = {}
        self._joined: dict[RoomAddress, JoinedRoom] = {}
        self._refusing: set[RoomAddress] = set()
        self._leaving: set[asyncio.Task[None]] = set()
        self._problem: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def rooms(self) -> tuple[RoomAddress, ...]:
        """Return the rooms to stay in."""
        return tuple(self._staying)

    def only(self, rooms: Iterable[RoomAddress]) -> None:
        """Stay in these rooms from now on, and leave the others."""
        wanted, loop = dict.fromkeys(rooms), asyncio.get_running_loop()
        for room in [room for room in self._staying if room not in wanted]:
            self._refusing.discard(room)
            task = loop.create_task(_leave(self._staying.pop(room), self._joined.pop(room, None)))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        for room in wanted:
            if room not in self._staying:
                self._staying[room] = loop.create_task(self._stay(room))
                self._staying[room].add_done_callback(self._failed)

    async def keep(self) -> NoReturn:
        """Wait. Raises SSBError, with what the last room said, when all of them refuse us."""
        try:
            await self._problem
        finally:
            await cancelled([*self._staying.values(), *self._leaving])
        raise SSBError("no room to stay in")

    async def _stay(self, room: RoomAddress) -> None:
        told = ""
        while True:
            try:
                await self._stay_once(room)
            except SSBError as error:
                self._refusing.add(room)
                if len(self._refusing) == len(self._staying):
                    raise in_room(room, error) from error
                if told != str(error):
                    told = str(error)
                    warn(str(in_room(room, error)))
                self._tell(_refused(self._client, room, error))
                await asyncio.sleep(limits.RECONNECT_REFUSED)

    async def _stay_once(self, room: RoomAddress) -> NoReturn:
        """Join a room and stay in it. Raises SSBError when it refuses us, or when it was left for good."""
        joined = await self._client.join(room.text, stay=True, wait=True, **self._how)
        self._refusing.discard(room)
        self._joined[room] = joined
        try:
            await self._work(joined)
            await joined.wait_left()
        except SSBError:
            await joined.leave()
            raise
        raise SSBError("left for good")

    def _failed(self, staying: asyncio.Task[None]) -> None:
        if not staying.cancelled() and not self._problem.done():
            self._problem.set_exception(staying.exception() or SSBError("no room to stay in"))


async def _leave(staying: asyncio.Task[None], joined: JoinedRoom | None) -> None:
    await cancelled([staying])
    if joined is not None:
        await joined.leave()


def in_room(room: RoomAddress, error: SSBError) -> SSBError:
    """Return an error with the room's name in front, and what may be behind it."""
    return SSBError(f"room {room.portal.short}: {_meaning(error)}")


def _meaning(error: SSBError) -> str:
    if isinstance(error, BusyError):
        return f"{error}; try again in a while"
    if isinstance(error, HandshakeError):
        return f"{error} (wrong key in its address, another network, or it refuses us)"
    return str(error)


def _refused(client: RoomClient, room: RoomAddress, error: SSBError) -> Event:
    return {
        "event": "reconnecting",
        "portal": str(room.portal),
        "id": str(client.me.id),
        "address": room.text,
        "reason": _meaning(error),
        "seconds": limits.RECONNECT_REFUSED,
    }


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """Do several things until one of them fails, or all are done; raises what the first one raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        await cancelled(tasks)


async def first_of(*works: Coroutine[Any, Any, int]) -> int:
    """Do several things until one of them is done; return its exit code, or raise what it raises."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        await cancelled(tasks)


async def cancelled(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel tasks and wait for their ends."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

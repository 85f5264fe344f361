"""Reaching services of friends, for `connect`, `open` and `denials --connect`: what they do with their options.

A tunnel is kept open to each friend, and every connection to a local address goes through it to one service.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ssbfast import limits
from ssbfast.cli.local_ends import ListenerMaker, LocalEnds, Wanted
from ssbfast.cli.nicknames import Nicknames
from ssbfast.cli.options import OWN_ID, PORTS, callback, connections_option, data_flag, data_home, parse_place
from ssbfast.cli.path_options import Paths, path_options
from ssbfast.cli.peer_options import (
    Command,
    Given,
    RoomAddress,
    TrustOptions,
    claim,
    first_of,
    load_me,
    open_trust,
    room_option,
    stay_in,
    together,
    trust_options,
)
from ssbfast.cli.peer_output import PeerWords
from ssbfast.cli.resolve_target import Parsed, Target, look_up, parse, resolve, split_service
from ssbfast.errors import AliasError, BadInputError, SessionEndedError
from ssbfast.ids import FeedId, NetworkId
from ssbfast.net.endpoints import Place, UdpEndpoint
from ssbfast.pasted.web_links import AliasLink, InviteLink

if TYPE_CHECKING:
    from ssbfast.cli.output import Event, Printer
    from ssbfast.client.joined_room import JoinedRoom
    from ssbfast.client.room_client import RoomClient
    from ssbfast.net.control_socket import Handler

_QUIET: Final = frozenset({"waiting", "reconnecting", "forward_problem", "denied", "away", "back"})
"""Events that `--stdio` tells: only why nothing comes."""

_TO_END: Final = "Ctrl-C ends it, in ssh: Enter ~ ."


def calling_options(*, bind: str) -> Callable[[Command], Command]:
    """Add --room, --bind, --anyway, --connections, and the options for trust and paths. bind: the help of --bind."""

    def decorate(command: Command) -> Command:
        at = click.option("--bind", metavar="HOST:PORT", callback=callback(parse_place), help=bind)
        anyway = click.option("--anyway", is_flag=True, help="Dial even if you do not follow the target, or block it.")
        room = room_option(required=False, invites=True)  # an alias says where its room is, and a contact
        return room(at(anyway(connections_option(trust_options(path_options(command))))))

    return decorate


def run_calls(
    texts: Sequence[str],
    *,
    data: Path,
    network: NetworkId,
    as_json: bool,
    rooms: tuple[Given, ...],
    bind: Place | None,
    anyway: bool,
    connections: int | None,
    trust: TrustOptions,
    paths: Paths,
    only: FeedId | None = None,
    stdio: bool = False,
) -> int:
    """Keep tunnels to what `texts` name, and carry every local connection through them. Returns the exit code.

    bind: where all of them are found; None: at their own ports. only: the one peer that it may be. stdio: carry stdin
    and stdout, instead of connections. Raises BadInputError before anything is dialled, made or changed.
    """
    from ssbfast.cli.runner import run_until_stopped

    parsed = [(text, parse(head, data), service) for text in texts for head, service in (split_service(text),)]
    for _text, found, _service in parsed:
        if not rooms and not isinstance(found, AliasLink) and (not isinstance(found, Target) or found.room is None):
            raise click.UsageError("Missing option '--room'.")
    if isinstance(bind, UdpEndpoint) and any(service is None for *_, service in parsed):
        raise BadInputError("a UDP service is reached by its name, as home/wg")
    trust.check()
    paths.check()
    wanted, known = [], dict[RoomAddress, None]()
    given = _given(rooms, data)
    for text, found, service in parsed:
        target, there = _find(found, given, data, network)
        if only not in (None, target.who):
            raise AliasError("the alias is another peer's now")
        portals = {way.portal for way in target.ways} or {room.portal for room in there}
        known |= dict.fromkeys(room for room in there if room.portal in portals)  # others need not know of us
        wanted.append(Wanted(text, target, service, bind))
    with Nicknames(data) as names:
        call = _Call(
            tuple(wanted),
            data=data,
            network=network,
            rooms=tuple(known),
            anyway=anyway,
            connections=connections,
            trust=trust,
            paths=paths,
            stdio=stdio,
            show=names,
            command=click.get_current_context().info_name or "connect",
        )
        output = sys.stderr if stdio else sys.stdout
        words = PeerWords(data_flag(data), names, _TO_END if stdio else "")
        return run_until_stopped(call.run, as_json=as_json, words=words, output=output)


def _given(rooms: tuple[Given, ...], data: Path) -> tuple[RoomAddress, ...]:
    """Return the rooms that were given; invites are claimed. Raises InviteError."""
    if any(isinstance(room, InviteLink) for room in rooms):
        return claim(rooms, load_me(data).id)
    return tuple(room for room in rooms if isinstance(room, RoomAddress))


def _find(
    parsed: Parsed, rooms: tuple[RoomAddress, ...], data: Path, network: NetworkId
) -> tuple[Target, tuple[RoomAddress, ...]]:
    """Return the target, and the rooms to look for it in. Raises BadInputError, AliasError."""
    found = look_up(parsed) if isinstance(parsed, AliasLink) else parsed
    if isinstance(found, Target) and found.room is not None and not rooms:
        rooms = (found.room,)
    return (found if isinstance(found, Target) else resolve(found, rooms, data, network)).through(rooms), rooms


@dataclass(frozen=True, slots=True)
class _Call:
    wanted: tuple[Wanted, ...]
    data: Path
    network: NetworkId
    rooms: tuple[RoomAddress, ...]
    anyway: bool
    connections: int | None
    trust: TrustOptions
    paths: Paths
    stdio: bool
    show: Callable[[str], str]
    command: str

    async def run(self, printer: Printer) -> int:
        from ssbfast.client.control_socket import ControlSocket
        from ssbfast.client.port_claims import PortClaims
        from ssbfast.client.room_client import RoomClient

        tell = _quietly(printer.event) if self.stdio else printer.event
        async with contextlib.AsyncExitStack() as stack:
            claims = PortClaims(data_home(PORTS))
            stack.callback(claims.close)
            make = ListenerMaker(self.connections or limits.FORWARDS_PER_PEER, tell, stack, claims)
            friends = [LocalEnds(wanted, make, only_direct=self.paths.only_direct) for wanted in self._by_peer()]
            carried = await friends[0].carry_stdio() if self.stdio else None
            for friend in friends:
                await friend.listen()
            me = load_me(self.data)
            if any(wanted.target.who == me.id for wanted in self.wanted):
                raise BadInputError(OWN_ID)
            trust = open_trust(self.trust, self.data, me, self.network)
            stack.push_async_callback(trust.close)

            def on_event(event: Event) -> None:
                tell(event)
                for friend in friends:
                    friend.gate.event_received(event)

            direct = await self.paths.open(after=limits.DIRECT_AFTER_SECONDS if self.stdio else 0.0)
            client = RoomClient(me, network=self.network, trust=trust, direct=direct, on_event=on_event)
            control = await stack.enter_async_context(ControlSocket.beside(self.data, self.command))
            await stack.enter_async_context(client)
            control.serve(client, lend=None if self.stdio else self._lend(stack, client))
            if not self.stdio:
                printer.text(f"You are {me.id}")
                for friend in friends:
                    friend.introduce(printer, self.show)
            keeping = self._keep(client, friends, tell)
            if carried is None:
                await keeping
                return 0
            try:
                return await first_of(carried.wait_over(), keeping)
            except SessionEndedError as error:
                raise SessionEndedError(f"{error}{friends[0].why_closed}") from None

    def _lend(self, stack: contextlib.AsyncExitStack, client: RoomClient) -> Handler | None:
        from ssbfast.cli.lending import lending

        return lending(stack, client, self.data, self.network, self.trust, self.paths, anyway=self.anyway)

    async def _keep(self, client: RoomClient, friends: list[LocalEnds], tell: Callable[[Event], None]) -> int:
        """Keep a tunnel to each friend. Raises SSBError when one cannot be kept."""
        from ssbfast.cli.persistent_tunnel import PersistentTunnel

        tunnels = [
            PersistentTunnel(
                client,
                friend.target,
                anyway=self.anyway,
                on_opened=friend.session_opened,
                on_event=tell,
                flag=data_flag(self.data),
            )
            for friend in friends
        ]

        async def watch(room: JoinedRoom) -> None:
            await together(*(tunnel.watch(room) for tunnel in tunnels))

        staying = stay_in(client, self.rooms, watch, tell=tell, announce=False, attendants=True)
        works = [work for friend in friends for work in (friend.find(), friend.gate.failed())]
        await together(staying, *(tunnel.keep() for tunnel in tunnels), *works)
        return 0

    def _by_peer(self) -> list[list[Wanted]]:
        found: dict[FeedId, list[Wanted]] = {}
        for wanted in self.wanted:
            found.setdefault(wanted.target.who, []).append(wanted)
        return list(found.values())


def _quietly(tell: Callable[[Event], None]) -> Callable[[Event], None]:
    return lambda event: tell(event) if event["event"] in _QUIET else None

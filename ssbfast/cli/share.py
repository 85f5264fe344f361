"""`ssbfast share`: offer services by name to friends, and let new ones in by a ticket."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ssbfast import limits
from ssbfast.cli.config_file import (
    USER,
    ConfiguredCommand,
    TableArgument,
    TableOption,
    config_option,
    is_from_file,
    key_of,
    loaded_config,
    name_of,
    read_again,
    user_file,
    user_path,
)
from ssbfast.cli.failures import failure_of
from ssbfast.cli.invitation import invitation, invitation_in_words, ticket_event, words_event
from ssbfast.cli.nicknames import Nicknames, UnknownNicknameError, find_peer, full_option, name_option
from ssbfast.cli.offering import Offer
from ssbfast.cli.options import OWN_ID, connections_option, data_flag, peer_options, several
from ssbfast.cli.output import in_utc
from ssbfast.cli.path_options import PATH_PARAMETERS, path_options, paths_from
from ssbfast.cli.peer_options import Given, TrustOptions, claim, load_me, room_option
from ssbfast.cli.peer_output import PeerWords
from ssbfast.cli.standard_error import warn
from ssbfast.cli.terminal_text import Meaning
from ssbfast.errors import BadInputError, SSBError
from ssbfast.ids import FeedId, NetworkId
from ssbfast.net.endpoints import Endpoint, Place, UdpEndpoint, show_place
from ssbfast.room.tunnel_auth import Policy
from ssbfast.wire.pairing import is_name
from ssbfast.wire.words import check_words

if TYPE_CHECKING:
    from ssbfast.cli.output import Printer
    from ssbfast.client.joined_room import JoinedRoom
    from ssbfast.client.pairing import Tickets
    from ssbfast.net.forward.service import Service
    from ssbfast.net.forward.tcp_server import ServiceServer


def _named_place(text: str) -> tuple[str, Place]:
    from ssbfast.pasted.endpoint import read_place

    name, equals, place = text.partition("=")
    if not equals or not is_name(name):
        raise BadInputError(f"it reads NAME=HOST:PORT or NAME=PORT, with a name of a-z, 0-9 and -: {text[:60]!r}")
    found = read_place(place)
    if isinstance(found, Endpoint) and not found.port:
        raise BadInputError("port 0 cannot be dialled: give the service's own, as in web=127.0.0.1:8000")
    return name, found


CONFIG: Final = "peer.toml"
"""The file of options in the user's folder of configuration."""


class _FriendsOption(TableOption):
    """In the file `db = ["laptop", "phone"]` below `[for]`, which is `--for laptop,phone:db`."""

    def text_of(self, name: str, value: object) -> str:
        friends = value if isinstance(value, list) else [value]
        if not all(isinstance(friend, str) for friend in friends):
            raise BadInputError("a list of friends in quotes, by nickname or id, is needed here")
        return f"{','.join(map(str, friends))}:{name}"


@click.command(cls=ConfiguredCommand, prefix="SSBFAST_PEER")
@click.argument("services", cls=TableArgument, metavar="[NAME=HOST:PORT]...", nargs=-1, callback=several(_named_place))
@config_option(lambda: user_file(CONFIG), f"{USER}/{CONFIG}")
@room_option(invites=True, required=False)
@click.option(
    "--for",
    "friends",
    cls=_FriendsOption,
    multiple=True,
    metavar="NICK,…[:NAME,…]",
    help="Only these friends may use these services, or all of them; repeatable.",
)
@click.option("--no-ticket", is_flag=True, help="Make no ticket: only peers that you follow already get in.")
@click.option("--words", "in_words", is_flag=True, help="Make a ticket in three words, to be read out.")
@connections_option
@path_options
@name_option
@full_option
@peer_options
def share(
    services: tuple[tuple[str, Place], ...],
    rooms: tuple[Given, ...],
    friends: tuple[str, ...],
    no_ticket: bool,
    in_words: bool,
    connections: int | None,
    name: str | None,
    data: Path,
    network: NetworkId,
    as_json: bool,
    config: Path | None,
    **more: Any,
) -> int:
    """Offer services by name to your friends, and print a ticket that lets in one more friend.

    A service is NAME=HOST:PORT, NAME=PORT for this machine, NAME=unix:PATH, or NAME=udp:HOST:PORT. The friend runs
    `ssbfast pair TICKET` once, then `ssbfast open NICK/NAME`. A service that a friend may not use looks to it as if it
    did not exist.
    Each option can stand in a file (--config), the services below `[services]`, and in the environment:
    SSBFAST_PEER_ROOM is --room. On SIGHUP it reads the file again: no session ends.

    \b
    Examples:
      ssbfast share
      ssbfast share jellyfin=8096 ssh=22 --room net:room.example:8008~shs:KEY
      ssbfast share db=unix:/run/db.sock web=8000 --room ROOM --for laptop:db
      ssbfast share ssh=22 wg=udp:51820 --room ROOM --for laptop,phone --no-ticket
      ssbfast share web=8000 --room ROOM --words
    """
    from ssbfast.cli.runner import run_until_stopped

    if in_words:
        if no_ticket:
            raise click.UsageError("--words makes a ticket, --no-ticket none: one of the two")
        check_words()
    paths = paths_from(more)
    offered = planned(may_lack_friends=True)
    me = load_me(data)
    _keep_out(me.id, offered)
    trust = TrustOptions(Policy.FOLLOWS, (), None)
    offer = Offer("share", me, data, network, claim(rooms, me.id), offered, connections, name, trust, paths)
    sharing = _Sharing(offer, with_ticket=not no_ticket, in_words=in_words, context=click.get_current_context())
    with Nicknames(data) as names:
        return run_until_stopped(
            sharing.run,
            as_json=as_json,
            words=PeerWords(data_flag(data), names),
            hangup=None if loaded_config() is None else sharing.hang_up,
        )


def planned(*, needs_room: bool = True, may_lack_friends: bool = False) -> tuple[Service, ...]:
    """Return the services of the running command; all that can be checked before anything is made is right.

    needs_room: whether it is a mistake that no room is given. may_lack_friends: whether it is none that the file calls
    a friend by no contact's name, which may have been forgotten since: then no peer gets in by it, and the user is
    warned. Raises BadInputError.
    """
    loaded = loaded_config()
    if loaded is not None:
        loaded.must_be_right()
    given = click.get_current_context().params
    file = user_path(CONFIG) if loaded is None else loaded.path
    if not given["services"]:
        raise BadInputError(f"no service is given: NAME=HOST:PORT, or below [services] in {file}")
    if needs_room and not given["rooms"]:
        raise BadInputError(f"no room is given: --room ADDRESS, or room = ... in {file}; ssbfast room runs one")
    paths_from({key: given[key] for key in PATH_PARAMETERS}).check()
    return _offered(given["services"], given["friends"], given["data"], may_lack_friends=may_lack_friends)


def _keep_out(me: FeedId, offered: tuple[Service, ...]) -> None:
    if any(service.friends is not None and me in service.friends for service in offered):
        raise BadInputError(OWN_ID)


def _offered(
    places: tuple[tuple[str, Place], ...], friends: tuple[str, ...], data: Path, *, may_lack_friends: bool
) -> tuple[Service, ...]:
    """Return the services with their friends. Raises BadInputError."""
    from ssbfast.net.forward.service import Service, ServiceTable

    context = click.get_current_context()
    may_be_others = is_from_file(context, "friends") and not is_from_file(context, "services")
    may_lack_friends = may_lack_friends and is_from_file(context, "friends")
    allowed: dict[str, set[FeedId]] = {}
    known = [name for name, _place in places]
    missing: dict[str, None] = {}
    for index, text in enumerate(friends):
        peers, colon, names = text.partition(":")
        who: set[FeedId] = set()
        for peer in peers.split(","):
            try:
                who.add(find_peer(peer, data))
            except BadInputError as error:
                if not may_lack_friends or not isinstance(error, UnknownNicknameError):
                    raise BadInputError(f"{name_of('friends', index)}: {error}") from error
                missing[peer.strip()] = None
        for name in names.split(",") if colon else known:
            if name not in known and not may_be_others:
                raise BadInputError(f"{name_of('friends', index)}: no service is called {name[:60]!r}")
            allowed.setdefault(name, set()).update(who)
    services = tuple(
        Service(place, name, frozenset(allowed[name]) if name in allowed else None) for name, place in places
    )
    ServiceTable(services)  # which raises for names that stand there twice, before anything is made
    if missing:
        warn(f"no contact is called {', '.join(missing)}: [for] lets no peer in by that name")
    return services


class _Sharing:
    """Show the services, whether each answers, and a ticket; and change what SIGHUP changes.

    in_words: the ticket is in words, which wait for the room. context: that of the command.
    """

    def __init__(self, offer: Offer, *, with_ticket: bool, in_words: bool, context: click.Context) -> None:
        self.offer = offer
        self.in_words = in_words
        self.with_ticket = with_ticket
        self._context = context
        self._has_terminal = _has_terminal()
        self._running: tuple[Printer, ServiceServer] | None = None
        self._is_due = False
        self._showing: asyncio.Task[None] | None = None

    async def run(self, printer: Printer) -> int:
        def serving(server: ServiceServer) -> None:
            self._running = printer, server
            if self._is_due:
                self.hang_up()

        async def joined(room: JoinedRoom, tickets: Tickets | None) -> None:
            if self.in_words and tickets is not None and room.id == self.offer.rooms[0].portal:
                await self._invite_in_words(printer, tickets, room)

        return await self.offer.run(printer, self.begin, serving=serving, joined=joined)

    async def begin(self, printer: Printer, tickets: Tickets | None) -> None:
        printer.text(f"You are {self.offer.me.id}")
        if self._running is not None:
            await _show(printer, self._running[1], self.offer.services)
        if tickets is not None and self.with_ticket and not self.in_words:
            await self._invite(printer, tickets)
        printer.text(("Ctrl-C ends it.", Meaning.DIM))

    def hang_up(self) -> bool:
        """Read the options again; return False when it was our terminal that is gone."""
        if self._has_terminal and not _has_terminal():
            return False
        self._is_due = self._running is None
        if self._running is not None:
            printer, server = self._running
            try:
                self._read_again(printer, server)
            except (click.ClickException, SSBError) as error:
                reason = failure_of(error).message
                warn(f"the options are as before: {reason}")
                if printer.as_json:
                    printer.event({"event": "reread_failed", "reason": reason})
        return True

    def _read_again(self, printer: Printer, server: ServiceServer) -> None:
        again = read_again(self._context)
        with again.scope(cleanup=False):
            services = planned(may_lack_friends=True)
        _keep_out(self.offer.me.id, services)
        before = server.services
        server.replace(services)
        added = [one for one in services if (one.name, one.place) not in {(old.name, old.place) for old in before}]
        kept = {one.name for one in services} - {one.name for one in added}
        printer.event(
            {
                "event": "reread",
                "services": [one.name for one in services],
                "added": [one.name for one in added],
                "removed": [old.name for old in before if old.name not in kept],
            }
        )
        others = [key_of(one) for one in again.command.params if self._differs(one.name, again)]
        if others:
            warn(f"{', '.join(others)}: changes take effect when it is started again")
        if added:
            self._showing = asyncio.ensure_future(_show(printer, server, added))

    def _differs(self, parameter: str | None, again: click.Context) -> bool:
        name = parameter or ""
        return name not in ("services", "friends") and again.params.get(name) != self._context.params.get(name)

    async def _invite(self, printer: Printer, tickets: Tickets) -> None:
        """Make a ticket. Without one the services are offered all the same."""
        from ssbfast.client.pairing import room_of_tickets

        try:
            ticket = await tickets.make(room_of_tickets(self.offer.rooms[0].text))
        except SSBError as error:
            warn(f"no ticket was made: {error}")
            return
        printer.text(*invitation(ticket, limits.TICKET_SECONDS))
        if printer.as_json:
            printer.event(ticket_event(ticket))

    async def _invite_in_words(self, printer: Printer, tickets: Tickets, room: JoinedRoom) -> None:
        """Make a ticket in words. Without one the services are offered all the same."""
        try:
            words, ticket = await tickets.make_words(room)
        except SSBError as error:
            warn(f"no ticket was made: {error}")
            return
        event = await words_event(str(words), str(ticket.room), in_utc(ticket.ends))
        printer.text(*invitation_in_words(event, limits.TICKET_SECONDS))
        if printer.as_json:
            printer.event(event)


def _in_capitals(problem: str) -> str:
    """Return why a service does not answer, so that it is seen."""
    return "NOTHING LISTENS THERE" if problem.startswith("nothing listens") else f"DOES NOT ANSWER: {problem}"


async def _show(printer: Printer, server: ServiceServer, services: Sequence[Service]) -> None:
    """Tell of services, and whether each answers."""
    problems = await asyncio.gather(*map(server.look_for, services))
    places = [show_place(service.place) for service in services]
    names, width = max(len(str(service.name)) for service in services), max(map(len, places))
    for service, place, problem in zip(services, places, problems, strict=True):
        if problem is not None:
            state = (_in_capitals(problem), Meaning.BAD)
        elif isinstance(service.place, UdpEndpoint):
            state = ("UDP: cannot be asked", Meaning.DIM)
        else:
            state = ("answers", Meaning.GOOD)
        printer.text(f"  {service.name:{names}}  {place:{width}}  ", state)
        if printer.as_json:
            printer.event({"event": "service", "name": service.name, "place": place, "problem": problem})


def _has_terminal() -> bool:
    """Return whether we have a controlling terminal: one that was closed is none any more."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | getattr(os, "O_NOCTTY", 0)))
    except OSError:
        return False
    return True

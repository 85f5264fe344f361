"""`ssbfast share`: offer services by name to friends, and let new ones in by a ticket."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssbfast import limits
from ssbfast.cli.nicknames import Nicknames, find_peer, full_option, name_option
from ssbfast.cli.offering import Offer
from ssbfast.cli.options import OWN_ID, connections_option, data_flag, peer_options, several
from ssbfast.cli.path_options import path_options, paths_from
from ssbfast.cli.peer_options import Given, TrustOptions, claim, load_me, room_option
from ssbfast.cli.peer_output import PeerWords
from ssbfast.cli.standard_error import warn
from ssbfast.cli.ticket import invitation, ticket_event
from ssbfast.errors import BadInputError, SSBError
from ssbfast.ids import FeedId, NetworkId
from ssbfast.net.endpoints import Endpoint, Place, show_place
from ssbfast.room.tunnel_auth import Policy
from ssbfast.wire.pairing import is_name

if TYPE_CHECKING:
    from ssbfast.cli.output import Printer
    from ssbfast.client.pairing import Tickets
    from ssbfast.net.forward.service import Service


def _named_place(text: str) -> tuple[str, Place]:
    from ssbfast.pasted.endpoint import read_place

    name, equals, place = text.partition("=")
    if not equals or not is_name(name):
        raise BadInputError(f"it reads NAME=HOST:PORT, with a name of a-z, 0-9 and -: {text[:60]!r}")
    found = read_place(place)
    if isinstance(found, Endpoint) and not found.port:
        raise BadInputError("port 0 cannot be dialled: give the service's own, as in web=127.0.0.1:8000")
    return name, found


@click.command()
@click.argument("services", metavar="NAME=HOST:PORT...", nargs=-1, required=True, callback=several(_named_place))
@room_option(invites=True)
@click.option(
    "--for",
    "friends",
    multiple=True,
    metavar="NICK,…[:NAME,…]",
    help="Only these friends may use these services, or all of them; repeatable.",
)
@click.option("--no-ticket", is_flag=True, help="Make no ticket: only peers that you follow already get in.")
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
    connections: int | None,
    name: str | None,
    data: Path,
    network: NetworkId,
    as_json: bool,
    **more: Any,
) -> int:
    """Offer services by name to your friends, and print a ticket that lets in one more friend.

    A service is NAME=HOST:PORT, NAME=PORT for this machine, or NAME=unix:PATH. The friend runs `ssbfast pair TICKET`
    once, then `ssbfast open NICK/NAME`. A service that a friend may not use looks to it as if it did not exist.

    \b
    Examples:
      ssbfast share jellyfin=8096 ssh=22 --room net:room.example:8008~shs:KEY
      ssbfast share db=unix:/run/db.sock web=127.0.0.1:8000 --room ROOM --for laptop:db
      ssbfast share ssh=22 --room ROOM --for laptop,phone --no-ticket
    """
    from ssbfast.cli.runner import run_until_stopped

    paths = paths_from(more)
    paths.check()
    offered = _offered(services, friends, data)
    me = load_me(data)
    if any(service.friends is not None and me.id in service.friends for service in offered):
        raise BadInputError(OWN_ID)
    trust = TrustOptions(Policy.FOLLOWS, (), None)
    offer = Offer("share", me, data, network, claim(rooms, me.id), offered, connections, name, trust, paths)
    sharing = _Sharing(offer, with_ticket=not no_ticket)
    with Nicknames(data) as names:
        return run_until_stopped(
            lambda printer: offer.run(printer, sharing.begin),
            as_json=as_json,
            words=PeerWords(data_flag(data), names),
        )


def _offered(places: tuple[tuple[str, Place], ...], friends: tuple[str, ...], data: Path) -> tuple[Service, ...]:
    """Return the services with their friends. Raises BadInputError."""
    from ssbfast.net.forward.service import Service, ServiceTable

    allowed: dict[str, set[FeedId]] = {}
    known = [name for name, _place in places]
    for text in friends:
        peers, colon, names = text.partition(":")
        who = {find_peer(peer, data) for peer in peers.split(",")}
        for name in names.split(",") if colon else known:
            if name not in known:
                raise BadInputError(f"--for: no service is called {name[:60]!r}")
            allowed.setdefault(name, set()).update(who)
    services = tuple(
        Service(place, name, frozenset(allowed[name]) if name in allowed else None) for name, place in places
    )
    ServiceTable(services)  # which raises for names that stand there twice, before anything is made
    return services


@dataclass(frozen=True, slots=True)
class _Sharing:
    """What people see first: the services, whether each answers, and a ticket."""

    offer: Offer
    with_ticket: bool

    async def begin(self, printer: Printer, tickets: Tickets | None) -> None:
        from ssbfast.net.forward.service import look_for

        printer.text(f"You are {self.offer.me.id}")
        problems = await asyncio.gather(*(look_for(service.place) for service in self.offer.services))
        width = max(len(str(service.name)) for service in self.offer.services)
        for service, problem in zip(self.offer.services, problems, strict=True):
            place = show_place(service.place)
            state = "answers" if problem is None else _in_capitals(problem)
            printer.text(f"  {service.name:{width}}  {place}  {state}")
            if printer.as_json:
                printer.event({"event": "service", "name": service.name, "place": place, "problem": problem})
        if tickets is not None and self.with_ticket:
            await self._invite(printer, tickets)

    async def _invite(self, printer: Printer, tickets: Tickets) -> None:
        """Make a ticket. Without one the services are offered all the same."""
        from ssbfast.client.pairing import room_of_tickets

        try:
            ticket = await tickets.make(room_of_tickets(self.offer.rooms[0].text))
        except SSBError as error:
            warn(f"no ticket was made: {error}")
            return
        printer.text(invitation(ticket, limits.TICKET_SECONDS))
        if printer.as_json:
            printer.event(ticket_event(ticket))


def _in_capitals(problem: str) -> str:
    """Return why a service does not answer, so that it is seen."""
    return "NOTHING LISTENS THERE" if problem.startswith("nothing listens") else f"DOES NOT ANSWER: {problem}"

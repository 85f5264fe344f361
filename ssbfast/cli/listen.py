"""`ssbfast listen`: offer a TCP service to friends through rooms."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssbfast.cli.nicknames import Nicknames, full_option, name_option, peers_option
from ssbfast.cli.offering import Offer
from ssbfast.cli.options import OWN_ID, callback, connections_option, data_flag, peer_options
from ssbfast.cli.output import shell_word
from ssbfast.cli.path_options import path_options, paths_from
from ssbfast.cli.peer_options import Given, claim, load_me, room_option, trust_from, trust_options
from ssbfast.cli.peer_output import PeerWords, forward_problem
from ssbfast.cli.terminal_text import Meaning, Piece
from ssbfast.errors import BadInputError
from ssbfast.ids import FeedId, NetworkId
from ssbfast.pasted.hosts import show
from ssbfast.room.tunnel_auth import Policy
from ssbfast.wire.private_tunnel import issue_personal

if TYPE_CHECKING:
    from ssbfast.cli.output import Event, Printer
    from ssbfast.client.pairing import Tickets
    from ssbfast.net.endpoints import Endpoint


def _service(text: str) -> Endpoint:
    from ssbfast.pasted.endpoint import read_service

    service = read_service(text)
    if not service.port:
        raise BadInputError("port 0 cannot be dialled: give the service's own, as in 127.0.0.1:8000")
    return service


@click.command()
@room_option(invites=True)
@click.option(
    "--forward",
    required=True,
    metavar="HOST:PORT",
    callback=callback(_service),
    help="The service that connections of friends go to. They cannot choose another.",
)
@peers_option("--private-for", help="Print an address from which only this friend can tell where you are")
@connections_option
@trust_options
@path_options
@name_option
@full_option
@peer_options
def listen(
    rooms: tuple[Given, ...],
    forward: Endpoint,
    private_for: tuple[FeedId, ...],
    connections: int | None,
    name: str | None,
    data: Path,
    network: NetworkId,
    as_json: bool,
    **more: Any,
) -> int:
    """Offer a TCP service to your friends: peers that you follow reach it through the room, others are refused.

    It prints the address to give to a friend, who runs `ssbfast connect ADDRESS --room … --bind HOST:PORT`. Refused
    connections are shown as they come, and remembered: `ssbfast denials`. While it runs, `ssbfast ticket` makes
    tickets: each lets in one peer.

    \b
    Example:
      ssbfast listen --room net:room.example:8008~shs:KEY --forward 127.0.0.1:8000
    """
    from ssbfast.cli.runner import run_until_stopped
    from ssbfast.net.forward.service import Service

    options, paths = trust_from(more), paths_from(more)
    options.check()
    paths.check()
    me = load_me(data)
    services = (Service(forward),)
    offer = Offer("listen", me, data, network, claim(rooms, me.id), services, connections, name, options, paths)
    addresses = _private_addresses(offer, private_for)

    async def opened(printer: Printer, _tickets: Tickets | None) -> None:
        printer.text(*_introduction(offer, forward))
        for address in addresses:
            printer.event(address)

    async def look_for_it(printer: Printer, _tickets: Tickets | None) -> None:
        await _look_for(forward, printer)

    with Nicknames(data) as names:
        return run_until_stopped(
            lambda printer: offer.run(printer, opened, look_for_it),
            as_json=as_json,
            words=_Words(offer, names),
        )


async def _look_for(service: Endpoint, printer: Printer) -> None:
    """Warn when no service answers as we begin to wait for friends: their first call would be late for that."""
    from ssbfast.net.forward.failures import Complaint
    from ssbfast.net.forward.service import look_for

    problem = await look_for(service)
    if problem is not None:
        printer.event(forward_problem(Complaint(None, f"{problem}; start it when you like", 0)))


def _private_addresses(offer: Offer, friends: tuple[FeedId, ...]) -> list[dict[str, str]]:
    """Return one for each room and friend. Raises BadInputError for an id that is not a usable key, or our own."""
    if offer.me.id in friends or offer.me.id in offer.trust.allow:
        raise BadInputError(OWN_ID)
    return [
        {
            "event": "private_address",
            "portal": str(room.portal),
            "recipient": str(friend),
            "address": str(issue_personal(offer.me, friend, room.portal, network=offer.network)),
        }
        for room in dict.fromkeys(offer.rooms)
        for friend in dict.fromkeys(friends)
    ]


def _introduction(offer: Offer, service: Endpoint) -> list[Piece]:
    """Return what people see first."""
    allowed = f", and {len(offer.trust.allow)} more" if offer.trust.allow else ""
    welcome = {
        Policy.FOLLOWS: f"peers that you follow{allowed}",
        Policy.ALLOW: f"the {len(offer.trust.allow)} peers of --allow only",
        Policy.EVERYONE: "everyone who knows your id",
    }[offer.trust.policy]
    text = f"You are {offer.me.id}\nOffering {show(service.host, service.port)} to {welcome}"
    advice = (f"ssbfast follow @ID{data_flag(offer.data)}", Meaning.HINT)
    more: list[Piece] = ["; to add one: ", advice] if offer.trust.policy is Policy.FOLLOWS else []
    return [text, *more, ("\nCtrl-C ends it.", Meaning.DIM)]


class _Words(PeerWords):
    """Events for people; the first time in a room with what to tell a friend."""

    def __init__(self, offer: Offer, show: Callable[[str], str]) -> None:
        super().__init__(data_flag(offer.data), show)
        self._rooms = {str(room.portal): room.text for room in offer.rooms}

    def __call__(self, event: Event) -> str:
        text = super().__call__(event)
        if event["event"] != "announced":
            return text
        text += f"\n          your address there: {shell_word(event['address'])}"
        room = self._rooms.pop(event["portal"], None)
        if room is not None:
            address = shlex.quote(event["address"])
            text += f"\n          a friend runs: ssbfast connect {address} --room {shlex.quote(room)}"
            text += " --bind 127.0.0.1:8080"
        return text

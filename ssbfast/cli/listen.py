"""`ssbfast listen`: offer a TCP service to friends through rooms."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssbfast import limits
from ssbfast.cli.nicknames import Nicknames, full_option, name_option, own_name, peers_option
from ssbfast.cli.options import OWN_ID, callback, connections_option, data_flag, peer_options
from ssbfast.cli.path_options import Paths, path_options, paths_from
from ssbfast.cli.peer_options import (
    Given,
    RoomAddress,
    TrustOptions,
    claim,
    load_me,
    open_trust,
    room_option,
    stay_in,
    together,
    trust_from,
    trust_options,
)
from ssbfast.cli.peer_output import PeerWords, forward_problem, paired_event
from ssbfast.errors import BadInputError
from ssbfast.ids import FeedId, NetworkId
from ssbfast.pasted.hosts import show
from ssbfast.room.tunnel_auth import Policy
from ssbfast.wire.private_tunnel import issue_personal

if TYPE_CHECKING:
    from ssbfast.cli.output import Event, Printer
    from ssbfast.client.joined_room import JoinedRoom
    from ssbfast.client.pairing import Tickets
    from ssbfast.keys import Keypair
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

    options, paths = trust_from(more), paths_from(more)
    options.check()
    paths.check()
    me = load_me(data)
    offer = _Offer(me, data, network, claim(rooms, me.id), forward, private_for, connections, name, options, paths)
    addresses = offer.private_addresses()
    with Nicknames(data) as names:
        words = _Words(offer, names)
        return run_until_stopped(lambda printer: offer.run(printer, addresses), as_json=as_json, words=words)


@dataclass(frozen=True, slots=True)
class _Offer:
    me: Keypair
    data: Path
    network: NetworkId
    rooms: tuple[RoomAddress, ...]
    service: Endpoint
    private_for: tuple[FeedId, ...]
    connections: int | None
    name: str | None
    trust: TrustOptions
    paths: Paths

    async def run(self, printer: Printer, addresses: list[dict[str, str]]) -> int:
        from ssbfast.client.identity_lock import IdentityLock
        from ssbfast.client.room_client import RoomClient
        from ssbfast.net.api import Api
        from ssbfast.net.forward.tcp import ForwardServer, is_admitted, is_direct

        api = Api()
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(IdentityLock(self.data))
            trust = open_trust(self.trust, self.data, self.me, self.network)
            stack.push_async_callback(trust.close)
            allow = is_direct if self.paths.only_direct else is_admitted
            server = await stack.enter_async_context(
                ForwardServer(
                    self.service.host,
                    self.service.port,
                    allow=allow,
                    per_peer=self.connections or limits.FORWARDS_PER_PEER,
                    patience=limits.DIAL_SECONDS,
                    told=lambda complaint: printer.event(forward_problem(complaint)),
                )
            )
            server.register(api)
            direct = await self.paths.open()
            is_waiting = asyncio.Event()

            def tell(event: Event) -> None:
                printer.event(event)
                if event["event"] in ("announced", "reconnecting"):
                    is_waiting.set()

            client = RoomClient(
                self.me,
                network=self.network,
                trust=trust,
                api=api,
                direct=direct,
                on_event=tell,
                tickets=self.tickets(stack, tell),
                name_denials=True,
            )
            await stack.enter_async_context(client)
            printer.text(self.introduction())
            for address in addresses:
                printer.event(address)
            staying = stay_in(client, self.rooms, _nothing_more, tell=tell, announce=True)
            await together(staying, self._look_for_service(is_waiting, printer))
        return 0

    async def _look_for_service(self, is_waiting: asyncio.Event, printer: Printer) -> None:
        """Warn when no service answers as we begin to wait for friends: their first call would be late for that."""
        from ssbfast.net.forward.failures import Complaint
        from ssbfast.net.forward.service import look_for

        await is_waiting.wait()
        problem = await look_for(self.service)
        if problem is not None:
            printer.event(forward_problem(Complaint(None, f"{problem}; start it when you like", 0)))

    def private_addresses(self) -> list[dict[str, str]]:
        """Return one for each room and friend. Raises BadInputError for an id that is not a usable key, or our own."""
        if self.me.id in self.private_for or self.me.id in self.trust.allow:
            raise BadInputError(OWN_ID)
        return [
            {
                "event": "private_address",
                "portal": str(room.portal),
                "recipient": str(friend),
                "address": str(issue_personal(self.me, friend, room.portal, network=self.network)),
            }
            for room in dict.fromkeys(self.rooms)
            for friend in dict.fromkeys(self.private_for)
        ]

    def tickets(self, stack: contextlib.AsyncExitStack, tell: Callable[[Event], None]) -> Tickets | None:
        """Return what lets in the holders of our tickets; None when our own contacts do not decide over callers."""
        if self.trust.policy is Policy.ALLOW or self.trust.ssb_server is not None:
            return None
        from ssbfast.client.pairing import Tickets

        tickets = Tickets(
            self.me, self.data, name=own_name(self.name), on_paired=lambda paired: tell(paired_event(paired))
        )
        stack.push_async_callback(tickets.close)
        return tickets

    def introduction(self) -> str:
        """Return what people see first."""
        allowed = f", and {len(self.trust.allow)} more" if self.trust.allow else ""
        welcome = {
            Policy.FOLLOWS: f"peers that you follow{allowed}; to add one: ssbfast follow @ID{data_flag(self.data)}",
            Policy.ALLOW: f"the {len(self.trust.allow)} peers of --allow only",
            Policy.EVERYONE: "everyone who knows your id",
        }[self.trust.policy]
        service = show(self.service.host, self.service.port)
        return f"You are {self.me.id}\nOffering {service} to {welcome}\nCtrl-C ends it."


async def _nothing_more(_room: JoinedRoom) -> None:
    """Do nothing: being in the room is all."""


class _Words(PeerWords):
    """Events for people; the first time in a room with what to tell a friend."""

    def __init__(self, offer: _Offer, show: Callable[[str], str] = str) -> None:
        super().__init__(data_flag(offer.data), show)
        self._rooms = {str(room.portal): room.text for room in offer.rooms}

    def __call__(self, event: Event) -> str:
        text = super().__call__(event)
        room = self._rooms.pop(event["portal"], None) if event["event"] == "announced" else None
        if room is not None:
            address = shlex.quote(event["address"])
            text += f"\n          a friend runs: ssbfast connect {address} --room {shlex.quote(room)}"
            text += " --bind 127.0.0.1:8080"
        return text

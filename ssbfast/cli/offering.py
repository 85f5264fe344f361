"""Offering services to friends, for the commands `listen` and `share`: what they do once their options are read."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ssbfast import limits
from ssbfast.cli.nicknames import own_name
from ssbfast.cli.options import PORTS, data_home
from ssbfast.cli.path_options import Paths
from ssbfast.cli.peer_options import RoomAddress, TrustOptions, open_trust, stay_in, together
from ssbfast.cli.peer_output import forward_problem, paired_event
from ssbfast.cli.service_manager import ServiceManager
from ssbfast.cli.standard_error import warn
from ssbfast.ids import NetworkId
from ssbfast.net.endpoints import show_place
from ssbfast.room.tunnel_auth import Policy

if TYPE_CHECKING:
    from ssbfast.cli.output import Event, Printer
    from ssbfast.client.joined_room import JoinedRoom
    from ssbfast.client.pairing import Tickets
    from ssbfast.keys import Keypair
    from ssbfast.net.forward.service import Service
    from ssbfast.net.forward.tcp_server import ServiceServer

Opened: TypeAlias = "Callable[[Printer, Tickets | None], Awaitable[None]]"
"""Prints what people see first, before we go to the rooms, or once we wait there."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Services that are offered through rooms.

    command: the name of ours. connections: of one peer at a time. name: what peers that pair with us call us.
    """

    command: str
    me: Keypair
    data: Path
    network: NetworkId
    rooms: tuple[RoomAddress, ...]
    services: tuple[Service, ...]
    connections: int | None
    name: str | None
    trust: TrustOptions
    paths: Paths

    async def run(
        self,
        printer: Printer,
        opened: Opened,
        waiting: Opened | None = None,
        serving: Callable[[ServiceServer], object] = lambda _server: None,
        joined: Callable[[JoinedRoom, Tickets | None], Awaitable[None]] | None = None,
    ) -> int:
        """Offer them until the task is cancelled, or every room refuses us.

        serving: gets what serves them, once it does. joined: called in each room that we have come to stay in.
        """
        from ssbfast.cli.lending import lending
        from ssbfast.client.identity_lock import IdentityLock
        from ssbfast.client.port_claims import PortClaims
        from ssbfast.client.room_client import RoomClient
        from ssbfast.net.api import Api
        from ssbfast.net.forward.tcp_server import ServiceServer, is_admitted, is_direct

        api = Api()
        async with contextlib.AsyncExitStack() as stack:
            lock = await stack.enter_async_context(IdentityLock(self.data, self.command))
            trust = open_trust(self.trust, self.data, self.me, self.network)
            stack.push_async_callback(trust.close)
            claims = PortClaims(data_home(PORTS), self.me.id)
            stack.callback(claims.close)
            server = await stack.enter_async_context(
                ServiceServer(
                    self.services,
                    allow=is_direct if self.paths.only_direct else is_admitted,
                    per_peer=self.connections or limits.FORWARDS_PER_PEER,
                    patience=limits.DIAL_SECONDS,
                    told=lambda complaint: printer.event(forward_problem(complaint)),
                    claims=claims,
                )
            )
            server.register(api)
            serving(server)
            direct = await self.paths.open()
            begins = asyncio.Event()

            def tell(event: Event) -> None:
                printer.event(event)
                if event["event"] in ("announced", "reconnecting"):
                    begins.set()

            tickets = self._tickets(stack, tell, server)
            client = RoomClient(
                self.me,
                network=self.network,
                trust=trust,
                api=api,
                direct=direct,
                on_event=tell,
                tickets=tickets,
                name_denials=True,
            )
            await stack.enter_async_context(client)
            lend = lending(stack, client, self.data, self.network, self.trust, self.paths)
            lock.control.serve(client, lambda: _told(server.services), tickets, lend)
            await opened(printer, tickets)
            manager = ServiceManager()
            stack.callback(manager.close)
            stack.callback(manager.stop, "says goodbye")
            manager.start(os.getpid(), f"offers to peers as {self.me.id.short}")

            async def stay(room: JoinedRoom) -> None:
                if joined is not None:
                    await joined(room, tickets)

            staying = stay_in(client, self.rooms, stay, tell=tell, announce=True)

            async def wait() -> None:
                await begins.wait()
                if waiting is not None:
                    await waiting(printer, tickets)

            await together(staying, wait())
        return 0

    def _tickets(
        self, stack: contextlib.AsyncExitStack, tell: Callable[[Event], None], server: ServiceServer
    ) -> Tickets | None:
        """Return what lets in the holders of our tickets; None when our own contacts do not decide over callers."""
        if self.trust.policy is Policy.ALLOW or self.trust.ssb_server is not None:
            return None
        from ssbfast.client.pairing import Tickets

        tickets = Tickets(
            self.me,
            self.data,
            name=own_name(self.name),
            services=server.names_for,
            on_paired=lambda paired: tell(paired_event(paired)),
            on_failed=lambda reason: warn(f"a ticket could not be taken, and holds on: {reason}"),
            on_words_ended=lambda reason: tell({"event": "words_ended", "reason": reason}),
        )
        stack.push_async_callback(tickets.close)
        return tickets


def _told(services: Sequence[Service]) -> list[dict[str, str]]:
    """Return services as `ssbfast status` shows them; one without a name by its place."""
    return [{"name": one.name or show_place(one.place), "kind": one.kind} for one in services]

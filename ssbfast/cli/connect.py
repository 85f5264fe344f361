"""`ssbfast connect`, and what `ssbfast denials --connect N` does too: keep a tunnel open, and carry TCP through it."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssbfast.cli.nicknames import Nicknames, find_contact, full_option
from ssbfast.cli.options import (
    OWN_ID,
    callback,
    connections_option,
    data_flag,
    parse_host_and_port,
    peer_options,
)
from ssbfast.cli.path_options import PathGate, Paths, path_options, paths_from
from ssbfast.cli.peer_options import (
    Command,
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
from ssbfast.cli.peer_output import PeerWords, forward_problem
from ssbfast.cli.resolve_target import Parsed, Target, look_up, parse, resolve
from ssbfast.cli.standard_error import warn
from ssbfast.errors import AliasError, BadInputError
from ssbfast.ids import FeedId, NetworkId
from ssbfast.pasted.hosts import show
from ssbfast.pasted.web_links import AliasLink, InviteLink

if TYPE_CHECKING:
    from ssbfast.cli.output import Event, Printer
    from ssbfast.client.room_client import RoomClient
    from ssbfast.net.endpoints import Endpoint
    from ssbfast.net.forward.tcp import ForwardListener
    from ssbfast.store.peer_store import Contact


def calling_options(*, required: bool) -> Callable[[Command], Command]:
    """Add --room, --bind, --anyway, --connections, and the options for trust and paths. required: --bind is."""

    def decorate(command: Command) -> Command:
        bind = click.option(
            "--bind",
            required=required,
            metavar="HOST:PORT",
            callback=callback(parse_host_and_port),
            help="Local address where programs reach the service; port 0 picks a free port.",
        )
        anyway = click.option("--anyway", is_flag=True, help="Dial even if you do not follow the target, or block it.")
        room = room_option(required=False, invites=True)  # an alias says where its room is
        return room(bind(anyway(connections_option(trust_options(path_options(command))))))

    return decorate


def run_call(
    text: str,
    *,
    data: Path,
    network: NetworkId,
    as_json: bool,
    rooms: tuple[Given, ...],
    bind: Endpoint,
    anyway: bool,
    connections: int | None,
    trust: TrustOptions,
    paths: Paths,
    only: FeedId | None = None,
) -> int:
    """Keep a tunnel to what `text` names, and carry every connection to `bind` through it. Returns the exit code.

    only: the one peer that it may be. Raises BadInputError before anything is dialled, made or changed.
    """
    from ssbfast.cli.runner import run_until_stopped

    parsed = _of_contact(find_contact(text, data)) or parse(text)
    if not rooms and not isinstance(parsed, AliasLink) and (not isinstance(parsed, Target) or parsed.room is None):
        raise click.UsageError("Missing option '--room'.")
    trust.check()
    paths.check()
    target, known = _find(parsed, rooms, data, network)
    if only not in (None, target.who):
        raise AliasError("the alias is another peer's now")
    portals = {way.portal for way in target.ways} or {room.portal for room in known}
    call = _Call(
        target,
        data=data,
        network=network,
        rooms=tuple(room for room in known if room.portal in portals),  # others need not know of us
        bind=bind,
        anyway=anyway,
        connections=connections,
        trust=trust,
        paths=paths,
    )
    with Nicknames(data) as names:
        return run_until_stopped(call.run, as_json=as_json, words=PeerWords(data_flag(data), names))


def _of_contact(contact: Contact | None) -> Target | None:
    """Return the target that a nickname stands for: its room is known if it was met by a ticket."""
    if contact is None:
        return None
    return Target(contact.id, room=None if contact.room is None else RoomAddress.parse(contact.room))


def _find(
    parsed: Parsed, given: tuple[Given, ...], data: Path, network: NetworkId
) -> tuple[Target, tuple[RoomAddress, ...]]:
    """Return the target, and the rooms to look for it in. Raises BadInputError, AliasError, InviteError."""
    found = look_up(parsed) if isinstance(parsed, AliasLink) else parsed
    rooms: tuple[RoomAddress, ...]
    if any(isinstance(room, InviteLink) for room in given):
        rooms = claim(given, load_me(data).id)
    else:
        rooms = tuple(room for room in given if isinstance(room, RoomAddress))
    if isinstance(found, Target) and found.room is not None and not rooms:
        rooms = (found.room,)
    return (found if isinstance(found, Target) else resolve(found, rooms, data, network)).through(rooms), rooms


@dataclass(frozen=True, slots=True)
class _Call:
    target: Target
    data: Path
    network: NetworkId
    rooms: tuple[RoomAddress, ...]
    bind: Endpoint
    anyway: bool
    connections: int | None
    trust: TrustOptions
    paths: Paths

    async def run(self, printer: Printer) -> int:
        from ssbfast.client.room_client import RoomClient

        async with contextlib.AsyncExitStack() as stack:
            listener = await self._listen(stack, printer)
            me = load_me(self.data)
            if self.target.who == me.id:
                raise BadInputError(OWN_ID)
            trust = open_trust(self.trust, self.data, me, self.network)
            stack.push_async_callback(trust.close)
            gate = PathGate(listener, only_direct=self.paths.only_direct)

            def tell(event: Event) -> None:
                printer.event(event)
                gate.event_received(event)

            direct = await self.paths.open()
            client = RoomClient(me, network=self.network, trust=trust, direct=direct, on_event=tell)
            await stack.enter_async_context(client)
            self._introduce(listener.address, me.id, printer)
            await self._keep(client, gate, printer)
        return 0

    async def _listen(self, stack: contextlib.AsyncExitStack, printer: Printer) -> ForwardListener:
        from ssbfast import limits
        from ssbfast.net.forward.tcp import ForwardListener

        listener = ForwardListener(
            self.bind.host,
            self.bind.port,
            patience=limits.DIAL_SECONDS,
            per_peer=self.connections or limits.FORWARDS_PER_PEER,
            told=lambda complaint: printer.event(forward_problem(complaint)),
        )
        stack.push_async_callback(listener.close)
        try:
            await listener.start()
        except OSError as error:
            place = show(self.bind.host, self.bind.port)
            raise BadInputError(f"cannot listen on {place}: {_reason(error)}") from None
        return listener

    def _introduce(self, address: tuple[str, int], me: FeedId, printer: Printer) -> None:
        bound = show(*address)
        with Nicknames(self.data) as names:
            target = names(str(self.target.who))
        printer.text(f"You are {me}\nReaching {target}; programs on this machine find its service at {bound}")
        printer.event({"event": "bound", "bind": bound})
        if not ipaddress.ip_address(address[0].partition("%")[0]).is_loopback:
            warn(f"{bound} can be reached from other machines")

    async def _keep(self, client: RoomClient, gate: PathGate, printer: Printer) -> None:
        from ssbfast.cli.persistent_tunnel import PersistentTunnel

        tunnel = PersistentTunnel(
            client,
            self.target,
            anyway=self.anyway,
            on_opened=gate.session_opened,
            on_event=printer.event,
            flag=data_flag(self.data),
        )
        staying = stay_in(client, self.rooms, tunnel.watch, tell=printer.event, announce=False, attendants=True)
        await together(tunnel.keep(), staying, gate.failed())


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is taken"
    if isinstance(error, socket.gaierror) or not error.errno:
        return "no such host"
    from ssbfast.net.socket_names import system_reason

    return system_reason(error)


@click.command()
@click.argument("target", metavar="TARGET")
@calling_options(required=True)
@full_option
@peer_options
def connect(target: str, **options: Any) -> int:
    """Reach a friend's service: each TCP connection to --bind goes through a tunnel to the friend's service.

    TARGET is the friend's nickname, @ID or alias, or the address that `ssbfast listen` printed on the friend's machine
    (tunnel:… or ptunnel:…). An alias, and a friend that you paired with, need no --room. You must follow each other.
    The tunnel opens as soon as the friend is in the room, and again whenever it was lost; meanwhile new connections
    wait for 15 seconds. You are not listed in the room.

    \b
    Examples:
      ssbfast connect @ID --room net:room.example:8008~shs:KEY --bind 127.0.0.1:8080
      ssbfast connect tunnel:PORTAL:TARGET~shs:KEY --room ROOM --bind 127.0.0.1:0
      ssbfast connect alice.room.example --bind 127.0.0.1:8080
      ssbfast connect home --bind 127.0.0.1:8080
    """
    return run_call(target, trust=trust_from(options), paths=paths_from(options), **options)

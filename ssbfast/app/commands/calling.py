"""What `ssbfast connect` does, and `ssbfast denials --connect N` too: keep a tunnel open, and carry TCP through it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssbfast.app.commands.options import callback, parse_host_and_port
from ssbfast.app.commands.peer_words import describe_peer
from ssbfast.app.commands.peering import (
    Command,
    RoomAddress,
    TrustOptions,
    enter,
    load_me,
    open_trust,
    room_option,
    trust_options,
    until_left,
)
from ssbfast.app.commands.targets import Target, parse_target, resolve
from ssbfast.errors import BadInputError
from ssbfast.ids import NetworkId

if TYPE_CHECKING:
    from ssbfast.app.commands.printing import Printer
    from ssbfast.app.listening import Endpoint


def calling_options(*, required: bool) -> Callable[[Command], Command]:
    """--room, --bind, --anyway and whom to trust."""

    def decorate(command: Command) -> Command:
        bind = click.option(
            "--bind",
            required=required,
            metavar="HOST:PORT",
            callback=callback(parse_host_and_port),
            help="Where programs of this machine find the service; port 0 picks one.",
        )
        anyway = click.option("--anyway", is_flag=True, help="Dial also if you do not follow the target, or block it.")
        return room_option(required=required)(bind(anyway(trust_options(command))))

    return decorate


def run_call(
    text: str,
    *,
    data: Path,
    network: NetworkId,
    as_json: bool,
    rooms: tuple[RoomAddress, ...],
    bind: Endpoint,
    anyway: bool,
    trust: TrustOptions,
) -> int:
    """Keep a tunnel to what `text` names, and carry every connection to `bind` through it. Returns the exit code.

    Raises BadInputError before anything is dialled, made or changed.
    """
    from ssbfast.app.commands.running import run_until_stopped
    from ssbfast.app.listening import bind as listen_on

    parsed = parse_target(text)
    target = parsed if isinstance(parsed, Target) else resolve(parsed, rooms, data, network)
    target = target.through(rooms)
    trust.check()
    sockets = listen_on([bind])
    try:
        me = load_me(data)
        if target.who == me.id:
            raise BadInputError("that is this very peer's id (another --data has another)")
        ...
    finally:
        for sock in sockets:
            sock.close()

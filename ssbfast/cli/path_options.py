"""The path that a session of `listen` and `connect` takes: through the room, or directly."""

from __future__ import annotations

import asyncio
import enum
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ssbfast import limits
from ssbfast.cli.options import several
from ssbfast.cli.standard_error import warn
from ssbfast.errors import BadInputError, DirectUnavailableError, MissingExtraError, SSBError

if TYPE_CHECKING:
    from ssbfast.cli.output import Event
    from ssbfast.direct.options import Direct
    from ssbfast.ids import FeedId
    from ssbfast.net.endpoints import Endpoint
    from ssbfast.net.forward.datagram_listener import DatagramListener
    from ssbfast.net.forward.tcp_listener import ForwardListener
    from ssbfast.net.peer import Peer

Command = TypeVar("Command", bound=Callable[..., Any])


class PathChoice(enum.Enum):
    """The paths that a session may take."""

    AUTO = "auto"
    TUNNEL = "tunnel"
    DIRECT = "direct"


def reflector(text: str) -> Endpoint:
    from ssbfast.pasted.endpoint import read_reflector

    return read_reflector(text)


stun_option = click.option(
    "--stun",
    multiple=True,
    metavar="HOST:PORT",
    callback=several(reflector),
    help="A STUN server that reports our public address, in addition to those of the rooms; repeatable.",
)

port_mapping_option = click.option(
    "--no-port-mapping",
    is_flag=True,
    help="Do not ask the router, by PCP, NAT-PMP or UPnP, to let direct paths in.",
)

_OPTIONS: Final = (
    click.option(
        "--birthday",
        is_flag=True,
        help="Behind a NAT that gives each destination another port: search for it with thousands of datagrams.",
    ),
    port_mapping_option,
    stun_option,
    click.option(
        "--keep",
        type=click.FloatRange(0.0, limits.SLEEP_KEEP_MAX),
        default=limits.SLEEP_KEEP_SECONDS,
        show_default=True,
        metavar="SECONDS",
        help="How long a session waits for a friend whose machine is silent, asleep for example. Programs go on when it"
        " is back. For sessions on a direct path; less than 30 is 30.",
    ),
    click.option(
        "--path",
        type=click.Choice([choice.value for choice in PathChoice]),
        default=PathChoice.AUTO.value,
        show_default=True,
        help="auto: through the room, and directly as soon as possible. tunnel: through the room only; none of your"
        " addresses is sent. direct: the room carries no data.",
    ),
)


def path_options(command: Command) -> Command:
    """Add the options for paths; `paths_from` takes them out of the command's options."""
    for option in _OPTIONS:
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class Paths:
    """The options for paths, as given."""

    choice: PathChoice
    stun: tuple[Endpoint, ...]
    birthday: bool
    keep: float
    port_mapping: bool = True

    def __bool__(self) -> bool:
        """Return whether any of them was given."""
        return self != Paths(PathChoice.AUTO, (), False, limits.SLEEP_KEEP_SECONDS)

    def check(self) -> None:
        """Check the options; raise BadInputError for those that do not go together."""
        if self.choice is PathChoice.TUNNEL and (self.stun or self.birthday):
            raise BadInputError("--stun and --birthday are for direct paths, and --path tunnel makes none")

    @property
    def only_direct(self) -> bool:
        return self.choice is PathChoice.DIRECT

    async def open(self, *, after: float = 0.0) -> Direct | None:
        """Return how direct paths are made; None: not at all. Warns when they cannot be made.

        after: see `Direct`; where no other path is allowed they are loaded now. Raises MissingExtraError when they are
        wanted above all, BadInputError for a name that has no address, LocalProtocolError for a wrong
        SSBFAST_DIRECT.
        """
        if self.choice is PathChoice.TUNNEL:
            return None
        from ssbfast.direct.engine_choice import engine_choice
        from ssbfast.direct.options import Direct

        engine_choice()
        after = 0.0 if self.only_direct else after
        try:
            _look_for_them(at_once=not after)
        except MissingExtraError as error:
            if self.only_direct:
                raise
            warn(f"through the room only: {error}")
            return None
        stun = tuple([await _resolve(server) for server in self.stun])
        return Direct(
            stun=stun,
            port_mapping=self.port_mapping,
            birthday=self.birthday,
            keep=self.keep,
            required=self.only_direct,
            after=after,
        )


PATH_PARAMETERS: Final = ("path", "stun", "no_port_mapping", "birthday", "keep")
"""The names in Python of what `path_options` adds."""


def paths_from(options: dict[str, Any]) -> Paths:
    choice = PathChoice(options.pop("path"))
    port_mapping = not options.pop("no_port_mapping")
    return Paths(choice, options.pop("stun"), options.pop("birthday"), options.pop("keep"), port_mapping)


def _look_for_them(*, at_once: bool) -> None:
    """Raise MissingExtraError when direct paths cannot be made. at_once: load what they need."""
    from ssbfast.direct.options import may_be_ready

    if at_once:
        from ssbfast.client.direct_paths import ready

        ready()
    elif not may_be_ready():
        raise DirectUnavailableError


async def _resolve(server: Endpoint) -> tuple[str, int]:
    from ssbfast.net.name_lookup import resolve

    try:
        found = await resolve(server.host, server.port, kind=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        raise BadInputError(f"--stun: no such host: {server.host}") from None
    host, port = found[0][4][:2]
    return str(host), int(port)


class PathGate:
    """A gate that lets listeners' connections into sessions with a peer only while their path is one that we want.

    only_direct: hold them until it is direct. `failed` raises once it is clear that it will not be.
    """

    def __init__(self, who: FeedId, *, only_direct: bool) -> None:
        self._who = str(who)
        self._only_direct = only_direct
        self._listeners: list[ForwardListener | DatagramListener] = []
        self._peer: Peer | None = None
        self._open: Peer | None = None
        self._problem: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def add(self, listener: ForwardListener | DatagramListener) -> None:
        """Let the connections of one more listener in."""
        self._listeners.append(listener)
        listener.peer = self._open

    def session_opened(self, peer: Peer) -> None:
        """Take a new session."""
        self._peer = peer
        if not self._only_direct or peer.path == "direct":
            self._let_into(peer)

    def event_received(self, event: Event) -> None:
        """Handle an event of the client."""
        if not self._only_direct or event["event"] != "path" or event["peer"] != self._who:
            return
        if event["path"] == "direct":
            self._let_into(self._peer)
        elif event["took_ms"] is None:  # it was lost, and the next one is on its way
            self._let_into(None)
        elif not self._problem.done():
            self._problem.set_exception(SSBError(f"{event['reason']} (and --path direct allows no other)"))

    def _let_into(self, peer: Peer | None) -> None:
        self._open = peer
        for listener in self._listeners:
            listener.peer = peer

    async def failed(self) -> None:
        """Wait for ever, or until there is no direct path. Raises SSBError."""
        await self._problem

"""Where programs of this machine find the services of a friend: listeners, or stdin and stdout of this process."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ssbfast import limits
from ssbfast.cli.path_options import PathGate
from ssbfast.cli.peer_output import forward_problem
from ssbfast.cli.resolve_target import Target
from ssbfast.cli.standard_error import warn
from ssbfast.errors import BadInputError, RefusedError, RemoteError, SSBError
from ssbfast.net.endpoints import Endpoint, Place, UdpEndpoint, UnixPath, show_place

if TYPE_CHECKING:
    from ssbfast.cli.output import Event, Printer
    from ssbfast.cli.stdio import StdioListener
    from ssbfast.client.port_claims import PortClaims
    from ssbfast.ids import FeedId
    from ssbfast.net.forward.datagram_listener import DatagramListener
    from ssbfast.net.forward.service import Offered
    from ssbfast.net.forward.tcp_listener import ForwardListener
    from ssbfast.net.peer import Peer

Listener = TypeVar("Listener", "ForwardListener", "DatagramListener", "StdioListener")

_HERE: Final = "127.0.0.1"
_SYSTEM_PORTS: Final = 1024
"""Ports below are those of the system."""
_WEB_PORTS: Final = frozenset({80, 3000, 5000, 9090, *range(8000, 9000)})
_NOT_WEB: Final = frozenset({"ssh", "sftp", "git", "db", "mqtt", "vnc"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """A service to reach.

    Attributes:
        text: The target as it was given.
        target: The peer that offers it.
        service: Its name; None: the peer's first.
        bind: Where programs of this machine find it; None: at its own port, as the peer tells it.
    """

    text: str
    target: Target
    service: str | None
    bind: Place | None


class ListenerMaker:
    """A maker of listeners.

    connections: of each at a time. tell: gets what goes wrong. stack: closes them. claims: on the ports that they take;
    None: those listen nowhere.
    """

    def __init__(
        self,
        connections: int,
        tell: Callable[[Event], None],
        stack: contextlib.AsyncExitStack,
        claims: PortClaims | None = None,
    ) -> None:
        self.tell = tell
        self._stack = stack
        self._claims = claims
        self._options: Final[dict[str, Any]] = {
            "patience": limits.DIAL_SECONDS,
            "per_peer": connections,
            "told": lambda complaint: tell(forward_problem(complaint)),
        }

    async def listen(self, place: Place, service: str | None, peer: FeedId) -> ForwardListener | DatagramListener:
        """Return a listener that listens there, at a UDP place for datagrams to a named service of a peer.

        Raises OSError, PortOfferedError when that place is offered to friends.
        """
        listener = await self._listen(place, service)
        try:
            if self._claims is not None:
                self._claims.take(listener.place, peer)
        except OSError:
            await listener.close()
            raise
        return listener

    async def _listen(self, place: Place, service: str | None) -> ForwardListener | DatagramListener:
        if isinstance(place, UdpEndpoint) and service is not None:
            return await self._listen_udp(place, service)
        from ssbfast.net.forward.tcp_listener import ForwardListener, UnixForwardListener

        options = {**self._options, "service": service}
        if isinstance(place, UnixPath):
            return await self._started(UnixForwardListener(place.path, **options))
        return await self._started(ForwardListener(place.host, place.port, **options))

    async def _listen_udp(self, place: UdpEndpoint, service: str) -> DatagramListener:
        from ssbfast.net.forward.datagram_listener import DatagramListener

        options = {name: self._options[name] for name in ("per_peer", "told")}
        return await self._started(DatagramListener(place.host, place.port, service=service, **options))

    def carry_given(self, service: str | None) -> ForwardListener:
        """Return what carries connections that it is given: it listens nowhere."""
        from ssbfast.net.forward.tcp_listener import ForwardListener

        listener = ForwardListener("", 0, service=service, **self._options)
        self._stack.push_async_callback(listener.close)
        return listener

    async def carry_stdio(self, service: str | None) -> StdioListener:
        """Return what carries stdin and stdout of this process."""
        from ssbfast.cli.stdio import StdioListener

        listener = StdioListener(service=service, **self._options)
        await self._started(listener)
        return listener

    async def _started(self, listener: Listener) -> Listener:
        self._stack.push_async_callback(listener.close)
        await listener.start()
        return listener


class LocalEnds:
    """The local ends of what is wanted of one peer.

    Attributes:
        target: The peer.
        gate: Lets their connections into sessions with it.
    """

    def __init__(self, wanted: Sequence[Wanted], make: ListenerMaker, *, only_direct: bool) -> None:
        self.target = wanted[0].target
        self.gate = PathGate(self.target.who, only_direct=only_direct)
        self._wanted = wanted
        self._make = make
        self._bound: list[tuple[Wanted, Place]] = []
        self._opened = asyncio.Event()
        self._last: Peer | None = None

    @property
    def why_closed(self) -> str:
        """Return why the last session ended, behind a colon; nothing while it is open, or when it ended in order."""
        return "" if self._last is None or self._last.error is None else f": {self._last.error}"

    def session_opened(self, peer: Peer) -> None:
        """Take a new session."""
        self._last = peer
        self.gate.session_opened(peer)
        self._opened.set()

    async def carry_stdio(self) -> StdioListener:
        """Carry stdin and stdout of this process to the service."""
        listener = await self._make.carry_stdio(self._wanted[0].service)
        self.gate.add(listener)
        self._wanted = ()
        return listener

    async def listen(self) -> None:
        """Listen where that is known before there is a session. Raises BadInputError."""
        for wanted in self._wanted:
            if wanted.bind is None:
                continue
            try:
                self._bound.append((wanted, await self._listen(wanted.bind, wanted.service)))
            except OSError as error:
                raise cannot_listen(wanted.bind, error) from None
        self._wanted = [wanted for wanted in self._wanted if wanted.bind is None]

    def introduce(self, printer: Printer, show: Callable[[str], str]) -> None:
        """Tell where the services are found, as far as that is known. show: returns a peer as people read it."""
        who = show(str(self.target.who))
        for wanted, place in self._bound:
            whose = "service" if wanted.service is None else f"service {wanted.service}"
            printer.text(f"Reaching {who}; programs on this machine find its {whose} at {show_place(place)}")
            self._tell_bound(place, wanted.service)

    async def find(self) -> None:
        """Ask the peer for the ports of its services, and listen there. Raises RefusedError for what it has not."""
        while self._wanted:
            await self._opened.wait()
            self._opened.clear()
            offered = None if self._last is None else await self._ask(self._last)
            if offered is not None:
                await self._open(offered)

    async def _ask(self, peer: Peer) -> dict[str, Offered] | None:
        """Return what a peer offers, by name; None when the session is over, or should be."""
        from ssbfast.net.forward.service import Offered
        from ssbfast.net.forward.tcp import SERVICES

        try:
            answer = await peer.call(SERVICES, timeout=limits.CALL_SECONDS)
        except RemoteError:
            raise RefusedError(
                "its services have no names there (an older ssbfast, or `listen`): use ssbfast connect --bind"
            ) from None
        except SSBError:
            await peer.close()
            return None
        return {one.name: one for one in Offered.read(answer)}

    async def _open(self, offered: dict[str, Offered]) -> None:
        """Listen for all that is wanted. A target without a service stands for all that is offered.

        A service has its own port here only if it was asked for by name: else a friend could choose which port of this
        machine leads to it, that of a database for example, which a local program would trust.
        """
        from ssbfast.net.forward.service import UDP

        named = [wanted.service for wanted in self._wanted if wanted.service is not None]
        names = [*named, *offered] if len(named) < len(self._wanted) else named
        missing = [name for name in names if name not in offered]
        if missing or not names:
            whose = self._wanted[0].text.partition("/")[0]
            has = f"it offers: {', '.join(offered)}" if offered else "it offers nothing to you"
            raise RefusedError(f"{whose} offers no {', '.join(missing) or 'service'}; {has}")
        self._wanted = ()
        for name in dict.fromkeys(names):
            port, form = offered[name].port, UdpEndpoint if offered[name].kind == UDP else Endpoint
            if name not in named or (port is not None and port < _SYSTEM_PORTS):
                port = None  # a friend's word is no reason to take one of this system's, which root could
            try:
                place = await self._listen(form(_HERE, port or 0), name)
            except OSError as error:  # it is taken, or only root may have it
                place = await self._listen(form(_HERE, 0), name)
                own = form(_HERE, port or 0)
                warn(f"{name} cannot be at its own port here, {show_place(own)}: {_reason(error, own)}")
            is_web = form is Endpoint and offered[name].port in _WEB_PORTS and name not in _NOT_WEB
            self._tell_bound(place, name, is_web=is_web)

    async def _listen(self, place: Place, service: str | None) -> Place:
        listener = await self._make.listen(place, service, self.target.who)
        self.gate.add(listener)
        return listener.place

    def _tell_bound(self, place: Place, service: str | None, *, is_web: bool = False) -> None:
        bound = show_place(place)
        event: dict[str, Any] = {"event": "bound", "bind": bound}
        if service is not None:
            event |= {"peer": str(self.target.who), "service": service, "url": f"http://{bound}" if is_web else None}
        self._make.tell(event)
        warn_if_public(place)


def warn_if_public(place: Place) -> None:
    """Warn of a place that more than this machine can reach."""
    if isinstance(place, Endpoint) and not ipaddress.ip_address(place.host.partition("%")[0]).is_loopback:
        warn(f"{show_place(place)} can be reached from other machines")


def cannot_listen(place: Place, error: OSError) -> BadInputError:
    """Return the error for a place that cannot be had."""
    return BadInputError(f"cannot listen on {show_place(place)}: {_reason(error, place)}")


def _reason(error: OSError, place: Place) -> str:
    from ssbfast.client.port_claims import PortOfferedError

    if isinstance(error, PortOfferedError):
        return "a service of yours is offered to friends from there"
    if error.errno == errno.EADDRINUSE:
        return "the port is taken" if isinstance(place, Endpoint) else "it is taken"
    if isinstance(error, socket.gaierror) or not error.errno:
        return "no such host"
    from ssbfast.net.socket_names import system_reason

    return system_reason(error)

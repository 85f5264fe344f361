"""The sessions of a client that may leave their tunnels, and the tunnels that stand by for them.

A `Negotiation` is made for each inner session as it opens. A tunnel to us from a peer with which we have a session
on a direct path may be its standby: it is not shown before its first call has told, or `STANDBY_PROBATION_SECONDS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ssbfast import limits
from ssbfast.direct.budgets import Resources
from ssbfast.direct.carriers import DirectCarrier, RecordStream, StandbyCarrier
from ssbfast.direct.forwarded_streams import DirectForwards
from ssbfast.direct.interfaces import host_addresses
from ssbfast.direct.negotiation import Negotiation
from ssbfast.direct.options import Direct, Negotiator, PathNews, PreferredPath
from ssbfast.direct.path_figures import PathFigures
from ssbfast.direct.standby_tunnel import StandbyTunnel
from ssbfast.errors import (
    DeadlineError,
    DirectUnavailableError,
    MuxRPCError,
    RefusedError,
    RemoteError,
    SessionEndedError,
)
from ssbfast.ids import FeedId
from ssbfast.net.api import Api
from ssbfast.net.peer import Peer
from ssbfast.net.timeouts import within
from ssbfast.net.tunnel_transport import TunnelTransport
from ssbfast.wire.direct import signaling
from ssbfast.wire.direct.carriers.handover import LEAVING
from ssbfast.wire.direct.carriers.records import Record, RecordType
from ssbfast.wire.direct.keys import Role
from ssbfast.wire.direct.punch.birthday import Searches
from ssbfast.wire.muxrpc import NOT_ALLOWED, Called, CallKind

if TYPE_CHECKING:
    from ssbfast.direct.udp import Address
    from ssbfast.net.link import Link

__all__ = ["Direct", "DirectPaths", "PathNews", "PreferredPath"]

_NOT_NOW: Final = "not now"

_KEEPALIVE: Final = Record(RecordType.KEEPALIVE).encode()


@dataclass(slots=True)
class _Probation:
    """An incoming tunnel that may still turn out to be a standby."""

    tunnel: StandbyTunnel
    show: Callable[[], None]
    timer: asyncio.TimerHandle


def ready() -> None:
    """Load what direct paths need, which takes half a second. Raises DirectUnavailableError."""
    try:
        for name in ("ssbfast.direct.quic_path", "ssbfast.direct.hole_punch", "aioice.stun", "ifaddr"):
            importlib.import_module(name)
    except ImportError:
        raise DirectUnavailableError from None


class DirectPaths:
    """The direct paths of one client.

    how: the options of paths.
    reflectors: returns those of the rooms that we are in.
    used_addresses: returns our own addresses in the sessions with those rooms.
    may_hear: returns whether a peer may hear our addresses, asked anew.
    dial: opens a tunnel to the peer of a session, through whichever room leads there; it is given a function that makes
        inner peers, one for each tunnel that it tries.
    on_news: called when a session's path changes, or could not be changed.
    on_away: called when a peer has been silent for `AWAY_TOLD_SECONDS`, with the seconds that its session waits at
        most, and with None when the session goes on after that.
    """

    def __init__(
        self,
        how: Direct,
        *,
        reflectors: Callable[[], Sequence[Address]],
        used_addresses: Callable[[], Collection[str]],
        may_hear: Callable[[Peer], Awaitable[bool]],
        dial: Callable[[Peer, Callable[[], StandbyPeer]], Awaitable[StandbyPeer]],
        on_news: Callable[[Peer, PathNews], None],
        on_away: Callable[[Peer, float | None], None],
    ) -> None:
        ready()  # here, and not while a session waits for it
        self._how = how
        self._reflectors = reflectors
        self._used_addresses = used_addresses
        self._ask = may_hear
        self._dial = dial
        self._on_news = on_news
        self._on_away = on_away
        self.searches = Searches()
        self._by_peer: dict[Peer, Negotiation] = {}
        self._forwards: dict[Peer, DirectForwards] = {}
        self._by_id: dict[bytes, Negotiation] = {}
        self._choices: dict[FeedId, PreferredPath] = {}
        self._may_meet: set[Peer] = set()
        self._probation: dict[Peer, _Probation] = {}
        self._standbys: dict[Peer, StandbyCarrier] = {}

    # ------------------------------------------------------------ from the client

    def begin(self) -> None:
        """Learn whether our router maps ports, while we join rooms: offers wait for one that answers."""
        if self._how.port_mapping and not self._how.loopback:
            with contextlib.suppress(OSError):  # this machine does not tell its addresses
                self.resources.ports.greet(host_addresses())

    def session_opened(self, peer: Peer, role: Role, *, may_meet: bool) -> None:
        """Take an inner session that has opened. may_meet: the peer may hear our addresses."""
        tunnel = peer.link.transport
        if not isinstance(tunnel, TunnelTransport):
            return
        negotiation = Negotiation(peer, tunnel, role, self._how, self)
        forwards = self._forwards[peer] = DirectForwards(
            peer, role, lambda: peer.api.forwards, lambda: negotiation.carrier_transport.carriers.is_stranded
        )
        peer.forwards = forwards
        self._by_peer[peer] = self._by_id[negotiation.session_id] = negotiation
        if may_meet:
            self._may_meet.add(peer)
            negotiation.begin(self._choices.get(peer.id, PreferredPath.AUTO))
        elif self._how.required:
            self._on_news(peer, PathNews("tunnel", "no direct path: it may not hear our addresses", None, 0.0))

    def stay(self, peer: Peer) -> None:
        """Stop telling a peer our addresses. A direct path that is up stays: the peer knows that one."""
        self._may_meet.discard(peer)
        negotiation = self._by_peer.get(peer)
        if negotiation is not None:
            negotiation.stay_in_tunnel()

    async def choose(self, peer: Peer, choice: PreferredPath) -> str | None:
        """Let a session take this path, and those that the same peer opens later.

        Returns:
            None when the session has the path, or why it has not. Then it has it as soon as it can.

        Raises:
            RefusedError: It may not have it.
        """
        if choice is PreferredPath.TUNNEL and self._how.required:
            raise RefusedError("direct paths alone are allowed here")
        self._choices.pop(peer.id, None)
        if choice is not PreferredPath.AUTO:
            self._choices[peer.id] = choice
        negotiation = self._by_peer.get(peer)
        if negotiation is None or (choice is not PreferredPath.TUNNEL and not self.may_meet(peer)):
            return self.why_not(peer) if choice is PreferredPath.DIRECT else None
        return await negotiation.choose(choice)

    def choice(self, peer: Peer) -> PreferredPath:
        """Return the path that a session is to take."""
        negotiation = self._by_peer.get(peer)
        return PreferredPath.AUTO if negotiation is None else negotiation.choice

    def measure(self, peer: Peer) -> None:
        """Note the round trip of a session's direct path, if it has one."""
        negotiation = self._by_peer.get(peer)
        if negotiation is not None:
            negotiation.measure()

    def figures(self, peer: Peer) -> PathFigures | None:
        """Return the figures of a session's direct path, if it has one."""
        negotiation = self._by_peer.get(peer)
        return None if negotiation is None else negotiation.figures

    def why_not(self, peer: Peer) -> str | None:
        """Return why a session is not on a direct path; None when it is."""
        negotiation = self._by_peer.get(peer)
        if peer.path == "direct":
            return None
        if negotiation is None or not self.may_meet(peer):
            return "it may not hear our addresses: we neither follow nor name it"
        if negotiation.choice is PreferredPath.TUNNEL:
            return LEAVING
        is_ours = negotiation.role is Role.CALLER
        return negotiation.problem or ("it is being tried" if is_ours else "the other end has made none yet")

    def is_waiting(self, peer: Peer) -> bool:
        """Return whether nothing carries a session: what did is lost, and the peer does not answer."""
        negotiation = self._by_peer.get(peer)
        return negotiation is not None and negotiation.carrier_transport.carriers.is_stranded

    def session_closed(self, peer: Peer) -> None:
        """Take note that an inner session is over, or a tunnel that was never shown."""
        self._may_meet.discard(peer)
        negotiation = self._by_peer.get(peer)
        if negotiation is not None:
            negotiation.session_closed()
        forwards = self._forwards.pop(peer, None)
        if forwards is not None:
            forwards.close()
        probation = self._probation.pop(peer, None)
        if probation is not None:
            probation.timer.cancel()
        standby = self._standbys.pop(peer, None)
        if standby is not None:
            standby.session_over(peer.error)

    def close(self) -> None:
        """Forget everything, sessions that may have to answer once more included."""
        self.resources.ports.close()
        for negotiation in list(self._by_id.values()):
            negotiation.close()

    def on_call(self, peer: Peer, called: Called) -> bool:
        """Handle a call of an inner peer; return True when it was about paths."""
        is_carrier = ".".join(called.name) == signaling.CARRIER and called.kind is CallKind.DUPLEX
        if is_carrier and peer in self._probation:
            self._accept(peer, called)
            return True
        self._show(peer)
        if ".".join(called.name) == signaling.CONTINUE and peer in self._forwards:
            self._forwards[peer].continued(called)
            return True
        if is_carrier and self._by_peer.get(peer) is not None:
            peer.refuse(called.req, self._why_no_standby(peer, called))
            return True
        negotiation = self._by_peer.get(peer)
        return negotiation is not None and negotiation.called(called)

    def named(self, peer: Peer) -> dict[tuple[str, ...], str]:
        """Return what `on_call` serves to a peer: name → kind. Calls about addresses need a peer that may hear ours."""
        negotiation = self._by_peer.get(peer)
        calls = () if negotiation is None or not self.may_meet(peer) else signaling.SERVED[negotiation.role]
        served = dict.fromkeys(calls, CallKind.ASYNC)
        if negotiation is not None:
            served[signaling.CARRIER] = CallKind.DUPLEX
        if peer.forwards is not None:
            served[signaling.CONTINUE] = CallKind.DUPLEX
        return {tuple(name.split(".")): kind.value for name, kind in served.items()}

    def is_standby(self, peer: Peer, link: Link, show: Callable[[], None]) -> bool:
        """Return whether an incoming tunnel may be a standby. `show` is called once it turns out not to be one."""
        tunnel = link.transport
        if not self._expects_standby(peer.id) or not isinstance(tunnel, TunnelTransport):
            return False
        timer = asyncio.get_running_loop().call_later(limits.STANDBY_PROBATION_SECONDS, self._show, peer)
        self._probation[peer] = _Probation(StandbyTunnel(tunnel, link), show, timer)
        return True

    def find(self, peer: Peer) -> Negotiation | None:
        """Return the negotiation of a session."""
        return self._by_peer.get(peer)

    # ------------------------------------------------------------ NegotiationHost

    @property
    def resources(self) -> Resources:
        return Resources.shared()

    def reflectors(self) -> Sequence[Address]:
        return self._reflectors()

    def used_addresses(self) -> Collection[str]:
        return self._used_addresses()

    def may_meet(self, peer: Peer) -> bool:
        return peer in self._may_meet

    async def may_hear(self, peer: Peer) -> bool:
        return self.may_meet(peer) and await self._ask(peer) and self.may_meet(peer)

    async def dial_standby(self, negotiator: Negotiator, epoch: int) -> StandbyCarrier | None:
        inner = await self._dial(negotiator.peer, lambda: StandbyPeer(on_closed=self.session_closed))
        try:
            return await self._stand_by(negotiator, epoch, inner)
        except RemoteError as error:  # said in the standby's own session: not by a room
            inner.link.close()
            if error.message == signaling.NO_SUCH_SESSION or error.message.endswith(NOT_ALLOWED):
                return None
            raise SessionEndedError("the standby was not accepted") from None
        except BaseException:
            inner.link.abort()
            raise

    async def _stand_by(self, negotiator: Negotiator, epoch: int, inner: StandbyPeer) -> StandbyCarrier:
        """Have an open tunnel accepted as a standby. Raises RemoteError when the other end refuses."""
        tunnel = inner.standby
        if tunnel is None or not inner.is_open:
            raise SessionEndedError("the standby is over")
        carrier = StandbyCarrier(negotiator.carrier_transport, inner, tunnel)
        args = signaling.StandBy(negotiator.session_id, epoch).as_json()
        stream = inner.open_as(RecordStream, CallKind.DUPLEX, signaling.CARRIER, (args,))
        try:
            await within(stream.accepted, limits.STANDBY_ACCEPT_SECONDS)
        except asyncio.TimeoutError:
            raise DeadlineError("the standby was not accepted in time") from None
        if not inner.is_open:  # nothing else reports its end
            raise SessionEndedError("the standby is over")
        self._standbys[inner] = carrier
        carrier.open(stream)
        return carrier

    def news(self, peer: Peer, news: PathNews) -> None:
        self._on_news(peer, news)

    def away(self, peer: Peer, seconds: float | None) -> None:
        self._on_away(peer, seconds)

    def stream_data(self, peer: Peer, carrier: DirectCarrier, stream: int, data: bytes, end: bool) -> None:
        if forwards := self._forwards.get(peer):
            forwards.data(carrier, stream, data)

    def stream_reset(self, peer: Peer, carrier: DirectCarrier, stream: int) -> None:
        if forwards := self._forwards.get(peer):
            forwards.reset(carrier, stream)

    def stream_record(self, peer: Peer, carrier: DirectCarrier, record: Record) -> None:
        if forwards := self._forwards.get(peer):
            forwards.record(carrier, record)

    def path_up(self, peer: Peer, carrier: DirectCarrier) -> None:
        if forwards := self._forwards.get(peer):
            forwards.path_up(carrier)

    def path_over(self, peer: Peer, carrier: DirectCarrier) -> None:
        if forwards := self._forwards.get(peer):
            forwards.path_over()

    def forget(self, negotiator: Negotiator) -> None:
        self._by_peer.pop(negotiator.peer, None)
        self._by_id.pop(negotiator.session_id, None)

    # ------------------------------------------------------------ inside

    def _expects_standby(self, who: FeedId) -> bool:
        return any(
            negotiation.role is Role.TARGET and negotiation.carrier_transport.is_moved and negotiation.peer_id == who
            for negotiation in self._by_id.values()
        )

    def _show(self, peer: Peer) -> None:
        probation = self._probation.pop(peer, None)
        if probation is not None:
            probation.timer.cancel()
            probation.tunnel.stand_down()
            probation.show()

    def _accept(self, peer: Peer, called: Called) -> None:
        """Accept a tunnel as a standby when its first call says so."""
        probation = self._probation.pop(peer)
        probation.timer.cancel()
        try:
            wish = signaling.parse_stand_by(called.args)
        except MuxRPCError as error:
            peer.link.fail(error)
            return
        negotiation = self._session_named(peer, wish)
        if negotiation is None or not negotiation.carrier_transport.carriers.claim(wish.epoch):
            peer.refuse(called.req, signaling.NO_SUCH_SESSION if negotiation is None else _NOT_NOW)
            peer.link.close()
            return
        peer.serve(Api())  # nothing else is served here
        stream = peer.accept_as(RecordStream, called.req)
        carrier = StandbyCarrier(negotiation.carrier_transport, peer, probation.tunnel)
        carrier.open(stream)
        carrier.send_records(_KEEPALIVE)  # says yes
        self._standbys[peer] = carrier
        negotiation.carrier_transport.standby_up(wish.epoch, carrier)

    def _session_named(self, peer: Peer, wish: signaling.StandBy) -> Negotiation | None:
        """Return the session that a peer's tunnel would stand by for."""
        found = self._by_id.get(wish.session)
        if found is None or found.role is not Role.TARGET or found.peer_id != peer.id:
            return None
        return found if found.carrier_transport.is_moved else None

    def _why_no_standby(self, peer: Peer, called: Called) -> str:
        """Return the answer to `direct.carrier` where no standby is expected: a shown tunnel is none any
        more, but the session that it names may live, and the next dial may be in time."""
        try:
            meant = self._session_named(peer, signaling.parse_stand_by(called.args))
        except MuxRPCError as error:
            return str(error)
        return signaling.NO_SUCH_SESSION if meant is None else _NOT_NOW


class StandbyPeer(Peer):
    """The session of a standby that this client dials."""

    standby: StandbyTunnel | None = None

    def __init__(self, *, on_closed: Callable[[Peer], None]) -> None:
        super().__init__(path="tunnel", on_closed=on_closed)

    def on_open(self, link: Link) -> None:
        tunnel: Any = link.transport
        if isinstance(tunnel, TunnelTransport):
            self.standby = StandbyTunnel(tunnel, link)
        super().on_open(link)

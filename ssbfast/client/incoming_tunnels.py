"""The target's end of tunnels: incoming tunnels, and the peers that are let in.

A room calls tunnel.connect on us. The caller has `INNER_HELLO_SECONDS` up to message 3, which proves its key; then the
admission decides. A caller that is let in gets message 4 at once. Every other caller, for every reason, gets the
same error end `REFUSAL_SECONDS` after message 3.

Callers of one portal's session share `PENDING_INNER` slots up to message 3, and `REFUSED_INNER` behind it. When there
are none left, the origin with the most loses its oldest. The origin is the room's word: before message 3 it decides
about slots and nothing else.

    expected   the claimed origin is one that we know locally and would let in: it keeps its slot before others do.
               A forged origin gains `PENDING_INNER_PER_ORIGIN` slots by it, but no caller is let in for it.
    proven     refused callers give way before those that are being decided over. Being expected counts here only for a
               key that is proven and would be let in, so that it reveals nothing new.

Sessions that were let in share `INNER_SESSIONS`; the newest ones of a key stay.

Spec: SIP 7, "Tunneled authentication".
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from ssbfast import limits
from ssbfast.client.pairing import Tickets
from ssbfast.client.slots import Slots
from ssbfast.client.tunnel_auth import Trust
from ssbfast.errors import FeedIdError, LimitError, SSBError
from ssbfast.ids import FeedId, NetworkId
from ssbfast.keys import Keypair
from ssbfast.net.api import Api
from ssbfast.net.link import Link
from ssbfast.net.peer import Intercept, Named, Peer
from ssbfast.net.relay import Relay
from ssbfast.room.admission import Admission
from ssbfast.room.tunnel_auth import AllowList, Reason, Verdict
from ssbfast.wire.handshake import ServerHandshake
from ssbfast.wire.muxrpc import Called, CallKind

SERVED: Final[Mapping[tuple[str, ...], str]] = MappingProxyType(
    {("tunnel", "connect"): "duplex", ("tunnel", "ping"): "sync", ("whoami",): "sync"}
)
"""What `Answering` serves to rooms, and the kinds of `api_for_rooms` that are not async, for the manifest of sessions
with them: go-muxrpc calls nothing that is not named there."""


def api_for_rooms(me: FeedId) -> Api:
    """Return what else rooms may call. It tells no more than the handshake did, and the time: they are not admitted."""
    api = Api()

    @api.call("tunnel.isRoom")
    async def is_room(_room: Peer, *_args: object) -> bool:
        return False

    @api.call("whoami")
    async def whoami(_room: Peer, *_args: object) -> dict[str, str]:
        return {"id": str(me)}

    @api.call("tunnel.ping")
    async def ping(_room: Peer, *_args: object) -> int:
        return int(time.time() * 1000)

    return api


class _SlotRank(enum.IntEnum):
    """The worth of a slot; see `Slots`."""

    OTHER = 0
    """A claimed origin that we do not expect; a proven key that is refused; a session that every peer may have."""
    UNDECIDED = 1
    EXPECTED = 2


def _unproven() -> Slots[Link]:
    return Slots(limits.PENDING_INNER, limits.PENDING_INNER_PER_ORIGIN)


def _refused() -> Slots[Link]:
    return Slots(limits.REFUSED_INNER, limits.REFUSED_INNER_PER_ORIGIN)


@dataclass(slots=True)
class _Waiting:
    """The links of one portal session whose handshakes are not done."""

    unproven: Slots[Link] = field(default_factory=_unproven)
    refused: Slots[Link] = field(default_factory=_refused)


class Answering:
    """The answerer of tunnel.connect for all rooms of a client.

    admission: the policy or the trust that decides over callers. api: what callers are served.
    on_arrived, on_departed: called with peers that were let in, and at their end. on_denied: called for the others.
    intercept, named: see `Peer`.
    is_standby: returns whether a tunnel may be a standby; it calls back when it turns out to be a peer's session.
    tickets: lets in those that hold a ticket, to the one call that takes it.
    """

    def __init__(
        self,
        me: Keypair,
        network: NetworkId,
        admission: Admission | Trust,
        api: Api,
        *,
        split: bool,
        on_arrived: Callable[[IncomingPeer], None],
        on_departed: Callable[[IncomingPeer], None],
        on_denied: Callable[[FeedId, FeedId, Verdict], None],
        intercept: Intercept | None = None,
        named: Named | None = None,
        is_standby: Callable[[IncomingPeer, Link, Callable[[], None]], bool] | None = None,
        tickets: Tickets | None = None,
    ) -> None:
        self._me = me
        self._network = network
        self._admission = admission
        self._api = api
        self._split = split
        self._on_arrived = on_arrived
        self._on_departed = on_departed
        self._on_denied = on_denied
        self._intercept = intercept
        self._named = named
        self._is_standby = is_standby
        self._tickets = tickets
        self._waiting: dict[Peer, _Waiting] = {}
        self._sessions: Slots[IncomingPeer] = Slots(
            limits.INNER_SESSIONS, limits.INNER_SESSIONS_PER_KEY, is_spare=lambda peer: peer.is_idle
        )

    @property
    def unproven(self) -> int:
        return sum(len(waiting.unproven) for waiting in self._waiting.values())

    @property
    def refused(self) -> int:
        """Return the connections whose end is due, and those that the admission is deciding over."""
        return sum(len(waiting.refused) for waiting in self._waiting.values())

    def on_call(self, relay: Relay, outer: Peer, called: Called) -> bool:
        """Handle a call of a room; return True when it was tunnel.connect."""
        if called.name != ("tunnel", "connect") or called.kind is not CallKind.DUPLEX:
            return False
        try:
            origin = self._origin(called)
        except FeedIdError:
            outer.refuse(called.req, "could not connect")
            return True
        self._answer(relay, outer, called.req, origin)
        return True

    def room_lost(self, outer: Peer) -> None:
        """Take note that the session with a room is over."""
        self._waiting.pop(outer, None)

    def _origin(self, called: Called) -> FeedId | None:
        """Return the origin that the room claims, None when it claims none. Raises FeedIdError for a malformed call."""
        args = called.args[0] if called.args else None
        if not isinstance(args, dict) or FeedId.parse(_text(args.get("target"))) != self._me.id:
            raise FeedIdError("not for us")
        return FeedId.parse(_text(args["origin"])) if args.get("origin") is not None else None

    def _answer(self, relay: Relay, outer: Peer, req: int, origin: FeedId | None) -> None:
        inner = IncomingPeer(self, outer, origin, api=self._api, intercept=self._intercept, named=self._named)
        link = Link(
            relay,
            ServerHandshake(self._me, network=self._network),
            inner,
            admit=lambda who: self._admit(inner, link, who),
            deadline=limits.INNER_HELLO_SECONDS,
            refusal_delay=limits.REFUSAL_SECONDS,
            split=self._split,
        )
        waiting = self._waiting.get(outer)
        if waiting is None:
            waiting = self._waiting[outer] = _Waiting()
        rank = _SlotRank.EXPECTED if origin is not None and self._expects(origin) else _SlotRank.OTHER
        _end(waiting.unproven.add(link, origin, rank))
        outer.tunnel(req, link)

    # ------------------------------------------------------------ the decision

    def _admit(self, inner: IncomingPeer, link: Link, who: FeedId) -> bool | Awaitable[bool]:
        """Decide over `who`, which message 3 has proved."""
        # `origin` is a hint of the room's: if it names another peer, the room is at fault.
        matches = inner.origin is None or inner.origin == who
        waiting = self._waiting.get(inner.outer)
        if waiting is not None:
            waiting.unproven.discard(link)
            rank = _SlotRank.EXPECTED if matches and self._expects(who) else _SlotRank.UNDECIDED
            _end(waiting.refused.add(link, inner.origin or who, rank))
        if self._tickets is not None:
            return self._judge_holder(self._tickets, inner, link, who, matches)
        return self._judge(inner, link, who, matches)

    async def _judge_holder(
        self, tickets: Tickets, inner: IncomingPeer, link: Link, who: FeedId, matches: bool
    ) -> bool:
        """Decide over a key that may be that of a ticket; then the room names the caller, and not that key."""
        api = await tickets.admit(inner, who, inner.origin)
        if api is not None:
            inner.become_guest(api)
            return self._apply_verdict(inner, link, who, Verdict(None, None))
        verdict = self._judge(inner, link, who, matches)
        return verdict if isinstance(verdict, bool) else await verdict

    def _judge(self, inner: IncomingPeer, link: Link, who: FeedId, matches: bool) -> bool | Awaitable[bool]:
        if isinstance(self._admission, Trust):
            return self._ask(self._admission, inner, link, who, matches)
        reason = None if self._admission.decide(who) else Reason.STRANGER
        verdict = Verdict(reason if matches else Reason.MISMATCH, None)
        return self._apply_verdict(inner, link, who, verdict)

    async def _ask(self, trust: Trust, inner: IncomingPeer, link: Link, who: FeedId, matches: bool) -> bool:
        return self._apply_verdict(inner, link, who, await trust.judge(who, origin_matches=matches))

    def _apply_verdict(self, inner: IncomingPeer, link: Link, who: FeedId, verdict: Verdict) -> bool:
        inner.verdict = verdict
        if not verdict.admitted:
            waiting = self._waiting.get(inner.outer)
            if waiting is not None:
                waiting.refused.move(link, _SlotRank.OTHER)
            self._on_denied(inner.outer.id, who, verdict)
        return verdict.admitted

    def _expects(self, who: FeedId) -> bool:
        """Return whether we would let `who` in by name, as far as we know without asking."""
        if isinstance(self._admission, Trust):
            return self._admission.expects(who)
        # Another admission may count or report the keys that it is asked about: it hears of proven keys only.
        return isinstance(self._admission, AllowList) and self._admission.decide(who)

    # ------------------------------------------------------------ from the incoming peers

    def session_opened(self, inner: IncomingPeer, link: Link) -> None:
        self._release_slots(inner, link)
        self._take_session(inner)
        if inner.is_guest:
            return
        if self._is_standby is None or not self._is_standby(inner, link, lambda: self._on_arrived(inner)):
            self._on_arrived(inner)

    def session_closed(self, inner: IncomingPeer, link: Link) -> None:
        self._release_slots(inner, link)
        self._sessions.discard(inner)
        if self._tickets is not None:
            self._tickets.left(inner)
        self._on_departed(inner)

    def _release_slots(self, inner: IncomingPeer, link: Link) -> None:
        waiting = self._waiting.get(inner.outer)
        if waiting is not None:
            waiting.unproven.discard(link)
            waiting.refused.discard(link)

    def _take_session(self, inner: IncomingPeer) -> None:
        """Give a session its slot. A peer that dials again may have left dead sessions behind: the newest one stays."""
        rank = _SlotRank.EXPECTED if self._expects(inner.id) else _SlotRank.OTHER
        gone = self._sessions.add(inner, inner.id, rank)
        if gone is not None:
            gone.link.fail(LimitError("newer sessions have taken its place"))


class IncomingPeer(Peer):
    """A caller: shown to the application once the handshake has proven it and it was let in.

    outer: the session with the room. origin: the caller's id as the room gives it. verdict: why it was let in.
    is_guest: it holds a ticket, and is no peer of the application's.
    """

    def __init__(
        self,
        answering: Answering,
        outer: Peer,
        origin: FeedId | None,
        *,
        api: Api,
        intercept: Intercept | None,
        named: Named | None,
    ) -> None:
        super().__init__(api=api, path="tunnel", portal=outer.id, intercept=intercept, named=named)
        self._answering = answering
        self.outer = outer
        self.origin = origin
        self.verdict = Verdict(None, None)
        self.is_guest = False
        self._calls = 0

    def become_guest(self, api: Api) -> None:
        """Serve these methods and nothing else, not even those of direct paths, and no more than `GUEST_CALLS` calls.

        Every peer of the room may know the key of words, and be a guest.
        """
        self.is_guest = True
        self._intercept, self._named = self._count, None
        self.serve(api)

    def _count(self, _peer: Peer, _called: Called) -> bool:
        self._calls += 1
        if self._calls > limits.GUEST_CALLS:
            self.link.abort()
        return self._calls > limits.GUEST_CALLS

    def on_open(self, link: Link) -> None:
        super().on_open(link)
        self._answering.session_opened(self, link)

    def on_close(self, link: Link, error: SSBError | None) -> None:
        super().on_close(link, error)
        self._answering.session_closed(self, link)


class Arrivals:
    """The peers that were let in and that the application has not taken yet; a peer that leaves first is forgotten."""

    def __init__(self) -> None:
        self._peers: dict[Peer, None] = {}
        self._news = asyncio.Event()
        self._ended = False

    def __len__(self) -> int:
        return len(self._peers)

    def add(self, peer: Peer) -> None:
        self._peers[peer] = None
        self._news.set()

    def discard(self, peer: Peer) -> None:
        """Forget a peer whose session is over. Harmless when it was taken."""
        self._peers.pop(peer, None)

    def end(self) -> None:
        """End the queue: no more peers come."""
        self._ended = True
        self._news.set()

    async def next(self) -> Peer | None:
        """Return the peer that has waited longest; None at the end."""
        while not self._peers:
            if self._ended:
                return None
            self._news.clear()
            await self._news.wait()
        peer = next(iter(self._peers))
        del self._peers[peer]
        return peer


def _end(link: Link | None) -> None:
    """Cut a connection that has lost its slot."""
    if link is not None:
        link.abort()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""

"""The target's end of tunnels: who knocks, who is let in.

A room calls tunnel.connect on us. Whoever is at the other end has `INNER_HELLO_SECONDS` up to message 3, which proves
its key; then the admission decides. Whoever is let in hears message 4 at once. Everybody else, whatever the reason,
gets the same error end `REFUSAL_SECONDS` after message 3. At most `PENDING_INNER` of a portal's session are unproven
at a time, and at most `REFUSED_INNER` proven ones wait; the oldest have to go.

Spec: SIP 7, "Tunneled authentication".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from ssbfast import limits
from ssbfast.app.trusting import Trust
from ssbfast.errors import FeedIdError, SSBError
from ssbfast.ids import FeedId, NetworkId
from ssbfast.keys import Keypair
from ssbfast.net.api import Api
from ssbfast.net.link import Link
from ssbfast.net.peer import Intercept, Peer
from ssbfast.net.relay import Relay
from ssbfast.room.members import Admission
from ssbfast.room.trust import Reason, Verdict
from ssbfast.wire.handshake import ServerHandshake
from ssbfast.wire.muxrpc import Called, CallKind


@dataclass(slots=True)
class _Waiting:
    """Links of one portal session whose handshakes are not done; oldest first."""

    unproven: dict[Link, None] = field(default_factory=dict)
    refused: dict[Link, None] = field(default_factory=dict)


class Answering:
    """Answers tunnel.connect for all rooms of a client.

    admission: who may come in, when there is no `trust` to ask. api: what callers are served.
    arrived, departed: told of peers that were let in, and of their end. denied: told of the others.
    intercept: see `Peer`. hold: keeps a tunnel from view that may be no peer's visit; it calls back when it is one.
    """

    def __init__(
        self,
        me: Keypair,
        network: NetworkId,
        admission: Admission | Trust,
        api: Api,
        *,
        split: bool,
        arrived: Callable[[Incoming], None],
        departed: Callable[[Incoming], None],
        denied: Callable[[FeedId, FeedId, Verdict], None],
        intercept: Intercept | None = None,
        hold: Callable[[Incoming, Link, Callable[[], None]], bool] | None = None,
    ) -> None:
        self._me = me
        self._network = network
        self._admission = admission
        self._api = api
        self._split = split
        self._arrived = arrived
        self._departed = departed
        self._denied = denied
        self._intercept = intercept
        self._hold = hold
        self._waiting: dict[Peer, _Waiting] = {}

    @property
    def unproven(self) -> int:
        return sum(len(waiting.unproven) for waiting in self._waiting.values())

    @property
    def refused(self) -> int:
        """Those whose end is due, and those who are being decided over."""
        return sum(len(waiting.refused) for waiting in self._waiting.values())

    def called(self, relay: Relay, outer: Peer, called: Called) -> bool:
        """A call of a room's; True when it was tunnel.connect."""
        if called.name != ("tunnel", "connect") or called.kind is not CallKind.DUPLEX:
            return False
        try:
            origin = self._origin(called)
        except FeedIdError:
            outer.refuse(called.req, "could not connect")
            return True
        self._answer(relay, outer, called.req, origin)
        return True

    def closed(self, outer: Peer) -> None:
        """The session with a room is over."""
        self._waiting.pop(outer, None)

    def _origin(self, called: Called) -> FeedId | None:
        """The origin that the room claims, None when it claims none. Raises FeedIdError for a call without sense."""
        args = called.args[0] if called.args else None
        if not isinstance(args, dict) or FeedId.parse(_text(args.get("target"))) != self._me.id:
            raise FeedIdError("not for us")
        return FeedId.parse(_text(args["origin"])) if args.get("origin") is not None else None

    def _answer(self, relay: Relay, outer: Peer, req: int, origin: FeedId | None) -> None:
        inner = Incoming(self, outer, origin, api=self._api, intercept=self._intercept)
        link = Link(
            relay,
            ServerHandshake(self._me, network=self._network),
            inner,
            admit=lambda who: self._admit(inner, link, who),
            deadline=limits.INNER_HELLO_SECONDS,
            refusal_delay=limits.REFUSAL_SECONDS,
            split=self._split,
        )
        unproven = self._waiting.setdefault(outer, _Waiting()).unproven
        if len(unproven) >= limits.PENDING_INNER:
            _drop_oldest(unproven)
        unproven[link] = None
        outer.tunnel(req, link)

    # ------------------------------------------------------------ the decision

    def _admit(self, inner: Incoming, link: Link, who: FeedId) -> bool | Awaitable[bool]:
        """Message 3 has proved `who`."""
        waiting = self._waiting.get(inner.outer)
        if waiting is not None:
            waiting.unproven.pop(link, None)
            if len(waiting.refused) >= limits.REFUSED_INNER:
                _drop_oldest(waiting.refused)
            waiting.refused[link] = None
        # `origin` is a hint of the room's: if it names somebody else, the room is at fault.
        matches = inner.origin is None or inner.origin == who
        if isinstance(self._admission, Trust):
            return self._judge(self._admission, inner, who, matches)
        reason = None if self._admission.decide(who) else Reason.STRANGER
        verdict = Verdict(reason if matches else Reason.MISMATCH, None)
        return self._decided(inner, who, verdict)

    async def _judge(self, trust: Trust, inner: Incoming, who: FeedId, matches: bool) -> bool:
        return self._decided(inner, who, await trust.judge(who, origin_matches=matches))

    def _decided(self, inner: Incoming, who: FeedId, verdict: Verdict) -> bool:
        inner.verdict = verdict
        if not verdict.admitted:
            self._denied(inner.outer.id, who, verdict)
        return verdict.admitted

    # ------------------------------------------------------------ from the incoming peers

    def opened(self, inner: Incoming, link: Link) -> None:
        self._settled(inner, link)
        if self._hold is None or not self._hold(inner, link, lambda: self._arrived(inner)):
            self._arrived(inner)

    def over(self, inner: Incoming, link: Link) -> None:
        self._settled(inner, link)
        self._departed(inner)

    def _settled(self, inner: Incoming, link: Link) -> None:
        waiting = self._waiting.get(inner.outer)
        if waiting is not None:
            waiting.unproven.pop(link, None)
            waiting.refused.pop(link, None)


class Incoming(Peer):
    """A caller: shown to the application once the handshake has proven it and it was let in.

    outer: the session with the room. origin: who it is by the room's account. verdict: why it was let in.
    """

    def __init__(
        self, answering: Answering, outer: Peer, origin: FeedId | None, *, api: Api, intercept: Intercept | None
    ) -> None:
        super().__init__(api=api, path="tunnel", portal=outer.id, intercept=intercept)
        self._answering = answering
        self.outer = outer
        self.origin = origin
        self.verdict = Verdict(None, None)

    def opened(self, link: Link) -> None:
        super().opened(link)
        self._answering.opened(self, link)

    def closed(self, link: Link, error: SSBError | None) -> None:
        super().closed(link, error)
        self._answering.over(self, link)


def _drop_oldest(links: dict[Link, None]) -> None:
    link = next(iter(links))
    del links[link]
    link.abort()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""

"""One peer's session with a room."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol

from ssbfast import limits, native
from ssbfast.budgets import Rings
from ssbfast.errors import LimitError, MuxRPCError, SSBError
from ssbfast.ids import FeedId
from ssbfast.net.link import Link
from ssbfast.net.relay import Relay
from ssbfast.net.relayed_tunnel import Ending, RelayedTunnel
from ssbfast.room.directory import refusal
from ssbfast.wire.muxrpc import JSON, MuxRPC, Reply

_ITEM = native.STREAM | native.JSON


class ExcludedError(SSBError):
    """The key of a session may not have one any more."""


_NONE: Final[Mapping[int, RelayedTunnel]] = MappingProxyType({})


class SessionRoom(Protocol):
    """The room as its sessions see it."""

    @property
    def relay(self) -> Relay:
        """Return the room's relay."""

    def has_place(self, session: RoomSession) -> bool:
        """Return whether a connection still has its place."""

    def sessions_of(self, who: FeedId) -> int:
        """Return how many sessions a key has."""

    def spend(self, session: RoomSession, kind: str) -> None:
        """Charge a session for one of a kind."""

    def limit_reached(self, limit: str) -> None:
        """Take note that a limit was reached."""

    def admit(self, session: RoomSession, who: FeedId) -> bool | Awaitable[bool]:
        """Return whether a proven key may have this session."""

    def session_opened(self, session: RoomSession) -> int:
        """Take a session whose handshake is done; return its number."""

    def event_received(self, session: RoomSession, event: Any) -> None:
        """Handle an event of a session's MuxRPC."""

    def connection_lost(self, session: RoomSession) -> None:
        """Take note that a connection is gone."""

    def backlog_passed(self, session: RoomSession, *, lost: bool) -> None:
        """Take note that too much waits for a session. lost: something was dropped."""

    def drained(self, session: RoomSession) -> None:
        """Take note that nothing waits for a session any more."""


class RoomSession:
    """A session with a peer, from the first byte of a connection to its last. Thousands of them idle: it holds little.

    networks: what it is charged to. began: when its connection was accepted, in the loop's time.
    number: the room's number for it, 0 until the handshake is done.
    splices: tunnels that begin or end here, by the number the peer writes.
    """

    __slots__ = ("_feeds", "_room", "began", "link", "mux", "networks", "number", "splices")

    link: Link

    def __init__(self, room: SessionRoom, networks: Rings) -> None:
        self._room = room
        self.networks = networks
        self.began = room.relay.loop.time()
        self.number = 0
        self.mux = MuxRPC()
        self.splices: Mapping[int, RelayedTunnel] = _NONE
        self._feeds: dict[int, _Feed] | None = None  # while something waits

    def attach(self, req: int, splice: RelayedTunnel) -> None:
        """Take part in a tunnel. req: the number that the peer writes."""
        if not isinstance(self.splices, dict):
            self.splices = {}
        self.splices[req] = splice

    def detach(self, req: int) -> None:
        """Undo `attach`. Harmless when it was not attached."""
        if isinstance(self.splices, dict):
            self.splices.pop(req, None)
            self.splices = self.splices or _NONE

    def age(self) -> float:
        """Return the seconds since its connection was accepted."""
        return self._room.relay.loop.time() - self.began

    def siblings(self) -> int:
        """Return how many sessions its key has."""
        return self._room.sessions_of(self.link.remote)

    @property
    def is_wanted(self) -> bool:
        """Return whether its connection still has its place."""
        return self._room.has_place(self)

    def abort(self) -> None:
        """Cut the connection."""
        self.link.abort()

    def dismiss(self) -> None:
        """Cut the session: its place goes to another one."""
        self.link.fail(LimitError("the room has no place for this session any more"))

    def exclude(self) -> None:
        """Cut the session, because its key may not have one any more."""
        self._end_tunnels(list(self.splices.values())[: limits.TUNNELS_ENDED])
        self.link.fail(ExcludedError("this key may not have a session any more"))

    def end_visits(self) -> None:
        """End the tunnels that others have opened to this session."""
        visits = [splice for splice in self.splices.values() if splice.target is self.link]
        self._end_tunnels(visits[: limits.TUNNELS_ENDED])
        for splice in visits[limits.TUNNELS_ENDED :]:
            self._room.relay.turns.queue(self.link.share, functools.partial(self._end_tunnels, [splice]))

    def _end_tunnels(self, splices: list[RelayedTunnel]) -> None:
        message = refusal(self.link.remote)
        for splice in splices:
            splice.fail(message, Ending.EXCLUDED)

    def admit(self, who: FeedId) -> bool | Awaitable[bool]:
        """Return whether the key that was proved is let in."""
        return self._room.admit(self, who)

    # ------------------------------------------------------------ LinkHandler

    def on_open(self, link: Link) -> None:
        self.number = self._room.session_opened(self)

    def on_packet(self, link: Link, flags: int, req: int, body: bytes) -> None:
        splice = self.splices.get(req)
        if splice is not None:
            splice.on_packet(link, flags, req, body)
            return
        self._room.spend(self, "calls")
        try:
            events = self.mux.receive(flags, req, body)
        except MuxRPCError as error:
            link.fail(error)
            return
        for event in events:
            if isinstance(event, Reply):
                if link.is_open:
                    link.control(*event.packet)
            else:
                self._room.event_received(self, event)

    def on_chunk(self, link: Link, req: int, data: bytes) -> None:
        """Do nothing: a room has no delivering inlets."""

    def on_close(self, link: Link, error: SSBError | None) -> None:
        splices = list(self.splices.values())
        if isinstance(error, ExcludedError):
            ends = [functools.partial(splice.fail, refusal(link.remote), Ending.EXCLUDED) for splice in splices]
        else:
            ends = [functools.partial(splice.link_closed, link) for splice in splices]
        for end in ends[: limits.TUNNELS_ENDED]:
            end()
        for end in ends[limits.TUNNELS_ENDED :]:  # a thousand tunnels take time: in turns with other work
            self._room.relay.turns.queue(link.share, end)
        self._room.connection_lost(self)

    # ------------------------------------------------------------ what the room sends

    def answer(self, req: int, value: JSON) -> None:
        if self.mux.is_open(req):
            self.link.control(*self.mux.answer(req, value))

    def refuse(self, req: int, message: str) -> None:
        if not self.mux.is_open(req):
            return
        packet = self.mux.fail(req, message)
        feed = self._feed(req)
        if feed is None or not feed.lane.packet(packet[0], packet[2]):
            self.link.control(*packet)
        else:
            self.link.touched()

    def send_item(self, req: int, body: bytes, *, snapshot: bool = False) -> None:
        """Send one item of a subscription.

        snapshot: a whole list, which is as long as it is. It is bulk: it takes turns with tunnels, what follows it
        waits behind it, and only that counts as backlog. Where none is under way, items go as control packets.
        """
        if not self.mux.is_open(req):
            return
        feed = self._feed(req)
        if feed is None and not snapshot:
            self.link.control(_ITEM, req, body)
            if self.link.core.control_queued > limits.SUBSCRIBER_BACKLOG:
                self._on_backlog_passed(lost=False)
            return
        is_new = feed is None
        if feed is None:
            if self._feeds is None:
                self._feeds = {}
            if len(self._feeds) >= limits.SUBSCRIPTIONS_PER_SESSION:
                self._room.limit_reached("lists_unread")
                self.link.fail(LimitError("the peer does not read its lists"))
                return
            feed = self._feeds[req] = _Feed(native.Lane(self.link.core, req, limits.TUNNEL_SHARE))
            self.link.own(feed.lane)
        kept = feed.lane.packet(_ITEM, body)
        if snapshot and kept:
            feed.counted = feed.lane.put
        if is_new:
            self._watch(req, feed.lane)
        if not kept or feed.backlog > limits.SUBSCRIBER_BACKLOG:
            self._on_backlog_passed(lost=not kept)
        self.link.touched()

    def _feed(self, req: int) -> _Feed | None:
        return None if self._feeds is None else self._feeds.get(req)

    def _on_backlog_passed(self, *, lost: bool) -> None:
        """Stop adding when too much waits, until all of it has left.

        lost: there was no queue memory; then it is not tried again at once.
        """
        self._room.backlog_passed(self, lost=lost)
        if lost:
            asyncio.get_running_loop().call_later(limits.ENDPOINTS_SECONDS, self._await_room)
        else:
            self._await_room()

    def _await_room(self) -> None:
        if self.link.is_open:
            core = self.link.core
            self.link.when(lambda: not core.control_queued and not self._feeds, self._on_caught_up)

    def _on_caught_up(self) -> None:
        if self.link.is_open:
            self._room.drained(self)

    def end_stream(self, req: int) -> None:
        packet = self.mux.end(req)
        if packet is None:
            return
        feed = self._feed(req)
        if feed is None or not feed.lane.packet(packet[0], packet[2]):
            self.link.control(*packet)
        self.link.touched()

    def _watch(self, req: int, lane: native.Lane) -> None:
        self.link.when(lambda: not lane.queued, lambda: self._on_feed_drained(req, lane))

    def _on_feed_drained(self, req: int, lane: native.Lane) -> None:
        """Give back the lane of a subscription of which nothing waits any more: that is cheaper than keeping it."""
        if lane.queued and self.link.is_open:
            self._watch(req, lane)
            return
        if self._feeds is not None:
            self._feeds.pop(req, None)
            self._feeds = self._feeds or None
        self.link.disown(lane)
        lane.close()


class _Feed:
    """The items that wait for one subscription."""

    __slots__ = ("counted", "lane")

    def __init__(self, lane: native.Lane) -> None:
        self.lane = lane
        self.counted = 0  # bytes put up to here are no backlog

    @property
    def backlog(self) -> int:
        return self.lane.put - max(self.lane.taken, self.counted)

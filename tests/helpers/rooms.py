"""A room without network: the shell of ssbfast.room in memory, with muxrpc on both sides of every session."""

from __future__ import annotations

from typing import Any

from ssbfast.ids import FeedId
from ssbfast.room.directory import Portal
from ssbfast.room.effects import (
    AnnounceNameplate,
    Answer,
    Effect,
    Fail,
    FindNameplate,
    Joined,
    Left,
    Splice,
    StreamEnd,
    StreamItem,
)
from ssbfast.room.methods import RoomInfo, RoomMethods
from ssbfast.wire.muxrpc import (
    STREAM,
    Answered,
    Called,
    CallKind,
    Ended,
    Failed,
    Item,
    MuxEvent,
    MuxRPC,
    Out,
    Reply,
)

WALL_MS = 1_700_000_000_000


def feed(n: int) -> FeedId:
    return FeedId(n.to_bytes(32, "big"))


class MemoryClient:
    """The client's end of one session. `events` is everything that has come and was not taken."""

    def __init__(self, room: MemoryRoom, session: int, id: FeedId) -> None:
        self.room, self.session, self.id = room, session, id
        self.mux = MuxRPC()
        self.events: list[MuxEvent] = []

    def send(self, packet: Out | None) -> None:
        if packet is not None:
            self.room.receive(self.session, packet)

    def open(self, kind: CallKind, name: str, *args: Any) -> int:
        req, packet = self.mux.call(kind, tuple(name.split(".")), list(args))
        self.send(packet)
        return req

    def call(self, name: str, *args: Any) -> Any:
        """The answer of an async call, or the RemoteError itself."""
        req = self.open(CallKind.ASYNC, name, *args)
        for event in self.take(req):
            if isinstance(event, Answered):
                return event.value
            if isinstance(event, Failed):
                return event.error
        raise LookupError("no answer")

    def source(self, name: str, *args: Any) -> int:
        return self.open(CallKind.SOURCE, name, *args)

    def duplex(self, name: str, *args: Any) -> int:
        return self.open(CallKind.DUPLEX, name, *args)

    def take(self, req: int | None = None) -> list[MuxEvent]:
        taken = [event for event in self.events if req is None or getattr(event, "req", None) == req]
        self.events = [event for event in self.events if event not in taken]
        return taken

    def items(self, req: int) -> list[Any]:
        return [event.value for event in self.take(req) if isinstance(event, Item)]

    def receive(self, packet: Out) -> None:
        for event in self.mux.receive(*packet):
            if isinstance(event, Reply):
                self.send(event.packet)
            else:
                self.events.append(event)


class MemoryRoom:
    """Carries out the effects of one RoomMethods; tunnels are forwarded event by event."""

    def __init__(self, number: int = 1000, name: str = "room") -> None:
        self.me = feed(number)
        self.portal = Portal(self.me)
        self.wall = WALL_MS
        self.methods = RoomMethods(self.portal, RoomInfo(name), wall_ms=lambda: self.wall)
        self.now = 0.0
        self.mux: dict[int, MuxRPC] = {}
        self.clients: dict[int, MemoryClient] = {}
        self.tunnels: dict[tuple[int, int], tuple[int, int]] = {}
        self.news: list[Joined | Left] = []
        self.sent: list[tuple[int, Out]] = []
        self._count = 0

    def enter(self, id: FeedId) -> MemoryClient:
        self._count += 1
        session = self._count
        self.portal.open(session, id)
        self.mux[session] = MuxRPC()
        self.clients[session] = client = MemoryClient(self, session, id)
        return client

    def leave(self, client: MemoryClient) -> None:
        events = self.mux.pop(client.session).close()
        self.clients.pop(client.session)
        for event in events:
            if isinstance(event, Ended):
                self._tunnel(client.session, event)
        self.carry_out(self.methods.session_closed(client.session, self.now))

    def advance(self, seconds: float) -> None:
        """Time passes; ticks come when they are due."""
        until = self.now + seconds
        while (tick := self.methods.next_tick) is not None and tick <= until:
            self.now = max(self.now, tick)
            self.carry_out(self.methods.tick(self.now))
        self.now = until

    def receive(self, session: int, packet: Out) -> None:
        for event in self.mux[session].receive(*packet):
            if isinstance(event, Reply):
                self.send(session, event.packet)
            elif not self._tunnel(session, event):
                self.carry_out(self.methods.handle(session, event, self.now))

    def send(self, session: int, packet: Out | None) -> None:
        if packet is not None and session in self.clients:
            self.sent.append((session, packet))
            self.clients[session].receive(packet)

    def _tunnel(self, session: int, event: MuxEvent) -> bool:
        if isinstance(event, Reply | Called | Answered | Failed):
            return False
        other = self.tunnels.get((session, event.req))
        if other is None or other[0] not in self.mux:
            return other is not None
        mux = self.mux[other[0]]
        if isinstance(event, Item):
            self.send(other[0], mux.item(other[1], event.value))
        else:
            self.send(other[0], mux.end(other[1], None if event.error is None else str(event.error)))
        return True

    def carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Joined() | Left():
                    self.news.append(effect)
                case Splice():
                    req, packet = self.mux[effect.target].call(CallKind.DUPLEX, effect.name, effect.args)
                    self.tunnels[effect.session, effect.req] = effect.target, req
                    self.tunnels[effect.target, req] = effect.session, effect.req
                    self.send(effect.target, packet)
                case Answer():
                    self.send(effect.session, self.mux[effect.session].answer(effect.req, effect.value))
                case Fail():
                    self.send(effect.session, self.mux[effect.session].fail(effect.req, effect.message))
                case AnnounceNameplate() | FindNameplate():  # the shell's own; here it finds none
                    is_own = isinstance(effect, AnnounceNameplate)
                    mux = self.mux[effect.session]
                    self.send(effect.session, mux.answer(effect.req, True) if is_own else mux.fail(effect.req, "none"))
                case StreamEnd():
                    self.send(effect.session, self.mux[effect.session].end(effect.req))
                case StreamItem():
                    if self.mux[effect.session].is_open(effect.req):
                        self.send(effect.session, (STREAM | 2, effect.req, effect.body))

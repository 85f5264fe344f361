"""A session with a peer, as a program uses it: call its methods, serve ours, carry tunnels through it.

A `Peer` is the owner of one link: over TCP (then it may be a portal), or inside a tunnel.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, TypeVar

from ssbfast import limits, native
from ssbfast.errors import (
    DeadlineError,
    LocalProtocolError,
    MuxRPCError,
    SessionEndedError,
    SSBError,
)
from ssbfast.ids import FeedId
from ssbfast.net.api import Api, DirectStreams, Name
from ssbfast.net.duplex_transport import DuplexTransport
from ssbfast.net.link import Link
from ssbfast.net.ping import PingStream, play
from ssbfast.net.stream import Stream
from ssbfast.net.timeouts import within
from ssbfast.net.tunnel_transport import TunnelTransport
from ssbfast.wire.muxrpc import (
    JSON,
    Answered,
    Called,
    CallKind,
    Ended,
    Failed,
    Item,
    MuxEvent,
    MuxRPC,
    Reply,
    unknown_method_message,
)
from ssbfast.wire.muxrpc_body import error_body

Path = Literal["tunnel", "direct", "tcp"]
D = TypeVar("D", bound=DuplexTransport)
S = TypeVar("S", bound=Stream)
Intercept = Callable[["Peer", Called], bool]
"""Sees a call before the api does, at once and in order; True when it has dealt with it."""
Named = Callable[["Peer"], Mapping[Name, str]]
"""What an `Intercept` serves to a peer right now: name → kind, for the manifest."""

_STANDARD: Final[Mapping[Name, str]] = MappingProxyType({("manifest",): "sync", ("gossip", "ping"): "duplex"})
"""What every peer answers."""


class Peer:
    """A session with a peer.

    Args:
        api: Methods that we serve.
        path: How the peer is reached: "tcp", "tunnel" through a room, or "direct".
        portal: The room's id for a tunnel, else None.
        intercept: Sees calls before `api` does.
        named: Tells what `intercept` serves, for the manifest.
        on_closed: Called once, when the session is over.

    Attributes:
        path: As above; it changes when the session moves.
        portal: As above.
        label: Eight random hexadecimal digits, which name this session in events.
        error: What ended the session; None while it lasts, and after goodbyes on both sides.
        since: When the session opened, seconds since 1970; None before.
        round_trips: The round trip as measured last on each path, in seconds.
    """

    def __init__(
        self,
        *,
        api: Api | None = None,
        path: Path = "tcp",
        portal: FeedId | None = None,
        intercept: Intercept | None = None,
        named: Named | None = None,
        on_closed: Callable[[Peer], None] | None = None,
    ) -> None:
        self.path: Path = path
        self.portal = portal
        self.label: Final = secrets.token_hex(4)
        self.forwards: DirectStreams | None = None
        """TCP connections on direct paths; None where the session stays in its tunnel."""
        self.mux = MuxRPC()
        self.error: SSBError | None = None
        self.since: float | None = None
        self.round_trips: dict[Path, float] = {}
        self._api = api or Api()
        self._intercept = intercept
        self._named = named
        self._on_closed = on_closed
        self._link: Link | None = None
        loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = loop.create_future()
        self._closed: asyncio.Future[None] = loop.create_future()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.waiters: dict[asyncio.Task[Any] | None, bool] = {}
        """Tasks of the application that wait for what the session brings: see `waiting`."""
        self.held: set[Stream] = set()
        """Full streams for which the session is not read."""
        self._streams: dict[int, Stream] = {}
        self._tunnels: dict[int, DuplexTransport] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        who = "unproven" if self._link is None else self.id.short
        return f"<Peer {who} {self.path}{' closed' if self._closed.done() else ''}>"

    # ------------------------------------------------------------ the session

    @property
    def link(self) -> Link:
        """Connection underneath.

        Raises:
            SessionEndedError: The session is not open yet.
        """
        if self._link is None:
            raise SessionEndedError("the session is not open")
        return self._link

    @property
    def id(self) -> FeedId:
        """Id of the peer, proven by the handshake."""
        return self.link.remote

    @property
    def api(self) -> Api:
        """Methods that we serve."""
        return self._api

    @property
    def is_open(self) -> bool:
        """True when calls can be made."""
        return self._link is not None and self._link.is_open

    @property
    def is_idle(self) -> bool:
        """True when nothing is open in it but pings: no call, no stream, no carried connection."""
        pings = sum(isinstance(stream, PingStream) for stream in self._streams.values())
        return self.mux.open_streams <= pings and (self.forwards is None or self.forwards.is_idle)

    @property
    def moved(self) -> tuple[int, int]:
        """Bytes of the session so far, those of its connections included: received and sent."""
        received, sent = (0, 0) if self.forwards is None else self.forwards.moved
        return self.link.received + received, self.link.sent + sent

    @property
    def connections(self) -> int:
        """Connections that the session carries now."""
        return len(self._tunnels) + (0 if self.forwards is None else self.forwards.connections)

    @contextlib.contextmanager
    def waiting(self, *, answer: bool) -> Iterator[None]:
        """Enclose a wait of the application for what the session brings. answer: to something that it has asked."""
        task = asyncio.current_task()
        self.waiters[task] = answer
        for stream in list(self.held):
            stream.waits(task)
        try:
            yield
        finally:
            self.waiters.pop(task, None)

    @property
    def inbox_bytes(self) -> int:
        """Bytes of all streams that wait to be taken."""
        return sum(stream.inbox_bytes for stream in self._streams.values())

    async def wait_opened(self) -> None:
        """Wait for the end of the handshake.

        Raises:
            SSBError: What ended the connection, if that came first.
        """
        await asyncio.shield(self._opened)

    async def wait_closed(self) -> None:
        """Wait until the session is over, whichever end ended it; `error` tells how (None: goodbyes on both sides)."""
        await asyncio.shield(self._closed)

    async def close(self) -> None:
        """Say goodbye and wait until the connection is gone, at most `GOODBYE_SECONDS`."""
        if self._link is not None:
            self._link.close()
            for stream in self._streams.values():
                stream.unhold()  # nothing is taken any more, but the peer's goodbye has to be read
            await self.wait_closed()

    def serve(self, api: Api) -> None:
        """Serve other methods from now on.

        Args:
            api: The methods, in place of those before.
        """
        self._api = api

    # ------------------------------------------------------------ our calls

    async def call(self, name: str, *args: Any, timeout: float | None = None) -> Any:
        """Call an async or sync method and return its answer.

        Args:
            name: The method's name, its parts joined by dots.
            *args: Arguments, anything JSON.
            timeout: Seconds; None waits as long as the session lives.

        Returns:
            The answer: bytes, str or anything JSON.

        Raises:
            RemoteError: The peer answers with an error.
            SessionEndedError: The session is over.
            DeadlineError: There is no answer in time.
        """
        req, packet = self.mux.call(CallKind.ASYNC, _split(name), list(args))
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[req] = answer
        try:
            self.link.control(*packet)
            with self.waiting(answer=True):
                return await within(answer, timeout)
        except asyncio.TimeoutError:
            raise DeadlineError(f"no answer to {name}") from None
        finally:
            self._answers.pop(req, None)
            self.mux.end(req)  # a late answer is dropped

    def source(self, name: str, *args: Any) -> Stream:
        """Open a source: iterate over it; `end` cancels it.

        Args:
            name: The method's name, its parts joined by dots.
            *args: Arguments, anything JSON.

        Raises:
            SessionEndedError: The session is over.
        """
        return self.open_stream(CallKind.SOURCE, name, args)

    def sink(self, name: str, *args: Any) -> Stream:
        """Open a sink: `send` to it, then `end` it.

        Args:
            name: The method's name, its parts joined by dots.
            *args: Arguments, anything JSON.

        Raises:
            SessionEndedError: The session is over.
        """
        return self.open_stream(CallKind.SINK, name, args)

    def duplex(self, name: str, *args: Any) -> Stream:
        """Open a duplex: `send`, iterate, `end`.

        Args:
            name: The method's name, its parts joined by dots.
            *args: Arguments, anything JSON.

        Raises:
            SessionEndedError: The session is over.
        """
        return self.open_stream(CallKind.DUPLEX, name, args)

    def open_stream(self, kind: CallKind, name: str, args: tuple[Any, ...]) -> Stream:
        return self.open_as(Stream, kind, name, args)

    def open_as(self, make: Callable[[Peer, int], S], kind: CallKind, name: str, args: tuple[Any, ...]) -> S:
        """Open a stream of a class of its own."""
        req, packet = self.mux.call(kind, _split(name), list(args))
        stream = make(self, req)
        stream.name = name
        self._streams[req] = stream
        self.link.control(*packet)
        return stream

    def open_tunnel(self, call: Callable[[], Link], args: dict[str, Any]) -> TunnelTransport:
        """Ask the portal on the other end for a tunnel; the inner link's hello goes right behind the call."""
        req, packet = self.mux.call(CallKind.DUPLEX, ("tunnel", "connect"), [args])
        self.link.control(*packet)
        return self.tunnel(req, call())

    def tunnel(self, req: int, inner: Link) -> TunnelTransport:
        """Let `inner` run over the stream `req`."""
        return self.carry(req, lambda req: TunnelTransport(self, req, inner, self.id))

    def open_carried(self, name: str, make: Callable[[int], D], *args: Any) -> D:
        """Open a duplex of bytes that a transport takes natively; `make` gets its number."""
        req, packet = self.mux.call(CallKind.DUPLEX, _split(name), list(args))
        self.link.control(*packet)
        return self.carry(req, make)

    def carry(self, req: int, make: Callable[[int], D]) -> D:
        """Let a transport have the stream `req`."""
        transport = make(req)
        if self.mux.is_open(req):
            self._tunnels[req] = transport
        return transport

    # ------------------------------------------------------------ for streams and tunnels

    def end(self, stream: Stream, error: str | None) -> None:
        """End our direction of a stream."""
        packet = self.mux.end(stream.req, error)
        if packet is not None and self.is_open:
            try:
                stream.packet(packet[0], packet[2])
            except SSBError:
                return
            if stream.req < 0 and (error is not None or stream.server is not None):
                # Nothing of the peer's is wanted any more; whether it ever answers our end is its business.
                if stream.server is None:
                    stream.on_end(None)
                self._streams.pop(stream.req, None)
                stream.release()
        self._tidy(stream.req)

    def end_stream(self, req: int, error: str | None) -> bytes | None:
        packet = self.mux.end(req, error)
        return None if packet is None else packet[2]

    def forget_tunnel(self, req: int) -> None:
        self._tunnels.pop(req, None)
        self.mux.abandon(req)  # whether the peer ever answers our end is its business

    def _tidy(self, req: int) -> None:
        stream = self._streams.get(req)
        if stream is not None and stream.ended and not self.mux.is_open(req):
            del self._streams[req]
            stream.release()

    # ------------------------------------------------------------ LinkHandler

    def on_open(self, link: Link) -> None:
        self._link = link
        self.since = time.time()
        if not self._opened.done():
            self._opened.set_result(None)

    def on_packet(self, link: Link, flags: int, req: int, body: bytes) -> None:
        try:
            events = self.mux.receive(flags, req, body)
        except MuxRPCError as error:
            link.fail(error)
            return
        for event in events:
            self._on_event(event, len(body))

    def on_chunk(self, link: Link, req: int, data: bytes) -> None:
        tunnel = self._tunnels.get(-req)
        if tunnel is not None:
            tunnel.received(data)

    def on_close(self, link: Link, error: SSBError | None) -> None:
        self.error = error
        over = error or SessionEndedError("the session is over")
        if not self._opened.done():
            self._opened.set_exception(over)
            self._opened.exception()  # a failure that nothing awaits is no error
        for task in self._tasks:
            task.cancel()
        for tunnel in list(self._tunnels.values()):
            tunnel.carrier_closed()
        for event in self.mux.close():
            self._on_event(event, 0)
        for stream in list(self._streams.values()):
            stream.on_end(over)
            stream.release()
        self._streams.clear()
        self._closed.set_result(None)
        if self._on_closed is not None:
            self._on_closed(self)

    def _on_event(self, event: MuxEvent, size: int) -> None:
        if isinstance(event, Item):
            stream = self._streams.get(event.req)
            if stream is not None:
                stream.on_item(event.value, size)
            elif (tunnel := self._tunnels.get(event.req)) is not None:
                tunnel.item(event.value)
        elif isinstance(event, Answered):
            self._answer(event.req, event.value, None)
        elif isinstance(event, Failed):
            self._answer(event.req, None, event.error)
        elif isinstance(event, Reply):
            if self.link.is_open:
                self.link.control(*event.packet)
        elif isinstance(event, Called):
            self._called(event)
        else:
            self._ended(event)

    def _answer(self, req: int, value: Any, error: SSBError | None) -> None:
        answer = self._answers.get(req)
        if answer is None or answer.done():
            return
        if error is None:
            answer.set_result(value)
        else:
            answer.set_exception(error)

    def _ended(self, event: Ended) -> None:
        tunnel = self._tunnels.get(event.req)
        if tunnel is not None:
            tunnel.remote_ended(event.error)
            return
        stream = self._streams.get(event.req)
        if stream is not None:
            stream.on_end(event.error)
            self._tidy(event.req)

    # ------------------------------------------------------------ the peer's calls

    def _called(self, event: Called) -> None:
        if self._intercept is not None and self._intercept(self, event):
            return
        if self._standard(event):
            return
        carry = self._api.find_carried(event.name) if event.kind is CallKind.DUPLEX else None
        if carry is not None:
            carry(self, event)
            return
        method = self._api.find(event.name, event.kind)
        if method is None:
            self.refuse(event.req, unknown_method_message(event.name))
            return
        # The stream has to be there before the next packet is looked at; the method itself starts a tick later.
        stream = None if event.kind is CallKind.ASYNC else self.accept_as(Stream, event.req)
        task = self.background(self._run(event, method, stream))
        if stream is not None and event.kind is CallKind.SOURCE:
            stream.server = task

    def background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run work as long as the session lasts."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def reply(self, req: int, value: Any) -> None:
        """Answer an async call of the peer, if it still waits."""
        if self.is_open and self.mux.is_open(req):
            self.link.control(*self.mux.answer(req, value))

    def refuse(self, req: int, message: str) -> None:
        """Answer a call of the peer, of any kind, with an error."""
        if self.mux.is_open(req):
            self.link.control(*self.mux.fail(req, message))

    def _standard(self, event: Called) -> bool:
        """Answer what every peer answers; return whether it was such a call."""
        if event.name == ("manifest",) and event.kind is CallKind.ASYNC:
            self.link.control(*self.mux.answer(event.req, self._manifest()))
            return True
        if event.name == ("gossip", "ping") and event.kind is CallKind.DUPLEX:
            self.background(play(self, self.accept_as(PingStream, event.req), serves=False))
            return True
        return False

    def _manifest(self) -> dict[str, JSON]:
        """Return all that is served: other makes call nothing else (go-muxrpc)."""
        named = {} if self._named is None else self._named(self)
        return self._api.manifest({**_STANDARD, **named})

    def accept_as(self, make: Callable[[Peer, int], S], req: int) -> S:
        """Take a stream that the peer has opened, by a class of its own."""
        stream = make(self, req)
        self._streams[req] = stream
        return stream

    async def _run(self, event: Called, method: Callable[..., Any], stream: Stream | None) -> None:
        try:
            if stream is None:
                self._answer_call(event.req, await method(self, *event.args))
            elif event.kind is CallKind.SOURCE:
                async with contextlib.aclosing(method(self, *event.args)) as items:
                    async for item in items:
                        await stream.send(item)
            else:
                await method(self, stream, *event.args)
            if stream is not None:
                await stream.end()
        except asyncio.CancelledError:
            if stream is not None:
                stream.end_now("cancelled")
            raise
        except Exception as error:
            self._run_failed(event, error)

    def _answer_call(self, req: int, value: Any) -> None:
        if not self.mux.is_open(req):
            return
        flags, req, body = self.mux.answer(req, value)
        if len(body) > limits.OWN_ANSWER:
            flags, body = native.END | native.JSON, error_body("the answer is too long")
        self.link.control(flags, req, body)

    def _run_failed(self, event: Called, error: Exception) -> None:
        if isinstance(error, SSBError):
            message = str(error)
        else:
            message = "internal error"
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"serving {'.'.join(event.name)} failed", "exception": error}
            )
        if not self.is_open:
            return
        stream = self._streams.get(event.req)
        try:
            if stream is not None:
                stream.end_now(message)
            else:
                self.refuse(event.req, message)
        except (SessionEndedError, LocalProtocolError):
            return


def _split(name: str) -> tuple[str, ...]:
    return tuple(name.split("."))

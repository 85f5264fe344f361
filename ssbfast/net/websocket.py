"""A session over a WebSocket: one object between a TCP (or TLS) connection and a link.

Below it is the protocol of the connection, above it the transport of the link, which notices nothing. One binary
message carries any number of the session's bytes; where messages and fragments begin means nothing. There is no task
for a connection, and no compression: what is sealed does not become shorter.

What happens to bytes in flight
    `close()`     what was written goes out, then a close frame (1000); the peer's answer is waited for.
    `abort()`     dropped, here and on the way.
    peer's close  what came before it is delivered; what we write after it is dropped, as RFC 6455 wants it.
    peer's mistake  what came before it is delivered; a close frame says which rule was broken (1003 for text).

`protocol_class` makes what uvicorn's `Config(ws=…)` wants, for a room; `open_websocket` dials.

Spec: RFC 6455. Frames are read and written by websockets' sans-I/O layer, which is in the extra `web`.
"""

from __future__ import annotations

import asyncio
import http
import logging
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, TypeAlias, cast
from typing import Protocol as TypingProtocol

from ssbfast import limits
from ssbfast.errors import DeadlineError, MissingExtraError, SessionEndedError
from ssbfast.net.link import Link
from ssbfast.net.tls import tls_context
from ssbfast.wire.address import WebSocketAddress
from ssbfast.wire.address_types import WS_PORTS

try:
    from websockets.client import ClientProtocol
    from websockets.datastructures import Headers
    from websockets.frames import CloseCode, Frame, Opcode
    from websockets.http11 import Request
    from websockets.protocol import Protocol, State
    from websockets.server import ServerProtocol
    from websockets.uri import parse_uri
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "websockets":
        raise
    raise MissingExtraError("WebSocket addresses need an extra: pip install 'ssbfast[web]' (or websockets)") from None

PATHS: Final = ("/", "/ws")
"""Where rooms answer."""

TakeConnection: TypeAlias = Callable[[str], "Link | None"]
"""Gets the host that a connection comes from; returns its link, or None when it has no place."""

ClientHost: TypeAlias = Callable[[str, Headers], str]
"""Gets the host at the other end of the connection, and the headers; returns the host that the peer is at."""

_SILENT: Final = logging.getLogger("ssbfast.websocket")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False  # websockets' own lines have headers in them
_SILENT.setLevel(logging.CRITICAL)


class WebSocket(asyncio.Transport, asyncio.Protocol):
    """One end of a WebSocket. parser: websockets' half of it."""

    __slots__ = (
        "_allowance",
        "_counted_at",
        "_inbox",
        "_is_closing",
        "_is_full",
        "_is_lost",
        "_is_over",
        "_is_queued",
        "_is_reading",
        "_link",
        "_loop",
        "_parser",
        "_raw",
        "_raw_reads",
        "_timer",
        "_unread",
    )

    def __init__(self, parser: Protocol) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._parser = parser
        self._link: Link | None = None
        self._raw: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._inbox: memoryview | None = None  # what the link has not taken
        self._unread: memoryview | None = None  # what the parser has not taken
        self._is_queued = False  # it has a turn
        self._is_reading = True
        self._raw_reads = True
        self._is_full = False  # the other end takes nothing just now
        self._is_closing = False  # closed by the link
        self._is_over = False  # nothing more comes from the peer that counts
        self._is_lost = False
        self._allowance = float(limits.WEBSOCKET_IDLE_FRAMES)
        self._counted_at = 0.0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._parser.state.name.lower()}>"

    # ------------------------------------------------------------ asyncio.Transport, for the link

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default if self._raw is None else self._raw.get_extra_info(name, default)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return cast(asyncio.BaseProtocol, self._link)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        raise NotImplementedError("a WebSocket keeps its link")

    def is_closing(self) -> bool:
        return self._is_closing or self._is_lost or self._connection.is_closing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._connection.set_write_buffer_limits(high=high, low=low)

    def get_write_buffer_size(self) -> int:
        return self._connection.get_write_buffer_size()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closing or self._parser.state is not State.OPEN:
            return
        view = memoryview(data)
        for at in range(0, len(view), limits.WEBSOCKET_MESSAGE):
            self._parser.send_binary(view[at : at + limits.WEBSOCKET_MESSAGE])
        self._send()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Send nothing: our goodbye is out, and a close frame would keep us from hearing the peer's."""

    def is_reading(self) -> bool:
        return self._is_reading and not self.is_closing()

    def pause_reading(self) -> None:
        self._is_reading = False
        self._steer()

    def resume_reading(self) -> None:
        if self._is_reading or self._is_lost:
            return
        self._is_reading = True
        if self._inbox is None:
            self._steer()
        else:
            self._loop.call_soon(self._go_on)

    def close(self) -> None:
        if self._is_closing or self._is_lost:
            return
        self._is_closing = True
        self._inbox = None
        if self._is_over or self._parser.state is not State.OPEN:
            self._end()
            return
        self._parser.send_close(CloseCode.NORMAL_CLOSURE)
        self._send()
        self._end_within(limits.WEBSOCKET_CLOSE_SECONDS)
        self._queue_rest()
        self._steer()  # the peer's close frame is behind bytes that are not wanted any more

    def abort(self) -> None:
        self._is_closing = True
        self._inbox = None
        self._connection.abort()

    @property
    def link(self) -> Link:
        """Return the session's link. Raises SessionEndedError when there is none (yet)."""
        if self._link is None:
            raise SessionEndedError("there is no session")
        return self._link

    # ------------------------------------------------------------ asyncio.Protocol, for the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast(asyncio.Transport, transport)
        self._end_within(limits.WEBSOCKET_UPGRADE_SECONDS)

    def data_received(self, data: bytes) -> None:
        if self._unread is not None:  # TLS may bring some more after we have paused
            self._unread = memoryview(b"".join((self._unread, data)))
        elif self._link is not None and self._link.is_late():
            self._unread = memoryview(data)
            self._queue_rest()
            self._steer()
        else:
            self._read(memoryview(data))

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = self._is_over = True
        self._inbox = self._unread = None
        self._cancel_timer()
        link = self._link
        if link is not None:
            link.connection_lost(exc)

    def pause_writing(self) -> None:
        self._is_full = True
        if self._link is not None:
            self._link.pause_writing()

    def resume_writing(self) -> None:
        self._is_full = False
        if self._link is not None:
            self._link.resume_writing()

    # ------------------------------------------------------------ inside

    @property
    def _connection(self) -> asyncio.Transport:
        if self._raw is None:
            raise SessionEndedError("the connection is not there")
        return self._raw

    def _shake_hands(self, message: object) -> None:
        """Take the other end's half of the opening handshake."""
        raise NotImplementedError

    def _begin(self, link: Link) -> None:
        """Begin the session: both ends have agreed."""
        self._cancel_timer()
        self._link = link
        link.connection_made(self)

    def _read(self, data: memoryview) -> None:
        """Take what was read, as much of it as this turn allows."""
        pieces: list[bytes | bytearray | memoryview] = []
        frames = at = 0
        size = limits.WEBSOCKET_READ
        while at < len(data) and frames <= limits.WEBSOCKET_FRAMES and not (self._is_over or self._is_lost):
            found = self._parse(data[at : at + size], pieces)
            frames, at = frames + found, at + size
            size = limits.WEBSOCKET_READ if found > limits.WEBSOCKET_FEW else 2 * size
        if at < len(data) and not (self._is_over or self._is_lost):
            self._unread = data[at:]
        if pieces and not self._is_closing and not self._is_lost:
            if self._inbox is not None:
                pieces.insert(0, self._inbox)
            self._inbox = memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))
            self._deliver()
        if self._is_over and not self._is_lost:
            self._end()
        else:
            self._queue_rest()
            self._steer()

    def _queue_rest(self) -> None:
        """Let what is unread have its turn, unless the link has to take something else first."""
        if self._unread is None or self._is_queued or self._link is None or self._is_lost:
            return
        if self._inbox is None or self._is_closing:
            self._is_queued = True
            self._link.in_turn(self._take_turn)

    def _take_turn(self) -> None:
        self._is_queued = False
        data = self._unread
        if data is None or self._is_lost or self._is_over:
            return
        self._unread = None
        self._read(data)

    def _steer(self) -> None:
        """Read from the connection exactly while what comes can be taken."""
        if self._is_lost or self._raw is None:
            return
        wanted = self._is_closing or (self._is_reading and self._inbox is None)
        wanted = wanted and self._unread is None
        if wanted is not self._raw_reads:
            self._raw_reads = wanted
            (self._raw.resume_reading if wanted else self._raw.pause_reading)()

    def _parse(self, data: memoryview, pieces: list[bytes | bytearray | memoryview]) -> int:
        """Take bytes; what their frames carry comes behind `pieces`. Return how many frames they were."""
        parser = self._parser
        parser.receive_data(data)  # type: ignore[arg-type]  # it is only added to a bytearray
        events = parser.events_received()
        for event in events:
            if isinstance(event, Frame):
                self._take(event, pieces)
            else:
                self._shake_hands(event)
            if self._is_over:
                break
        if parser.close_rcvd is not None or parser.parser_exc is not None or parser.handshake_exc is not None:
            self._is_over = True
        self._send(in_answer=True)
        return len(events)

    def _take(self, frame: Frame, pieces: list[bytes | bytearray | memoryview]) -> None:
        if frame.opcode is Opcode.TEXT:
            self._fail(CloseCode.UNSUPPORTED_DATA)
        elif frame.opcode in (Opcode.BINARY, Opcode.CONT) and frame.data:
            pieces.append(frame.data)
        elif frame.opcode is not Opcode.CLOSE and not self._may_idle():
            self._fail(CloseCode.POLICY_VIOLATION)

    def _may_idle(self) -> bool:
        """Return whether the peer may send one more frame that carries nothing."""
        now = self._loop.time()
        earned = (now - self._counted_at) * limits.WEBSOCKET_IDLE_FRAMES_PER_SECOND
        self._allowance = min(self._allowance + earned, float(limits.WEBSOCKET_IDLE_FRAMES)) - 1
        self._counted_at = now
        return self._allowance >= 0

    def _fail(self, code: CloseCode) -> None:
        self._is_over = True
        if self._parser.state is State.OPEN:
            self._parser.fail(code)

    def _send(self, *, in_answer: bool = False) -> None:
        """Hand on what the parser has to say. in_answer: pongs, which nobody gets who does not read."""
        waiting = self._parser.data_to_send()
        if self._is_lost or (in_answer and self._is_full and self._parser.state is State.OPEN):
            return
        for data in waiting:
            if data:
                self._connection.write(data)

    def _end(self) -> None:
        """End the connection as soon as the link has what came before the end."""
        if self._inbox is None:
            self._connection.close()
            self._end_within(limits.WEBSOCKET_CLOSE_SECONDS)
        elif self._timer is None:
            self._end_within(limits.STALL_SECONDS)

    def _deliver(self) -> None:
        """Give the link what is there, in the pieces that it has room for, for as long as it reads."""
        link = self._link
        while link is not None and self._inbox is not None and self._is_reading and not self._is_closing:
            inbox = self._inbox
            room = link.get_buffer(len(inbox))
            size = min(len(room), len(inbox))
            room[:size] = inbox[:size]
            self._inbox = inbox[size:] if size < len(inbox) else None
            link.buffer_updated(size)

    def _go_on(self) -> None:
        """Deliver what waited; then read on."""
        if self._is_lost:
            return
        self._deliver()
        if self._inbox is None and self._is_reading:
            if self._is_over:
                self._end()
            else:
                self._queue_rest()
                self._steer()

    def _end_within(self, seconds: float) -> None:
        self._cancel_timer()
        self._timer = self._loop.call_later(seconds, self._late)

    def _late(self) -> None:
        self._connection.abort()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


# ---------------------------------------------------------------- a room's end


class _ServerState(TypingProtocol):
    """What uvicorn's connections share."""

    connections: set[Any]


class ServerWebSocket(WebSocket):
    """A room's end, for one connection that asks to be upgraded."""

    __slots__ = ("_client_host", "_paths", "_peers", "_take_connection")

    def __init__(
        self, take_connection: TakeConnection, client_host: ClientHost, paths: Collection[str], peers: set[Any] | None
    ) -> None:
        super().__init__(ServerProtocol(max_size=limits.WEBSOCKET_MESSAGE, logger=_SILENT))
        self._take_connection = take_connection
        self._client_host = client_host
        self._paths = paths
        self._peers = peers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._peers is not None:
            self._peers.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._peers is not None:
            self._peers.discard(self)
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Say goodbye: the server that gave us the connection ends."""
        if self._link is not None:
            self._link.close()
        elif self._raw is not None:
            self._raw.close()

    def _shake_hands(self, message: object) -> None:
        if not isinstance(message, Request) or not isinstance(self._parser, ServerProtocol):
            return
        parser = self._parser
        response = parser.accept(message)
        if message.path.partition("?")[0] not in self._paths:
            response = parser.reject(http.HTTPStatus.NOT_FOUND, "")
        elif response.status_code == http.HTTPStatus.SWITCHING_PROTOCOLS:
            link = self._take_connection(self._client_host(_host(self.get_extra_info("peername")), message.headers))
            if link is not None:
                parser.send_response(response)
                self._send()
                self._begin(link)
                return
            response = parser.reject(http.HTTPStatus.SERVICE_UNAVAILABLE, "")
        parser.send_response(response)
        self._is_over = True


def protocol_class(
    take_connection: TakeConnection,
    *,
    client_host: ClientHost = lambda host, _headers: host,
    paths: Collection[str] = PATHS,
) -> Callable[..., ServerWebSocket]:
    """Return what `uvicorn.Config(ws=…)` takes: it makes the protocol of each connection that asks to be upgraded.

    Args:
        take_connection: Gets the host of a new connection; returns its link, or None to refuse it
            (`RoomServer.take_connection`).
        client_host: Gets the host at the other end of the connection and the request's headers; returns the host that
            counts, which behind a proxy is another one.
        paths: The paths that are answered; all others get a 404.
    """

    def make(
        config: object = None, server_state: _ServerState | None = None, app_state: object = None, _loop: object = None
    ) -> ServerWebSocket:
        peers = None if server_state is None else server_state.connections
        return ServerWebSocket(take_connection, client_host, paths, peers)

    return make


def _host(peername: object) -> str:
    return str(peername[0]) if isinstance(peername, tuple) and peername else ""


# ---------------------------------------------------------------- a peer's end


class ClientWebSocket(WebSocket):
    """A peer's end. link: begins once the other end has agreed; `agreed` tells."""

    __slots__ = ("_ours", "agreed")

    def __init__(self, url: str, link: Link) -> None:
        super().__init__(ClientProtocol(parse_uri(url), max_size=limits.WEBSOCKET_MESSAGE, logger=_SILENT))
        self._ours = link
        self.agreed: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        parser = cast(ClientProtocol, self._parser)
        parser.send_request(parser.connect())
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._refused("the connection was closed before it became a WebSocket")
        super().connection_lost(exc)

    def _shake_hands(self, message: object) -> None:
        if self._parser.handshake_exc is not None:
            self._refused("the web server there has no WebSocket for SSB")
            self._is_over = True
        elif not self.agreed.done():
            self.agreed.set_result(None)
            self._begin(self._ours)

    def _refused(self, reason: str) -> None:
        if not self.agreed.done():
            self.agreed.set_exception(SessionEndedError(f"could not connect: {reason}"))
            self.agreed.exception()  # a failure that nothing awaits is no error

    def _late(self) -> None:
        if not self.agreed.done():
            self.agreed.set_exception(DeadlineError("the web server there did not answer in time"))
            self.agreed.exception()
        super()._late()


async def open_websocket(address: WebSocketAddress, make: Callable[[], Link], host: str, port: int) -> Link:
    """Connect to one IP address of a WebSocket's, agree on the protocol, and start a link that `make` makes.

    Args:
        address: The whole address, whose host the other end's certificate has to name.
        make: Makes the link.
        host: The IP address, as a literal.
        port: The port.

    Returns:
        The link; its handshake is under way.

    Raises:
        SessionEndedError: The other end is no WebSocket of a room, or closed.
        DeadlineError: It did not answer in time.
        OSError: There is no connection.
    """
    url = url_of(address)
    secure: dict[str, Any] = {"ssl": tls_context(), "server_hostname": address.host} if address.secure else {}
    websocket: ClientWebSocket
    _transport, websocket = await asyncio.get_running_loop().create_connection(
        lambda: ClientWebSocket(url, make()), host, port, **secure
    )
    try:
        await websocket.agreed
    except BaseException:
        websocket.abort()
        raise
    return websocket.link


def url_of(address: WebSocketAddress) -> str:
    """Return an address as URLs have it: with its port only where that has to be said."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    port = "" if address.port == WS_PORTS["wss" if address.secure else "ws"] else f":{address.port}"
    return f"{'wss' if address.secure else 'ws'}://{host}{port}{address.path or '/'}"

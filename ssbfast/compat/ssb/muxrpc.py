"""`ssb.muxrpc`: calls by name, in both directions, over a packet stream."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any, Final, Literal

from ssbfast.compat.ssb.packet_stream import (
    PacketStream,
    PSMessage,
    PSMessageType,
    PSRequestHandler,
    PSStreamHandler,
)
from ssbfast.errors import LimitError, LocalProtocolError, SessionEndedError
from ssbfast.wire.muxrpc_body import read_error

__all__ = [
    "MuxRPCAPI",
    "MuxRPCAPIException",
    "MuxRPCDuplexHandler",
    "MuxRPCHandler",
    "MuxRPCMessage",
    "MuxRPCRequest",
    "MuxRPCRequestHandler",
    "MuxRPCSinkHandler",
    "MuxRPCSinkHandlerMixin",
    "MuxRPCSourceHandler",
    "PSMessage",
    "PSMessageType",
    "PSRequestHandler",
    "PSStreamHandler",
    "PacketStream",
]

MuxRPCJSON = dict[str, Any]
MuxRPCCallType = Literal["async", "duplex", "sink", "source", "sync"]
MuxRPCRequestParam = bytes | str | MuxRPCJSON
MuxRPCRequestHandlerType = Callable[[PacketStream, "MuxRPCRequest"], Any]

_STREAMS: Final = ("source", "sink", "duplex")
_ERROR_MEMBERS: Final = frozenset({"name", "message", "stack"})
"""What JavaScript peers send of an error, and leave out where it is not there."""

_log = logging.getLogger("ssbfast.compat.ssb")


class MuxRPCAPIException(Exception):
    """An error that the peer answered, or no answer at all: the method is unknown, the connection gone."""

    name: str | None = None
    """The name of the peer's error, "TypeError" for example; None when the error is not the peer's."""


class MuxRPCRequest:
    """A call of the peer's.

    name: parts joined by dots. args: the list it came with. req: its number, None for one that was made here.
    type: "async", "sync", "source", "sink" or "duplex". stream: whether it opens a stream.
    """

    req: int | None = None
    type: str = "async"
    stream = False

    def __init__(self, name: str, args: list[Any]) -> None:
        self.name = name
        self.args = args

    @classmethod
    def from_message(cls, message: PSMessage) -> MuxRPCRequest:
        """Read a call. ValueError when the message is not one."""
        body = message.body
        if not isinstance(body, dict):
            raise ValueError("a call is a JSON object")
        name, args = body.get("name"), body.get("args", [])
        parts = [name] if isinstance(name, str) else name
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts) or not parts:
            raise ValueError("a call has a name")
        if not isinstance(args, list):
            raise ValueError("a call has a list of arguments")
        request = cls(".".join(parts), args)
        request.req, request.stream = message.req, message.stream
        request.type = str(body.get("type", "async"))
        return request

    def __repr__(self) -> str:
        return f"<MuxRPCRequest {self.name} ({len(self.args)} arguments)>"

    def __str__(self) -> str:
        """Return the request with its arguments: programs print their requests."""
        return f"<MuxRPCRequest {self.name} {self.args}>"


class MuxRPCMessage:
    """A message that is not a call."""

    def __init__(self, body: Any) -> None:
        self.body = body

    @classmethod
    def from_message(cls, message: PSMessage) -> MuxRPCMessage:
        return cls(message.body)

    def __repr__(self) -> str:
        return f"<MuxRPCMessage {type(self.body).__name__}>"

    def __str__(self) -> str:
        """Return the message with its body: programs print their messages."""
        return f"<MuxRPCMessage {self.body}>"


def _is_error(msg: PSMessage) -> bool:
    """Return whether it is an error: named "Error", or an object like an error's that ends what it belongs to."""
    body = msg.body
    if not isinstance(body, dict):
        return False
    return body.get("name") == "Error" or (
        bool(msg.end_err) and (isinstance(body.get("message"), str) or body.keys() <= _ERROR_MEMBERS)
    )


def _error(body: Any) -> MuxRPCAPIException:
    """Return a peer's error as ours: its text and name, cut and cleaned, never its stack."""
    theirs = read_error(body)
    error = MuxRPCAPIException(theirs.message)
    error.name = theirs.name
    return error


class MuxRPCHandler:
    """The result of `MuxRPCAPI.call`; what it can do depends on the kind of call."""

    def check_message(self, msg: PSMessage) -> None:
        """Raise MuxRPCAPIException for an answer, or an end of a stream, that is an error."""
        if getattr(msg, "bad", False):
            raise MuxRPCAPIException("the peer's answer cannot be read")
        if _is_error(msg):
            raise _error(msg.body)

    def __aiter__(self) -> AsyncIterator[PSMessage]:
        return self

    async def __anext__(self) -> PSMessage:
        raise NotImplementedError("this kind of call brings no stream")

    def send(self, msg: Any, msg_type: PSMessageType = PSMessageType.JSON, end: bool = False) -> None:
        """Send an item to a sink or duplex; end: it is the last."""
        connection: Any = getattr(self, "connection", None)
        if connection is None:
            raise NotImplementedError("this kind of call takes no stream")
        connection.send(msg, msg_type=msg_type, stream=True, end_err=end, req=getattr(self, "req", None))

    async def get_response(self) -> PSMessage:
        raise NotImplementedError("this kind of call has no single answer")


class MuxRPCRequestHandler(MuxRPCHandler):
    """An async or sync call: `await handler`, or `await handler.get_response()`."""

    def __init__(self, ps_handler: PSRequestHandler) -> None:
        self.ps_handler = ps_handler

    async def get_response(self) -> PSMessage:
        """Return the answer. MuxRPCAPIException: it is an error, or the connection ended before it."""
        try:
            msg = await self.ps_handler
        except SessionEndedError as error:
            raise MuxRPCAPIException(str(error)) from error
        self.check_message(msg)
        if msg.end_err and msg.body is not True:
            raise _error(msg.body)
        return msg

    def __await__(self) -> Generator[Any, None, PSMessage]:
        return self.get_response().__await__()


class MuxRPCSourceHandler(MuxRPCHandler):
    """A source: `async for msg in handler`. The message that ends the stream comes too; an error is raised."""

    def __init__(self, ps_handler: PSStreamHandler) -> None:
        self.ps_handler = ps_handler

    def __aiter__(self) -> AsyncIterator[PSMessage]:
        return self

    async def __anext__(self) -> PSMessage:
        try:
            msg = await self.ps_handler.__anext__()
        except (SessionEndedError, LimitError) as error:
            raise MuxRPCAPIException(str(error)) from error
        self.check_message(msg)
        return msg

    def __del__(self) -> None:
        abandon = getattr(getattr(self, "ps_handler", None), "_abandon", None)
        if abandon is not None:
            abandon()


class MuxRPCSinkHandlerMixin:
    """The part of handlers that can be sent to."""

    connection: PacketStream
    req: int

    def send(self, msg: Any, msg_type: PSMessageType = PSMessageType.JSON, end: bool = False) -> None:
        """Send an item; end: it is the last."""
        self.connection.send(msg, msg_type=msg_type, stream=True, end_err=end, req=self.req)


class MuxRPCDuplexHandler(MuxRPCSinkHandlerMixin, MuxRPCSourceHandler):
    """A duplex: iterate and send."""

    def __init__(self, ps_handler: PSStreamHandler, connection: PacketStream, req: int) -> None:
        MuxRPCSourceHandler.__init__(self, ps_handler)
        self.connection = connection
        self.req = req


class MuxRPCSinkHandler(MuxRPCHandler, MuxRPCSinkHandlerMixin):
    """A sink: send."""

    def __init__(self, connection: PacketStream, req: int) -> None:
        self.connection = connection
        self.req = req


def _get_appropriate_api_handler(
    type_: MuxRPCCallType, connection: PacketStream, ps_handler: Any, req: int
) -> MuxRPCHandler:
    if type_ in ("async", "sync"):
        return MuxRPCRequestHandler(ps_handler)
    if type_ == "source":
        return MuxRPCSourceHandler(ps_handler)
    if type_ == "sink":
        return MuxRPCSinkHandler(connection, req)
    if type_ == "duplex":
        return MuxRPCDuplexHandler(ps_handler, connection, req)
    raise MuxRPCAPIException(f"there is no kind of call named {str(type_)[:64]!r}")


class MuxRPCAPI:
    """The methods that we serve, and calls to the peer."""

    _unpumped: tuple[PacketStream, ...] = ()

    def __init__(self) -> None:
        self.handlers: dict[str, MuxRPCRequestHandlerType] = {}
        self.connection: PacketStream | None = None

    def add_connection(self, connection: PacketStream) -> None:
        """Add a connection to serve; calls without another go to the newest."""
        self.connection = connection
        self._unpumped = (*self._unpumped, connection)

    def define(self, name: str) -> Callable[[MuxRPCRequestHandlerType], MuxRPCRequestHandlerType]:
        """Decorate a function that answers calls of `name`; it is given the packet stream and the MuxRPCRequest.

        What it returns, or an awaitable that it returns comes to, is the answer of an async call unless it is None.
        What it raises is told to the peer.
        """

        def _define(function: MuxRPCRequestHandlerType) -> MuxRPCRequestHandlerType:
            self.handlers[name] = function
            return function

        return _define

    async def process_messages(self) -> None:
        """Serve each connection that was added and is not served yet, until all of them have ended."""
        if self.connection is None:
            raise MuxRPCAPIException("there is no connection")
        connections, self._unpumped = self._unpumped or (self.connection,), ()
        if len(connections) == 1:
            await self._serve(connections[0])
        else:
            for ended in await asyncio.gather(*map(self._serve, connections), return_exceptions=True):
                if ended is not None:
                    raise ended

    def __await__(self) -> Generator[Any, None, None]:
        return self.process_messages().__await__()

    async def _serve(self, connection: PacketStream) -> None:
        try:
            async for message in connection:
                body = getattr(message, "body", None)
                if not isinstance(body, dict) or not body.get("name"):
                    continue
                try:
                    request = MuxRPCRequest.from_message(message)
                    self.process(connection, request)
                except Exception as error:
                    self._fail(connection, message.req, message.stream, error)
        except Exception as error:
            if isinstance(connection, PacketStream):
                connection._finish(error)
            raise

    def process(self, connection: PacketStream, request: MuxRPCRequest) -> None:
        """Call the function that was defined for this request. MuxRPCAPIException when there is none."""
        handler = self.handlers.get(request.name)
        if handler is None:
            raise MuxRPCAPIException(f"Method {request.name[:64]} not found!")
        result = handler(connection, request)
        if inspect.isawaitable(result):
            task = asyncio.ensure_future(self._answer_later(connection, request, result))
            running: set[asyncio.Future[Any]] = vars(self).setdefault("_running", set())
            running.add(task)
            task.add_done_callback(running.discard)
        else:
            self._answer(connection, request, result)

    async def _answer_later(self, connection: PacketStream, request: MuxRPCRequest, result: Any) -> None:
        try:
            self._answer(connection, request, await result)
        except Exception as error:
            self._fail(connection, request.req, request.stream, error)

    def _answer(self, connection: PacketStream, request: MuxRPCRequest, result: Any) -> None:
        if result is None or request.req is None or request.stream or request.type in _STREAMS:
            return
        kind = PSMessageType.BUFFER if isinstance(result, bytes) else PSMessageType.JSON
        connection.send(result, msg_type=kind, req=-request.req)

    def _fail(self, connection: PacketStream, req: int | None, stream: bool, error: Exception) -> None:
        """Tell the peer that its call failed. Only texts that were meant for it are sent."""
        if not isinstance(error, (MuxRPCAPIException, ValueError)):
            _log.error("a method failed", exc_info=error)
        text = str(error) if isinstance(error, MuxRPCAPIException) else "the call failed"
        body = {"name": "Error", "message": text, "stack": ""}
        if req is not None:
            try:
                connection.send(body, stream=stream, end_err=True, req=-req)
            except (LocalProtocolError, OSError):
                _log.debug("the peer of a failed call is gone")

    def call(
        self, name: str, args: list[Any], type_: MuxRPCCallType = "sync", *, connection: PacketStream | None = None
    ) -> MuxRPCHandler:
        """Call the peer.

        name: parts joined by dots. connection: the newest unless one is given. What is returned depends on `type_`.
        MuxRPCAPIException without an open connection, and for an unknown `type_`.
        """
        peer = connection or self.connection
        if peer is None or not peer.is_connected:
            raise MuxRPCAPIException("there is no open connection")
        if type_ not in ("async", "sync", *_STREAMS):
            raise MuxRPCAPIException(f"there is no kind of call named {str(type_)[:64]!r}")
        req = peer.req_counter
        body = {"name": name.split("."), "args": args, "type": type_}
        ps_handler = peer.send(body, stream=type_ in _STREAMS)
        if type_ == "sink" and isinstance(ps_handler, PSStreamHandler):
            ps_handler._abandon()  # what a peer sends against the rules is dropped
        return _get_appropriate_api_handler(type_, peer, ps_handler, req)

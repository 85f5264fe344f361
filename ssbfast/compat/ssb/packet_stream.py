"""`ssb.packet_stream`: numbered messages over a box stream, and the handlers that wait for their answers.

The program has to pump: `async for`, `await` of the packet stream, or `MuxRPCAPI.process_messages()`. Answers go to the
handlers that `send` returned; what comes out are the peer's own requests.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from asyncio import Event
from collections.abc import AsyncIterator, Generator
from time import time
from typing import Any, ClassVar, Final

from ssbfast import limits
from ssbfast.compat.secret_handshake.boxstream import BoxStream, UnboxStream
from ssbfast.compat.secret_handshake.network import SHSClient, SHSDuplexStream, SHSServer, SHSServerConnection
from ssbfast.compat.ssb.handlers import PSRequestHandler, PSStreamHandler, Waits
from ssbfast.compat.ssb.messages import PSMessage, PSMessageData, PSMessageType
from ssbfast.errors import PacketError, SessionEndedError, TruncatedError

__all__ = [
    "Event",
    "PSMessage",
    "PSMessageData",
    "PSMessageType",
    "PSRequestHandler",
    "PSStreamHandler",
    "PacketStream",
    "SHSClient",
    "SHSDuplexStream",
    "SHSServer",
    "logger",
]

logger = logging.getLogger("packet_stream")
"""The originals' logger, for programs that set its level. Nothing is written to it: messages are private."""

Handler = Any  # PSRequestHandler, PSStreamHandler, or anything with their `process` and `stop`

_HEAD: Final = struct.Struct(">BIi")
_STREAM: Final = 0x08
_END: Final = 0x04
_WRITE: Final = SHSDuplexStream.write
_SEAL: Final = BoxStream.write
_READS: Final = (SHSDuplexStream.read, SHSServerConnection.read)
_UNBOX: Final = UnboxStream.read


class PacketStream:
    """Messages over a connection (an SHSClient, an SHSServerConnection, or anything that reads and writes like one)."""

    max_body: ClassVar[int] = limits.ANSWER_BODY
    """Bytes of the longest message that is accepted; PacketError above it."""

    _buffer: bytearray | None = None
    _head: tuple[int, int, int] | None = None
    """The head of a message whose body has not come: a program that cancels a `read` may read on."""
    _over = False
    _waits: Waits | None = None

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.req_counter = 1
        self._event_map: dict[int, tuple[float, Handler]] = {}

    def register_handler(self, handler: Handler) -> None:
        """Give answers with `handler.req` to this handler."""
        if isinstance(handler, (PSRequestHandler, PSStreamHandler)):
            handler._waits = self._waits or self._waiting()
        self._event_map[handler.req] = (time(), handler)

    def _waiting(self) -> Waits:
        if self._waits is None:
            self._waits = Waits()
        return self._waits

    @property
    def is_connected(self) -> bool:
        """Return whether the connection is open. False as soon as the reading has ended, for any reason."""
        return not self._over and bool(self.connection.is_connected)

    def __aiter__(self) -> AsyncIterator[PSMessage]:
        return self

    async def __anext__(self) -> PSMessage:
        """Return the peer's next request; answers are given to their handlers on the way.

        To cancel it is to end the reading: calls that wait for an answer fail. (`read` can be cancelled and repeated.)
        """
        try:
            while True:
                msg = await self.read()
                if msg is None:
                    raise StopAsyncIteration
                if msg.req is None or msg.req >= 0:
                    return msg
        except asyncio.CancelledError:
            self._finish(SessionEndedError("the reading was cancelled"))
            raise

    def __await__(self) -> Generator[Any, None, None]:
        """Pump until the connection ends; requests are dropped."""
        return self._pump().__await__()

    async def _pump(self) -> None:
        async for _ in self:
            pass

    async def read(self) -> PSMessage | None:
        """Return the next message of any kind, or None at the end. An answer has been given to its handler.

        BoxStreamError or PacketError when the peer broke the rules: the connection is of no use then.
        """
        try:
            msg = await self._read()
        except StopAsyncIteration:
            msg = None
        except Exception as error:
            self._finish(error)
            raise
        if msg is None:
            clean = getattr(self.connection, "goodbye_received", True) or self._over
            self._finish(None if clean else TruncatedError())
        elif msg.req is not None and msg.req < 0:
            await self._answered(msg, -msg.req)
        return msg

    async def _answered(self, msg: PSMessage, req: int) -> None:
        entry = self._event_map.get(req)
        if entry is None:
            return  # late, or never asked for
        handler = entry[1]
        await handler.process(msg)
        if isinstance(handler, PSRequestHandler):
            self._event_map.pop(req, None)
        elif msg.end_err:
            await handler.stop()
            self._event_map.pop(req, None)
        elif getattr(handler, "_overfull", False):
            self._event_map.pop(req, None)
            self._tell(req, "too much of the stream waits to be read", stream=True)

    async def _read(self) -> PSMessage | None:
        """Return the next message; skip those that cannot be read, and tell the calls that they concern."""
        while not self._over:
            if self._head is None:
                head = await self._exactly(_HEAD.size)
                if head is None:
                    return None
                self._head = _HEAD.unpack(head)
            flags, size, req = self._head
            if size > self.max_body:
                raise PacketError("a message is longer than agreed")
            body = await self._exactly(size)
            if body is None:
                return None
            self._head = None
            if not req:
                self._over = not flags and not size
                continue
            try:
                return PSMessage.from_header_body(flags, req, body)
            except ValueError:
                await self._unreadable(flags, req)
        return None

    async def _unreadable(self, flags: int, req: int) -> None:
        """Handle type 3, text that is not UTF-8, or bad JSON."""
        if req < 0:
            msg = PSMessage(PSMessageType.JSON, None, bool(flags & _STREAM), bool(flags & _END), req=req)
            msg.bad = True
            await self._answered(msg, -req)
        else:
            self._tell(-req, "the message cannot be read", stream=bool(flags & _STREAM))

    def _tell(self, req: int, message: str, *, stream: bool) -> None:
        """Send an error to the other end of a call."""
        if self.is_connected:
            self.send({"name": "Error", "message": message, "stack": ""}, stream=stream, end_err=True, req=req)

    async def _exactly(self, n: int) -> bytes | None:
        """Return the next `n` bytes; None when the connection ends before. A box of just that size is not copied."""
        buffer = self._buffer
        if not buffer:
            chunk = await self._chunk() if n else b""
            if chunk is None or len(chunk) == n:
                return chunk
            buffer = self._buffer = bytearray(chunk)
        while len(buffer) < n:
            chunk = await self._chunk()
            if chunk is None:
                return None
            buffer += chunk
        data = bytes(memoryview(buffer)[:n])
        del buffer[:n]
        return data

    async def _chunk(self) -> bytes | None:
        connection = self.connection
        if getattr(type(connection), "read", None) in _READS:
            stream = connection.read_stream
            if getattr(type(stream), "read", None) is _UNBOX and stream._bodies:
                body: bytes = stream._bodies.popleft()  # opened already: nothing to wait for
                return body
        chunk: bytes | None = await connection.read()
        return chunk

    def _write(self, msg: PSMessage) -> None:
        data = msg.data
        if not data:
            raise ValueError("an empty message would end the session of a JavaScript peer")
        flags = (_STREAM if msg.stream else 0) | (_END if msg.end_err else 0) | msg.type.value
        connection = self.connection
        if getattr(type(connection), "write", None) is _WRITE:
            stream = connection.write_stream
            if getattr(type(stream), "write", None) is _SEAL:
                stream._write_packet(flags, msg.req, data)
                return
        connection.write(_HEAD.pack(flags, len(data), msg.req))
        connection.write(data)

    def send(
        self,
        data: Any,
        msg_type: PSMessageType = PSMessageType.JSON,
        stream: bool = False,
        end_err: bool = False,
        req: int | None = None,
    ) -> PSRequestHandler | PSStreamHandler:
        """Send one message.

        req: None opens a request of our own, whose handler is returned. A number continues one: ours above 0, the
        peer's as its negative; the handler is the one that waits already, or one for which nothing will come.
        """
        number = self.req_counter if req is None else req
        self._write(PSMessage(msg_type, data, stream=stream, end_err=end_err, req=number))
        if req is not None and req in self._event_map:
            known: PSRequestHandler | PSStreamHandler = self._event_map[req][1]
            return known
        handler = PSStreamHandler(number) if stream else PSRequestHandler(number)
        if req is None:
            self.req_counter += 1
        if self._over:
            handler._finish(SessionEndedError("the connection is over"))
        elif req is None:
            self.register_handler(handler)
        else:
            handler._finish(None)
        return handler

    async def drain(self) -> None:
        """Wait until most of what was sent has left: see `SHSDuplexStream.drain`."""
        drain = getattr(self.connection, "drain", None)
        if drain is not None:
            waits = self._waiting()
            waits.calls += 1
            waits.wake()
            try:
                await drain()
            finally:
                waits.calls -= 1

    def disconnect(self) -> None:
        """Close the connection. All that wait for something are told."""
        self.connection.disconnect()
        self._finish(None)

    def _finish(self, error: Exception | None) -> None:
        self._over = True
        handlers = [handler for _, handler in self._event_map.values()]
        self._event_map.clear()
        for handler in handlers:
            if isinstance(handler, (PSRequestHandler, PSStreamHandler)):
                handler._finish(error)
            else:
                _stops.add(task := asyncio.ensure_future(handler.stop()))
                task.add_done_callback(_stops.discard)


_stops: Final[set[asyncio.Future[Any]]] = set()
"""Handlers of other classes that are being stopped."""

"""Client and server of `secret_handshake.network`: a handshake, then a box stream, over asyncio's streams."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import inspect
import logging
from asyncio import Future, StreamReader, StreamWriter, ensure_future
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from types import FunctionType, MethodType
from typing import Any, ClassVar, Final

from nacl.public import PrivateKey
from nacl.signing import SigningKey

from ssbfast.compat.secret_handshake.boxstream import BoxStream, UnboxStream, get_stream_pair
from ssbfast.compat.secret_handshake.crypto import SHSClientCrypto, SHSCryptoBase, SHSError, SHSServerCrypto
from ssbfast.errors import LocalProtocolError
from ssbfast.limits import HANDSHAKE_SECONDS, KiB

__all__ = [
    "BoxStream",
    "PrivateKey",
    "SHSClient",
    "SHSClientCrypto",
    "SHSClientException",
    "SHSCryptoBase",
    "SHSDuplexStream",
    "SHSEndpoint",
    "SHSServer",
    "SHSServerConnection",
    "SHSServerCrypto",
    "SigningKey",
    "StreamReader",
    "StreamWriter",
    "UnboxStream",
    "ensure_future",
    "get_stream_pair",
    "open_connection",
    "start_server",
]

OnConnect = Callable[..., Any]

_READ_SIZE: Final = 64 * KiB
"""asyncio allocates what it may read, at each read: its own 256 KiB cost a call a third of its time."""

_log = logging.getLogger("ssbfast.compat.secret_handshake")


async def open_connection(*args: Any, **kwargs: Any) -> tuple[StreamReader, StreamWriter]:
    """Call asyncio.open_connection, looked up when it is called: programs and tests replace either name."""
    return await asyncio.open_connection(*args, **kwargs)


async def start_server(*args: Any, **kwargs: Any) -> asyncio.Server:
    """Call asyncio.start_server, looked up when it is called."""
    return await asyncio.start_server(*args, **kwargs)


class SHSClientException(Exception):
    """A failed handshake, at either end."""


class SHSDuplexStream:
    """Two box streams as one: write, read, close."""

    write_stream: BoxStream | None
    read_stream: UnboxStream | None
    is_connected: bool
    writer: StreamWriter | None = None

    def __init__(self) -> None:
        self.write_stream = None
        self.read_stream = None
        self.is_connected = False

    def write(self, data: bytes) -> None:
        """Seal and send. LocalProtocolError when there is no connection, or it was closed here."""
        if self.write_stream is None:
            raise LocalProtocolError("there is no connection")
        self.write_stream.write(data)

    async def drain(self) -> None:
        """Wait until most of what was written has left. After large writes: else all of it waits in memory."""
        writer: Any = self.writer or getattr(self.write_stream, "writer", None)
        if hasattr(writer, "drain"):
            await writer.drain()

    async def read(self) -> bytes | None:
        """Return the next box's body, or None at the end: see `UnboxStream.read`."""
        if self.read_stream is None:
            raise LocalProtocolError("there is no connection")
        body = None
        try:
            body = await self.read_stream.read()
        except asyncio.CancelledError:
            body = b""
            raise
        finally:
            if body is None:
                self.is_connected = False
        return body

    @property
    def goodbye_received(self) -> bool:
        """Return whether the peer has ended the stream itself: then nothing is missing."""
        return bool(getattr(self.read_stream, "goodbye_received", False))

    def close(self) -> None:
        """Say goodbye and close the connection behind what was written. Any number of times."""
        self.is_connected = False
        for stream in (self.write_stream, self.read_stream):
            if stream is not None:
                with contextlib.suppress(ValueError):  # a buffer that plays both streams, or keys that were none
                    stream.close()
        writer = self.writer or getattr(self.write_stream, "writer", None)
        if writer is not None:
            writer.close()

    def disconnect(self) -> None:
        """Close, as `close`."""
        self.close()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        body = await self.read()
        if body is None:
            raise StopAsyncIteration
        return body


class SHSEndpoint:
    """The part that client and server share: a callback for connections."""

    handshake_timeout: ClassVar[float] = HANDSHAKE_SECONDS
    """Seconds for a whole handshake."""

    def __init__(self) -> None:
        self._on_connect: OnConnect | None = None
        self.crypto: Any = None

    def on_connect(self, cb: Callable[[SHSDuplexStream], Awaitable[None]]) -> None:
        """Set what to call for a connection that is open. A client's callback may also take no argument."""
        self._on_connect = cb

    def close(self) -> None:
        raise NotImplementedError

    def disconnect(self) -> None:
        """Close, as `close`."""
        self.close()


class SHSServerConnection(SHSDuplexStream):
    """A client's connection to our server."""

    crypto: Any = None
    _server: SHSServer | None = None
    _parts: frozenset[str] = frozenset({"read", "callback"})

    def __init__(self, read_stream: UnboxStream, write_stream: BoxStream) -> None:
        SHSDuplexStream.__init__(self)
        self.read_stream = read_stream
        self.write_stream = write_stream
        self.is_connected = True

    @classmethod
    def from_byte_streams(cls, reader: StreamReader, writer: StreamWriter, **keys: Any) -> SHSServerConnection:
        """Make a connection. keys: as `get_stream_pair` takes them."""
        read_stream, write_stream = get_stream_pair(reader, writer, **keys)
        connection = cls(read_stream, write_stream)
        connection.writer = writer
        return connection

    async def read(self) -> bytes | None:
        """Read, as `SHSDuplexStream.read`. At the end the connection closes, as soon as the callback has returned."""
        body = None
        try:
            body = await SHSDuplexStream.read(self)
        except asyncio.CancelledError:
            body = b""
            raise
        finally:
            if body is None:
                self._part_done("read")
        return body

    def close(self) -> None:
        """Close, as `SHSDuplexStream.close`; the server forgets the connection."""
        server, self._server = self._server, None
        if server is not None and self in server.connections:
            server.connections.remove(self)
        SHSDuplexStream.close(self)

    def _part_done(self, part: str) -> None:
        """Close what both the peer and the callback have left; nothing else would."""
        self._parts -= {part}
        if not self._parts and self._server is not None:
            self.close()


class SHSServer(SHSEndpoint):
    """A listener that gives each client that knows our key to the `on_connect` callback."""

    server: asyncio.Server | None = None

    def __init__(self, host: str, port: int, server_kp: SigningKey, application_key: bytes | None = None) -> None:
        SHSEndpoint.__init__(self)
        self.host = host
        self.port = port
        self.crypto = SHSServerCrypto(server_kp, application_key=application_key)
        self.connections: list[SHSServerConnection] = []

    async def listen(self) -> None:
        """Start listening. `server` is asyncio's server from then on."""
        self.server = await start_server(self._accept, self.host, self.port)

    async def handle_connection(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Shake hands with one client, and hand its connection on. Each has crypto state of its own."""
        crypto = copy.copy(self.crypto)
        crypto.clean()
        await _in_time(self._handshake(reader, writer, crypto), self.handshake_timeout)
        _read_less(writer)
        connection = SHSServerConnection.from_byte_streams(reader, writer, **crypto.get_box_keys())
        connection.crypto = crypto
        connection._server = self
        self.connections.append(connection)
        if self._on_connect is None:
            connection._part_done("callback")
            return
        task = ensure_future(self._on_connect(connection))
        running: set[Future[Any]] = vars(self).setdefault("_running", set())
        running.add(task)
        task.add_done_callback(running.discard)
        task.add_done_callback(lambda _: connection._part_done("callback"))

    async def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Call `handle_connection` for asyncio: a failed handshake closes its connection and is no error of ours."""
        try:
            await self.handle_connection(reader, writer)
        except Exception as error:
            writer.close()
            expected = isinstance(error, (SHSClientException, SHSError, EOFError, OSError))
            if not expected or type(reader) is not StreamReader:
                raise
            _log.debug("a client did not get in: %s", type(error).__name__)
        except asyncio.CancelledError:
            writer.close()
            raise

    async def _handshake(self, reader: StreamReader, writer: StreamWriter, crypto: Any = None) -> None:
        crypto = crypto or self.crypto
        if not crypto.verify_challenge(await reader.readexactly(64)):
            raise SHSClientException("Client challenge is not valid")
        writer.write(crypto.generate_challenge())
        if not crypto.verify_client_auth(await reader.readexactly(112)):
            raise SHSClientException("Client auth is not valid")
        writer.write(crypto.generate_accept())

    def close(self) -> None:
        """Stop listening and close every connection."""
        if self.server is not None:
            self.server.close()
        for connection in list(self.connections):
            connection.close()

    def disconnect(self) -> None:
        """Close, as `close`."""
        self.close()


class SHSClient(SHSDuplexStream, SHSEndpoint):
    """One connection to a server whose key we know.

    ephemeral_key: for the first handshake; None draws one. application_key: 32 bytes; None is the main network.
    """

    def __init__(
        self,
        host: str,
        port: int,
        client_kp: SigningKey,
        server_pub_key: bytes,
        ephemeral_key: PrivateKey | None = None,
        application_key: bytes | None = None,
    ) -> None:
        SHSDuplexStream.__init__(self)
        SHSEndpoint.__init__(self)
        self.crypto = SHSClientCrypto(client_kp, server_pub_key, ephemeral_key, application_key)
        self.host = host
        self.port = port

    async def open(self) -> None:
        """Connect, shake hands, call the callback. SHSClientException, or what asyncio raises for the connection."""
        reader, writer = await open_connection(self.host, self.port)
        try:
            await _in_time(self._handshake(reader, writer), self.handshake_timeout)
            keys = self.crypto.get_box_keys()
        except BaseException:
            writer.close()
            raise
        _read_less(writer)
        self.writer = writer
        self.read_stream, self.write_stream = get_stream_pair(reader, writer, **keys)
        self.crypto.clean()
        self.is_connected = True
        if self._on_connect is not None:
            result = self._on_connect(self) if _takes_argument(self._on_connect) else self._on_connect()
            if inspect.isawaitable(result):
                await result

    async def _handshake(self, reader: StreamReader, writer: StreamWriter) -> None:
        crypto = self.crypto
        writer.write(crypto.generate_challenge())
        if not crypto.verify_server_challenge(await reader.readexactly(64)):
            raise SHSClientException("Server challenge is not valid")
        writer.write(crypto.generate_client_auth())
        try:
            accepted = crypto.verify_server_accept(await reader.readexactly(80))
        except SHSError as error:
            raise SHSClientException("Server accept is not valid") from error
        if not accepted:
            raise SHSClientException("Server accept is not valid")

    def disconnect(self) -> None:
        """Close, as `close`."""
        self.close()


async def _in_time(handshake: Awaitable[None], seconds: float) -> None:
    try:
        await asyncio.wait_for(handshake, seconds)
    except asyncio.TimeoutError:
        raise SHSClientException("The handshake was not done in time") from None


def _read_less(writer: Any) -> None:
    transport: Any = getattr(writer, "transport", None)
    if isinstance(getattr(transport, "max_size", None), int):  # asyncio's own; others have no such thing
        transport.max_size = _READ_SIZE


def _takes_argument(callback: OnConnect) -> bool:
    """Return whether a client's callback is of the generation that is given the client."""
    try:
        if isinstance(callback, (FunctionType, MethodType, partial)):
            inspect.signature(callback).bind(None)
        else:  # its class knows: objects of unittest.mock tell lies about themselves
            inspect.signature(type(callback).__call__).bind(callback, None)
    except TypeError:
        return False
    except ValueError:  # something without a signature
        return True
    return True

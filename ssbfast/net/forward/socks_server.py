"""A local SOCKS5 port: each connection names a friend and a service, and becomes a connection of a `ForwardListener`.

Until it has said where it wants to go a connection has `SOCKS_SECONDS`, and there are at most `SOCKS_OPENINGS` of them:
one more costs the oldest its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

from ssbfast import limits
from ssbfast.net.endpoints import Endpoint
from ssbfast.net.forward.connection import Carried
from ssbfast.net.forward.socks5 import Opening, Reply, Request, SocksRefused, reply
from ssbfast.net.forward.tcp_listener import ForwardListener, listen_at, place_of

Find = Callable[[Request], Awaitable[ForwardListener]]
"""Returns what carries connections to a service, and is given one more. Raises SocksRefused."""


class SocksServer:
    """A SOCKS5 server for the services of friends.

    Args:
        host: A name or IP literal to listen at.
        port: The TCP port to listen at; 0 takes a free one.
        find: Returns what leads to the service that a program wants.
    """

    def __init__(self, host: str, port: int, find: Find) -> None:
        self._bind = (host, port)
        self._find = find
        self._server: asyncio.Server | None = None
        self._openings: dict[_Client, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. Raises OSError."""
        self._server = await listen_at(*self._bind, lambda: _Client(self))

    @property
    def place(self) -> Endpoint:
        """Place where it listens. Raises LocalProtocolError: It does not."""
        return place_of(self._server)

    async def close(self) -> None:
        """Stop listening, and cut what has not reached a service yet; the others are their listeners' to close."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for client in list(self._openings):
            client.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ------------------------------------------------------------ for its connections

    def opened(self, client: _Client) -> None:
        """Take a new connection; the one that has been silent longest may lose its place."""
        self._openings[client] = None
        if len(self._openings) > limits.SOCKS_OPENINGS:
            next(iter(self._openings)).abort()

    def forget(self, client: _Client) -> None:
        """Note that it has said what it wants, or is over."""
        self._openings.pop(client, None)

    def begin(self, client: _Client, request: Request) -> asyncio.Task[None]:
        """Lead a connection to its service."""
        task = asyncio.get_running_loop().create_task(self._lead(client, request))
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._led(client, task))
        return task

    def _led(self, client: _Client, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            client.abort()
        elif (error := task.exception()) is not None:  # a mistake of ours, for which no program waits
            client.refuse(Reply.FAILURE)
            context = {"message": "looking for a service failed", "exception": error}
            task.get_loop().call_exception_handler(context)

    async def _lead(self, client: _Client, request: Request) -> None:
        try:
            listener = await self._find(request)
        except SocksRefused as refused:
            client.refuse(refused.reply)
        else:
            client.hand_over(listener)


class _Client(asyncio.Protocol):
    """A connection up to the reply."""

    def __init__(self, server: SocksServer) -> None:
        self._server = server
        self._opening = Opening()
        self._transport: asyncio.Transport
        self._patience: asyncio.TimerHandle
        self._task: asyncio.Task[None] | None = None

    def abort(self) -> None:
        """Cut it."""
        self._over()
        self._transport.abort()

    def refuse(self, code: Reply) -> None:
        self._transport.write(reply(code))
        self._transport.close()

    def hand_over(self, listener: ForwardListener) -> None:
        """Give it to a listener. What came behind the request is the first that the service gets."""
        if self._transport.is_closing():
            return
        self._transport.write(reply(Reply.SUCCEEDED))
        connection, rest = Carried(listener), memoryview(self._opening.rest)
        self._transport.set_protocol(connection)
        self._transport.resume_reading()
        connection.connection_made(self._transport)
        while rest:
            piece, rest = rest[: limits.FORWARD_READ], rest[limits.FORWARD_READ :]
            connection.get_buffer(len(piece))[: len(piece)] = piece
            connection.buffer_updated(len(piece))

    # ------------------------------------------------------------ asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._patience = asyncio.get_running_loop().call_later(limits.SOCKS_SECONDS, self.abort)
        self._server.opened(self)

    def data_received(self, data: bytes) -> None:
        answer = self._opening.receive(data)
        if answer:
            self._transport.write(answer)
        if self._opening.is_over:
            self._over()
            self._transport.close()
        elif self._opening.request is not None and self._task is None:
            self._over()
            self._transport.pause_reading()
            self._task = self._server.begin(self, self._opening.request)

    def connection_lost(self, exc: Exception | None) -> None:
        self._over()
        if self._task is not None:
            self._task.cancel()

    def _over(self) -> None:
        self._patience.cancel()
        self._server.forget(self)

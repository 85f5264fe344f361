"""The API that a peer serves: muxrpc methods by name, each an async function or an async generator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from ssbfast.wire.muxrpc import JSON, Called, CallKind, build_manifest

Name = tuple[str, ...]
Carry = Callable[[Any, Called], None]
"""Takes a duplex of a `Peer` natively (`Peer.carry`), at once: the bytes behind the call are looked at next."""
OpenStream = Callable[[asyncio.Protocol], object]
"""Opens a stream of a direct path for a protocol; the protocol gets its transport."""
F = TypeVar("F", bound=Callable[..., Any])


class DirectService(Protocol):
    """The services that connections on direct paths lead to (`net/forward/tcp_server.py`)."""

    def accept_direct(self, peer: Any, open_stream: OpenStream, name: str | None = None) -> bool:
        """Take a connection of this `Peer` to the service of that name, or the first; False when it is not welcome."""


class DirectDatagrams(Protocol):
    """Flows of UDP services of one session that go by its direct path (`direct/forwarded_datagrams.py`)."""

    def open(self, number: int, receive: Callable[[bytes], None]) -> bytes:
        """Take the datagrams of a flow from now on; return what `send` wants to know of it.

        number: what we write on its duplex. receive: gets each datagram.
        """

    def close(self, number: int) -> None:
        """Drop what comes for a flow from now on."""

    def takes(self, length: int) -> bool:
        """Return whether a datagram of that length, with its head, can go now, by a path whose other end knows them."""

    def send(self, head: bytes, datagram: bytes) -> bool:
        """Send one that `takes` allows; return False when an older one was dropped for it. head: what `open` gave."""


class DirectStreams(Protocol):
    """Connections of one session that go by its direct path, as far as it has one (`direct/forwarded_streams.py`)."""

    @property
    def datagrams(self) -> DirectDatagrams:
        """Flows of UDP services."""

    @property
    def is_up(self) -> bool:
        """True when there is a path for new connections: the other end has taken it, too, and a stream is free."""

    @property
    def is_idle(self) -> bool:
        """True when there is no connection."""

    @property
    def moved(self) -> tuple[int, int]:
        """Bytes that went by direct paths so far: received and sent."""

    @property
    def connections(self) -> int:
        """Connections that go by the direct path now."""

    def open(self, protocol: asyncio.Protocol, name: str | None = None) -> object:
        """Open a connection to the service of that name, or the first. Raises SessionEndedError without a path."""


class Api:
    """Methods that a peer serves.

    >>> api = Api()
    >>> @api.call("test.add")
    ... async def add(peer, a, b):
    ...     return a + b
    >>> @api.source("test.count")
    ... async def count(peer, n):
    ...     for i in range(n):
    ...         yield i
    >>> @api.duplex("test.echo")
    ... async def echo(peer, stream):
    ...     async for item in stream:
    ...         await stream.send(item)

    `call` serves async and sync; `source` takes an async generator function; `sink` and `duplex` get the
    stream as second argument. What a method raises goes to the caller as text, if it is an SSBError; anything
    else as "internal error", so that nothing of this machine leaks.
    """

    def __init__(self) -> None:
        self.forwards: DirectService | None = None
        """What connections on direct paths lead to."""
        self._methods: dict[Name, tuple[CallKind, Callable[..., Any]]] = {}
        self._carried: dict[Name, Carry] = {}

    def call(self, name: str) -> Callable[[F], F]:
        """Return a decorator that serves an async function as an async or sync method.

        Args:
            name: The method's name, its parts joined by dots, such as `test.add`.
        """
        return self._define(name, CallKind.ASYNC)

    def source(self, name: str) -> Callable[[F], F]:
        """Return a decorator that serves an async generator function as a source.

        Args:
            name: The method's name, its parts joined by dots.
        """
        return self._define(name, CallKind.SOURCE)

    def sink(self, name: str) -> Callable[[F], F]:
        """Return a decorator that serves an async function as a sink; it gets the stream as second argument.

        Args:
            name: The method's name, its parts joined by dots.
        """
        return self._define(name, CallKind.SINK)

    def duplex(self, name: str) -> Callable[[F], F]:
        """Return a decorator that serves an async function as a duplex; it gets the stream as second argument.

        Args:
            name: The method's name, its parts joined by dots.
        """
        return self._define(name, CallKind.DUPLEX)

    def carried(self, name: str, carry: Carry) -> None:
        """Serve a duplex of bytes by a transport.

        Args:
            name: The method's name, its parts joined by dots.
            carry: Takes the `Peer` and the call; it is called at once and must not block.
        """
        self._carried[tuple(name.split("."))] = carry

    def find_carried(self, name: Name) -> Carry | None:
        """Return what serves the duplex of bytes of that name, or None."""
        return self._carried.get(name)

    def find(self, name: Name, kind: CallKind) -> Callable[..., Any] | None:
        """Return the method of that name and kind, or None."""
        found = self._methods.get(name)
        return found[1] if found is not None and found[0] is kind else None

    def manifest(self, more: Mapping[Name, str] = MappingProxyType({})) -> dict[str, JSON]:
        """Return the manifest: name → kind, nested as muxrpc wants it.

        Args:
            more: What is served beside these methods, and seen before them: name → kind. A name of it that is a group
                of ours, or inside of a method of ours, has no place in a manifest and is left out.
        """
        kinds = {name: kind.value for name, (kind, _method) in self._methods.items()}
        kinds |= dict.fromkeys(self._carried, CallKind.DUPLEX.value)
        fitting = {name: kind for name, kind in more.items() if not any(_collide(name, own) for own in kinds)}
        return build_manifest(dict(sorted((kinds | fitting).items())))

    def _define(self, name: str, kind: CallKind) -> Callable[[F], F]:
        def register(method: F) -> F:
            self._methods[tuple(name.split("."))] = (kind, method)
            return method

        return register


def _collide(one: Name, other: Name) -> bool:
    """Return whether one of two names is a group that holds the other."""
    shorter = min(len(one), len(other))
    return one != other and one[:shorter] == other[:shorter]

"""What a peer serves: muxrpc methods by name, each an async function or an async generator."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ssbfast.wire.muxrpc import CallKind

if TYPE_CHECKING:
    pass

Name = tuple[str, ...]
AsyncMethod = Callable[..., Awaitable[Any]]
F = TypeVar("F", bound=Callable[..., Any])


class Api:
    """Methods to serve.

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
        self._methods: dict[Name, tuple[CallKind, Callable[..., Any]]] = {}

    def call(self, name: str) -> Callable[[F], F]:
        return self._define(name, CallKind.ASYNC)

    def source(self, name: str) -> Callable[[F], F]:
        return self._define(name, CallKind.SOURCE)

    def sink(self, name: str) -> Callable[[F], F]:
        return self._define(name, CallKind.SINK)

    def duplex(self, name: str) -> Callable[[F], F]:
        return self._define(name, CallKind.DUPLEX)

    def find(self, name: Name, kind: CallKind) -> Callable[..., Any] | None:
        """The method, if there is one of that name and kind."""
        found = self._methods.get(name)
        return found[1] if found is not None and found[0] is kind else None

    def manifest(self) -> dict[str, Any]:
        """Name → kind, nested as muxrpc wants it."""
        tree: dict[str, Any] = {}
        for name, (kind, _method) in sorted(self._methods.items()):
            node = tree
            for part in name[:-1]:
                node = node.setdefault(part, {})
            node[name[-1]] = kind.value
        return tree

    def _define(self, name: str, kind: CallKind) -> Callable[[F], F]:
        def register(method: F) -> F:
            self._methods[tuple(name.split("."))] = (kind, method)
            return method

        return register

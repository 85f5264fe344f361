"""Contests of muxrpc calls: two peers of this process over TCP on loopback, so that the cost of both ends is in it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any, Final

from ssbfast.cli.bench.box_stream import along, paths
from ssbfast.cli.bench.contest import Contender, Contest
from ssbfast.keys import Keypair
from ssbfast.net.api import Api
from ssbfast.net.dial import dial
from ssbfast.net.link import Link
from ssbfast.net.peer import Peer
from ssbfast.net.relay import Relay
from ssbfast.net.sockets import tune_transport
from ssbfast.wire.handshake import ClientHandshake, ServerHandshake

CALLS: Final = 64
"""Calls of a pass."""


class _Inbound(Link):
    """The served end, without Nagle's algorithm."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        tune_transport(transport)
        super().connection_made(transport)


class Pair:
    """A client and a server that adds numbers, in an event loop of their own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._client, self._server = self._loop.run_until_complete(self._open())

    async def _open(self) -> tuple[Peer, asyncio.Server]:
        client, here, there, api, relay = Peer(), Keypair.generate(), Keypair.generate(), Api(), Relay()

        @api.call("add")
        async def add(_peer: Peer, a: int, b: int) -> int:
            return a + b

        def inbound() -> Link:
            return _Inbound(relay, ServerHandshake(there), Peer(api=api))

        server = await asyncio.get_running_loop().create_server(inbound, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        await dial("127.0.0.1", port, lambda: Link(relay, ClientHandshake(here, there.id), client))
        await client.wait_opened()
        return client, server

    def close(self) -> None:
        """Say goodbye and end the loop."""
        self._loop.run_until_complete(self._close())
        self._loop.close()

    async def _close(self) -> None:
        await self._client.close()
        self._server.close()

    def run(self, work: Callable[[], Coroutine[Any, Any, int]]) -> int:
        return self._loop.run_until_complete(work())

    async def one_by_one(self) -> int:
        """Return how many of `CALLS` answers are right."""
        return sum([await self._add(n) for n in range(CALLS)])

    async def at_once(self) -> int:
        """Return the same number with all calls under way."""
        return sum(await asyncio.gather(*map(self._add, range(CALLS))))

    async def _add(self, n: int) -> bool:
        return bool(await self._client.call("add", n, 1) == n + 1)


def contests() -> Iterator[Contest]:
    """Yield contests of calls one after the other, and of many under way."""
    names = paths() or ["pure"]
    with contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(contextlib.closing(Pair())) for _ in names]
        for case, how in (("one by one", Pair.one_by_one), (f"{CALLS} at a time", Pair.at_once)):
            contenders = {}
            for name, pair in zip(names, pairs, strict=True):
                work = partial(pair.run, partial(how, pair))
                contenders[name] = _contender(work if name == "pure" else along(name, work))
            yield Contest("calls over TCP", case, "calls", CALLS, "libsodium", contenders)


def _contender(work: Callable[[], Any]) -> Contender:
    return Contender(lambda: work() == CALLS, work)

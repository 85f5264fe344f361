"""The honest pair, as a process of its own: `python -m tests.hostile.honest ADDRESS`.

A listens in the room and answers whom it follows; C calls A every 50 ms. Beside them every 200 ms a fresh key joins
the room, and every second two fresh friends of A's, one of them 100 ms away, open tunnels to A and call once. Nothing
waits for what was begun before: each call, join and visit starts at its time and has a time-out.

stdout: first {"op": "ready", "listener": ID}, then one JSON line for each thing that is done, when it is done:

    op      "call", "join", "visit"; "lost": A's session with the room or C's tunnel ended; "lag": the loop was late
    at      when it began, on the clock that all processes share (CLOCK_MONOTONIC, seconds)
    took    seconds; the time-out's, when it ran into that
    error   null, or what went wrong
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from ssbfast.client.follow_graph import MemoryGraph
from ssbfast.client.room_client import RoomClient
from ssbfast.client.targets import ways_into
from ssbfast.client.tunnel_auth import Trust
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.net.api import Api
from ssbfast.net.peer import Peer
from tests.hostile.far import far_away
from tests.hostile.lifeline import Lifeline

CALL_EVERY, CALL_SECONDS = 0.05, 3.0
JOIN_EVERY, JOIN_SECONDS = 0.2, 5.0
VISIT_EVERY, VISIT_SECONDS = 0.5, 5.0
LAG_EVERY, LAG_TOLD = 0.02, 0.02


def tell(op: str, **members: Any) -> None:
    print(json.dumps({"op": op, **members}), flush=True)


class Pair:
    """A and C at one room, and those who come by."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.far = address
        self.graph = MemoryGraph()
        self.a = Keypair.generate()
        self.c = Keypair.generate()
        self.graph.set(self.c.id, follows=True)
        self.caller: RoomClient
        self.peer: Peer | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------ the pair

    @contextlib.asynccontextmanager
    async def here(self) -> Any:
        api = Api()

        @api.call("echo")
        async def echo(_peer: Peer, value: Any) -> Any:
            return value

        listener = RoomClient(self.a, trust=Trust(self.graph), api=api, on_event=self._a_told)
        way = ways_into(self.address)[0]
        host, port = way.host, way.port
        async with far_away(host, port) as far, listener, RoomClient(self.c) as self.caller:
            self.far = self.address.replace(f":{port}~", f":{far}~")
            await listener.join(self.address)
            await self.caller.join(self.address)
            keeper = asyncio.create_task(self._keep_tunnel())
            try:
                yield self
            finally:
                keeper.cancel()

    def _a_told(self, event: dict[str, Any]) -> None:
        if event["event"] == "reconnecting":
            tell("lost", at=time.monotonic(), took=0.0, error="A lost the room: " + str(event.get("reason")))

    async def _keep_tunnel(self) -> None:
        while True:
            try:
                self.peer = await asyncio.wait_for(self.caller.connect(self.a.id), VISIT_SECONDS)
                await self.peer.wait_closed()
                tell("lost", at=time.monotonic(), took=0.0, error=f"C lost the tunnel: {self.peer.error!r}")
            except (Exception, asyncio.TimeoutError):
                await asyncio.sleep(0.1)

    async def call(self, n: int) -> None:
        if self.peer is None:
            raise LookupError("no tunnel")
        if await self.peer.call("echo", n) != n:
            raise ValueError("a wrong answer")

    # ------------------------------------------------------------ those who come by

    async def join(self, _n: int) -> Callable[[], Awaitable[None]]:
        client = await RoomClient(Keypair.generate()).__aenter__()
        try:
            room = await client.join(self.address, stay=False)
            if self.a.id not in room.attendants:
                raise LookupError("A is not in the list")
        except BaseException:
            self.later(client.close())
            raise
        return client.close

    async def visit(self, n: int) -> Callable[[], Awaitable[None]]:
        friend = Keypair.generate()
        self.graph.set(friend.id, follows=True)
        client = await RoomClient(friend).__aenter__()

        async def close() -> None:
            await client.close()
            self.graph.set(friend.id, follows=False)

        try:
            room = await client.join(self.far if n % 2 else self.address, stay=False)
            peer = await client.connect(self.a.id, room=room)
            if await peer.call("echo", "friend") != "friend":
                raise ValueError("a wrong answer")
        except BaseException:
            self.later(close())
            raise
        return close

    # ------------------------------------------------------------ doing it again and again

    def later(self, work: Awaitable[None]) -> None:
        async def do() -> None:
            with contextlib.suppress(Exception):
                await work

        task = asyncio.create_task(do())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def once(self, op: str, n: int, work: Callable[[int], Awaitable[Any]], seconds: float) -> None:
        began, error = time.monotonic(), None
        done = None
        try:
            done = await asyncio.wait_for(work(n), seconds)
        except asyncio.TimeoutError:
            error = "time-out"
        except Exception as problem:
            error = f"{type(problem).__name__}: {problem}"
        took = seconds if error == "time-out" else time.monotonic() - began
        tell(op, at=began, took=took, error=error)
        if done is not None:
            self.later(done())

    async def repeat(self, op: str, work: Callable[[int], Awaitable[Any]], every: float, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        due, n = loop.time(), 0
        while True:
            self.later(self.once(op, n, work, seconds))
            due, n = due + every, n + 1
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def watch_itself(self) -> None:
        """Tell when this very process did not get its turns: what is measured then is not the room."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(LAG_EVERY)
            late = time.monotonic() - began - LAG_EVERY
            if late >= LAG_TOLD:
                tell("lag", at=began, took=late, error=None)

    async def finish(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=max(CALL_SECONDS, JOIN_SECONDS, VISIT_SECONDS) + 0.5)


async def main(address: str) -> None:
    lifeline = Lifeline()
    pair = Pair(address)
    async with pair.here():
        while pair.peer is None:
            await asyncio.sleep(0.01)
        tell("ready", listener=str(FeedId(pair.a.id.key)))
        loops = [
            asyncio.create_task(pair.repeat("call", pair.call, CALL_EVERY, CALL_SECONDS)),
            asyncio.create_task(pair.repeat("join", pair.join, JOIN_EVERY, JOIN_SECONDS)),
            asyncio.create_task(pair.repeat("visit", pair.visit, VISIT_EVERY, VISIT_SECONDS)),
            asyncio.create_task(pair.watch_itself()),
        ]
        await lifeline.ended.wait()
        for loop in loops:
            loop.cancel()
        await pair.finish()
        tell("done", at=time.monotonic(), took=0.0, error=None)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

"""The three processes of `ssbfast demo`: a room, peer A ("target") and peer C ("caller").

Each prints its id on stdout, gets its orders as one line of JSON on stdin, and reports what happens as lines of
JSON. The conductor (`cli/demo/conductor.py`) compares the reports. When stdin ends, the conductor is gone, or wants the
part to end: the part leaves, whatever it was doing.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import statistics
import threading
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

from ssbfast import native
from ssbfast.cli.demo import sabotage
from ssbfast.cli.demo.path_change import CUT_AT, PREFIX
from ssbfast.client.direct_paths import Direct, ready
from ssbfast.client.room_client import RoomClient
from ssbfast.errors import DirectUnavailableError, SessionEndedError, SSBError
from ssbfast.ids import FeedId, NetworkId
from ssbfast.keys import Keypair
from ssbfast.net.api import Api
from ssbfast.net.endpoints import Endpoint
from ssbfast.net.peer import Peer
from ssbfast.net.stream import Stream
from ssbfast.room.tunnel_auth import AllowList
from ssbfast.server.room_server import RoomServer

PartName = Literal["room", "target", "caller"]

ITEM: Final = 64 * 1024
"""Bytes of one item: as many as a stream takes at a time."""

PROGRESS_SECONDS: Final = 0.1

Orders = dict[str, Any]


def run_part(role: PartName) -> int:
    """Play one part; return exit code 0 when it could be played to its end."""
    me = Keypair.generate()
    tell("ready", id=str(me.id), backend=native.BACKEND)
    line = _read_line()
    if not line:
        return 1
    orders: Orders = json.loads(line)
    network = NetworkId(bytes.fromhex(orders["network"]))
    if role == "room":
        return asyncio.run(_until_dismissed(_room(me, network, orders)))
    if role == "target":
        return asyncio.run(_until_dismissed(_target(me, network, orders)))
    return asyncio.run(_until_dismissed(_caller(me, network, orders)))


def tell(event: str, **members: Any) -> None:
    """Report to the conductor."""
    line = json.dumps({"event": event, **members}).encode() + b"\n"
    while line:
        line = line[os.write(1, line) :]


def _read_line() -> bytes:
    """Read one line of stdin, byte by byte: what is behind it stays there."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return b""
        line += byte
    return bytes(line)


async def _until_dismissed(work: Coroutine[Any, Any, None]) -> int:
    """Run until the work is done, or the conductor closes stdin."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)

    def wait_for_eof() -> None:
        while os.read(0, 4096):
            pass
        try:
            loop.call_soon_threadsafe(task.cancel)
        except RuntimeError:
            return  # the loop has just ended by itself

    # A thread, because pipes cannot be read asynchronously everywhere; os.read, because it holds no lock at exit.
    threading.Thread(target=wait_for_eof, daemon=True).start()
    try:
        await task
    except asyncio.CancelledError:
        return 0
    except SSBError as error:
        tell("failed", error=type(error).__name__, message=str(error))
        return 1
    return 0


# ---------------------------------------------------------------- the room


async def _room(me: Keypair, network: NetworkId, orders: Orders) -> None:
    """Run a room like any other; each of its events also carries the CPU time used so far."""
    flip_at = orders["flip_at"]
    if flip_at is not None:
        sabotage.meddle(flip_at)

    def on_event(event: dict[str, Any]) -> None:
        tell(event.pop("event"), **event, cpu_seconds=time.process_time())

    async with RoomServer(me, name="demo", network=network, listen=[Endpoint("127.0.0.1", 0)], on_event=on_event):
        await asyncio.get_running_loop().create_future()  # until dismissed


# ---------------------------------------------------------------- peer A


async def _target(me: Keypair, network: NetworkId, orders: Orders) -> None:
    """Attend in the room, let C in, and serve it."""
    api = Api()

    @api.call("demo.echo")
    async def echo(_peer: Peer, value: Any) -> Any:
        return value

    @api.duplex("demo.transfer")
    async def transfer(_peer: Peer, stream: Stream) -> None:
        await _send_and_take_back(stream, orders["bytes"])

    @api.duplex("demo.transfer_directly")
    async def transfer_directly(_peer: Peer, stream: Stream) -> None:
        await _send_and_take_back(stream, orders["direct_bytes"], PREFIX)

    admission = AllowList([FeedId.parse(orders["allow"])])
    direct, left_out = _direct(orders)
    paths = _PathReports()
    async with RoomClient(
        me, network=network, admission=admission, api=api, direct=direct, on_event=paths.on_event
    ) as client:
        room = await client.join(orders["address"])
        tell("attending", left_out=left_out)
        watch = asyncio.gather(_watch_room(room.session), _watch_callers(client))
        try:
            await watch
        finally:
            watch.cancel()


async def _watch_room(room: Peer) -> None:
    await room.wait_closed()
    raise room.error or SessionEndedError("the room said goodbye")


async def _watch_callers(client: RoomClient) -> None:
    async for peer in client.incoming():
        await peer.wait_closed()
        if peer.error is not None:
            raise peer.error


def _direct(orders: Orders) -> tuple[Direct | None, str | None]:
    """Return how to make direct paths, or why there will be none. C begins them, if it was told to."""
    if not orders["direct_bytes"]:
        return None, None
    try:
        ready()
    except DirectUnavailableError as error:
        return None, str(error)
    return Direct(loopback=True), None


async def _send_and_take_back(stream: Stream, total: int, prefix: str = "") -> None:
    """Send random bytes out, and take them back at the same time; each way has a hash of its own.

    prefix: of the reports' names.
    """
    sent, returned, back, reported = hashlib.sha256(), hashlib.sha256(), 0, 0.0
    began = heard = time.perf_counter()
    pause = 0.0

    async def send() -> None:
        for at in range(0, total, ITEM):
            data = os.urandom(min(ITEM, total - at))
            sent.update(data)
            await stream.send(data)
        await stream.end()

    sending = asyncio.get_running_loop().create_task(send())
    try:
        async for data in stream:
            if not isinstance(data, bytes):
                raise SessionEndedError("C sent back something else than bytes")
            returned.update(data)
            back += len(data)
            now = time.perf_counter()
            pause, heard = max(pause, now - heard), now
            if now - reported >= PROGRESS_SECONDS:
                reported = now
                tell(prefix + "progress", bytes=back)
        await sending
    finally:
        sending.cancel()
    tell(
        prefix + "returned",
        bytes=back,
        seconds=time.perf_counter() - began,
        longest_pause=pause,
        sent_sha256=sent.hexdigest(),
        returned_sha256=returned.hexdigest(),
    )


# ---------------------------------------------------------------- peer C


async def _caller(me: Keypair, network: NetworkId, orders: Orders) -> None:
    """Reach A through the room: one tunnel for the bytes, another for calls, and a third that is left and returned to.

    The first two are a client's that makes no direct paths: what is measured there is the room.
    """
    async with RoomClient(me, network=network) as client:
        await client.join(orders["address"], announce=False)
        async with _tunnel(client, orders["target"]) as peer:
            received, count = hashlib.sha256(), 0
            async with peer.duplex("demo.transfer") as stream:
                async for data in stream:
                    received.update(data)
                    count += len(data)
                    await stream.send(data)
            tell("received", bytes=count, sha256=received.hexdigest())
        async with _tunnel(client, orders["target"]) as peer:
            tell("answered", **await _time_calls(peer, orders["calls"]))
    if orders["direct_bytes"]:
        await _leave_and_return(me, network, orders)
    tell("done")


async def _leave_and_return(me: Keypair, network: NetworkId, orders: Orders) -> None:
    """Send A's bytes back over a direct path, and in the midst of that cut the path."""
    paths = _PathReports()
    async with RoomClient(
        me,
        network=network,
        admission=AllowList([FeedId.parse(orders["target"])]),  # so that A may hear our addresses
        direct=Direct(loopback=True, required=True),
        on_event=paths.on_event,
    ) as client:
        await client.join(orders["address"], announce=False)
        async with _tunnel(client, orders["target"]) as peer:
            await paths.direct
            await _send_back_and_cut(peer, orders["direct_bytes"], paths)


async def _send_back_and_cut(peer: Peer, total: int, paths: _PathReports) -> None:
    received, count, pause, is_cut = hashlib.sha256(), 0, 0.0, False
    began = heard = time.perf_counter()
    async with peer.duplex("demo.transfer_directly") as stream:
        async for data in stream:
            now = time.perf_counter()
            pause, heard = max(pause, now - heard), now
            received.update(data)
            count += len(data)
            if not is_cut and count >= total * CUT_AT:
                is_cut = True
                sabotage.drop_datagrams()
                tell("cut", bytes=count, took=now - began, seconds=paths.seconds)
            await stream.send(data)
    tell(PREFIX + "received", bytes=count, sha256=received.hexdigest(), longest_pause=pause)


class _PathReports:
    """The reports of the latest session's path. direct: done when it is direct, or will not be."""

    def __init__(self) -> None:
        self.direct: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Return the seconds since the session opened."""
        return time.perf_counter() - self._began

    def on_event(self, event: dict[str, Any]) -> None:
        """Handle an event of the client."""
        match event:
            case {"event": "connected" | "accepted"}:
                self._began = time.perf_counter()
            case {"event": "path", "path": path, "reason": reason}:
                tell("path", path=path, reason=reason, seconds=self.seconds)
                if path == "direct":
                    self._settle(None)
                else:
                    self._settle(reason)
            case {"event": "closed", "reason": reason}:
                self._settle(reason)

    def _settle(self, problem: str | None) -> None:
        if self.direct.done():
            return
        if problem is None:
            self.direct.set_result(None)
        else:
            self.direct.set_exception(SessionEndedError(f"no direct path came about: {problem}"))
            self.direct.exception()  # the failure counts as retrieved without a waiter


@asynccontextmanager
async def _tunnel(client: RoomClient, target: str) -> AsyncIterator[Peer]:
    peer = await client.connect(target)
    try:
        yield peer
    except SSBError as error:
        # The session knows better than one of its streams what went wrong.
        raise peer.error or error from None
    await peer.close()


async def _time_calls(peer: Peer, calls: int) -> dict[str, float]:
    """Return the seconds of one call and its answer, one after the other."""
    took = []
    for number in range(calls):
        began = time.perf_counter()
        answer = await peer.call("demo.echo", number)
        took.append(time.perf_counter() - began)
        if answer != number:
            raise SessionEndedError("a call was answered with something else")
    return {"median_seconds": statistics.median(took), "worst_seconds": max(took)}

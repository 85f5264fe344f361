"""A peer with nothing around its link: it does what a test tells it, polite or not, and records what comes.

It stands on `Link` and `MuxRPC` alone, so that what is tested above them is not also the tester.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from ssbfast import limits, native
from ssbfast.errors import SSBError
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.net.dial import dial
from ssbfast.net.link import Link
from ssbfast.net.relay import Relay
from ssbfast.wire.handshake import ClientHandshake
from ssbfast.wire.muxrpc import STREAM, Answered, Called, CallKind, Ended, Failed, Item, MuxRPC, Reply

PATIENCE = 20.0
"""Seconds after which something that has to happen is taken for missing. No test depends on less."""

_END = native.STREAM | native.END | native.JSON


async def eventually(condition: Callable[[], Any], patience: float = PATIENCE) -> None:
    """Wait until the condition holds; AssertionError when it never does."""
    loop = asyncio.get_running_loop()
    until = loop.time() + patience
    turns = 0
    while not condition():
        if loop.time() > until:
            raise AssertionError("it did not happen")
        turns += 1
        await asyncio.sleep(0 if turns < 200 else 0.005)


async def settle(turns: int = 20) -> None:
    """Let the loop finish what is ready."""
    for _ in range(turns):
        await asyncio.sleep(0)


class RawTunnel:
    """One end of a duplex as bare bytes; no handshake inside unless the test writes one."""

    def __init__(self, peer: RawPeer, req: int) -> None:
        self.peer = peer
        self.req = req
        self.lane = native.Lane(peer.link.core, req, limits.TUNNEL_SHARE)
        self.inlet = native.Inlet(peer.link.core, -req, None)
        self.received = bytearray()
        self.count = 0
        self.keep = True
        self.on_data: Callable[[bytes], None] | None = None
        self.ended: Ended | None = None
        self.call: Called | None = None

    def write(self, data: bytes) -> None:
        """Queue all of it, share or not."""
        for at in range(0, len(data), limits.CALL_BODY):
            self.lane.packet(STREAM, data[at : at + limits.CALL_BODY])
        self.peer.link.touched()

    async def send(self, data: bytes) -> None:
        """Queue it when there is room."""
        while not self.lane.write(data):
            drained = asyncio.Event()
            self.peer.link.when(lambda: not self.lane.full, drained.set)
            await drained.wait()
        self.peer.link.touched()

    def end(self, error: str | None = None) -> None:
        packet = self.peer.mux.end(self.req, error)
        if packet is not None:
            self.lane.packet(_END, packet[2])
            self.peer.link.touched()

    async def read(self, n: int) -> bytes:
        """Wait for n bytes in all."""
        await eventually(lambda: len(self.received) >= n or self.ended is not None)
        return bytes(self.received[:n])

    async def wait_ended(self, patience: float = PATIENCE) -> SSBError | None:
        await eventually(lambda: self.ended is not None, patience)
        assert self.ended is not None
        return self.ended.error

    def arrived(self, data: bytes) -> None:
        self.count += len(data)
        if self.keep:
            self.received += data
        if self.on_data is not None:
            self.on_data(data)


class RawPeer:
    """A session with a room. `polite` answers tunnel.connect by accepting it; other calls are recorded only."""

    def __init__(self, me: Keypair, relay: Relay) -> None:
        self.me = me
        self.relay = relay
        self.mux = MuxRPC()
        self.calls: list[Called] = []
        self.answers: dict[int, Any] = {}
        self.items: dict[int, list[Any]] = {}
        self.ends: dict[int, SSBError | None] = {}
        self.tunnels: dict[int, RawTunnel] = {}
        self.incoming: asyncio.Queue[RawTunnel] = asyncio.Queue()
        self.gone = asyncio.Event()
        self.is_open = asyncio.Event()
        self.error: SSBError | None = None
        self.link: Link
        self.listing = 0

    # ------------------------------------------------------------ what a test does

    async def join(self, port: int, room: FeedId, *, announce: bool = True, split: bool = False) -> RawPeer:
        handshake = ClientHandshake(self.me, room)
        self.link = await dial("127.0.0.1", port, lambda: Link(self.relay, handshake, self, split=split))
        await eventually(lambda: self.is_open.is_set() or self.gone.is_set())
        if self.error is not None:
            raise self.error
        if announce:
            self.listing = self.source("room.attendants")
            await eventually(lambda: self.items[self.listing])
        return self

    @property
    def id(self) -> FeedId:
        return self.me.id

    def open(self, kind: CallKind, name: str, *args: Any) -> int:
        req, packet = self.mux.call(kind, tuple(name.split(".")), list(args))
        self.link.control(*packet)
        return req

    def source(self, name: str, *args: Any) -> int:
        req = self.open(CallKind.SOURCE, name, *args)
        self.items[req] = []
        return req

    async def call(self, name: str, *args: Any) -> Any:
        req = self.open(CallKind.ASYNC, name, *args)
        await eventually(lambda: req in self.answers or self.gone.is_set())
        return self.answers.pop(req, self.error)

    async def refused(self, kind: CallKind, name: str, *args: Any) -> Any:
        """The error with which a call or stream of any kind ends; None if it ends without."""
        req = self.open(kind, name, *args)
        await eventually(lambda: req in self.answers or req in self.ends or self.gone.is_set())
        answer = self.answers.pop(req, None) if req in self.answers else self.ends.pop(req, self.error)
        return answer if isinstance(answer, SSBError) else None

    async def listed(self, name: str, *args: Any) -> list[Any]:
        """The items of a source that ends by itself. Raises the error with which it ends."""
        req = self.source(name, *args)
        await eventually(lambda: req in self.ends or self.gone.is_set())
        error = self.ends.pop(req, self.error)
        if error is not None:
            raise error
        return self.items.pop(req)

    def connect(self, room: FeedId, target: FeedId) -> RawTunnel:
        """The call only; what is written may go right behind it."""
        req = self.open(CallKind.DUPLEX, "tunnel.connect", {"portal": str(room), "target": str(target)})
        self.tunnels[req] = tunnel = RawTunnel(self, req)
        return tunnel

    async def accept(self) -> RawTunnel:
        return await asyncio.wait_for(self.incoming.get(), PATIENCE)

    async def leave(self) -> None:
        self.link.close()
        await asyncio.wait_for(self.gone.wait(), PATIENCE)

    async def kill(self) -> None:
        """Cut without goodbye."""
        self.link.abort()
        await asyncio.wait_for(self.gone.wait(), PATIENCE)

    # ------------------------------------------------------------ LinkHandler

    def on_open(self, link: Link) -> None:
        self.link = link
        self.is_open.set()

    def on_packet(self, link: Link, flags: int, req: int, body: bytes) -> None:
        for event in self.mux.receive(flags, req, body):
            if isinstance(event, Reply):
                with contextlib.suppress(SSBError):
                    link.control(*event.packet)
            elif isinstance(event, Called):
                self._called(event)
            elif isinstance(event, Answered):
                self.answers[event.req] = event.value
            elif isinstance(event, Failed):
                self.answers[event.req] = event.error
            elif isinstance(event, Item):
                self.items.setdefault(event.req, []).append(event.value)
            else:
                self._ended(event)

    def on_chunk(self, link: Link, req: int, data: bytes) -> None:
        self.tunnels[-req].arrived(data)

    def on_close(self, link: Link, error: SSBError | None) -> None:
        self.error = error
        for event in self.mux.close():
            if isinstance(event, Ended):
                self._ended(event)
        self.gone.set()

    def _called(self, event: Called) -> None:
        if event.name == ("tunnel", "connect"):
            self.tunnels[event.req] = tunnel = RawTunnel(self, event.req)
            tunnel.call = event
            self.incoming.put_nowait(tunnel)
        else:
            self.calls.append(event)

    def _ended(self, event: Ended) -> None:
        self.ends[event.req] = event.error
        tunnel = self.tunnels.get(event.req)
        if tunnel is not None and tunnel.ended is None:
            tunnel.ended = event

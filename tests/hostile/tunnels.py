"""Attacks with tunnels: many, busy ones, and those that knock at the honest listener's door (A3, A4)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from ssbfast.errors import SSBError
from ssbfast.ids import FeedId
from ssbfast.wire.box_stream import Unboxer
from ssbfast.wire.handshake import ClientHandshake, Completed, Send
from ssbfast.wire.packet_stream import Packet, PacketReader
from tests.hostile.stranger import END, STREAM, Cut, Stranger, call, end, packet
from tests.hostile.world import ADDRESSES, AttackProcess, paced, spread

_CHUNK = packet(STREAM, 1, bytes(4087)) * 8


def _connect(world: AttackProcess, req: int, target: Stranger) -> bytes:
    return call(req, "duplex", "tunnel.connect", {"portal": str(world.room), "target": str(target.me.id)})


async def _pairs(world: AttackProcess, count: int, addresses: tuple[str, ...]) -> list[tuple[Stranger, Stranger]]:
    """Callers and targets of our own; the targets are announced."""
    there: list[Stranger] = await world.crowd(spread(2 * count, addresses))
    pairs = list(zip(there[::2], there[1::2], strict=False))
    for _, target in pairs:
        await target.send(call(1, "async", "tunnel.announce"))
    await asyncio.sleep(0.2)
    return pairs


def many_tunnels(pairs: int, rate: float, *, close: bool, addresses: tuple[str, ...] = ADDRESSES) -> Any:
    """Open tunnels between own sessions, `rate` a second in all. close: end each at once; else they stay."""

    async def attack(world: AttackProcess) -> None:
        own = await _pairs(world, pairs, addresses)
        await world.go()

        async def fill(caller: Stranger, target: Stranger) -> None:
            at_a_time = 20
            async for n in paced(rate / pairs / at_a_time):
                reqs = range(1 + n * at_a_time, 1 + (n + 1) * at_a_time)
                packets = b"".join(_connect(world, req, target) + (end(req) if close else b"") for req in reqs)
                try:
                    await caller.send(packets)
                except Cut:
                    world.did["cut"] += 1
                    return
                world.did["opened"] += at_a_time

        await asyncio.gather(*(fill(*pair) for pair in own))
        await asyncio.Event().wait()

    return attack


def busy_tunnels(pairs: int, tunnels: int, bytes_per_second: float, addresses: tuple[str, ...] = ADDRESSES) -> Any:
    """Tunnels between own sessions that carry as much as they can, up to so many bytes a second in all."""

    async def attack(world: AttackProcess) -> None:
        own = await _pairs(world, pairs, addresses)
        for caller, target in own:
            await caller.send(b"".join(_connect(world, req, target) for req in range(1, tunnels + 1)))
        await world.go()

        async def push(caller: Stranger) -> None:
            data = [packet(STREAM, req, bytes(4087)) * 8 for req in range(1, tunnels + 1)]
            try:
                async for n in paced(bytes_per_second / pairs / len(_CHUNK)):
                    await caller.send(data[n % tunnels])
            except Cut:
                world.did["cut"] += 1

        await asyncio.gather(*(push(caller) for caller, _ in own))
        await asyncio.Event().wait()

    return attack


class Knocker(Stranger):
    """Its tunnels begin the inner handshake. say: 0 nothing, 1 the hello, 2 the proof of its key as well."""

    def __init__(self, room: FeedId, *, listener: FeedId, say: int, deaf: bool = False) -> None:
        super().__init__(room, deaf=deaf)
        self._listener = listener
        self._say = say
        self._inner: dict[int, ClientHandshake] = {}
        self._reader = PacketReader()
        self._unboxer: Unboxer
        self.proofs = 0

    def opened(self, event: Completed) -> None:
        self._unboxer = Unboxer(event.session.receive_key, event.session.receive_nonce)

    def knock(self, req: int) -> bytes:
        target = {"portal": str(self._room), "target": str(self._listener)}
        packets = call(req, "duplex", "tunnel.connect", target)
        if self._say:
            self._inner[req] = handshake = ClientHandshake(self.me, self._listener)
            packets += packet(STREAM, req, handshake.start())
        return packets

    def received(self, data: bytes) -> None:
        if self._say < 2:
            return
        for found in self._reader.feed(self._unboxer.open(data)):
            handshake = self._inner.pop(-found.req, None) if isinstance(found, Packet) else None
            if handshake is not None and isinstance(found, Packet) and not found.flags & END:
                self._prove(-found.req, handshake, found.body)

    def _prove(self, req: int, handshake: ClientHandshake, hello: bytes) -> None:
        with contextlib.suppress(SSBError):
            for event in handshake.receive(hello):
                if isinstance(event, Send):
                    self.transport.write(self._boxer.seal(packet(STREAM, req, event.data)))
                    self.proofs += 1


def knocks(keys: int, rate: float, *, say: int = 0, addresses: tuple[str, ...] = ADDRESSES) -> Any:
    """Tunnels to the honest listener from strangers, `rate` a second in all, from so many keys. say: see `Knocker`."""

    async def attack(world: AttackProcess) -> None:
        options: dict[str, Any] = {"kind": Knocker, "listener": world.listener, "say": say}
        there: list[Any] = await world.crowd(spread(keys, addresses), **options)
        await world.go()
        while not there:
            await asyncio.sleep(0.1)
            there = await world.crowd(spread(keys, addresses), **options)
        reqs = [1] * len(there)
        async for n in paced(rate):
            which = n % len(there)
            try:
                await there[which].send(there[which].knock(reqs[which]))
                reqs[which] += 1
                world.did["knocks"] += 1
                world.did["proofs"] = sum(knocker.proofs for knocker in there)
            except Cut:
                world.did["cut"] += 1
                try:
                    there[which], reqs[which] = await world.dial(addresses[which % len(addresses)], **options), 1
                except Cut:
                    await asyncio.sleep(0.1)

    return attack

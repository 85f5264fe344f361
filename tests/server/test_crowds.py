"""Many at once: 2,000 tunnels through one room, and a wave of joins beside one that moves data. Counted, not timed."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter

import pytest

from ssbfast import limits
from ssbfast.errors import RemoteError
from ssbfast.keys import Keypair
from ssbfast.limits import KiB, MiB
from ssbfast.server.session import RoomSession
from tests.helpers.rawpeer import RawPeer, RawTunnel, eventually
from tests.helpers.room_process import RoomProcess, room_process
from tests.helpers.served_room import ServedRoom, served_room

TUNNELS = 2000
CALLERS = 10
TARGETS = 10
GROWTH = 16 * MiB
"""What the room may keep of it: Python's own pages, of which one object holds a whole arena."""


def digest(data: bytes | bytearray) -> bytes:
    return hashlib.sha256(data).digest()


def payload(rng: random.Random, number: int) -> bytes:
    """Begins with the tunnel's number; mostly short."""
    size = rng.choice((1, 100, 4087, 4088, 10_000, 10_000, 60_000)) + rng.randrange(100)
    return number.to_bytes(4, "big") + rng.randbytes(size)


class Crowd:
    """Callers and targets of a room in another process, and all tunnels between them."""

    def __init__(self, room: ServedRoom, process: RoomProcess) -> None:
        self._room = room
        self._process = process
        self.callers: list[RawPeer] = []
        self.targets: list[RawPeer] = []

    async def join(self) -> None:
        for crowd, count in ((self.callers, CALLERS), (self.targets, TARGETS)):
            for _ in range(count):
                peer = RawPeer(Keypair.generate(), self._room.relay)
                self._room.peers.append(peer)
                crowd.append(await peer.join(self._process.port, self._process.id))

    async def tunnels(self, there: int, rng: random.Random) -> None:
        """So many at once: each sends and half-closes, gets its answer, and an end or an error; digests are compared.

        One caller dies in the middle of it.
        """
        callers = self.callers[1:]
        asked = [payload(rng, i) for i in range(there)]
        here = []
        for i, data in enumerate(asked):
            tunnel = self.callers[i % CALLERS].connect(self._process.id, self.targets[i * 7 % TARGETS].id)
            tunnel.write(data)
            if i % 2:
                tunnel.end()
            here.append(tunnel)
        accepted = [await self.targets[i * 7 % TARGETS].accept() for i in range(there)]
        await eventually(lambda: sum(t.count for t in accepted) == sum(map(len, asked)), 60)
        by_number = {int.from_bytes(t.received[:4], "big"): t for t in accepted}
        assert all(digest(by_number[i].received) == digest(data) for i, data in enumerate(asked))
        answers = [payload(rng, i) for i in range(there)]
        for i, data in enumerate(answers):
            by_number[i].write(data)
            by_number[i].end("enough" if i % 5 == 0 else None)
        dead = self.callers.pop(0)
        await dead.kill()
        living = [i for i, tunnel in enumerate(here) if tunnel.peer in callers]
        await eventually(lambda: all(here[i].ended is not None for i in living), 60)
        for i in living:
            assert digest(here[i].received) == digest(answers[i])
            assert isinstance(here[i].ended.error, RemoteError) is (i % 5 == 0)  # type: ignore[union-attr]
            here[i].end()
        await eventually(lambda: len(self._process.named("tunnel_closed")) == len(self._process.named("tunnel_opened")))
        self._forget(here, accepted)

    def _forget(self, *ends: list[RawTunnel]) -> None:
        for tunnel in (tunnel for some in ends for tunnel in some):
            tunnel.lane.close()
            tunnel.inlet.close()
            tunnel.peer.tunnels.pop(tunnel.req, None)


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_two_thousand_tunnels_at_once() -> None:
    async with room_process() as process, served_room() as room:
        rng = random.Random(4711)
        warm = Crowd(room, process)
        await warm.join()
        await warm.tunnels(200, rng)
        await asyncio.sleep(2.5)  # queue memory is given back after a second without any
        before = process.rss
        crowd = Crowd(room, process)
        await crowd.join()
        await crowd.tunnels(TUNNELS, rng)
        assert len(process.named("tunnel_opened")) == 200 + TUNNELS
        await eventually(lambda: process.rss < before + GROWTH)


@pytest.mark.slow
async def test_a_wave_of_joins_lets_a_tunnel_move_and_keeps_queues_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ATTENDANCE_STEP", 4)
    monkeypatch.setattr(limits, "ATTENDANCE_PAUSE", 0.0)
    subscribers, newcomers = 120, 24
    async with served_room() as room:
        for _ in range(subscribers):
            await room.raw()
        here, there = await room.tunnel(room.peers[0], room.peers[1])
        loop, hub = asyncio.get_running_loop(), room.server.relay.hub
        told: Counter[int] = Counter()
        moved: list[int] = []
        ticks, lent = 0, 0
        done = False

        def tick() -> None:
            nonlocal ticks
            ticks += 1
            if not done:
                loop.call_soon(tick)

        def counted(self: RoomSession, req: int, body: bytes, *, snapshot: bool) -> None:
            nonlocal lent
            if not snapshot:
                told[ticks] += 1
                moved.append(there.count)
            send_item(self, req, body, snapshot=snapshot)
            lent = max(lent, hub.lent)

        send_item = RoomSession.send_item
        monkeypatch.setattr(RoomSession, "send_item", counted)
        tick()
        here.write(bytes(8 * MiB))
        await asyncio.gather(*(room.raw() for _ in range(newcomers)))
        everybody = {str(peer.id) for peer in room.peers}

        def knows_all(peer: RawPeer) -> bool:
            known: set[str] = set()
            for item in peer.items[peer.listing]:
                known = set(item["ids"]) if item["type"] == "state" else known | {item["id"]}
            return known == everybody

        await eventually(lambda: all(map(knows_all, room.peers)))
        done = True
        assert max(told.values()) <= 2 * (limits.ATTENDANCE_STEP + newcomers)  # less than one event to all
        assert len(set(moved)) > 10  # bytes of the tunnel have come through in between
        queues = 2 * (subscribers + newcomers) + (limits.TUNNEL_SHARE + limits.RECEIVE_BUFFER) // (4 * KiB) * 2
        assert lent < queues
        await eventually(lambda: there.count == 8 * MiB)

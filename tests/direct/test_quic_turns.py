"""What the engine sends when more waits than may go: streams and datagrams take turns, and so do streams."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any, Final

import pytest

if sys.version_info < (3, 11):
    pytest.skip("aioquic needs Python 3.11: there are no direct paths", allow_module_level=True)
pytest.importorskip("ssbfast.native.core", reason="the C core is not built")

from tests.helpers.quic_world import CALLER, SECOND, TARGET, AioquicEnd, Direction, EngineEnd, Network, World, text

SLOW: Final = Network(*(Direction(rate=1.0, queue=1 << 16) for _ in range(2)))
"""A megabyte a second: packets wait."""

TRAIN: Final = 16 * 1400
"""Bytes of a train of the engine's at the most."""

roles = pytest.mark.parametrize("role", [CALLER, TARGET], ids=["caller", "target"])


DATAGRAM: Final = -1


class Packets:
    """What came with each packet that brought anything: the numbers of streams, and DATAGRAM."""

    def __init__(self, peer: AioquicEnd) -> None:
        self.brought: list[set[int]] = []
        self._peer, self._receive = peer, peer.receive
        peer.receive = self.receive  # type: ignore[method-assign]

    def receive(self, data: bytes, now: int, path: int) -> None:
        before = self._seen()
        self._receive(data, now, path)
        if brought := self._seen() - before:
            self.brought.append(set(brought))

    def _seen(self) -> Counter[int]:
        return Counter(
            {DATAGRAM: len(self._peer.datagrams)} | {stream: len(got) for stream, got in self._peer.got.items()}
        )


def meet(role: int) -> tuple[World, EngineEnd, AioquicEnd, Packets]:
    """Return a world in which the engine has this role, and what its packets bring."""
    world = World(("turns", role), SLOW)
    world.take_over(role)
    peer: Any = world.ends[1 - role]
    return world, world.ends[role], peer, Packets(peer)


@roles
def test_streams_that_wait_get_every_other_packet(role: int) -> None:
    """Without that, a full queue of datagrams would hold up the session as long as it is full."""
    world, engine, peer, packets = meet(role)
    stream, long = engine.open(), bytes(1_300)

    def is_done() -> bool:
        while engine.engine.datagram(long):  # there are always more
            pass
        return stream in peer.ended

    engine.write(stream, text(1, 60_000), end=True)  # the first credit lets it go
    assert not is_done()
    assert world.run(3 * SECOND, is_done)
    assert peer.got[stream] == text(1, 60_000)
    kinds = [DATAGRAM in brought for brought in packets.brought]
    assert len(kinds) > 70 and abs(kinds.count(True) - kinds.count(False)) < 5, kinds


@roles
def test_a_short_stream_beside_many_datagrams_costs_no_packet_of_its_own(role: int) -> None:
    """What is left of a packet that a stream began is for datagrams."""
    world, engine, peer, packets = meet(role)
    stream = engine.open()
    for _ in range(100):
        engine.engine.datagram(bytes(100))
    engine.write(stream, b"x", end=True)
    assert world.run(SECOND, lambda: stream in peer.ended and len(peer.datagrams) == 100)
    assert all(DATAGRAM in brought for brought in packets.brought)


@roles
def test_streams_take_turns(role: int) -> None:
    """None is ahead of another by more than what goes at a time, and a short one is not behind the long ones."""
    world, engine, peer, _ = meet(role)
    long = [engine.open() for _ in range(3)]
    for stream in long:
        engine.write(stream, text(stream, 200_000), end=True)
    ahead = 0

    def is_half_done() -> bool:
        nonlocal ahead
        got = [len(peer.got.get(stream, b"")) for stream in long]
        ahead = max(ahead, max(got) - min(got))
        return min(got) > 100_000

    assert world.run(3 * SECOND, is_half_done)
    assert ahead <= 2 * TRAIN, ahead
    short = engine.open()
    engine.write(short, text(short, 1_000), end=True)
    assert world.run(SECOND, lambda: short in peer.ended)
    assert not peer.ended.intersection(long)
    assert world.run(3 * SECOND, lambda: peer.ended.issuperset(long))
    assert all(peer.got[stream] == text(stream, 200_000) for stream in long)


@roles
def test_the_oldest_datagrams_make_room(role: int) -> None:
    """Of those that wait to be sent, and of those that wait to be read."""
    world, engine, peer, _ = meet(role)
    kept = 65_536 // 1_002
    texts = [number.to_bytes(2, "big") + bytes(998) for number in range(kept + 10)]
    assert [engine.engine.datagram(data) for data in texts] == [True] * kept + [False] * 10
    assert world.run(SECOND, lambda: len(peer.datagrams) == kept)
    world.run(SECOND)
    assert peer.datagrams == texts[10:]
    engine.take_events = lambda: None  # type: ignore[method-assign]  # it does not read
    for data in texts:
        peer.quic.send_datagram_frame(data)
    world.run(SECOND)
    assert engine.engine.figures()["dropped"] == 10
    del engine.take_events
    engine.take_events()
    assert engine.datagrams == texts[10:]

"""gossip.ping: answer a serve, serve in our turn, never answer an answer."""

from __future__ import annotations

from ssbfast import limits
from ssbfast.room.effects import StreamItem
from ssbfast.room.ping import Pings

WALL = 1_700_000_000_123


def new() -> Pings:
    return Pings(lambda: WALL)


def test_a_game() -> None:
    pings = new()
    pings.open(1, -1)
    assert not pings.next_tick
    assert pings.received(1, -1, 10.0) == [StreamItem(1, -1, b"1700000000123")]
    assert pings.next_tick == 10.0 + limits.PING_SECONDS
    assert pings.tick(309.0) == []
    assert pings.tick(310.0) == [StreamItem(1, -1, b"1700000000123")]
    assert not pings.next_tick
    assert pings.received(1, -1, 311.0) == [], "an answer is not answered"
    assert len(pings.received(1, -1, 320.0)) == 1


def test_a_peer_that_serves_early_delays_our_serve() -> None:
    pings = new()
    pings.open(1, -1)
    pings.received(1, -1, 0.0)
    pings.open(2, -1)
    pings.received(2, -1, 50.0)
    pings.received(1, -1, 100.0)
    assert pings.next_tick == 50.0 + limits.PING_SECONDS
    assert [item.session for item in pings.tick(1000.0)] == [2, 1]


def test_ends() -> None:
    pings = new()
    pings.open(1, -1)
    pings.open(1, -2)
    assert pings.count(1) == 2
    pings.received(1, -1, 0.0)
    assert pings.ended(1, -1)
    assert not pings.ended(1, -1)
    assert not pings.next_tick
    assert pings.received(1, -1, 0.0) == []
    pings.received(1, -2, 0.0)
    pings.session_closed(1)
    pings.session_closed(1)
    assert pings.tick(1000.0) == []
    assert pings.count(1) == 0

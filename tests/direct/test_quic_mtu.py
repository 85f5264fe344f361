"""The engine finds how long datagrams may be (RFC 8899), up and down, and a lost probe says nothing of congestion."""

from __future__ import annotations

import dataclasses
import sys

import pytest

if sys.version_info < (3, 11):
    pytest.skip("aioquic needs Python 3.11: there are no direct paths", allow_module_level=True)
pytest.importorskip("ssbfast.native.core", reason="the C core is not built")

from tests.helpers.quic_world import BOUNDS, CALLER, SECOND, TARGET, Direction, Network, World, text

LEAST = 1200
STEP = 16
RAISE = 600 * SECOND


def world(longest: int, **options: float) -> World:
    """Two engines, and a network in which longer datagrams vanish."""
    way = Direction(longest=longest, **options)  # type: ignore[arg-type]
    made = World(longest, Network(way, way) if longest >= BOUNDS.datagram else None)
    made.network = Network(way, way)
    made.take_over(CALLER, TARGET)
    return made


def narrow(made: World, longest: int) -> None:
    there, back = made.network.there, made.network.back
    made.network = Network(dataclasses.replace(there, longest=longest), dataclasses.replace(back, longest=longest))


def mtu(made: World) -> list[int]:
    return [end.engine.mtu for end in made.ends]


@pytest.mark.parametrize("longest", [1400, 1410, 1416, 1440, 1471, 1472, 9000])
def test_it_finds_the_longest_that_passes(longest: int) -> None:
    made = world(longest)
    made.run(10 * SECOND)
    most = min(longest, BOUNDS.datagram_most)
    assert all(most - STEP < size <= most for size in mtu(made))


def test_what_is_found_is_used() -> None:
    made = world(1460)
    made.run(10 * SECOND)
    stream = made.ends[CALLER].open()
    made.ends[CALLER].write(stream, text(1, 100_000), end=True)
    trains = made.ends[CALLER].send(made.now)
    assert max(len(data) for data, _ in trains) == mtu(made)[CALLER] > BOUNDS.datagram


def test_a_lost_probe_is_no_congestion() -> None:
    made = world(1400)
    window = made.ends[CALLER].engine.figures()["congestion_window"]
    made.run(10 * SECOND)
    figures = made.ends[CALLER].engine.figures()
    assert figures["congestion_window"] >= window and figures["lost"] == 0
    assert figures["in_flight"] == 0


@pytest.mark.parametrize("sender", [CALLER, TARGET])
@pytest.mark.parametrize("longest", [1200, 1300, 1398])
def test_a_way_that_gets_narrower_costs_moments_and_no_byte(longest: int, sender: int) -> None:
    made = world(9000)
    made.run(10 * SECOND)
    assert mtu(made) == [BOUNDS.datagram_most] * 2
    here, there = made.ends[sender], made.ends[1 - sender]
    data = text(7, 2_000_000)
    stream = here.open()
    here.write(stream, data, end=True)
    made.run(SECOND // 10)
    narrow(made, longest)
    began = made.now
    assert made.run(60 * SECOND, lambda: stream in there.ended)
    assert there.got[stream] == data and not here.closed and not there.closed
    made.run(10 * SECOND)
    assert LEAST <= mtu(made)[sender] <= longest
    assert longest - mtu(made)[sender] < STEP or longest < LEAST + STEP
    assert made.now - began < 40 * SECOND  # virtual time


def test_a_way_that_gets_wider_is_noticed_after_ten_minutes() -> None:
    made = world(1400)
    made.run(10 * SECOND)
    narrow(made, 9000)
    made.run(RAISE // 2)
    assert max(mtu(made)) < 1400 + STEP
    made.run(RAISE)
    assert mtu(made) == [BOUNDS.datagram_most] * 2


def test_losses_by_chance_do_not_shorten_datagrams_for_long() -> None:
    made = world(9000, loss=0.1)
    made.run(10 * SECOND)
    stream = made.ends[CALLER].open()
    made.ends[CALLER].write(stream, text(3, 1_000_000), end=True)
    assert made.run(600 * SECOND, lambda: stream in made.ends[TARGET].ended)
    made.run(60 * SECOND)
    assert mtu(made)[CALLER] == BOUNDS.datagram_most


def test_a_datagram_that_is_too_long_by_now_stops_no_other() -> None:
    made = world(9000)
    made.run(10 * SECOND)
    here, there = made.ends[CALLER], made.ends[TARGET]
    room = mtu(made)[CALLER] - 64
    narrow(made, 1250)
    stream = here.open()
    here.write(stream, text(5, 300_000), end=True)
    for _ in range(5):
        here.engine.datagram(bytes(room))
    here.engine.datagram(b"short")
    assert made.run(60 * SECOND, lambda: stream in there.ended)
    assert there.datagrams[-1:] == [b"short"] or b"short" not in there.datagrams  # one of those may be lost
    here.engine.datagram(b"last")
    made.run(SECOND)
    assert there.datagrams[-1] == b"last"

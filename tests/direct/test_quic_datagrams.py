"""Datagrams beside the streams of a direct path: what is agreed upon, bounded queues, and turns."""

from __future__ import annotations

import functools

import pytest

from ssbfast import limits
from tests.helpers.direct import PathPair, both_engines, direct, only, raw_caller
from tests.helpers.rawpeer import eventually, settle
from tests.helpers.udp import send_one_by_one

from aioquic.quic.events import PingAcknowledged  # isort: skip
from aioquic.quic.packet import QuicFrameType  # isort: skip
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder  # isort: skip
from ssbfast.direct.quic_connection import DATAGRAMS  # isort: skip

pytestmark = both_engines


async def test_datagrams_of_all_lengths_pass_both_ways_in_order(engine: str) -> None:
    number = 4 if engine == "native" else 2
    longest = limits.QUIC_DATAGRAM_IPV4 if engine == "native" else limits.DIRECT_DATAGRAM
    async with direct() as ends:
        room = longest - 8 - 1 - number - 16 - 3
        await eventually(lambda: ends.caller.datagram_room == ends.target.datagram_room == room)
        sent = [bytes([n % 251]) * n for n in (0, 1, 2, 62, 63, 64, 65, 1000, room - 1, room)] * 3
        for path in (ends.caller, ends.target):
            assert all([path.send_datagram(data) for data in sent])
        await eventually(lambda: len(ends.here.datagrams) == len(ends.there.datagrams) == len(sent))
        assert ends.here.datagrams == ends.there.datagrams == sent


@pytest.mark.parametrize("old", ["caller", "target"])
async def test_an_end_that_knows_no_datagrams_is_sent_none(old: str) -> None:
    ends = PathPair()
    getattr(ends, old)._quic._configuration.max_datagram_frame_size = None
    try:
        ends.start()
        await ends.ready()
        new = ends.target if old == "caller" else ends.caller
        assert new.datagram_room == 0
        ends.caller.send_data(b"x")
        await eventually(lambda: ends.there.data)
    finally:
        await ends.close()


async def test_none_go_before_the_proofs_and_after_the_end() -> None:
    ends = PathPair()
    assert ends.caller.datagram_room == 0
    try:
        ends.start()
        await ends.ready()
        assert ends.caller.datagram_room
        ends.caller.close()
        assert ends.caller.datagram_room == 0
    finally:
        await ends.close()


async def test_what_comes_before_the_proof_is_dropped() -> None:
    async with raw_caller() as raw:
        await raw.connect()
        for _ in range(100):
            raw.quic.send_datagram_frame(b"early")
        raw.quic.send_ping(1)
        raw.driver.transmit_soon()
        await eventually(lambda: any(isinstance(event, PingAcknowledged) for event in raw.events))
        await settle()
        assert raw.there.log == [] and raw.target._quic.datagram_room and not raw.target.datagram_room
        raw.write(0, raw.proof)
        await eventually(lambda: raw.there.ready)
        raw.quic.send_datagram_frame(b"late")
        raw.driver.transmit_soon()
        await eventually(lambda: raw.there.datagrams)
        assert raw.there.datagrams == [b"late"] and raw.target.datagram_room


@only("aioquic")
async def test_the_oldest_of_a_full_queue_are_dropped() -> None:
    count = limits.FLOW_QUEUE + 40
    async with direct() as ends:
        kept = [ends.caller.send_datagram(number.to_bytes(4, "big")) for number in range(count)]
        assert kept == [True] * limits.FLOW_QUEUE + [False] * 40
        assert len(ends.caller._quic._datagrams_pending) == limits.FLOW_QUEUE
        await eventually(lambda: len(ends.there.datagrams) == limits.FLOW_QUEUE)
        assert [int.from_bytes(data, "big") for data in ends.there.datagrams] == list(range(40, count))


@only("native")
async def test_the_oldest_of_a_full_queue_of_the_engine_s_are_dropped() -> None:
    async with direct() as ends:
        room = ends.caller.datagram_room
        sent = [number.to_bytes(4, "big") + bytes(room - 4) for number in range(2 * limits.QUIC_DATAGRAMS // room)]
        kept = [ends.caller.send_datagram(data) for data in sent]
        count = kept.count(True)
        assert 0 < count * room <= limits.QUIC_DATAGRAMS and kept == sorted(kept, reverse=True)
        await eventually(lambda: len(ends.there.datagrams) == count)
        assert ends.there.datagrams == sent[-count:]
        assert ends.caller.send_datagram(b"again")
        await eventually(lambda: ends.there.datagrams[-1] == b"again")


@only("aioquic")
async def test_streams_that_wait_get_every_other_packet() -> None:
    """Without that, a full queue of datagrams would hold up the session as long as it is full."""
    async with direct() as ends:
        quic = ends.caller._quic
        write, waited = quic._write_datagram_frame, {}  # packets with a datagram: whether new bytes of a stream waited

        def note(builder: QuicPacketBuilder, data: bytes, frame_type: QuicFrameType) -> bool:
            is_whole = write(builder, data, frame_type)
            waited[builder.packet_number] = quic.unsent > 0
            return is_whole

        quic._write_datagram_frame = note  # type: ignore[method-assign]
        long = bytes(ends.caller.datagram_room)
        for _ in range(40):
            ends.caller.send_datagram(long)
        ends.caller.send_data(bytes(12_000))  # the first credit lets it go
        await eventually(lambda: len(ends.there.datagrams) == 40 and len(ends.there.data) == 12_000)
        assert len(waited) == 40 and sum(waited.values()) >= 4
        assert not [number for number in waited if number + 1 in waited and waited[number + 1]], waited


@only("aioquic")
async def test_long_datagrams_that_never_arrive_are_told() -> None:
    async with direct() as ends:
        quic = ends.caller._quic
        assert DATAGRAMS not in ends.caller.waiting()
        short, long = limits.DIRECT_DATAGRAM_LEAST - 8 - 3 - 16 - 3, limits.DIRECT_DATAGRAM_LEAST - 8 - 3 - 16 - 2
        whole = ends.sockets[0].send
        ends.sockets[0].send_train = functools.partial(send_one_by_one, ends.sockets[0])  # type: ignore[method-assign]
        ends.sockets[0].send = lambda data, to: len(data) > limits.DIRECT_DATAGRAM_LEAST or whole(data, to)  # type: ignore[method-assign]
        for number in range(limits.FLOW_LONG_LOST):
            assert DATAGRAMS not in ends.caller.waiting(), number
            ends.caller.send_datagram(bytes(long))
            await eventually(lambda number=number: quic._long_lost > number)  # type: ignore[misc]
            ends.caller.send_datagram(bytes(short))
        assert DATAGRAMS in ends.caller.waiting()
        ends.sockets[0].send = whole  # type: ignore[method-assign]
        ends.caller.send_datagram(bytes(long))
        await eventually(lambda: DATAGRAMS not in ends.caller.waiting())
        assert bytes(long) in ends.there.datagrams and bytes(short) in ends.there.datagrams


@only("aioquic")
async def test_short_datagrams_that_are_lost_say_nothing_of_the_path() -> None:
    async with direct() as ends:
        quic = ends.caller._quic
        quic._on_long_datagram(QuicDeliveryState.LOST)
        ends.caller.send_datagram(b"short")
        await eventually(lambda: ends.there.datagrams)
        await settle()
        assert quic._long_lost == 1


async def test_a_hundred_thousand_for_nothing_do_not_hold_up_the_path_beside() -> None:
    """Memory stays that of one turn, and after each turn the other path's datagrams come."""
    async with direct() as friend, raw_caller() as raw:
        await raw.prove()
        here = friend.caller
        most = sent = 0
        answers = 0
        while sent < 100_000:
            for _ in range(2000):
                raw.quic.send_datagram_frame(b"?")
            sent += 2000
            raw.driver.transmit_soon()
            here.send_datagram(b"%d" % answers)
            await eventually(lambda n=answers: len(friend.there.datagrams) > n)  # type: ignore[misc]
            answers += 1
            most = max(most, len(raw.target._quic._events))
            await eventually(lambda: not raw.quic._datagrams_pending)
            raw.there.datagrams.clear()
            raw.there.log.clear()
        assert friend.there.datagrams == [b"%d" % n for n in range(answers)]
        assert most <= 1 and not raw.there.lost  # one may be of what aioquic has sent


@only("aioquic")
async def test_a_burst_is_what_one_wake_up_reads_and_a_quarter_of_the_window_at_most() -> None:
    async with direct() as ends:
        pacer = ends.caller._quic._loss._pacer
        for window, burst in ((10_000_000, limits.UDP_BATCH), (40 * limits.DIRECT_DATAGRAM, 10), (5000, 2)):
            pacer.update_rate(window, 0.1)
            assert round(pacer.bucket_max / pacer.packet_time, 6) == burst

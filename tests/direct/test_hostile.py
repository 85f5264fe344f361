"""What a hostile peer can do to its own direct path: end it, and take no memory."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator

import pytest

if sys.version_info < (3, 11):
    pytest.skip("aioquic needs Python 3.11: there are no direct paths", allow_module_level=True)

from aioquic.quic.events import PingAcknowledged
from aioquic.quic.packet import QuicErrorCode

from ssbfast import limits
from ssbfast.direct.quic_engine import FastConnection
from tests.helpers.direct import RawCaller, both_engines, direct, raw_caller, raw_target
from tests.helpers.rawpeer import eventually, settle

pytestmark = both_engines


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


# ---------------------------------------------------------------- hostile peers, before their proof


@pytest.mark.parametrize("what", ["data", "forward", "end", "half and end", "reset", "stop"])
async def test_nothing_but_the_proof_may_come_first(what: str) -> None:
    async with raw_caller() as raw:
        await raw.connect()
        if what == "data":
            raw.write(2, b"x")
        elif what == "forward":
            raw.quic._remote_max_streams_bidi = 9
            raw.write(0, b"")
            raw.write(4, b"x")
        elif what == "end":
            raw.write(0, b"", True)
        elif what == "half and end":
            raw.write(0, raw.proof[:16], True)
        else:
            raw.write(0, raw.proof[:16])
            if what == "reset":
                raw.quic.reset_stream(0, 0)
            else:
                raw.quic.stop_stream(0, 0)
            raw.driver.transmit_soon()
        await raw.refused(QuicErrorCode.STREAM_LIMIT_ERROR if what == "forward" else 1)
        assert raw.there.log == ["lost"]


async def test_credit_is_small_before_the_proof() -> None:
    async with raw_caller() as raw:
        await raw.connect()
        quic = raw.quic
        raw.write(0, raw.proof[:31])
        quic.send_ping(1)
        raw.driver.transmit_soon()
        await eventually(lambda: any(isinstance(event, PingAcknowledged) for event in raw.events))
        await settle(50)
        assert quic._remote_max_data == 2 * limits.DIRECT_EARLY
        assert quic._remote_max_stream_data_uni == quic._remote_max_stream_data_bidi_remote == limits.DIRECT_EARLY
        assert (quic._remote_max_streams_bidi, quic._remote_max_streams_uni) == (1, 1)


# ---------------------------------------------------------------- hostile peers, behind it


def aim(raw: RawCaller, stream: int, offset: int) -> None:
    """Let the next bytes on a stream be those from `offset`, whatever credit there is."""
    quic = raw.quic
    quic._remote_max_data = 2**60
    quic.send_stream_data(stream, b"")
    found = quic._streams[stream]
    found.max_stream_data_remote = 2**60
    sender = found.sender
    sender._buffer_start = sender._buffer_stop = sender.highest_offset = offset


def held(raw: RawCaller) -> int:
    """Return how much the target keeps of what has come and is not delivered."""
    quic = raw.target._quic
    return quic._engine.figures()["unread"] if isinstance(quic, FastConnection) else quic.held


def granted(raw: RawCaller, stream: int) -> tuple[int, int]:
    """Return the credit that the target gives, for a stream and for all of them."""
    quic = raw.target._quic
    if isinstance(quic, FastConnection):  # what the other end has heard of it
        return raw.quic._streams[stream].max_stream_data_remote, raw.quic._remote_max_data
    return quic._streams[stream].max_stream_data_local, quic._local_max_data.value


async def answered(raw: RawCaller) -> None:
    """Wait until the target has told all credit that it gives now."""
    raw.quic.send_ping(len(raw.events))
    raw.driver.transmit_soon()
    before = len(raw.events)
    await eventually(lambda: any(isinstance(event, PingAcknowledged) for event in raw.events[before:]))
    await settle(50)


async def test_a_far_offset_is_refused() -> None:
    async with raw_caller() as raw:
        await raw.prove()
        aim(raw, 2, limits.DIRECT_STREAM_WINDOW)
        raw.write(2, b"x")
        await raw.refused(QuicErrorCode.FLOW_CONTROL_ERROR)


async def test_gaps_never_get_more_than_the_window(engine: str) -> None:
    """With aioquic's own windows each far byte doubles what the next one may take: here it grants nothing."""
    async with raw_caller() as raw:
        await raw.prove()
        raw.write(2, b"near")
        await eventually(lambda: raw.quic._streams[2].max_stream_data_remote >= limits.DIRECT_STREAM_WINDOW)
        await eventually(lambda: raw.quic._remote_max_data >= limits.DIRECT_WINDOW)
        far = limits.DIRECT_STREAM_WINDOW * 3 // 4
        aim(raw, 2, far)
        raw.quic._streams[2].max_stream_data_remote, raw.quic._remote_max_data = far + 3, 2 * far
        raw.write(2, b"far")
        await eventually(lambda: held(raw) == 3 if engine == "native" else held(raw) > far // 2)
        raw.write(0, b"something to be acknowledged")
        await eventually(lambda: raw.there.records)
        await answered(raw)
        delivered = len(raw.there.data) + len(raw.there.records) + 32
        stream, whole = granted(raw, 2)
        assert stream <= limits.DIRECT_STREAM_WINDOW + len(b"near")
        assert whole <= max(limits.DIRECT_WINDOW + delivered, 2 * far)
        quic = raw.target._quic
        if isinstance(quic, FastConnection):
            assert quic._engine.figures()["pages"] <= 4
        else:
            assert len(quic._streams[2].receiver._buffer) <= limits.DIRECT_STREAM_WINDOW
        assert not raw.there.lost


async def test_gaps_of_all_streams_together_are_bounded(engine: str) -> None:
    async with raw_caller() as raw:
        await raw.prove()
        await eventually(lambda: raw.quic._remote_max_streams_bidi > 8)
        for stream in (4, 8, 12, 16, 20):
            aim(raw, stream, limits.DIRECT_EARLY - 1)
            raw.write(stream, b"x")
        await eventually(lambda: held(raw) == 5 * (1 if engine == "native" else limits.DIRECT_EARLY))
        await settle(50)
        quic = raw.target._quic
        if not isinstance(quic, FastConnection):
            assert quic._local_max_data.value <= limits.DIRECT_WINDOW + 32
        for stream in (4, 8, 12):
            aim(raw, stream, limits.DIRECT_STREAM_WINDOW - 1)
            raw.write(stream, b"x")
        await raw.refused(QuicErrorCode.FLOW_CONTROL_ERROR)


async def test_credit_follows_what_was_delivered() -> None:
    """The same window, further on, after more bytes than it is long."""
    async with raw_caller() as raw:
        await raw.prove()
        await eventually(lambda: raw.target.is_settled)  # else the engine may find no quiet moment
        total = 3 * limits.DIRECT_STREAM_WINDOW
        raw.write(2, bytes(total))
        await eventually(lambda: len(raw.there.data) == total, 60)
        await answered(raw)
        assert held(raw) == 0
        stream, whole = granted(raw, 2)
        assert total < stream <= total + limits.DIRECT_STREAM_WINDOW
        assert total < whole <= total + 32 + limits.DIRECT_WINDOW
        raw.there.data.clear()
        aim(raw, 2, total + limits.DIRECT_STREAM_WINDOW)
        raw.write(2, b"x")
        await raw.refused(QuicErrorCode.FLOW_CONTROL_ERROR)


async def test_what_is_not_used_up_gives_no_credit(engine: str) -> None:
    """A session that nobody reads takes no more than the window, however much it is told that it may have."""
    async with raw_caller() as raw:
        await raw.prove()
        await eventually(lambda: raw.target.is_settled)
        half = limits.DIRECT_STREAM_WINDOW // 2
        raw.target.session_used(0, half)
        raw.write(2, bytes(half))
        await eventually(lambda: len(raw.there.data) == half)
        await answered(raw)
        assert granted(raw, 2)[0] <= limits.DIRECT_STREAM_WINDOW
        raw.target.session_used(half, 0)
        await answered(raw)
        assert granted(raw, 2)[0] == half + limits.DIRECT_STREAM_WINDOW


@pytest.mark.parametrize("stream", [6, 10, 4 * (limits.FORWARDS_PER_PEER + 1)])
async def test_one_stream_too_many_ends_the_path(stream: int) -> None:
    async with raw_caller() as raw:
        await raw.prove()
        quic = raw.quic
        quic._remote_max_streams_bidi = quic._remote_max_streams_uni = 2**20
        quic._remote_max_stream_data_uni = quic._remote_max_stream_data_bidi_remote = 100
        raw.write(stream, b"x")
        await raw.refused(QuicErrorCode.STREAM_LIMIT_ERROR)


@pytest.mark.parametrize("stream", [0, 2])
@pytest.mark.parametrize("how", ["end", "reset"])
async def test_streams_that_have_to_stay_may_not_end(stream: int, how: str) -> None:
    async with raw_caller() as raw:
        await raw.prove()
        raw.write(stream, b"x", how == "end")
        if how == "reset":
            raw.quic.reset_stream(stream, 0)
        await raw.refused()


async def test_the_target_may_not_stop_the_caller_s_data() -> None:
    async with raw_target() as raw:
        raw.start()
        await eventually(lambda: len(raw.got(0)) == 32)
        raw.write(0, raw.proof)
        await eventually(lambda: raw.here.ready)
        raw.caller.send_data(b"x")
        await eventually(lambda: raw.got(2))
        raw.quic.stop_stream(2, 0)
        raw.driver.transmit_soon()
        await eventually(lambda: raw.here.lost)
        assert raw.here.lost == [(False, "a stream that has to stay was reset")]


async def test_resets_without_end_are_not_remembered() -> None:
    async with raw_caller() as raw:
        await raw.prove()
        await eventually(lambda: raw.quic._remote_max_streams_bidi > 8)
        for _ in range(3 * limits.FORWARDS_PER_PEER):
            stream = raw.quic.get_next_available_stream_id()
            raw.write(stream, b"x")
            raw.quic.reset_stream(stream, 0)
            await eventually(lambda stream=stream: not raw.quic._streams_blocked_bidi or raw.there.lost)
            await settle(3)
        await eventually(lambda: len(raw.there.resets) == 3 * limits.FORWARDS_PER_PEER)
        assert len(set(raw.there.resets)) == len(raw.there.resets)
        assert len(raw.target._cut) <= 2 * limits.FORWARDS_PER_PEER + 1
        assert not raw.there.lost


async def test_a_target_cannot_send_its_caller_elsewhere(stranger: socket.socket) -> None:
    """QUIC's preferred address would have the caller send to wherever the target says."""
    async with direct() as ends:
        data = b"\x40somewhere else"
        driver = ends.caller._driver
        sent = [(data, len(data), to) for to in (stranger.getsockname(), ends.addresses[1])]
        seen: list[bytes] = []
        ends.target._driver.datagram = lambda data, source: seen.append(data)  # type: ignore[method-assign]
        driver._outgoing = lambda: [sent.pop(0)] if sent else []  # type: ignore[method-assign]
        driver._send()
        driver._send()
        await eventually(lambda: data in seen)
        with pytest.raises(BlockingIOError):
            stranger.recv(1)

"""The end of a tunnel as a transport: what a protocol on top of it sees, and what the other end gets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.errors import RemoteError, SessionEndedError
from ssbfast.limits import KiB
from ssbfast.net.tunnel_transport import TunnelTransport
from ssbfast.wire.muxrpc import Called
from tests.helpers.pairs import PeerPair, connected
from tests.helpers.rawpeer import PATIENCE, eventually, settle


class Recorder(asyncio.Protocol):
    """Writes down what a transport tells its protocol."""

    def __init__(self) -> None:
        self.transport: TunnelTransport
        self.data = bytearray()
        self.paused = False
        self.eof = False
        self.keep_open = False
        self.lost: list[Exception | None] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, TunnelTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> bool:
        self.eof = True
        return self.keep_open

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)

    async def read(self, n: int) -> bytes:
        await eventually(lambda: len(self.data) >= n)
        return bytes(self.data)

    async def over(self) -> Exception | None:
        await eventually(lambda: self.lost)
        return self.lost[0]


class Tunnels:
    """A session, and tunnels on it with recorders at both ends."""

    def __init__(self, pair: PeerPair) -> None:
        self.pair = pair
        self.accepted: asyncio.Queue[Recorder] = asyncio.Queue()
        pair.there._intercept = self._called

    def _called(self, peer: Any, called: Called) -> bool:
        recorder = Recorder()
        peer.tunnel(called.req, recorder)
        self.accepted.put_nowait(recorder)
        return True

    async def open(self) -> tuple[Recorder, Recorder]:
        here = Recorder()
        self.pair.here.open_tunnel(lambda: here, {})  # type: ignore[arg-type,return-value]
        return here, await asyncio.wait_for(self.accepted.get(), PATIENCE)


@asynccontextmanager
async def tunnels(**options: Any) -> AsyncIterator[Tunnels]:
    async with connected(**options) as pair:
        yield Tunnels(pair)


@pytest.mark.parametrize("split", [False, True])
async def test_bytes_go_both_ways_in_two_tunnels(split: bool) -> None:
    async with tunnels(split=split) as room:
        pairs = [await room.open(), await room.open()]
        data = [os.urandom(50_000) for _ in range(4)]
        for (here, there), one, two in zip(pairs, data[:2], data[2:], strict=True):
            here.transport.write(one)
            there.transport.write(two)
        for (here, there), one, two in zip(pairs, data[:2], data[2:], strict=True):
            assert await there.read(len(one)) == one
            assert await here.read(len(two)) == two


@pytest.mark.parametrize("size", [0, 1, 100_000, 700_000, 3_000_000])
async def test_close_delivers_everything_written_before(size: int) -> None:
    async with tunnels() as room:
        here, there = await room.open()
        data = os.urandom(size)
        for at in range(0, size, 64 * KiB):
            here.transport.write(data[at : at + 64 * KiB])
        here.transport.close()
        here.transport.write(b"late")
        assert here.transport.is_closing()
        assert await there.over() is None
        assert await here.over() is None
        assert there.data == data and there.eof
        await eventually(lambda: room.pair.here.mux.open_streams == room.pair.there.mux.open_streams == 0)


async def test_close_delivers_everything_though_the_session_is_full_of_others() -> None:
    """Six busy tunnels fill the session's backlog; a few bytes of a seventh wait outside of it."""
    async with tunnels() as room:
        room.pair.there.link.hold("test")
        busy = []
        for _ in range(6):
            here = Recorder()
            room.pair.here.open_tunnel(lambda here=here: here, {})  # type: ignore[arg-type,misc]
            busy.append(here)
        data = os.urandom(64 * KiB)
        written = 0
        while not all(here.paused for here in busy):
            for here in busy:
                if not here.paused:
                    here.transport.write(data)
                    written += 1
            await asyncio.sleep(0)
        for here in busy:  # beyond what a polite protocol writes
            for _ in range(8):
                here.transport.write(data)
                written += 1
        small = [Recorder(), Recorder()]
        for here in small:
            room.pair.here.open_tunnel(lambda here=here: here, {})  # type: ignore[arg-type,misc]
            here.transport.write(b"small")
        assert small[0].transport._unsent
        small[0].transport.close()
        for here in busy:
            here.transport.close()
        room.pair.there.link.release("test")
        ends = [await asyncio.wait_for(room.accepted.get(), PATIENCE) for _ in range(8)]
        assert await ends[6].over() is None and ends[6].data == b"small"
        assert await ends[7].read(5) == b"small"
        assert not small[1].lost
        for end in ends[:6]:
            assert await end.over() is None
        assert sum(len(end.data) for end in ends[:6]) == written * len(data)


async def test_half_close_leaves_the_other_direction_open() -> None:
    async with tunnels() as room:
        here, there = await room.open()
        there.keep_open = True
        here.transport.write(b"question")
        here.transport.write_eof()
        here.transport.write_eof()
        here.transport.write(b"late")
        await eventually(lambda: there.eof)
        assert there.data == b"question" and not there.lost
        there.transport.write(b"answer")
        there.transport.close()
        assert await here.over() is None
        assert here.data == b"answer"


async def test_abort_tells_the_other_end_an_error_and_drops_the_rest() -> None:
    async with tunnels() as room:
        here, there = await room.open()
        here.transport.write(b"x")
        await there.read(1)
        here.transport.write(os.urandom(200_000))
        here.transport.abort()
        here.transport.abort()
        error = await there.over()
        assert isinstance(error, RemoteError) and error.message == "the connection was closed"
        assert await here.over() is None
        assert len(there.data) < 200_001
        assert there.lost == [error] and here.lost == [None]


async def test_abort_after_close_still_tells_the_end() -> None:
    async with tunnels() as room:
        here, there = await room.open()
        here.transport.write(b"all of it")
        here.transport.close()
        here.transport.abort()
        assert await there.over() is None
        assert there.data == b"all of it"


@pytest.mark.parametrize("how", ["abort", "close"])
async def test_a_session_that_ends_takes_its_tunnels_along(how: str) -> None:
    async with tunnels() as room:
        here, there = await room.open()
        if how == "abort":
            room.pair.here.link.abort()
        else:
            await room.pair.here.close()
        for end in (here, there):
            assert isinstance(await end.over(), SessionEndedError)
            end.transport.write(b"nobody")
            end.transport.close()
            end.transport.abort()
            assert end.lost == [end.lost[0]]


async def test_writing_pauses_and_resumes_and_nothing_is_lost() -> None:
    async with tunnels() as room:
        here, there = await room.open()
        there.transport.pause_reading()
        assert not there.transport.is_reading()
        data = os.urandom(32 * KiB)
        count = 0
        for _ in range(10_000):
            if here.paused and room.pair.there.link._holds:
                break
            if not here.paused:
                here.transport.write(data)
                count += 1
            await asyncio.sleep(0)
        assert here.paused
        assert here.transport.get_write_buffer_size() <= 2 * limits.TUNNEL_SHARE
        assert len(there.transport._unread) <= limits.STREAM_INBOX + limits.RECEIVE_BUFFER
        here.transport.close()
        there.transport.resume_reading()
        assert await there.over() is None
        assert there.data == data * count


async def test_who_does_not_read_for_too_long_loses_that_tunnel_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STALL_SECONDS", 0.3)
    async with tunnels() as room:
        here, there = await room.open()
        other = await room.open()
        there.transport.pause_reading()
        while not there.lost and not here.lost:
            if not here.paused:
                here.transport.write(b"x" * 32 * KiB)
            await asyncio.sleep(0)
        assert isinstance(await here.over(), RemoteError)
        other[0].transport.write(b"alive")
        assert await other[1].read(5) == b"alive"


async def test_pausing_within_a_callback_keeps_order() -> None:
    async with tunnels() as room:
        here, there = await room.open()
        record = there.data_received

        def pausing(data: bytes) -> None:
            record(data)
            there.transport.pause_reading()
            asyncio.get_running_loop().call_soon(there.transport.resume_reading)

        there.data_received = pausing  # type: ignore[method-assign]
        data = os.urandom(500_000)
        for at in range(0, len(data), 10_000):
            here.transport.write(data[at : at + 10_000])
        here.transport.close()
        await there.over()
        assert there.data == data


async def test_it_behaves_like_a_transport() -> None:
    async with tunnels() as room:
        here, _there = await room.open()
        transport = here.transport
        assert transport.can_write_eof() and transport.is_reading() and not transport.is_closing()
        assert transport.get_protocol() is here
        low, high = transport.get_write_buffer_limits()
        assert 0 < low < high
        transport.set_write_buffer_limits(high=1)
        assert transport.get_write_buffer_limits() == (low, high)
        replacement = Recorder()
        transport.set_protocol(replacement)
        transport.close()
        await settle()
        assert replacement.lost == [None] and not here.lost

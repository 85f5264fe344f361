"""Flow control of a carried duplex: what an honest end sends, and what becomes of one that is not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.errors import MuxRPCError, RemoteError
from ssbfast.limits import KiB, MiB
from ssbfast.net.api import Api
from ssbfast.net.forward.window import WindowedTransport
from ssbfast.net.peer import Peer
from ssbfast.net.stream import Stream
from ssbfast.wire.muxrpc import Called
from tests.helpers.pairs import PeerPair, connected
from tests.helpers.rawpeer import PATIENCE, eventually, settle

NAME = "test.bytes"


class Recorder(asyncio.Protocol):
    """Writes down what comes, and takes it at once unless `takes` is false."""

    def __init__(self) -> None:
        self.transport: WindowedTransport
        self.data = bytearray()
        self.takes = True
        self.paused = False
        self.eof = 0
        self.lost: list[Exception | None] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, WindowedTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        if self.takes:
            self.transport.waiting(0)

    def eof_received(self) -> bool:
        self.eof += 1
        return True

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


class Session:
    """A session whose one end serves windowed duplexes; the other opens them, or plays foul with a plain stream."""

    def __init__(self, pair: PeerPair, api: Api) -> None:
        self.pair = pair
        self.accepted: asyncio.Queue[Recorder] = asyncio.Queue()
        api.carried(NAME, self._called)

    def _called(self, peer: Peer, called: Called) -> None:
        recorder = Recorder()
        peer.carry(called.req, lambda req: WindowedTransport(peer, req, recorder))
        self.accepted.put_nowait(recorder)

    async def accept(self) -> Recorder:
        return await asyncio.wait_for(self.accepted.get(), PATIENCE)

    async def open(self) -> tuple[Recorder, Recorder]:
        here = Recorder()
        peer = self.pair.here
        peer.open_carried(NAME, lambda req: WindowedTransport(peer, req, here))
        return here, await self.accept()

    async def foul(self) -> tuple[Stream, Recorder]:
        stream = self.pair.here.duplex(NAME)
        return stream, await self.accept()

    async def is_alive(self) -> None:
        """Another duplex of the session works."""
        here, there = await self.open()
        here.transport.write(b"alive")
        await eventually(lambda: there.data == b"alive")
        here.transport.abort()
        await eventually(lambda: there.lost)


@asynccontextmanager
async def session(**options: Any) -> AsyncIterator[Session]:
    api = Api()
    async with connected(api, **options) as pair:
        yield Session(pair, api)


@pytest.mark.parametrize("split", [False, True])
async def test_a_long_write_arrives_window_by_window(split: bool) -> None:
    data = os.urandom(5 * MiB)
    async with session(split=split) as at:
        here, there = await at.open()
        there.takes = False
        here.transport.write(data)
        here.transport.write_eof()
        assert here.paused
        for _ in range(5):
            due = min(len(there.data) - there.transport._told + limits.FORWARD_WINDOW, len(data))
            await eventually(lambda due=due: len(there.data) >= min(due, limits.FORWARD_WINDOW))  # type: ignore[misc]
            await settle(200)
            assert len(there.data) - there.transport._told <= limits.FORWARD_WINDOW
            there.transport.waiting(0)
        there.takes = True
        there.transport.waiting(0)
        await eventually(lambda: there.eof)
        assert there.data == data and here.transport.sent == there.transport.got == len(data)
        assert not here.transport.finished and not there.transport.finished
        there.transport.write_eof()
        await eventually(lambda: here.eof)
        for end in (here, there):
            assert end.transport.finished and end.eof == 1
            end.transport.close()
        await eventually(lambda: here.lost and there.lost)
        assert here.lost == there.lost == [None]
        await eventually(lambda: at.pair.here.mux.open_streams == at.pair.there.mux.open_streams == 0)


async def test_a_finished_end_goes_on_telling_what_it_has_consumed() -> None:
    async with session() as at:
        here, there = await at.open()
        here.transport.write_eof()
        await eventually(lambda: there.eof)
        data = os.urandom(4 * MiB)
        there.transport.write(data)
        there.transport.write_eof()
        await eventually(lambda: here.eof)
        assert here.data == data


async def test_closing_waits_for_what_the_other_end_has_not_allowed_yet() -> None:
    async with session() as at:
        here, there = await at.open()
        there.takes = False
        data = os.urandom(3 * MiB)
        here.transport.write(data)
        here.transport.close()
        await eventually(lambda: len(there.data) == limits.FORWARD_WINDOW)
        assert not here.lost
        there.takes = True
        there.transport.waiting(0)
        await eventually(lambda: there.eof)
        assert there.data == data
        await eventually(lambda: here.lost)
        there.transport.close()
        await eventually(lambda: there.lost)
        assert here.lost == there.lost == [None]


async def test_more_than_the_window_costs_that_stream_only() -> None:
    async with session() as at:
        stream, there = await at.foul()
        there.takes = False
        with pytest.raises(RemoteError, match="more bytes than allowed"):
            while True:
                await stream.send(bytes(32 * KiB))
                if stream.ended:
                    await stream.__anext__()
        await eventually(lambda: there.lost)
        assert isinstance(there.lost[0], MuxRPCError)
        assert len(there.data) <= limits.FORWARD_WINDOW
        await at.is_alive()


@pytest.mark.parametrize("used", [1, 10**30, -1, True, "1", None, 0.5, [0]])
async def test_consuming_what_was_not_sent_costs_that_stream_only(used: Any) -> None:
    async with session() as at:
        stream, there = await at.foul()
        await stream.send({"consumed": used})
        with pytest.raises(RemoteError, match=r"more bytes consumed than sent|malformed"):
            await stream.__anext__()
        await eventually(lambda: there.lost)
        await at.is_alive()


async def test_consuming_less_than_before_costs_that_stream() -> None:
    async with session() as at:
        stream, there = await at.foul()
        there.transport.write(b"12345")
        assert await stream.__anext__() == b"12345"
        await stream.send({"consumed": 5})
        await stream.send({"consumed": 4})
        with pytest.raises(RemoteError):
            await stream.__anext__()
        await eventually(lambda: there.lost)


async def test_a_peer_that_repeats_itself_and_reads_nothing_fills_no_memory() -> None:
    """Else each item of a few bytes would cost a wait that is looked at after each flush, of all streams."""
    async with session() as at:
        stream, there = await at.foul()
        there.transport.write(bytes(2 * limits.FORWARD_WINDOW))
        await eventually(lambda: there.transport.sent == limits.FORWARD_WINDOW)
        assert there.paused
        lane, unread = there.transport._lane, SimpleNamespace(queued=limits.TUNNEL_SHARE, full=True)
        there.transport._lane = unread  # type: ignore[assignment]
        for _ in range(50):
            await stream.send({"consumed": 0})
        await at.is_alive()
        watchers = at.pair.there.link._watchers
        count = 0 if watchers is None else len(watchers._waiting)
        there.transport._lane = lane
        there.transport.abort()
        await eventually(lambda: there.lost)
        assert 1 <= count <= 2


async def test_bytes_behind_the_fin_cost_that_stream() -> None:
    async with session() as at:
        stream, there = await at.foul()
        await stream.send(b"all")
        await stream.send({"fin": True})
        await stream.send({"fin": True})
        await stream.send(b"more")
        await eventually(lambda: there.lost)
        assert isinstance(there.lost[0], MuxRPCError) and there.data == b"all" and there.eof == 1
        with pytest.raises(RemoteError):
            await stream.__anext__()


async def test_items_that_mean_nothing_are_ignored() -> None:
    async with session() as at:
        stream, there = await at.foul()
        for item in ("text", 5, [], {}, {"fin": 1}, {"fin": False}, {"later": "versions"}):
            await stream.send(item)
        await stream.send(b"bytes")
        await eventually(lambda: there.data == b"bytes")
        assert not there.eof and not there.lost
        await stream.end()
        there.transport.close()
        await eventually(lambda: there.lost)


async def test_an_end_without_fin_is_one_and_allows_no_more() -> None:
    async with session() as at:
        stream, there = await at.foul()
        await stream.send(b"question")
        await stream.end()
        await eventually(lambda: there.eof)
        assert there.data == b"question"
        there.transport.write(b"answer")
        assert await stream.__anext__() == b"answer"
        there.transport.write(bytes(limits.FORWARD_WINDOW))
        await eventually(lambda: there.lost)
        with pytest.raises(RemoteError):
            async for _ in stream:
                pass


async def test_an_end_while_more_waits_than_is_allowed_is_a_reset() -> None:
    async with session() as at:
        stream, there = await at.foul()
        there.transport.write(bytes(limits.FORWARD_WINDOW + 1))
        await stream.end()
        await eventually(lambda: there.lost)
        with pytest.raises(RemoteError):
            async for _ in stream:
                pass


async def test_a_reset_drops_what_waits_and_says_why() -> None:
    async with session() as at:
        here, there = await at.open()
        here.transport.write(bytes(2 * MiB))
        here.transport.reset("enough")
        here.transport.write(b"late")
        here.transport.waiting(0)
        await eventually(lambda: there.lost)
        assert isinstance(there.lost[0], RemoteError) and there.lost[0].message == "enough"
        assert here.lost == [None]


async def test_a_reset_behind_the_fin_still_arrives() -> None:
    async with session() as at:
        here, there = await at.open()
        here.transport.write_eof()
        await eventually(lambda: there.eof)
        here.transport.reset("after all")
        await eventually(lambda: there.lost)
        assert isinstance(there.lost[0], RemoteError)

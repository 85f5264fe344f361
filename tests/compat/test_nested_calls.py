"""Calls inside `async for` over a stream: their answers lie behind its messages, and have to come all the same.

Both originals keep whatever comes. Ours stops reading when a stream is full, so it has to know when it must not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.compat.ssb.muxrpc import MuxRPCAPI, MuxRPCAPIException, MuxRPCRequest
from ssbfast.compat.ssb.packet_stream import PacketStream, PSMessageType, PSStreamHandler
from ssbfast.errors import LimitError, SessionEndedError
from tests.compat.test_packet_stream import Connection, packet
from tests.helpers.compat import PacketStreamPair, packet_stream_pair

SIZE = 4096
PATIENCE = 60
Inside = Callable[[PacketStreamPair, int], Coroutine[Any, Any, Any]]


def reply(connection: PacketStream, request: MuxRPCRequest, body: Any, **more: Any) -> None:
    assert request.req is not None
    connection.send(body, req=-request.req, **more)


def serve(api: MuxRPCAPI) -> None:
    """`history` sends everything at once, as pyssb's server does: every answer is behind it."""

    @api.define("history")
    def history(connection: PacketStream, request: MuxRPCRequest) -> None:
        count, size = request.args
        for _ in range(count):
            reply(connection, request, bytes(size), msg_type=PSMessageType.BUFFER, stream=True)
        reply(connection, request, True, stream=True, end_err=True)

    @api.define("author")
    def author(connection: PacketStream, request: MuxRPCRequest) -> Any:
        return request.args[0]

    @api.define("call.me")
    def call_me(connection: PacketStream, request: MuxRPCRequest) -> None:
        api.call("called", [], connection=connection)


async def awaited(talk: PacketStreamPair, n: int) -> Any:
    return (await talk.api.call("author", [n])).body  # type: ignore[misc]


async def asked(talk: PacketStreamPair, n: int) -> Any:
    return (await talk.api.call("author", [n], "async").get_response()).body


async def iterated(talk: PacketStreamPair, n: int) -> Any:
    handler = talk.here.send({"name": ["author"], "args": [n], "type": "async"})
    return (await handler.__anext__()).body


async def in_tasks(talk: PacketStreamPair, n: int) -> Any:
    calls = [asyncio.ensure_future(asked(talk, n)) for _ in range(3)]
    return max(await asyncio.gather(*calls))


async def in_time(talk: PacketStreamPair, n: int) -> Any:
    return await asyncio.wait_for(talk.api.call("author", [n]).get_response(), PATIENCE) and n


async def from_a_stream(talk: PacketStreamPair, n: int) -> Any:
    return n if [len(m.data) async for m in talk.api.call("history", [2, 5], "source")] == [5, 5, 4] else None


async def from_a_duplex(talk: PacketStreamPair, n: int) -> Any:
    duplex = talk.api.call("history", [100, SIZE], "duplex")
    return n if len([m async for m in duplex]) == 101 else None


@pytest.mark.parametrize("inside", [awaited, asked, iterated, in_tasks, in_time, from_a_stream, from_a_duplex])
async def test_everything_inside_the_loop_gets_through(inside: Inside) -> None:
    async with packet_stream_pair() as talk:
        serve(talk.served)

        async def dump() -> int:
            count = 0
            async for msg in talk.api.call("history", [200, SIZE], "source"):
                if msg.body is not True:
                    assert await inside(talk, count) == count
                    count += 1
            return count

        assert await asyncio.wait_for(dump(), PATIENCE) == 200
        assert not talk.here._event_map


@pytest.mark.parametrize(("count", "size"), [(10_000, SIZE), (30_000, 2), (80, SIZE), (3, 1_000_000)])
async def test_of_every_shape(count: int, size: int) -> None:
    async with packet_stream_pair() as talk:
        serve(talk.served)

        async def dump() -> int:
            seen = 0
            async for msg in talk.api.call("history", [count, size], "source"):
                if seen % max(1, count // 10_000) == 0:
                    assert (await talk.api.call("author", [seen]).get_response()).body == seen
                seen += msg.body is not True
            return seen

        assert await asyncio.wait_for(dump(), PATIENCE) == count


async def test_loops_in_loops_in_both_directions() -> None:
    async with packet_stream_pair() as talk:
        for api in (talk.api, talk.served):
            serve(api)

        async def dump(api: MuxRPCAPI, depth: int) -> int:
            count = 0
            async for _ in api.call("history", [30, 20_000], "source"):
                count += 1 if depth == 0 else await dump(api, depth - 1) if count < 100 else 0
            return count

        both = asyncio.gather(dump(talk.api, 1), dump(talk.served, 1))
        assert await asyncio.wait_for(both, PATIENCE) == [124, 124]


async def test_a_wait_that_we_cannot_know_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program waits for what a method of its own is to tell it, when the peer calls that."""
    monkeypatch.setattr(limits, "STALL_SECONDS", 0.2)
    async with packet_stream_pair() as talk:
        serve(talk.served)
        called: asyncio.Queue[None] = asyncio.Queue()
        talk.api.define("called")(lambda connection, request: called.put_nowait(None))

        async def dump() -> int:
            count = 0
            async for _ in talk.api.call("history", [200, SIZE], "source"):
                if count < 5:
                    talk.api.call("call.me", [])
                    await called.get()
                count += 1
            return count

        assert await asyncio.wait_for(dump(), PATIENCE) == 201


# ---------------------------------------------------------------- the bound


@asynccontextmanager
async def bounded(monkeypatch: pytest.MonkeyPatch, bound: int = 1_000_000) -> AsyncIterator[PacketStreamPair]:
    monkeypatch.setattr(limits, "STREAM_BACKLOG", bound)
    async with packet_stream_pair() as talk:
        serve(talk.served)
        yield talk


async def test_beyond_the_bound_the_stream_ends_and_the_session_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert limits.STREAM_BACKLOG == 64 * 1024 * 1024
    async with bounded(monkeypatch) as talk:
        source = talk.api.call("history", [1000, SIZE], "source")
        with caplog.at_level(logging.WARNING, "ssbfast.compat.ssb"):
            await source.__anext__()
            answer = await asyncio.wait_for(talk.api.call("author", [7]).get_response(), PATIENCE)
        assert answer.body == 7, "the call inside the loop is answered all the same"
        taken = 1
        with pytest.raises(MuxRPCAPIException, match="1000000 bytes"):
            async for _ in source:
                taken += 1
        assert 1_000_000 // (SIZE + limits.STREAM_ITEM) <= taken <= 1_000_000 // SIZE + 2, "what was here is given"
        with pytest.raises(MuxRPCAPIException, match="1000000 bytes"):
            await source.__anext__()
        assert [record.levelname for record in caplog.records] == ["WARNING"] and "1000000" in caplog.text
        assert len([m async for m in talk.api.call("history", [10, SIZE], "source")]) == 11
        assert not talk.here._event_map


async def test_the_peer_is_told_that_its_stream_was_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STREAM_BACKLOG", 300_000)
    connection = Connection(*(packet(0x08, -1, bytes(60_000)) for _ in range(20)), packet(2, -2, b"5"))
    stream = PacketStream(connection)
    source, call = stream.send({}, stream=True), stream.send({})
    answer = asyncio.ensure_future(call._wait())  # type: ignore[union-attr]
    await asyncio.sleep(0)
    async for _ in stream:
        pass
    assert (await answer).body == 5
    assert connection.output[-2][0] == 0x0E and connection.output[-2][-4:] == (1).to_bytes(4, "big")
    assert b'"name": "Error"' in connection.output[-1] and len(connection.output) == 6
    with pytest.raises(LimitError):
        [msg async for msg in source]


async def spin(times: int = 3000) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


async def test_reading_stops_while_nobody_waits_and_goes_on_when_somebody_does() -> None:
    connection = Connection(*(packet(0x08, -1, bytes(64_000)) for _ in range(200)), packet(2, -2, b"5"))
    stream = PacketStream(connection)
    stream.send({}, stream=True)
    call = stream.send({})
    pump = asyncio.ensure_future(stream._pump())
    await spin()
    assert len(connection.input) > 190, "held at 256 KiB"
    assert (await asyncio.wait_for(call._wait(), PATIENCE)).body == 5  # type: ignore[union-attr]
    await asyncio.wait_for(pump, PATIENCE)


async def test_a_peer_that_reads_only_once_it_is_read() -> None:
    """Its server sends a whole stream before it looks at what we wrote."""

    class Stubborn(Connection):
        async def drain(self) -> None:
            while self.input:
                await asyncio.sleep(0)

    connection = Stubborn(*(packet(0x08, -1, bytes(64_000)) for _ in range(200)))
    stream = PacketStream(connection)
    stream.send({}, stream=True)
    pump = asyncio.ensure_future(stream._pump())
    await spin()
    assert len(connection.input) > 190
    await asyncio.wait_for(stream.drain(), PATIENCE)
    await asyncio.wait_for(pump, PATIENCE)


async def test_a_cancelled_wait_is_none() -> None:
    connection = Connection()
    stream = PacketStream(connection)
    stream.send({}, stream=True)
    waits = [asyncio.ensure_future(stream.send({}, stream=s).__anext__()) for s in (True, False)]
    await spin(5)
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    connection.input = [packet(0x08, -1, bytes(64_000)) for _ in range(200)]
    pump = asyncio.ensure_future(stream._pump())
    await spin()
    assert len(connection.input) > 190
    stream.disconnect()
    pump.cancel()
    await asyncio.gather(pump, return_exceptions=True)


async def test_a_silent_stream_elsewhere_does_not_end_a_slow_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Live streams wait for hours. A program that takes on, however slowly, is held at the bound."""
    monkeypatch.setattr(limits, "STREAM_BACKLOG", 300_000)
    connection = Connection(*(packet(0x08, -1, bytes(50_000)) for _ in range(60)))
    stream = PacketStream(connection)
    bulk, live = (stream.send({}, stream=True) for _ in range(2))
    waiting = asyncio.ensure_future(live.__anext__())
    await asyncio.sleep(0)
    pump = asyncio.ensure_future(stream._pump())
    await spin()
    assert 40 < len(connection.input) < 60, "held at the bound"
    for _ in range(60):
        await bulk.__anext__()
        await spin(20)
    await asyncio.wait_for(pump, PATIENCE)
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_who_takes_nothing_while_a_stream_waits_loses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STREAM_BACKLOG", 300_000)
    monkeypatch.setattr(limits, "STALL_SECONDS", 0.1)
    connection = Connection(*(packet(0x08, -1, bytes(50_000)) for _ in range(60)), packet(0x0A, -2, b"5"))
    stream = PacketStream(connection)
    bulk, inner = (stream.send({}, stream=True) for _ in range(2))
    pump = asyncio.ensure_future(stream._pump())
    assert (await asyncio.wait_for(inner.__anext__(), PATIENCE)).body == 5
    await asyncio.wait_for(pump, PATIENCE)
    with pytest.raises(LimitError):
        [msg async for msg in bulk]


async def test_the_bound_is_no_bound_for_who_allows_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """`PSStreamHandler.inbox` above it: the documented switch goes on working."""
    monkeypatch.setattr(limits, "STREAM_BACKLOG", 100_000)
    monkeypatch.setattr(PSStreamHandler, "inbox", 10_000_000)
    async with packet_stream_pair() as talk:
        serve(talk.served)
        source = talk.api.call("history", [200, SIZE], "source")
        assert (await asyncio.wait_for(talk.api.call("author", [1]).get_response(), PATIENCE)).body == 1
        assert len([msg async for msg in source]) == 201


async def test_the_end_of_the_connection_frees_a_held_reader() -> None:
    connection = Connection(*(packet(0x08, -1, bytes(64_000)) for _ in range(200)))
    stream = PacketStream(connection)
    source = stream.send({}, stream=True)
    pump = asyncio.ensure_future(stream._pump())
    await spin(100)
    stream.disconnect()
    await asyncio.wait_for(pump, PATIENCE)
    with pytest.raises(SessionEndedError):
        await stream.send({})._wait()  # type: ignore[union-attr]
    assert len([msg async for msg in source]) == 5

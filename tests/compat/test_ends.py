"""Every end of the reading ends what waits, and every later call. They used to wait for ever."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from ssbfast.compat.ssb.muxrpc import MuxRPCAPI, MuxRPCAPIException, MuxRPCRequestHandler
from ssbfast.compat.ssb.packet_stream import PacketStream
from ssbfast.errors import BoxStreamError, PacketError, SessionEndedError
from tests.compat.test_packet_stream import Connection, packet
from tests.helpers.compat import PacketStreamPair, packet_stream_pair, recording_server

PATIENCE = 10


def reset(talk: PacketStreamPair) -> None:
    transport = talk.there.connection.writer.transport
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def bad_box(talk: PacketStreamPair) -> None:
    talk.there.connection.writer.write(bytes(100))


def goodbye(talk: PacketStreamPair) -> None:
    talk.there.connection.write(bytes(9))


def long_message(talk: PacketStreamPair) -> None:
    talk.there.connection.write(struct.pack(">BIi", 2, PacketStream.max_body + 1, -1))


def box_goodbye(talk: PacketStreamPair) -> None:
    talk.there.disconnect()


def no_goodbye(talk: PacketStreamPair) -> None:
    talk.there.connection.writer.close()


def cancelled(talk: PacketStreamPair) -> None:
    talk.pumps[0].cancel()


def disconnected(talk: PacketStreamPair) -> None:
    talk.here.disconnect()


def closed(talk: PacketStreamPair) -> None:
    talk.here.connection.close()


def method_that_ends_the_loop(talk: PacketStreamPair) -> None:
    """What a method of ours raises is answered; when not even that works, the reading ends."""

    def broken(connection: PacketStream, request: Any) -> None:
        connection.send = None  # type: ignore[method-assign, assignment]
        raise KeyError

    talk.api.define("broken")(broken)
    talk.there.send({"name": ["broken"], "args": [], "type": "async"})


ENDS = {
    reset: OSError,
    bad_box: BoxStreamError,
    long_message: PacketError,
    cancelled: asyncio.CancelledError,
    method_that_ends_the_loop: TypeError,
    **dict.fromkeys((goodbye, box_goodbye, no_goodbye, disconnected, closed)),
}
CUT = (reset, bad_box, long_message, cancelled, no_goodbye, closed, method_that_ends_the_loop)


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
async def test_every_end(end: Callable[[PacketStreamPair], None], caplog: pytest.LogCaptureFixture) -> None:
    async with packet_stream_pair() as talk:
        talk.served.define("never")(lambda connection, request: None)
        kinds: list[Any] = ["async", "sync", "source", "duplex", "sink"]
        call, sync, source, duplex, sink = (talk.api.call("never", [], kind) for kind in kinds)
        pending = [asyncio.ensure_future(handler.get_response()) for handler in (call, sync)]
        await asyncio.sleep(0.01)
        assert talk.here.is_connected
        end(talk)
        (ended,) = await asyncio.wait_for(asyncio.gather(talk.pumps[0], return_exceptions=True), PATIENCE)
        assert isinstance(ended, ENDS[end] or type(None)), ended
        for task in pending:
            with pytest.raises(MuxRPCAPIException):
                await asyncio.wait_for(task, PATIENCE)
        for stream in (source, duplex):  # a stream that the peer or we ended in order ends in order, as it did
            if end in CUT:
                with pytest.raises(MuxRPCAPIException):
                    await asyncio.wait_for(stream.__anext__(), PATIENCE)
            else:
                assert [msg async for msg in stream] == []
        assert not talk.here.is_connected and not talk.here._event_map
        for kind in kinds:
            with pytest.raises(MuxRPCAPIException):
                talk.api.call("never", [], kind)
        if end in (reset, bad_box, no_goodbye):
            assert not talk.here.connection.is_connected, "nothing can be read from it any more"
        assert sink is not None


async def test_what_is_sent_after_the_end_does_not_wait() -> None:
    stream = PacketStream(Connection(bytes(9)))
    await stream._pump()
    with pytest.raises(MuxRPCAPIException):
        await asyncio.wait_for(MuxRPCRequestHandler(stream.send({})).get_response(), PATIENCE)  # type: ignore[arg-type]
    with pytest.raises(SessionEndedError):
        await asyncio.wait_for(stream.send({}, stream=True).__anext__(), PATIENCE)
    assert not stream._event_map and stream.req_counter == 3


@pytest.mark.parametrize("pump", [lambda s: s.__anext__(), lambda s: s._pump()], ids=["iteration", "await"])
async def test_cancelling_any_pump_is_an_end(pump: Callable[[PacketStream], Any]) -> None:
    async with recording_server() as it:
        client, served = await it.pair()
        stream = PacketStream(client)
        call = stream.send({})
        task = asyncio.ensure_future(pump(stream))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(SessionEndedError):
            await asyncio.wait_for(call._wait(), PATIENCE)  # type: ignore[union-attr]
        assert not stream.is_connected
        client.close()
        served.close()


async def test_a_read_with_a_deadline_can_be_repeated() -> None:
    """Cut by deadlines at every place, a message comes whole, and whoever waits goes on waiting."""

    class Slow(Connection):
        async def read(self) -> bytes | None:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return self.input.pop(0) if self.input else None

    data = packet(2, 5, b'{"a": 1}') + packet(2, -1, b"7")
    stream = PacketStream(Slow(*(data[at : at + 1] for at in range(len(data)))))
    call = stream.send({})
    found: list[Any] = []
    while len(found) < 2:
        task = asyncio.ensure_future(stream.read())
        for _ in range(4):
            await asyncio.sleep(0)
        task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        if not isinstance(result, asyncio.CancelledError):
            found.append(result.body)
    assert found == [{"a": 1}, 7] and (await call._wait()).body == 7  # type: ignore[union-attr]


async def test_the_end_of_one_connection_is_not_that_of_others() -> None:
    async with recording_server() as it:
        talks = [PacketStreamPair(*await it.pair()) for _ in range(2)]
        for talk in talks:
            for pump in talk.pumps:
                pump.cancel()
        pairs = [await it.pair() for _ in range(2)]
        api, clients = MuxRPCAPI(), []
        api.define("add")(lambda connection, request: sum(request.args))
        for client, served in pairs:
            api.add_connection(PacketStream(served))
            own = MuxRPCAPI()
            own.add_connection(PacketStream(client))
            clients.append(own)
        serving = asyncio.ensure_future(api.process_messages())
        pumps = [asyncio.ensure_future(own.process_messages()) for own in clients]
        pairs[0][0].writer.write(bytes(100))  # type: ignore[union-attr]
        await asyncio.sleep(0.05)
        assert (await asyncio.wait_for(clients[1].call("add", [1, 2]).get_response(), PATIENCE)).body == 3
        assert not serving.done(), "it serves the other"
        for client, served in pairs:
            client.close()
            served.close()
        with pytest.raises(BoxStreamError):
            await asyncio.wait_for(serving, PATIENCE)
        await asyncio.wait_for(asyncio.gather(*pumps), PATIENCE)
        for talk in talks:
            talk.here.disconnect()
            talk.there.disconnect()

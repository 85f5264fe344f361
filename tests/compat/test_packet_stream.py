"""Messages and their handlers: bytes on the wire, habits of users, and what the originals got wrong."""

from __future__ import annotations

import asyncio
import json
import logging
import struct
from typing import Any, ClassVar

import pytest

from ssbfast.compat.ssb.packet_stream import (
    PacketStream,
    PSMessage,
    PSMessageType,
    PSRequestHandler,
    PSStreamHandler,
)
from ssbfast.errors import PacketError, SessionEndedError
from tests.helpers.compat import recording_server
from tests.helpers.feeds import feeds

CALL = {"name": ["whoami"], "args": []}


class Connection:
    """Plays a connection: what it is fed is read chunk by chunk, what is written is kept."""

    is_connected = True

    def __init__(self, *chunks: bytes) -> None:
        self.input = list(chunks)
        self.output: list[bytes] = []

    async def read(self) -> bytes | None:
        await asyncio.sleep(0)
        return self.input.pop(0) if self.input else None

    def write(self, data: bytes) -> None:
        self.output.append(data)

    def disconnect(self) -> None:
        self.is_connected = False


class Stopping(Connection):
    """Ends as the connections of some test suites do."""

    async def read(self) -> bytes | None:
        if not self.input:
            raise StopAsyncIteration
        return self.input.pop(0)


def packet(flags: int, req: int, body: bytes) -> bytes:
    return struct.pack(">BIi", flags, len(body), req) + body


async def all_of(source: Any) -> list[PSMessage]:
    return [msg async for msg in source]


def test_a_request_is_two_writes_with_pythons_separators() -> None:
    connection = Connection()
    stream = PacketStream(connection)
    handler = stream.send(CALL)
    assert connection.output == [b"\x02\0\0\0\x20\0\0\0\x01", b'{"name": ["whoami"], "args": []}']
    assert stream.req_counter == 2 and isinstance(handler, PSRequestHandler)
    ((registered, kept),) = stream._event_map.values()
    assert isinstance(registered, float) and kept is handler
    assert isinstance(stream.send(CALL, stream=True), PSStreamHandler)
    assert connection.output[2][:1] == b"\x0a" and list(stream._event_map) == [1, 2]
    assert vars(stream)["req_counter"] == 3


@pytest.mark.parametrize(
    ("kind", "body", "data"),
    [
        (PSMessageType.BUFFER, b"\0\1", b"\0\1"),
        (PSMessageType.TEXT, "hé", b"h\xc3\xa9"),
        (PSMessageType.JSON, {"a": [1, None]}, b'{"a": [1, null]}'),
    ],
)
def test_messages(kind: PSMessageType, body: Any, data: bytes) -> None:
    message = PSMessage(kind, body, stream=True, end_err=False, req=-3)
    assert message.data == data
    again = PSMessage.from_header_body(0x08 | kind.value, -3, data)
    assert (again.type, again.body, again.stream, again.end_err, again.req) == (kind, body, True, False, -3)
    assert "req=-3" in repr(again) and "hé" not in repr(again)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (PSMessage(PSMessageType.JSON, {"a": [1]}, True, False, req=-3), "<PSMessage (JSON): {'a': [1]} [-3] ~>"),
        (PSMessage(PSMessageType.TEXT, "hé", False, True, req=3), "<PSMessage (TEXT): hé [3] !>"),
        (PSMessage(PSMessageType.BUFFER, b"secret", True, True, req=0), "<PSMessage (BUFFER): 6 bytes [0] ~!>"),
        (PSMessage(PSMessageType.JSON, True, True, True), "<PSMessage (JSON): EOF ~!>"),
        (PSMessage(PSMessageType.JSON, None, False, False), "<PSMessage (JSON): None >"),
    ],
)
def test_printed_messages_show_their_body(message: PSMessage, text: str) -> None:
    assert str(message) == f"{message}" == text
    assert "'a'" not in repr(message) and "hé" not in repr(message) and "secret" not in repr(message)


def test_names_that_programs_import() -> None:
    from ssbfast.compat.ssb.packet_stream import PSMessageData, logger

    assert logger is logging.getLogger("packet_stream")
    assert bytes in PSMessageData.__args__ and str in PSMessageData.__args__


def test_data_of_received_messages_are_their_bytes() -> None:
    raw = b'{"b":1,  "a":1e400}'
    assert PSMessage.from_header_body(2, 1, raw).data == raw
    for flags, body in ((3, b"x"), (2, b"{"), (2, b"[" * 100_000), (1, b"\xff")):
        with pytest.raises(ValueError):
            PSMessage.from_header_body(flags, 1, body)


@pytest.mark.parametrize("kind", [Connection, Stopping])
async def test_requests_come_out_and_answers_go_to_their_handlers(kind: type[Connection]) -> None:
    connection = kind()
    stream = PacketStream(connection)
    call, source = stream.send(CALL), stream.send(CALL, stream=True)
    connection.input = [
        packet(0x0A, -2, b"1"),
        packet(0x02, 7, b'{"name": ["x"]}'),
        packet(0x02, -1, b'"me"'),
        packet(0x0A, -2, b"2"),
        packet(0x0E, -2, b"true"),
    ]
    (request,), items = await asyncio.gather(all_of(stream), all_of(source))
    assert (request.req, request.body) == (7, {"name": ["x"]})
    assert [item.body for item in items] == [1, 2, True], "the message that ends a stream is one of it"
    assert (await call).body == "me"
    assert stream._event_map == {}, "no handler is left behind"
    for thing in (stream, call, source):
        assert thing.__aiter__() is thing


async def test_cut_anywhere() -> None:
    data = b"".join(packet(0x02, n, json.dumps([n] * n).encode()) for n in range(1, 40)) + packet(1, 40, b"")
    for chunks in feeds(data):
        bodies = [msg.body for msg in await all_of(PacketStream(Connection(*chunks)))]
        assert bodies == [[n] * n for n in range(1, 40)] + [""]


async def test_read_gives_answers_too() -> None:
    connection = Connection()
    stream = PacketStream(connection)
    handler = stream.send(CALL)
    connection.input = [packet(2, -1, b"5")]
    msg = await stream.read()
    assert msg is not None and (msg.req, msg.body) == (-1, 5)
    assert (await handler).body == 5 and [m.body async for m in handler] == [5]
    assert await stream.read() is None and await stream.read() is None


async def test_awaiting_a_stream_pumps_it() -> None:
    connection = Connection()
    stream = PacketStream(connection)
    handler = stream.send(CALL)
    connection.input = [packet(2, -1, b"5")]
    await asyncio.wait_for(asyncio.ensure_future(stream), 10)  # type: ignore[arg-type]
    assert (await handler).body == 5


async def test_process_is_awaited_on_whatever_was_registered() -> None:
    class Mine:
        req = 9
        seen: ClassVar[list[Any]] = []

        async def process(self, msg: PSMessage) -> None:
            self.seen.append(msg.body)

        async def stop(self) -> None:
            self.seen.append("stop")

    stream = PacketStream(Connection(packet(2, -9, b"5"), packet(2, -9, b"6")))
    stream.register_handler(Mine())
    assert await all_of(stream) == []
    await asyncio.sleep(0)
    assert Mine.seen == [5, 6, "stop"]


@pytest.mark.parametrize(
    "bad",
    [
        packet(2, -77, b"1"),  # an answer that nobody waits for
        packet(3, 5, b"x"),  # a type that does not exist
        packet(3, -5, b"x"),
        packet(2, 5, b"{"),  # not JSON
        packet(2, -77, b"{"),
        packet(1, 5, b"\xff"),
        packet(2, 5, b""),
        packet(2, 0, b"1"),  # a number that is none
    ],
)
async def test_nonsense_does_not_stop_the_reader(bad: bytes) -> None:
    connection = Connection(bad, packet(2, 6, b'"after"'))
    assert [msg.body for msg in await all_of(PacketStream(connection))] == ["after"]
    if struct.unpack(">BIi", bad[:9])[2] > 0:
        assert connection.output[0][5:] == (-5 & 0xFFFFFFFF).to_bytes(4, "big"), "whoever asked is told"


async def test_an_unreadable_answer_reaches_who_waits() -> None:
    connection = Connection()
    stream = PacketStream(connection)
    handler = stream.send(CALL)
    connection.input = [packet(2, -1, b"{")]
    await all_of(stream)
    msg = await handler
    assert msg.bad and msg.body is None and "req=-1" in repr(msg)


async def test_the_goodbye_ends_it() -> None:
    stream = PacketStream(Connection(bytes(9), packet(2, 6, b"1")))
    assert await all_of(stream) == []


async def test_pending_calls_end_with_the_connection() -> None:
    """They used to hang for ever."""
    stream = PacketStream(Connection())
    call, source = stream.send(CALL), stream.send(CALL, stream=True)
    assert await all_of(stream) == []
    with pytest.raises(SessionEndedError):
        await asyncio.wait_for(call, 10)  # type: ignore[arg-type]
    assert await asyncio.wait_for(all_of(source), 10) == []
    stream = PacketStream(Connection())
    call, source = stream.send(CALL), stream.send(CALL, stream=True)
    stream.disconnect()
    with pytest.raises(SessionEndedError):
        await call
    assert await all_of(source) == [] and not stream.is_connected


async def test_a_broken_connection_is_no_clean_end() -> None:
    class Lost(Connection):
        goodbye_received = False

    stream = PacketStream(Lost())
    source = stream.send(CALL, stream=True)
    assert await all_of(stream) == []
    with pytest.raises(SessionEndedError):
        await all_of(source)


async def test_length_has_a_limit_and_costs_no_square() -> None:
    """There was none, and 16 MiB took the loop 7 to 25 seconds."""
    stream = PacketStream(Connection(struct.pack(">BIi", 2, PacketStream.max_body + 1, 5)))
    call = stream.send(CALL)
    with pytest.raises(PacketError):
        await stream.read()
    with pytest.raises(SessionEndedError):
        await call
    body = bytes(16 * 1024 * 1024)
    whole = packet(0, 5, body)
    patient = PacketStream(Connection(*(whole[at : at + 4096] for at in range(0, len(whole), 4096))))
    patient.max_body = len(body)  # type: ignore[misc]
    msg = await asyncio.wait_for(patient.read(), 20)
    assert msg is not None and msg.body == body


async def test_a_stream_that_nobody_takes_holds_the_reader() -> None:
    """28 of 32 MiB used to pile up."""
    connection = Connection(*(packet(0x08, -1, bytes(64 * 1024)) for _ in range(512)))
    stream = PacketStream(connection)
    source = stream.send(CALL, stream=True)
    pump = asyncio.ensure_future(all_of(stream))
    for _ in range(2000):
        await asyncio.sleep(0)
    assert not pump.done() and len(connection.input) >= 512 - 6
    assert len(await asyncio.wait_for(all_of(source), 10)) == 512
    await pump


async def test_empty_messages_are_not_sent() -> None:
    connection = Connection()
    stream = PacketStream(connection)
    with pytest.raises(ValueError):
        stream.send(b"", msg_type=PSMessageType.BUFFER)
    assert connection.output == [] and stream._event_map == {} and stream.req_counter == 1


async def test_sending_on_a_known_number() -> None:
    connection = Connection()
    stream = PacketStream(connection)
    source = stream.send(CALL, stream=True)
    assert stream.send(b"x", PSMessageType.BUFFER, stream=True, req=1) is source
    unknown = stream.send(True, stream=True, end_err=True, req=-4)
    assert await all_of(unknown) == [] and stream.req_counter == 2 and list(stream._event_map) == [1]
    assert connection.output[-2] == b"\x0e\0\0\0\x04\xff\xff\xff\xfc"


async def test_heads_have_boxes_of_their_own() -> None:
    """pyssb's reader takes exactly one box for a head. Our writer still writes only once."""
    async with recording_server() as it:
        client, served = await it.pair()
        writes: list[bytes] = []
        assert client.write_stream is not None
        client.write_stream.writer = recording = _Recording(client.write_stream.writer, writes)
        PacketStream(client).send("x" * 5000, msg_type=PSMessageType.TEXT)
        assert recording.count == 1
        assert [len(await served.read() or b"") for _ in range(3)] == [9, 4096, 904]

        class Own(type(client)):  # type: ignore[misc]
            def write(self, data: bytes) -> None:
                writes.append(data)

        client.__class__ = Own
        PacketStream(client).send(True)
        assert writes[-2:] == [b"\x02\0\0\0\x04\0\0\0\x01", b"true"], "a write of somebody's own is called, twice"
        client.close()


class _Recording:
    def __init__(self, writer: Any, writes: list[bytes]) -> None:
        self._writer, self._writes, self.count = writer, writes, 0

    def write(self, data: bytes) -> None:
        self.count += 1
        self._writer.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

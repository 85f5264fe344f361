"""Calls in both directions and of all kinds, and what the originals got wrong."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest

from ssbfast.compat.ssb.muxrpc import (
    MuxRPCAPI,
    MuxRPCAPIException,
    MuxRPCDuplexHandler,
    MuxRPCHandler,
    MuxRPCMessage,
    MuxRPCRequest,
    MuxRPCRequestHandler,
    MuxRPCSinkHandler,
    MuxRPCSourceHandler,
)
from ssbfast.compat.ssb.packet_stream import PacketStream, PSMessage, PSMessageType
from tests.compat.test_packet_stream import Connection, packet
from tests.helpers.compat import PacketStreamPair, packet_stream_pair, recording_server


def serve(api: MuxRPCAPI) -> list[Any]:
    """Define one method of each kind; the list is what sinks were sent... and what was asked."""
    seen: list[Any] = []

    @api.define("whoami")
    def whoami(connection: PacketStream, request: MuxRPCRequest) -> None:  # as programs of 2019 answer
        connection.send({"id": "me"}, req=-request.req)  # type: ignore[operator]

    @api.define("add")
    def add(connection: PacketStream, request: MuxRPCRequest) -> Any:
        return sum(request.args)

    @api.define("slow.add")
    async def slow_add(connection: PacketStream, request: MuxRPCRequest) -> Any:
        await asyncio.sleep(0)
        return {"sum": sum(request.args)}

    @api.define("blob")
    def blob(connection: PacketStream, request: MuxRPCRequest) -> bytes:
        return b"\0\1"

    @api.define("fail")
    def fail(connection: PacketStream, request: MuxRPCRequest) -> None:
        raise MuxRPCAPIException("no such thing")

    @api.define("break")
    async def break_(connection: PacketStream, request: MuxRPCRequest) -> None:
        raise KeyError("inner secret")

    @api.define("count")
    async def count(connection: PacketStream, request: MuxRPCRequest) -> None:
        for n in range(request.args[0]):
            connection.send(n, stream=True, req=-request.req)  # type: ignore[operator]
            await connection.drain()
        connection.send(True, stream=True, end_err=True, req=-request.req)  # type: ignore[operator]

    @api.define("take")
    def take(connection: PacketStream, request: MuxRPCRequest) -> None:
        seen.append((request.type, request.stream))

    return seen


async def test_calls_of_all_kinds_in_both_directions() -> None:
    """The server's side could not call."""
    async with packet_stream_pair() as talk:
        for server, client in ((talk.served, talk.api), (talk.api, talk.served)):
            seen = serve(server)
            assert (await client.call("whoami", [])).body == {"id": "me"}  # type: ignore[misc]
            answer = await client.call("add", [1, 2], "async").get_response()
            assert (answer.body, answer.data) == (3, b"3")
            assert (await client.call("slow.add", [1, 2]).get_response()).body == {"sum": 3}
            assert (await client.call("blob", []).get_response()).data == b"\0\1"
            items = [msg.body async for msg in client.call("count", [3], "source")]
            assert items == [0, 1, 2, True]
            for kind in ("sink", "duplex"):
                handler = client.call("take", [], kind)  # type: ignore[arg-type]
                handler.send(b"x", msg_type=PSMessageType.BUFFER)
                handler.send(True, end=True)
            await client.call("add", []).get_response()
            assert seen == [("sink", True), ("duplex", True)]


async def test_errors_are_told_and_stop_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """An unknown method used to end the reader."""
    async with packet_stream_pair() as talk:
        serve(talk.served)
        with pytest.raises(MuxRPCAPIException, match="Method nope not found!"):
            await talk.api.call("nope", []).get_response()
        with pytest.raises(MuxRPCAPIException, match="no such thing"):
            await talk.api.call("fail", []).get_response()
        with caplog.at_level(logging.CRITICAL, "ssbfast.compat.ssb"), pytest.raises(MuxRPCAPIException) as caught:
            await talk.api.call("break", []).get_response()
        assert "secret" not in str(caught.value)
        with pytest.raises(MuxRPCAPIException, match="not found"):
            async for _ in talk.api.call("nope", [], "source"):
                pass
        for body in ({"name": [5]}, {"name": "add", "args": 5}, {"name": {"a": 1}}):
            with pytest.raises(MuxRPCAPIException):
                await MuxRPCRequestHandler(talk.here.send(body)).get_response()  # type: ignore[arg-type]
        assert (await talk.api.call("add", [5]).get_response()).body == 5
        assert not talk.here._event_map


JS_ERRORS = [
    ({"name": "TypeError", "message": "x is not a function", "stack": "TypeError: at /home/me"}, "TypeError"),
    ({"name": "NotFoundError", "message": "no such blob", "stack": "", "status": 404}, "NotFoundError"),
    ({"name": "Error", "message": "why", "stack": "Error: why at /home/me"}, "Error"),
    ({"message": "no name", "stack": "at /home/me"}, "Error"),
    ({"name": "RangeError", "stack": "at /home/me"}, "RangeError"),
    ({"name": "\x1b[2JError", "message": "\x1b[2J" + "x" * 5000, "stack": ""}, "\ufffd[2JError"),
    ({"name": 5, "message": ["home"]}, "Error"),
    ({}, "Error"),
]
"""What JavaScript peers answer with, and the name that is kept."""


@pytest.mark.parametrize(("body", "name"), JS_ERRORS)
async def test_an_error_is_one_whatever_its_name(body: dict[str, Any], name: str) -> None:
    async with packet_stream_pair() as talk:

        @talk.served.define("fail")
        def fail(connection: PacketStream, request: MuxRPCRequest) -> None:
            connection.send(body, stream=request.stream, end_err=True, req=-request.req)  # type: ignore[operator]

        @talk.served.define("fail.late")
        def fail_late(connection: PacketStream, request: MuxRPCRequest) -> None:
            connection.send(body, stream=True, req=-request.req)  # type: ignore[operator]
            fail(connection, request)

        caught = []
        for kind in ("async", "sync", "source", "duplex"):
            handler: Any = talk.api.call("fail", [], kind)
            with pytest.raises(MuxRPCAPIException) as one:
                await (handler.get_response() if kind in ("async", "sync") else handler.__anext__())
            caught.append(one.value)
        late = talk.api.call("fail.late", [], "source")
        if body.get("name") != "Error":  # the originals took that for an error wherever it comes
            assert (await late.__anext__()).body == body, "what ends nothing is an item"
        with pytest.raises(MuxRPCAPIException) as one:
            await late.__anext__()
        caught.append(one.value)
        assert {error.name for error in caught} == {name}
        (text,) = {str(error) for error in caught}
        assert "home" not in text and "stack" not in text and "{" not in text and len(text) <= 1024
        assert text.isprintable() and text
        if isinstance(body.get("message"), str) and "\x1b" not in body["message"]:
            assert text == body["message"]


@pytest.mark.parametrize("body", ["a text", ["home"], 5, None, False, b"bytes"])
async def test_other_ends_and_errors(body: Any) -> None:
    """An async answer with the error flag is one, whatever it is; a stream may end with an item."""
    async with packet_stream_pair() as talk:

        @talk.served.define("odd")
        def odd(connection: PacketStream, request: MuxRPCRequest) -> None:
            kind = PSMessageType.BUFFER if isinstance(body, bytes) else PSMessageType.JSON
            connection.send(body, kind, stream=request.stream, end_err=True, req=-request.req)  # type: ignore[operator]

        with pytest.raises(MuxRPCAPIException) as caught:
            await talk.api.call("odd", []).get_response()
        assert str(caught.value) == (body if isinstance(body, str) else "unknown error")
        assert [msg.body async for msg in talk.api.call("odd", [], "source")] == [body]


def test_errors_of_our_own_have_no_name() -> None:
    with pytest.raises(MuxRPCAPIException) as caught:
        MuxRPCAPI().call("c", [])
    assert caught.value.name is None


async def test_calls_leave_nothing_behind() -> None:
    """One handler was leaked per call."""
    async with packet_stream_pair() as talk:
        serve(talk.served)
        for _ in range(100):
            await talk.api.call("add", [1]).get_response()
        await asyncio.gather(*(talk.api.call("slow.add", [n]).get_response() for n in range(100)))
        assert not talk.here._event_map and not talk.there._event_map and not vars(talk.served)["_running"]


async def test_pending_calls_end_with_the_session() -> None:
    async with packet_stream_pair() as talk:
        talk.served.define("never")(lambda connection, request: None)
        call = asyncio.ensure_future(talk.api.call("never", []).get_response())
        source = talk.api.call("never", [], "source")
        await asyncio.sleep(0.01)
        talk.there.disconnect()
        with pytest.raises(MuxRPCAPIException):
            await asyncio.wait_for(call, 10)
        assert [msg async for msg in source] == []
        await asyncio.wait_for(asyncio.gather(*talk.pumps), 10)
        with pytest.raises(MuxRPCAPIException):
            talk.api.call("add", [1])


async def test_an_abandoned_source_does_not_hold_the_session() -> None:
    async with packet_stream_pair() as talk:
        serve(talk.served)

        @talk.served.define("flood")
        async def flood(connection: PacketStream, request: MuxRPCRequest) -> None:
            for _ in range(64):
                connection.send(bytes(64 * 1024), PSMessageType.BUFFER, stream=True, req=-request.req)  # type: ignore[operator]
                await connection.drain()

        async for _ in talk.api.call("flood", [], "source"):
            break
        gc.collect()
        assert (await asyncio.wait_for(talk.api.call("add", [1]).get_response(), 10)).body == 1


async def test_what_comes_back_on_a_sink_is_dropped() -> None:
    connection = Connection()
    stream = PacketStream(connection)
    api = MuxRPCAPI()
    api.add_connection(stream)
    api.call("take", [], "sink")
    connection.input = [packet(0x08, -1, bytes(64 * 1024))] * 64 + [packet(0x0E, -1, b"true")]
    await asyncio.wait_for(api.process_messages(), 10)
    assert not stream._event_map


async def test_two_of_everything() -> None:
    async with recording_server() as it:
        talks = [PacketStreamPair(*await it.pair()) for _ in range(2)]
        for number, talk in enumerate(talks):
            talk.served.define("which")(lambda connection, request, number=number: number)  # type: ignore[misc]
        answers = [talk.api.call("which", []).get_response() for _ in range(20) for talk in talks]
        assert [msg.body for msg in await asyncio.gather(*answers)] == [0, 1] * 20
        talks[0].here.disconnect()
        assert (await talks[1].api.call("which", []).get_response()).body == 1
        talks[1].here.disconnect()
        await asyncio.wait_for(asyncio.gather(*(pump for talk in talks for pump in talk.pumps)), 10)


async def test_one_api_for_many_connections() -> None:
    async with recording_server() as it:
        api = MuxRPCAPI()
        serve(api)
        clients = []
        for _ in range(3):
            client, served = await it.pair()
            api.add_connection(PacketStream(served))
            own = MuxRPCAPI()
            own.add_connection(PacketStream(client))
            clients.append((own, client))
        pumps = [asyncio.ensure_future(api.process_messages())]
        pumps += [asyncio.ensure_future(own) for own, _ in clients]
        for own, _ in clients:
            assert (await asyncio.wait_for(own.call("add", [1]).get_response(), 10)).body == 1
        for _, client in clients:
            client.disconnect()
        await asyncio.wait_for(asyncio.gather(*pumps), 10)


async def test_pumps_of_both_generations() -> None:
    for pump in (asyncio.ensure_future, lambda api: asyncio.ensure_future(api.process_messages())):
        connection = Connection(packet(2, 3, b'{"name": ["add"], "args": [2, 3]}'))
        api = MuxRPCAPI()
        serve(api)
        api.add_connection(PacketStream(connection))
        await asyncio.wait_for(pump(api), 10)
        assert connection.output[1] == b"5"
        iterator: Any = api.__await__()
        assert hasattr(iterator, "__next__")
        iterator.close()
    with pytest.raises(MuxRPCAPIException):
        await MuxRPCAPI()


def test_direct_processing() -> None:
    api = MuxRPCAPI()
    seen: list[Any] = []
    api.define("a.b")(lambda connection, request: seen.append((connection, request.name, request.args)))
    stream = PacketStream(Connection())
    api.process(stream, MuxRPCRequest("a.b", [1]))
    assert seen == [(stream, "a.b", [1])]
    with pytest.raises(MuxRPCAPIException, match="Method c not found!"):
        api.process(stream, MuxRPCRequest("c", []))
    with pytest.raises(MuxRPCAPIException):
        MuxRPCAPI().call("c", [])
    api.add_connection(stream)
    with pytest.raises(MuxRPCAPIException):
        api.call("c", [], "nonsense")  # type: ignore[arg-type]
    assert not stream._event_map


def test_what_calls_return() -> None:
    api = MuxRPCAPI()
    connection = Connection()
    api.add_connection(PacketStream(connection))
    kinds = {
        "sync": MuxRPCRequestHandler,
        "async": MuxRPCRequestHandler,
        "source": MuxRPCSourceHandler,
        "sink": MuxRPCSinkHandler,
        "duplex": MuxRPCDuplexHandler,
    }
    for number, (kind, cls) in enumerate(kinds.items(), 1):
        handler = api.call("a.b", [1, "x"], kind)  # type: ignore[arg-type]
        assert type(handler) is cls and isinstance(handler, MuxRPCHandler)
        assert handler.__aiter__() is handler
        flags = 0x02 if kind in ("sync", "async") else 0x0A
        assert connection.output[-2][0] == flags and connection.output[-2][-1] == number
    assert connection.output[-1] == b'{"name": ["a", "b"], "args": [1, "x"], "type": "duplex"}'


async def test_what_a_handler_cannot_do() -> None:
    handler = MuxRPCHandler()
    with pytest.raises(NotImplementedError):
        handler.send(b"x")
    with pytest.raises(NotImplementedError):
        await handler.get_response()
    with pytest.raises(NotImplementedError):
        await handler.__anext__()
    assert handler.__aiter__() is handler


def test_messages_and_requests() -> None:
    message = PSMessage(PSMessageType.JSON, {"name": ["a", "b"], "args": [1]}, False, False, req=4)
    request = MuxRPCRequest.from_message(message)
    assert (request.name, request.args, request.req) == ("a.b", [1], 4)
    assert "a.b" in repr(request)
    assert MuxRPCMessage.from_message(message).body is message.body and "dict" in repr(MuxRPCMessage(message.body))
    assert str(MuxRPCRequest("a.b", ["secret"])) == "<MuxRPCRequest a.b ['secret']>"
    assert str(MuxRPCMessage({"a": 1})) == "<MuxRPCMessage {'a': 1}>"
    assert "secret" not in repr(MuxRPCRequest("a.b", ["secret"])) + repr(MuxRPCMessage("secret"))
    error = PSMessage(PSMessageType.JSON, {"name": "Error", "message": "why"}, False, True)
    with pytest.raises(MuxRPCAPIException, match=r"^why$"):
        MuxRPCHandler().check_message(error)
    with pytest.raises(MuxRPCAPIException):
        MuxRPCHandler().check_message(PSMessage(PSMessageType.JSON, {"name": "Error"}, False, True))
    MuxRPCHandler().check_message(message)

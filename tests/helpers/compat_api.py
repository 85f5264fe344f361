"""The methods of our tests, served and called by programs of the compat packages: for any peer that has them too."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest

from ssbfast.compat.ssb.muxrpc import MuxRPCAPI, MuxRPCAPIException, MuxRPCRequest
from ssbfast.compat.ssb.packet_stream import PacketStream, PSMessageType

ECHOED = (b"\x00\x01", "text", {"a": [1, 2]}, 5, b"x" * 4097)


def content(size: int) -> bytes:
    """What `test.bytes` sends; the JavaScript peers make the same."""
    return hashlib.shake_128(b"ssbfast interop").digest(size)


class Program:
    """A program on a connection: its methods, and a pump that also takes the streams that the peer opens."""

    def __init__(self, connection: Any) -> None:
        self.stream = PacketStream(connection)
        self.api = api = MuxRPCAPI()
        api.add_connection(self.stream)
        self._echoes: set[int] = set()
        api.define("test.add")(lambda connection, request: request.args[0] + request.args[1])
        for method in (self.fail, self.count, self.failAfter, self.bytes, self.echo):
            api.define(f"test.{method.__name__}")(method)
        self.pump = asyncio.ensure_future(self._pump())

    def fail(self, connection: PacketStream, request: MuxRPCRequest) -> None:
        raise MuxRPCAPIException(request.args[0])

    def count(self, connection: PacketStream, request: MuxRPCRequest) -> None:
        assert request.req is not None
        for number in range(request.args[0]):
            connection.send(number, stream=True, req=-request.req)
        if request.name == "test.count":
            connection.send(True, stream=True, end_err=True, req=-request.req)

    def failAfter(self, connection: PacketStream, request: MuxRPCRequest) -> None:
        self.count(connection, request)
        raise MuxRPCAPIException(request.args[1])

    async def bytes(self, connection: PacketStream, request: MuxRPCRequest) -> None:
        assert request.req is not None
        size, chunk = [*request.args, 60_000][:2]
        data = content(size)
        for at in range(0, size, chunk):
            connection.send(data[at : at + chunk], PSMessageType.BUFFER, stream=True, req=-request.req)
            await connection.drain()
        connection.send(True, stream=True, end_err=True, req=-request.req)

    def echo(self, connection: PacketStream, request: MuxRPCRequest) -> None:
        assert request.req is not None
        self._echoes.add(request.req)

    async def _pump(self) -> None:
        async for msg in self.stream:
            assert msg.req is not None
            if msg.req in self._echoes:
                self.stream.send(msg.body, msg.type, stream=True, end_err=msg.end_err, req=-msg.req)
                if msg.end_err:
                    self._echoes.remove(msg.req)
            elif isinstance(msg.body, dict) and "name" in msg.body and not msg.end_err:
                self._call(MuxRPCRequest.from_message(msg))

    def _call(self, request: MuxRPCRequest) -> None:
        try:
            self.api.process(self.stream, request)
        except MuxRPCAPIException as error:
            body = {"name": "Error", "message": str(error), "stack": ""}
            self.stream.send(body, stream=request.stream, end_err=True, req=-(request.req or 0))

    async def use(self) -> None:
        """Every kind of call on the peer."""
        api = self.api
        assert (await api.call("test.add", [20, 22], "async").get_response()).body == 42
        answers = await asyncio.gather(*(api.call("test.add", [n, 1], "async").get_response() for n in range(50)))
        assert [msg.body for msg in answers] == list(range(1, 51))
        with pytest.raises(MuxRPCAPIException, match="on purpose"):
            await api.call("test.fail", ["on purpose"], "async").get_response()
        with pytest.raises(MuxRPCAPIException):
            await api.call("test.nothing", [], "async").get_response()
        assert [msg.body async for msg in api.call("test.count", [300], "source")] == [*range(300), True]
        with pytest.raises(MuxRPCAPIException, match="half way"):
            async for _ in api.call("test.failAfter", [3, "half way"], "source"):
                pass
        data = b""
        async for msg in api.call("test.bytes", [300_000, 1000], "source"):
            data += msg.data if msg.type is PSMessageType.BUFFER else b""
        assert data == content(300_000)
        await self._use_echo()

    async def _use_echo(self) -> None:
        kinds: dict[type, PSMessageType] = {bytes: PSMessageType.BUFFER, str: PSMessageType.TEXT}
        echo = self.api.call("test.echo", [], "duplex")
        for item in ECHOED:
            echo.send(item, msg_type=kinds.get(type(item), PSMessageType.JSON))
            assert (await echo.__anext__()).body == item
        echo.send(True, end=True)
        assert [msg.body async for msg in echo] == [True]

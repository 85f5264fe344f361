"""A SOCKS5 port: its connections reach what they ask for, and those that ask for nothing cost the others nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.errors import BadInputError
from ssbfast.net.api import Api
from ssbfast.net.endpoints import Endpoint
from ssbfast.net.forward.service import Service
from ssbfast.net.forward.socks5 import Reply, Request, SocksRefused
from ssbfast.net.forward.socks_server import SocksServer
from ssbfast.net.forward.tcp_listener import ForwardListener
from ssbfast.net.forward.tcp_server import ServiceServer
from tests.helpers.forwards import TcpService
from tests.helpers.pairs import connected
from tests.helpers.rawpeer import eventually
from tests.helpers.socks import GREETING, ask, dial, refusal, request


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"echo:" + await reader.read())


@asynccontextmanager
async def socks() -> AsyncIterator[tuple[SocksServer, ForwardListener]]:
    """A port that leads x.home.ssb to an echo, and knows no other friend.

    It thinks about slow.ssb for ever, and makes a mistake about wrong.ssb.
    """
    api = Api()
    async with (
        TcpService(echo) as service,
        connected(api) as pair,
        ServiceServer([Service(Endpoint("127.0.0.1", service.port), "x")], allow=lambda _peer: True) as offered,
        ForwardListener("127.0.0.1", 0, service="x") as listener,
    ):
        offered.register(api)
        listener.peer = pair.here

        async def find(wanted: Request) -> ForwardListener:
            if wanted.nickname == "slow":
                await asyncio.Event().wait()
            if wanted.nickname == "wrong":
                raise BadInputError("a store that makes no sense")
            if wanted != Request("home", "x", 80):
                raise SocksRefused(Reply.UNREACHABLE)
            return listener

        server = SocksServer("127.0.0.1", 0, find)
        await server.start()
        try:
            yield server, listener
        finally:
            await server.close()
            assert not server._openings and not server._tasks


async def test_a_connection_reaches_its_service_with_what_came_behind_the_request() -> None:
    behind = bytes(range(256)) * 1000  # more than one read
    async with socks() as (server, _listener):
        code, wire = await ask(server.place, "x.home.ssb", behind=behind)
        assert code is Reply.SUCCEEDED
        await wire.send(b"!")
        wire.finish()
        assert await wire.rest() == b"echo:" + behind + b"!"
        await wire.close()


async def test_what_is_not_there_is_refused() -> None:
    async with socks() as (server, listener):
        assert await refusal(server.place, "x.other.ssb") is Reply.UNREACHABLE
        assert await refusal(server.place, "x.example.com") is Reply.NOT_ALLOWED
        assert not listener.traffic().opened


async def test_a_mistake_of_ours_leaves_no_program_waiting() -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context["exception"]))
    async with socks() as (server, _listener):
        assert await refusal(server.place, "x.wrong.ssb") is Reply.FAILURE
        assert [type(error) for error in told] == [BadInputError]


async def test_a_thousand_connections_that_say_nothing_cost_the_others_nothing() -> None:
    """They come in front of an honest one, and between its bytes."""
    async with socks() as (server, _listener):
        silent = [await dial(server.place) for _ in range(1000)]
        await eventually(lambda: len(server._openings) == limits.SOCKS_OPENINGS)
        code, wire = await ask(server.place, "x.home.ssb")
        assert code is Reply.SUCCEEDED and len(server._openings) <= limits.SOCKS_OPENINGS
        wire.finish()
        assert await wire.rest() == b"echo:"
        for end in (wire, *silent):
            await end.close()


async def test_a_connection_that_says_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SOCKS_SECONDS", 0.05)
    async with socks() as (server, _listener):
        for said in (b"", GREETING, GREETING + request("x.home.ssb")[:-1]):
            wire = await dial(server.place)
            await wire.send(said)
            assert await wire.rest() == (b"\x05\x00" if said else b"")
            await wire.close()


async def test_those_that_wait_for_a_friend_are_cut_at_the_end() -> None:
    async with socks() as (server, _listener):
        wire = await dial(server.place)
        await wire.send(GREETING + request("slow.ssb"))
        await eventually(lambda: len(server._tasks) == 1 and not server._openings)
        await server.close()
        assert await wire.rest() == b"\x05\x00"
        await wire.close()

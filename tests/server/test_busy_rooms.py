"""A room that closes at once is busy or not there: whoever waits comes again. One that answers wrongly is none."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.backoff import Backoff
from ssbfast.cli.peer_options import RoomAddress, in_room, stay_in
from ssbfast.client.room_client import RoomClient
from ssbfast.errors import BusyError, HandshakeError, SessionEndedError, SSBError
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.net.sockets import reset_on_close
from tests.helpers.clients import RecordingClient, nothing_left, room_with_clients
from tests.helpers.rawpeer import PATIENCE, eventually
from tests.helpers.room_processes import RoomProcesses, post, room_processes, web_server
from tests.helpers.tcp_lines import SlowTcpProxy

How = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    init = Backoff.__init__
    monkeypatch.setattr(init, "__defaults__", (0.02, 2.0, 0.1, *(init.__defaults__ or ())[3:]))


async def closes(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """A full gate."""


async def reads_and_closes(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """A proxy whose room is not there; a room of another network does the same."""
    await reader.readexactly(64)


async def resets(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    reset_on_close(writer.get_extra_info("socket"))


async def lingers(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(64)
    await asyncio.sleep(0.05)


async def speaks_another_protocol(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-x\r\n")
    await writer.drain()


async def answers_wrongly(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(bytes(64))
    await writer.drain()


@contextlib.asynccontextmanager
async def serving(how: How) -> AsyncIterator[str]:
    """The address of a room whose connections end as `how` says."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            await how(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield address_of(server.sockets[0].getsockname()[1], Keypair.generate().id)


def address_of(port: int, room: FeedId) -> str:
    return f"net:127.0.0.1:{port}~shs:{str(room)[1:-8]}"


@pytest.mark.parametrize("how", [closes, reads_and_closes, resets, lingers])
async def test_an_end_before_the_answer_is_busy(how: How) -> None:
    async with serving(how) as address, RecordingClient() as client:
        with pytest.raises(BusyError, match="busy or not there") as caught:
            await client.join(address)
        assert isinstance(caught.value, HandshakeError) and isinstance(caught.value, SessionEndedError)
        assert "wrong key" not in str(in_room(RoomAddress.parse(address), caught.value))


@pytest.mark.parametrize("how", [speaks_another_protocol, answers_wrongly])
async def test_what_does_not_open_is_no_room_of_that_key(how: How) -> None:
    async with serving(how) as address, RecordingClient() as client:
        with pytest.raises(HandshakeError) as caught:
            await client.join(address, wait=True)
        assert not isinstance(caught.value, BusyError)
        assert "wrong key" in str(in_room(RoomAddress.parse(address), caught.value))


@pytest.mark.parametrize("how", [closes, reads_and_closes, resets])
async def test_who_waits_comes_again_until_the_room_is_there(how: How, quick: None) -> None:
    async with room_with_clients() as at, contextlib.AsyncExitStack() as stack:
        busy = await stack.enter_async_context(serving(how))
        port = int(busy.split(":")[2].partition("~")[0])
        client = await at.client(join=False)
        joining = asyncio.ensure_future(client.join(address_of(port, at.id), wait=True))
        assert "busy or not there" in (await client.told("reconnecting", 3))["reason"]
        assert not joining.done()
        await stack.aclose()
        line = SlowTcpProxy(at.room.server.port)
        line._server = await asyncio.start_server(line._accepted, "127.0.0.1", port)
        try:
            room = await asyncio.wait_for(joining, PATIENCE)
            assert room.is_open
            await client.close()
        finally:
            await line.close()


async def test_an_inner_handshake_that_ends_before_the_answer_is_busy_too() -> None:
    async with room_with_clients() as at:
        silent = await at.room.raw()
        caller = await at.client()
        calling = asyncio.ensure_future(caller.connect(silent.id))
        tunnel = await silent.accept()
        tunnel.end()
        with pytest.raises(BusyError):
            await asyncio.wait_for(calling, PATIENCE)


# ---------------------------------------------------------------- several rooms


async def stay(client: RoomClient, told: list[dict[str, Any]], *addresses: str) -> None:
    rooms = tuple(map(RoomAddress.parse, addresses))
    await stay_in(client, rooms, lambda room: room.wait_left(), tell=told.append)


async def test_a_room_that_is_none_is_asked_again_beside_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECONNECT_REFUSED", 0.02)
    async with nothing_left(), room_with_clients() as at, serving(answers_wrongly) as wrong:
        client, told = await at.client(join=False), []
        staying = asyncio.ensure_future(stay(client, told, at.address, wrong))
        await eventually(lambda: len(told) >= 3 and len(client.rooms) == 1)
        portal = str(RoomAddress.parse(wrong).portal)
        for event in told:
            assert event == {
                "event": "reconnecting", "portal": portal, "id": str(client.me.id), "address": wrong,
                "reason": "the secret handshake failed (wrong key in its address, another network, or it refuses us)",
                "seconds": 0.02,
            }  # fmt: skip
        staying.cancel()
        await asyncio.wait((staying,))


async def test_when_every_room_is_none_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        nothing_left(),
        RecordingClient() as client,
        serving(answers_wrongly) as one,
        serving(answers_wrongly) as other,
    ):
        with pytest.raises(SSBError, match="wrong key"):
            await asyncio.wait_for(stay(client, [], one, other), PATIENCE)
        assert client.staying == ()


async def test_while_one_room_may_come_the_other_does_not_end_it(quick: None) -> None:
    async with RecordingClient() as client, serving(answers_wrongly) as wrong, serving(closes) as busy:
        told: list[dict[str, Any]] = []
        staying = asyncio.ensure_future(stay(client, told, wrong, busy))
        await client.told("reconnecting", 3)
        await eventually(lambda: told)
        assert not staying.done()
        staying.cancel()
        await asyncio.wait((staying,))


@pytest.mark.slow
def test_listen_and_connect_outlast_a_proxy_that_is_there_before_the_room(tmp_path: Path) -> None:
    with room_processes(tmp_path) as place, web_server() as web:
        place.friends("a", "c")
        with socket.create_server(("127.0.0.1", place.port)) as proxy:
            listen, (connect, port) = start(place, web)
            for _ in range(6):
                proxy.accept()[0].close()
            for process in (listen, connect):
                assert "busy or not there" in process.event("reconnecting")["reason"]
        place.room()
        listen.event("announced")
        connect.event("connected")
        assert post(port, b"hello") == b"hello"


def start(place: RoomProcesses, web: int) -> tuple[Any, tuple[Any, int]]:
    return place.listen("a", web), place.connect("c", str(place.id("a")))


# ---------------------------------------------------------------- alternatives


async def test_a_dead_alternative_is_passed_over_and_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    async with nothing_left(), room_with_clients() as at:
        dead, loop, tried = "127.0.0.77", asyncio.get_running_loop(), list[str]()
        connect = loop.sock_connect

        async def sock_connect(sock: socket.socket, address: Any) -> None:
            tried.append(address[0])
            if address[0] == dead:
                await asyncio.Event().wait()
            await connect(sock, address)

        monkeypatch.setattr(loop, "sock_connect", sock_connect)
        client = await at.client(join=False)
        for _ in range(2):
            ways = f"{at.address.replace('127.0.0.1', dead)};{at.address}"
            room = await asyncio.wait_for(client.join(ways), PATIENCE)
            await room.leave()
        assert tried == [dead, "127.0.0.1", "127.0.0.1"]


async def test_an_alternative_that_takes_the_connection_and_says_nothing_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "ANSWER_DELAY", 0.05)

    async def says_nothing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with room_with_clients() as at, serving(says_nothing) as silent:
        port = int(silent.split(":")[2].partition("~")[0])
        client = await at.client(join=False)
        room = await asyncio.wait_for(client.join(f"{address_of(port, at.id)};{at.address}"), PATIENCE)
        assert room.is_open
        await client.close()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("first", [closes, resets, answers_wrongly])
@pytest.mark.slow
async def test_a_busy_or_false_alternative_is_passed_over(first: How) -> None:
    async with room_with_clients() as at, serving(first) as other:
        port = int(other.split(":")[2].partition("~")[0])
        client = await at.client(join=False)
        room = await asyncio.wait_for(client.join(f"{address_of(port, at.id)};{at.address}"), PATIENCE)
        assert room.is_open and len(client.rooms) == 1

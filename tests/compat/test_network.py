"""Client and server: both generations' habits, and what the originals got wrong."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Any
from unittest import mock

import pytest
from nacl.signing import SigningKey

from ssbfast.compat.secret_handshake import SHSClient, SHSServer, boxstream, network
from ssbfast.compat.secret_handshake.network import (
    SHSClientException,
    SHSDuplexStream,
    SHSEndpoint,
    SHSServerConnection,
)
from ssbfast.compat.secret_handshake.util import AsyncBuffer
from ssbfast.errors import LocalProtocolError
from tests.helpers.compat import KEY, NONCE, RecordingWriter, recording_server, stream_reader


class Agreeable:
    """Stands for the crypto object, and finds everything right."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *data: b"x" if name.startswith("generate") else True

    def get_box_keys(self) -> dict[str, bytes]:
        return {f"{way}crypt_{what}": b"x" * 32 for way in ("en", "de") for what in ("key", "nonce")}


@pytest.fixture
def plain_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BoxStream", "UnboxStream"):
        monkeypatch.setattr(boxstream, name, lambda stream, **keys: stream)


@pytest.mark.parametrize(
    "where", ["asyncio.open_connection", "ssbfast.compat.secret_handshake.network.open_connection"]
)
async def test_a_client_on_streams_of_a_test(where: str, plain_streams: None) -> None:
    reader, writer = AsyncBuffer(b"xxx"), AsyncBuffer(b"xxx")
    client = SHSClient("shop.local", 1111, SigningKey.generate(), os.urandom(32))
    client.crypto = Agreeable()
    with mock.patch(where, new=mock.AsyncMock(return_value=(reader, writer))):
        await client.open()
    reader.append(b"TEST")
    assert await client.read() == b"TEST"
    client.disconnect()


@pytest.mark.parametrize("where", ["asyncio.start_server", "ssbfast.compat.secret_handshake.network.start_server"])
async def test_a_server_on_streams_of_a_test(where: str, plain_streams: None) -> None:
    async def start(callback: Any, host: str, port: int) -> None:
        await callback(AsyncBuffer(b"xxx"), AsyncBuffer(b"xxx"))

    done = asyncio.Event()

    async def on_connect(connection: Any) -> None:
        server.disconnect()
        done.set()

    server = SHSServer("shop.local", 1111, SigningKey.generate(), os.urandom(32))
    server.crypto = Agreeable()
    server.on_connect(on_connect)
    with mock.patch(where, new=start):
        await server.listen()
    await asyncio.wait_for(done.wait(), 5)


@pytest.mark.parametrize(
    ("method", "message"),
    [("verify_challenge", "Client challenge is not valid"), ("verify_client_auth", "Client auth is not valid")],
)
async def test_what_a_server_says(method: str, message: str) -> None:
    server = SHSServer("127.0.0.1", 1, SigningKey.generate())
    for name in ("verify_challenge", "verify_client_auth"):
        setattr(server.crypto, name, mock.Mock(return_value=name != method))
    with pytest.raises(SHSClientException, match=f"^{message}$"):
        await server._handshake(AsyncBuffer(b"d" * 64), AsyncBuffer())  # type: ignore[arg-type]
    with pytest.raises(SHSClientException, match=f"^{message}$"):
        await server.handle_connection(AsyncBuffer(b"d" * 64), AsyncBuffer())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("verify_server_challenge", "Server challenge is not valid"),
        ("verify_server_accept", "Server accept is not valid"),
    ],
)
async def test_what_a_client_says(method: str, message: str) -> None:
    client = SHSClient("127.0.0.1", 1, SigningKey.generate(), b"s" * 32)
    client.crypto.generate_client_auth = mock.Mock(return_value=b"x")
    for name in ("verify_server_challenge", "verify_server_accept"):
        setattr(client.crypto, name, mock.Mock(return_value=name != method))
    with pytest.raises(SHSClientException, match=f"^{message}$"):
        await client._handshake(AsyncBuffer(b"d" * 64), AsyncBuffer())  # type: ignore[arg-type]


async def test_no_callback_is_needed() -> None:
    keys = {"decrypt_key": KEY, "decrypt_nonce": b"dnonce", "encrypt_key": KEY, "encrypt_nonce": b"enonce"}
    server = SHSServer("127.0.0.1", 1, SigningKey.generate())
    client = SHSClient("127.0.0.1", 1, SigningKey.generate(), bytes(SigningKey.generate().verify_key))
    for end in (server, client):
        end._handshake = mock.AsyncMock(return_value=None)  # type: ignore[method-assign, union-attr]
        end.crypto.get_box_keys = mock.Mock(return_value=keys)
    await server.handle_connection(AsyncBuffer(), AsyncBuffer())  # type: ignore[arg-type]
    streams = mock.AsyncMock(return_value=(AsyncBuffer(), AsyncBuffer()))
    with mock.patch.object(network, "open_connection", new=streams):
        await client.open()


async def test_callbacks_of_both_generations() -> None:
    seen: list[Any] = []

    async def old() -> None:
        seen.append("old")

    async def new(client: Any) -> None:
        seen.append(client)

    async with recording_server() as it:
        for callback in (old, new, mock.AsyncMock(), lambda: seen.append("plain")):
            client = it.client()
            client.on_connect(callback)
            await client.open()
            seen.append(client)
            client.close()
            if isinstance(callback, mock.AsyncMock):
                callback.assert_awaited_once_with(client)
    assert seen[0] == "old" and seen[2] is seen[3] and seen[5] == "plain"


async def test_duplex_streams_alone() -> None:
    stream = SHSDuplexStream()
    assert stream.write_stream is None and not stream.is_connected and stream.__aiter__() is stream
    stream.close()
    stream.disconnect()
    with pytest.raises(LocalProtocolError):
        stream.write(b"x")
    with pytest.raises(LocalProtocolError):
        await stream.read()
    stream.write_stream = mock.Mock()
    stream.write(b"thing")
    stream.write_stream.write.assert_called_once_with(b"thing")
    stream.read = mock.AsyncMock(side_effect=[b"test", None])  # type: ignore[method-assign]
    assert [body async for body in stream] == [b"test"]
    endpoint = SHSEndpoint()
    for call in (endpoint.close, endpoint.disconnect):
        with pytest.raises(NotImplementedError):
            call()


async def test_a_connection_from_byte_streams() -> None:
    writer = RecordingWriter()
    keys = {"decrypt_key": KEY, "decrypt_nonce": NONCE, "encrypt_key": KEY, "encrypt_nonce": NONCE}
    connection = SHSServerConnection.from_byte_streams(stream_reader(), writer, **keys, shared_secret=b"")  # type: ignore[arg-type]
    assert connection.is_connected
    connection.write(b"foo")
    connection.close()
    connection.close()
    assert len(writer.data) == 34 + 3 + 34 and writer.closed and not connection.is_connected


async def test_both_ways_and_goodbye() -> None:
    async with recording_server() as it:
        client, served = await it.pair()
        assert client.is_connected and served.is_connected and it.server.connections == [served]
        assert bytes(served.crypto.remote_pub_key) != bytes(it.key.verify_key)
        client.write(b"a" * 10_000)
        served.write(b"b")
        got = b""
        while len(got) < 10_000:
            got += await served.read() or b""
        assert got == b"a" * 10_000 and await client.read() == b"b"
        client.close()
        assert await asyncio.wait_for(served.read(), 10) is None
        assert served.goodbye_received and not served.is_connected and it.server.connections == []
        assert await asyncio.wait_for(client.read(), 10) is None


async def test_a_lost_connection_shows() -> None:
    async with recording_server() as it:
        client, served = await it.pair()
        assert client.writer is not None
        client.writer.close()
        assert await asyncio.wait_for(served.read(), 10) is None
        assert not served.goodbye_received
        client.close()


async def test_the_own_key_may_call() -> None:
    """Programs that talk to the server on their own machine use its identity."""
    async with recording_server() as it:
        client = it.client(it.key)
        await client.open()
        client.close()


async def test_many_handshakes_at_a_time() -> None:
    """State shared between connections let 1 of 20 through, and mixed up who was who."""
    async with recording_server() as it:
        idle = await asyncio.open_connection("127.0.0.1", it.port)  # nor does a silent socket harm anybody
        keys = [SigningKey.generate() for _ in range(20)]
        clients = [it.client(key) for key in keys]
        await asyncio.wait_for(asyncio.gather(*(client.open() for client in clients)), 30)
        for number, client in enumerate(clients):
            client.write(b"%d" % number)
        served = [await asyncio.wait_for(it.arrived.get(), 10) for _ in keys]
        for connection in served:
            number = int(await connection.read() or b"-1")
            assert bytes(connection.crypto.remote_pub_key) == bytes(keys[number].verify_key)
            connection.write(b"%d" % number)
        for number, client in enumerate(clients):
            assert await client.read() == b"%d" % number
            client.close()
        idle[1].close()
        with contextlib.suppress(OSError):
            await idle[1].wait_closed()


@pytest.mark.parametrize("sent", [b"", b"x" * 10, b"x" * 64, b"GET / HTTP/1.1\r\n" * 20])
async def test_strangers_are_turned_away(sent: bytes) -> None:
    async with recording_server() as it:
        reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
        writer.write(sent)
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        client, _ = await it.pair()
        client.close()


async def test_a_client_that_does_not_know_the_server() -> None:
    async with recording_server() as it:
        client = SHSClient("127.0.0.1", it.port, SigningKey.generate(), bytes(SigningKey.generate().verify_key))
        with pytest.raises((EOFError, ConnectionError)):
            await asyncio.wait_for(client.open(), 10)
        assert not client.is_connected


async def test_a_handshake_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SHSEndpoint, "handshake_timeout", 0.05)
    writers: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda reader, writer: writers.append(writer), "127.0.0.1", 0)
    client = SHSClient("127.0.0.1", silent.sockets[0].getsockname()[1], SigningKey.generate(), b"s" * 32)
    with pytest.raises(SHSClientException, match="in time"):
        await asyncio.wait_for(client.open(), 10)
    silent.close()
    writers[0].close()
    async with recording_server() as it:
        reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()


async def test_a_closed_server_takes_nobody() -> None:
    async with recording_server() as it:
        client, _ = await it.pair()
        port = it.port
        it.server.close()
        assert await asyncio.wait_for(client.read(), 10) is None
        client.close()
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_who_drains_waits_for_the_reader() -> None:
    async with recording_server() as it:
        client, served = await it.pair()

        async def flood() -> None:
            for _ in range(1024):
                client.write(bytes(32 * 1024))
                await client.drain()

        task = asyncio.ensure_future(flood())
        assert client.writer is not None
        while not task.done() and client.writer.transport.get_write_buffer_size() == 0:
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        assert not task.done() and client.writer.transport.get_write_buffer_size() < 1024 * 1024
        got = 0
        while got < 32 * 1024 * 1024:
            got += len(await served.read() or b"")
        await task
        client.close()

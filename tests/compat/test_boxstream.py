"""Box streams: bytes, ends, bad boxes, and what the originals got wrong."""

from __future__ import annotations

import asyncio
from io import BytesIO
from types import ModuleType
from typing import Any

import pytest
from nacl.bindings import crypto_secretbox
from nacl.exceptions import CryptoError

from ssbfast import native, pure
from ssbfast.compat.secret_handshake import boxstream
from ssbfast.compat.secret_handshake.boxstream import BoxStream, UnboxStream, get_stream_pair
from ssbfast.compat.secret_handshake.util import AsyncBuffer, async_comprehend
from ssbfast.errors import BoxStreamError, LocalProtocolError, TruncatedError
from tests.helpers.compat import KEY, NONCE, ExactReader, RecordingWriter, stream_reader
from tests.helpers.feeds import feeds

BODIES = [b"foo", b"x" * 4096, b"bar", bytes(range(256)) * 10]


@pytest.fixture(autouse=True, params=[native, pure], ids=["native", "pure"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module: ModuleType = request.param
    monkeypatch.setattr(boxstream, "native", module)
    return module


def sealed(bodies: list[bytes] = BODIES, goodbye: bool = True) -> bytes:
    sealer = pure.Sealer(KEY, NONCE)
    return b"".join(map(sealer.seal, bodies)) + (sealer.goodbye() if goodbye else b"")


class ReaderOfATest(BytesIO, asyncio.StreamReader):
    """A StreamReader by name, as the test suite of 2023 has it: what it can do is `read` and `readexactly`."""

    async def read(self, n: int | None = None) -> bytes:  # type: ignore[override]  # awaited: that is its purpose
        return super().read(n)

    readexactly = read


def readers(data: bytes) -> list[Any]:
    """A reader of each kind: asyncio's own, one that is only exact, and the buffers that tests use."""
    return [stream_reader(data), ExactReader(data), AsyncBuffer(data), ReaderOfATest(data)]


async def outcome(stream: UnboxStream) -> tuple[list[bytes], str]:
    """What a stream brings, and how it ends."""
    bodies = []
    try:
        while (body := await stream.read()) is not None:
            bodies.append(body)
    except Exception as error:
        with pytest.raises(type(error)):  # and stays at that
            await stream.read()
        return bodies, type(error).__name__
    assert await stream.read() is None and stream.closed
    return bodies, "goodbye" if stream.goodbye_received else "end"


def test_writes_what_the_engine_seals() -> None:
    writer = RecordingWriter()
    stream = BoxStream(writer, KEY, NONCE)  # type: ignore[arg-type]
    for body in BODIES:
        stream.write(body)
    stream.write(b"")
    stream.close()
    assert writer.data == sealed()
    assert len(writer.writes) == len(BODIES) + 1, "each call of write is one write below"
    assert not writer.closed, "close() does not close the writer"


def test_long_data_is_split_at_4096() -> None:
    writer = RecordingWriter()
    BoxStream(writer, KEY, NONCE).write(bytes(6000))  # type: ignore[arg-type]
    assert len(writer.data) == 6000 + 2 * 34


def test_nothing_after_close() -> None:
    """A write after close used to seal with a nonce that the goodbye had used."""
    writer = RecordingWriter()
    stream = BoxStream(writer, KEY, NONCE)  # type: ignore[arg-type]
    stream.write(b"foo")
    stream.close()
    before = list(writer.writes)
    with pytest.raises(LocalProtocolError):
        stream.write(b"bar")
    with pytest.raises(LocalProtocolError):
        stream._write_packet(2, 1, b"baz")
    stream.close()
    assert writer.writes == before and stream.closed


async def test_construction_looks_at_nothing() -> None:
    """Short nonces are used by test suites that never seal with them."""
    BoxStream(RecordingWriter(), b"k" * 32, b"enonce")  # type: ignore[arg-type]
    UnboxStream(stream_reader(), b"k" * 32, b"dnonce")
    with pytest.raises(ValueError):
        BoxStream(RecordingWriter(), b"k" * 32, b"enonce").write(b"x")  # type: ignore[arg-type]


async def test_reads_on_each_kind_of_reader() -> None:
    for reader in readers(sealed()):
        assert await outcome(UnboxStream(reader, KEY, NONCE)) == (BODIES, "goodbye")
    for reader in readers(sealed()):
        stream = UnboxStream(reader, KEY, NONCE)
        assert stream.__aiter__() is stream and not stream.closed
        assert await async_comprehend(stream) == BODIES and stream.closed


async def test_of_other_readers_no_more_is_read_than_the_next_box() -> None:
    """Of a class made from StreamReader too: what it overrides is what counts."""
    for reader in (AsyncBuffer(sealed()), ReaderOfATest(sealed())):
        stream = UnboxStream(reader, KEY, NONCE)  # type: ignore[arg-type]
        assert await stream.read() == BODIES[0]
        assert reader.tell() == 34 + len(BODIES[0])


async def test_cut_anywhere() -> None:
    for chunks in feeds(sealed()):
        reader = asyncio.StreamReader()
        stream = UnboxStream(reader, KEY, NONCE)
        task = asyncio.ensure_future(outcome(stream))
        for chunk in chunks:
            if chunk:
                reader.feed_data(chunk)
                await asyncio.sleep(0)
        reader.feed_eof()
        assert await asyncio.wait_for(task, 10) == (BODIES, "goodbye")


async def test_an_end_without_goodbye_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """It used to look like a clean end. It still is None, but can be told apart, and can be made an error."""
    whole = sealed(goodbye=False)
    for cut in (0, 1, 40, len(whole) - 1, len(whole)):
        for reader in readers(whole[:cut]):
            bodies, end = await outcome(UnboxStream(reader, KEY, NONCE))
            assert end == "end" and bodies == BODIES[: len(bodies)]
    monkeypatch.setattr(UnboxStream, "strict", True)
    for reader in readers(whole):
        stream = UnboxStream(reader, KEY, NONCE)
        for body in BODIES:
            assert await stream.read() == body
        with pytest.raises(TruncatedError):
            await stream.read()
    for reader in readers(sealed()):
        assert await outcome(UnboxStream(reader, KEY, NONCE)) == (BODIES, "goodbye")


@pytest.mark.parametrize("at", [0, 20, 33, 34, 36, 37, 37 + 34 + 4095])
async def test_the_stream_is_dead_after_a_bad_box(at: int) -> None:
    """It used to go on behind the bad box."""
    data = bytearray(sealed())
    data[at] ^= 1
    good = 0 if at < 37 else 1
    for reader in readers(bytes(data)):
        stream = UnboxStream(reader, KEY, NONCE)
        assert await outcome(stream) == (BODIES[:good], "InvalidBox")
        for kind in (CryptoError, BoxStreamError):
            with pytest.raises(kind):
                await stream.read()
        assert stream.closed


@pytest.mark.parametrize("size", [0, 4097, 65_535])
async def test_bodies_that_are_too_long_or_empty(size: int) -> None:
    """65,535 bytes used to be accepted."""
    body = crypto_secretbox(bytes(size), (int.from_bytes(NONCE, "big") + 1).to_bytes(24, "big"), KEY)
    box = crypto_secretbox(size.to_bytes(2, "big") + body[:16], NONCE, KEY) + body[16:]
    for reader in readers(box):
        assert await outcome(UnboxStream(reader, KEY, NONCE)) == ([], "InvalidBox")


async def test_a_cancelled_read_loses_nothing() -> None:
    data = sealed()
    for cut in (10, 34, 36):
        reader = asyncio.StreamReader()
        stream = UnboxStream(reader, KEY, NONCE)
        reader.feed_data(data[:cut])
        task = asyncio.ensure_future(stream.read())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        reader.feed_data(data[cut:])
        reader.feed_eof()
        assert await outcome(stream) == (BODIES, "goodbye")


async def test_a_slow_exact_reader_may_be_cancelled_between_header_and_body() -> None:
    class Slow(ExactReader):
        waiting = False

        async def readexactly(self, n: int) -> bytes:
            if n != 34 and not self.waiting:
                self.waiting = True
                await asyncio.Event().wait()
            return await super().readexactly(n)

    stream = UnboxStream(Slow(sealed()), KEY, NONCE)  # type: ignore[arg-type]
    task = asyncio.ensure_future(stream.read())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await outcome(stream) == (BODIES, "goodbye")


def test_classes_of_a_pair_are_looked_up_when_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxstream, "BoxStream", lambda stream, **keys: (stream, keys))
    monkeypatch.setattr(boxstream, "UnboxStream", lambda stream, **keys: (stream, keys))
    keys = {"decrypt_key": b"1", "decrypt_nonce": b"2", "encrypt_key": b"3", "encrypt_nonce": b"4"}
    pair: Any = get_stream_pair("r", "w", shared_secret=b"", **keys)  # type: ignore[arg-type]
    assert pair == (("r", {"key": b"1", "nonce": b"2"}), ("w", {"key": b"3", "nonce": b"4"}))


async def test_two_pairs_know_nothing_of_each_other() -> None:
    writers = [RecordingWriter(), RecordingWriter()]
    streams = [BoxStream(writer, KEY, NONCE) for writer in writers]  # type: ignore[arg-type]
    for body in BODIES:
        for stream in streams:
            stream.write(body)
    for stream in streams:
        stream.close()
    assert [writer.data for writer in writers] == [sealed(), sealed()]

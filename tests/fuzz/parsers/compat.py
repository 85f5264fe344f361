"""The parsers behind `secret_handshake` and `ssb`: what they document, and the engine's own verdict if it has one."""

from __future__ import annotations

import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

from nacl.public import PrivateKey
from nacl.signing import SigningKey

from ssbfast import native
from ssbfast.compat.secret_handshake.boxstream import UnboxStream
from ssbfast.compat.secret_handshake.crypto import SHSClientCrypto, SHSError, SHSServerCrypto
from ssbfast.compat.ssb.feed.models import Feed, Message
from ssbfast.compat.ssb.packet_stream import PacketStream, PSMessage
from ssbfast.compat.ssb.util import ConfigException, load_ssb_secret
from ssbfast.errors import BoxStreamError, PacketError
from tests.fuzz.parsers.packets import KEY, NONCE
from tests.fuzz.parsers.target import halves

ALICE: Final = SigningKey(b"alice".ljust(32, b"."))
BOB: Final = SigningKey(b"bob".ljust(32, b"."))
_FOLDER: Final = tempfile.TemporaryDirectory(prefix="ssbfast-fuzz-")


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of what waits for nothing but its input, all of which is there."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    work.close()
    raise AssertionError("it waits although all is there")


def compat_message(data: bytes) -> None:
    """A message whose bytes are those that came, or a ValueError."""
    if not data:
        return
    try:
        message = PSMessage.from_header_body(data[0], -7, data[1:])
    except ValueError:
        return
    assert message.data == data[1:] and message.req == -7
    assert len(repr(message)) < 100


class _Connection:
    """Gives chunks, then the end."""

    is_connected = True

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = [chunk for chunk in chunks if chunk]
        self.written = b""

    async def read(self) -> bytes | None:
        return self._chunks.pop(0) if self._chunks else None

    def write(self, data: bytes) -> None:
        self.written += data

    def disconnect(self) -> None:
        self.is_connected = False


def _messages(*chunks: bytes) -> tuple[list[bytes], bool]:
    """Body after body of all messages, and whether a PacketError ended them."""
    stream = PacketStream(_Connection(*chunks))
    stream.send({"name": ["a"], "args": []})
    found: list[bytes] = []
    try:
        while (message := _run(stream.read())) is not None:
            found.append(b"bad" if message.bad else message.data)
    except PacketError:
        return found, True
    return found, False


def compat_packets(data: bytes) -> None:
    """Whole or in two: the same messages, then an end or PacketError."""
    first, second = halves(data)
    assert _messages(first, second) == _messages(first + second)


class _Reader:
    """Has nothing but `readexactly`, and at the end gives what is left."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def readexactly(self, n: int) -> bytes:
        head, self._data = self._data[:n], self._data[n:]
        return head


def compat_boxes(data: bytes) -> None:
    """Box after box as the engine opens them, then an end or a BoxStreamError where it has one."""
    stream = UnboxStream(_Reader(data), KEY, NONCE)  # type: ignore[arg-type]
    found: list[bytes] = []
    failed = False
    try:
        while (body := _run(stream.read())) is not None:
            found.append(body)
    except BoxStreamError:
        failed = True
    opener = native.Opener(KEY, NONCE, 4096)
    assert found == opener.open(data)
    wrong = False
    try:
        opener.open(b"")
    except BoxStreamError:
        wrong = True
    assert stream.goodbye_received == opener.ended
    assert failed == wrong or opener.ended  # what comes behind a goodbye is not read


def compat_secret(data: bytes) -> None:
    """A key pair, or a ConfigException that holds nothing of the file."""
    place = Path(_FOLDER.name) / "secret"
    place.write_bytes(data)
    try:
        secret = load_ssb_secret(str(place))
    except ConfigException as error:
        assert error.args == ("this is not a valid secret file",) and error.__cause__ is None
        return
    assert secret["id"].startswith("@")


def compat_feed(data: bytes) -> None:
    """A message that its feed has signed and that is written as it was signed, or a ValueError."""
    try:
        message = Message.parse(data, Feed(ALICE.verify_key))
    except ValueError:
        return
    again = Message.parse(message.serialize(), Feed(ALICE.verify_key))
    assert again.key == message.key


def compat_handshake(data: bytes) -> None:
    """Each step takes or refuses a message: False or SHSError, whatever its length."""
    server = SHSServerCrypto(BOB, PrivateKey(b"s" * 32))
    client = SHSClientCrypto(ALICE, bytes(BOB.verify_key), PrivateKey(b"c" * 32))
    assert server.verify_challenge(data) in (True, False)
    assert client.verify_server_challenge(data) in (True, False)
    server.verify_challenge(SHSClientCrypto(ALICE, bytes(BOB.verify_key), PrivateKey(b"c" * 32)).generate_challenge())
    client.verify_server_challenge(server.generate_challenge())
    assert server.verify_client_auth(data) == (data == client.generate_client_auth())
    server.verify_client_auth(client.generate_client_auth())
    try:
        assert client.verify_server_accept(data) == (data == server.generate_accept())
    except SHSError:
        assert data != server.generate_accept()


TARGETS: Final = (compat_message, compat_packets, compat_boxes, compat_secret, compat_feed, compat_handshake)

"""Both `util` modules."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from ssbfast.compat.secret_handshake.util import (
    AsyncBuffer,
    async_comprehend,
    b,
    bytes_to_long,
    inc_nonce,
    long_to_bytes,
    split_chunks,
)
from ssbfast.compat.ssb.util import ConfigException, load_ssb_secret, tag
from ssbfast.keys import load_secret


@pytest.mark.parametrize(
    ("number", "blocksize", "expected"),
    [
        (0, 0, b"\0"),
        (5, 0, b"\5"),
        (5, 4, b"\0\0\0\5"),
        (256, 0, b"\1\0"),
        (256, 1, b"\1\0"),
        (2**40, 4, b"\0\0\1\0\0\0\0\0"),
    ],
)
def test_numbers(number: int, blocksize: int, expected: bytes) -> None:
    assert long_to_bytes(number, blocksize) == expected
    assert bytes_to_long(expected) == number


def test_nonces_wrap_and_are_filled_up() -> None:
    assert inc_nonce(b"\xff" * 24) == bytes(24)
    assert inc_nonce(bytes(24)) == bytes(23) + b"\1"
    assert inc_nonce(b"\xff" * 6) == bytes(17) + b"\1" + bytes(6)
    with pytest.raises(ValueError):
        long_to_bytes(-1)


def test_chunks_and_bytes() -> None:
    assert list(split_chunks(b"abcdefg", 3)) == [b"abc", b"def", b"g"]
    assert list(split_chunks(b"", 3)) == []
    for size in (0, -1):
        with pytest.raises(ValueError, match=r"^chunk_size must be greater than zero$"):
            list(split_chunks(b"", size))
    assert b("a\xff") == b"a\xff"


def test_chunks_by_the_names_of_both_generations() -> None:
    for chunks in (split_chunks(b"abc", n=2), split_chunks(seq=b"abc", n=2), split_chunks(b"abc", chunk_size=2)):
        assert list(chunks) == [b"ab", b"c"]
    assert list(split_chunks([1, 2, 3], 2)) == [[1, 2], [3]]
    with pytest.raises(ValueError):
        list(split_chunks(b"abc", n=0))
    with pytest.raises(TypeError):
        split_chunks(b"abc")
    with pytest.raises(TypeError):
        split_chunks(b"abc", 2, n=2)


async def test_async_buffer() -> None:
    buffer = AsyncBuffer(b"abcdef")
    assert (await buffer.read(2), await buffer.readexactly(3)) == (b"ab", b"cde")
    buffer.append(b"xyz")
    assert buffer.tell() == 5
    assert (await buffer.read(), await buffer.readexactly(3)) == (b"fxyz", b"")

    async def some() -> object:
        yield 1
        yield 2

    assert await async_comprehend(some()) == [1, 2]  # type: ignore[arg-type]


def secret_text(key: SigningKey, suffix: str = ".ed25519", **changed: object) -> str:
    both = bytes(key) + bytes(key.verify_key)
    public = b64encode(bytes(key.verify_key)).decode()
    fields = {"curve": "ed25519", "public": public + suffix, "private": b64encode(both).decode() + suffix}
    return "# a comment\n\n" + json.dumps({**fields, "id": f"@{public}.ed25519", **changed}) + "\n# another\n"


@pytest.mark.parametrize("suffix", [".ed25519", ""])
def test_secret_files(tmp_path: Path, suffix: str) -> None:
    key = SigningKey.generate()
    (tmp_path / "secret").write_text(secret_text(key, suffix))
    secret = load_ssb_secret(str(tmp_path / "secret"))
    assert bytes(secret["keypair"]) == bytes(key)
    assert secret["id"] == tag(key.verify_key).decode()


def test_our_own_secret_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = load_secret(tmp_path / ".ssb" / "secret", create=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert load_ssb_secret()["id"] == str(mine.id)


@pytest.mark.parametrize("changed", [{"curve": "foo"}, {"private": "x"}, {"id": "@x"}])
def test_bad_secret_files(tmp_path: Path, changed: dict[str, object]) -> None:
    text = secret_text(SigningKey.generate(), **changed)
    (tmp_path / "secret").write_text(text)
    with pytest.raises(ConfigException) as caught:
        load_ssb_secret(str(tmp_path / "secret"))
    assert caught.value.__cause__ is None and text[60:90] not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1]", "{", "{}", "[" * 10_000])
def test_files_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "secret").write_text(text)
    with pytest.raises(ConfigException):
        load_ssb_secret(str(tmp_path / "secret"))
    with pytest.raises(FileNotFoundError):
        load_ssb_secret(str(tmp_path / "absent"))

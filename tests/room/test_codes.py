"""Codes as peers give them, and the hash that is kept."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssbfast.room.codes import CODE_BYTES, GO_CODE_BYTES, hash_of, new_code


def test_new_codes() -> None:
    codes = {new_code() for _ in range(100)}
    assert len(codes) == 100
    for code in codes:
        assert len(code) == 43 and not set("+/=") & set(code)
        content = base64.urlsafe_b64decode(code + "=")
        assert hash_of(code) == hashlib.sha256(content).digest()


@pytest.mark.parametrize("length", [CODE_BYTES, GO_CODE_BYTES])
def test_all_spellings_are_one_code(length: int) -> None:
    content = bytes(255 - n for n in range(length))
    url, standard = base64.urlsafe_b64encode(content).decode(), base64.b64encode(content).decode()
    assert url != standard
    for code in (url, standard, url.rstrip("="), standard.rstrip("="), f" {url}\n"):
        assert hash_of(code) == hashlib.sha256(content).digest()


@pytest.mark.parametrize("length", [0, 31, 33, 49, 51, 1000])
def test_other_lengths(length: int) -> None:
    assert hash_of(base64.urlsafe_b64encode(bytes(length)).decode()) is None


@pytest.mark.parametrize(
    "text", ["", "x", "x" * 41, "é" * 43, "\0" * 43, "a b" * 14 + "a", "A" * 42 + "=A", "A" * 100_000]
)
def test_texts_that_are_none(text: str) -> None:
    assert hash_of(text) is None


@given(st.text())
def test_whatever_is_given(text: str) -> None:
    found = hash_of(text)
    assert found is None or len(found) == 32

"""JSON, errors and manifests of muxrpc."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssbfast import limits
from ssbfast.wire.muxrpc_body import (
    build_manifest,
    clean_text,
    decode_json,
    encode_json,
    error_body,
    read_call,
    read_error,
    unknown_method_message,
)
from tests.helpers.hostile import HOSTILE

SCALARS = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(-1e300, 1e300) | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_json_comes_back(value: Any) -> None:
    assert decode_json(encode_json(value)) == value


@pytest.mark.parametrize(
    ("value", "body"),
    [
        ({"a": [1, None, True]}, b'{"a":[1,null,true]}'),
        ("ü/\u2028", '"ü/\u2028"'.encode()),
        ("\ud800x", b'"\\ud800x"'),
        ({"\udfff": "\U0001f600"}, '{"\\udfff":"\U0001f600"}'.encode()),
        ("\\\ud800", b'"\\\\\\ud800"'),
    ],
)
def test_encoded_as_javascript_does(value: Any, body: bytes) -> None:
    assert encode_json(value) == body
    assert decode_json(body) == value


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), b"x", {1, 2}, nested(100_000)])
def test_what_json_cannot_hold(value: Any) -> None:
    with pytest.raises(ValueError):
        encode_json(value)


BAD = {
    "empty": b"",
    "not a number": b"NaN",
    "infinity": b"[-Infinity]",
    "too large": b"1e999",
    "long integer": b"[" + b"9" * 65_000 + b"]",
    "deep list": b"[" * 65_000,
    "deep object": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "not utf-8": b'"\xff"',
    "surrogate in utf-8": b'"\xed\xa0\x80"',
    "byte order mark": b"\xef\xbb\xbf1",
    "utf-16": '"a"'.encode("utf-16"),
    "rest behind": b"1 2",
    "bare word": b"undefined",
    "cut": b'{"a":',
    "control character": b'"\x00"',
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_bad_json(body: bytes) -> None:
    with pytest.raises(ValueError):
        decode_json(body)


def test_odd_but_good_json() -> None:
    assert decode_json(b' {"a":1,"a":2}\n') == {"a": 2}
    assert decode_json(b"1" * limits.JSON_DIGITS) == int("1" * limits.JSON_DIGITS)
    assert decode_json(b"[" * 100 + b"]" * 100) is not None


@given(st.binary(max_size=60))
def test_decoding_gives_a_value_or_value_error(body: bytes) -> None:
    with contextlib.suppress(ValueError):
        encode_json(decode_json(body))


@pytest.mark.parametrize(
    ("value", "message", "name"),
    [
        ({"message": "m", "name": "TypeError", "stack": "/home/x"}, "m", "TypeError"),
        ({"message": "a\x1b[31m\nb\u202e"}, "a\ufffd[31m\ufffdb\ufffd", "Error"),
        ({"message": "x" * 5000, "name": "n" * 500}, "x" * limits.ERROR_TEXT, "n" * limits.ERROR_NAME),
        ({"message": 5, "name": []}, "unknown error", "Error"),
        ({"message": "\ud800"}, "\ufffd", "Error"),
        ("text", "text", "Error"),
        (None, "unknown error", "Error"),
        ([1], "unknown error", "Error"),
    ],
)
def test_errors_of_peers(value: Any, message: str, name: str) -> None:
    error = read_error(value)
    assert (error.message, error.name) == (message, name)
    assert read_error(json.loads(error_body(error.message, error.name))).args == error.args


def test_our_errors_show_no_stack() -> None:
    assert error_body("m") == b'{"name":"Error","message":"m","stack":""}'


@given(st.text())
def test_clean_text_prints(text: str) -> None:
    cleaned = clean_text(text, 10)
    assert cleaned.isprintable()
    assert len(cleaned) == min(len(text), 10)
    assert clean_text(cleaned, 10) == cleaned


@pytest.mark.parametrize("char", HOSTILE, ids=lambda char: f"{ord(char):04x}")
def test_what_a_terminal_obeys_or_nobody_sees_is_replaced(char: str) -> None:
    assert clean_text(f"a{char}b", 10) == "a\ufffdb"


@pytest.mark.parametrize("text", ["Zürich's room", "日本の部屋", "комната №1", "e\u0301", "שָׁלוֹם", "😀 ✓ 10 €", "ไม้ที่"])
def test_other_texts_stay(text: str) -> None:
    assert clean_text(text, 100) == text


def test_combining_marks_cannot_pile_up() -> None:
    pile = "a" + limits.COMBINING_MARKS * "\u0301"
    assert clean_text(f"{pile}{50 * chr(0x301)}b", 1000) == f"{pile}{50 * chr(0xFFFD)}b"


@pytest.mark.parametrize("name", [("room", "foo"), ("x" * 60_000,), ("a\nb",), ("\ud800",)])
def test_unknown_method_ends_as_clients_need_it(name: tuple[str, ...]) -> None:
    message = unknown_method_message(name)
    assert message.endswith("not in list of allowed methods")
    assert message.isprintable()
    assert len(message) < 200


def test_unknown_method_is_javascripts_text() -> None:
    assert unknown_method_message(("room", "metadata")) == "method:room,metadata is not in list of allowed methods"


def test_manifest() -> None:
    assert build_manifest({("a", "b"): "sync", ("a", "c"): "source", ("d",): "async"}) == {
        "a": {"b": "sync", "c": "source"},
        "d": "async",
    }
    with pytest.raises(ValueError):
        build_manifest({("a",): "sync", ("a", "b"): "sync"})


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"[]",
        b"1",
        b'"x"',
        b"{}",
        b'{"name":["a"]}',
        b'{"name":["a"],"args":{}}',
        b'{"name":[],"args":[]}',
        b'{"name":"","args":[]}',
        b'{"name":[""],"args":[]}',
        b'{"name":[["a"]],"args":[]}',
        b'{"name":{"0":"a"},"args":[]}',
        b'{"name":null,"args":[]}',
        b'{"args":[]}',
        b"{",
    ],
)
def test_malformed_calls(body: bytes) -> None:
    with pytest.raises(ValueError):
        read_call(body)


def test_calls() -> None:
    assert read_call(b'{"name":"manifest","args":[]}') == (("manifest",), [], None)
    assert read_call(b'{"args":[1],"x":0,"type":"source","name":["a","b"]}') == (("a", "b"), [1], "source")

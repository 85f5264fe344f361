"""Feed ids and network ids: one spelling each, and what their `repr` keeps to itself."""

from __future__ import annotations

import base64
import contextlib
import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssbfast.errors import BadInputError, FeedIdError, SSBError
from ssbfast.ids import MAIN_NETWORK, FeedId, NetworkId, decode_key

TEXT = "@1b9KP8znF7A4i8wnSevBSK2ZabI/Re4bYF/Vh3hXasQ=.ed25519"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
KEYS = st.binary(min_size=32, max_size=32)


@given(KEYS)
def test_parse_reads_what_str_prints(key: bytes) -> None:
    assert FeedId.parse(str(FeedId(key))) == FeedId(key)
    assert NetworkId.parse(base64.b64encode(key).decode()) == NetworkId(key)


def test_the_printed_form() -> None:
    feed = FeedId.parse(TEXT)
    assert str(feed) == TEXT
    assert feed.short == "@1b9KP8zn…"
    assert repr(feed) == "FeedId(@1b9KP8zn…)"
    assert f"{[feed]}" == "[FeedId(@1b9KP8zn…)]"


@given(KEYS)
def test_only_one_of_the_four_spellings_is_taken(key: bytes) -> None:
    text = base64.b64encode(key).decode()
    last = ALPHABET.index(text[42])
    for stray in (1, 2, 3):
        alias = f"{text[:42]}{ALPHABET[last | stray]}="
        assert base64.b64decode(alias, validate=True) == key  # why the standard library is not enough
        with pytest.raises(FeedIdError):
            FeedId.parse(f"@{alias}.ed25519")
        assert decode_key(alias) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        TEXT[1:],
        TEXT[:-8],
        TEXT + " ",
        TEXT + "\n",
        " " + TEXT,
        "@" + TEXT,
        TEXT.replace(".ed25519", ".ED25519"),
        TEXT.replace("=.ed", ".ed"),
        TEXT.replace("=.ed", "==.ed"),
        TEXT.replace("/", "_"),
        TEXT.replace("1b9", "1b"),
        TEXT.replace("1b9", "1b99"),
        TEXT.replace("1b9", "1é9"),
        TEXT.replace("1b9", "1\x009"),
        TEXT.replace("1b9", "1\u0661" + "9"),
        "%1b9KP8znF7A4i8wnSevBSK2ZabI/Re4bYF/Vh3hXasQ=.sha256",
        None,
        17,
        b"@",
        ["@"],
        {},
    ],
)
def test_anything_else_is_no_feed_id(text: Any) -> None:
    with pytest.raises(FeedIdError) as caught:
        FeedId.parse(text)
    assert isinstance(caught.value, ValueError | SSBError)
    assert "1b9KP8zn" not in str(caught.value)


@given(st.text())
def test_any_text_is_an_id_or_a_feed_id_error(text: str) -> None:
    for candidate in (text, f"@{text}.ed25519"):
        with contextlib.suppress(FeedIdError):
            assert str(FeedId.parse(candidate)) == candidate


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), bytearray(32), "a" * 32, None])
def test_ids_have_32_bytes(key: Any) -> None:
    with pytest.raises(FeedIdError):
        FeedId(key)
    with pytest.raises(BadInputError):
        NetworkId(key)


def test_ids_are_values() -> None:
    one, two = FeedId(bytes(32)), FeedId(bytes(31) + b"\x01")
    assert {one: 1}[FeedId(bytes(32))] == 1
    assert one != two and one < two and sorted([two, one]) == [one, two]
    others: list[object] = [NetworkId(bytes(32)), bytes(32), str(one)]
    assert one not in others
    assert copy.deepcopy(one) == one == pickle.loads(pickle.dumps(one))
    field = "key"
    with pytest.raises(AttributeError):
        setattr(one, field, bytes(32))


def test_network_ids_do_not_show() -> None:
    private = NetworkId(b"\xabsecret secret secret secret 1234"[:32])
    assert repr(MAIN_NETWORK) == "NetworkId(main)"
    assert repr(private) == str(private) == f"{private}" == "NetworkId(private)"
    assert NetworkId.parse("1KHLiKZvAvjbY1ziZEHMXawbCEIM6qwjCDm3VYRan/s=") == MAIN_NETWORK
    for bad in ("", "1KHLiKZvAvjbY1ziZEHMXawbCEIM6qwjCDm3VYRan/t=", "1KHLiKZvAvjbY1ziZEHMXawbCEIM6qwjIDm3VYRan_s="):
        with pytest.raises(BadInputError):
            NetworkId.parse(bad)

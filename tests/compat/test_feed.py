"""Messages: the encoding that is signed, signatures, ids."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any
from unittest import mock

import pytest
from nacl.signing import SigningKey

from ssbfast.compat.ssb.feed import Feed, LocalFeed, LocalMessage, Message, NoPrivateKeyException, models
from ssbfast.compat.ssb.feed.encoding import dumps, hashed_bytes
from ssbfast.compat.ssb.feed.models import OrderedMsg, get_millis_1970, to_ordered

ME = LocalFeed(SigningKey(b64decode("Mz2qkNOP2K6upnqibWrR+z8pVUI1ReA1MLc7QMtF2qQ=")))
OTHER = Feed(ME.public_key)
# Known answers: made by the JavaScript stack of 2017, published with pyssb's tests.
KNOWN = [
    (
        {"type": "about", "about": ME.id, "name": "neo", "description": "The Chosen One"},
        1495706260190,
        "lPsQ9P10OgeyH6u0unFgiI2wV/RQ7Q2x2ebxnXYCzsJ055TBMXphRADTKhOMS2EkUxXQ9k3amj5fnWPudGxwBQ==.sig.ed25519",
        "%xRDqws/TrQmOd4aEwZ32jdLhP873ZKjIgHlggPR0eoo=.sha256",
    ),
    (
        {"type": "about", "about": ME.id, "name": "morpheus", "description": "Dude with big jaw"},
        1495706447426,
        "3SY85LX6/ppOfP4SbfwZbKfd6DccbLRiB13pwpzbSK0nU52OEJxOqcJ2Uensr6RkrWztWLIq90sNOn1zRAoOAw==.sig.ed25519",
        "%nx13uks5GUwuKJC49PfYGMS/1pgGTtwwdWT7kbVaroM=.sha256",
    ),
]


def test_known_messages() -> None:
    previous = theirs = None
    for sequence, (content, timestamp, signature, key) in enumerate(KNOWN, 1):
        mine = LocalMessage(ME, content, timestamp=timestamp, previous=previous)
        assert (mine.sequence, mine.signature, mine.key) == (sequence, signature, key)
        assert mine.previous is previous and "%" + mine.hash == key
        theirs = Message(OTHER, content, signature, timestamp=timestamp, previous=theirs)
        assert theirs.key == key and theirs.verify(signature)
        parsed = Message.parse(mine.serialize(), OTHER)
        assert (parsed.key, parsed.content, parsed.sequence) == (key, content, sequence)
        previous = mine


def test_wrong_signatures() -> None:
    content, timestamp, signature, _ = KNOWN[0]
    message = Message(OTHER, content, "foo", timestamp=timestamp)  # kept, not checked, as it always was
    assert message.verify(signature)
    for wrong in ("foo", "foo.sig.ed25519", KNOWN[1][2], signature[1:], "", "====.sig.ed25519"):
        assert not message.verify(wrong)
    with pytest.raises(ValueError):
        Message.parse(message.serialize(), OTHER)
    with pytest.raises(ValueError):
        Message(OTHER, content, None)


@pytest.mark.parametrize(
    "change",
    [
        {"author": "@x"},
        {"sequence": 2},
        {"hash": None, "extra": 1},
        {"content": {}},
        {"signature": 5},
        {"timestamp": 0},
    ],
)
def test_changed_messages(change: dict[str, Any]) -> None:
    fields = json.loads(LocalMessage(ME, {"type": "x"}).serialize())
    with pytest.raises(ValueError):
        Message.parse(json.dumps({**fields, **change}).encode(), OTHER)
    with pytest.raises(ValueError):
        Message.parse(b"[" * 100_000, OTHER)


def test_content_as_simplejson_took_it() -> None:
    """A namedtuple is an object, a Decimal a number: both went out as something else, or not at all."""
    assert dumps(OrderedMsg(None, "a", 1, 2.5, "h", {"n": Decimal("1.50")})) == dumps(
        {"previous": None, "author": "a", "sequence": 1, "timestamp": 2.5, "hash": "h", "content": {"n": 1.5}}
    )
    assert dumps([Decimal("1E+3"), Decimal("0.1"), Decimal(2**53)]) == dumps([1000, 0.1, 2**53])
    with pytest.raises(ValueError):
        dumps({"a": b"x"})


def test_only_the_owner_signs() -> None:
    with pytest.raises(NoPrivateKeyException):
        OTHER.sign(b"x")
    for key in (OTHER.public_key, SigningKey.generate().verify_key):
        with pytest.raises(TypeError, match=r"^Can not set only the public key for a local feed$"):
            ME.public_key = key


def test_timestamps_are_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    before = time.time() * 1000
    for zone in ("UTC", "Asia/Tokyo", "America/New_York"):
        monkeypatch.setenv("TZ", zone)
        if hasattr(time, "tzset"):
            time.tzset()
        assert abs(get_millis_1970() - before) < 60_000
    monkeypatch.undo()
    if hasattr(time, "tzset"):
        time.tzset()


@pytest.mark.parametrize("zone", [timezone.utc, None])
def test_tests_may_stop_the_clock(zone: timezone | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """They put something else in the place of `datetime`; it may know its zone or not."""
    stopped = mock.Mock(utcnow=lambda: datetime(2001, 9, 9, 1, 46, 40, 999_999, tzinfo=zone))
    monkeypatch.setattr(models, "datetime", stopped)
    assert LocalMessage(ME, {"type": "x"}).timestamp == get_millis_1970() == 1_000_000_000_999


def test_order() -> None:
    data = {name: 1 for name in reversed(OrderedMsg._fields)}
    assert list(to_ordered(data)) == ["previous", "author", "sequence", "timestamp", "hash", "content"]


@pytest.mark.parametrize(
    ("value", "text"),
    # The right side is what Node prints for JSON.stringify of the left side.
    [
        (0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (-1.5, "-1.5"),
        (0.1, "0.1"),
        (1e16, "10000000000000000"),
        (123456789012345680000.0, "123456789012345680000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (1e-6, "0.000001"),
        (1.5e-6, "0.0000015"),
        (1e-7, "1e-7"),
        (1.25e-7, "1.25e-7"),
        (5e-324, "5e-324"),
        (2**53, "9007199254740992"),
        (2**60, "1152921504606847000"),
        (10**400, "null"),
        (float("nan"), "null"),
        (True, "true"),
        (None, "null"),
        ([], "[]"),
        ({}, "{}"),
        ('\x00\x08\n"\\é\u2028\U0001f600', '"\\u0000\\b\\n\\"\\\\é\u2028\U0001f600"'),
        ("\ud800", '"\\ud800"'),
        ([1, {"a": []}], '[\n  1,\n  {\n    "a": []\n  }\n]'),
        ({"b": 1, "10": 2, "9": 3, "01": 4}, '{\n  "9": 3,\n  "10": 2,\n  "b": 1,\n  "01": 4\n}'),
    ],
)
def test_encoding(value: Any, text: str) -> None:
    assert dumps(value) == text


@pytest.mark.parametrize("value", [{1: 2}, b"x", {"a": object()}])
def test_what_json_cannot_hold(value: Any) -> None:
    with pytest.raises(ValueError):
        dumps(value)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError):
        dumps(deep)


def test_hash_takes_low_bytes() -> None:
    assert hashed_bytes("aé\u20ac\U0001f600") == b"a\xe9\xac\x3d\x00"
    message = LocalMessage(ME, {"type": "post", "text": "\u20ac\U0001f600"}, timestamp=1)
    assert Message.parse(message.serialize(), OTHER).key == message.key

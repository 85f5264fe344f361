"""Tickets in words against a second implementation, written from docs/protocol/pairing.md, and its vectors; texts."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest
from nacl.signing import SigningKey

from ssbfast.errors import BadInputError, MissingExtraError, RefusedError
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.wire import words as words_module
from ssbfast.wire.words import Exchange, Words, confirmation_in, is_nameplate, look_like_words, message_in
from tests.helpers.require import require
from tests.helpers.vectors import load

try:
    words_module.word_list()
    HAS_WORDS = True
except MissingExtraError:
    HAS_WORDS = False

VECTORS = load("words", "pairing")
WORDS = Words("maple", "otter-violin")
KEY = b"e" * 32


@pytest.fixture
def extra() -> None:
    require("words", HAS_WORDS, "pip install 'ssbfast[words]'")


# ---------------------------------------------------------------- the page's implementation

_LABEL = b"ssbfast pairing v1 words"


def words_key(nameplate: str, room: bytes, target: bytes) -> bytes:
    """W, the public key."""
    seed = hmac.new(_LABEL, nameplate.encode() + room + target, hashlib.sha256).digest()
    return bytes(SigningKey(seed).verify_key)


def end(kind: str, words: str, export_key: bytes, entropy: bytes) -> Any:
    """An end of SPAKE2 whose random number is known."""
    import spake2

    binding = hmac.new(export_key, _LABEL, hashlib.sha256).digest()
    password = "-".join(words.split("-")[1:]).encode()
    ids = {"idA": b"taker" + binding, "idB": b"target" + binding}
    return getattr(spake2, kind)(password, entropy_f=lambda n: (entropy * 2)[:n], **ids)


def confirmation(key: bytes, who: str) -> bytes:
    return hmac.new(key, b"ssbfast pairing v1 " + who.encode(), hashlib.sha256).digest()


def vector(words: str, export_key: bytes, random: tuple[bytes, bytes], room: bytes, target: bytes) -> dict[str, str]:
    """What stands in the file for these. random: 32 bytes of the taker and of the target, which each uses twice."""
    taker, other = (
        end(kind, words, export_key, part) for kind, part in zip(("SPAKE2_A", "SPAKE2_B"), random, strict=True)
    )
    messages = taker.start(), other.start()
    key = taker.finish(messages[1])
    assert key == other.finish(messages[0])
    return {
        "words": words,
        "room": room.hex(),
        "target": target.hex(),
        "words_key": words_key(words.partition("-")[0], room, target).hex(),
        "export_key": export_key.hex(),
        "taker_random": random[0].hex(),
        "target_random": random[1].hex(),
        "taker_message": messages[0].hex(),
        "target_message": messages[1].hex(),
        "key": key.hex(),
        "taker_confirmation": confirmation(key, "taker").hex(),
        "target_confirmation": confirmation(key, "target").hex(),
    }


# ---------------------------------------------------------------- vectors


@pytest.mark.parametrize("known", VECTORS, ids=lambda known: known["words"])
def test_vectors(known: dict[str, str], extra: None, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {name: bytes.fromhex(text) for name, text in known.items() if name != "words"}
    random = data["taker_random"], data["target_random"]
    assert vector(known["words"], data["export_key"], random, data["room"], data["target"]) == known
    words = Words.parse(known["words"])
    assert words.key(FeedId(data["room"]), FeedId(data["target"])).id.key == data["words_key"]
    ends = []
    for is_taker in (True, False):
        number = random[not is_taker]
        # Its `_SPAKE2_Asymmetric.__init__` has bound os.urandom as a default.
        monkeypatch.setattr("spake2.ed25519_basic.random_scalar", lambda _entropy, n=number: _scalar(n))
        ends.append(Exchange(words, data["export_key"], is_taker=is_taker))
    taker, target = ends
    assert (taker.message, target.message) == (data["taker_message"], data["target_message"])
    taker.finish(target.message)
    target.finish(taker.message)
    assert taker.confirmation() == data["taker_confirmation"]
    assert target.confirmation() == data["target_confirmation"]
    assert taker.is_confirmed(data["target_confirmation"])
    assert target.is_confirmed(data["taker_confirmation"])
    assert not taker.is_confirmed(data["taker_confirmation"])  # our own does not come back as theirs


def _scalar(number: bytes) -> int:
    from spake2.ed25519_basic import L

    return int.from_bytes(number * 2, "big") % int(L)


def test_another_nameplate_room_or_target_is_another_key() -> None:
    one, other = (Keypair.from_seed(seed * 32).id for seed in (b"a", b"b"))
    keys = {
        WORDS.key(one, other).id,
        WORDS.key(other, one).id,
        WORDS.key(one, one).id,
        Words("otter", "").key(one, other).id,
    }
    assert len(keys) == 4
    assert Words("maple", "zoo-zoo").key(one, other).id in keys  # it is no secret


# ---------------------------------------------------------------- the exchange


@pytest.mark.parametrize(
    ("words", "export_key"), [(Words("maple", "otter-violet"), KEY), (WORDS, b"f" * 32)], ids=["words", "session"]
)
def test_what_differs_is_not_confirmed(words: Words, export_key: bytes, extra: None) -> None:
    taker, target = Exchange(words, export_key, is_taker=True), Exchange(WORDS, KEY, is_taker=False)
    taker.finish(target.message)
    target.finish(taker.message)
    assert not target.is_confirmed(taker.confirmation())
    assert not taker.is_confirmed(target.confirmation())


def test_messages_that_are_refused(extra: None) -> None:
    hostile = [b"A" + bytes(32), b"A\1" + bytes(31), b"A" + b"\xff" * 32, b"B\1" + bytes(31), b"C" * 33, bytes(33)]
    for message in (*hostile, Exchange(WORDS, KEY, is_taker=False).message):
        exchange = Exchange(WORDS, KEY, is_taker=False)
        with pytest.raises(RefusedError, match="do not hold"):
            exchange.finish(message)
        with pytest.raises(RefusedError):
            exchange.confirmation()
        with pytest.raises(RefusedError):
            exchange.is_confirmed(bytes(32))
    reflected = Exchange(WORDS, KEY, is_taker=True)
    with pytest.raises(RefusedError):
        reflected.finish(b"B" + reflected.message[1:])


@pytest.mark.parametrize(("read", "name", "size"), [(message_in, "message", 33), (confirmation_in, "confirm", 32)])
def test_members(read: Any, name: str, size: int) -> None:
    good = base64.b64encode(bytes(size)).decode()
    assert read({name: good}) == bytes(size)
    wrong = [None, 7, "", good[:-1], good + "\n", good[:-4], good * 1000, "é" * len(good), [good], " " + good]
    if good.endswith("="):
        wrong.append(good[:-2] + "B=")  # the same bytes, written otherwise
    for text in wrong:
        assert read({name: text}) is None, text
    assert [read(value) for value in (None, [], good, {}, {"x": good})] == [None] * 5


# ---------------------------------------------------------------- texts


@pytest.mark.parametrize(
    "text", ["maple-other-violin", " Maple other\tVIOLIN \n", "maple, other, violin", "maple. other. violin"]
)
def test_words_as_they_are_written(text: str, extra: None) -> None:
    assert look_like_words(text)
    assert Words.parse(text) == Words("maple", "other-violin")
    assert str(Words.parse(text)) == "maple-other-violin"


def test_what_is_none(extra: None) -> None:
    for text in ("", "maple", "maple-other", "maple-other-violin-zoo", "maple-other-v1olin", "mäple-other-violin"):
        assert not look_like_words(text)
        with pytest.raises(BadInputError, match="has three"):
            Words.parse(text)
    with pytest.raises(BadInputError, match=r"^word 3 is none of the words of tickets: is it 'violin'"):
        Words.parse("maple-other-violn")
    with pytest.raises(BadInputError, match=r"^word 2 is none of the words of tickets$"):
        Words.parse("maple-qqqqqqq-violin")
    assert not look_like_words("pair-" + "A" * 120)


def test_words_are_drawn_from_all(extra: None) -> None:
    known = words_module.word_list()
    assert len(set(known)) == 2048
    assert all(is_nameplate(word) for word in known)
    assert len({str(Words.draw()) for _ in range(50)}) == 50
    drawn = Words.draw()
    assert Words.parse(str(drawn)) == drawn


def test_the_password_is_not_shown() -> None:
    assert "otter" not in repr(WORDS)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    words_module.word_list.cache_clear()
    for use in (Words.draw, lambda: Words.parse("maple-other-violin"), lambda: Exchange(WORDS, KEY, is_taker=True)):
        with pytest.raises(
            MissingExtraError, match=r"^tickets in words need an extra: pip install 'ssbfast\[words\]'$"
        ):
            use()

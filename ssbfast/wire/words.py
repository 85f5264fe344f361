"""A ticket in three words: what they are, the key that they lead to, and the exchange that proves two of them.

docs/protocol/pairing.md, "In words", is the specification. The list and SPAKE2 are in the extra `words`.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import functools
import hmac
import importlib.util
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ssbfast.errors import BadInputError, MissingExtraError, RefusedError
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair

if TYPE_CHECKING:
    from collections.abc import Sequence

ANNOUNCE: Final = "pairing.announce"
FIND: Final = "pairing.find"
EXCHANGE: Final = "pair.words"
CONFIRM: Final = "pair.confirm"

TAKEN: Final = "taken"
"""The error of a room for a nameplate that another peer has."""

NOT_THERE: Final = "no peer of this room has that nameplate"
"""The error of a room for a nameplate that is free."""

WRONG: Final = "the words do not hold"
"""The error of the target for every call that does not pass its checks."""

_COUNT: Final = 3
_KEY: Final = b"ssbfast pairing v1 words"
_CONFIRM: Final = b"ssbfast pairing v1 "
_TAKER, _TARGET = b"taker", b"target"
_MESSAGE: Final = 33
_DIGEST: Final = 32
_NAMEPLATE: Final = re.compile(r"[a-z]{3,8}")
_BETWEEN: Final = re.compile(r"[\s,.\-]+")
_LOOK: Final = re.compile(r"[A-Za-z]{1,16}([\s,.\-]+[A-Za-z]{1,16}){2}")


def is_nameplate(value: object) -> bool:
    """Return whether this may be a nameplate: 3 … 8 of a-z."""
    return isinstance(value, str) and _NAMEPLATE.fullmatch(value) is not None


def look_like_words(text: str) -> bool:
    """Return whether a text is three words, and so no ticket, whether or not they are in the list."""
    return _LOOK.fullmatch(text.strip()) is not None


def check_words() -> None:
    """Raise MissingExtraError where words can be neither made nor taken."""
    if any(importlib.util.find_spec(name) is None for name in ("spake2", "mnemonic")):
        raise MissingExtraError("tickets in words need an extra: pip install 'ssbfast[words]'")


@functools.lru_cache(maxsize=1)
def word_list() -> Sequence[str]:
    """Return the 2,048 words. Raises MissingExtraError."""
    check_words()
    from mnemonic import Mnemonic

    return tuple(Mnemonic("english").wordlist)


@dataclass(frozen=True, slots=True)
class Words:
    """Three words in place of a ticket.

    Attributes:
        nameplate: The first one, which the room knows.
        password: The two others, with a hyphen between them.
    """

    nameplate: str
    password: str = field(repr=False)

    @classmethod
    def draw(cls) -> Words:
        """Draw new ones at random. Raises MissingExtraError."""
        known = word_list()
        first, *others = (secrets.choice(known) for _ in range(_COUNT))
        return cls(first, "-".join(others))

    @classmethod
    def parse(cls, text: str) -> Words:
        """Read three words, in any case, with blanks, commas, full stops or hyphens between them.

        Raises:
            BadInputError: They are not three, or one is not in the list.
            MissingExtraError: The extra `words` is not installed.
        """
        words = [word for word in _BETWEEN.split(text.strip().lower()) if word]
        if not look_like_words(text) or len(words) != _COUNT:
            raise BadInputError("a ticket in words has three, as in maple-ocean-violin")
        known = word_list()
        for number, word in enumerate(words, 1):
            if word not in known:
                near = difflib.get_close_matches(word, known, 1)
                hint = f": is it {near[0]!r}?" if near else ""
                raise BadInputError(f"word {number} is none of the words of tickets{hint}")
        return cls(words[0], "-".join(words[1:]))

    def key(self, room: FeedId, target: FeedId) -> Keypair:
        """Return the key that a taker proves. It is no secret: it says only that the caller comes for the words.

        Args:
            room: The room.
            target: The peer that has made the words.
        """
        return Keypair(hmac.digest(_KEY, self.nameplate.encode("ascii") + room.key + target.key, "sha256"))

    def __str__(self) -> str:
        return f"{self.nameplate}-{self.password}"


class Exchange:
    """One end of SPAKE2, and the confirmations behind it: a few milliseconds of arithmetic, so for a thread.

    Attributes:
        message: What the other end needs.
    """

    def __init__(self, words: Words, export_key: bytes, *, is_taker: bool) -> None:
        """Begin an exchange. export_key: 32 bytes of the session that it is in. Raises MissingExtraError."""
        check_words()
        import spake2

        binding = hmac.digest(export_key, _KEY, "sha256")
        kind = spake2.SPAKE2_A if is_taker else spake2.SPAKE2_B
        self._end: Any = kind(words.password.encode("ascii"), idA=_TAKER + binding, idB=_TARGET + binding)
        self._is_taker = is_taker
        self._key: bytes | None = None
        self.message: bytes = self._end.start()

    def finish(self, message: bytes) -> None:
        """Take the other end's message, once. Raises RefusedError for one that is no point, or our own."""
        from spake2 import SPAKEError
        from spake2.ed25519_basic import NotOnCurve

        try:
            self._key = self._end.finish(message)
        except (SPAKEError, NotOnCurve, ValueError):
            raise RefusedError(WRONG) from None

    def confirmation(self) -> bytes:
        """Return what proves to the other end that we know the words."""
        return self._confirmation(of_taker=self._is_taker)

    def is_confirmed(self, confirmation: bytes) -> bool:
        """Return whether the other end has proven that it knows the words, in this session."""
        return hmac.compare_digest(self._confirmation(of_taker=not self._is_taker), confirmation)

    def _confirmation(self, *, of_taker: bool) -> bytes:
        if self._key is None:
            raise RefusedError(WRONG)
        return hmac.digest(self._key, _CONFIRM + (_TAKER if of_taker else _TARGET), "sha256")


def as_member(name: str, data: bytes) -> dict[str, Any]:
    """Return bytes as they are sent: an object with one member."""
    return {name: base64.b64encode(data).decode("ascii")}


def message_in(value: object) -> bytes | None:
    """Return the message of an exchange that a peer sent; None for anything else."""
    return _bytes_in(value, "message", _MESSAGE)


def confirmation_in(value: object) -> bytes | None:
    """Return the confirmation that a peer sent; None for anything else."""
    return _bytes_in(value, "confirm", _DIGEST)


def _bytes_in(value: object, name: str, size: int) -> bytes | None:
    text = value.get(name) if isinstance(value, dict) else None
    if not isinstance(text, str) or len(text) > 2 * size:
        return None
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if len(data) == size and base64.b64encode(data).decode("ascii") == text else None

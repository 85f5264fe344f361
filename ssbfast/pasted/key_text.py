"""Keys and feed ids in every spelling that names one of them for certain."""

from __future__ import annotations

import re
from typing import Final

from ssbfast.errors import BadInputError
from ssbfast.ids import MAIN_NETWORK, SUFFIX, FeedId, decode_key, encode_key
from ssbfast.pasted.tidy_text import name_of
from ssbfast.wire.address import ROOM_SEED

_LETTERS: Final = 43
_SECRET_LETTERS: Final = 86
_KEY: Final = re.compile(r"[A-Za-z0-9+/_=-]*")
_TO_STANDARD: Final = str.maketrans("-_", "+/")
_NOT_IDS: Final = {
    ROOM_SEED: "the seed that the invites of all rooms have",
    encode_key(MAIN_NETWORK.key): "the key of the main network",
}


def read_feed(text: str, form: str) -> FeedId:
    """Read a feed id with or without sigil and suffix. form: what was expected, for messages. Raises BadInputError."""
    key, dot, kind = text.removeprefix("@").partition(".")
    suffix = f"{dot}{kind}".lower()
    if suffix not in ("", SUFFIX):
        raise BadInputError(_other_kind(text, suffix, form))
    if (strange := _strange(key)) is not None:
        raise BadInputError(f"it contains {strange}, which no id has: {form}")
    if _KEY.fullmatch(key) is None or _is_word(key):
        raise BadInputError(f"that is a name, not an id: {form}")
    return FeedId(read_key(key, "id", form))


def read_key(text: str, what: str, form: str) -> bytes:
    """Decode 32 bytes from base64, standard or for URLs, with or without padding.

    what: whose key it is ("id", "address"), form: what was expected, for messages. Raises BadInputError.
    """
    letters = text.rstrip("=")
    if len(letters) == _SECRET_LETTERS:
        raise BadInputError("that is a SECRET key: it lets anyone act as you, so show it to nobody")
    if len(letters) < _LETTERS:
        raise BadInputError(f"the {what} was cut off: its key has {len(letters)} of {_LETTERS} characters; {form}")
    standard = f"{letters.translate(_TO_STANDARD)}="
    key = decode_key(standard)
    if len(letters) > _LETTERS or len(text) > _LETTERS + 1:
        raise BadInputError(f"the {what}'s key is too long ({len(letters)} characters, not {_LETTERS}): {form}")
    if key is None or (set("-_") & set(letters) and set("+/") & set(letters)):
        raise BadInputError(f"the {what}'s key is mistyped: it is no canonical base64; {form}")
    if standard in _NOT_IDS and what == "id":
        raise BadInputError(f"that is {_NOT_IDS[standard]}: {form}")
    return key


def _other_kind(text: str, suffix: str, form: str) -> str:
    if SUFFIX.startswith(suffix):
        return f"the id was cut off: it ends in {SUFFIX}; {form}"
    if text.startswith("@"):
        return f"that is an id of another kind, not of a key for {SUFFIX[1:]}: {form}"
    return f"that is the name of a host or a file, without a key: {form}"


def _strange(text: str) -> str | None:
    found = next((char for char in text if not "\x21" <= char <= "\x7e"), None)
    return None if found is None else name_of(found)


def _is_word(text: str) -> bool:
    """Return whether it is rather a name than the beginning of a key."""
    return len(text) < 20 and text.isalpha() and (text.islower() or text.istitle() or text.isupper())

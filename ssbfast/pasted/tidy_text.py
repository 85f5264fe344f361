"""Text that was pasted, without what mail, chats, editors and shells leave around it."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from ssbfast.errors import BadInputError
from ssbfast.limits import PASTED_TEXT

_QUOTES: Final = "\"'`\u00b4\u00ab\u00bb\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2039\u203a\u2032\u2033"
_BRACKETS: Final = "<>(){}\u2329\u232a\u27e8\u27e9\u3008\u3009\u300a\u300b\u300c\u300d\u300e\u300f\u3010\u3011"
_MARKS: Final = "*|\u2022\u00b7\u2023\u2192\u27a4\u2013\u2014"
_AROUND: Final = _QUOTES + _BRACKETS + _MARKS
_BEHIND: Final = ".,;?!\\\u2026\u3001\u3002"
"""Ends of sentences and of lines. What an address was cut with ("…") goes as well: its key is too short anyway."""

_BLANK_LETTERS: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")
_TERMINAL: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
"""What terminals put around a paste, and the colours of what was copied."""

_JOINERS: Final = "\u200c\u200d"
_FULL_WIDTH: Final = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
"""Input methods for Chinese and Japanese write ASCII in wide letters."""


def tidy(text: str, *, keep: str = "") -> str:
    """Remove what surrounds a pasted text, and what cannot be seen within it.

    Blanks of every kind, control characters, quotes, brackets (but square ones, which belong to IPv6 addresses) and
    bullets around it, and punctuation behind it, mean nothing in ids and addresses.
    keep: what means something here after all. Raises BadInputError for a text that is too long.
    """
    if len(text) > PASTED_TEXT:
        raise BadInputError(f"that is no address: it has more than {PASTED_TEXT} characters")
    text = _without_invisible(_TERMINAL.sub("", text)).translate(_FULL_WIDTH)
    start, end = 0, len(text)
    while start < end and _is_around(text[start]) and text[start] not in keep:
        start += 1
    while end > start and (_is_around(text[end - 1]) or text[end - 1] in _BEHIND) and text[end - 1] not in keep:
        end -= 1
    return text[start:end]


def name_of(char: str) -> str:
    """Return a character in words, for messages: what it looks like says nothing."""
    return f"U+{ord(char):04X} ({unicodedata.name(char, 'no letter').lower()})"


def _is_around(char: str) -> bool:
    return char.isspace() or char in _AROUND or char in _BLANK_LETTERS or unicodedata.category(char) == "Cc"


def _without_invisible(text: str) -> str:
    """Remove format characters and selectors of variants; joiners stay within words of scripts that need them."""
    if text.isascii():
        return text
    return "".join(char for at, char in enumerate(text) if not _is_invisible(char) or _joins(text, at))


def _joins(text: str, at: int) -> bool:
    return text[at] in _JOINERS and _is_letter(text[at - 1 : at]) and _is_letter(text[at + 1 : at + 2])


def _is_invisible(char: str) -> bool:
    return unicodedata.category(char) == "Cf" or char == "\u034f" or "\ufe00" <= char <= "\ufe0f"


def _is_letter(text: str) -> bool:
    return text > "\x7f" and unicodedata.category(text)[0] in "LM"

"""Texts of strangers that must reach no terminal and no log as they are."""

from __future__ import annotations

from typing import Final

HOSTILE: Final = tuple(
    map(
        chr,
        (
            *range(0x20),  # control characters: escape, line ends, bell, backspace
            *range(0x7F, 0xA0),  # delete, and C1 with its own CSI and OSC
            *(0x85, 0x2028, 0x2029),  # other line ends
            *(0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),  # direction of writing
            *(
                0x00AD,
                0x034F,
                0x115F,
                0x1160,
                0x17B4,
                0x180E,
                *range(0x200B, 0x200E),
                *range(0x2060, 0x2065),
            ),  # no width
            *(0x00A0, 0x2800, 0x3000, 0x3164, 0xFE0F, 0xFEFF, 0xFFA0, 0xE0001, 0xE0041, 0xE0100),  # blank, tags
            *(0xD800, 0xDFFF),  # lone surrogates
            *(0xE000, 0xFFFF, 0x10FFFF),  # nobody's
        ),
    )
)
"""One of each kind that `clean_text` replaces."""

TITLE: Final = "A\x1b]0;owned\x07\x9b31m\n  @forged\r\u2028\u202eend\u200b\ud800"
"""All at once: a terminal's title, colour, forged lines, text that runs backwards."""


def is_clean(text: str) -> bool:
    """Whether none of it is in the text, line ends included."""
    return not set(text) & set(HOSTILE)

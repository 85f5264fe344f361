"""Lines for people on a terminal: colour by meaning, short ids, and no wider than it is.

Here our escape sequences are added, to text that has been cleaned: those of a peer never come so far. Into a pipe, a
file or a journal lines go as they are, unless FORCE_COLOR asks for colour.
"""

from __future__ import annotations

import contextlib
import enum
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import click

COLUMNS: Final = 80
"""Of what is no terminal, or does not know."""

_LEAST_COLUMNS: Final = 40
"""Lines are not broken to less."""

FULL: Final = "ssbfast.full"
"""Where click keeps whether --full was given."""

_PLAIN: Final = "ssbfast.plain"
_RESET: Final = "\x1b[0m"
_ID: Final = re.compile(r"(@[A-Za-z0-9+/]{8})[A-Za-z0-9+/]{35}=\.ed25519")
_WORD: Final = 8
"""Columns of the first word of an event."""

_INDENT: Final = 2
"""Columns before the rest of a text that was broken."""


class Meaning(enum.Enum):
    """A meaning that a colour has; the value is what a terminal takes for it."""

    GOOD = "\x1b[32m"
    BAD = "\x1b[31m"
    HINT = "\x1b[36m"
    DIM = "\x1b[2m"


class Output(Protocol):
    """A stream that may be a terminal."""

    def isatty(self) -> bool: ...

    def fileno(self) -> int: ...


_MEANINGS: Final[Mapping[str, Meaning]] = {
    **dict.fromkeys(("accepted", "announced", "bound", "joined", "listening", "paired", "reread"), Meaning.GOOD),
    **dict.fromkeys(("certificate_problem", "clock_set", "forward_problem", "limited", "lost"), Meaning.BAD),
    **dict.fromkeys(("denied", "denied_alias", "reconnecting", "records_problem", "refused", "stalled"), Meaning.BAD),
    **dict.fromkeys(("back",), Meaning.GOOD),
    **dict.fromkeys(("away", "external", "waiting"), Meaning.HINT),
    **dict.fromkeys(("closed", "left", "skipped", "tunnel_closed"), Meaning.DIM),
}


def meaning_of(event: Mapping[str, Any]) -> Meaning | None:
    """Return what an event means for people; None for one that is neither good nor bad."""
    match event:
        case {"event": "connected", "peer": _} | {"event": "path", "path": "direct"}:
            return Meaning.GOOD
    return _MEANINGS.get(event.get("event", ""))


# ---------------------------------------------------------------- which outputs


def _remember_plain(context: click.Context, _option: click.Parameter, given: bool) -> None:
    context.meta[_PLAIN] = given or bool(context.meta.get(_PLAIN))  # given to the group of a command


plain_option = click.option(
    "--plain",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_remember_plain,
    help="Print on a terminal as into a file: without colour, with whole ids.",
)


def is_plain() -> bool:
    """Return whether the running command was given --plain."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_PLAIN))


def is_terminal(output: Output | None) -> bool:
    """Return whether people read an output on a terminal, and did not ask for --plain."""
    return output is not None and output.isatty() and not is_plain()


def columns_of(output: Output | None) -> int:
    """Return how wide lines may be: as the terminal now, or as COLUMNS says; `COLUMNS` into a pipe or a file."""
    if not is_terminal(output):
        return COLUMNS
    return max(shutil.get_terminal_size((COLUMNS, 0)).columns, _LEAST_COLUMNS)


def has_colour(output: Output | None) -> bool:
    """Return whether an output gets colour: a terminal that knows it, unless NO_COLOR; any output by FORCE_COLOR."""
    if output is None or is_plain() or os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return _obeys_sequences(output)


def _obeys_sequences(output: Output | None) -> bool:
    """Return whether an output is a terminal that obeys escape sequences."""
    if output is None or not is_terminal(output) or os.environ.get("TERM") == "dumb":
        return False
    return os.name != "nt" or _is_virtual_terminal(output)


def _is_virtual_terminal(output: Output) -> bool:
    """Return whether a console of Windows obeys escape sequences, which it shows as text otherwise."""
    import ctypes
    import msvcrt

    system: Any = ctypes
    runtime: Any = msvcrt
    mode = ctypes.c_ulong()
    handle = ctypes.c_void_p(runtime.get_osfhandle(output.fileno()))
    return bool(system.windll.kernel32.GetConsoleMode(handle, ctypes.byref(mode))) and bool(mode.value & 4)


@contextlib.contextmanager
def progress(words: str) -> Iterator[None]:
    """Show, on a terminal, what takes long, as long as it takes."""
    stderr = sys.stderr
    if not _obeys_sequences(stderr):
        yield
        return
    file = stderr.fileno()  # past the thread of `BoundedStream`: it has to be gone before the outcome is printed
    os.write(file, f"{words} …".encode(stderr.encoding, "replace"))
    try:
        yield
    finally:
        os.write(file, b"\r\x1b[K")


# ---------------------------------------------------------------- lines

Piece = str | tuple[str, Meaning]
"""A part of a text, and what it means. A hint is never broken: people paste it."""


@dataclass(frozen=True, slots=True)
class Style:
    """Print lines in one way, for a terminal or a file.

    colour: with colour. columns: how wide they may be; None: as wide as they are. shortens: an event that is too
    long gets short ids.
    """

    colour: bool = False
    columns: int | None = None
    shortens: bool = False

    @classmethod
    def of_log(cls, output: Output | None) -> Style:
        """Return the style of events, one after the other."""
        return cls(has_colour(output), columns_of(output) if is_terminal(output) else None, shortens=not is_full())

    @classmethod
    def of_list(cls, output: Output | None) -> Style:
        """Return the style of a list, from which people copy ids."""
        return cls(has_colour(output), columns_of(output) if is_terminal(output) else None)

    @classmethod
    def of_text(cls, output: Output | None) -> Style:
        """Return the style of an outcome: it is not broken."""
        return cls(has_colour(output))

    def event(self, event: Mapping[str, Any], stamp: str, words: str) -> str:
        """Return an event in its cleaned words. stamp: its time, before them."""
        first, *hints = words.split("\n")
        head, *rest = self.fitted(stamp + first, len(stamp), shortens=self.shortens)
        head = head[len(stamp) :]
        word = _first_word(head)
        lines = [self.paint(stamp, Meaning.DIM) + self.paint(word, meaning_of(event)) + head[len(word) :], *rest]
        return "\n".join([*lines, *(self._hint(line) for line in hints)])

    def text(self, pieces: Iterable[Piece]) -> str:
        """Return a text of cleaned pieces."""
        shown, column = "", 0
        for piece in pieces:
            text, meaning = (piece, None) if isinstance(piece, str) else piece
            if self.columns is not None and column > _INDENT and column + len(text.partition("\n")[0]) > self.columns:
                shown, text, column = f"{shown.rstrip()}\n{' ' * _INDENT}", text.lstrip(), _INDENT
            if meaning is not Meaning.HINT:
                text = "\n".join(part for line in text.split("\n") for part in self.fitted(line, _INDENT))
            shown += "\n".join(self.paint(line, meaning) for line in text.split("\n"))
            column = len(text.rpartition("\n")[2]) + (0 if "\n" in text else column)
        return shown

    def fitted(self, line: str, indent: int, *, shortens: bool = False) -> list[str]:
        """Return a line as one or more that fit: broken at spaces, and before that, if wanted, with short ids."""
        columns = self.columns
        if columns is None or len(line) <= columns:
            return [line]
        if shortens:
            line = _ID.sub(r"\1…", line)
        lines, margin = [], 0
        while len(line) > columns:
            cut = line.rfind("  ", columns // 2, columns + 1)  # between columns of a list, if there are some
            cut = cut if cut > 0 else line.rfind(" ", margin + 1, columns + 1)
            cut = cut if cut > 0 else line.find(" ", columns)
            if cut < 0 or indent + len(line[cut:].lstrip().partition(" ")[0]) > columns:  # too long there, too
                break
            lines.append(line[:cut].rstrip())
            line, margin = " " * indent + line[cut:].lstrip(), indent
        return [*lines, line]

    def paint(self, text: str, meaning: Meaning | None) -> str:
        """Return cleaned text in the colour of a meaning."""
        return f"{meaning.value}{text}{_RESET}" if self.colour and meaning is not None and text else text

    def _hint(self, line: str) -> str:
        text = line.lstrip()
        return line[: len(line) - len(text)] + self.paint(text, Meaning.HINT)


def _first_word(words: str) -> str:
    """Return what an event begins with: eight columns where they are a word or two, as in a list; else one word."""
    if words.startswith("("):
        return words
    return words[:_WORD].rstrip() if words[_WORD - 1 : _WORD] == " " else words.partition(" ")[0]


def is_full() -> bool:
    """Return whether the running command was given --full."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(FULL))

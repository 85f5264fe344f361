"""The whole terminal for a command that shows something again and again, and the keys that are pressed there."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Final

_CLEAR: Final = "\x1b[H\x1b[2J"
_ENTER: Final = "\x1b[?1049h\x1b[?25l"
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"


def is_live() -> bool:
    """Return whether there is a terminal to take."""
    return sys.stdout.isatty() and sys.stdin.isatty() and os.name == "posix"


@contextlib.contextmanager
def screen() -> Iterator[None]:
    """Take the whole terminal, with keys as they are pressed; give it back as it was, however we end."""
    import termios
    import tty

    stdin = sys.stdin.fileno()
    before = termios.tcgetattr(stdin)
    try:
        tty.setcbreak(stdin)
        sys.stdout.write(_ENTER)
        yield
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()


def draw(lines: Sequence[str], foot: Sequence[str], paint: Callable[[str], str] = str) -> None:
    """Show lines in the place of those before, as many as fit. foot: stays below them, as far as there is place.

    paint: gives colour to a line that has its length.
    """
    size = os.get_terminal_size(sys.stdout.fileno())
    columns, rows = size.columns or 80, size.lines or 24  # a terminal may not know
    shown = [*lines[: max(rows - len(foot), 0)], *foot]
    sys.stdout.write(_CLEAR + "\r\n".join(paint(line[:columns]) for line in shown[:rows]))
    sys.stdout.flush()


def key(seconds: float) -> str:
    """Return a key that is pressed within this time; nothing if none is, "q" at the end of the input."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    if not ready:
        return ""
    return os.read(sys.stdin.fileno(), 64).decode("ascii", "replace")[-1:] or "q"

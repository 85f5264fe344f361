"""The lines on stderr: short ones of ours, and, of what Python itself would say there, nothing that blocks."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from ssbfast import limits
from ssbfast.cli.output import CLOSE_SECONDS, Level, clean_line, journal_mark
from ssbfast.cli.output_thread import Writer

_is_marked = False


def mark_levels() -> None:
    """Begin each line from now on, until the command ends, with its level, as journald takes it."""
    global _is_marked
    _is_marked = True


def warn(message: str, level: Level = Level.WARNING) -> None:
    """Tell the user something, also when stdout is JSON for a program. One line, cleaned and cut."""
    mark = journal_mark(level) if _is_marked else ""
    print(f"{mark}ssbfast: {clean_line(message, limits.LOG_ERROR)}", file=sys.stderr, flush=True)


class BoundedStream(io.TextIOBase):
    """A stand-in for `sys.stderr`: what is written waits, up to `LOG_BACKLOG`, for a thread that writes it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._writer = Writer(stream.fileno(), name="stderr", missing=_missing)

    def write(self, text: str) -> int:
        """Write without ever blocking. Raises TypeError for bytes, by which click tells text streams from others."""
        if not isinstance(text, str):
            raise TypeError(f"needs text, not {type(text).__name__}")
        if text:
            self._writer.put(text.encode(self.encoding, "replace"))
        return len(text)

    def close(self) -> None:
        """Let what waits go out, for at most `CLOSE_SECONDS`."""
        self._writer.close(CLOSE_SECONDS)
        super().close()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute in typeshed
        return self._stream.encoding

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "replace"


@contextmanager
def bounded_stderr() -> Iterator[None]:
    """Keep every write to `sys.stderr` within this context from blocking.

    A `sys.stderr` without a file descriptor (a test's), the console of Windows and none at all stay as they are.
    """
    global _is_marked
    _is_marked = False
    stream: Any = sys.stderr
    if not _has_descriptor(stream) or (os.name == "nt" and stream.isatty()):
        yield
        return
    stream.flush()
    bounded = BoundedStream(stream)
    sys.stderr = bounded
    try:
        yield
    finally:
        sys.stderr = stream
        bounded.close()


def _has_descriptor(stream: Any) -> bool:
    try:
        stream.fileno()
    except (AttributeError, OSError):  # io.UnsupportedOperation among them
        return False
    return True


def _missing(n: int) -> bytes:
    return f"ssbfast: {n} lines are missing here: the reader was too slow\n".encode()

"""Errors of the program itself and of its libraries: short lines on stderr, few, however many a peer can cause.

asyncio, `logging` and Python would each print a trace of the stack, with addresses and objects in it, as often as it
happens. Here each kind of error is one line in `LOG_ERROR_SECONDS`, which says where it happened and how often it came.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from ssbfast import limits
from ssbfast.cli.standard_error import warn

_WORDS: Final = re.compile(r"[A-Za-z_.,'() -]{0,60}")
"""The beginning of a message of asyncio's: what follows are numbers and objects, with addresses in them."""


class ErrorLog:
    """The choice of the errors that are told. Sans-I/O: time is passed in, in seconds."""

    def __init__(self) -> None:
        self._told: dict[Hashable, float] = {}
        self._since: dict[Hashable, int] = {}

    def count(self, kind: Hashable, now: float) -> int | None:
        """Count one more error of a kind. None: it is not told; else how many are told with it, itself included."""
        if kind not in self._told and len(self._told) >= limits.LOG_ERROR_KINDS:
            kind = None
        self._since[kind] = self._since.get(kind, 0) + 1
        told = self._told.get(kind)
        if told is not None and now - told < limits.LOG_ERROR_SECONDS:
            return None
        self._told[kind] = now
        return self._since.pop(kind)


class ErrorLines:
    """The printer of what asyncio, `logging` and Python report, as far as `ErrorLog` lets it pass."""

    def __init__(self) -> None:
        self._log = ErrorLog()
        self._turn = threading.Lock()

    def of_loop(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle an error for `loop.set_exception_handler`."""
        found = _WORDS.match(str(context.get("message") or ""))
        self._tell(found[0].strip(" (,") if found else "", context.get("exception"))

    def of_record(self, record: logging.LogRecord) -> None:
        """Handle a line of a library's log, without its text, which may come from anywhere."""
        error = record.exc_info[1] if record.exc_info else None
        where = f"{record.levelname.lower()} of {record.name} at {Path(record.pathname).name}:{record.lineno}"
        self._tell(where, error)

    def of_thread(self, args: threading.ExceptHookArgs) -> None:
        """Handle an error for `threading.excepthook`."""
        self._tell("a thread failed", args.exc_value)

    def of_destructor(self, args: sys.UnraisableHookArgs) -> None:
        """Handle an error for `sys.unraisablehook`."""
        self._tell("an error that nothing can catch", args.exc_value)

    def _tell(self, what: str, error: BaseException | None) -> None:
        with self._turn:
            count = self._log.count((what, type(error), getattr(error, "errno", None)), time.monotonic())
        if count is None:
            return
        text = what or "an error inside"
        if error is not None:
            text += f": {_cause(error)}{_place(error.__traceback__)}"
        if count > 1:
            text += f" ({count} times since this was said last)"
        warn(text)


def _cause(error: BaseException) -> str:
    """Return the kind of an error. Its own text may hold an address, unless it is the operating system's."""
    if isinstance(error, OSError) and error.errno:
        return f"{type(error).__name__}, {os.strerror(error.errno).lower()}"
    return type(error).__name__


def _place(trace: TracebackType | None) -> str:
    """Return where it was raised: file and line, without directories."""
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


class _Handler(logging.Handler):
    def __init__(self, lines: ErrorLines) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.of_record(record)


@contextmanager
def short_errors() -> Iterator[ErrorLines]:
    """Turn all errors that nothing handles into short lines, within this context, which is entered in a loop.

    The loop keeps its handler: its last words come after this.
    """
    lines = ErrorLines()
    handler = _Handler(lines)
    asyncio.get_running_loop().set_exception_handler(lines.of_loop)
    hooks = threading.excepthook, sys.unraisablehook
    threading.excepthook, sys.unraisablehook = lines.of_thread, lines.of_destructor
    logging.getLogger().addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger().removeHandler(handler)
        threading.excepthook, sys.unraisablehook = hooks

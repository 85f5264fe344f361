"""Commands that run until they are told to stop: stdout, stderr, signals, and one task that does the work."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from ssbfast.app.commands.error_log import short_errors
from ssbfast.app.commands.open_files import raise_file_limit
from ssbfast.app.commands.printing import Event, Printer
from ssbfast.app.commands.standard_error import warn
from ssbfast.app.commands.stopping import on_signals

Program = Coroutine[Any, Any, int]
Work = Callable[[Printer], Program]


def run_until_stopped(
    work: Work,
    *,
    as_json: bool,
    words: Callable[[Event], str] | None = None,
    runner: Callable[[Program], int] = asyncio.run,
) -> int:
    """Run `work` in a new loop and return its exit code; 0 when a signal, or the reader of our output, ends it.

    The first signal cancels the work, which then says its goodbyes; the second quits at once.
    words: an event as people read it. runner: makes the loop.
    """
    raise_file_limit()
    return runner(_run(work, as_json=as_json, words=words))


async def _run(work: Work, *, as_json: bool, words: Callable[[Event], str] | None) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def broken() -> None:
        try:
            loop.call_soon_threadsafe(stop.set)
        except RuntimeError:  # the loop has just closed: we are stopping anyway
            return

    printer = Printer(sys.stdout, as_json=as_json, on_broken=broken, on_failed=_unwritten, words=words)
    try:
        with short_errors(), on_signals(stop.set):
            working = asyncio.ensure_future(work(printer))
            stopping = asyncio.ensure_future(stop.wait())
            await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not working.done():
                working.cancel()
            try:
                return await working
            except asyncio.CancelledError:
                return 0
    finally:
        printer.close()


def _unwritten(error: OSError) -> None:
    warn(f"lines for stdout are lost: {os.strerror(error.errno or 0).lower()}")

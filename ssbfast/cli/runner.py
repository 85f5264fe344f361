"""Commands that run until they are told to stop: stdout, stderr, signals, and one task that does the work."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from ssbfast.cli.error_log import short_errors
from ssbfast.cli.open_files import raise_file_limit
from ssbfast.cli.output import Event, Printer
from ssbfast.cli.standard_error import warn

Program = Coroutine[Any, Any, int]
CommandWork = Callable[[Printer], Program]

_LOST: Final = 1
"""Exit code of work that was done but whose outcome could not be printed."""


SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)

_HANGUP: Final = getattr(signal, "SIGHUP", None)  # not on Windows


def run_until_stopped(
    work: CommandWork,
    *,
    as_json: bool,
    words: Callable[[Event], str] | None = None,
    runner: Callable[[Program], int] = asyncio.run,
) -> int:
    """Run `work` in a new loop and return its exit code; 0 when a signal, or the reader of our output, ends it.

    Output that cannot be written costs lines and is reported once; a command that ends after that has failed.
    The first signal cancels the work, which then says its goodbyes; the second quits at once.
    words: an event as people read it. runner: makes the loop.
    """
    raise_file_limit()
    return runner(_run(work, as_json=as_json, words=words))


async def _run(work: CommandWork, *, as_json: bool, words: Callable[[Event], str] | None) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_broken() -> None:
        try:
            loop.call_soon_threadsafe(stop.set)
        except RuntimeError:  # the loop has just closed: we are stopping anyway
            return

    lost: list[OSError] = []

    def on_failed(error: OSError) -> None:
        lost.append(error)
        warn(f"lines for stdout are lost: {os.strerror(error.errno or 0).lower()}")

    printer = Printer(sys.stdout, as_json=as_json, on_broken=on_broken, on_failed=on_failed, words=words)
    try:
        with short_errors(), on_signals(stop.set):
            working = asyncio.ensure_future(work(printer))
            stopping = asyncio.ensure_future(stop.wait())
            await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not working.done():
                working.cancel()
            try:
                return await working or (_LOST if lost else 0)
            except asyncio.CancelledError:
                return 0
    finally:
        printer.close()


@contextmanager
def on_signals(stop: Callable[[], object], *, exit_code: int = 0) -> Iterator[None]:
    """Ask to stop on the first Ctrl-C, SIGTERM, or SIGHUP of a terminal that is closed; quit at once on the second.

    Within this context the first signal calls `stop`, in the loop; the second ends the process there and then."""
    loop = asyncio.get_running_loop()
    asked = False

    def on_signal() -> None:
        nonlocal asked
        if asked:
            os._exit(exit_code)
        asked = True
        stop()

    before = {number: signal.getsignal(number) for number in SIGNALS}
    if before.get(_HANGUP) == signal.SIG_IGN:
        del before[_HANGUP]  # `nohup`
    for number in before:
        try:
            loop.add_signal_handler(number, on_signal)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(on_signal))
    try:
        yield
    finally:
        for number, handler in before.items():
            with suppress(NotImplementedError):
                loop.remove_signal_handler(number)
            signal.signal(number, handler)

"""Commands that run until they are told to stop: stdout, stderr, signals, and one task that does the work."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TextIO

from ssbfast import limits
from ssbfast.cli.error_log import short_errors
from ssbfast.cli.open_files import raise_file_limit
from ssbfast.cli.output import Event, LogForm, Printer
from ssbfast.cli.service_manager import is_journal
from ssbfast.cli.standard_error import warn

Program = Coroutine[Any, Any, int]
CommandWork = Callable[[Printer], Program]

_LOST: Final = 1
"""Exit code of work that was done but whose outcome could not be printed."""


SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

_HANGUP: Final = getattr(signal, "SIGHUP", None)  # not on Windows


def run_until_stopped(
    work: CommandWork,
    *,
    as_json: bool = False,
    log: LogForm | None = None,
    words: Callable[[Event], str] | None = None,
    runner: Callable[[Program], int] = asyncio.run,
    terminate: Callable[[], bool] | None = None,
    hangup: Callable[[], bool] | None = None,
    output: TextIO | None = None,
) -> int:
    """Run `work` in a new loop and return its exit code; 0 when a signal, or the reader of our output, ends it.

    Output that cannot be written costs lines and is reported once; a command that ends after that has failed. A journal
    that is gone ends nothing.
    The first signal cancels the work, which then says its goodbyes; the second quits at once, unless it is the same one
    within `SAME_SIGNAL_SECONDS`.
    log: see `Printer`. words: an event as people read it. runner: makes the loop. terminate: called on the first
    SIGTERM, in the loop; if it returns True the work ends by itself, and the next signal counts as the first.
    hangup: called on each SIGHUP, in the loop; if it returns True the work goes on.
    output: where lines go instead of stdout.
    """
    raise_file_limit()
    output = output or sys.stdout
    return runner(_run(work, as_json=as_json, log=log, words=words, terminate=terminate, hangup=hangup, output=output))


async def _run(
    work: CommandWork,
    *,
    as_json: bool,
    log: LogForm | None,
    words: Callable[[Event], str] | None,
    terminate: Callable[[], bool] | None,
    hangup: Callable[[], bool] | None,
    output: TextIO | None,
) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    goes_on = log is LogForm.JOURNALD or is_journal(output)

    def on_broken() -> None:
        if goes_on:
            warn("nothing takes the log any more: it is lost, all else goes on")
            return
        try:
            loop.call_soon_threadsafe(stop.set)
        except RuntimeError:  # the loop has just closed: we are stopping anyway
            return

    is_terminated = False

    def on_terminate() -> bool:
        nonlocal is_terminated
        is_terminated = terminate is not None and terminate()
        return is_terminated

    lost: list[OSError] = []

    def on_failed(error: OSError) -> None:
        lost.append(error)
        warn(f"lines for stdout are lost: {os.strerror(error.errno or 0).lower()}")

    printer = Printer(output, as_json=as_json, log=log, on_broken=on_broken, on_failed=on_failed, words=words)
    try:
        with short_errors(), on_signals(stop.set, terminate=on_terminate, hangup=hangup):
            working = asyncio.ensure_future(work(printer))
            stopping = asyncio.ensure_future(stop.wait())
            await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not working.done():
                working.cancel()
            try:
                return await working or (_LOST if lost and not is_terminated else 0)
            except asyncio.CancelledError:
                return 0
    finally:
        printer.close()


@contextmanager
def on_signals(
    stop: Callable[[], object],
    *,
    exit_code: int = 0,
    terminate: Callable[[], bool] | None = None,
    hangup: Callable[[], bool] | None = None,
) -> Iterator[None]:
    """Ask to stop on the first Ctrl-C, SIGTERM, or SIGHUP of a terminal that is closed; quit at once on the second.

    Within this context the first signal calls `stop`, in the loop; the second ends the process there and then. A first
    SIGTERM that `terminate` answers with True is none of these two, nor is any SIGHUP that `hangup` answers so.
    The same signal within `SAME_SIGNAL_SECONDS` is the first once more: `timeout`, and a shell whose terminal is
    closed, send it to the process and to its group.
    """
    loop = asyncio.get_running_loop()
    asked = False
    last = (0, 0.0)  # the signal, and when it came

    def on_signal(number: int) -> None:
        nonlocal asked, terminate, last
        if number == _HANGUP and hangup is not None and not asked and hangup():
            return
        before, at = last
        if number == before and loop.time() - at < limits.SAME_SIGNAL_SECONDS:
            return
        last = int(number), loop.time()
        if number == signal.SIGTERM and terminate is not None and not asked:
            takes_it, terminate = terminate, None
            if takes_it():
                return
        if asked:
            os._exit(exit_code)
        asked = True
        stop()

    before = {number: signal.getsignal(number) for number in SIGNALS}
    if before.get(_HANGUP) == signal.SIG_IGN:
        del before[_HANGUP]  # `nohup`
    for number in before:
        try:
            loop.add_signal_handler(number, on_signal, number)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda number, _frame: loop.call_soon_threadsafe(on_signal, number))
    try:
        yield
    finally:
        for number, handler in before.items():
            with suppress(NotImplementedError):
                loop.remove_signal_handler(number)
            signal.signal(number, handler)

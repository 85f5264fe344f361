"""Ctrl-C, SIGTERM, and SIGHUP of a terminal that is closed: the first asks to stop, the second quits at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)

_HANGUP: Final = getattr(signal, "SIGHUP", None)  # not on Windows


@contextmanager
def on_signals(stop: Callable[[], object], *, exit_code: int = 0) -> Iterator[None]:
    """Within this context the first signal calls `stop`, in the loop; the second ends the process there and then."""
    loop = asyncio.get_running_loop()
    asked = False

    def signalled() -> None:
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
            loop.add_signal_handler(number, signalled)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(signalled))
    try:
        yield
    finally:
        for number, handler in before.items():
            with suppress(NotImplementedError):
                loop.remove_signal_handler(number)
            signal.signal(number, handler)

"""Ctrl-C and SIGTERM: the first asks to stop, the second quits at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


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

    before = [signal.getsignal(number) for number in SIGNALS]
    for number in SIGNALS:
        try:
            loop.add_signal_handler(number, signalled)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(signalled))
    try:
        yield
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            with suppress(NotImplementedError):
                loop.remove_signal_handler(number)
            signal.signal(number, handler)

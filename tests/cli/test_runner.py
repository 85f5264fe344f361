"""Signals of commands that stay: the first asks them to end, a second one ends them at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from ssbfast import limits
from ssbfast.cli import runner

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals to a process")


def taken(monkeypatch: pytest.MonkeyPatch, *numbers: int, drains: bool = False) -> list[str]:
    """Return what became of signals that came at the same time."""
    found: list[str] = []
    monkeypatch.setattr(os, "_exit", lambda _code: found.append("quit"))

    def drain() -> bool:
        found.append("drain")
        return True

    async def run() -> None:
        terminate = drain if drains else None
        with runner.on_signals(lambda: found.append("stop"), terminate=terminate, hangup=lambda: bool(found)):
            for number in numbers:
                os.kill(os.getpid(), number)
            await asyncio.sleep(0.05)

    asyncio.run(run())
    return found[:2]  # `os._exit` returns here


def test_a_signal_to_the_process_and_to_its_group_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SAME_SIGNAL_SECONDS", 3600.0)
    assert taken(monkeypatch, signal.SIGTERM, signal.SIGTERM) == ["stop"]
    assert taken(monkeypatch, signal.SIGHUP, signal.SIGHUP) == ["stop"]
    assert taken(monkeypatch, signal.SIGTERM, signal.SIGTERM, drains=True) == ["drain"]


def test_another_signal_and_a_later_one_quit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert taken(monkeypatch, signal.SIGTERM, signal.SIGINT) == ["stop", "quit"]
    monkeypatch.setattr(limits, "SAME_SIGNAL_SECONDS", 0.0)
    assert taken(monkeypatch, signal.SIGINT, signal.SIGINT) == ["stop", "quit"]
    assert taken(monkeypatch, signal.SIGTERM, signal.SIGTERM, drains=True) == ["drain", "stop"]

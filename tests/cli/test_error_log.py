"""Errors of the program itself: few short lines on stderr, without addresses, whoever causes how many."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssbfast import limits
from ssbfast.cli.error_log import ErrorLog, short_errors
from tests.helpers.processes import Running
from tests.helpers.room_processes import room_processes

SECRET = "192.0.2.77"


@given(st.lists(st.tuples(st.floats(0, 50), st.sampled_from("abc")), max_size=200))
def test_a_kind_is_told_once_a_minute_and_none_is_forgotten(steps: list[tuple[float, str]]) -> None:
    log, now = ErrorLog(), 0.0
    told: dict[str, list[float]] = {}
    counted: dict[str, int] = {}
    waiting: dict[str, int] = {}
    for seconds, kind in steps:
        now += seconds
        waiting[kind] = waiting.get(kind, 0) + 1
        if (count := log.count(kind, now)) is not None:
            told.setdefault(kind, []).append(now)
            counted[kind] = counted.get(kind, 0) + count
            assert count == waiting.pop(kind)
    for times in told.values():
        assert all(after - before >= limits.LOG_ERROR_SECONDS for before, after in pairwise(times))
    for kind in {kind for _, kind in steps}:
        happened = sum(one == kind for _, one in steps)
        assert counted[kind] + waiting.get(kind, 0) == happened


def test_there_are_only_so_many_kinds() -> None:
    log = ErrorLog()
    assert sum(log.count(kind, 0.0) is not None for kind in range(10_000)) == limits.LOG_ERROR_KINDS + 1
    assert log.count(3, limits.LOG_ERROR_SECONDS) == 1
    assert log.count(9999, limits.LOG_ERROR_SECONDS) == 10_000 - limits.LOG_ERROR_KINDS


# ---------------------------------------------------------------- what becomes of them


def raised(error: BaseException) -> BaseException:
    """With a trace of the stack."""
    try:
        raise error
    except BaseException as caught:
        return caught


def by_the_loop(message: str, error: BaseException | None, **more: Any) -> None:
    context = {"message": message, "exception": error, "socket": f"<socket raddr=('{SECRET}', 5)>", **more}
    asyncio.get_running_loop().call_exception_handler(context)


def in_a_thread(error: BaseException) -> None:
    def fail() -> None:
        raise error

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()


class Falling:
    def __del__(self) -> None:
        raise ValueError(SECRET)


def fall() -> None:
    Falling()
    gc.collect(0)  # what has just been made; all generations take a tenth of a second


def log_of_library(message: str, *args: object) -> None:
    logging.getLogger("library").warning(message, *args)


REFUSED = OSError(errno.EMFILE, os.strerror(errno.EMFILE), SECRET)
CAUSES: list[tuple[Callable[[], None], str]] = [
    (
        lambda: by_the_loop("socket.accept() out of system resource", REFUSED),
        "ssbfast: socket.accept() out of system resource: OSError, too many open files",
    ),
    (
        lambda: by_the_loop(f"Exception in callback <f({SECRET})>", raised(ValueError(SECRET))),
        "ssbfast: Exception in callback: ValueError at test_error_log.py:",
    ),
    (lambda: by_the_loop("", None), "ssbfast: an error inside"),
    (
        lambda: by_the_loop("Task was destroyed but it is pending!", None),
        "ssbfast: Task was destroyed but it is pending",
    ),
    (lambda: by_the_loop(f"\x1b[31m\n{SECRET}", None), "ssbfast: an error inside"),
    (lambda: in_a_thread(ValueError(SECRET)), "ssbfast: a thread failed: ValueError at test_error_log.py:"),
    (fall, "ssbfast: an error that nothing can catch: ValueError at test_error_log.py:"),
    (lambda: log_of_library(f"to {SECRET}"), "ssbfast: warning of library at test_error_log.py:"),
    (lambda: log_of_library("to %s", SECRET), "ssbfast: warning of library at test_error_log.py:"),
    (lambda: logging.getLogger("asyncio").error(SECRET, exc_info=REFUSED), "ssbfast: error of asyncio at "),
]


@pytest.fixture
def quiet_pytest() -> Iterator[None]:
    """pytest has hooks and handlers of its own, which count what they see as failures."""
    hooks = threading.excepthook, sys.unraisablehook
    handlers = logging.getLogger().handlers[:]
    logging.getLogger().handlers[:] = []
    yield
    threading.excepthook, sys.unraisablehook = hooks
    logging.getLogger().handlers[:] = handlers


@pytest.mark.usefixtures("quiet_pytest")
@pytest.mark.parametrize(("cause", "text"), CAUSES)
async def test_ten_thousand_are_one_short_line(
    cause: Callable[[], None], text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with short_errors():
        for _ in range(200 if cause in (fall, CAUSES[5][0]) else 10_000):
            cause()
    err = capfd.readouterr().err
    assert err.startswith(text)
    assert err.count("\n") == 1 and len(err) < 200
    assert SECRET not in err and "Traceback" not in err


@pytest.mark.usefixtures("quiet_pytest")
async def test_afterwards_all_is_as_before(capfd: pytest.CaptureFixture[str]) -> None:
    before = threading.excepthook, sys.unraisablehook, logging.getLogger().handlers[:]
    with short_errors():
        assert threading.excepthook is not before[0]
    assert (threading.excepthook, sys.unraisablehook, logging.getLogger().handlers) == before


# ---------------------------------------------------------------- in programs


def connections(port: int, count: int, stack: contextlib.ExitStack) -> None:
    for _ in range(count):
        with contextlib.suppress(OSError):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")
def test_connect_without_file_descriptors_says_so_once(tmp_path: Path) -> None:
    """asyncio alone prints a trace of the stack for each of the 100 in its backlog, every second."""
    with room_processes(tmp_path) as place, contextlib.ExitStack() as stack:
        place.friends("a", "c")
        room = place.room()
        arguments = ("connect", str(place.id("a")), "--data", str(place.path("c")), "--room", place.address())
        prefix = ("prlimit", "--nofile=40:40")
        with Running(*arguments, "--bind", "127.0.0.1:0", "--json", "--path", "tunnel", prefix=prefix) as program:
            port = int(program.event("bound")["bind"].rpartition(":")[2])
            program.event("waiting")  # in the room, and without a target
            connections(port, 80, stack)
            while not program.has_complained:
                assert program.process.poll() is None
                time.sleep(0.01)
            stack.close()
            program.process.terminate()
            assert program.wait() == 0
            assert program.stderr.count("\n") <= 1 and len(program.stderr) < 200
            assert "Traceback" not in program.stderr
        room.process.terminate()
        assert room.wait() == 0

"""The limit of open files: raised as far as the system allows, by each command that stays."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from ssbfast.cli.open_files import raise_file_limit
from tests.helpers.processes import Running
from tests.helpers.rooms import feed

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")

INFINITY = -1


class Limits(SimpleNamespace):
    """A module `resource` of a system that knows better. most: what the soft limit may be."""

    RLIMIT_NOFILE = 7
    RLIM_INFINITY = INFINITY

    def __init__(self, soft: int, hard: int, most: int) -> None:
        super().__init__()
        self.now, self.most = (soft, hard), most

    def getrlimit(self, number: int) -> tuple[int, int]:
        return self.now

    def setrlimit(self, number: int, wanted: tuple[int, int]) -> None:
        soft, hard = wanted
        if soft == INFINITY or soft > self.most:
            raise ValueError("current limit exceeds maximum limit")
        assert hard == self.now[1]
        self.now = wanted


@pytest.mark.parametrize(
    ("soft", "hard", "most", "then"),
    [
        (1024, 4096, 4096, 4096),
        (1024, 1 << 30, 1 << 30, 1 << 30),
        (4096, 4096, 4096, 4096),
        (256, INFINITY, 10_240, 10_240),  # macOS
        (256, INFINITY, 100_000, 65_536),
        (20_000, INFINITY, 30_000, 20_000),  # never lowered
        (256, 4096, 100, 256),
        (INFINITY, INFINITY, 0, INFINITY),
    ],
)
def test_as_far_as_it_goes(soft: int, hard: int, most: int, then: int, monkeypatch: pytest.MonkeyPatch) -> None:
    system = Limits(soft, hard, most)
    monkeypatch.setitem(sys.modules, "resource", system)
    raise_file_limit()
    assert system.now == (then, hard)


def test_without_the_module_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    raise_file_limit()


@pytest.fixture
def silent_room() -> Iterator[str]:
    """It accepts, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"net:127.0.0.1:{server.getsockname()[1]}~shs:{str(feed(1))[1:-8]}"


COMMANDS = {
    "room": ("--listen", "127.0.0.1:0"),
    "listen": ("--room", "ROOM", "--forward", "127.0.0.1:9", "--path", "tunnel"),
    "connect": (str(feed(2)), "--room", "ROOM", "--bind", "127.0.0.1:0", "--path", "tunnel"),
    "attendants": ("--room", "ROOM"),
    "doctor": ("--room", "ROOM"),
    "demo": ("--path", "tunnel"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.slow
def test_each_command_that_stays(command: str, silent_room: str, tmp_path: Path) -> None:
    data = () if command == "demo" else ("--data", str(tmp_path))
    arguments = [silent_room if argument == "ROOM" else argument for argument in COMMANDS[command]]
    with Running(command, *data, *arguments, prefix=("prlimit", "--nofile=200:1000")) as program:
        limit = (0, 0)
        while limit != (1000, 1000):
            assert program.process.poll() is None, program.stderr
            with contextlib.suppress(psutil.NoSuchProcess):
                limit = psutil.Process(program.process.pid).rlimit(psutil.RLIMIT_NOFILE)
        if command == "demo":
            (child, *_) = program.children(1)
            assert child.rlimit(psutil.RLIMIT_NOFILE) == (1000, 1000)
        program.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.wait()

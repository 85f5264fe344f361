"""Stores of peers, and other processes that use them."""

from __future__ import annotations

import os
import random
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ssbfast.room.denials import Batch, Denial
from ssbfast.room.tunnel_auth import Reason
from ssbfast.store.peer_store import FILE
from tests.helpers.rooms import feed

RANDBELOW = random.Random(1).randrange
posix_only = pytest.mark.skipif(os.name != "posix", reason="permissions and signals of POSIX")


def batch(*denials: Denial) -> Batch:
    out = Batch(RANDBELOW)
    for denial in denials:
        out.add(denial)
    return out


def refusal(who: int, known: bool = False) -> Denial:
    return Denial(feed(1000), feed(who), Reason.STRANGER, float(who), known)


def snapshot(data: Path) -> dict[str, tuple[bytes, int, int]]:
    """Names, contents, permissions and times of everything in a directory."""
    found = {}
    for path in sorted(data.iterdir()):
        status = path.stat()
        found[path.name] = (path.read_bytes(), stat.S_IMODE(status.st_mode), status.st_mtime_ns)
    return found


def raw(data: Path, *statements: str) -> None:
    connection = sqlite3.connect(data / FILE, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def other_process(code: str, *args: str) -> subprocess.Popen[str]:
    """Another Python that runs `code` with ours: `store` and `feed` are there, and it says "ready" first."""
    head = (
        "import sys, os\n"
        "from ssbfast.store.peer_store import Store\n"
        "from tests.helpers.rooms import feed\n"
        "store = Store(sys.argv[1])\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", head + code, *args],
        cwd=Path(__file__).parent.parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line(process: subprocess.Popen[str]) -> str:
    if process.stdout is None:
        raise LookupError
    return process.stdout.readline().strip()


def go(process: subprocess.Popen[str]) -> None:
    if process.stdin is None:
        raise LookupError
    process.stdin.write("\n")
    process.stdin.flush()

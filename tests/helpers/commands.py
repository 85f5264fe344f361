"""What tests of the commands say again and again."""

from __future__ import annotations

import contextlib
import io
import subprocess
from pathlib import Path
from typing import Any

from ssbfast.cli import group
from ssbfast.store.peer_store import FILE, Store
from tests.helpers.processes import without_time
from tests.helpers.stores import raw, snapshot

BAD_IDS = ("", "@", "nobody", "@AAAA.ed25519", "@" + "A" * 42 + "B=.ed25519", "@" + "A" * 43 + "=.sha256")


def assert_unusable(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """One line on stderr, exit code 2."""
    assert (done.returncode, done.stdout) == (2, ""), done
    assert done.stderr.startswith("ssbfast: ")
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


def run_here(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command that ends at once in this process: a tenth of what a process costs. One at a time."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = group.run(arguments)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def succeed(*arguments: str) -> str:
    """What a command prints that has to succeed. It runs in this process, as `run_here`."""
    done = run_here(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def events(*arguments: str) -> list[dict[str, Any]]:
    """What a command prints with `--json`, without the times. It runs in this process, as `run_here`."""
    return printed(run_here(*arguments, "--json"))


def printed(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """The events that a command has printed that has to have succeeded, without the times."""
    assert (done.returncode, done.stderr) == (0, "")
    return [without_time(line) for line in done.stdout.splitlines()]


def failed(done: subprocess.CompletedProcess[str], code: int, kind: str, *words: str) -> None:
    """One line on stderr, and the same as the last event on stdout."""
    assert done.returncode == code, done
    event = without_time(done.stdout.splitlines()[-1])
    assert (event["event"], event["kind"], event["code"]) == ("error", kind, code)
    assert f"ssbfast: {event['message']}"[:100] in done.stderr
    for word in words:
        assert word in event["message"]


def make_newer(data: Path) -> dict[str, tuple[bytes, int, int]]:
    """A store that a later version has written; its directory as it has to stay."""
    Store(data).close()
    raw(data, "PRAGMA user_version = 99")
    assert (data / FILE).exists()
    return snapshot(data)

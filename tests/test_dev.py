"""`./dev test` says what it will do before it does it, uses all cores, and lets the caller's options win."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(
    not (ROOT / "dev").exists() or not shutil.which("dirname") or not shutil.which("find"),
    reason="a shell script of the clone and its tools",
)

TOOL = '#!/bin/sh\necho "$(basename "$0") $*"\n'
PYTHON = f"""#!/bin/sh
case $1 in
-c) exec {sys.executable} "$@" ;;
*) echo "$PYTEST_XDIST_AUTO_NUM_WORKERS workers: $*" ;;
esac
"""


def run(place: Path, *words: str, **environment: str) -> tuple[list[str], str]:
    """`./dev` in a clone whose tools only say how they were called; stdout's lines, stderr."""
    done = subprocess.run(
        ["sh", str(place / "dev"), *words],
        env={**{name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}, **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


@pytest.fixture
def place(tmp_path: Path) -> Path:
    tools = tmp_path / ".venv" / "bin"
    tools.mkdir(parents=True)
    (tmp_path / "csrc").mkdir()
    shutil.copy(ROOT / "dev", tmp_path)
    for name in ("pyproject.toml", "setup.py"):
        (tmp_path / name).touch()
    for name, text in {"ruff": TOOL, "mypy": TOOL, "python": PYTHON}.items():
        (tools / name).write_text(text, encoding="utf-8")
        (tools / name).chmod(0o755)
    (tmp_path / ".venv" / "installed-room,dev").touch()  # newer than what decides about the installation
    return tmp_path


def test_all_cores_are_used_and_the_time_is_told_first(place: Path) -> None:
    (ruff, form, mypy, tests), said = run(place, "test")
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    assert (ruff, form, mypy.strip()) == ("ruff check .", "ruff format --check --quiet .", "mypy")
    assert tests == f"{cores + 1} workers: -m pytest --numprocesses auto --dist worksteal"
    assert "all tests: " in said and " minutes on " in said
    assert "Quick: ./dev check (" in said


def test_check_runs_the_tests_that_are_not_slow(place: Path) -> None:
    (ruff, form, mypy, tests), said = run(place, "check")
    assert (ruff, form, mypy.strip()) == ("ruff check .", "ruff format --check --quiet .", "mypy")
    assert tests.endswith(": -m pytest --numprocesses auto --dist worksteal -m not slow")
    assert "the quick tests: " in said


def test_options_that_are_given_come_last_and_win(place: Path) -> None:
    (*_, tests), said = run(place, "test", "-n0", "tests/wire", "-k", "a b", PYTEST_XDIST_AUTO_NUM_WORKERS="7")
    assert tests == "7 workers: -m pytest --numprocesses auto --dist worksteal -n0 tests/wire -k a b"
    assert "pytest -n0 tests/wire" in said
    assert " minutes " not in said, "nobody knows how long some take"


def test_the_time_of_the_last_run_is_told(place: Path) -> None:
    for command in ("check", "test"):
        run(place, command)
    assert run(place, "test")[1].count(" minutes the last time here") == 2

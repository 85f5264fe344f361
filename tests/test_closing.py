"""What a run says at its end, with and without workers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.closing import GROUPS, SkipGroup, skipped_lines

ROOT = Path(__file__).parent.parent
TESTS = """
import pytest
from tests.helpers.require import require

@pytest.mark.parametrize("n", range(3))
def test_lab(n):
    require("nat", False, "needs Linux, root, /dev/net/tun, nft")

def test_compiler():
    require("clang", False)

@pytest.mark.skipif(True, reason="a reason of its own")
def test_else():
    pass

def test_takes_long():
    pass

@pytest.mark.slow
def test_takes_long_and_says_so():
    pass
"""
CONFTEST = """
import pytest
from tests.helpers import closing

def pytest_runtest_logreport(report):
    if report.when == "call" and "long" in report.nodeid:
        report.duration += 100.0

def pytest_terminal_summary(terminalreporter):
    closing.summarize(terminalreporter)
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_reasons_become_a_line_each_and_say_how(workers: str, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS, encoding="utf-8")
    (tmp_path / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow: slow\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", workers, "-p", "no:cacheprovider", "-p", "no:randomly", "test_it.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SSBFAST_REQUIRE": "", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    nat = next(line for line in lines if line.startswith("3 tests need root, /dev/net/tun"))
    assert nat.endswith(": sudo ./dev test tests/nat")
    assert any(line.startswith("1 test needs clang: ") for line in lines)
    assert "1 test needs a reason of its own" not in lines
    assert "1 test: a reason of its own" in lines
    assert [line.split()[-1] for line in lines if " s test_it.py::" in line] == ["test_it.py::test_takes_long"]


def test_a_run_without_skips_says_nothing() -> None:
    assert skipped_lines([]) == []


def test_the_largest_group_comes_first() -> None:
    lines = skipped_lines(["clang is not available", *["node is not available: npm"] * 2])
    assert [line.split()[0] for line in lines] == ["2", "1"]


@pytest.mark.parametrize("group", GROUPS, ids=[group.needs for group in GROUPS])
def test_what_a_group_tells_to_run_exists(group: SkipGroup) -> None:
    """Paths of tests in the advice."""
    assert [
        word for word in group.how.split() if word.startswith("tests/") and not (ROOT / word.rstrip(";")).exists()
    ] == []

"""The originals' own test files, pointed at our packages.

They are not in this repository: SSBFAST_ORIGINAL_TESTS names a directory with unpacked sources of the originals (those
that `./dev originals` fetches, clones of their successors). Each directory in it that has `test_*.py` files is run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.require import require

ROOT = Path(__file__).parent.parent.parent
PLACE = os.environ.get("SSBFAST_ORIGINAL_TESTS", "")
FILES = Path(PLACE).rglob("test_*.py") if PLACE else ()
SUITES = sorted({path.parent for path in FILES if path.parent.name != "examples"})


def run(place: Path, suite: Path) -> str:
    """Run copies of a suite's files in a package of their own, beside no package that they test."""
    package = place / "suite"
    package.mkdir()
    (package / "__init__.py").touch()
    for path in suite.glob("*.py"):
        if path.name == "helpers.py" or path.name.startswith("test_"):
            shutil.copy(path, package)
    (place / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.helpers.originals", "suite"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    return done.stdout


@pytest.mark.parametrize("suite", SUITES or [None], ids=lambda suite: suite and str(suite.relative_to(PLACE)))
def test_they_pass(suite: Path | None, tmp_path: Path) -> None:
    require("originals", suite is not None, "SSBFAST_ORIGINAL_TESTS names no directory with test files")
    assert suite is not None
    assert re.search(r"\d+ passed", run(tmp_path, suite))


def test_the_runner_can_fail(tmp_path: Path) -> None:
    """It runs our packages, and a failure is one."""
    suite = tmp_path / "theirs"
    suite.mkdir()
    (suite / "test_x.py").write_text(
        "import secret_handshake, ssb.muxrpc, ssb_client.util\n"
        "from asynctest import patch\n"
        "def test_ours(event_loop):\n"
        "    assert secret_handshake.SHSClient.__module__.startswith('ssbfast.')\n"
    )
    assert "1 passed" in run(tmp_path, suite)
    shutil.rmtree(tmp_path / "suite")
    (suite / "test_y.py").write_text("def test_no():\n    raise SystemError\n")
    with pytest.raises(AssertionError, match="SystemError"):
        run(tmp_path, suite)

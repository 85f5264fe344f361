"""The plain Python backend under the same shell: the tests of splices and tunnels once more, in another process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssbfast import native

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(native.BACKEND == "pure", reason="this run is it")
@pytest.mark.parametrize("module", ["tests/net/test_relayed_tunnel.py", "tests/net/test_tunnel_transport.py"])
def test_plain_python_moves_the_same_bytes(module: str) -> None:
    done = subprocess.run(
        (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", module),
        cwd=ROOT,
        env={**os.environ, "SSBFAST_BACKEND": "pure"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout

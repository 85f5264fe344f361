"""The security tests once more under `python -O`, which drops every `assert` that is not rewritten by pytest.

Code that checked a peer's bytes with `assert` would let everything pass there, and a test helper that asserts would
test nothing: the canary in this file shows that helpers still bite. It runs in both interpreters.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.plain_assert import insist

ROOT = Path(__file__).parent.parent
MARK = "SSBFAST_TEST_OPTIMIZED"
SECURITY = (
    "tests/test_keys.py",
    "tests/wire/test_curve.py",
    "tests/wire/test_handshake.py",
    "tests/wire/test_handshake_refusals.py",
    "tests/wire/test_handshake_machine.py",
    "tests/wire/test_box_stream.py",
    "tests/wire/test_pairing.py",
    "tests/wire/test_words.py",
    "tests/client/test_pairing.py",
    "tests/wire/direct/carriers/test_records.py",
    "tests/wire/direct/carriers/test_session.py",
    "tests/wire/direct/carriers/test_timers.py",
    "tests/wire/direct/test_signaling.py",
    "tests/wire/direct/test_keys.py",
    "tests/wire/direct/punch/test_candidates.py",
    "tests/wire/direct/punch/test_probes.py",
    "tests/wire/direct/punch/test_attempt.py",
    "tests/compat/test_boxstream.py",
    "tests/compat/test_crypto.py",
    "tests/compat/test_network.py",
    "tests/compat/test_packet_stream.py",
    "tests/compat/test_muxrpc.py",
    "tests/test_optimized.py",
)


def test_asserts_of_helpers_bite() -> None:
    with pytest.raises(AssertionError, match="the canary sings"):
        insist(False)


@pytest.mark.skipif(MARK not in os.environ, reason="belongs to the run under -O")
def test_the_interpreter_drops_other_asserts() -> None:
    assert sys.flags.optimize == 1
    code = compile("assert False", "plain", "exec")
    exec(code)


@pytest.mark.skipif(MARK in os.environ, reason="would start itself")
@pytest.mark.slow
def test_security_tests_pass_under_dash_o(tmp_path: Path) -> None:
    command = [sys.executable, "-O", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-W", "ignore::pytest.PytestConfigWarning", *SECURITY]
    environment = {**os.environ, MARK: "1", "SSBFAST_TEST_QUICK": "1", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None and int(passed[1]) > 300

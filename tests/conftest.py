"""What all tests share: backends to choose from, and how thorough the random ones are."""

from __future__ import annotations

import os
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

from ssbfast import native, pure

pytest.register_assert_rewrite("tests.helpers")

QUICK = os.environ.get("SSBFAST_TEST_QUICK") == "1"
"""Set by tests/mutants: each mutant runs the same tests with fewer rounds."""

settings.register_profile("full", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.register_profile(
    "quick", parent=settings.get_profile("full"), max_examples=20, derandomize=True, database=None
)
settings.load_profile("quick" if QUICK else "full")


@pytest.fixture(params=[native, pure], ids=["native", "pure"])
def core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Each backend in turn; the protocols of `ssbfast.wire` stand on it as well."""
    backend: ModuleType = request.param
    for protocol in ("box_stream", "packet_stream"):
        monkeypatch.setattr(f"ssbfast.wire.{protocol}.native", backend)
    return backend


@pytest.fixture
def rounds() -> int:
    """By how much the quick run divides its work."""
    return 8 if QUICK else 1

"""What the tests of direct paths share: the engine that paths go on with after the handshake."""

from __future__ import annotations

import sys

import pytest

ENGINES = ("aioquic", "native")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have honest ends go on with this one. `only` takes one out for a test that looks inside the other."""
    name: str = request.param
    if name == "native" and sys.version_info >= (3, 11):
        from ssbfast.direct.quic_engine import HAS_ENGINE

        if not HAS_ENGINE:
            pytest.skip("there is no engine on this machine")
    monkeypatch.setenv("SSBFAST_DIRECT", name)
    return name

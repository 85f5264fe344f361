"""`require(name, present)`: skips a test whose outside help is not there, unless the run insists on it."""

from __future__ import annotations

import os

import pytest


def require(name: str, present: bool, why: str = "") -> None:
    """Skip unless `present`; fail instead if SSBFAST_REQUIRE (names with commas) lists `name`."""
    if present:
        return
    text = f"{name} is not available{': ' + why if why else ''}"
    if name in os.environ.get("SSBFAST_REQUIRE", "").replace(",", " ").split():
        pytest.fail(text)
    pytest.skip(text)

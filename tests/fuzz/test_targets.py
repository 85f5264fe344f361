"""The fuzz targets build, and get through some inputs on every path: they must not rot between campaigns."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.__main__ import TARGETS, build, find_clang, fuzz, paths
from tests.helpers.require import require

RUNS = 300


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("clang", find_clang() is not None)
    folder = tmp_path_factory.mktemp("fuzz")
    build(folder, list(TARGETS))
    return folder


@pytest.mark.parametrize("target", TARGETS)
def test_some_inputs(built: Path, target: str) -> None:
    for path in paths(target):
        assert fuzz(built, target, path, f"-runs={RUNS}"), path

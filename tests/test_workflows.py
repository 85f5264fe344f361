"""The workflows say what they mean: valid, harmless, and building for each platform that is promised."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.require import require
from tests.test_docs import PAGES

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted(str(path) for path in (ROOT / ".github" / "workflows").glob("*.yml"))
PLATFORMS = {
    ("linux", "x86_64"): ["manylinux_x86_64", "musllinux_x86_64"],
    ("linux", "aarch64"): ["manylinux_aarch64", "musllinux_aarch64"],
    ("macos", "x86_64"): ["macosx_x86_64"],
    ("macos", "arm64"): ["macosx_arm64"],
    ("windows", "AMD64"): ["win_amd64"],
    ("windows", "ARM64"): ["win_arm64"],
}


def run(tool: str, *words: str, **environment: str) -> str:
    """A program of this environment; its stdout. It has to succeed."""
    program = Path(sys.executable).with_name(tool)
    require(tool, program.exists(), "extra `dev`, from Python 3.11 on")
    done = subprocess.run(
        [program, *words], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_they_are_what_the_schema_asks_for() -> None:
    assert len(WORKFLOWS) >= 2
    run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS)


def test_an_auditor_finds_nothing() -> None:
    run("zizmor", "--offline", "--no-progress", *WORKFLOWS)


@pytest.mark.parametrize("place", PLATFORMS, ids="-".join)
def test_what_is_built(place: tuple[str, str]) -> None:
    """One wheel for all CPythons with a global lock and one for free-threaded ones, on each platform."""
    platform, architecture = place
    said = run("cibuildwheel", "--platform", platform, "--archs", architecture, "--print-build-identifiers")
    wanted = [f"{python}-{name}" for python in ("cp310", "cp314t") for name in PLATFORMS[place]]
    assert sorted(said.split()) == sorted(wanted)


def test_pages_that_tests_read_are_where_wheels_are_tested() -> None:
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert [page for page in ("README.md", *PAGES) if f'"{page}"' not in settings] == []


def test_each_page_can_be_found_in_the_documentation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [path.name for path in ROOT.glob("*.md") if f": {path.name}\n" not in navigation] == []


@pytest.mark.parametrize("place", PLATFORMS, ids="-".join)
def test_each_platform_has_a_machine(place: tuple[str, str]) -> None:
    text = (ROOT / ".github" / "workflows" / "wheels.yml").read_text(encoding="utf-8")
    assert f"platform: {place[0]}, arch: {place[1]}, os: " in text

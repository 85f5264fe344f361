"""The workflows say what they mean: valid, harmless, and building for each platform that is promised."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.require import require
from tests.test_docs import PAGES

ROOT = Path(__file__).parent.parent
GITHUB = ROOT / ".github"
WORKFLOWS = sorted(str(path) for path in (GITHUB / "workflows").glob("*.yml"))
WHEELS = (GITHUB / "workflows" / "wheels.yml").read_text(encoding="utf-8")
SETTINGS = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
REQUIREMENTS = sorted((GITHUB / "requirements").glob("*.txt"))
PLATFORMS = {
    ("linux", "x86_64"): ["manylinux_x86_64", "musllinux_x86_64"],
    ("linux", "aarch64"): ["manylinux_aarch64", "musllinux_aarch64"],
    ("macos", "x86_64"): ["macosx_x86_64"],
    ("macos", "arm64"): ["macosx_arm64"],
    ("windows", "AMD64"): ["win_amd64"],
    ("windows", "ARM64"): ["win_arm64"],
}
BUILDS = {"linux": ["manylinux", "musllinux"], "macos": ["macosx"], "windows": ["win"]}
"""What the jobs of a platform build: the beginnings of PLATFORMS' names."""


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
    assert {Path(name).stem for name in WORKFLOWS} >= {"ci", "fuzz", "wheels"}
    run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS)
    run("check-jsonschema", "--builtin-schema", "vendor.dependabot", str(GITHUB / "dependabot.yml"))


def test_an_auditor_finds_nothing() -> None:
    run("zizmor", "--offline", "--no-progress", str(GITHUB))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda name: Path(name).stem)
def test_actions_are_pinned_by_commit(workflow: str) -> None:
    used = re.findall(r"uses: (.*)", Path(workflow).read_text(encoding="utf-8"))
    assert used
    assert [name for name in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[0-9.]+", name)] == []


def test_release_jobs_install_nothing_but_what_is_pinned_by_hash() -> None:
    assert re.findall(r"\b(?:pipx|npx|curl|uvx?)\b", WHEELS) == []
    lines = re.findall(r"pip install .*", WHEELS + SETTINGS.partition("[tool.cibuildwheel]")[2])
    pinned = [line for line in lines if re.search(r"--require-hashes -r \S*\.github/requirements/\w+\.txt", line)]
    assert len(pinned) >= 4
    # What is left is the wheel that was built, with what it asks for, where it is tested and nothing is published.
    assert [line for line in lines if line not in pinned and "--only-binary=:all:" not in line] == []


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.stem)
def test_requirements_have_versions_and_hashes(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    wanted = path.with_suffix(".in").read_text(encoding="utf-8")
    blocks = [block for block in re.split(r"\n(?=\S)", text) if not block.startswith("#")]
    assert [block for block in blocks if not re.match(r"[\w.-]+==\S+.*\n +--hash=sha256:[0-9a-f]{64}", block)] == []
    names = {re.match(r"[\w.-]+", block)[0] for block in blocks}  # type: ignore[index]
    assert {line for line in wanted.split("\n") if line and not line.startswith("#")} <= names
    assert "://" not in text


@pytest.mark.parametrize("place", PLATFORMS, ids="-".join)
def test_what_is_built(place: tuple[str, str]) -> None:
    """One wheel for all CPythons with a global lock and one for free-threaded ones, on each platform."""
    platform, architecture = place
    (chosen,) = re.findall(r"CIBW_BUILD: (.*)", WHEELS)
    oldest = "cp311" if place == ("windows", "ARM64") else "cp310"  # the first that has a wheel of cffi
    built = []
    for build in ["", *BUILDS[platform]]:
        words = ("--platform", platform, "--archs", architecture, "--print-build-identifiers")
        settings = {"CIBW_BUILD": chosen.replace("${{ matrix.build }}", build)} if build else {}
        built.append(run("cibuildwheel", *words, **settings).split())
    wanted = sorted(f"{python}-{name}" for python in (oldest, "cp314t") for name in PLATFORMS[place])
    assert sorted(built[0]) == wanted
    assert sorted(name for names in built[1:] for name in names) == wanted  # each by one job


def test_pages_that_tests_read_are_where_wheels_are_tested() -> None:
    (sources,) = re.findall(r"^test-sources = (.*)", SETTINGS, re.M)
    assert {page.partition("/")[0] for page in PAGES} <= set(re.findall(r'"([^"]+)"', sources))


def test_each_page_can_be_found_in_the_documentation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [*(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")), "CHANGELOG.md"]
    assert [page for page in pages if f": {page}\n" not in navigation] == []


@pytest.mark.parametrize("place", PLATFORMS, ids="-".join)
def test_each_platform_has_a_machine(place: tuple[str, str]) -> None:
    for build in BUILDS[place[0]]:
        assert WHEELS.count(f"platform: {place[0]}, arch: {place[1]}, build: {build}, os: ") == 1


def _job(name: str) -> str:
    found = re.search(rf"^  {name}:\n((?:    .*\n|\n)+)", WHEELS, re.M)
    assert found, name
    return found[1]


def test_a_red_platform_blocks_nothing_but_publishing() -> None:
    assert "fail-fast: false" in _job("wheels")
    for name in ("newer", "check"):
        assert "if: ${{ !cancelled() }}" in _job(name)
    assert "needs: [sdist, wheels, check, newer]" in _job("attest")
    assert "needs: attest" in _job("publish") and "cancelled()" not in _job("attest") + _job("publish")


def test_wheels_are_tested_with_what_there_is_everywhere() -> None:
    """matplotlib has no wheels for musl on ARM; whatever draws is skipped without it."""
    (extra,) = re.findall(r"^test = \[\n(.*?)^\]", SETTINGS, re.M | re.S)
    assert "pytest" in extra and "matplotlib" not in extra
    assert 'test-extras = ["web", "test"]' in SETTINGS


def test_wheels_are_not_tested_by_attacks() -> None:
    for command in re.findall(r"^test-command = \"(.*)\"", SETTINGS, re.M) + re.findall(r"run: (.*pytest.*)", WHEELS):
        assert "--ignore=tests/hostile" in command or " tests " not in f" {command} "
    assert '"tests/hostile": ' in (ROOT / "tests" / "wheel" / "trying.py").read_text(encoding="utf-8")


def test_what_an_index_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}
    monkeypatch.setattr("setuptools.setup", lambda **words: made.update(words))
    runpy.run_path(str(ROOT / "setup.py"))
    text = made["long_description"]
    links = re.findall(r"\]\(([^)]+)\)", text)
    (version,) = re.findall(r'^version = "(.+)"$', SETTINGS, re.M)
    (source,) = re.findall(r'^Source = "(https://.+)"$', SETTINGS, re.M)
    assert len(links) > 10 and [link for link in links if not link.startswith("https://")] == []
    assert {
        f"{source}/blob/v{version}/{name}" for name in ("docs/howto/tunnel-a-service.md", ".github/CONTRIBUTING.md")
    } <= set(links)
    assert made["long_description_content_type"] == "text/markdown" and 'dynamic = ["readme"]' in SETTINGS
    assert [word for word in ("Documentation", "Changelog", "Issues") if f'\n{word} = "https://' not in SETTINGS] == []
    assert '"Programming Language :: Python :: 3.14"' in SETTINGS and "\nauthors = [" in SETTINGS

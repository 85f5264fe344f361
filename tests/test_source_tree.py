"""A program in a clone: whatever it imports there, it is told when that is not what is installed, or slow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import _cffi_backend
import nacl
import pytest

import ssbfast
from ssbfast import native

PACKAGE = Path(ssbfast.__file__).parent
SLOW = "RuntimeWarning: ssbfast runs without its C core, slowly: "
PROGRAM = "import ssbfast\nfrom ssbfast import native, RoomServer\nprint(ssbfast.__file__)\nprint(native.BACKEND)\n"
QUIET_PROGRAM = "import ssbfast\nprint(ssbfast.__file__)\n"


def core() -> Path:
    found = [file for suffix in EXTENSION_SUFFIXES if (file := PACKAGE / f"_native{suffix}").exists()]
    if not found:
        pytest.skip("the C core is not built")
    return found[0]


@dataclass
class Place:
    """A clone without a built core, a site-packages without ssbfast, and one with all that ssbfast needs."""

    clone: Path
    site: Path
    needed: Path

    def build(self) -> None:
        shutil.copy(core(), self.clone / "ssbfast")

    def install(self) -> None:
        """As a wheel does it: the package with its core, and no sources of the core."""
        shutil.copytree(PACKAGE, self.site / "ssbfast", ignore=shutil.ignore_patterns("__pycache__", "_native*"))
        shutil.copy(core(), self.site / "ssbfast")

    def run(self, program: str = PROGRAM, folder: Path | None = None, *options: str, backend: str = "") -> list[str]:
        """Run a program that is saved in the clone; what it prints, stderr last."""
        file = (folder or self.clone) / "program.py"
        file.write_text(program, encoding="utf-8")
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
            "PYTHONPATH": os.pathsep.join([str(self.site), str(self.needed)]),
            "SSBFAST_BACKEND": backend,
        }
        done = subprocess.run(
            [sys.executable, "-S", *options, str(file)],  # no .pth: an editable installation is not there
            env=environment, cwd=folder or self.clone, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0 or options, done.stderr
        return [*done.stdout.splitlines(), done.stderr]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    clone, site, needed = tmp_path / "clone", tmp_path / "site-packages", tmp_path / "needed"
    (clone / "csrc").mkdir(parents=True)
    site.mkdir()
    needed.mkdir()
    for folder in {Path(nacl.__file__).parent.parent, Path(_cffi_backend.__file__).parent}:
        for entry in folder.iterdir():
            if "ssbfast" not in entry.name:
                (needed / entry.name).symlink_to(entry)
    (clone / "csrc" / "build_ffi.py").touch()
    shutil.copytree(PACKAGE, clone / "ssbfast", ignore=shutil.ignore_patterns("__pycache__", "_native*"))
    yield Place(clone, site, needed)


@pytest.mark.parametrize("program", [PROGRAM, QUIET_PROGRAM], ids=["that uses it", "that only imports it"])
def test_a_clone_without_core_that_hides_what_is_installed(place: Place, program: str) -> None:
    place.install()
    file, *_, said = place.run(program)
    assert Path(file).is_relative_to(place.clone)
    first = said.splitlines()[0]
    assert f"program.py:1: {SLOW}{place.clone} is a source tree" in first
    assert f"hides {place.site / 'ssbfast'}" in first
    assert "move the program out of the tree" in first
    assert said.count(SLOW) == 1, "told once"


def test_a_clone_without_core_and_nothing_installed(place: Place) -> None:
    *_, backend, said = place.run()
    assert backend == "pure"
    assert f"program.py:1: {SLOW}{place.clone} is a source tree" in said
    assert "`./dev setup`" in said
    assert "hides" not in said
    assert said.count(SLOW) == 1, "told once"


def test_a_clone_with_core_that_hides_what_is_installed(place: Place) -> None:
    place.build()
    place.install()
    file, backend, said = place.run()
    assert Path(file).is_relative_to(place.clone)
    assert backend != "pure"
    assert f"program.py:1: RuntimeWarning: ssbfast is imported from the source tree {place.clone}" in said
    assert f"not from {place.site / 'ssbfast'}" in said
    assert SLOW not in said


def test_a_clone_with_core_and_nothing_installed_is_quiet(place: Place) -> None:
    place.build()
    _, backend, said = place.run()
    assert (backend != "pure", said) == (True, "")


def test_a_program_elsewhere_uses_what_is_installed_quietly(place: Place, tmp_path: Path) -> None:
    place.install()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    file, backend, said = place.run(folder=elsewhere)
    assert Path(file).is_relative_to(place.site)
    assert (backend != "pure", said) == (True, "")


def test_who_asks_for_the_pure_package_is_not_warned_of_it(place: Place) -> None:
    _, backend, said = place.run(backend="pure")
    assert (backend, said) == ("pure", "")


def test_where_warnings_are_errors_the_import_fails(place: Place) -> None:
    (said,) = place.run(PROGRAM, None, "-W", "error")
    assert "RuntimeWarning: ssbfast runs without its C core" in said


@pytest.mark.skipif(native.BACKEND == "pure", reason="there is no core to fail")
def test_a_core_in_the_clone_that_cannot_be_loaded_is_told(place: Place) -> None:
    (place.clone / "ssbfast" / core().name).write_bytes(b"no library")
    _, backend, said = place.run()
    assert (backend, said.count(SLOW)) == ("pure", 1)

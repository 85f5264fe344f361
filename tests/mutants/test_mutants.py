"""Each mutant of the C core is built and has to turn some test red; the core as it is has to stay green.

The whole core is compiled once; a mutant costs one file and a link. Its tests run in a process and a tree of their
own: a copy of the package and of the tests beside the mutated extension.
"""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from ssbfast import native
from tests.mutants.table import KERNEL_FILES, MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
CC = shlex.split(sysconfig.get_config_var("CC") or "")
LINK = shlex.split(sysconfig.get_config_var("LDSHARED") or "")
FLAGS = ["-std=c11", "-O1", "-fPIC", "-DPy_LIMITED_API=0x030A0000", f"-I{sysconfig.get_paths()['include']}"]
TESTS = ["tests/test_engine.py", "tests/wire/test_box_stream.py", "tests/test_backends.py"]
SECONDS = 30.0

pytestmark = [
    pytest.mark.mutants,
    pytest.mark.timeout(4 * SECONDS),
    pytest.mark.skipif(sys.platform == "win32" or not CC or not shutil.which(CC[0]), reason="needs a Unix compiler"),
]


class Bench:
    """A tree in which the core can be exchanged."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self.csrc = tree / "csrc"
        skip = shutil.ignore_patterns("_native*", "__pycache__", "mutants", "interop", "net", "app", "room", "c")
        shutil.copytree(ROOT / "csrc", self.csrc)
        shutil.copytree(ROOT / "ssbfast", tree / "ssbfast", ignore=skip)
        shutil.copytree(ROOT / "tests", tree / "tests", ignore=skip)
        shutil.copy(ROOT / "pyproject.toml", tree)
        builder = runpy.run_path(str(self.csrc / "build_ffi.py"))["ffibuilder"]
        builder.emit_c_code(str(self.csrc / "_native.c"))
        self.objects = {source.name: self._compile(source) for source in sorted(self.csrc.glob("*.c"))}

    def _compile(self, source: Path, text: str | None = None) -> Path:
        if text is not None:
            source = source.with_name(f"mutant_{source.name}")
            source.write_text(text, encoding="utf-8")
        target = source.with_suffix(".o")
        subprocess.run([*CC, *FLAGS, f"-I{self.csrc}", "-c", source, "-o", target], check=True, capture_output=True)
        return target

    def build(self, mutant: Mutant | None) -> None:
        """Put the extension, with the mistake, beside the package."""
        objects = dict(self.objects)
        if mutant is not None:
            source = self.csrc / mutant.file
            text = source.read_text(encoding="utf-8")
            assert text.count(mutant.old) == 1, f"{mutant.name}: its text occurs {text.count(mutant.old)} times"
            objects[mutant.file] = self._compile(source, text.replace(mutant.old, mutant.new))
        target = self.tree / "ssbfast" / "_native.abi3.so"
        target.unlink(missing_ok=True)  # a new file: the old one may still be mapped
        subprocess.run([*LINK, *objects.values(), "-o", target], check=True, capture_output=True)

    def test(self, backend: str = "") -> tuple[str, str]:
        """Run the tests: "green", "red", "crash", "hang" or "broken", and what they said."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-k", "not pure", *TESTS]
        environment = {
            **os.environ,
            "SSBFAST_TEST_QUICK": "1",
            "SSBFAST_BACKEND": backend,
            "PYTHONPATH": str(self.tree),
        }
        try:
            done = subprocess.run(
                command, cwd=self.tree, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return "hang", ""
        said = done.stdout + done.stderr
        if "the self-test of" in said:  # found at import already
            return "red", said
        outcome = {0: "green", 1: "red"}.get(done.returncode, "crash" if done.returncode < 0 else "broken")
        return outcome, said


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("mutants"))


def test_the_core_as_it_is_stays_green(bench: Bench) -> None:
    bench.build(None)
    outcome, said = bench.test()
    assert outcome == "green", said
    found = re.search(r"(\d+) passed", said)
    assert found and int(found[1]) > 150, said


def identify(mutant: Mutant) -> str:
    return f"{mutant.backend or 'any'}-{mutant.name.replace(' ', '-')}"


@pytest.mark.parametrize("mutant", MUTANTS, ids=identify)
def test_a_mutant_is_noticed(bench: Bench, mutant: Mutant) -> None:
    if mutant.backend and mutant.backend not in native.available():
        pytest.skip(f"it shows on {mutant.backend}, which this machine does not offer")
    bench.build(mutant)
    outcome, said = bench.test(mutant.backend)
    assert outcome in ("red", "crash", "hang"), f"{mutant.name}: {outcome}\n{said[-3000:]}"


@pytest.mark.parametrize("mutant", MUTANTS, ids=identify)
def test_a_mutant_of_a_kernel_names_its_backend(mutant: Mutant) -> None:
    """Else it is tried on the best path of the machine, which may never come to the mistake."""
    if mutant.backend or mutant.file in KERNEL_FILES:
        assert mutant.backend in KERNEL_FILES.get(mutant.file, ("portable",))


def test_every_kernel_is_known() -> None:
    files = {file.name for pattern in ("blocks_*.c", "poly1305*.c") for file in (ROOT / "csrc").glob(pattern)}
    assert files <= set(KERNEL_FILES)


def test_there_are_enough_mutants() -> None:
    assert len(MUTANTS) >= 20
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)

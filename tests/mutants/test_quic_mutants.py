"""Each mutant of the QUIC engine is built into the C tests of the engine, one of which has to turn red.

A mutant costs one file and as many links as there are test programs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.require import require
from tests.mutants.quic_table import MUTANTS
from tests.mutants.table import Mutant

ROOT = Path(__file__).resolve().parents[2]
CSRC, TESTS = ROOT / "csrc", ROOT / "tests" / "c"
FLAGS = ["-std=c11", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{CSRC}"]
PROGRAMS = ("recovery", "rules", "congestion", "frames", "lending", "hostile", "abuse")

pytestmark = [
    pytest.mark.mutants,
    pytest.mark.skipif(sys.platform == "win32" or not shutil.which("gcc"), reason="needs gcc"),
]


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "probe.c").write_text("#include <sodium.h>\nint main(void) { return sodium_init() < 0; }\n")
        found = self._gcc(folder / "probe.c", "-lsodium", "-o", folder / "probe")
        require("libsodium", found, "its header and library, and the compiler's sanitizers")
        self.objects = {source.name: self._compile(source) for source in sorted(CSRC.glob("*.c"))}
        self.programs = [self._compile(TESTS / f"test_quic_{name}.c") for name in PROGRAMS]

    def _gcc(self, *arguments: object) -> bool:
        return subprocess.run(["gcc", *FLAGS, *map(str, arguments)], capture_output=True, check=False).returncode == 0

    def _compile(self, source: Path) -> Path:
        target = self.folder / f"{source.stem}.o"
        assert self._gcc("-w", f"-I{source.parent}", "-c", source, "-o", target), f"{source.name} does not compile"
        return target

    def is_noticed(self, mutant: Mutant | None) -> bool:
        """Return whether a test turns red, crashes or hangs."""
        objects = dict(self.objects)
        if mutant is not None:
            text = (CSRC / mutant.file).read_text(encoding="utf-8")
            assert text.count(mutant.old) == 1, f"{mutant.name}: its text occurs {text.count(mutant.old)} times"
            source = self.folder / f"mutant_{mutant.file}"
            source.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
            objects[mutant.file] = self._compile(source)
        for program in self.programs:
            target = self.folder / "program"
            assert self._gcc(program, *objects.values(), "-lsodium", "-lm", "-o", target)
            try:
                if subprocess.run([target], capture_output=True, timeout=20, check=False).returncode != 0:
                    return True
            except subprocess.TimeoutExpired:
                return True
        return False


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("quic"))


def test_the_engine_as_it_is_stays_green(bench: Bench) -> None:
    assert not bench.is_noticed(None)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_mutant_is_noticed(bench: Bench, mutant: Mutant) -> None:
    assert bench.is_noticed(mutant), mutant.name


def test_mutants_have_names_of_their_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 50

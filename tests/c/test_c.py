"""Compile the C core with its tests, warnings as errors and sanitizers on, and run them once with each compiler.

SSBFAST_REQUIRE may list gcc, clang, libsodium and valgrind: what is missing then fails instead of being skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers.require import require

HERE = Path(__file__).parent
CSRC = HERE.parent.parent / "csrc"
BACKENDS = ("libsodium", "portable", "neon", "sse2", "avx2", "avx512")
NOT_HERE = 77
PROGRAMS = sorted(path.stem for path in HERE.glob("test_*.c"))
COMPILERS = {
    "gcc": ("gcc",),
    "clang": ("clang", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14"),
}
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wcast-qual", "-Wvla", "-Werror"]
INCLUDE = ["-I", str(CSRC), "-I", str(HERE)]
CORE = [str(source) for source in sorted(CSRC.glob("*.c"))]
SECRETS = [*WARNINGS, "-include", str(HERE / "secrets.h"), *INCLUDE, str(HERE / "test_secrets.c"), *CORE]
WIPED = [str(HERE / "test_wiped.c"), *CORE]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]


@pytest.fixture(scope="module", params=list(COMPILERS))
def compiler(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Return the compiler's path, and the core compiled by it."""
    name: str = request.param
    path = next((found for candidate in COMPILERS[name] if (found := shutil.which(candidate))), None)
    require(name, path is not None)
    assert path is not None
    folder = tmp_path_factory.mktemp(name)
    probe = folder / "probe.c"
    probe.write_text("#include <sodium.h>\nint main(void) { return sodium_init() < 0; }\n", encoding="utf-8")
    done = subprocess.run(
        [path, *SANITIZERS, str(probe), "-lsodium", "-o", str(folder / "probe")], capture_output=True, check=False
    )
    require("libsodium", done.returncode == 0, "its header and library, and the compiler's sanitizers")
    run([path, "-std=c11", "-g", "-O1", "-c", *WARNINGS, *SANITIZERS, *CORE], folder)
    return path, folder


def run(command: list[str], folder: Path, backend: str = "") -> None:
    """Run a test program. backend: read by the programs, see check.h."""
    environment = {**os.environ, "SSBFAST_BACKEND": backend}
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=100, check=False, env=environment
    )
    if done.returncode == NOT_HERE:
        pytest.skip(f"this machine does not offer {backend}")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_program(compiler: tuple[str, Path], program: str, backend: str) -> None:
    run([str(build(compiler, program))], compiler[1], backend)


def test_a_kernel_that_is_left_out_is_none(compiler: tuple[str, Path]) -> None:
    """SSBFAST_WITHOUT, as in ssbfast.native."""
    program = build(compiler, "test_kernels")
    for names, code in (("sse2,portable", NOT_HERE), ("portable", NOT_HERE), ("portable2,port", 0), ("", 0)):
        environment = {**os.environ, "SSBFAST_BACKEND": "portable", "SSBFAST_WITHOUT": names}
        assert subprocess.run([program], env=environment, timeout=100, check=False).returncode == code


def build(compiler: tuple[str, Path], program: str) -> Path:
    path, folder = compiler
    objects = [str(folder / f"{Path(source).stem}.o") for source in CORE]
    source = str(HERE / f"{program}.c")
    flags = ["-std=c11", "-g", "-O1", *WARNINGS, *SANITIZERS]
    if not (folder / program).exists():
        run([path, *flags, *INCLUDE, source, *objects, "-lsodium", "-lm", "-o", program], folder)
    return folder / program


@pytest.mark.parametrize("backend", ["portable", "neon", "sse2", "avx2"])
def test_no_secret_decides(compiler: tuple[str, Path], backend: str) -> None:
    """Constant time, as far as valgrind sees: keys and texts are undefined memory, on which nothing may depend."""
    path, folder = compiler
    valgrind = shutil.which("valgrind")
    require("valgrind", valgrind is not None)
    assert valgrind is not None
    program = folder / "secrets"
    if not program.exists():
        flags = ["-std=c11", "-gdwarf-4", "-O2", "-DSSB_VALGRIND"]
        run([path, *flags, *SECRETS, "-lsodium", "-o", program.name], folder)
    run([valgrind, "-q", "--error-exitcode=9", str(program)], folder, backend)


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_no_secret_decides_on_any_path(compiler: tuple[str, Path], backend: str) -> None:
    """The same holds for clang's memory sanitizer, which knows AVX-512."""
    path, folder = compiler
    if "clang" not in Path(path).name:
        pytest.skip("gcc has no memory sanitizer")
    program = folder / "poisoned"
    if not program.exists():
        sanitize = ["-fsanitize=memory", "-fno-sanitize-memory-param-retval", "-DSSB_MSAN"]
        flags = ["-std=c11", "-g", "-O2", *sanitize]
        run([path, *flags, *SECRETS, "-lsodium", "-o", program.name], folder)
    run([str(program)], folder, backend)


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_nothing_secret_stays(compiler: tuple[str, Path], backend: str) -> None:
    """In the stack, by the compiler's settings that the package is built with."""
    path, folder = compiler
    program = folder / "wiped"
    if not program.exists():
        # Bound at once: to bind a name at its first call puts all registers on the stack.
        flags = ["-std=c11", "-O3", "-DSSB_LOOK", "-D_GNU_SOURCE", "-pthread", "-Wl,-z,now", *WARNINGS]
        run([path, *flags, *INCLUDE, *WIPED, "-lsodium", "-o", program.name], folder)
    run([str(program)], folder, backend)


def test_no_writable_globals(compiler: tuple[str, Path]) -> None:
    """The core keeps no state of its own: nothing lies in a writable section."""
    path, folder = compiler
    nm = shutil.which("nm")
    require("nm", nm is not None)
    assert nm is not None
    plain = folder / "plain"
    plain.mkdir()
    run([path, "-std=c11", "-O2", "-fPIC", "-c", *CORE], plain)
    objects = sorted(str(found) for found in plain.glob("*.o"))
    symbols = subprocess.run([nm, *objects], capture_output=True, text=True, check=True).stdout
    writable = [line for line in symbols.splitlines() if len(line.split()) == 3 and line.split()[1] in "bBdDcCsSgG"]
    assert not writable

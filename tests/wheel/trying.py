"""A wheel in a fresh environment of each CPython of this machine, without a compiler: the project's tests run there."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.wheel.making import ROOT, Failure, run

MODULES = Path("tests/interop/js/node_modules")
OLDEST = (3, 10)
COMPILERS = ("cc", "gcc", "clang", "clang-14", "tcc", "c99", "c++", "g++", "clang++", "ld", "as")
TOOLS = ("env", "sh", "ip", "node", "npm", "mount", "umount", "prlimit")
"""All that PATH offers in these environments; JavaScript peers, networks, small disks and small limits need them."""

LEFT_OUT = {
    "tests/cli/test_completion.py": "runs shells, the same for every Python",
    "tests/cli/test_first_minutes.py": "runs a shell on terminals, the same for every Python",
    "tests/cli/test_service_commands.py": "runs systemd's tools, the same for every Python",
    "tests/test_recipes.py": "runs sshd, git and others, the same for every Python",
    "tests/interop": "runs peers and proxies of others, the same for every Python",
    "tests/browser": "looks at pages in a browser; the same for every Python",
    "tests/c": "compiles the core by itself",
    "tests/fuzz": "compiles the core by itself",
    "tests/nat": "compiles its routers; the same processes as elsewhere, behind NATs",
    "tests/hostile": "attacks a room for minutes; the same for every Python",
    "tests/mutants": "compiles the core with mistakes in it",
    "tests/packaging": "reads packaging, the same for every Python",
    "tests/test_backends.py": "compares the core with plain Python, the same for every Python",
    "tests/test_docstrings.py": "reads the package's sources, not what is installed",
    "tests/test_floors.py": "reads the package's sources, not what is installed",
    "tests/test_workflows.py": "reads .github, the same for every Python",
    "tests/wire/direct/carriers/test_model.py": "thousands of schedules without I/O, the same for every Python",
}
SMOKE = (
    "tests/test_readme.py",
    "tests/test_keys.py",
    "tests/test_engine.py",
    "tests/wire/test_handshake.py",
    "tests/wire/test_box_stream.py",
    "tests/net/test_stream.py",
    "tests/net/test_tunnel_transport.py",
    "tests/server/test_room_server.py",
    "tests/server/web/test_invite_pages.py",
    "tests/store/test_room_store.py",
    "tests/cli/test_connect.py",
    "tests/compat/test_programs.py",
)
"""What the Pythons between the oldest and the newest run: whatever breaks there alone breaks in import or here."""

WORKERS = str((os.cpu_count() or 1) + 1)  # one more than processors: many tests wait for processes and clocks

IMPORT_SECONDS = 0.150
FALLBACK_TESTS = ("tests/wire/test_box_stream.py", "tests/wire/test_packet_stream.py", "tests/wire/test_handshake.py")
ABOUT = "import json, platform, sys; print(json.dumps([platform.python_implementation(), *sys.version_info[:3]]))"
INSTALLED = "import ssbfast; from ssbfast import native; print(ssbfast.__file__); print(native.BACKEND)"
IMPORT_ALL = """
import importlib, pkgutil, sys, warnings, ssbfast
from ssbfast.errors import DirectUnavailableError, MissingExtraError
warnings.filterwarnings("ignore", "Python 3.10 support will be dropped", DeprecationWarning)  # acme's
for module in pkgutil.walk_packages(ssbfast.__path__, "ssbfast."):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except (DirectUnavailableError, MissingExtraError):  # both are for Python 3.11 on
        if sys.version_info >= (3, 11):
            raise
"""
IMPORT_TIME = "import time; t = time.perf_counter(); import ssbfast; print(time.perf_counter() - t)"


def pythons() -> Iterator[Path]:
    """Every CPython from 3.10 that PATH or pyenv has: one for each minor version, the newest of it first."""
    names = [f"python3.{minor}" for minor in range(OLDEST[1], 30)] + ["python3", "python"]
    found = [Path(there) for name in names if (there := shutil.which(name))]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found += [path for version in sorted(pyenv.glob("*")) if (path := version / "bin" / "python3").exists()]
    best: dict[tuple[int, int], tuple[int, Path]] = {}
    for candidate in found:
        done = subprocess.run([candidate, "-c", ABOUT], capture_output=True, text=True, check=False)
        if done.returncode:
            continue  # pyenv's shims answer for versions that are not chosen, too
        name, major, minor, micro = json.loads(done.stdout)
        if name == "CPython" and (major, minor) >= OLDEST and micro >= best.get((major, minor), (0,))[0]:
            best[major, minor] = (micro, candidate)
    yield from (chosen for _, (_, chosen) in sorted(best.items()))


def spent() -> float:
    """Seconds of processor time of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Place:
    """A fresh environment with the wheel in it, and the tests beside it, without the package's sources."""

    def __init__(self, folder: Path, python: Path, wheel: Path, archive: Path) -> None:
        self.folder = folder
        self.tree = folder / "tree"
        self.python = folder / "venv" / "bin" / "python"
        folder.mkdir(parents=True)
        shutil.unpack_archive(archive, folder / "sources", "gztar")
        (folder / "sources").joinpath(archive.name.removesuffix(".tar.gz")).rename(self.tree)
        shutil.rmtree(self.tree / "ssbfast")
        if (ROOT / MODULES).exists():  # the JavaScript peers' packages are not installed anew for each Python
            (self.tree / MODULES).symlink_to(ROOT / MODULES)
        bin = folder / "bin"
        bin.mkdir()
        for name in TOOLS:
            if there := shutil.which(name):
                (bin / name).symlink_to(there)
        self.path = os.pathsep.join([str(self.python.parent), str(bin)])
        if compilers := [name for name in COMPILERS if shutil.which(name, path=self.path)]:
            raise Failure(f"there is a compiler: {', '.join(compilers)}")
        run(python, "-m", "venv", folder / "venv")
        self.run("-m", "pip", "install", "--quiet", "--only-binary", ":all:", f"{wheel}[tls,direct,upnp,test]")

    def environment(self) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "CC"))
        }
        return {**kept, "PATH": self.path, "SSBFAST_TEST_QUICK": "1"}

    def run(self, *words: str | Path) -> str:
        return run(self.python, *words, cwd=self.tree, environment=self.environment())

    def test(self, *words: str, interpreter: tuple[str, ...] = ()) -> str:
        """Run tests; what pytest's last line says."""
        said = self.run(*interpreter, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words)
        return said.strip().splitlines()[-1]

    def installed(self) -> None:
        """The package comes out of the environment, with its core, and imports quietly and quickly."""
        file, backend = self.run("-c", INSTALLED).split()
        if "site-packages" not in Path(file).parts or not Path(file).is_relative_to(self.folder):
            raise Failure(f"ssbfast comes from {file}")
        if backend == "pure":
            raise Failure("the wheel runs without its C core")
        for options in (["-W", "error"], ["-O", "-W", "error"], ["-OO"], ["-bb", "-X", "dev", "-W", "error"]):
            self.run(*options, "-c", IMPORT_ALL)
        times = [float(self.run("-c", IMPORT_TIME)) for _ in range(7)]
        print(f"  backend {backend}; import {statistics.median(times) * 1000:.0f} ms, at best {min(times) * 1000:.0f}")
        if min(times) > IMPORT_SECONDS:
            raise Failure(f"importing ssbfast took {min(times):.3f} s at best")

    def without_core(self) -> None:
        """A core that is cut off, then one that is missing: announced, and plain Python gives the same."""
        (core,) = (self.folder / "venv").glob("lib/*/site-packages/ssbfast/_native*.so")
        core.write_bytes(core.read_bytes()[: core.stat().st_size // 2])
        self.fallback("cut off")
        core.unlink()
        self.fallback("missing")

    def fallback(self, how: str) -> None:
        said = self.run("-c", INSTALLED)
        if "RuntimeWarning: ssbfast runs without its C core" not in said or not re.search(r"^pure$", said, re.M):
            raise Failure(f"core {how}: {said}")
        quiet = "ignore:ssbfast runs without its C core:RuntimeWarning"
        print(f"  core {how}: announced;", self.test("-W", quiet, *FALLBACK_TESTS, interpreter=("-W", quiet)))


def try_all(folder: Path, wheel: Path, archive: Path, words: list[str]) -> None:
    """All of it on every Python. words: what pytest is given instead of all tests."""
    for name, why in LEFT_OUT.items():
        print(f"not there: {name} ({why})")
    print(f"all tests with the oldest and the newest Python; between them: {', '.join(SMOKE)}")
    tested = list(pythons())
    for python in tested:
        print(python, flush=True)
        before = spent()
        place = Place(folder / python.parent.parent.name, python, wheel, archive)
        place.installed()
        in_full = python in (tested[0], tested[-1])
        options = ["-n", WORKERS, "--dist", "worksteal", *(f"--ignore={name}" for name in LEFT_OUT)]
        print(" ", place.test(*options, *(words or (["tests"] if in_full else SMOKE))), flush=True)
        if in_full:
            place.without_core()
        print(f"  {spent() - before:.0f} s of processor time", flush=True)
    if not tested:
        raise Failure("no CPython from 3.10 on this machine")

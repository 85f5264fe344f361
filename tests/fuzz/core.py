"""The targets of the C core: built with clang's libFuzzer, address sanitizer and undefined-behaviour sanitizer."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from ssbfast import native
from tests.fuzz.running import ROOT, Job

HERE: Final = Path(__file__).parent
SOURCES: Final = ROOT / "csrc"
TARGETS: Final = ("seal", "open", "scanner", "link", "quic", "handover")
ENGINE: Final = ("quic", "handover")
"""Those of the QUIC engine, which has small pages and sets then, and null protection: quic_small.h, quic_null.h."""

CLANGS: Final = ("clang", *(f"clang-{version}" for version in range(22, 13, -1)))
ADDRESS: Final = "-fsanitize=address"
SANITIZE: Final = f"{ADDRESS},undefined"
# Compares of sizes and counters tell the fuzzer nothing, and cost half of the time.
FLAGS: Final = ("-std=c11", "-g", "-O2", "-fno-sanitize-recover=all", "-fno-sanitize-coverage=trace-cmp")
REPLACED: Final = ("kernel", "blocks_*", "poly1305*", "quic_*")
"""What null_crypto.h stands in for in the link's target, and what a link does without."""

OTHERS: Final = ("box_batch", "box_stream")
"""For `seal` and `open` to cover; the link's target does not count what happens there."""


def paths(target: str) -> tuple[str, ...]:
    """On which kernels a target runs; "" where there is nothing to choose."""
    found = tuple(name for name in native.available() if name != "pure")
    return found[:-1] if target in ("seal", "open") else ("",)


def find_clang() -> str | None:
    return next((path for name in CLANGS if (path := shutil.which(name))), None)


def build(folder: Path, targets: Sequence[str], sources: Path = SOURCES) -> None:
    """Compile the core once, then each target, into `folder`."""
    clang = find_clang()
    if clang is None:
        raise SystemExit("fuzz: needs clang (Debian, Ubuntu: apt install clang libclang-rt-14-dev libsodium-dev)")
    include = [f"-I{place}" for place in (sources, ROOT / "tests" / "c", HERE)]

    def compile(sanitize: str, place: Path, *words: str) -> None:
        place.mkdir(exist_ok=True)
        subprocess.run([clang, *FLAGS, sanitize, *include, *words], cwd=place, check=True)

    if engine := [target for target in targets if target in ENGINE]:
        small = ("-include", str(HERE / "quic_small.h"), "-c")
        files = [source for source in sorted(sources.glob("quic_*.c")) if source.stem != "quic_packets"]
        compile(f"{SANITIZE},fuzzer-no-link", folder / "engine", *small, *map(str, files))
        for target in engine:
            compile(ADDRESS, folder / "engine", *small, str(HERE / f"fuzz_{target}.c"))
            words = (f"fuzz_{target}.o", *(f"{source.stem}.o" for source in files), "-lsodium", "-o", f"../{target}")
            compile(f"{SANITIZE},fuzzer", folder / "engine", *words)
    if not (targets := [target for target in targets if target not in ENGINE]):
        return
    core = sorted(sources.glob("*.c"))
    for_link = [source for source in core if not any(source.match(f"{name}.c") for name in REPLACED)]
    wanted = for_link if list(targets) == ["link"] else core
    compile(f"{SANITIZE},fuzzer-no-link", folder, "-c", *map(str, wanted))
    for target in targets:
        objects = {source.stem: folder / f"{source.stem}.o" for source in (for_link if target == "link" else core)}
        if target == "link":
            compile(ADDRESS, folder / "others", "-c", *(str(sources / f"{name}.c") for name in OTHERS))
            objects |= {name: folder / "others" / f"{name}.o" for name in OTHERS}
        # The fuzzer's own work is as much as the core's: of it, only where it writes is watched.
        compile(f"{ADDRESS},fuzzer-no-link", folder, "-c", str(HERE / f"fuzz_{target}.c"))
        words = (f"fuzz_{target}.o", *map(str, objects.values()), "-lsodium", "-o", target)
        compile(f"{SANITIZE},fuzzer", folder, *words)


def jobs(folder: Path, targets: Iterable[str]) -> list[Job]:
    """Return a job for each target and path. folder: where they were built."""
    return [_job(folder, target, path) for target in targets for path in paths(target)]


def _job(folder: Path, target: str, path: str) -> Job:
    # Longer inputs make longer runs, which find no more; choices of what to try next cost a tenth of a run or more.
    options = ("-max_len=300",) if target in ("seal", "open", "scanner") else ("-max_len=120", "-entropic=0")
    if target == "quic":
        options += (f"-dict={HERE / 'quic.dict'}",)
    environment = {"SSBFAST_BACKEND": path, "ASAN_OPTIONS": "quarantine_size_mb=4:detect_leaks=0"}
    return Job(target, (str(folder / target),), path, options, environment)

"""Fuzzes the C core and the parsers: `./dev fuzz [SECONDS] [--keep] [--corpus FOLDER] [TARGET ...]`.

SECONDS (60) are shared out between the targets; without TARGET these are all. The targets of the C core, seal, open,
scanner, link, quic and handover, need clang with its runtime, and libsodium with its header. Those of the parsers,
which `--list` names, need atheris (`pip install '.[fuzz]'`).

--keep           take inputs that reach something new over into tests/fuzz/corpus
--corpus FOLDER  where all inputs that were found are, and stay; what fails goes to FOLDER/findings
--list           name the targets

A run that fails leaves its input behind and tells its place.
"""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from tests.fuzz import core
from tests.fuzz.parsers import TARGETS as PARSERS
from tests.fuzz.running import Job, Outcome, merge, run

SHARE = 0.5
"""Of the time goes to the C core, if both are fuzzed."""


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev fuzz", usage="%(prog)s [SECONDS] [OPTIONS] [TARGET ...]")
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--keep", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--list", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("words", nargs="*", metavar="TARGET", help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    given.seconds = int(given.words.pop(0)) if given.words and given.words[0].isdigit() else 60
    if unknown := set(given.words) - {*core.TARGETS, *PARSERS}:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    return given


def parsers(names: list[str], *, wanted: bool) -> list[Job]:
    """Jobs of parsers. wanted: they were asked for by name."""
    if not names:
        return []
    if importlib.util.find_spec("atheris") is None:
        said = "the parsers' targets need atheris: .venv/bin/pip install '.[fuzz]'"
        if wanted:
            raise SystemExit(f"fuzz: {said}")
        print(f"fuzz: {said}; the suite runs them with hypothesis", flush=True)
        return []
    start = (sys.executable, "-m", "tests.fuzz.under_atheris")
    return [Job(name, (*start, name), options=("-max_len=400",)) for name in names]


def fuzz(job: Job, seconds: int, given: argparse.Namespace, folder: Path) -> bool:
    """Return whether nothing was found."""
    place: Path = given.corpus or folder / "found"
    found, findings = place / job.target, place / "findings"
    outcome = run(job, f"-max_total_time={seconds}", found.resolve(), findings.resolve())
    if isinstance(outcome, Outcome):
        print(f"fuzz: {outcome}", flush=True)
        if given.keep:
            print(f"fuzz: {job.name:20}{merge(job, found.resolve()):>12,} inputs kept", flush=True)
        return True
    print(outcome[-4000:])
    print(f"fuzz: {job.name} has found something; its input is in {findings}. Again: "
          f"{shlex.join(job.command)} INPUT", flush=True)  # fmt: skip
    return False


def main(words: list[str]) -> int:
    """The program's exit code."""
    given = parse(words)
    if given.list:
        print(*core.TARGETS, *PARSERS, sep="\n")
        return 0
    names = given.words or [*core.TARGETS, *PARSERS]
    folder = Path(tempfile.mkdtemp(prefix="ssbfast-fuzz-"))
    of_core = [name for name in core.TARGETS if name in names]
    if of_core:
        core.build(folder, of_core)
    here = core.jobs(folder, of_core)
    there = parsers([name for name in PARSERS if name in names], wanted=bool(given.words))
    share = SHARE if here and there else 1.0
    clean = [fuzz(job, max(1, int(given.seconds * share / len(here))), given, folder) for job in here]
    clean += [fuzz(job, max(1, int(given.seconds * share / len(there))), given, folder) for job in there]
    if not all(clean):
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""One fuzz target, run for a while by libFuzzer or atheris, which say the same things in the same way."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.fuzz.corpora import LONGEST, folder

ROOT: Final = Path(__file__).parent.parent.parent
OPTIONS: Final = ("-len_control=0", "-detect_leaks=0", "-reload=0", "-timeout=20")
_DONE: Final = re.compile(r"Done (\d+) runs")
_COVERAGE: Final = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)")


@dataclass(frozen=True)
class Job:
    """A target and how to start it. path: the kernel that it runs on, for its name; options: libFuzzer's."""

    target: str
    command: tuple[str, ...]
    path: str = ""
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.target}-{self.path}" if self.path else self.target

    def start(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the target with options and folders of libFuzzer, to its end."""
        command = [*self.command, *OPTIONS, *self.options, *words]
        return subprocess.run(
            command, cwd=ROOT, env={**os.environ, **self.environment}, capture_output=True, text=True, check=False
        )


@dataclass(frozen=True)
class Outcome:
    """What a run was. seconds: by the clock; cpu: of processor time. edges, features: libFuzzer's `cov` and `ft`."""

    job: Job
    runs: int
    seconds: float
    cpu: float
    edges: int
    features: int
    inputs: int

    def __str__(self) -> str:
        per_second, per_cpu = self.runs / self.seconds, self.runs / max(self.cpu, 0.001)
        return (
            f"{self.job.name:20}{self.runs:>12,} runs {per_second:>8,.0f}/s ({per_cpu:>8,.0f} a second of CPU)"
            f"   cov {self.edges:>5} ft {self.features:>6}   {self.inputs} inputs"
        )


def run(job: Job, until: str, found: Path, findings: Path) -> Outcome | str:
    """Fuzz. until: the option of libFuzzer that ends it. found: where new inputs go; what is there is used as well.

    findings: where an input goes that fails. Returns what a failing run said, if it failed.
    """
    for place in (found, findings, folder(job.target)):
        place.mkdir(parents=True, exist_ok=True)
    words = (until, f"-artifact_prefix={findings}/{job.name}-", str(found), str(folder(job.target)))
    begun, cpu = time.perf_counter(), _cpu()
    done = job.start(*words)
    seconds, cpu = time.perf_counter() - begun, _cpu() - cpu
    said = done.stdout + done.stderr
    runs = _DONE.search(said)
    if done.returncode or runs is None:
        return said
    edges, features, inputs = map(int, ([("0", "0", "0"), *_COVERAGE.findall(said)])[-1])
    return Outcome(job, int(runs[1]), seconds, cpu, edges, features, inputs)


def merge(job: Job, found: Path) -> int:
    """Keep those inputs of `found` that reach what no kept one does; how many."""
    kept = folder(job.target)
    kept.mkdir(parents=True, exist_ok=True)
    before = len(list(kept.iterdir()))
    # Without counters: how often an edge is passed would keep ten times as many.
    done = job.start("-merge=1", "-use_counters=0", f"-max_len={LONGEST}", str(kept), str(found))
    if done.returncode:
        raise SystemExit(f"fuzz: {job.name}: the inputs could not be merged\n{done.stderr[-2000:]}")
    return len(list(kept.iterdir())) - before


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

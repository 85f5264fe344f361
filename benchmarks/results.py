"""The report: every row of `targets.py` in one run, written to RESULTS.md.

    SSBFAST_PEERS=DIR python -m benchmarks.results [--quick] [--rows WORD,…] [--out FILE]

Each row checks its answers before it counts; contenders take turns; a ratio is the median of the ratios of each round.
Who is missing is named in the report. DIR holds PySecretHandshake (README.md), SSBFAST_PEER_GO_ROOM names the server
of go-ssb-room. About ten minutes; `--quick` takes two, and its figures are rough.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import rows_boxes, rows_quic, rows_rooms, rows_update, rows_web, targets
from benchmarks.measured import QUICK, Measure, Measured, Plan, digits, say
from benchmarks.processes import ROOT
from benchmarks.targets import ROWS, Row
from ssbfast import native
from ssbfast.cli.bench.contest import WrongAnswerError
from ssbfast.cli.bench.runner import machine

FILE: Final = ROOT / "benchmarks" / "RESULTS.md"

MEASURES: dict[Row, Measure] = {
    targets.IN_C: rows_boxes.in_c,
    targets.ONE_IN_C: rows_boxes.one_in_c,
    targets.NATIVE: rows_boxes.one_chunk,
    targets.BATCHED: rows_boxes.batched,
    targets.TO_JS: rows_boxes.to_others,
    targets.COMPAT: rows_boxes.old_classes,
    targets.HANDSHAKES: rows_rooms.handshakes,
    targets.RELAY: rows_rooms.relay,
    targets.BOUND: rows_rooms.bound,
    targets.ROOM: rows_rooms.rooms,
    targets.LATENCY: rows_rooms.latency,
    targets.IDLE: rows_rooms.idle,
    targets.STALLED: rows_rooms.stall,
    targets.WEB: rows_web.web,
    targets.UPDATE: rows_update.update,
    targets.QUIC: rows_quic.quic,
    targets.LOSSY: rows_quic.lossy,
}
"""Who measures what; `bench_rows.py` has a group for each."""

_INTRO: Final = """\
# Results

Written by `python -m benchmarks.results`; [README.md](README.md) tells how to run and to read it. Only ratios of one
run mean anything. Times are of CPU, with those on the clock in brackets; a ratio is the median of all rounds, with the
least and the largest in brackets.
"""


def commit() -> str:
    """The commit that was measured, and whether anything was changed since."""
    try:
        name = _git("rev-parse", "--short=12", "HEAD")
        changes = _git("status", "--porcelain", "--untracked-files=no", "--", ".", f":!{FILE.relative_to(ROOT)}")
    except (OSError, subprocess.CalledProcessError):
        return "no commit"
    return f"commit {name}, with changes" if changes else f"commit {name}"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def machine_lines(about: dict[str, Any], measured: str) -> list[str]:
    """Where the figures come from. measured: the commit."""
    others = [f"{name} {said}" for name in ("node", "go") if (said := _version(name))]
    return [
        f"{about['cpu']}, {about['cores']} cores, {about['system']}; Python {about['python']}, "
        f"ssbfast {about['ssbfast']} ({measured}), PyNaCl {about['pynacl']}"
        + "".join(f", {other}" for other in others)
        + ".",
        f"SIMD path {about['backend']}; this machine offers {', '.join(about['paths'])}.",
    ]


def _version(program: str) -> str | None:
    """What a program says of its version, in one word."""
    path = shutil.which(program)
    if path is None:
        return None
    words = {"go": ["version"]}.get(program, ["--version"])
    said = subprocess.run([path, *words], capture_output=True, text=True, check=False).stdout.split()
    return next((word for word in said if any(letter.isdigit() for letter in word)), None)


def report(found: dict[Row, list[Measured]], plan: Plan, about: dict[str, Any], measured: str) -> str:
    """The whole file."""
    rounds = f"{plan.rounds} rounds of contenders in processes of their own, {plan.turns} of the others."
    lines = [_INTRO, *machine_lines(about, measured), rounds, ""]
    lines += [f"Not there: {name} ({reason})." for name, reason in sorted(plan.absent.items())]
    lines += ["", "| row | targets reached |", "|---|---|"]
    lines += [f"| {row.name} | {_summary(some)} |" for row, some in found.items()]
    for row, some in found.items():
        lines += ["", *section(row, some)]
    return "\n".join(lines) + "\n"


def _summary(some: Sequence[Measured]) -> str:
    aimed = [one for one in some if one.target is not None]
    missed = [f"{one.case} {one.who}" for one in aimed if one.is_missed]
    if not aimed:
        return "nothing to compare with"
    return f"{len(aimed) - len(missed)} of {len(aimed)}" + (f"; missed: {'; '.join(missed)}" if missed else "")


def section(row: Row, some: Sequence[Measured]) -> list[str]:
    """One row as a table."""
    lines = [f"## {row.name[0].upper()}{row.name[1:]}", "", f"Baseline: {row.baseline}. Ratio: {row.figure}.", ""]
    lines += ["| case | who | ours | baseline | ratio | target | |", "|---|---|---|---|---|---|---|"]
    for one in some:
        middle, least, most = one.ratio
        verdict = "" if one.target is None else "**missed**" if one.is_missed else "reached"
        ratio = f"{digits(middle)} ({digits(least)}–{digits(most)})"
        cells = (one.case, one.who, one.ours, one.baseline, ratio, str(one.target or ""), verdict)
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def chosen(words: str) -> list[Row]:
    """Rows whose names hold one of these words, all for none. Raises SystemExit where one finds nothing."""
    wanted = [word.strip() for word in words.split(",") if word.strip()]
    for word in wanted:
        if not any(word in row.name for row in ROWS):
            raise SystemExit(f"no row is called {word!r}; there are: {', '.join(row.name for row in ROWS)}")
    return [row for row in ROWS if not wanted or any(word in row.name for word in wanted)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results", description="Measure all, write RESULTS.md.")
    parser.add_argument("--quick", action="store_true", help="one short round: rough figures")
    parser.add_argument("--rows", default="", help="only rows whose names hold one of these words")
    parser.add_argument("--out", type=Path, default=FILE, help="where to write (default: benchmarks/RESULTS.md)")
    options = parser.parse_args(arguments)
    if native.BACKEND == "pure":
        raise SystemExit("the C core is missing: there is nothing to measure")
    plan, measured = QUICK if options.quick else Plan(), commit()  # before anybody changes something meanwhile
    try:
        found = {row: list(MEASURES[row](plan)) for row in chosen(options.rows)}
    except WrongAnswerError as error:
        raise SystemExit(f"{error}: these figures mean nothing") from None
    options.out.write_text(report(found, plan, machine(), measured), encoding="utf-8")
    say(f"written to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

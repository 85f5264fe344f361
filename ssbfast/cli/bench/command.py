"""`ssbfast bench`: measure this machine, side by side with libsodium and with plain Python."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from ssbfast.cli.bench.runner import FULL, QUICK, BenchResult, machine, run
from ssbfast.cli.output import json_line


@click.command()
@click.option("--quick", is_flag=True, help="Fewer and shorter turns: seconds instead of a minute, and rougher.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line: the machine, then each result.")
@click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also draw the ratios by size, as .png or .svg (needs the extra `bench`).",
)
def bench(quick: bool, as_json: bool, plot: Path | None) -> int:
    """Measure the box stream, handshakes, the relay engine and calls, on each path that this machine offers.

    Contenders take turns, and every answer is checked before it is timed. A figure in a table is the work per second
    of CPU time; the ratio after it compares with libsodium (handshakes: with curve arithmetic alone) and is the median
    of all rounds. Only ratios of one run can be compared.

    \b
    Example:
      ssbfast bench --quick
    """
    if plot is not None:
        from ssbfast.cli.bench.plot import check

        check(plot)
    about = machine()
    if as_json:
        click.echo(json_line(about))
    else:
        click.echo(machine_line(about))
    results: list[BenchResult] = []
    with progress() as announce:
        for result in run(QUICK if quick else FULL, announce):
            results.append(result)
            if as_json:
                click.echo(json_line(result.as_json()))
    if not as_json:
        show(results)
    if plot is not None:
        from ssbfast.cli.bench.plot import draw

        draw(results, plot, machine_line(about))
        print(f"ssbfast: the picture is in {plot}", file=sys.stderr)
    return 0


def machine_line(about: dict[str, Any]) -> str:
    """Return where the figures come from, in one line."""
    return (
        f"{about['cpu']}, {about['cores']} cores, SIMD path {about['backend']}; "
        f"ssbfast {about['ssbfast']}, PyNaCl {about['pynacl']}, Python {about['python']}, {about['system']}"
    )


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Show what is measured now, on stderr: in one place of a terminal, else a line each."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda what: print(f"ssbfast: {what}", file=sys.stderr, flush=True)
        return
    with console.status("") as status:
        yield status.update


def show(results: list[BenchResult]) -> None:
    """Show one table for each group of contests."""
    from rich.console import Console
    from rich.table import Table

    # Off a terminal lines are as long as they have to be: a reader that is a program wraps nothing.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    groups: dict[str, list[BenchResult]] = {}
    for result in results:
        groups.setdefault(result.contest.group, []).append(result)
    for group, members in groups.items():
        unit = members[0].contest.unit
        table = Table(title=f"{group}: {unit} a CPU-second (ratio to {_base(members[0])})", title_justify="left")
        table.add_column("bytes" if members[0].contest.case.isdigit() else "")
        names = list(members[0].figures)
        for name in names:
            table.add_column(name, justify="right")
        for member in members:
            table.add_row(member.contest.case, *(cell(member, name) for name in names))
        with console.capture() as text:  # a reader that has left is none of rich's business: it would exit with 1
            console.print(table)
        click.echo(text.get(), nl=False)


def _base(result: BenchResult) -> str:
    return result.contest.baseline if result.contest.baseline in result.figures else "nothing: libsodium is missing"


def cell(result: BenchResult, name: str) -> str:
    """Return a figure and its ratio, as "1234 (5.6x)"."""
    rate, ratio = result.rate(name), result.figures[name].ratio
    number = f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"
    return number if ratio is None or name == result.contest.baseline else f"{number} ({ratio:.2g}x)"

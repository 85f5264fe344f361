"""`ssbfast demo`: show that a tunnel works, its speed, and what the room sees of it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from typing import Final

import click

from ssbfast.cli.demo.conductor import SABOTAGES, DemoResult, OnProgress, Sabotage, Wishes, run_demo
from ssbfast.cli.demo.parts import PartName, run_part
from ssbfast.cli.demo.path_change import DemoError, DirectResult
from ssbfast.cli.error_log import short_errors
from ssbfast.cli.open_files import raise_file_limit
from ssbfast.cli.output import amount, json_line
from ssbfast.cli.runner import on_signals
from ssbfast.cli.standard_error import warn

MB: Final = 1_000_000


@click.command()
@click.option("--megabytes", type=click.IntRange(1, 1_000_000), default=256, show_default=True, metavar="N")
@click.option(
    "--path",
    type=click.Choice(["auto", "tunnel"]),
    default="auto",
    show_default=True,
    help="auto: after the tunnel, take a direct path, cut it, and come back. tunnel: the tunnel only.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with the result.")
@click.option("--calls", type=click.IntRange(1, 1_000_000), default=200, hidden=True)
@click.option("--sabotage", type=click.Choice(SABOTAGES), hidden=True)
def demo(megabytes: int, path: str, as_json: bool, calls: int, sabotage: Sabotage | None) -> int:
    """Tunnel random bytes between two peers through a room, and prove that they arrived.

    Room, peer A and peer C are three processes on this machine. The bytes go from A through the room to C, and
    back. Then a session leaves the room for a direct path (QUIC), loses the path in the middle of a transfer, and
    finishes the transfer through the room. The exit code is 0 only if both ends agree on the SHA-256 each time, and the
    room counted the bytes that it had to carry, and no more; it is 1 otherwise.

    \b
    Example:
      ssbfast demo --megabytes 64
    """
    raise_file_limit()  # its processes inherit it
    wishes = Wishes(megabytes * MB, calls, sabotage, direct=path == "auto")
    try:
        with progress_bars(wishes, show=not as_json and sys.stdout.isatty()) as advance:
            result = asyncio.run(_interruptible(wishes, advance))
    except DemoError as error:
        return failed(str(error), as_json=as_json)
    except (asyncio.CancelledError, KeyboardInterrupt):
        return failed("interrupted", as_json=as_json)
    click.echo(json_line(as_event(result)) if as_json else as_text(result))
    return 0


@click.command(hidden=True)
@click.argument("role", type=click.Choice(["room", "target", "caller"]))
def demo_part(role: PartName) -> int:
    """Run one of the demo's processes. The demo starts it."""
    return run_part(role)


async def _interruptible(wishes: Wishes, advance: OnProgress) -> DemoResult:
    """Cancel the demo on the first Ctrl-C or SIGTERM; it ends its processes, which also end when we do."""
    task = asyncio.ensure_future(run_demo(wishes, advance))
    with short_errors(), on_signals(task.cancel, exit_code=1):
        return await task


def failed(reason: str, *, as_json: bool) -> int:
    if as_json:
        click.echo(json_line({"event": "demo", "ok": False, "reason": reason}))
    warn(f"the demo failed: {reason}")
    return 1


@contextlib.contextmanager
def progress_bars(wishes: Wishes, *, show: bool) -> Iterator[OnProgress]:
    """Show a bar for the tunnel and, once bytes go directly, one for that; yield the function that moves them."""
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
    )
    with progress.Progress(*columns, disable=not show) as bar:
        tunnel = bar.add_task("A → room → C and back", total=wishes.size)
        directly = bar.add_task("A → C and back, then by the room", total=wishes.direct_size or None, visible=False)

        def advance(back: int, direct: bool) -> None:
            bar.update(directly if direct else tunnel, completed=back, visible=True)

        yield advance


def as_event(result: DemoResult) -> dict[str, object]:
    return {
        "event": "demo",
        "ok": True,
        "bytes": result.size,
        "sha256": result.sha256,
        "seconds": round(result.seconds, 3),
        "mb_per_second": round(result.mb_per_second, 1),
        "calls": result.calls,
        "call_ms": round(result.call_seconds * 1e3, 3),
        "room_cpu_seconds_per_gb": round(result.cpu_seconds_per_gb, 3),
        "room_saw": list(result.room_saw),
        "backend": result.backend,
        "direct": None if result.direct is None else _direct_as_event(result.direct),
        "direct_left_out": result.left_out,
    }


def _direct_as_event(direct: DirectResult) -> dict[str, object]:
    return {
        "bytes": direct.size,
        "sha256": direct.sha256,
        "bytes_before_cut": direct.before_cut,
        "mb_per_second": round(direct.mb_per_second, 1),
        "cut_at_seconds": round(direct.cut_at, 3),
        "longest_pause_seconds": round(direct.pause, 3),
        "room_bytes_before": direct.room_before,
        "room_bytes_after": direct.room_after,
        "path_changes": {
            who: [{"path": one.path, "seconds": round(one.seconds, 3), "reason": one.reason} for one in its]
            for who, its in direct.changes.items()
        },
    }


def as_text(result: DemoResult) -> str:
    saw = "\n".join(
        f"  {one['origin']} → {one['target']}  {amount(one['bytes'])} in {one['seconds']:.1f} s"
        for one in result.room_saw
    )
    return f"""\
{amount(result.size)} of random bytes went from A through the room to C, and back.
  equal      SHA-256 {result.sha256[:16]}… at both ends and on return
  speed      {result.mb_per_second:.1f} MB/s each way, both ways at once
  a call     {result.call_seconds * 1e3:.2f} ms with its answer (median of {result.calls})
  the room   {result.cpu_seconds_per_gb:.2f} CPU-seconds per GB relayed ({result.backend})
{_direct_as_text(result)}\
What the room could see: who opened a tunnel to whom, when, and how many bytes:
{saw}
The bytes themselves were sealed with keys that only A and C have."""


def _direct_as_text(result: DemoResult) -> str:
    direct = result.direct
    if direct is None:
        return "" if result.left_out is None else f"Direct paths were left out: {result.left_out}.\n"
    up, down = ("C {:.2f} s, A {:.2f} s".format(*(direct.changes[who][at].seconds for who in "CA")) for at in (0, 1))
    return f"""\
Then {amount(direct.size)} in a session that left the room, lost its direct path, and came back.
  direct     {up} after it opened; the room had carried {amount(direct.room_before)} of it by then
  speed      {direct.mb_per_second:.1f} MB/s each way, {amount(direct.before_cut)} by QUIC and past the room
  cut        {direct.cut_at:.2f} s: from here on no datagram reached or left C, and no error was reported
  the room   {down}: back on its relay, which carried {amount(direct.room_after)} of the rest
  pause      {direct.pause:.2f} s, the longest without a byte
  equal      SHA-256 {direct.sha256[:16]}… at both ends and on return: nothing lost
"""

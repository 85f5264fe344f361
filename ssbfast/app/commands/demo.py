"""`ssbfast demo`: show that a tunnel works, how fast it is, and what the room sees of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Final

import click

from ssbfast.app.commands.printing import amount
from ssbfast.app.commands.stopping import on_signals
from ssbfast.app.demo import SABOTAGES, DemoError, Result, Sabotage, Wishes, run_demo
from ssbfast.app.demo_parts import Role, run_part

MB: Final = 1_000_000


@click.command()
@click.option("--megabytes", type=click.IntRange(1, 1_000_000), default=256, show_default=True, metavar="N")
@click.option("--json", "as_json", is_flag=True, help="One JSON object with the result.")
@click.option("--calls", type=click.IntRange(1, 1_000_000), default=200, hidden=True)
@click.option("--sabotage", type=click.Choice(SABOTAGES), hidden=True)
def demo(megabytes: int, as_json: bool, calls: int, sabotage: Sabotage | None) -> int:
    """Tunnel random bytes between two peers through a room, and prove that they arrived.

    Room, peer A and peer C are three processes on this machine. The bytes go from A through the room to C, and
    back. Exit code 0 only if both ends agree on their SHA-256; 1 if anything was not as it has to be.
    """
    size = megabytes * MB
    try:
        with progress_bar(size, show=not as_json and sys.stdout.isatty()) as advance:
            result = asyncio.run(_interruptible(Wishes(size, calls, sabotage), advance))
    except DemoError as error:
        return failed(str(error), as_json=as_json)
    except (asyncio.CancelledError, KeyboardInterrupt):
        return failed("interrupted", as_json=as_json)
    click.echo(json.dumps(as_event(result), ensure_ascii=False) if as_json else as_text(result))
    return 0


@click.command(hidden=True)
@click.argument("role", type=click.Choice(["room", "target", "caller"]))
def demo_part(role: Role) -> int:
    """One of the demo's processes. The demo starts it."""
    return run_part(role)


async def _interruptible(wishes: Wishes, advance: Callable[[int], None]) -> Result:
    """The first Ctrl-C or SIGTERM cancels the demo, which ends its processes; they also end when we do."""
    task = asyncio.ensure_future(run_demo(wishes, advance))
    with on_signals(task.cancel, exit_code=1):
        return await task


def failed(reason: str, *, as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps({"event": "demo", "ok": False, "reason": reason}, ensure_ascii=False))
    print(f"ssbfast: the demo failed: {reason}", file=sys.stderr)
    return 1


@contextlib.contextmanager
def progress_bar(size: int, *, show: bool) -> Iterator[Callable[[int], None]]:
    """A bar from 0 to `size` bytes; gives the function that moves it."""
    from rich import progress

    columns = (
        progress.TextColumn("A → room → C and back"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
    )
    with progress.Progress(*columns, disable=not show) as bar:
        task = bar.add_task("", total=size)
        yield lambda back: bar.update(task, completed=back)


def as_event(result: Result) -> dict[str, object]:
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
    }


def as_text(result: Result) -> str:
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
What the room could see: who opened a tunnel to whom, when, and how many bytes:
{saw}
The bytes themselves were sealed with keys that only A and C have."""

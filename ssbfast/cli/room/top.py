"""`ssbfast room top`: the tunnels of a running room, those that carry most first, again and again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click

from ssbfast.cli import screen
from ssbfast.cli.options import say
from ssbfast.cli.output import amount, clean_line, duration
from ssbfast.cli.room.common import room_options
from ssbfast.server.control import Questions

_ORDERS: Final[dict[str, tuple[str, Callable[[dict[str, Any]], float]]]] = {
    "s": ("bytes a second", lambda tunnel: tunnel["rate"]),
    "b": ("bytes", lambda tunnel: tunnel["bytes"]),
    "t": ("time", lambda tunnel: tunnel["seconds"]),
}
"""The orders, by the key that chooses each."""

_KEYS: Final = "s bytes a second   b bytes   t time   q quit"


@click.command("top")
@click.option(
    "--interval",
    type=click.FloatRange(0.2, 3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two looks.",
)
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after so many looks. Default: none but Ctrl-C.")
@click.option(
    "--most",
    type=click.IntRange(1, 1_000),
    default=20,
    show_default=True,
    metavar="N",
    help="Tunnels to show; on a terminal no more than fit.",
)
@room_options
def top(interval: float, count: int | None, most: int, data: Path, as_json: bool) -> None:
    """Show the tunnels of a running room, those that carry most bytes a second first, and go on.

    On a terminal, keys change the order, and q or Ctrl-C ends it. Elsewhere each look is a page of its own.

    \b
    Examples:
      ssbfast room top
      ssbfast room top --json --count 1
    """
    with contextlib.suppress(KeyboardInterrupt), Questions(data) as questions:

        def look() -> dict[str, Any]:
            found: dict[str, Any] = questions.ask("top", most=most)[0]
            return found

        show = _live if not as_json and screen.is_live() else _pages
        show(look, interval, count, as_json=as_json)


def _looks(look: Callable[[], dict[str, Any]], count: int | None) -> Iterator[dict[str, Any]]:
    """Look, and look again after the caller's pause."""
    done = 0
    while count is None or done < count:
        yield look()
        done += 1


def _pages(look: Callable[[], dict[str, Any]], interval: float, count: int | None, *, as_json: bool) -> None:
    """Print a page for each look."""
    for number, found in enumerate(_looks(look, count)):
        if number and not as_json:
            click.echo()
        say({"event": "top", **found}, "\n".join(page(found, "s")), as_json=as_json)
        if number + 1 != count:
            time.sleep(interval)


def page(found: dict[str, Any], order: str) -> list[str]:
    """Return a look as lines for people. order: a key of the orders."""
    told = found["room"]
    rate = amount(int(found["rate"]))
    lines = [
        f"{clean_line(told['name'])}  up {duration(told['seconds'])}",
        f"{told['sessions']} sessions, {told['attendants']} attendants, {told['connections']} in the handshake",
        f"{told['tunnels']} tunnels, {rate}/s now, {amount(told['bytes'])} in all",
        "",
        f"{'BYTES/S':>12}  {'BYTES':>10}  {'TIME':>10}  TUNNEL",
    ]
    _name, key = _ORDERS[order]
    for tunnel in sorted(found["tunnels"], key=key, reverse=True):
        figures = f"{amount(int(tunnel['rate'])):>12}  {amount(tunnel['bytes']):>10}  {duration(tunnel['seconds']):>10}"
        lines.append(f"{figures}  {tunnel['origin']} → {tunnel['target']}")
    return lines


# ---------------------------------------------------------------- a terminal


def _live(look: Callable[[], dict[str, Any]], interval: float, count: int | None, *, as_json: bool) -> None:
    """Show each look in the place of the one before, and obey keys."""
    order = "s"
    with screen.screen():
        for found in _looks(look, count):
            until = time.monotonic() + interval
            while (left := until - time.monotonic()) > 0:
                screen.draw(page(found, order), ("", f"by {_ORDERS[order][0]};  {_KEYS}"))
                key = screen.key(left)
                if key == "q":
                    return
                order = key if key in _ORDERS else order

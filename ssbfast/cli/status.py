"""`ssbfast status`: the running processes of this peer, their rooms and their sessions."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click

from ssbfast.cli import screen
from ssbfast.cli.nicknames import Nicknames
from ssbfast.cli.options import data_flag, data_option, json_option, say
from ssbfast.cli.output import amount, clean_line, clean_value, duration
from ssbfast.cli.running import ask_all
from ssbfast.cli.terminal_text import COLUMNS, Meaning, Piece, Style, columns_of, plain_option
from ssbfast.ids import FeedId

_INTERVAL: Final = 1.0
_INDENT: Final = "  "
_MEANINGS: Final = (
    (re.compile(r"  (?!offers )\S+ +(direct(?: [\d.]+ ms)?)(?:  |$)"), Meaning.GOOD),
    (re.compile(r"  room  .*?  (being dialled.*)"), Meaning.BAD),
    (re.compile(r"a process here: (.*)"), Meaning.BAD),
    (re.compile(r" +(the (?:direct path|tunnel) would be faster.*)"), Meaning.HINT),
    (re.compile(r"nothing runs here; next: (.*)"), Meaning.HINT),
    (re.compile(r" +(no sessions with peers|not direct: .*|chosen: .*)"), Meaning.DIM),
)
"""Meanings of parts of lines."""
_NAME: Final = 10
"""Columns of a peer's name, so that short ones are in line."""


@click.command()
@click.option("--watch", is_flag=True, help="Show it again each second, until Ctrl-C.")
@data_option
@plain_option
@json_option
def status(watch: bool, data: Path, as_json: bool) -> None:
    """Show what runs here: each process, its rooms, and its sessions with peers.

    A session is direct, or goes through a room. It is shown with its round trip, bytes and bytes a second, connections,
    and why it is not direct, or the longest datagrams, losses and engine of the direct path. `ssbfast path` changes its
    path.

    \b
    Examples:
      ssbfast status
      ssbfast status --watch
      ssbfast status --json
    """
    with contextlib.suppress(KeyboardInterrupt), Nicknames(data) as nicknames:
        if not watch:
            found = look(data, nicknames)
            say(found, *in_colour(page(found, data, columns_of(sys.stdout))), as_json=as_json)
        elif as_json or not screen.is_live():
            for number, found in enumerate(_looks(data, nicknames)):
                lines = page(found, data, columns_of(sys.stdout))
                say(found, *in_colour([""] * bool(number) + lines), as_json=as_json)
        else:
            style = Style.of_text(sys.stdout)
            with screen.screen():
                for found in _looks(data, nicknames):
                    screen.draw(
                        page(found, data, columns_of(sys.stdout)),
                        ("", "q quit"),
                        lambda line: style.text(in_colour([line])),
                    )
                    if screen.key(_INTERVAL) == "q":
                        return


def _looks(data: Path, nicknames: Nicknames) -> Iterator[dict[str, Any]]:
    """Look, and look again a second later."""
    while True:
        began = time.monotonic()
        yield look(data, nicknames)
        time.sleep(max(0.0, began + _INTERVAL - time.monotonic()))


def look(data: Path, nicknames: Nicknames) -> dict[str, Any]:
    """Return all that runs, with our nicknames for peers."""
    processes = []
    for told, problem in ask_all(data, "status"):
        if told is None:
            processes.append({"problem": problem})
            continue
        for session in told["sessions"]:
            session["nickname"] = nicknames.find(session["peer"])
        processes.append(told)
    return {"event": "status", "processes": processes}


def in_colour(lines: Sequence[str]) -> list[Piece]:
    """Return cleaned lines of a page in pieces, by what they say."""
    pieces: list[Piece] = []
    for number, line in enumerate(lines):
        before, text, after, meaning = f"\n{line}" if number else line, "", "", None
        for pattern, means in _MEANINGS:
            if (found := pattern.match(line)) is not None:
                start, end = found.span(1)
                before, text, after, meaning = before[: start - len(line)], line[start:end], line[end:], means
                break
        pieces += [before, text if meaning is None else (text, meaning), after]
    return pieces


def page(found: dict[str, Any], data: Path, width: int = COLUMNS) -> list[str]:
    """Return a look as lines for people. width: that of the longest."""
    lines: list[str] = []
    for process in clean_value(found["processes"]):
        lines += [""] * bool(lines) + (
            [f"a process here: {process['problem']}"] if "problem" in process else _process(process, width)
        )
    share = f"ssbfast share NAME=HOST:PORT --room ROOM{data_flag(data)}"
    return [clean_line(line) for line in lines] or [f"nothing runs here; next: {share}"]


def _process(told: dict[str, Any], width: int) -> list[str]:
    now = time.time()
    lines = [f"{told['command']}, pid {told['pid']}, since {told['since']}"]
    hosts = {room["id"]: room["host"] for room in told["rooms"]}
    for room in told["rooms"]:
        if room["since"] is not None:
            guest = ["as a guest: no peer reaches you there"] if room["external"] else []
            state = [f"joined {_ago(room['since'], now)}", *guest]
        else:
            state = ["being dialled" + (f" ({room['reason']})" if room["reason"] else "")]
        lines += _wrapped(width, f"{_INDENT}room  ", [room["host"], *state])
    if told["offered"]:
        lines += _wrapped(width, f"{_INDENT}offers  ", [str(service["name"]) for service in told["offered"]])
    for session in told["sessions"]:
        lines += _session(session, hosts, now, width)
    if not told["sessions"]:
        lines.append(f"{_INDENT}no sessions with peers")
    return lines


def _session(told: dict[str, Any], hosts: dict[str, str], now: float, width: int) -> list[str]:
    rtts = told["rtt_ms"]
    path = "direct" if told["path"] == "direct" else "tunnel"
    items = [
        "no answer, it waits" if told["waiting"] else path + (f" {_milliseconds(rtts[path])}" if path in rtts else ""),
        f"down {_moved(told['received'], told['receiving'])}",
        f"up {_moved(told['sent'], told['sending'])}",
        f"{told['connections']} connection{'' if told['connections'] == 1 else 's'}",
        f"for {duration(max(0.0, now - told['since']))}",
    ]
    if told["portal"] is not None:
        items.append(f"via {hosts.get(told['portal']) or FeedId.parse(told['portal']).short}")
    items += _figures(told.get("direct"))
    name = told["nickname"] or FeedId.parse(told["peer"]).short
    first = f"{_INDENT}{name:<{_NAME}}  "
    lines = _wrapped(width, first, items)
    rest = " " * len(f"{_INDENT}{'':<{_NAME}}  ")
    if told["reason"] is not None:
        lines += _wrapped(width, rest, [f"not direct: {told['reason']}"])
    if told["preferred"] != "auto" and told["preferred"] != path:
        lines += _wrapped(width, rest, [f"chosen: {told['preferred']}"])
    if told["faster"] not in (None, path):
        other = "direct path" if told["faster"] == "direct" else "tunnel"
        lines += _wrapped(width, rest, [f"the {other} would be faster: {_milliseconds(rtts[told['faster']])}"])
    return lines


def _figures(direct: dict[str, Any] | None) -> list[str]:
    """Return what a direct path tells of itself; `direct` is missing where an older version runs."""
    if direct is None:
        return []
    packets, lost = direct["packets"], direct["lost"]
    loss = [f"loss {100 * lost / packets:.1f} %"] if packets and lost is not None else []
    return [f"mtu {direct['mtu']}", *loss, f"{direct['engine']} engine"]


def _ago(since: float, now: float) -> str:
    return f"{duration(max(0.0, now - since))} ago"


def _milliseconds(rtt: float) -> str:
    return f"{rtt:.0f} ms" if rtt >= 10 else f"{rtt:.1f} ms"


def _moved(count: int, rate: float) -> str:
    return amount(count) + (f" ({amount(int(rate))}/s)" if rate >= 1 else "")


def _wrapped(width: int, first: str, items: Iterable[str]) -> list[str]:
    """Return items side by side, in as many lines as they take; words are broken to the next line only when alone."""
    lines: list[str] = []
    line, indent = first, " " * min(len(first), 2 + _NAME + 2)
    is_empty = True
    for item in items:
        if not is_empty and len(line) + 2 + len(item) > width:
            lines.append(line)
            line, is_empty = indent, True
        line += ("" if is_empty else "  ") + item
        is_empty = False
        while len(line) > width:
            cut = line.rfind(" ", len(indent) + 1, width + 1)
            cut = cut if cut > len(indent) else width
            lines.append(line[:cut])
            line = indent + line[cut:].lstrip()
    return [*lines, line]

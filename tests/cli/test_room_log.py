"""What `ssbfast room` prints under a load: little, and with all that is missing counted."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ssbfast import Keypair, RoomClient, limits
from ssbfast.cli.output import Printer, describe
from ssbfast.cli.room.run import RoomLog
from tests.helpers.processes import Running, without_time
from tests.helpers.rawpeer import eventually
from tests.helpers.room_processes import RoomProcesses, room_processes

VISITS = 100


async def crowd(address: str) -> None:
    for _ in range(VISITS):
        async with RoomClient(Keypair.generate()) as client:
            await client.join(address)


def run_room(place: RoomProcesses, *arguments: str) -> tuple[list[str], float]:
    """Its lines from the first visit to its end, and how many seconds that took."""
    began = time.monotonic()
    data = ("--data", str(place.path("room")), "--listen", f"127.0.0.1:{place.port}")
    address = place.address()
    with Running("room", *data, *arguments) as room:
        line = room.line()
        while line is not None and "Ctrl-C ends" not in line and "listening" not in line:
            line = room.line()
        asyncio.run(crowd(address))
        room.signal(signal.SIGTERM)
        assert room.wait() == 0
        lines = []
        while (line := room.line()) is not None:
            lines.append(line)
        assert room.stderr == ""
    return lines, time.monotonic() - began


def check(lines: list[str], seconds: float, counts: Counter[str]) -> None:
    assert sum(len(line.encode()) + 1 for line in lines) <= limits.LOG_BURST + limits.LOG_RATE * seconds
    assert counts == {"joined": VISITS, "left": VISITS, "draining": 1}
    assert len(lines) > 20


def test_as_json(tmp_path: Path) -> None:
    with room_processes(tmp_path) as place:
        lines, seconds = run_room(place, "--json")
    counts: Counter[str] = Counter()
    for event in map(json.loads, lines):
        counts.update(event["counts"] if event["event"] == "skipped" else [event["event"]])
    assert any("skipped" in line for line in lines)
    check(lines, seconds, counts)


def test_for_people(tmp_path: Path) -> None:
    with room_processes(tmp_path) as place:
        lines, seconds = run_room(place)
    counts: Counter[str] = Counter()
    for line in lines:
        if "not shown" in line:
            counts.update({name: int(n) for n, name in re.findall(r"(\d+) (\w+)", line)})
        else:
            counts[line.split()[1]] += 1
    check(lines, seconds, counts)


def test_limits_for_people() -> None:
    event = {"event": "limited", "limits": {"sessions": 5, "calls": 3}}
    assert describe(event) == "limits  reached: 5 sessions, 3 calls"


def test_the_line_for_people() -> None:
    event = {"event": "skipped", "counts": {"joined": 5, "left": 3}}
    assert describe(event) == "(not shown, so that the log stays short: 5 joined, 3 left)"


class Printed(Printer):
    """Keeps the lines."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__(None, as_json=as_json)
        self.lines: list[bytes] = []

    def put(self, line: bytes) -> None:
        self.lines.append(line)


LONGEST: dict[str, Any] = {
    "joined": {"id": "@" + "a" * 9},
    "left": {"id": "@" + "a" * 9},
    "tunnel_opened": {"origin": "@" + "a" * 9, "target": "@" + "a" * 9, "session": "0" * 8},
    "tunnel_closed": {
        "origin": "@a",
        "target": "@b",
        "bytes": 10**15,
        "seconds": 10**9,
        "reason": "r" * 100,
        "session": "0" * 8,
    },
}


@pytest.mark.parametrize("as_json", [True, False])
async def test_the_line_with_the_counts_fits_into_its_reserve(as_json: bool) -> None:
    printer = Printed(as_json=as_json)
    line = printer.line({"event": "skipped", "counts": dict.fromkeys(LONGEST, 10**12)})
    assert len(line) <= limits.LOG_RESERVE


async def test_counts_come_by_themselves_and_in_order() -> None:
    """Nothing has to happen for it; between them and the line before there is no other."""
    printer = Printed(as_json=True)
    log = RoomLog(printer)
    for number in range(200):
        log.event({"event": "joined", "id": number})
    printed = len(printer.lines)
    assert printed < 200
    await eventually(lambda: len(printer.lines) > printed)
    assert without_time(printer.lines[-1]) == {"event": "skipped", "counts": {"joined": 200 - printed}}
    log.event({"event": "left", "id": 1})
    assert json.loads(printer.lines[-1])["event"] == "left"
    log.close()
    assert json.loads(printer.lines[-1])["event"] == "left"


async def test_the_end_tells_what_is_missing() -> None:
    printer = Printed(as_json=True)
    log = RoomLog(printer)
    for name, members in LONGEST.items():
        for _ in range(1000):
            log.event({"event": name, **members})
    log.close()
    last = json.loads(printer.lines[-1])
    assert last["event"] == "skipped" and sum(last["counts"].values()) == 4000 - (len(printer.lines) - 1)
    assert sum(map(len, printer.lines)) <= limits.LOG_BURST


@pytest.mark.parametrize("event", ["listening", "limited", "error"])
async def test_some_lines_always_pass(event: str) -> None:
    printer = Printed(as_json=True)
    log = RoomLog(printer)
    for _ in range(1000):
        log.event({"event": "joined", "id": 1})
    log.event({"event": event, "message": "m"})
    assert json.loads(printer.lines[-1])["event"] == event
    log.close()

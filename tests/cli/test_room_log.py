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

from ssbfast import FeedId, Keypair, RoomClient, limits
from ssbfast.cli.output import LogForm, Printer, describe
from ssbfast.cli.room.run import RoomLog
from tests.helpers.commands import run_here
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


# ---------------------------------------------------------------- forms, levels, addresses

EVENTS = (
    ({"event": "joined", "id": "@abc…"}, 6, "joined  @abc…"),
    (
        {"event": "draining", "seconds": 30.0, "sessions": 2, "tunnels": 1},
        5,
        "draining 2 sessions; 1 tunnels",
    ),
    ({"event": "records_problem", "problem": "the disk is full"}, 4, "records the disk is full"),
    ({"event": "stalled", "seconds": 60.0}, 4, "stalled for 1 min: the process was stopped"),
    ({"event": "clock_set", "seconds": -3600.0}, 4, "clock   went back by 1 h"),
    ({"event": "error", "kind": "store", "message": "x", "code": 1}, 3, "error   kind store"),
)


@pytest.mark.parametrize(("event", "level", "words"), EVENTS, ids=[event["event"] for event, *_ in EVENTS])
def test_a_line_in_each_form(event: dict[str, Any], level: int, words: str) -> None:
    lines = {form: Printer(None, log=form).line(event).decode() for form in LogForm}
    assert lines[LogForm.JOURNALD].startswith(f"<{level}>{words}")
    assert re.match(rf"\d\d:\d\d:\d\d  {re.escape(words)}", lines[LogForm.TEXT])
    said = without_time(lines[LogForm.JSON])
    assert said == {**event, "level": {3: "error", 4: "warning", 5: "notice", 6: "info"}[level]}


def run_with(tmp_path: Path, *arguments: str, env: dict[str, str] | None = None) -> tuple[list[str], str, FeedId]:
    """What a room says in its life, to which one peer comes; and that peer."""
    me = Keypair.generate()

    async def come(address: str) -> None:
        async with RoomClient(me) as client:
            await client.join(address)

    with room_processes(tmp_path) as place:
        data = ("--data", str(place.path("room")), "--listen", f"127.0.0.1:{place.port}", "--no-udp")
        with Running("room", *data, *arguments, env=env) as room:
            lines = [room.line() or ""]
            while "Ctrl-C ends" not in lines[-1]:
                lines.append(room.line() or "")
            asyncio.run(come(place.address()))
            room.signal(signal.SIGTERM)
            assert room.wait() == 0
            while (line := room.line()) is not None:
                lines.append(line)
            return lines, room.stderr, me.id


def test_for_journald(tmp_path: Path) -> None:
    lines, said, me = run_with(tmp_path, "--log", "journald", "--log-addresses")
    assert said == "<4>ssbfast: the log names the addresses of peers (--log-addresses)\n"
    assert all(re.match(r"<[3-6]>.", line) for line in lines), lines
    assert f"<6>session {me.short} from 127.0.0.1" in lines
    assert f"<6>joined  {me.short}" in lines


def test_no_id_and_no_address_unless_they_are_asked_for(tmp_path: Path) -> None:
    lines, said, me = run_with(tmp_path)
    assert said == ""
    last = lines.index(next(line for line in lines if "Ctrl-C ends" in line))
    text = "\n".join(lines[last + 1 :])
    assert me.short in text
    assert str(me)[1:20] not in text and "127.0.0.1" not in text


def test_either_json_or_another_form(tmp_path: Path) -> None:
    for form in ("text", "journald"):
        assert_unusable(run_here("room", "--data", str(tmp_path), "--json", "--log", form), f"--json or --log {form}")


def assert_unusable(done: Any, words: str) -> None:
    assert done.returncode == 2 and words in done.stderr


def test_a_failure_has_its_level(tmp_path: Path) -> None:
    (tmp_path / "room.sqlite").write_bytes(b"no store " * 1000)
    done = run_here("room", "--data", str(tmp_path), "--log", "journald")
    assert done.returncode == 2 and done.stderr.startswith("<3>ssbfast: ")
    assert run_here("room", "--data", str(tmp_path)).stderr.startswith("ssbfast: "), "that was one command's"

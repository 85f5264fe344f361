"""Texts of strangers on every way out of the commands: stdout for people, stdout as JSON, stderr.

One table for what is printed, and programs beside a room that has nothing but such texts.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from ssbfast import limits
from ssbfast.cli import attendants, doctor, group, options, output
from ssbfast.cli.demo import command
from ssbfast.cli.listen import _Words
from ssbfast.cli.output import Event, Printer, describe, json_line
from ssbfast.cli.peer_output import PeerWords
from ssbfast.cli.standard_error import bounded_stderr, warn
from ssbfast.errors import BadInputError, HandshakeError, MissingExtraError, RefusedError, RemoteError, SSBError
from ssbfast.keys import load_secret
from ssbfast.room.effects import Fail
from tests.helpers.clients import RoomWithClients, room_with_clients
from tests.helpers.hostile import TITLE, is_clean
from tests.helpers.processes import Running, run
from tests.helpers.rooms import feed

LONG = TITLE + "\x1b[2J" * 1_000_000
"""4 MB."""

EVENTS: list[dict[str, Any]] = [
    {"event": "listening", "id": "", "address": "", "invite": "", "udp": [""]},
    {"event": "joined", "id": ""},
    {"event": "left", "id": "", "portal": ""},
    {"event": "tunnel_opened", "origin": "", "target": ""},
    {"event": "tunnel_closed", "origin": "", "target": "", "bytes": 5, "seconds": 1.5, "reason": ""},
    {"event": "announced", "portal": "", "id": "", "address": ""},
    {"event": "external", "portal": "", "id": "", "address": ""},
    {"event": "reconnecting", "portal": "", "id": "", "address": "", "reason": "", "seconds": 1.0},
    {"event": "connected", "peer": "", "path": "", "portal": ""},
    {"event": "accepted", "peer": "", "path": "", "portal": ""},
    {"event": "path", "peer": "", "path": "", "rtt_ms": 1.0, "took_ms": None, "reason": ""},
    {"event": "closed", "peer": "", "path": "", "portal": "", "reason": ""},
    {"event": "denied", "portal": "", "origin": "", "address": "", "proven": True, "reason": "", "time": 1.0, "n": 1},
    {
        "event": "denied",
        "portal": "",
        "origin": "",
        "address": "",
        "proven": False,
        "reason": "",
        "time": 1.0,
        "n": None,
    },
    {"event": "waiting", "id": "", "peer": "", "reason": ""},
    {"event": "bound", "bind": ""},
    {"event": "paired", "peer": "", "nickname": "", "portal": ""},
    {"event": "private_address", "portal": "", "recipient": "", "address": ""},
    {"event": "room", "portal": "", "reflectors": [""], "is_here": False},
    {"event": "candidate", "kind": "", "address": ""},
    {"event": "attendant", "portal": "", "id": ""},
    {"event": "limited", "limits": {"sessions": 5, TITLE: 7}},
    {"event": "skipped", "counts": {"joined": 5, TITLE: 7}},
    {"event": "lost", "n": 5},
    {"event": TITLE, "of": "", "list": ["", {"deep": [""], TITLE: ""}]},
]

OFFER = SimpleNamespace(data=Path("x"), rooms=[SimpleNamespace(portal=TITLE, text="net:…")])
WORDS: list[Callable[[], Callable[[Event], str]]] = [lambda: describe, PeerWords, lambda: _Words(OFFER, str)]  # type: ignore[arg-type]


def filled(value: Any, text: str) -> Any:
    """The same with the text of a stranger in every place for one."""
    if isinstance(value, dict):
        return {key: item if key == "event" else filled(item, text) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, text) for item in value]
    return text if value == "" else value


def texts(value: Any) -> Iterator[str]:
    """All of them, in whatever depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from (key, *texts(item))
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def check(output: bytes, lines: int | None = None) -> list[str]:
    """Nothing in it can move a cursor or forge a line."""
    shown = output.decode().split("\n")
    assert shown.pop() == ""
    assert all(map(is_clean, shown)), shown
    assert not any("@forged" in line and line.lstrip().startswith("@forged") for line in shown)
    assert lines is None or len(shown) == lines
    return shown


def check_json(output: bytes) -> list[Any]:
    """Nor after the JSON has been read."""
    found = [json.loads(line) for line in check(output)]
    assert all(is_clean(text) for value in found for text in texts(value))
    return found


# ---------------------------------------------------------------- every event


@pytest.mark.parametrize("text", [TITLE, LONG], ids=["hostile", "long"])
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: ascii(event["event"]))
def test_every_event(event: dict[str, Any], text: str) -> None:
    event = filled(event, text)
    for make in WORDS:
        people = Printer(None, as_json=False, words=make())
        line = people.line(event)
        words = check(line, lines=None)
        assert len(words) <= 3 and len(line) < 20 * limits.LOG_TEXT * 3
    programs = Printer(None, as_json=True).line(event)
    (found,) = check_json(programs)
    assert len(programs) < 20 * limits.LOG_TEXT * 3
    assert set(found) == {output.clean_text(key, 99) for key in event} | {"time"}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: ascii(event["event"]))
def test_say_prints_no_less_carefully(event: dict[str, Any], capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    options.say(filled(event, TITLE), f"a line with {TITLE}", as_json=True)
    check_json(capfdbinary.readouterr().out)
    options.say({}, f"a line with {TITLE.replace(chr(10), '')}", as_json=False)
    check(capfdbinary.readouterr().out, lines=1)


def test_a_file_keeps_its_name_in_json() -> None:
    """A program has to find it again."""
    file = Path(os.fsdecode(b"/x/\xff\x7f\x1b[31m\xc2\xa0")) / "secret"
    line = json_line({"event": "keys", "file": file})
    assert is_clean(line)
    assert json.loads(line)["file"] == str(file)


def test_an_event_holds_nothing_else() -> None:
    with pytest.raises(TypeError, match="object"):
        json_line({"event": "keys", "file": object()})


async def test_lists(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """What `attendants` and `doctor` print at once."""
    room = SimpleNamespace(id=feed(1), name=TITLE, attendants={feed(2), feed(3)}, is_listed=True)
    for as_json, lines in ((False, 3), (True, 2)):
        printer = Printer(sys.stdout, as_json=as_json)
        await attendants._list(room, printer)  # type: ignore[arg-type]
        printer.close()
        captured = capfdbinary.readouterr()
        check(captured.out, lines=lines)
        check(captured.err, lines=1)
    found = [filled(event, TITLE) for event in EVENTS if event["event"] in ("room", "candidate")]
    for as_json in (False, True):
        printer = Printer(sys.stdout, as_json=as_json)
        await printer.report(found, doctor._words)
        printer.close()
        check(capfdbinary.readouterr().out, lines=2 if as_json else 3)


# ---------------------------------------------------------------- stderr


def test_warnings_are_one_line(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    for text in (TITLE, LONG, "\x85".join("lines"), "\r\n" * 50):
        warn(text)
        with bounded_stderr():
            warn(text)
        lines = check(capfdbinary.readouterr().err, lines=2)
        assert lines[0] == lines[1] and lines[0].startswith("ssbfast: ") and len(lines[0]) < limits.LOG_ERROR + 20


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SSBError(TITLE), 1),
        (RemoteError(TITLE), 1),
        (RefusedError(LONG), 1),
        (BadInputError(TITLE), 2),
        (MissingExtraError(TITLE), 2),
        (click.UsageError(TITLE), 2),
        (click.BadParameter(TITLE), 2),
        (click.FileError("name", TITLE), 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_is_one_line(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    def fail(*_args: Any, **_options: Any) -> None:
        raise error

    monkeypatch.setattr(group.group, "main", fail)
    assert group.run(["room"]) == code
    captured = capfdbinary.readouterr()
    assert captured.out == b""
    check(captured.err, lines=1)


def test_the_demo_fails_in_one_line(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert command.failed(TITLE, as_json=True) == 1
    captured = capfdbinary.readouterr()
    check_json(captured.out)
    check(captured.err, lines=1)


def test_errors_of_handshakes_have_their_hint() -> None:
    from ssbfast.cli.peer_options import RoomAddress, in_room

    room = RoomAddress("net:…", feed(1))
    assert "wrong key" in str(in_room(room, HandshakeError()))


# ---------------------------------------------------------------- programs beside a hostile room


def hostile_room(at: RoomWithClients, *method: str) -> None:
    """Let a method of it fail with what it says."""
    table = at.room.server._methods._table
    table[method] = (table[method][0], lambda session, call, _now: [Fail(session, call.req, TITLE)])


async def outcome(*arguments: str) -> tuple[int, str, str]:
    done = await asyncio.to_thread(run, *arguments)
    check(done.stderr.encode())
    check(done.stdout.encode())
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("as_json", [(), ("--json",)], ids=["people", "json"])
@pytest.mark.parametrize("command", ["attendants", "doctor"])
@pytest.mark.slow
async def test_commands_that_look_into_a_room(command: str, as_json: tuple[str, ...], tmp_path: Path) -> None:
    async with room_with_clients(name=TITLE + "x" * 10_000) as at:
        data = ("--data", str(tmp_path), "--room", at.address)
        code, out, err = await outcome(command, *data, *as_json)
        assert (code, err) == (0, "") and len(out) < 5000
        hostile_room(at, "room", "metadata")
        code, out, err = await outcome(command, *data, *as_json)
        assert code == 1 and "owned" in err and err.count("\n") == 1
        assert [event["kind"] for event in check_json(out.encode())] == (["remote"] if as_json else [])


@pytest.mark.parametrize("as_json", [(), ("--json",)], ids=["people", "json"])
@pytest.mark.slow
async def test_commands_that_stay_in_a_room(as_json: tuple[str, ...], tmp_path: Path) -> None:
    """Its list ends with an error, then it is no room any more."""
    async with room_with_clients(name=TITLE) as at:
        hostile_room(at, "room", "attendants")
        data = ("--data", str(tmp_path), "--room", at.address, "--path", "tunnel")
        await check_running(at, ["listen", *data, "--forward", "127.0.0.1:9", *as_json])
        await check_running(at, ["connect", str(feed(5)), *data, "--bind", "127.0.0.1:0", *as_json])


async def check_running(at: RoomWithClients, arguments: list[str]) -> None:
    with Running(*arguments) as program:
        code = await asyncio.to_thread(program.wait)
        lines = []
        while (line := program.line()) is not None:
            lines.append(line)
        check("".join(f"{line}\n" for line in lines).encode())
        assert code == 1 and "owned" in program.stderr
        check(program.stderr.encode(), lines=1)


@pytest.mark.slow
async def test_what_a_room_says_of_a_target(tmp_path: Path) -> None:
    """The reason for which `connect` waits."""
    load_secret(tmp_path / "secret", create=True)
    async with room_with_clients() as at:
        target = await at.client()
        hostile_room(at, "tunnel", "connect")
        data = ("--data", str(tmp_path), "--room", at.address, "--bind", "127.0.0.1:0", "--json", "--anyway")
        with Running("connect", str(target.me.id), *data) as program:
            waiting = await asyncio.to_thread(program.event, "waiting")
            check_json(json.dumps(waiting).encode() + b"\n")

"""Lines for people on a terminal: which outputs get colour, what it says, and that 80 columns hold."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO

import pytest

from ssbfast.cli import group
from ssbfast.cli.output import Event, LogForm, Printer, describe
from ssbfast.cli.peer_output import PeerWords
from ssbfast.cli.terminal_text import Meaning, Style, columns_of, has_colour, progress
from ssbfast.store.peer_store import Store
from tests.cli.test_remote_text import EVENTS, filled
from tests.helpers.commands import succeed
from tests.helpers.hostile import TITLE
from tests.helpers.rooms import feed

pty = pytest.importorskip("pty")

SEQUENCE = re.compile(r"\x1b\[\d*m")
LONG: list[dict[str, Any]] = [
    {"event": "bound", "service": "n" * 32, "peer": "", "bind": "127.0.0.1:65535", "url": "http://127.0.0.1:65535"},
    {"event": "forward_problem", "peer": "", "reason": "the service does not answer " * 3, "count": 12},
    {"event": "waiting", "id": "", "peer": "", "reason": "refused"},
    {"event": "reread", "services": ["n" * 32] * 5, "added": ["n" * 32], "removed": ["n" * 32]},
    {"event": "denied_alias", "origin": "", "alias": "alice.room.example"},
    {"event": "refused", "id": "", "address": "[2001:db8::1]:65535", "why": "is blocked"},
    {"event": "stalled", "seconds": 100.0},
    {"event": "clock_set", "seconds": -4000.0},
    {"event": "draining", "seconds": 30.0, "sessions": 12345, "tunnels": 12345},
    {"event": "certificate_problem", "name": "room.example", "problem": "cannot be had " * 9, "seconds": 60.0},
]
"""Events that are not in the table of remote texts, as long as they come."""

ALL = {"GOOD": "\x1b[32m", "BAD": "\x1b[31m", "HINT": "\x1b[36m", "DIM": "\x1b[2m"}


class Screen(io.StringIO):
    """A stdout that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Console:
    """A terminal: what prints to it, and what it was sent."""

    def __init__(self) -> None:
        self._here, there = pty.openpty()
        self.file = os.fdopen(there, "w", encoding="utf-8")

    def read(self) -> str:
        os.set_blocking(self._here, False)
        try:
            return os.read(self._here, 1 << 20).decode().replace("\r\n", "\n")
        except BlockingIOError:
            return ""

    def close(self) -> None:
        self.file.close()
        os.close(self._here)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def console() -> Iterator[Console]:
    console = Console()
    yield console
    console.close()


def printed(output: TextIO, *events: Event, words: Callable[[Event], str] | None = None, **form: Any) -> None:
    printer = Printer(output, words=words, **form)
    for event in events:
        printer.event(event)
    printer.text("service  ", ("answers", Meaning.GOOD))
    printer.close()


# ---------------------------------------------------------------- which outputs


def test_a_terminal_gets_colour_by_meaning(console: Console) -> None:
    printed(console.file, {"event": "accepted", "peer": "@a…", "path": "direct"}, words=PeerWords())
    assert re.fullmatch(
        r"\x1b\[2m\d\d:\d\d:\d\d  \x1b\[0m\x1b\[32mlet in\x1b\[0m  @a… \(direct\)\nservice  \x1b\[32manswers\x1b\[0m\n",
        console.read(),
    )


@pytest.mark.parametrize("form", [{"as_json": True}, {"log": LogForm.JSON}, {"log": LogForm.JOURNALD}], ids=str)
def test_programs_get_none(console: Console, monkeypatch: pytest.MonkeyPatch, form: dict[str, Any]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    printed(console.file, *EVENTS, **form)
    text = console.read()
    assert "joined" in text and "\x1b" not in text


def test_a_pipe_gets_lines_as_they_are() -> None:
    reader, writer = os.pipe()
    event = {"event": "tunnel_opened", "origin": str(feed(1)), "target": str(feed(2))}
    with os.fdopen(writer, "w", encoding="utf-8") as output:
        printed(output, event, words=PeerWords())
    with os.fdopen(reader, encoding="utf-8") as text:
        first, second = text.read().splitlines()
    assert first[10:] == describe(event)
    assert second == "service  answers"


@pytest.mark.parametrize(
    ("variables", "on_terminal", "in_pipe"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, True, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
    ],
    ids=str,
)
def test_the_environment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], on_terminal: bool, in_pipe: bool
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (has_colour(Screen()), has_colour(io.StringIO()), has_colour(None)) == (on_terminal, in_pipe, False)


def test_a_console_of_windows_has_to_obey_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = SimpleNamespace(name="nt", environ=os.environ)
    monkeypatch.setattr("ssbfast.cli.terminal_text.os", windows)
    for obeys in (True, False):
        monkeypatch.setattr("ssbfast.cli.terminal_text._is_virtual_terminal", lambda _output, obeys=obeys: obeys)
        assert has_colour(Screen()) is obeys


# ---------------------------------------------------------------- commands


@pytest.fixture
def data(tmp_path: Path) -> Path:
    with Store(tmp_path) as store:
        store.follow(feed(1), "n" * 32)
        store.follow(feed(2))
        store.block(feed(2))
    return tmp_path


def on_screen(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    screen = Screen()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", screen)
        assert group.run(arguments) == 0
    return screen.getvalue()


def test_a_list_has_colour_and_eighty_columns(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = on_screen(monkeypatch, "contacts", "--data", str(data))
    assert "\x1b[32mfollowed\x1b[0m" in text and "\x1b[31mblocked (and followed)\x1b[0m" in text
    assert str(feed(2)) in text  # people copy it from here
    assert all(len(line) <= 80 for line in SEQUENCE.sub("", text).splitlines())


@pytest.mark.parametrize("place", ["before", "after"])
def test_plain_is_what_a_pipe_gets(data: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    command = ("contacts", "--data", str(data))
    plain = on_screen(monkeypatch, *(("--plain", *command) if place == "before" else (*command, "--plain")))
    assert plain == succeed(*command)
    assert "\x1b" not in plain and plain.count("\n") == 2


def test_json_has_no_colour(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" not in on_screen(monkeypatch, "contacts", "--json", "--data", str(data))


def test_forced_colour_reaches_a_pipe(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[32mfollowed\x1b[0m" in succeed("contacts", "--data", str(data))


# ---------------------------------------------------------------- events


@pytest.mark.parametrize("event", [*EVENTS, *LONG], ids=lambda event: event["event"])
@pytest.mark.parametrize("words", [describe, PeerWords()], ids=["room", "peer"])
def test_an_event_has_eighty_columns(console: Console, event: dict[str, Any], words: Callable[[Event], str]) -> None:
    printed(console.file, filled(event, str(feed(7))), words=words)
    lines = SEQUENCE.sub("", console.read()).splitlines()
    assert lines and all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize(("told", "width"), [("120", 120), ("60", 60), ("10", 40), ("0", 80)])
def test_lines_are_as_wide_as_the_terminal(
    console: Console, data: Path, monkeypatch: pytest.MonkeyPatch, told: str, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", told)
    assert columns_of(console.file) == Style.of_log(console.file).columns == width
    with (data / "file").open("w") as file:
        assert columns_of(file) == 80 and Style.of_log(file).columns is None
    words = "word " * 60
    printed(console.file, {"event": "waiting"}, words=lambda _event: words)
    lengths = [len(line) for line in SEQUENCE.sub("", console.read()).splitlines()]
    assert width - 5 < max(lengths) <= width


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event["event"])
def test_no_sequence_of_a_peer_comes_through(console: Console, event: dict[str, Any]) -> None:
    title = "\x1b[31mred \ue000 " + TITLE
    printed(console.file, filled(event, title), words=PeerWords())
    text = console.read()
    assert set(SEQUENCE.findall(text)) <= {*ALL.values(), "\x1b[0m"}
    rest = SEQUENCE.sub("", text)
    assert "\x1b" not in rest and all(line.isprintable() for line in rest.replace("\ufffd", "").splitlines())
    assert len(SEQUENCE.findall(text)) == 2 * text.count("\x1b[0m")  # each colour ends


def test_what_people_paste_is_not_broken() -> None:
    style = Style(columns=80, shortens=True)
    command = "ssbfast pair " + "x" * 170 + " --data DIR"
    assert style.text(["Let someone in: ", (command, Meaning.HINT)]) == f"Let someone in:\n  {command}"
    event = {"event": "denied"}
    assert style.event(event, "12:00:00  ", f"denied  @a…\n          {command}").splitlines()[1].strip() == command


def test_a_long_line_gets_short_ids_then_more_lines() -> None:
    style = Style(columns=80, shortens=True)
    line = f"tunnel  {feed(1)} → {feed(2)}"
    assert style.event({}, "", line) == f"tunnel  {feed(1).short} → {feed(2).short}"
    assert style.fitted(line, 10) == [f"tunnel  {feed(1)} →", f"          {feed(2)}"]
    assert style.fitted(f"joined  {feed(1)}", 10) == [f"joined  {feed(1)}"]
    for whole in ("x" * 200, "  invite   " + "x" * 100):
        assert style.fitted(whole, 10) == [whole]
    assert style.fitted("x" * 78 + "     ", 10)[0] == "x" * 78


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("waiting for @a…", "<waiting> for @a…"),
        ("joined  @a…", "<joined>  @a…"),
        ("certificate of x", "<certificate> of x"),
        ("(3 lines are missing)", "<(3 lines are missing)>"),
    ],
)
def test_the_first_word_of_an_event_has_the_colour(words: str, shown: str) -> None:
    text = Style(colour=True).event({"event": "lost"}, "", words)
    assert text == shown.replace("<", ALL["BAD"]).replace(">", "\x1b[0m")


# ---------------------------------------------------------------- progress


def test_progress_is_gone_afterwards(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", console.file)
    with pytest.raises(ValueError), progress("Looking"):
        assert console.read() == "Looking …"
        raise ValueError
    assert console.read() == "\r\x1b[K"
    monkeypatch.setenv("TERM", "dumb")
    with progress("Looking"):
        assert console.read() == ""

"""The command line as a whole: help, mistakes, the missing extra, and how lines are printed."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ssbfast import __version__
from ssbfast.cli.group import COMMANDS, group
from ssbfast.cli.output import Printer, amount, describe, in_utc, json_line, shell_word
from tests.helpers.commands import failed, succeed
from tests.helpers.processes import run, without_time
from tests.helpers.rooms import feed


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_one_line_says_how_to_get_it(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; sys.argv[1:] = ['demo', '--megabytes', '1']\n"
    done = python(code + "from ssbfast.cli.main import main; main()")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "ssbfast: the commands need an extra: pip install 'ssbfast[room]'\n"


def test_another_missing_module_is_not_blamed_on_the_extra() -> None:
    done = python(
        "import sys; sys.modules['nacl'] = None; sys.argv[1:] = ['room']; from ssbfast.cli.main import main; main()"
    )
    assert done.returncode == 1
    assert "pip install" not in done.stderr


def test_the_command_is_cheap_until_it_runs() -> None:
    done = python("import sys, ssbfast.cli.main; print([name for name in ('click', 'rich') if name in sys.modules])")
    assert done.stdout == "[]\n"


def test_help_names_the_commands_that_exist() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "room" in done.stdout
    assert "demo " in done.stdout
    assert "demo-part" not in done.stdout


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert "--json" in done.stdout or command in ("alias", "config", "keys", "service", "completion")
    assert done.stderr == ""


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_the_short_help_says_what_the_long_one_begins_with(command: str) -> None:
    found = group.get_command(click.Context(group), command)
    assert found is not None
    assert found.name == command
    short = COMMANDS[command][1]
    assert short.endswith(".")
    assert found.help is not None
    assert found.help.split()[0] == short.split()[0]


def test_help_loads_nothing_that_it_does_not_need() -> None:
    heavy = ["asyncio", "sqlite3", "nacl", "rich", "ssbfast.client.room_client", "ssbfast.native"]
    code = "from ssbfast.cli.group import run; import sys; code = run(['--help']);"
    code += f"print([name for name in {heavy} if name in sys.modules], code)"
    assert python(code).stdout.endswith("[] 0\n")


def test_no_command_shows_help_and_is_wrong_usage() -> None:
    done = run()
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: ssbfast" in done.stderr


def test_version() -> None:
    assert __version__ in run("--version").stdout


@pytest.mark.parametrize(
    "arguments", [("nope",), ("--nope",), ("room", "--nope"), ("room", "extra"), ("demo", "--megabytes", "0")]
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("ssbfast: ")
    assert done.stderr.count("\n") == 1


# ---------------------------------------------------------------- printing


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ({"event": "joined", "id": "@a…"}, "joined  @a…"),
        ({"event": "left", "id": "@a…"}, "left    @a…"),
        ({"event": "tunnel_opened", "origin": "@a…", "target": "@b…"}, "tunnel  @a… → @b…"),
        (
            {"event": "tunnel_closed", "origin": "@a…", "target": "@b…", "bytes": 2500, "seconds": 1, "reason": "gone"},
            "closed  @a… → @b…  2.5 kB in 1.0 s (gone)",
        ),
        ({"event": "lost", "n": 3}, "(3 lines are missing here: the reader was too slow)"),
        ({"event": "new", "x": 1, "y": "z"}, "new     x 1  y z"),
    ],
)
def test_describe(event: dict[str, object], text: str) -> None:
    assert describe(event) == text


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (64_000_000, "64.0 MB"), (5_120_000_000, "5.12 GB")],
)
def test_amount(n: int, text: str) -> None:
    assert amount(n) == text


class Pipe:
    """A stdout that is a pipe, and its reader."""

    def __init__(self) -> None:
        reader, writer = os.pipe()
        self.reader = os.fdopen(reader, encoding="utf-8")
        self.stdout = os.fdopen(writer, "w", encoding="utf-8")

    def fill(self) -> int:
        """Until not a byte more goes in; how many there are."""
        writer = self.stdout.fileno()
        os.set_blocking(writer, False)
        full = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                full += os.write(writer, b"x")
        os.set_blocking(writer, True)
        return full

    def rest(self) -> list[str]:
        """What comes until the end."""
        self.stdout.close()
        return self.reader.read().splitlines()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    with made.reader, made.stdout:
        yield made


def test_json_is_one_object_a_line_and_nothing_else(pipe: Pipe) -> None:
    printer = Printer(pipe.stdout, as_json=True)
    printer.text("for people")
    printer.event({"event": "joined", "id": "@a…"})
    printer.close()
    assert [without_time(line) for line in pipe.rest()] == [{"event": "joined", "id": "@a…"}]


def test_people_get_text_and_the_time(pipe: Pipe) -> None:
    printer = Printer(pipe.stdout, as_json=False)
    printer.text("hello")
    printer.event({"event": "joined", "id": "@a…"})
    printer.close()
    hello, joined = pipe.rest()
    assert hello == "hello"
    assert joined.endswith("  joined  @a…")


def test_a_reader_that_leaves_is_noticed_once(pipe: Pipe) -> None:
    left = []
    noticed = threading.Event()

    def broken() -> None:
        left.append(1)
        noticed.set()

    printer = Printer(pipe.stdout, as_json=True, on_broken=broken)
    pipe.reader.close()
    printer.event({"event": "joined"})
    assert noticed.wait(60)
    printer.event({"event": "left"})
    printer.close()
    assert left == [1]


def test_a_slow_reader_never_blocks_and_is_told_what_it_missed(pipe: Pipe) -> None:
    full = pipe.fill()
    printer = Printer(pipe.stdout, as_json=True, backlog=500)
    count = 100
    for number in range(count):
        printer.event({"event": "joined", "number": number})
    pipe.reader.read(full)
    while not printer.is_idle:
        pass
    printer.event({"event": "left"})
    printer.close()
    *joined, lost, left = [without_time(line) for line in pipe.rest()]
    assert left == {"event": "left"}
    assert lost["event"] == "lost"
    assert len(joined) + lost["n"] == count
    assert [event["number"] for event in joined] == list(range(len(joined)))


def test_without_stdout_nothing_is_written() -> None:
    printer = Printer(None, as_json=False)
    printer.event({"event": "joined", "id": "@a…"})
    printer.close()


# ---------------------------------------------------------------- failures for programs

WHO = str(feed(1))
ROOM = f"net:127.0.0.1:9~shs:{WHO[1:-8]}"


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        (["follow", "nobody"], "input", "no contact is called nobody"),
        (["follow"], "usage", "Missing argument"),
        (["follow", WHO, "--nope"], "usage", "--nope"),
        (["unfollow", "%x"], "input", "SSB message id"),
        (["block", ""], "input", "nothing was given"),
        (["unblock", WHO, "more"], "usage", "unexpected"),
        (["contacts", "more"], "usage", "No such command"),
        (["keys", "show"], "secret", "does not exist"),
        (["keys", "new", "x"], "usage", "unexpected"),
        (["denials", "--connect", "1"], "input", "there are no denials"),
        (["denials", "--yes"], "usage", "--yes"),
        (["attendants"], "usage", "--room"),
        (["attendants", "--room", ROOM], "unreachable", "could not connect"),
        (["doctor", "--room", ROOM], "unreachable", "could not connect"),
        (["listen", "--room", ROOM, "--forward", "x"], "input", "port"),
        (["connect", WHO, "--room", ROOM, "--bind", "192.0.2.1:0"], "input", "cannot listen"),
        (["room", "--listen", "192.0.2.1:0"], "input", "cannot listen"),
        (["demo", "--megabytes", "0"], "usage", "megabytes"),
        (["bench", "--nope"], "usage", "--nope"),
        (["nonsense"], "usage", "nonsense"),
        (["shar"], "usage", "Did you mean 'share'?"),
        (["room", "membrs"], "usage", "Did you mean 'members'?"),
    ],
)
@pytest.mark.slow
def test_a_failure_is_an_event_as_well(tmp_path: Path, arguments: list[str], kind: str, words: str) -> None:
    data = [] if arguments[0] in ("demo", "bench", "nonsense", "shar") else ["--data", str(tmp_path)]
    done = run(*arguments, *data, "--json")
    failed(done, 1 if kind == "unreachable" else 2, kind, words)
    assert done.stdout.count("\n") == 1
    plain = run(*arguments, *data)
    assert (plain.returncode, plain.stdout, plain.stderr) == (done.returncode, "", done.stderr)


def test_what_is_a_value_asks_for_no_event(tmp_path: Path) -> None:
    done = run("follow", "--data", str(tmp_path), "--", "--json")
    assert (done.returncode, done.stdout) == (2, "")


def test_a_mistake_of_ours_is_an_event_and_a_traceback(tmp_path: Path) -> None:
    code = (
        "import sys, ssbfast.store.peer_store as store; store.Store = None; sys.argv[1:] = "
        f"['follow', {WHO!r}, '--json', '--data', {str(tmp_path)!r}]; from ssbfast.cli.main import main; main()"
    )
    done = python(code)
    event = without_time(done.stdout)
    assert event == {"event": "error", "kind": "internal", "message": "TypeError", "code": 1}
    assert (done.returncode, "Traceback" in done.stderr) == (1, True)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_failure_that_cannot_be_written_is_told_on_stderr() -> None:
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "ssbfast", "follow", "nobody", "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1.5, "1970-01-01T00:00:01.500Z"),
        (1_700_000_000.123, "2023-11-14T22:13:20.123Z"),
    ],
)
def test_the_time_of_an_event(seconds: float, text: str) -> None:
    assert in_utc(seconds) == text
    assert json.loads(json_line({"event": "denied", "time": seconds}))["time"] == text


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="Windows has no tzset")
def test_the_time_does_not_follow_the_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    before = time.time()
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Kathmandu")
        time.tzset()
        stamp = json.loads(json_line({"event": "x"}))["time"]
    time.tzset()
    moment = datetime.datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()
    assert before - 0.001 <= moment <= time.time()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (ROOM, ROOM),
        (f"tunnel:{WHO}:{WHO}~shs:{WHO[1:-8]}", f"tunnel:{WHO}:{WHO}~shs:{WHO[1:-8]}"),
        ("net:!:!:1:8008", "'net:!:!:1:8008'"),
        (f"{ROOM};{ROOM}", f"'{ROOM};{ROOM}'"),
        ("~x", "'~x'"),
        ("a'b", "'a'\"'\"'b'"),
    ],
)
def test_what_a_shell_would_change_is_quoted(text: str, shown: str) -> None:
    assert shell_word(text) == shown


def test_each_option_of_a_room_is_shown_once() -> None:
    """And under the title that was chosen for it: a name in a section that is no option would be shown nowhere."""
    from ssbfast.cli.room.command import _SECTIONS, room

    names = [name for names in _SECTIONS.values() for name in names]
    assert len(names) == len(set(names))
    assert set(names) < {option.name for option in room.params}
    said = succeed("room", "--help")
    for option in room.params:
        assert len(re.findall(rf"^  {option.opts[0]}\b(?!-)", said, re.MULTILINE)) == 1, option.name
    assert said.index("Web site:") < said.index("--tls-key") < said.index("Operation:") < said.index("--metrics ")

"""Options from a file: what is read, every mistake with its place, and what goes before what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from ssbfast.cli import config_file
from ssbfast.cli.config_file import TableOption, config_option, key_of, read_config
from ssbfast.cli.group import run
from ssbfast.cli.room.run import run as room


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "room.toml"


def settings(file: Path, text: str) -> dict[str, object]:
    """What the room's options are, for a file without mistakes."""
    file.write_text(text, encoding="utf-8")
    found = read_config(file, room)
    assert found.mistakes == []
    return {key_of(setting.option): setting.value for setting in found.settings.values()}


def mistakes(file: Path, text: str | bytes, command: click.Command = room) -> list[str]:
    """What is wrong with a file, after its name."""
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    found = read_config(file, command)
    assert all(one.startswith(f"{file}:") for one in found.mistakes)
    return [one.removeprefix(f"{file}:") for one in found.mistakes]


def test_values_are_those_of_the_options(file: Path) -> None:
    text = """
# comment
host = "room.example"   # another
listen = ["0.0.0.0:8008", "[::]:8008"]
"udp" = "127.0.0.1:0"
no-udp = false
web = "127.0.0.1:3001"
"""
    assert settings(file, text) == {
        "host": "room.example",
        "listen": ["0.0.0.0:8008", "[::]:8008"],
        "udp": ["127.0.0.1:0"],
        "no-udp": False,
        "web": "127.0.0.1:3001",
    }


def test_true_is_an_option_without_its_value(file: Path) -> None:
    assert settings(file, "web = true") == {"web": ""}
    assert settings(file, "json = true") == {"json": True}


def test_an_empty_file_sets_nothing(file: Path) -> None:
    assert settings(file, "") == {}


def test_every_option_of_a_room_can_be_in_the_file(file: Path) -> None:
    """But the one that names the file."""
    names = {key_of(option) for option in room.params if isinstance(option, click.Option)} - {"config"}
    for name in names:
        assert not any("there is no" in one for one in mistakes(file, f"{name} = 0.5"))
    assert mistakes(file, 'config = "other.toml"') == [
        "1:1: there is no option 'config'; the options: ssbfast room --help"
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("\nlistn = 1", ["2:1: there is no option 'listn'; is it 'listen'?"]),
        ('[lisen]\nx = "y"', ["1:2: there is no table [lisen]; is it 'listen'?"]),
        ('[listen]\nx = "y"', ["1:2: listen: a list of texts in quotes, or text in quotes, is needed here"]),
        ("host = 3", ["1:8: host: text in quotes is needed here"]),
        ("host = true", ["1:8: host: text in quotes is needed here"]),
        ('host = ["a.example"]', ["1:8: host: text in quotes is needed here"]),
        ('no-udp = "yes"', ["1:10: no-udp: true or false is needed here"]),
        ("listen = [1]", ["1:10: listen: a list of texts in quotes, or text in quotes, is needed here"]),
        ('  admin   =   "@me"', ["1:15: admin: that is a name, not an id"]),
        ('udp = ["1.2.3.4:5", "x:99999"]', ["1:7: udp: not a port: '99999'"]),
        ('host = "a.example"\nhost = "b.example"', ["2:"]),
        ("host =", ["1:"]),
        ('name = """\nhost = 1', ["2:1: "]),
        ("[[host]]", ["1:1: host: text in quotes is needed here"]),
        (b'name = "\xff"', ["1: not UTF-8 text"]),
        (b"#" * (config_file.LARGEST + 1), [" longer than 256 KiB"]),
    ],
)
def test_mistakes_have_their_place(text: str | bytes, found: list[str], file: Path) -> None:
    said = mistakes(file, text)
    assert len(said) >= len(found)
    for one, expected in zip(said, found, strict=False):
        assert one.startswith(expected)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"drain-seconds = {'9' * 5000}", " a number that is too long, or arrays that are too deep"),
        (f"listen = {'[' * 3000}", " a number that is too long, or arrays that are too deep"),
        (f"drain-seconds = {10**400}", "1:17: drain-seconds: this number is too large"),
        ("drain-seconds = nan", "1:17: drain-seconds: a number of seconds is needed"),
        ("drain-seconds = inf", "1:17: drain-seconds: a number of seconds is needed"),
    ],
    ids=["digits", "depth", "float", "nan", "inf"],
)
def test_values_out_of_all_measure_are_mistakes(text: str, found: str, file: Path) -> None:
    assert mistakes(file, text) == [found]


def test_the_mark_that_some_editors_write_first_is_no_mistake(file: Path) -> None:
    assert settings(file, "\ufeffname = 'ours'") == {"name": "ours"}


def test_all_mistakes_are_named_at_once(file: Path) -> None:
    assert len(mistakes(file, 'listn = 1\nhost = 1\nname = "fine"\nweb = 2')) == 3


def test_a_directory_and_a_missing_file_are_mistakes(tmp_path: Path) -> None:
    assert read_config(tmp_path, room).mistakes == [f"{tmp_path}: is a directory"]
    assert read_config(tmp_path / "no", room).mistakes == [f"{tmp_path / 'no'}: no such file or directory"]


def _number(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> dict[str, int]:
    pairs = [text.split("=") for text in given]
    try:
        return {name: int(number) for name, number in pairs}
    except ValueError:
        raise click.BadParameter("that is no number") from None


@click.command()
@config_option(lambda: None, "nowhere")
@click.option("--limit", cls=TableOption, multiple=True, callback=_number)
def with_table(limit: dict[str, int], config: Path) -> None:
    click.echo(json.dumps(limit))


def test_a_table_is_a_repeated_option(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mistakes(file, "[limit]\na = 1\nb = 2\n", with_table) == []
    with_table(["--config", str(file)], standalone_mode=False)
    assert json.loads(capsys.readouterr().out) == {"a": 1, "b": 2}
    assert mistakes(file, '[limit]\na = 1\nb = "x"\n', with_table) == ["3:5: limit: that is no number"]
    assert mistakes(file, "limit = 3", with_table) == [
        "1:9: limit: a table: [limit] and lines NAME = VALUE is needed here"
    ]


# ---------------------------------------------------------------- as people use it


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, tuple[Any, str]]:
    assert run(["room", *arguments, "config", "show", "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {event["option"]: (event["value"], event["where"]) for event in events}


def test_the_environment_goes_before_the_file(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text('host = "a.example"\nname = "A"\n')
    monkeypatch.setenv("SSBFAST_ROOM_NAME", "B")
    monkeypatch.setenv("SSBFAST_ROOM_LISTEN", "127.0.0.1:1 127.0.0.1:2")
    assert shown(capsys, "--config", str(file)) == {
        "host": ("a.example", f"{file}:1"),
        "name": ("B", "environment"),
        "listen": (["127.0.0.1:1", "127.0.0.1:2"], "environment"),
    }
    monkeypatch.setenv("SSBFAST_ROOM_CONFIG", str(file))
    assert shown(capsys)["host"] == ("a.example", f"{file}:1")


def test_the_command_line_goes_before_the_environment(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen by the directory that each of them names, in which no room is."""
    for_line, for_environment, for_file = (str(tmp_path / name) for name in ("line", "environment", "file"))
    file.write_text(f'data = "{for_file}"\n')
    assert run(["room", "--config", str(file), "status"]) == 2
    assert for_file in capsys.readouterr().err
    monkeypatch.setenv("SSBFAST_ROOM_DATA", for_environment)
    assert run(["room", "--config", str(file), "status"]) == 2
    assert for_environment in capsys.readouterr().err
    assert run(["room", "--config", str(file), "--data", for_line, "status"]) == 2
    assert for_line in capsys.readouterr().err


def test_the_file_of_the_machine_is_used_where_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_file, "SYSTEM", tmp_path)
    assert shown(capsys) == {}
    (tmp_path / "room.toml").write_text('name = "ours"')
    assert shown(capsys) == {"name": ("ours", f"{tmp_path / 'room.toml'}:1")}
    monkeypatch.setattr("os.access", lambda *_arguments: False)
    assert run(["room", "config", "show"]) == 0
    told = capsys.readouterr()
    assert told.err == f"ssbfast: {tmp_path / 'room.toml'} is not used: this user may not read it\n"
    assert "Nothing is set" in told.out


def test_no_room_runs_with_a_mistake_in_its_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("hst = 1\nlistn = 2\n")
    for command in ([], ["status"], ["members", "list"]):
        assert run(["room", "--config", str(file), *command]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err == f"ssbfast: {file}:1:1: there is no option 'hst'; is it 'host'? (and 1 more mistakes)\n"


def test_check_tells_of_every_mistake(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text('host = "room.example"\n')
    assert run(["room", "config", "check", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: 1 option, no mistakes\n"
    file.write_text("hst = 1\nlistn = 2\n")
    for command in (["room", "config", "check", str(file)], ["room", "--config", str(file), "config", "check"]):
        assert run(command) == 2
        assert capsys.readouterr().err.count("\n") == 2
    assert run(["room", "config", "check", str(file), "--json"]) == 2
    found = json.loads(capsys.readouterr().out.splitlines()[0])
    assert len(found["mistakes"]) == 2


def test_check_looks_at_the_file_that_the_room_would_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_file, "SYSTEM", tmp_path)
    assert run(["room", "config", "check"]) == 2
    assert "say which file" in capsys.readouterr().err
    (tmp_path / "room.toml").write_text("x = 1")
    assert run(["room", "config", "check"]) == 2
    assert "room.toml:1:1: there is no option 'x'" in capsys.readouterr().err

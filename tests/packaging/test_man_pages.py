"""Manual pages: each command has one, with its options and examples, and troff shows them as they were written."""

from __future__ import annotations

import inspect
import re
import runpy
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ssbfast.cli.group import group
from tests.helpers.require import require

PROGRAM = Path(__file__).parents[2] / "packaging" / "man_pages.py"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("man")
    runpy.run_path(str(PROGRAM))["write"](folder)
    return folder


def commands(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, (*words, name))


COMMANDS = dict(commands(group, ("ssbfast",)))


def text_of(pages: list[Path]) -> str:
    """What a terminal shows of pages, in wide lines. Troff has to have no complaint."""
    require("groff", shutil.which("groff") is not None)
    wide = ("-rLL=400n", "-P-cbou")
    done = subprocess.run(
        ["groff", "-Kutf8", "-Tutf8", "-man", "-ww", *wide, *pages], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_each_command_has_a_page_and_nothing_else_has(pages: Path) -> None:
    assert {path.name for path in pages.iterdir()} == {f"{'-'.join(words)}.1" for words in COMMANDS}
    assert len(COMMANDS) > 40


def test_pages_show_options_and_examples_as_they_are(pages: Path) -> None:
    count = 0
    shown = {" ".join(line.split()) for line in text_of(sorted(pages.iterdir())).splitlines()}
    for words, command in COMMANDS.items():
        source = (pages / f"{'-'.join(words)}.1").read_text(encoding="utf-8")
        assert not re.search(r"(?<!\\)-", source.partition("\n")[2]), "a hyphen to troff, which no shell knows"
        source = source.replace(r"\-", "-")
        visible = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
        options = {name for option in visible for name in option.opts}
        assert {name for name in {*options, "--help"} if name not in source} == set(), words
        lines = inspect.cleandoc(command.help or "").split("\n")
        examples = {" ".join(line.split()) for line in lines if line.startswith("  ssbfast ")}
        assert examples - shown == set()
        count += len(examples)
    assert count > 50


def test_a_page_has_its_parts(pages: Path) -> None:
    text = text_of([pages / "ssbfast-room-config.1"])
    parts = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS", "EXAMPLES", "EXIT STATUS", "SEE ALSO"]
    found = [line for line in text.splitlines() if line.isupper() and not line.startswith((" ", "SSBFAST"))]
    assert found == parts
    assert "ssbfast-room-config - Check the file of options, and show what is set\n" in text
    assert "ssbfast-room(1), ssbfast-room-config-check(1), ssbfast-room-config-show(1)," in text

"""Misspelt commands, at every depth, and the sections of `ssbfast --help`."""

from __future__ import annotations

import click
import pytest

from ssbfast.cli.command_group import CommandGroup
from ssbfast.cli.group import COMMANDS, SECTIONS, group
from tests.helpers.commands import assert_unusable, run_here, succeed


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("shar", "share"),
        ("conect x", "connect"),
        ("contacts renam x y", "rename"),
        ("room memebrs", "members"),
        ("room members ad @x", "add"),
        ("room config chekc", "check"),
        ("config shwo", "show"),
        ("service instal", "install"),
        ("alias revok", "revoke"),
        ("keys shw", "show"),
    ],
)
def test_a_misspelt_command(words: str, meant: str) -> None:
    assert_unusable(run_here(*words.split()), "No such command", f"Did you mean '{meant}'?")


@pytest.mark.parametrize(("words", "see"), [("xyzzy", "ssbfast"), ("keys xyzzy", "ssbfast keys")])
def test_a_command_that_is_like_none(words: str, see: str) -> None:
    assert_unusable(run_here(*words.split()), "No such command 'xyzzy'.", f"See: {see} --help")


def test_every_group_knows_what_was_meant() -> None:
    def groups(one: click.Group, context: click.Context) -> list[click.Group]:
        inner = [one.get_command(context, name) for name in one.list_commands(context)]
        return [one, *(deep for each in inner if isinstance(each, click.Group) for deep in groups(each, context))]

    found = groups(group, click.Context(group))
    assert len(found) > 8
    assert [one.name for one in found if not isinstance(one, CommandGroup)] == []


def test_every_command_is_in_one_section() -> None:
    placed = [name for names in SECTIONS.values() for name in names]
    assert sorted(placed) == sorted(COMMANDS)


def test_help_shows_the_first_five_minutes_first() -> None:
    text = succeed("--help")
    titles = [line[:-1] for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles == ["Options", *SECTIONS]
    first = text.partition("The first five minutes:\n")[2].partition("\n\n")[0]
    names = [line.split()[0] for line in first.splitlines() if line.startswith("  ") and line[2] != " "]
    assert names == ["share", "pair", "open", "status", "service"]

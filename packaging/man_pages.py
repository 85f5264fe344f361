"""Write a manual page for each command of ssbfast: `python packaging/man_pages.py FOLDER`."""

from __future__ import annotations

import inspect
import os
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import click

from ssbfast.cli.group import group

SITE = "https://ssbfast.github.io/ssbfast/"
EXIT_STATUS = (
    ("0", "done, or ended by Ctrl-C or a signal"),
    ("1", "refused, or failed at run time"),
    ("2", "wrong usage, or input that cannot be used"),
)
_SPECIAL = str.maketrans(
    {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq"}
)


def contexts(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[click.Context]:
    """Yield the context of a command, and of all below it, but hidden ones."""
    settings = command.context_settings
    context = command.context_class(command, info_name=name, parent=parent, **settings)
    yield context
    for child in children(context):
        yield from contexts(child, str(child.name), context)


def children(context: click.Context) -> list[click.Command]:
    """Return the commands of a group, in its order."""
    if not isinstance(context.command, click.Group):
        return []
    found = (context.command.get_command(context, name) for name in context.command.list_commands(context))
    return [command for command in found if command is not None and not command.hidden]


def page(context: click.Context) -> str:
    """Return the page of a command, for man(1)."""
    command = context.command
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    examples = [text for text in paragraphs if text.startswith("\b")]
    prose = [" ".join(text.split()) for text in paragraphs if not text.startswith("\b")]
    date = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))
    name = name_of(context)
    lines = [f'.TH "{_plain(name.upper())}" "1" "{date}" "ssbfast {version("ssbfast")}" "ssbfast"']
    lines += [".SH NAME", rf"{_plain(name)} \- {_plain(prose[0].partition('. ')[0].rstrip('.'))}"]
    lines += [".SH SYNOPSIS", _bold(context.command_path), _plain(" ".join(command.collect_usage_pieces(context)))]
    lines += [".SH DESCRIPTION", *_separated(".PP", prose)]
    records = (parameter.get_help_record(context) for parameter in command.get_params(context))
    lines += _section("OPTIONS", [record for record in records if record is not None and record[1]])
    below = children(context)
    lines += _section("COMMANDS", [(str(child.name), child.get_short_help_str(500)) for child in below])
    for text in examples:
        title, *shown = text.removeprefix("\b\n").split("\n")
        lines += [
            f".SH {_plain(title.rstrip(':').upper())}",
            ".EX",
            *map(_plain, inspect.cleandoc("\n".join(shown)).split("\n")),
            ".EE",
        ]
    lines += _section("EXIT STATUS", EXIT_STATUS)
    related = [name_of(one) for one in ([] if context.parent is None else [context.parent])]
    related += [f"{name}-{child.name}" for child in below]
    lines += [".SH SEE ALSO", *(f".BR {_plain(one)} (1)," for one in related), _plain(SITE)]
    return "\n".join(lines) + "\n"


def name_of(context: click.Context) -> str:
    """Return the name of a command's page: its words with dashes."""
    return context.command_path.replace(" ", "-")


def write(folder: Path) -> None:
    """Write all pages into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for context in contexts(group, "ssbfast"):
        (folder / f"{name_of(context)}.1").write_text(page(context), encoding="utf-8")


# ---------------------------------------------------------------- troff


def _plain(text: str) -> str:
    """Write text so that it is shown as it is."""
    text = text.translate(_SPECIAL)
    return rf"\&{text}" if text.startswith((".", r"\(aq")) else text


def _bold(text: str) -> str:
    return f'.B "{_plain(text)}"'


def _separated(macro: str, texts: list[str]) -> list[str]:
    lines = [line for text in texts for line in (macro, _plain(text))]
    return lines[1:]


def _section(title: str, entries: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> list[str]:
    if not entries:
        return []
    return [f".SH {title}", *(line for term, text in entries for line in (".TP", _bold(term), _plain(text)))]


if __name__ == "__main__":
    write(Path(sys.argv[1]))

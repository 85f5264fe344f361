"""Options of a command from a TOML file: `host = "room.example"` in it means `--host room.example`.

What the command line says goes before the environment, and that before the file.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from ssbfast.cli.standard_error import warn
from ssbfast.errors import BadInputError, MissingExtraError

Command = TypeVar("Command", bound=Callable[..., Any])

SYSTEM: Final = Path("/etc/ssbfast")
"""Where the files of services are: `room.toml`."""

LARGEST: Final = 256 * 1024
"""Bytes of a file that are read."""

_META: Final = "ssbfast.config"
_HEADER: Final = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(#.*)?$")
_ENTRY: Final = re.compile(r"""\s*(?P<quote>["']?)(?P<key>[A-Za-z0-9_-]+)(?P=quote)\s*=\s*""")
_PLACE: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


class TableOption(click.Option):
    """A repeatable option NAME=VALUE; in the file a table: `--limit sessions=9` is `sessions = 9` below `[limit]`."""


@dataclass(frozen=True, slots=True)
class Setting:
    """An option that the file sets. value: as click takes it from a `default_map`. line: where it stands, from 1."""

    option: click.Option
    value: object
    line: int


@dataclass(slots=True)
class ConfigFile:
    """The settings of a file. settings: by the name of the parameter. mistakes: a line each, in its order."""

    path: Path
    settings: dict[str, Setting] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)

    def must_be_right(self) -> None:
        """Raise BadInputError for a file with a mistake."""
        if self.mistakes:
            more = len(self.mistakes) - 1
            raise BadInputError(self.mistakes[0] + (f" (and {more} more mistakes)" if more else ""))


def config_option(system: str) -> Callable[[Command], Command]:
    """Add --config to a command, whose default is the file of this name in /etc/ssbfast where there is one."""

    def load(context: click.Context, _option: click.Parameter, given: Path | None) -> Path | None:
        if context.resilient_parsing:  # a shell completes: it says nothing of the file
            return None
        path = given
        if path is None and (path := system_file(system)) is None:
            return None
        context.meta[_META] = found = read_config(path, context.command)
        values = {name: setting.value for name, setting in found.settings.items()}
        context.default_map = {**(context.default_map or {}), **values}
        return path

    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        is_eager=True,
        callback=load,
        help=f"File of options (TOML): names as here, without the dashes. Default: {SYSTEM / system}, if it is there.",
    )


def loaded_config() -> ConfigFile | None:
    """Return the file that options of the running command came from. The command has yet to refuse its mistakes."""
    found: ConfigFile | None = click.get_current_context().meta.get(_META)
    return found


def system_file(name: str) -> Path | None:
    """Return the file of this machine; None where there is none, or, with a warning, none that we may read."""
    path = SYSTEM / name
    if os.name == "nt" or not os.path.lexists(path):
        return None
    if not os.access(path, os.R_OK):
        warn(f"{path} is not used: this user may not read it")
        return None
    return path


def read_config(path: Path, command: click.Command) -> ConfigFile:
    """Read a file, and each value in it as the command's option would.

    Returns:
        The settings that can be used, and the mistakes: also that the file cannot be read, or is not TOML.

    Raises:
        MissingExtraError: Python 3.10 without `tomli`.
    """
    found = ConfigFile(path)
    try:
        text = _text(path)
        values = _parse(path, text)
    except BadInputError as error:
        found.mistakes.append(str(error))
        return found
    options = {key_of(option): option for option in command.params if isinstance(option, click.Option)}
    del options["config"]
    places = _places(text)
    for key, value in values.items():
        is_table = isinstance(value, dict)
        place = places.get((key, "") if is_table else ("", key), (1, 1, 1))
        option = options.get(key)
        if option is None or option.name is None:
            found.mistakes.append(_mistake(path, place[:2], _unknown(key, options, is_table)))
            continue
        parts: list[tuple[object, Place]] = [(value, place)]
        if isinstance(option, TableOption) and isinstance(value, dict):
            value = [f"{name}={one}" for name, one in value.items()]
            parts = [([text], places.get((key, text.partition("=")[0]), place)) for text in value]
        before = len(found.mistakes)
        for part, (line, _column, column) in parts:
            try:
                _check(command, option, part)
            except (BadInputError, click.BadParameter) as error:
                said = error.message if isinstance(error, click.BadParameter) else str(error)
                found.mistakes.append(_mistake(path, (line, column), f"{key}: {said}"))
        if len(found.mistakes) == before:
            found.settings[option.name] = Setting(option, _given(option, value), place[0])
    return found


def key_of(option: click.Option) -> str:
    """Return the name of an option in a file: its long name without the dashes."""
    return max(option.opts, key=len).lstrip("-")


# ---------------------------------------------------------------- the file

Place = tuple[int, int, int]
"""Line, column of the key, column of its value, each from 1."""


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise BadInputError(f"{path}: {(error.strerror or type(error).__name__).lower()}") from error
    if len(data) > LARGEST:
        raise BadInputError(f"{path}: longer than {LARGEST // 1024} KiB")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInputError(f"{path}:{line}: not UTF-8 text") from error


def _parse(path: Path, text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib as toml
    else:
        try:
            import tomli as toml
        except ModuleNotFoundError:
            raise MissingExtraError("a file of options needs another package here: pip install tomli") from None
    try:
        values: dict[str, Any] = toml.loads(text)
    except toml.TOMLDecodeError as error:
        said = str(error)
        if (place := _PLACE.search(said)) is None:
            raise BadInputError(f"{path}: {said}") from error
        line, column = place.groups() if place[1] else (text.count("\n") + 1, 1)
        raise BadInputError(f"{path}:{line}:{column}: {said[: place.start()]}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; as many arrays in each other
        raise BadInputError(f"{path}: a number that is too long, or arrays that are too deep") from error
    return values


def _places(text: str) -> dict[tuple[str, str], Place]:
    """Find where keys stand: those of a table as (table, key), others as ("", key), tables as (table, "")."""
    places: dict[tuple[str, str], Place] = {}
    table = ""
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line):
            table = header[1].strip("\"'")
            places.setdefault((table, ""), (number, header.start(1) + 1, header.start(1) + 1))
        elif entry := _ENTRY.match(line):
            places.setdefault((table, entry["key"]), (number, entry.start("key") + 1, entry.end() + 1))
    return places


def _mistake(path: Path, place: tuple[int, int], text: str) -> str:
    return f"{path}:{place[0]}:{place[1]}: {text}"


def _unknown(key: str, options: Iterable[str], table: bool) -> str:
    near = difflib.get_close_matches(key, options, 1)
    what = f"there is no table [{key}]" if table else f"there is no option {key!r}"
    return what + (f"; is it {near[0]!r}?" if near else "; the options: ssbfast room --help")


# ---------------------------------------------------------------- values


def _check(command: click.Command, option: click.Option, value: object) -> None:
    """Read a value as the option does. Raises BadInputError or click.BadParameter."""
    if (wanted := _wanted(option, value)) is not None:
        raise BadInputError(f"{wanted} is needed here")
    try:
        option.process_value(click.Context(command), _given(option, value))
    except OverflowError:
        raise BadInputError("this number is too large") from None


def _wanted(option: click.Option, value: object) -> str | None:
    """Return what kind of value the option wants, if this is none of that kind."""
    if isinstance(option, TableOption):
        return None if isinstance(value, list) else f"a table: [{key_of(option)}] and lines NAME = VALUE"
    if option.is_flag and option.is_bool_flag:
        return None if isinstance(value, bool) else "true or false"
    if value is True and isinstance(option.flag_value, str):
        return None
    kinds: tuple[type, ...] = (str,)
    word = "text in quotes"
    if isinstance(option.type, click.types.IntParamType | click.types.FloatParamType):
        kinds, word = (int, float), "a number"
    values = value if option.multiple and isinstance(value, list) else [value]
    if all(isinstance(one, kinds) and not isinstance(one, bool) for one in values):
        return None
    return f"a list of texts in quotes, or {word}," if option.multiple else word


def _given(option: click.Option, value: object) -> object:
    """Return a value as click takes it from a `default_map`."""
    if value is True and isinstance(option.flag_value, str):
        return option.flag_value
    if option.multiple and not isinstance(value, list):
        return [value]
    return value

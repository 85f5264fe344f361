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
from typing import Any, Final, TypeAlias, TypeVar

import click
from click.core import ParameterSource

from ssbfast.cli.standard_error import warn
from ssbfast.errors import BadInputError, MissingExtraError

Command = TypeVar("Command", bound=Callable[..., Any])

SYSTEM: Final = Path("/etc/ssbfast")
"""Where the files of services are: `room.toml`."""

USER: Final = "$XDG_CONFIG_HOME/ssbfast"
"""Where those of a user are, as people read it: `peer.toml`."""

LARGEST: Final = 256 * 1024
"""Bytes of a file that are read."""

_META: Final = "ssbfast.config"
_ARGUMENTS: Final = "ssbfast.arguments"
_HEADER: Final = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(#.*)?$")
_ENTRY: Final = re.compile(r"""\s*(?P<quote>["']?)(?P<key>[A-Za-z0-9_-]+)(?P=quote)\s*=\s*""")
_PLACE: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


Place = tuple[int, int, int]
"""Line, column of the key, column of its value, each from 1."""


class Table:
    """Take several texts NAME=VALUE; in the file a table."""

    def text_of(self, name: str, value: object) -> str:
        """Return an entry of the table as it is given on the command line. Raises BadInputError."""
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise BadInputError("a number, or text in quotes, is needed here")
        return f"{name}={value}"


class TableOption(Table, click.Option):
    """A repeatable option: `--limit sessions=9` is `sessions = 9` below `[limit]`."""


class TableArgument(Table, click.Argument):
    """A repeatable argument: `ssbfast share ssh=22` is `ssh = 22` below `[services]`."""


Settable: TypeAlias = "click.Option | TableArgument"
"""Values that can stand in a file."""


class ConfiguredCommand(click.Command):
    """A command whose parameters stand in a file and in the environment, too, and can be read again.

    Args:
        prefix: Of the environment's names: with SSBFAST_PEER, `--no-ticket` is SSBFAST_PEER_NO_TICKET.

    The other arguments are those of `click.Command`.
    """

    def __init__(self, *args: Any, prefix: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.prefix: Final = prefix
        for parameter in self.params:
            if parameter.envvar is None:
                parameter.envvar = f"{prefix}_{key_of(parameter).upper().replace('-', '_')}"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)


def read_again(context: click.Context) -> click.Context:
    """Return the context that a `ConfiguredCommand` would have if it began now. Raises click.ClickException."""
    return context.command.make_context(context.info_name, list(context.meta[_ARGUMENTS]))


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of the file. value: as click takes it from a `default_map`. places: of its parts, one at least."""

    option: Settable
    value: object
    places: tuple[Place, ...]

    @property
    def line(self) -> int:
        """Return where it stands, from 1."""
        return self.places[0][0]


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


def config_option(find: Callable[[], Path | None], shown: str) -> Callable[[Command], Command]:
    """Add --config to a command.

    find: returns the default, a file that is there. shown: the same for people.
    """

    def load(context: click.Context, _option: click.Parameter, given: Path | None) -> Path | None:
        if context.resilient_parsing:  # a shell completes: it says nothing of the file
            return None
        path = given
        if path is None and (path := find()) is None:
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
        help=f"File of options (TOML): names as here, without the dashes. Default: {shown}, if it is there.",
    )


def loaded_config(context: click.Context | None = None) -> ConfigFile | None:
    """Return the file that options of the running command came from. The command has yet to refuse its mistakes."""
    found: ConfigFile | None = (context or click.get_current_context()).meta.get(_META)
    return found


def name_of(parameter: str, index: int = 0) -> str:
    """Return what an error calls a value of the running command: its place in the file that it came from, or its name.

    parameter: by its name in Python. index: of a repeatable one.
    """
    context = click.get_current_context()
    option = next(one for one in context.command.params if one.name == parameter)
    loaded = loaded_config()
    if loaded is None or not is_from_file(context, parameter):
        return max(option.opts, key=len)
    places = loaded.settings[parameter].places
    line, _column, column = places[index if index < len(places) else 0]
    return f"{loaded.path}:{line}:{column}: {key_of(option)}"


def is_from_file(context: click.Context, parameter: str) -> bool:
    """Return whether a parameter, by its name in Python, has its value from the file."""
    return context.get_parameter_source(parameter) is ParameterSource.DEFAULT_MAP


def user_path(name: str) -> Path:
    """Return where the file of this user is, or would be."""
    home = os.environ.get("APPDATA" if os.name == "nt" else "XDG_CONFIG_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path("~/.config").expanduser()) / "ssbfast" / name


def user_file(name: str) -> Path | None:
    """Return the file of this user; None where there is none, or, with a warning, none that we may read."""
    return _readable(user_path(name))


def system_file(name: str) -> Path | None:
    """Return the file of this machine; None where there is none, or, with a warning, none that we may read."""
    return None if os.name == "nt" else _readable(SYSTEM / name)


def _readable(path: Path) -> Path | None:
    if not os.path.lexists(path):
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
    options = {key_of(one): one for one in command.params if isinstance(one, click.Option | TableArgument)}
    del options["config"]
    places = _places(text)
    for key, value in values.items():
        is_table = isinstance(value, dict)
        place = places.get((key, "") if is_table else ("", key), (1, 1, 1))
        option = options.get(key)
        if option is None or option.name is None:
            found.mistakes.append(_mistake(path, place[:2], _unknown(key, options, is_table, command.name)))
            continue
        parts: list[tuple[object, Place]] = [(value, place)]
        before = len(found.mistakes)
        if isinstance(option, Table) and isinstance(value, dict):
            parts, entries, value = [], value, list[str]()
            for name, one in entries.items():
                line, _column, column = where = places.get((key, name), place)
                try:
                    value.append(option.text_of(name, one))
                except BadInputError as error:
                    found.mistakes.append(_mistake(path, (line, column), f"{key}: {error}"))
                else:
                    parts.append((value[-1:], where))
        for part, (line, _column, column) in parts:
            try:
                _check(command, option, part)
            except (BadInputError, click.BadParameter) as error:
                said = error.message if isinstance(error, click.BadParameter) else str(error)
                found.mistakes.append(_mistake(path, (line, column), f"{key}: {said}"))
        if len(found.mistakes) == before:
            found.settings[option.name] = Setting(
                option, _given(option, value), tuple(place for _part, place in parts) or (place,)
            )
    return found


def key_of(option: click.Parameter) -> str:
    """Return the name of an option or argument in a file: its long name without the dashes."""
    return max(option.opts, key=len).lstrip("-")


# ---------------------------------------------------------------- the file


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


def _unknown(key: str, options: Iterable[str], table: bool, command: str | None) -> str:
    near = difflib.get_close_matches(key, options, 1)
    what = f"there is no table [{key}]" if table else f"there is no option {key!r}"
    return what + (f"; is it {near[0]!r}?" if near else f"; the options: ssbfast {command} --help")


# ---------------------------------------------------------------- values


def _check(command: click.Command, option: Settable, value: object) -> None:
    """Read a value as the option does. Raises BadInputError or click.BadParameter."""
    if (wanted := _wanted(option, value)) is not None:
        raise BadInputError(f"{wanted} is needed here")
    try:
        option.process_value(click.Context(command), _given(option, value))
    except OverflowError:
        raise BadInputError("this number is too large") from None


def _wanted(option: Settable, value: object) -> str | None:
    """Return what kind of value the option wants, if this is none of that kind."""
    if isinstance(option, TableArgument | TableOption):
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


def _given(option: Settable, value: object) -> object:
    """Return a value as click takes it from a `default_map`."""
    if isinstance(option, TableArgument):
        return value
    if value is True and isinstance(option.flag_value, str):
        return option.flag_value
    if option.multiple and not isinstance(value, list):
        return [value]
    return value

"""The options that several commands share: how they are read, and the errors when they make no sense."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ssbfast import limits
from ssbfast.cli.data_directory import check_rights
from ssbfast.cli.homes import PEER_DATA, home_of
from ssbfast.cli.output import clean_pieces, json_line
from ssbfast.cli.standard_error import warn
from ssbfast.cli.terminal_text import Piece, Style, plain_option
from ssbfast.errors import BadInputError
from ssbfast.ids import MAIN_NETWORK, NetworkId
from ssbfast.pasted.addresses import read_network

if TYPE_CHECKING:
    from ssbfast.keys import Keypair
    from ssbfast.net.endpoints import Place

Parsed = TypeVar("Parsed")
Command = TypeVar("Command", bound=Callable[..., Any])

SECRET: Final = "secret"
"""The name of the secret file in a data directory."""

PORTS: Final = "ports"
"""The name of the folder of claims on ports, which is the same for all data directories (`data_home`)."""

OWN_ID: Final = "that is your own id (another --data has another)"


def data_home(program: str) -> Path:
    """Return where a program keeps its things."""
    return Path(home_of(program)).expanduser()


def data_flag(data: Path) -> str:
    """Return what a command that we advise has to say to mean this directory; nothing for the default one."""
    return "" if data == data_home("peer") else f" --data {shlex.quote(str(data))}"


def has_store(data: Path) -> bool:
    """Return whether there is a store to read; also when that cannot be told, since opening it tells why."""
    from ssbfast.store.peer_store import FILE

    try:
        return (data / FILE).exists()
    except (OSError, ValueError):
        return True


def callback(parse: Callable[[Any], Parsed]) -> Callable[[click.Context, click.Parameter, Any], Parsed]:
    """Let click name the option in front of what our parsers say."""

    def parsed(_context: click.Context, _option: click.Parameter, given: Any) -> Parsed:
        try:
            return parse(given)
        except BadInputError as error:
            raise click.BadParameter(str(error)) from error

    return parsed


def several(parse: Callable[[str], Parsed]) -> Callable[[click.Context, click.Parameter, Any], tuple[Parsed, ...]]:
    """Do the same as `callback` for an option that can be repeated."""
    return callback(lambda texts: tuple(parse(text) for text in texts))


def parse_network(text: str | None) -> NetworkId:
    return MAIN_NETWORK if text is None else read_network(text)


def _parse_data(text: str | None) -> Path:
    if text is None:
        above = _above("data")
        if isinstance(above, Path):
            return above
        text = os.environ.get(PEER_DATA)
        if not text:
            return data_home("peer")
    if not text or "\0" in text:  # "$UNSET" must not mean this very directory
        raise BadInputError("the name of a directory is empty or cannot be used")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise BadInputError("no such user's directory") from None


def _above(name: str) -> object:
    """Return what the group that a command is in was given for an option: it holds for its commands."""
    context = click.get_current_context(silent=True)
    return None if context is None or context.parent is None else context.parent.params.get(name)


def parse_place(text: str | None) -> Place | None:
    """Read a place as `pasted.endpoint.read_place` does; None for an option that was not given."""
    if text is None:
        return None
    from ssbfast.pasted.endpoint import read_place

    return read_place(text)


network_option = click.option(
    "--network-key",
    "network",
    metavar="BASE64",
    envvar="SSBFAST_NETWORK_KEY",
    callback=callback(parse_network),
    help="Key of another network than the main one. Or set SSBFAST_NETWORK_KEY, which other users cannot read.",
)

json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    callback=callback(lambda given: given or bool(_above("as_json"))),
    help="Print one JSON object per line.",
)

data_option = click.option(
    "--data",
    metavar="DIR",
    is_eager=True,  # nicknames are looked up in it
    callback=callback(_parse_data),
    help=f"Directory of this peer: secret, contacts, denials. Or set {PEER_DATA}.",
)


_GROUP_READ: Final = "ssbfast.allow_group_read"


def _remember_group_read(context: click.Context, _option: click.Parameter, given: bool) -> None:
    context.meta[_GROUP_READ] = given or bool(context.meta.get(_GROUP_READ))  # given to the group of a command


group_read_option = click.option(
    "--allow-group-read",
    is_flag=True,
    expose_value=False,
    callback=_remember_group_read,
    help="Accept a secret file that its group can read, as Kubernetes mounts it (0440).",
)


def read_secret(file: Path, *, create: bool = False) -> Keypair:
    """Load the secret file as `--allow-group-read` says; warn each time. Raises KeyFileError."""
    from ssbfast.keys import load_secret

    check_rights(file.absolute().parent)
    context = click.get_current_context(silent=True)
    allowed = context is not None and bool(context.meta.get(_GROUP_READ))
    me = load_secret(file, create, allow_group_read=allowed)
    if allowed:
        warn(f"--allow-group-read: every member of the group of {file} can read it and act as this peer")
    return me


def peer_options(command: Command) -> Command:
    """Add the options that every command of a peer has: --data, --network-key, --allow-group-read, --plain, --json."""
    return data_option(network_option(group_read_option(plain_option(json_option(command)))))


connections_option = click.option(
    "--connections",
    metavar="N",
    type=click.IntRange(1, limits.FORWARDS_MOST),
    help=f"Most TCP connections with one peer at a time, default {limits.FORWARDS_PER_PEER}; as many wait for 15 s.",
)


def say(event: Mapping[str, Any], *pieces: Piece, as_json: bool) -> None:
    """Print the outcome of a command that ends at once: for people, or as an object."""
    if as_json:
        click.echo(json_line(event))
    else:
        say_text(*pieces)


def say_row(event: Mapping[str, Any], *pieces: Piece, as_json: bool) -> None:
    """Print one of a list: for people, no wider than a terminal, or as an object."""
    if as_json:
        click.echo(json_line(event))
    else:
        _echo(Style.of_list(sys.stdout), pieces)


def say_text(*pieces: Piece) -> None:
    """Print a text for people."""
    _echo(Style.of_text(sys.stdout), pieces)


def _echo(style: Style, pieces: Iterable[Piece]) -> None:
    click.echo(style.text(clean_pieces(pieces)), color=style.colour)

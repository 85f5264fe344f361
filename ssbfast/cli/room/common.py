"""Parts that the commands of a room share: its directory and store, ids and aliases as people give them, and words."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ssbfast import limits
from ssbfast.cli.options import SECRET, callback, data_home
from ssbfast.errors import BadInputError, KeyFileError, SSBError
from ssbfast.ids import FeedId

if TYPE_CHECKING:
    from ssbfast.room.records import Outcome
    from ssbfast.store.room_store import RoomStore

Command = TypeVar("Command", bound=Callable[..., Any])

OPERATOR: Final = "operator"
VISITOR: Final = "a visitor"


# ---------------------------------------------------------------- options


def _data(context: click.Context, _option: click.Parameter, given: str | None) -> Path:
    if given is None:
        above = context.parent.params.get("data") if context.parent is not None else None
        return data_home("room") if above is None else Path(above)
    if not given or "\0" in given:  # "$UNSET" must not mean this very directory
        raise click.BadParameter("the name of a directory is empty or cannot be used")
    try:
        return Path(given).expanduser()
    except RuntimeError:
        raise click.BadParameter("no such user's directory") from None


def _as_json(context: click.Context, _option: click.Parameter, given: bool) -> bool:
    return given or (context.parent is not None and bool(context.parent.params.get("as_json")))


def room_options(command: Command) -> Command:
    """Add --data and --json; where a group above was given them, they hold for its commands."""
    data = click.option("--data", metavar="DIR", callback=_data, help="Directory of the room.")
    as_json = click.option("--json", "as_json", is_flag=True, callback=_as_json, help="Print one JSON object per line.")
    return data(as_json(command))


force_option = click.option("--force", is_flag=True, help="Also when it is the last admin.")

who_argument = click.argument("who", metavar="@ID")


def short_text(text: str) -> str:
    """Check a note or comment; it is shown in lists."""
    if len(text) > limits.NOTE_LETTERS:
        raise BadInputError(f"it has {len(text)} characters; {limits.NOTE_LETTERS} are the most")
    return text


short_text_callback = callback(short_text)


# ---------------------------------------------------------------- the room


def room_flag(data: Path) -> str:
    """Return what a command that we advise has to say to mean this directory; nothing for the default one."""
    return "" if data == data_home("room") else f" --data {shlex.quote(str(data))}"


def next_command(command: str, data: Path) -> str:
    """Return a command to type next: "ssbfast room members add @ID --data DIR"."""
    return f"ssbfast room {command}".rstrip() + room_flag(data)


def to_read(data: Path) -> AbstractContextManager[RoomStore] | None:
    """Open the room's store for reading; None for a room that has none yet. Raises BadInputError where no room is."""
    from ssbfast.store.room_store import FILE, RoomStore

    if os.path.lexists(data / FILE):
        return RoomStore(data, reading=True)
    _must_be_room(data)
    return None


def to_write(data: Path) -> AbstractContextManager[RoomStore]:
    """Open the room's store, made if the room has none yet. Raises BadInputError where no room is."""
    from ssbfast.store.room_store import FILE, RoomStore

    if not os.path.lexists(data / FILE):
        _must_be_room(data)
    return RoomStore(data)


def _must_be_room(data: Path) -> None:
    """Refuse a directory without a room: a mistyped one must not silently become a room."""
    if not os.path.lexists(data / SECRET):
        raise BadInputError(f"there is no room in {data}: it is made when it first runs, by {next_command('', data)}")


def room_id(data: Path) -> FeedId | None:
    """Return the room's own id; None while it cannot be read."""
    from ssbfast.keys import load_secret

    try:
        return load_secret(data / SECRET, allow_group_read=True).id
    except KeyFileError:
        return None


def read_who(text: str, store: RoomStore, data: Path) -> FeedId:
    """Read the peer that an alias in this room or a pasted id stands for. Raises BadInputError."""
    from ssbfast.pasted.addresses import read_id
    from ssbfast.wire.alias import may_be_alias

    name = text.strip()
    is_name = may_be_alias(name)
    if is_name:
        for alias in store.aliases():
            if alias.name == name:
                return alias.feed
    try:
        feed = read_id(text)
    except BadInputError as error:
        if is_name and len(name) < 40:  # longer ones are keys without their @
            raise BadInputError(
                f"{name!r} is no alias in this room, nor an id; see the aliases with: {next_command('alias', data)}"
            ) from None
        raise BadInputError(f"@ID: {error}") from error
    if feed == room_id(data):
        raise BadInputError(f"{feed} is the room's own id, not a peer's")
    return feed


# ---------------------------------------------------------------- words


def day(seconds: float | None) -> str:
    """Return a day for people."""
    return "never" if seconds is None else time.strftime("%Y-%m-%d", time.localtime(seconds))


def names_of(store: RoomStore, data: Path) -> dict[FeedId, str]:
    """Return an alias of each key that has one. In the room's own name act visitors who are not signed in."""
    names = {alias.feed: alias.name for alias in reversed(store.aliases())}
    me = room_id(data)
    return names if me is None else {**names, me: VISITOR}


def called(feed: FeedId | None, names: Mapping[FeedId, str]) -> str:
    """Return how a list names a peer beside others: its alias, or the short id."""
    if feed is None:
        return OPERATOR
    return names.get(feed, feed.short)


def id_or_none(feed: FeedId | None) -> str | None:
    """Return an id as JSON has it; null for the operator."""
    return None if feed is None else str(feed)


def must_not_be_last_admin(outcome: Outcome, who: FeedId, data: Path) -> None:
    """Raise SSBError when the room refused because the key is its last admin."""
    from ssbfast.room.records import Outcome

    if outcome is Outcome.LAST_ADMIN:
        raise SSBError(
            f"{who} is the last admin, and stays: make another one first with "
            f"{next_command('members add @ID --role admin', data)}, or say --force"
        )


def no_member(who: FeedId, data: Path) -> BadInputError:
    """Return the error for a key that has to be a member and is none."""
    return BadInputError(f"{who} is no member; see the members with: {next_command('members', data)}")

"""Nicknames of contacts: taken wherever a command takes an id, and shown beside short ids.

`find_contact` is the one place where they are read, `Nicknames` the one where they are shown.
"""

from __future__ import annotations

import difflib
import socket
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from ssbfast.cli.options import callback, data_flag, has_store
from ssbfast.cli.terminal_text import FULL, is_full
from ssbfast.errors import BadInputError, SSBError
from ssbfast.ids import FeedId
from ssbfast.pasted.addresses import read_id
from ssbfast.wire.pairing import is_name, name_from

if TYPE_CHECKING:
    from ssbfast.store.peer_store import Contact, Store

Command = TypeVar("Command", bound=Callable[..., Any])


# ---------------------------------------------------------------- reading them


class UnknownNicknameError(BadInputError):
    """No contact has that nickname."""


def find_contact(text: str, data: Path) -> Contact | None:
    """Return the contact that a nickname stands for; None for a text that is no nickname, but an id or an address.

    Raises UnknownNicknameError, which names the nearest one, when no contact is called so.
    """
    name = text.strip()
    if not is_name(name):
        return None
    contacts = _named(data)
    if name in contacts:
        return contacts[name]
    near = difflib.get_close_matches(name, contacts, 1)
    hint = f"did you mean {near[0]}?" if near else f"see: ssbfast contacts{data_flag(data)}"
    raise UnknownNicknameError(f"that is a name, and no contact is called {name}; {hint}")


def find_peer(text: str, data: Path) -> FeedId:
    """Return the peer that a nickname or a pasted id stands for. Raises BadInputError."""
    contact = find_contact(text, data)
    return read_id(text) if contact is None else contact.id


def read_nickname(text: str | None) -> str | None:
    """Check a nickname that is to be given; None for none. Raises BadInputError."""
    if text is not None and not is_name(text):
        raise BadInputError(f"a name has 1 to 32 of a-z, 0-9 and -, no - at an end: {text[:40]!r} has not")
    return text


def own_name(given: str | None) -> str | None:
    """Return what this peer calls itself: what was given, or the computer's name; None when that is of no use."""
    return given or name_from(socket.gethostname())


def _named(data: Path) -> dict[str, Contact]:
    from ssbfast.store.peer_store import Store

    if not has_store(data):
        return {}
    with Store(data, reading=True) as store:
        return {contact.nickname: contact for contact in store.contacts() if contact.nickname is not None}


# ---------------------------------------------------------------- options


def _peer(context: click.Context, _option: click.Parameter, given: str | None) -> FeedId | None:
    if given is None:
        return None
    try:
        return find_peer(given, context.params["data"])
    except BadInputError as error:
        raise click.BadParameter(str(error)) from error


def _peers(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> tuple[FeedId | None, ...]:
    return tuple(_peer(context, option, text) for text in given)


def complete(context: click.Context, _option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the nicknames that begin so, for a shell."""
    data = context.params.get("data")
    try:
        names = {} if data is None else _named(data)
    except SSBError:
        return []
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


def complete_service(context: click.Context, option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return nicknames that begin so, for a shell; for NICK/ the services that a running process has a session with.

    Nothing else knows them: what a friend offers is written down nowhere.
    """
    from ssbfast.cli.running import ask_all

    nickname, slash, begun = incomplete.partition("/")
    data = context.params.get("data")
    if not slash or data is None:
        return complete(context, option, incomplete)
    try:
        contact = _named(data).get(nickname)
        answers = [] if contact is None else ask_all(data, "services", peer=str(contact.id))
    except SSBError:
        return []
    names = sorted({str(name) for names, _problem in answers for name in names or ()})
    return [CompletionItem(f"{nickname}/{name}") for name in names if name.startswith(begun)]


def peer_argument(metavar: str = "@ID|NICK", *, required: bool = True) -> Callable[[Command], Command]:
    """Add the argument `who`: a peer, by its id or nickname. The command has --data."""
    return click.argument("who", metavar=metavar, required=required, callback=_peer, shell_complete=complete)


def peers_option(flag: str, *, help: str) -> Callable[[Command], Command]:
    """Add a repeatable option for peers, by their ids or nicknames. The command has --data."""
    return click.option(
        flag, multiple=True, metavar="@ID|NICK", callback=_peers, shell_complete=complete, help=f"{help}; repeatable."
    )


as_option = click.option(
    "--as",
    "nickname",
    metavar="NICK",
    callback=callback(read_nickname),
    help="What you call the peer: 1 to 32 of a-z, 0-9 and -.",
)

name_option = click.option(
    "--name",
    metavar="NAME",
    callback=callback(read_nickname),
    help="What you are called by peers that you pair with, unless they choose; default: this computer's name.",
)


def _remember_full(context: click.Context, _option: click.Parameter, given: bool) -> None:
    context.meta[FULL] = given or bool(context.meta.get(FULL))  # the group of a command has it, too


full_option = click.option(
    "--full", is_flag=True, expose_value=False, callback=_remember_full, help="Show whole ids, not short ones."
)


# ---------------------------------------------------------------- showing them


def brief(who: FeedId) -> str:
    """Return an id as lists show it that are not there to copy ids from: short; with --full the whole one."""
    return str(who) if is_full() else who.short


def show(who: FeedId, nickname: str | None) -> str:
    """Return a peer as people read it: nickname and short id, with --full the whole one; without nickname its id."""
    return str(who) if nickname is None else f"{nickname} ({brief(who)})"


class Nicknames:
    """A context that shows peers as they are called at that moment: a running command feels `contacts rename`.

    data: the directory with our contacts.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._store: Store | None = None
        self._stamp: object = None
        self._names: dict[str, str] = {}
        self._contacts: dict[str, Contact] = {}

    def __enter__(self) -> Nicknames:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def __call__(self, who: str) -> str:
        """Return a peer, given by its id, as people read it; any other text as it is."""
        nickname = self.find(who)
        return who if nickname is None else show(FeedId.parse(who), nickname)

    def find(self, who: str) -> str | None:
        """Return the nickname of a peer, given by its id; None for one that has none."""
        self._refresh()
        return self._names.get(who)

    def contacts(self) -> dict[str, Contact]:
        """Return the contacts that have a nickname, by it."""
        self._refresh()
        return self._contacts

    def _refresh(self) -> None:
        """Read the contacts when they have changed; those of before stay while the store cannot be read."""
        from ssbfast.store.peer_store import Store

        try:
            if self._store is None:
                if not has_store(self._data):
                    return
                self._store = Store(self._data, reading=True)
            stamp = self._store.stamp()
            if stamp != self._stamp:
                self._contacts = {one.nickname: one for one in self._store.contacts() if one.nickname is not None}
                self._names = {str(one.id): nickname for nickname, one in self._contacts.items()}
                self._stamp = stamp
        except SSBError:
            return

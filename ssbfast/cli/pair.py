"""`ssbfast pair`: take a ticket. Afterwards its maker and we follow each other."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ssbfast import limits
from ssbfast.cli.nicknames import as_option, full_option, name_option, own_name, show
from ssbfast.cli.options import callback, data_flag, peer_options, say
from ssbfast.cli.peer_options import RoomAddress, in_room, load_me
from ssbfast.cli.room_names import configured_rooms, read_room_or_name
from ssbfast.cli.terminal_text import Meaning, Piece, progress
from ssbfast.errors import BadInputError, RefusedError, RemoteError, SSBError, StoreError
from ssbfast.ids import FeedId, NetworkId
from ssbfast.pasted.tidy_text import tidy
from ssbfast.wire.pairing import NOT_NOW, UNUSABLE, USED, Taken, Ticket
from ssbfast.wire.words import NOT_THERE, WRONG, Words, look_like_words

if TYPE_CHECKING:
    from ssbfast.keys import Keypair

T = TypeVar("T")

_SAME: Final = "the same command"
"""What is done again after a fault; for words it is the ticket that they led to."""

_MAY_BE_OVER: Final = "if the words were right, they hold no more"

_NOT_NOW: Final = "your friend's machine cannot write it down now, and the ticket holds on: try again later"

FRIEND: Final = "friend"
"""The nickname of a peer for which neither we nor it know a better one."""


@dataclass(frozen=True, slots=True)
class _WordsAt:
    """Words, and the room that they were given with: its address, or its name, or None."""

    words: Words
    room: str | None


def _read(text: str) -> Ticket | _WordsAt:
    if text == "-":
        text = "" if sys.stdin is None else sys.stdin.readline(limits.PASTED_TEXT)
    tidied = tidy(text[: limits.PASTED_TEXT])
    words, at, room = tidied.partition("@")
    return _WordsAt(Words.parse(words), room if at else None) if look_like_words(words) else Ticket.parse(tidied)


@click.command()
@click.argument("ticket", metavar="TICKET|WORDS@ROOM", callback=callback(_read))
@click.option(
    "--room",
    metavar="ADDRESS",
    callback=callback(lambda text: None if text is None else RoomAddress.parse(text)),
    help="The room where your friend waits, for words alone; default: the only one of peer.toml.",
)
@as_option
@name_option
@full_option
@peer_options
def pair(
    ticket: Ticket | _WordsAt,
    room: RoomAddress | None,
    nickname: str | None,
    name: str | None,
    data: Path,
    network: NetworkId,
    as_json: bool,
) -> None:
    """Take a ticket that a friend has given you: from then on you follow each other.

    The friend makes it with `ssbfast share` or `ssbfast ticket`. One of the two commands `ssbfast share` and `ssbfast
    listen` has to run there. A ticket lets in one peer, once. It may also be three words, which were read out to you:
    WORDS@ROOM, with the room's name or address; WORDS alone where peer.toml has one room, or with --room. `-` reads
    one line from stdin: other users of this machine see what a command is given.

    \b
    Examples:
      ssbfast pair pair-EAGc…
      ssbfast pair maple-ocean-violin@room.example
      ssbfast pair maple-ocean-violin --room net:room.example:8008~shs:KEY
      ssbfast pair pair-EAGc… --as home --name laptop
      ssbfast pair - < ticket.txt
    """
    if isinstance(ticket, _WordsAt):
        room = _room_of(ticket, room, data)
        me = _ready(data)
        with progress("Looking for the words in the room"):
            ticket = _run(_find(me, ticket.words, room, network), _MAY_BE_OVER)
        again = f"`ssbfast pair {ticket}{data_flag(data)}`"
    else:
        if room is not None:
            raise click.UsageError("--room is for words: a ticket says which room it is")
        _check_time(ticket)
        me, again = _ready(data), _SAME
    try:
        _check(ticket.target, me.id, nickname, data)
        taken, called = _pair(ticket, me, own_name(name), nickname, data, network, again)
    except SSBError as error:
        if again == _SAME or again in str(error):
            raise
        raise SSBError(f"{error}; the words are used up, so go on with {again}") from error
    event = {
        "event": "paired",
        "peer": str(ticket.target),
        "nickname": called,
        "portal": str(ticket.room.shs),
        "address": str(ticket.room),
        "services": list(taken.services),
    }
    say(event, *_in_words(ticket.target, called or FRIEND, taken, data), as_json=as_json)


def _room_of(words: _WordsAt, given: RoomAddress | None, data: Path) -> RoomAddress:
    """Return the room of words. given: that of --room. Raises BadInputError."""
    if words.room is not None and given is not None:
        raise click.UsageError("the words say which room it is: without --room")
    if words.room is not None:
        return read_room_or_name(words.room, data)
    known = [given] if given is not None else list(dict.fromkeys(configured_rooms()))
    if len(known) != 1:
        many = "peer.toml has several rooms" if known else "the words alone do not say which room it is"
        raise click.UsageError(f"{many}: WORDS@ROOM, with its name or address")
    return known[0]


def _pair(
    ticket: Ticket, me: Keypair, name: str | None, nickname: str | None, data: Path, network: NetworkId, again: str
) -> tuple[Taken, str | None]:
    """Take a ticket and follow its maker; return what it said, and its nickname. again: the command that finishes it.

    Raises SSBError. When its maker may follow us and we do not follow it, the text says so.
    """
    from ssbfast.store.peer_store import Store

    finish = f"your friend may follow you already: {again} finishes it"
    room = RoomAddress.parse(str(ticket.room))
    with progress("Looking for your friend in the room"):
        taken = _run(_take(me, ticket, room, name, network, finish), finish)
    try:
        with Store(data) as store:
            return taken, store.befriend(ticket.target, taken.name or FRIEND, room.text, nickname=nickname)
    except KeyboardInterrupt:
        raise _interrupted(finish) from None
    except SSBError as error:
        raise StoreError(f"{error}; {finish}") from error


def _run(work: Coroutine[Any, Any, T], then: str) -> T:
    """Run something. then: what is said when it is interrupted. Raises what it raises."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise _interrupted(then) from None


def _interrupted(then: str) -> SSBError:
    return SSBError(f"interrupted; {then}")


def _ready(data: Path) -> Keypair:
    """Return our identity. Raises SSBError when a pairing could not be written down: then it is not begun."""
    from ssbfast.store.peer_store import Store

    me = load_me(data)
    with Store(data) as store:
        store.check_writing()
    return me


def _in_words(who: FeedId, called: str, taken: Taken, data: Path) -> tuple[Piece, Piece]:
    offered = f" Offered: {', '.join(taken.services)}." if taken.services else ""
    text = f"Paired with {show(who, called)}. You follow each other.{offered}\nNext: "
    what = f"open {called}/{taken.services[0]}" if taken.services else f"connect {called} --bind 127.0.0.1:8080"
    return text, (f"ssbfast {what}{data_flag(data)}", Meaning.HINT)


def _check_time(ticket: Ticket) -> None:
    if ticket.ends <= time.time():
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(ticket.ends))
        now = time.strftime("%Y-%m-%d %H:%M")
        told = f"the ticket expired at {when}, and this machine's clock says {now}"
        raise RefusedError(f"{told}: ask for another one, or set the clock")


def _check(target: FeedId, me: FeedId, nickname: str | None, data: Path) -> None:
    """Look for what would make a pairing useless, before the ticket is spent. Raises BadInputError."""
    from ssbfast.store.peer_store import Store

    if target == me:
        raise BadInputError("that is your own ticket: it is for another peer (another --data has another)")
    with Store(data) as store:
        blocked, called = store.relation(target).blocks, store.nickname(target)
        other = None if nickname is None else store.contact(nickname)
    if blocked:
        raise BadInputError(
            f"the ticket is from a peer that you block; first: ssbfast unblock {called or target}{data_flag(data)}"
        )
    if other is not None and other.id != target:
        raise BadInputError(f"another peer is called {nickname} already: choose another name for --as")


async def _find(me: Keypair, words: Words, room: RoomAddress, network: NetworkId) -> Ticket:
    """Join a room without being listed, ask for the ticket that words lead to, and leave. Raises SSBError."""
    from ssbfast.client.room_client import RoomClient

    async with RoomClient(me, network=network) as client:
        try:
            joined = await client.join(room.text, announce=False, attendants=False, stay=False)
        except SSBError as error:
            raise in_room(room, error) from error
        try:
            return await client.find_ticket(joined, words)
        except SSBError as error:
            raise _wrong_words(error, room) from error


def _wrong_words(error: SSBError, room: RoomAddress) -> SSBError:
    """Return why words led to no ticket, and what to do."""
    if str(error) == WRONG:
        return RefusedError("the words are wrong, or hold no more: ask for new ones")
    if str(error) == NOT_THERE:
        where = f"room {room.portal.short}"
        return RefusedError(f"no peer in {where} waits for these words: the first is wrong, or they hold no more")
    if isinstance(error, RefusedError):
        return in_room(room, error)
    return SSBError(f"{in_room(room, error)}; {_MAY_BE_OVER}: ask for new ones")


async def _take(
    me: Keypair, ticket: Ticket, room: RoomAddress, name: str | None, network: NetworkId, finish: str
) -> Taken:
    """Join the ticket's room without being listed, take the ticket, and leave. Raises SSBError.

    finish: what is said when it is not known whether the other peer has taken note.
    """
    from ssbfast.client.room_client import RoomClient

    async with RoomClient(me, network=network) as client:
        try:
            joined = await client.join(room.text, announce=False, attendants=True, stay=False)
        except SSBError as error:
            raise in_room(room, error) from error
        try:
            return await client.pair(ticket, name)
        except RefusedError as error:
            is_away = not joined.is_external and ticket.target not in joined.attendants
            raise RefusedError(_reason(str(error), room, is_away=is_away)) from error
        except RemoteError as error:
            raise SSBError(_NOT_NOW if error.message == NOT_NOW else f"{in_room(room, error)}; {finish}") from error
        except SSBError as error:
            raise SSBError(f"{in_room(room, error)}; {finish}") from error


def _reason(said: str, room: RoomAddress, *, is_away: bool) -> str:
    """Return why a ticket was not taken, and what to do. said: what came from the other side."""
    if said == USED:
        return f"{USED}: ask for another one. If you did not use it, another one did: tell your friend"
    if said == UNUSABLE:
        return f"{UNUSABLE}: your friend's peer does not accept it from you"
    if is_away:
        where = f"room {room.portal.short}"
        return f"the peer of the ticket is not in {where} now: `ssbfast share` or `ssbfast listen` has to run there"
    return "the ticket was refused: it expired there, or was cancelled; ask for another one"

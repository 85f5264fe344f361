"""`ssbfast ticket`: make one more ticket while `ssbfast share` or `listen` runs, list them, cancel them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ssbfast import limits
from ssbfast.cli.invitation import HOUR, invitation, invitation_in_words, ticket_event, words_event
from ssbfast.cli.nicknames import full_option, show
from ssbfast.cli.options import callback, data_flag, has_store, peer_options, say
from ssbfast.cli.output import in_utc
from ssbfast.cli.peer_options import RoomAddress, load_me
from ssbfast.cli.qr import check_qr, qr
from ssbfast.cli.room_names import configured_rooms
from ssbfast.cli.terminal_text import Piece
from ssbfast.errors import BadInputError, RefusedError
from ssbfast.ids import NetworkId
from ssbfast.wire.words import check_words

if TYPE_CHECKING:
    from ssbfast.ids import FeedId
    from ssbfast.store.peer_tickets import TicketRecord
    from ssbfast.wire.pairing import Ticket

_WAITING: Final = ("share", "listen")
"""Commands that take tickets."""


@click.command()
@click.option(
    "--room",
    metavar="ADDRESS",
    callback=callback(lambda text: None if text is None else RoomAddress.parse(text)),
    help="The room where you wait; default: that of peer.toml, as for `share`, else that of your newest ticket.",
)
@click.option(
    "--hours",
    type=float,
    metavar="N",
    default=limits.TICKET_SECONDS / HOUR,
    show_default=True,
    help="How long it holds: from a minute (0.02) to a week (168).",
)
@click.option("--qr", "as_qr", is_flag=True, help="Show it as a QR code, too.")
@click.option("--words", "in_words", is_flag=True, help="Make it in three words, to be read out; the room is known.")
@click.option("--list", "listing", is_flag=True, help="List your tickets, and which peers took them.")
@click.option("--cancel", is_flag=True, help="Cancel all tickets that no peer has taken.")
@full_option
@peer_options
def ticket(
    room: RoomAddress | None,
    hours: float,
    as_qr: bool,
    in_words: bool,
    listing: bool,
    cancel: bool,
    data: Path,
    network: NetworkId,
    as_json: bool,
) -> None:
    """Make a ticket, which lets one peer in, once. Give it to a friend by a way that keeps it secret.

    `ssbfast share` or `ssbfast listen` has to run while the friend takes it with `ssbfast pair TICKET`. Then you follow
    each other.

    \b
    Examples:
      ssbfast ticket --room net:room.example:8008~shs:KEY
      ssbfast ticket --hours 24 --qr
      ssbfast ticket --words
      ssbfast ticket --list
      ssbfast ticket --cancel
    """
    if listing and cancel:
        raise click.UsageError("--list and --cancel are two things: one at a time")
    if (listing or cancel) and (as_qr or in_words or room is not None):
        raise click.UsageError("--room, --qr and --words are for a new ticket")
    if as_qr and in_words:
        raise click.UsageError("--qr shows a ticket, --words is for reading one out: one of the two")
    if listing:
        _list(data, as_json=as_json)
    elif cancel:
        _cancel(data, as_json=as_json)
    elif in_words:
        _make_words(room, hours * HOUR, data, as_json=as_json)
    else:
        _make(room, hours * HOUR, data, as_qr=as_qr, as_json=as_json)


def _make(room: RoomAddress | None, seconds: float, data: Path, *, as_qr: bool, as_json: bool) -> None:
    from ssbfast.client.pairing import make_ticket, room_of_tickets
    from ssbfast.store.peer_store import Store

    if as_qr:
        check_qr()
    text = _usual_room(data) if room is None else room.text
    address = room_of_tickets(text)
    me = load_me(data)
    with Store(data) as store:
        made = make_ticket(store, me.id, address, seconds)
    pieces: list[Piece] = [*invitation(made, seconds)]
    if as_qr and not as_json:
        pieces.append(f"\n{qr(str(made)).rstrip()}")
    if not as_json and not _is_awaited(made, data):
        pieces.append("\nNothing waits for it in that room yet: run `ssbfast share` or `ssbfast listen` there.")
    say(ticket_event(made), *pieces, as_json=as_json)


def _make_words(room: RoomAddress | None, seconds: float, data: Path, *, as_json: bool) -> None:
    """Let the running process make a ticket in words: it has to answer for them."""
    from ssbfast.cli.running import ask_all

    check_words()
    wanted = None if room is None else str(room.portal)
    answers = ask_all(data, "words", room=wanted, seconds_of_life=seconds)
    found = next((told for told, _problem in answers if told is not None), None)
    if found is None:
        problems = [problem for _told, problem in answers if problem is not None]
        missing = "words need a running `ssbfast share` or `ssbfast listen`: only these can answer for them"
        raise RefusedError(problems[0] if problems else missing)
    event = asyncio.run(words_event(found["words"], found["address"], found["expires"]))
    say(event, *invitation_in_words(event, seconds), as_json=as_json)


def _is_awaited(made: Ticket, data: Path) -> bool:
    """Return whether a process waits in the ticket's room with this directory, or that cannot be told."""
    from ssbfast.cli.running import ask_all
    from ssbfast.net.control_socket import is_supported

    answers = ask_all(data, "status")
    rooms = {room["id"] for told, _problem in answers if told and told["command"] in _WAITING for room in told["rooms"]}
    return not is_supported() or str(made.room.shs) in rooms or any(problem for _told, problem in answers)


def _usual_room(data: Path) -> str:
    """Return the room where `ssbfast share` without arguments would wait, else that of the newest ticket."""
    for room in configured_rooms():
        return room.text
    for record in _records(data)[0]:
        return record.room
    raise BadInputError("say in which room you wait: --room ADDRESS")


def _list(data: Path, *, as_json: bool) -> None:
    found, nicknames = _records(data)
    words = {told["ticket"]: told["words"] for told in _ask_for_words(data, "open_words")} if found else {}
    for record in found:
        in_words = words.get(str(record.key))
        line = _in_a_line(record, nicknames) + (f", in words: {in_words}" if in_words else "")
        say({**_as_event(record), "words": in_words}, line, as_json=as_json)
    if not found and not as_json:
        click.echo(f"There are no tickets. Next: ssbfast ticket --room ADDRESS{data_flag(data)}")


def _cancel(data: Path, *, as_json: bool) -> None:
    from ssbfast.store.peer_store import Store

    words = bool(_ask_for_words(data, "cancel_words"))
    cancelled = 0
    if has_store(data):
        with Store(data) as store:
            cancelled = store.cancel_tickets()
    text = f"{cancelled} ticket{'' if cancelled == 1 else 's'} cancelled." if cancelled else "No ticket was open."
    if words:
        text += " The words hold no more."
    say({"event": "tickets_cancelled", "n": cancelled, "words": words}, text, as_json=as_json)


def _ask_for_words(data: Path, question: str) -> list[Any]:
    """Ask the processes that run about the words that they answer for; return the answers of those that have some."""
    from ssbfast.cli.running import ask_all
    from ssbfast.net.control_socket import is_supported

    return [told for told, _problem in ask_all(data, question) if told] if is_supported() else []


def _records(data: Path) -> tuple[list[TicketRecord], dict[FeedId, str | None]]:
    """Return our tickets, the newest first, and the nicknames of our contacts."""
    from ssbfast.store.peer_store import Store

    if not has_store(data):
        return [], {}
    with Store(data, reading=True) as store:
        return store.tickets(), {contact.id: contact.nickname for contact in store.contacts()}


def _as_event(record: TicketRecord) -> dict[str, object]:
    return {
        "event": "ticket",
        "key": str(record.key),
        "address": record.room,
        "made": in_utc(record.made),
        "expires": in_utc(record.expires),
        "taker": None if record.taker is None else str(record.taker),
        "taken": None if record.taken is None else in_utc(record.taken),
    }


def _in_a_line(record: TicketRecord, nicknames: dict[FeedId, str | None]) -> str:
    if record.taker is not None and record.taken is not None:
        state = f"taken {_minute(record.taken)} by {show(record.taker, nicknames.get(record.taker))}"
    elif record.expires <= time.time():
        state = f"expired {_minute(record.expires)}"
    else:
        state = f"open until {_minute(record.expires)}"
    return f"made {_minute(record.made)}  {state}"


def _minute(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))

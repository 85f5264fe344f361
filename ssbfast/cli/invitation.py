"""New tickets, as `ssbfast share` and `ssbfast ticket` tell them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ssbfast.cli.output import duration, in_utc, shell_word
from ssbfast.cli.terminal_text import Meaning, Piece
from ssbfast.wire.address import parse_address

if TYPE_CHECKING:
    from ssbfast.wire.pairing import Ticket

HOUR: Final = 3600.0


def ticket_event(made: Ticket) -> dict[str, object]:
    """Return the event that tells of a new ticket."""
    return {"event": "ticket", "ticket": str(made), "address": str(made.room), "expires": in_utc(made.ends)}


def invitation(made: Ticket, seconds: float) -> tuple[Piece, Piece]:
    """Return what people read of a new ticket. seconds: how long it holds."""
    return f"Let someone in (once, within {_span(seconds)}):   ", (f"ssbfast pair {made}", Meaning.HINT)


async def words_event(words: str, address: str, expires: str) -> dict[str, str | None]:
    """Return the event that tells of a new ticket in words. address: of its room, whose web site may tell its name."""
    from ssbfast.client.room_sites import name_of

    name = await name_of(parse_address(address)[0])
    return {"event": "words", "words": words, "address": address, "room": name, "expires": expires}


def invitation_in_words(event: Mapping[str, str | None], seconds: float) -> tuple[Piece, Piece]:
    """Return what people read of a new ticket in words. event: that of `words_event`. seconds: how long it holds."""
    whole = shell_word(f"{event['words']}@{event['room'] or event['address']}")
    return f"Let someone in (once, within {_span(seconds)}):   ", (f"ssbfast pair {whole}", Meaning.HINT)


def _span(seconds: float) -> str:
    return "the hour" if seconds == HOUR else duration(seconds)

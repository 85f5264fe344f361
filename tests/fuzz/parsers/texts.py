"""What people type, paste and keep: addresses, ids, endpoints, secret files; a peer's texts before they are shown."""

from __future__ import annotations

import base64
import hashlib
import tempfile
from pathlib import Path
from typing import Final

from ssbfast.cli.nicknames import UnknownNicknameError
from ssbfast.cli.options import parse_network, parse_place
from ssbfast.cli.peer_options import RoomAddress
from ssbfast.cli.resolve_target import parse, split_service
from ssbfast.client.targets import parse_target, ways_into
from ssbfast.errors import AddressError, BadInputError, FeedIdError, KeyFileError
from ssbfast.ids import FeedId, NetworkId
from ssbfast.keys import load_secret
from ssbfast.limits import ADDRESS_TEXT
from ssbfast.net.endpoints import Endpoint, UnixPath, show_place
from ssbfast.wire.address import format_address, parse_address, parse_invite
from ssbfast.wire.muxrpc_body import clean_text
from ssbfast.wire.pairing import Ticket, is_name
from ssbfast.wire.private_tunnel import parse_private_tunnel
from tests.fuzz.parsers.target import accepted, text_of

_FOLDER: Final = tempfile.TemporaryDirectory(prefix="ssbfast-fuzz-")


def address(data: bytes) -> None:
    """Alternatives that print as what reads as the same, or an AddressError that points into the text."""
    text = text_of(data)
    try:
        found = parse_address(text)
    except AddressError as error:
        assert 0 <= error.offset <= min(len(text), ADDRESS_TEXT)
        return
    assert found
    assert parse_address(format_address(found)) == found


def invite(data: bytes) -> None:
    """An invite that prints as what reads as the same, or an AddressError."""
    found = accepted(lambda: parse_invite(text_of(data)), AddressError)
    assert found is None or parse_invite(str(found)) == found


def private_tunnel(data: bytes) -> None:
    """An address that prints as exactly what was read, or an AddressError that points into the text."""
    text = text_of(data)
    try:
        found = parse_private_tunnel(text)
    except AddressError as error:
        assert 0 <= error.offset <= len(text)
        return
    assert str(found) == text


def target(data: bytes) -> None:
    """What may stand behind `connect` is read, or refused with BadInputError or one of its kind."""
    text = text_of(data)
    peer, service = split_service(text)
    assert service is None or (is_name(service) and len(peer) < len(text))
    for read in (parse_target, lambda text: parse(text, Path(_FOLDER.name))):
        accepted(lambda read=read: read(peer), AddressError, FeedIdError, BadInputError, UnknownNicknameError)  # type: ignore[misc]


def room_address(data: bytes) -> None:
    """A room's address has ways to dial it, as it stands or as it is pasted, or is refused."""
    text = text_of(data)
    ways = accepted(lambda: ways_into(text), AddressError)
    room = accepted(lambda: RoomAddress.parse(text), AddressError, BadInputError)
    assert (ways is None or len(ways) > 0) and (room is None or len(ways_into(room.text)) > 0)


def endpoint(data: bytes) -> None:
    """Host and port, or a Unix socket, that print as what reads as the same; or a BadInputError."""
    text = text_of(data)
    found = accepted(lambda: Endpoint.parse(text), BadInputError)
    assert found is None or 0 <= found.port <= 65_535
    place = accepted(lambda: parse_place(text), BadInputError, AddressError)
    assert place is None or isinstance(place, UnixPath) or 0 <= place.port <= 65_535
    assert place is None or parse_place(show_place(place)) == place


def ids(data: bytes) -> None:
    """A key has one spelling: what was read prints as what was given; else FeedIdError, BadInputError."""
    text = text_of(data)
    feed = accepted(lambda: FeedId.parse(text), FeedIdError)
    assert feed is None or str(feed) == text
    network = accepted(lambda: NetworkId.parse(text), BadInputError)
    assert network is None or parse_network(text) == network


def secret_file(data: bytes) -> None:
    """A key pair that signs, or a KeyFileError that holds nothing of the file."""
    place = Path(_FOLDER.name) / "secret"
    place.write_bytes(data)
    place.chmod(0o600)
    try:
        keypair = load_secret(place)
    except KeyFileError as error:
        assert str(place) in str(error) and error.__context__ is None
        return
    assert len(keypair.sign(b"text")) == 64


def shown_text(data: bytes) -> None:
    """What is shown prints, is no longer than allowed, and does not change when it is cleaned again."""
    text = text_of(data)
    for length in (5, 1024):
        shown = clean_text(text, length)
        assert len(shown) <= length and "\n" not in shown and "\x1b" not in shown
        assert all(c == "\ufffd" or c.isprintable() for c in shown)
        assert clean_text(shown, length) == shown


def ticket(data: bytes) -> None:
    """Bytes with a right check, or any text: a ticket that prints as what was read, or a BadInputError."""
    sealed = base64.urlsafe_b64encode(data + hashlib.sha256(data).digest()[:3]).decode().rstrip("=")
    for text in (f"pair-{sealed}", text_of(data)):
        found = accepted(lambda text=text: Ticket.parse(text), BadInputError)  # type: ignore[misc]
        if found is not None:
            assert str(found) == "".join(text.split())
            assert len(found.key().sign(b"text")) == 64


TARGETS: Final = (
    *(address, invite, private_tunnel, target, room_address, endpoint, ids, secret_file, shown_text),
    ticket,
)

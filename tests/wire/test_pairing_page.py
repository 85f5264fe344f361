"""A second implementation of tickets, written from docs/protocol/pairing.md alone, against ours, both ways."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
from dataclasses import asdict, dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_core_ed25519_is_valid_point
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from ssbfast.errors import BadInputError
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.wire.address_types import NetAddress, WebSocketAddress
from ssbfast.wire.pairing import Take, Ticket
from tests.helpers.vectors import load

# The page's implementation: nothing of ssbfast in it, but PyNaCl and hashlib.

_FORMATS = {0x10: "net", 0x11: "ws", 0x12: "wss"}
_TEXT = re.compile(r"pair-([A-Za-z0-9_-]+)")
_NAME = re.compile(r"(?!-)([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}(?<!-)\.?")
_FIXED = 1 + 4 + 16 + 32 + 32 + 2  # what comes before the host


class RefusedError(Exception):
    """A text that the page says to refuse."""


@dataclass(frozen=True)
class PageTicket:
    """The fields of the page's table. expiry: minutes since 1970."""

    scheme: str
    expiry: int
    secret: bytes
    target: bytes
    room: bytes
    port: int
    host: str


def write(ticket: PageTicket) -> str:
    """The page, "The ticket"."""
    body = _before_secret(ticket) + ticket.secret + _after_secret(ticket)
    body += hashlib.sha256(body).digest()[:3]
    return "pair-" + base64.urlsafe_b64encode(body).rstrip(b"=").decode()


def _before_secret(ticket: PageTicket) -> bytes:
    [form] = [form for form, scheme in _FORMATS.items() if scheme == ticket.scheme]
    return bytes([form]) + ticket.expiry.to_bytes(4, "big")


def _after_secret(ticket: PageTicket) -> bytes:
    return ticket.target + ticket.room + ticket.port.to_bytes(2, "big") + _host_bytes(ticket.host)


def _host_bytes(host: str) -> bytes:
    try:
        return b"\0" + ipaddress.ip_address(host).packed
    except ValueError:
        return host.encode("ascii")


def read(text: str) -> PageTicket:
    """The page, "A reader …". Raises RefusedError."""
    found = _TEXT.fullmatch("".join(text.split()))
    if found is None:
        raise RefusedError("characters")
    body = _from_base64(found[1])
    if len(body) < _FIXED + 1 + 3 or hashlib.sha256(body[:-3]).digest()[:3] != body[-3:]:
        raise RefusedError("check")
    if body[0] not in _FORMATS:
        raise RefusedError("format")
    target, room, port = body[21:53], body[53:85], int.from_bytes(body[85:87], "big")
    if not all(map(crypto_core_ed25519_is_valid_point, (target, room))) or not port:
        raise RefusedError("a key or the port")
    host = _host_text(body[87:-3])
    return PageTicket(_FORMATS[body[0]], int.from_bytes(body[1:5], "big"), body[5:21], target, room, port, host)


def _from_base64(text: str) -> bytes:
    try:
        body = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise RefusedError("length") from None
    if base64.urlsafe_b64encode(body).rstrip(b"=").decode() != text:
        raise RefusedError("not canonical")
    return body


def _host_text(host: bytes) -> str:
    if host[0] == 0:
        if len(host) not in (5, 17):
            raise RefusedError("IP address")
        return str(ipaddress.ip_address(host[1:]))
    text = host.decode("latin-1")
    if len(host) > 253 or _NAME.fullmatch(text) is None or _is_ip(text):
        raise RefusedError("host")
    return text


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def ticket_key(ticket: PageTicket) -> SigningKey:
    """The page's seed and T."""
    rest = _before_secret(ticket) + _after_secret(ticket)
    return SigningKey(hmac.digest(ticket.secret, b"ssbfast pairing v1 ticket" + rest, "sha256"))


def sign(taker: SigningKey, export_key: bytes, proven: bytes, target: bytes) -> str:
    """The page, step 4: "signature"."""
    return base64.b64encode(taker.sign(_signed(taker.verify_key, export_key, proven, target)).signature).decode()


def signed_by(taker: VerifyKey, signature: str, export_key: bytes, proven: bytes, target: bytes) -> bool:
    """The page, step 5."""
    try:
        taker.verify(_signed(taker, export_key, proven, target), base64.b64decode(signature, validate=True))
    except (BadSignatureError, ValueError):
        return False
    return True


def _signed(taker: VerifyKey, export_key: bytes, proven: bytes, target: bytes) -> bytes:
    binding = hmac.digest(export_key, b"ssbfast pairing v1", "sha256")
    return b"ssbfast pairing v1 take" + binding + proven + target + bytes(taker)


VERIFY_KEYS = [SigningKey(bytes((n,)) * 32).verify_key for n in range(4)]


def hosts() -> st.SearchStrategy[str]:
    labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
    names = st.lists(labels, min_size=1, max_size=10).map(".".join).filter(lambda name: not name[-1].isdigit())
    return names | st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str)


def tickets() -> st.SearchStrategy[PageTicket]:
    keys = st.sampled_from([bytes(key) for key in VERIFY_KEYS])
    return st.builds(
        PageTicket,
        scheme=st.sampled_from(["net", "ws", "wss"]),
        expiry=st.integers(0, 2**32 - 1),
        secret=st.binary(min_size=16, max_size=16),
        target=keys,
        room=keys,
        port=st.integers(1, 65_535),
        host=hosts(),
    )


@pytest.mark.parametrize("vector", load("tickets", "pairing"), ids=lambda vector: vector["host"][:20])
def test_vectors_of_tickets(vector: dict[str, Any]) -> None:
    ticket = read(vector["text"])
    found = {name: value.hex() if isinstance(value, bytes) else value for name, value in asdict(ticket).items()}
    key = bytes(ticket_key(ticket).verify_key).hex()
    assert {**found, "text": write(ticket), "ticket_key": key} == vector


@pytest.mark.parametrize("vector", load("refused", "pairing"), ids=lambda vector: vector["why"])
def test_vectors_of_refusals(vector: dict[str, Any]) -> None:
    with pytest.raises(RefusedError):
        read(vector["text"])


# Both ways: what one writes the other reads, and what one refuses the other refuses.


@given(tickets())
def test_the_code_reads_what_the_page_writes(ticket: PageTicket) -> None:
    assert _as_page(Ticket.parse(write(ticket))) == ticket


@given(tickets())
def test_the_page_reads_what_the_code_writes(ticket: PageTicket) -> None:
    ours = Ticket.parse(write(ticket))
    assert str(ours) == write(ticket)
    assert read(str(ours)) == ticket
    assert ours.key().id.key == bytes(ticket_key(ticket).verify_key)


@given(tickets(), st.data())
def test_both_refuse_the_same(ticket: PageTicket, data: st.DataObject) -> None:
    """Bodies with a right check and one byte changed: most make sense as another ticket, some as none."""
    body = bytearray(_from_base64(write(ticket)[5:])[:-3])
    at = data.draw(st.sampled_from([0, *range(85, len(body))]) | st.integers(0, len(body) - 1))
    body[at] = data.draw(st.sampled_from([0, 1, 0x10, 0x11, 0x12, 0x13, 0x2D, 0x2E, 0x41, 0x80, 0xFF]))
    text = "pair-" + base64.urlsafe_b64encode(body + hashlib.sha256(body).digest()[:3]).rstrip(b"=").decode()
    assert _outcome(text) == _page_outcome(text)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), st.booleans())
def test_signatures(seed: bytes, export_key: bytes, is_mine: bool) -> None:
    taker, target = SigningKey(seed), FeedId(bytes(VERIFY_KEYS[1]))
    proven = FeedId(bytes(VERIFY_KEYS[0]))
    sent = Take.sign(Keypair(seed), "laptop", export_key, proven, target).as_json()
    assert sent["signature"] == sign(taker, export_key, proven.key, target.key)
    other = export_key if is_mine else hashlib.sha256(export_key).digest()
    assert signed_by(taker.verify_key, sent["signature"], other, proven.key, target.key) is is_mine
    taken = Take.read(sent)
    assert taken is not None
    assert taken.is_signed(other, proven, target) is is_mine


def _as_page(ticket: Ticket) -> PageTicket:
    way, room = ticket.room.transport, ticket.room.shs
    assert isinstance(way, NetAddress | WebSocketAddress)
    assert room is not None
    scheme = "net" if isinstance(way, NetAddress) else "wss" if way.secure else "ws"
    return PageTicket(scheme, ticket.expires, ticket.secret, ticket.target.key, room.key, way.port, way.host)


def _outcome(text: str) -> PageTicket | None:
    try:
        return _as_page(Ticket.parse(text))
    except BadInputError:
        return None


def _page_outcome(text: str) -> PageTicket | None:
    try:
        return read(text)
    except RefusedError:
        return None

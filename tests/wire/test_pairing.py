"""Tickets, and what their takers sign: vectors, round trips, every cut and change refused, names."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssbfast import limits
from ssbfast.errors import BadInputError
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.wire.address import parse_address
from ssbfast.wire.address_types import MultiserverAddress
from ssbfast.wire.pairing import Take, Taken, Ticket, is_name, name_from
from tests.helpers.vectors import load
from tests.wire.test_pairing_page import tickets, write

TICKETS = load("tickets", "pairing")
SIGNATURES = load("signatures", "pairing")
KEY = Keypair.from_seed(b"r" * 32).id
TARGET = Keypair.from_seed(b"t" * 32).id
HOSTILE = (
    "\x1b[2Jhome",
    "ho\u202eme",
    "h" * 10_000,
    "-home",
    "home-",
    "Home",
    "ho me",
    "ho\nme",
    "home\n",
    "höme",
    "",
    7,
    None,
)


def room(transport: str) -> MultiserverAddress:
    return parse_address(f"{transport}~shs:{str(KEY)[1:-8]}")[0]


# ---------------------------------------------------------------- vectors


@pytest.mark.parametrize("vector", TICKETS, ids=lambda vector: vector["host"][:20])
def test_tickets(vector: dict[str, Any]) -> None:
    ticket = Ticket.parse(vector["text"])
    assert str(ticket) == vector["text"]
    assert ticket.expires == vector["expiry"]
    assert ticket.secret.hex() == vector["secret"]
    assert ticket.target == FeedId(bytes.fromhex(vector["target"]))
    assert ticket.room.shs == FeedId(bytes.fromhex(vector["room"]))
    host = f"[{vector['host']}]" if ":" in vector["host"] else vector["host"]
    slashes = "" if vector["scheme"] == "net" else "//"
    assert ticket.room.transport == room(f"{vector['scheme']}:{slashes}{host}:{vector['port']}").transport
    assert ticket.key().id.key.hex() == vector["ticket_key"]


@pytest.mark.parametrize("vector", load("refused", "pairing"), ids=lambda vector: vector["why"])
def test_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(BadInputError, match="ticket"):
        Ticket.parse(vector["text"])


@pytest.mark.parametrize("vector", SIGNATURES)
def test_signatures(vector: dict[str, Any]) -> None:
    me, export_key = Keypair(bytes.fromhex(vector["taker_seed"])), bytes.fromhex(vector["export_key"])
    ticket, target = (FeedId(bytes.fromhex(vector[name])) for name in ("ticket_key", "target"))
    take = Take.sign(me, None, export_key, ticket, target)
    assert take.as_json() == {"id": str(me.id), "signature": vector["signature"]}
    assert take.is_signed(export_key, ticket, target)
    assert not take.is_signed(export_key, target, ticket)


# ---------------------------------------------------------------- texts


@given(tickets())
def test_round_trip(fields: Any) -> None:
    ticket = Ticket.parse(write(fields))
    assert Ticket.parse(str(ticket)) == ticket
    assert len(fields.host) > 33 or len(str(ticket)) <= 170


@pytest.mark.parametrize("vector", TICKETS[:5:2], ids=lambda vector: vector["host"])
def test_every_cut_and_every_change_of_a_character(vector: dict[str, Any]) -> None:
    text = vector["text"]
    changed = {
        text[:at] + other + text[at + 1 :] for at in range(len(text)) for other in "Aa0_z-=" if other != text[at]
    }
    swapped = {text[:at] + text[at + 1] + text[at] + text[at + 2 :] for at in range(len(text) - 1)} - {text}
    cut = {text[:at] for at in range(len(text))} | {text[at:] for at in range(1, len(text))}
    assert len(changed) > 6 * len(text) - 20
    for other in (*changed, *swapped, *cut):
        with pytest.raises(BadInputError):
            Ticket.parse(other)


@given(st.text(max_size=600) | st.text(string.ascii_letters + "-_", max_size=600).map("pair-".__add__))
def test_other_texts(text: str) -> None:
    with pytest.raises(BadInputError, match="ticket"):
        Ticket.parse(text)


def test_a_newer_format_is_named() -> None:
    (text,) = [vector["text"] for vector in load("refused", "pairing") if vector["why"] == "format 0x13"]
    with pytest.raises(BadInputError, match="newer ssbfast"):
        Ticket.parse(text)


def test_blanks_and_line_ends_of_a_paste() -> None:
    text = TICKETS[0]["text"]
    assert Ticket.parse(f"  {text[:60]}\r\n   {text[60:100]}\u00a0\n{text[100:]}\n") == Ticket.parse(text)


@pytest.mark.parametrize(
    "address",
    [
        room("unix:/run/room"),
        room("wss://room.example/path"),
        room("net:fe80::1%eth0:8008"),
        parse_address("net:room.example:8008")[0],
        parse_address(f"tunnel:{KEY}:{TARGET}")[0],
    ],
    ids=str,
)
def test_rooms_that_cannot_be_in_a_ticket(address: MultiserverAddress) -> None:
    with pytest.raises(BadInputError):
        Ticket.new(TARGET, address, 2e9)


@pytest.mark.parametrize(("expires", "secret"), [(-1, 16), (2**32, 16), (0, 15), (0, 17)])
def test_numbers_out_of_range(expires: int, secret: int) -> None:
    with pytest.raises(BadInputError):
        Ticket(TARGET, room("net:room.example:8008"), expires, bytes(secret))


def test_a_ticket_holds_before_its_minute() -> None:
    ticket = Ticket.new(TARGET, room("net:room.example:8008"), 7_199.9)
    assert (ticket.expires, ticket.ends) == (119, 7_140.0)


def test_no_secret_in_what_is_logged() -> None:
    ticket = Ticket.parse(TICKETS[0]["text"])
    assert "secret" not in repr(ticket)
    assert str(ticket.secret) not in repr(ticket)


# ---------------------------------------------------------------- what peers say


@pytest.mark.parametrize("name", ["a", "home", "my-laptop-2", "0", "a" * 32])
def test_names(name: str) -> None:
    assert is_name(name)
    assert Taken.read({"name": name}).name == name


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:20])
def test_other_names_are_taken_as_missing(name: Any) -> None:
    assert Taken.read({"name": name, "services": [name, "ssh", {}, "ssh"]}) == Taken(None, ("ssh",))
    take = Take.sign(Keypair.from_seed(b"c" * 32), None, b"k" * 32, KEY, TARGET)
    read = Take.read({**take.as_json(), "name": name})
    assert read == take


@pytest.mark.parametrize("value", [None, [], "home", {"services": "ssh"}, {"services": {"ssh": 1}}, {"name": ["home"]}])
def test_answers_of_another_form(value: Any) -> None:
    assert Taken.read(value) == Taken(None)


def test_services_have_a_bound() -> None:
    assert len(Taken.read({"services": [f"s{n}" for n in range(1000)]}).services) == limits.SERVICES


@pytest.mark.parametrize(
    "change", [{"id": "@x"}, {"id": 7}, {"signature": "A" * 88}, {"signature": ""}, {"signature": 7}]
)
def test_takes_of_another_form(change: dict[str, Any]) -> None:
    take = Take.sign(Keypair.from_seed(b"c" * 32), "c", b"k" * 32, KEY, TARGET).as_json()
    assert Take.read(take) is not None
    assert Take.read({**take, **change}) is None
    assert Take.read({key: value for key, value in take.items() if key not in change}) is None


@pytest.mark.parametrize(
    ("text", "name"),
    [("Alice's MacBook.local", "alice-s-macbook"), ("PC", "pc"), ("...", None), ("日本", None), ("x" * 40, "x" * 32)],
)
def test_names_from_computers(text: str, name: str | None) -> None:
    assert name_from(text) == name

"""What the two ends say to each other about direct paths: there and back, and everything that is no such thing."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssbfast import limits
from ssbfast.errors import MuxRPCError
from ssbfast.wire.direct import signaling as calls
from ssbfast.wire.direct.punch.candidates import Candidate, Candidates, Kind, NatMapping

HERE = Candidates((Candidate("192.0.2.1", 4096, Kind.REFLEXIVE),), NatMapping.EASY, birthday=True)
EPOCHS = st.integers(1, 2**32 - 1)
COUNTS = st.integers(0, 2**62 - 1)

PARSERS: dict[str, Callable[[object], Any]] = {
    "offer": calls.parse_offer,
    "sync": calls.parse_sync,
    "stand by": calls.parse_stand_by,
    "continue": calls.parse_continue,
}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


GOOD: dict[str, dict[str, Any]] = {
    "offer": {"epoch": 1, "datagram": 1200, **HERE.as_json()},
    "sync": {"epoch": 1, "connection": b64(bytes(8))},
    "stand by": {"epoch": 1, "session": b64(bytes(32))},
    "continue": {"epoch": 1, "stream": 4, "received": 0},
}


def through_json(value: dict[str, Any]) -> list[Any]:
    found: list[Any] = json.loads(json.dumps([value]))
    return found


WINDOWS = st.none() | st.integers(limits.CARRIER_WINDOW_PLAIN, limits.CARRIER_WINDOW_SAID)


@given(EPOCHS, st.integers(limits.DIRECT_DATAGRAM_LEAST, limits.DIRECT_DATAGRAM), WINDOWS)
def test_offers_there_and_back(epoch: int, datagram: int, window: int | None) -> None:
    offer = calls.Offer(epoch, HERE, datagram, window)
    assert calls.parse_offer(through_json(offer.as_json())) == offer


@given(st.binary(min_size=1, max_size=limits.CERTIFICATE), st.floats(0, 60), WINDOWS)
def test_answers_there_and_back(certificate: bytes, took: float, window: int | None) -> None:
    answer = calls.OfferAnswer(certificate, took, HERE, limits.DIRECT_DATAGRAM_LEAST, window)
    found = calls.parse_answer(through_json(answer.as_json())[0])
    assert (found.certificate, found.whereabouts, found.datagram) == (certificate, HERE, answer.datagram)
    assert abs(found.took - took) < 1e-6 and found.window == window


@given(EPOCHS, st.binary(min_size=8, max_size=20), st.binary(min_size=32, max_size=32), COUNTS, COUNTS)
def test_the_others_there_and_back(epoch: int, connection: bytes, session: bytes, stream: int, received: int) -> None:
    sync, stand_by = calls.Sync(epoch, connection), calls.StandBy(session, epoch)
    wish = calls.Continue(epoch, stream, received)
    assert calls.parse_sync(through_json(sync.as_json())) == sync
    assert calls.parse_stand_by(through_json(stand_by.as_json())) == stand_by
    named = calls.Continue(epoch, stream, received, "ssh")
    assert calls.parse_continue(json.loads(json.dumps(wish.as_args()))) == wish
    assert calls.parse_continue(json.loads(json.dumps(named.as_args()))) == named


@pytest.mark.parametrize("more", [["SSH"], [""], [None], [{"service": "ssh"}], ["ssh", "git"]])
def test_a_connection_goes_on_to_a_service_by_a_name_alone(more: list[Any]) -> None:
    with pytest.raises(MuxRPCError):
        calls.parse_continue([{"epoch": 1, "stream": 4, "received": 0}, *more])


def test_an_offer_without_a_length_means_the_longest() -> None:
    assert calls.parse_offer([{"epoch": 9}]) == calls.Offer(9, Candidates(), limits.DIRECT_DATAGRAM)


def test_an_offer_of_an_older_end_says_no_window_and_gets_none() -> None:
    """Its own word, as ssbfast 0.1 wrote it, byte by byte."""
    offer = {"epoch": 9, "datagram": 1400, **HERE.as_json()}
    assert calls.parse_offer([offer]).window is None
    assert calls.Offer(9, HERE).as_json() == offer


@pytest.mark.parametrize("name", PARSERS)
@pytest.mark.parametrize("args", [None, {}, [], "x", [1], [None], [[]], [{}], [{}, {}], 7])
def test_what_is_not_one_object_is_refused(name: str, args: object) -> None:
    with pytest.raises(MuxRPCError):
        PARSERS[name](args)


@pytest.mark.parametrize("name", PARSERS)
@pytest.mark.parametrize("epoch", [None, 0, -1, 2**32, 1.0, True, "1", [1]])
def test_epochs_are_whole_numbers_of_32_bits(name: str, epoch: object) -> None:
    assert PARSERS[name]([GOOD[name]])
    with pytest.raises(MuxRPCError):
        PARSERS[name]([{**GOOD[name], "epoch": epoch}])


@pytest.mark.parametrize(
    ("name", "member", "value"),
    [
        *(("offer", "datagram", value) for value in (None, 0, 1199, 1401, 1300.0, True, "1300", 2**70)),
        *(("offer", "window", value) for value in (None, 0, -1, 2**22 - 1, 2**30 + 1, 2.0**23, True, "8388608", 2**70)),
        *(("sync", "connection", value) for value in (None, 8, "", b64(bytes(7)), b64(bytes(21)), "AAAAAAAAAAB=")),
        *(("sync", "connection", value) for value in (b64(bytes(8)) + "\n", " " + b64(bytes(8)), "ÄÄÄÄÄÄÄÄÄÄÄ=")),
        *(("stand by", "session", value) for value in (None, "", b64(bytes(31)), b64(bytes(33)), "A" * 44, [])),
        *(("continue", "stream", value) for value in (None, -1, 2**62, 4.0, True, "4")),
        *(("continue", "received", value) for value in (None, -1, 2**62, 0.0, False, "0")),
    ],
)
def test_members_that_are_wrong_are_refused(name: str, member: str, value: object) -> None:
    with pytest.raises(MuxRPCError):
        PARSERS[name]([{**GOOD[name], member: value}])


@pytest.mark.parametrize(
    "change",
    [
        {"certificate": None}, {"certificate": ""}, {"certificate": "x"}, {"certificate": 1},
        {"certificate": b64(bytes(limits.CERTIFICATE + 1))}, {"certificate": b64(bytes(9)).replace("A", "-", 1)},
        {"took": None}, {"took": -0.001}, {"took": 60_001}, {"took": True}, {"took": "1"},
        {"took": float("nan")}, {"took": float("inf")},
        {"window": None}, {"window": 2**22 - 1}, {"window": 2**30 + 1}, {"window": 2.0**23}, {"window": True},
    ],
)  # fmt: skip
def test_answers_that_are_wrong_are_refused(change: dict[str, Any]) -> None:
    good = {"certificate": b64(b"x"), "took": 1.5}
    assert calls.parse_answer(good).took == 0.0015
    with pytest.raises(MuxRPCError):
        calls.parse_answer({**good, **change})


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: (
    st.lists(inner) | st.dictionaries(st.sampled_from(["epoch", "connection", "session", "stream", "received",
    "certificate", "took", "datagram", "window", "candidates"]) | st.text(), inner)), max_leaves=20))  # fmt: skip
def test_whatever_comes_is_read_or_refused(value: object) -> None:
    for parse in (*PARSERS.values(), calls.parse_answer):
        for args in (value, [value]):
            try:
                parse(args)
            except MuxRPCError:
                continue


def test_repr_shows_no_secret() -> None:
    session, certificate = b"session id " + bytes(21), b"certificate"
    text = repr(calls.StandBy(session, 1)) + repr(calls.OfferAnswer(certificate, 0.0, HERE))
    assert "session id" not in text and "b'certificate" not in text and "192.0.2.1" not in text

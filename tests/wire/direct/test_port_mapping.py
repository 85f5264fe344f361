"""PCP and NAT-PMP: the bytes, what counts as an answer, and the times."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssbfast import limits
from ssbfast.wire.direct.port_mapping import Mapped, MappingClient, Protocol, is_worth_telling

OWN, PORT, NONCE = "192.168.1.5", 40_000, bytes(range(12))
OUTER, OUTER_PORT = "203.0.113.7", 50_001
V4 = bytes(10) + b"\xff\xff"
REQUEST = (
    bytes.fromhex("02010000")
    + struct.pack("!I", 120)
    + V4
    + bytes([192, 168, 1, 5])
    + NONCE
    + bytes.fromhex("11000000")
    + struct.pack("!HH", PORT, 0)
    + V4
    + bytes(4)
)
UNSUPPORTED = bytes.fromhex("00800001 0000000a")


def client() -> MappingClient:
    return MappingClient(OWN, PORT, NONCE, 0.0)


def pcp(
    *,
    opcode: int = 0x81,
    result: int = 0,
    seconds: int = 120,
    nonce: bytes = NONCE,
    protocol: int = 17,
    port: int = PORT,
    outer: int = OUTER_PORT,
    host: bytes = V4 + bytes([203, 0, 113, 7]),
) -> bytes:
    head = struct.pack("!BBBBII12x", 2, opcode, 0, result, seconds, 7)
    return head + nonce + struct.pack("!B3xHH", protocol, port, outer) + host


def pmp_address(result: int = 0) -> bytes:
    return struct.pack("!BBHI4B", 0, 128, result, 9, 203, 0, 113, 7)


def pmp_map(result: int = 0, port: int = PORT, outer: int = OUTER_PORT, seconds: int = 120) -> bytes:
    return struct.pack("!BBHIHHI", 0, 129, result, 9, port, outer, seconds)


def in_nat_pmp() -> MappingClient:
    asking = client()
    asking.datagrams()
    asking.receive(UNSUPPORTED, 0.0)
    return asking


# ---------------------------------------------------------------- PCP


def test_a_mapping_by_pcp() -> None:
    asking = client()
    assert asking.datagrams() == [REQUEST]
    assert asking.mapped is None and asking.protocol is None
    asking.receive(pcp(), 0.02)
    assert asking.mapped == Mapped(OUTER, OUTER_PORT, 120)
    assert asking.protocol is Protocol.PCP
    assert asking.datagrams() == []
    assert asking.timer() == pytest.approx(60.02)
    assert OUTER not in repr(asking.mapped)


def test_a_renewal_asks_for_what_we_have() -> None:
    asking = client()
    asking.datagrams()
    asking.receive(pcp(), 0.0)
    asking.handle_timer(59.0)
    assert asking.datagrams() == []
    asking.handle_timer(60.0)
    wish = struct.pack("!HH", PORT, OUTER_PORT) + V4 + bytes([203, 0, 113, 7])
    assert asking.datagrams() == [REQUEST[:40] + wish]
    asking.receive(pcp(outer=50_002), 60.0)
    assert asking.mapped == Mapped(OUTER, 50_002, 120)
    assert asking.timer() == 120.0


def test_renewals_that_nothing_answers_come_closer_and_end() -> None:
    asking = client()
    asking.datagrams()
    asking.receive(pcp(), 0.0)
    times = []
    while (due := asking.timer()) is not None:
        times.append(due)
        asking.handle_timer(due)
        assert len(asking.datagrams()) == 1
    assert times == [60.0, 90.0, 105.0, 112.5, 116.5, 120.0]
    assert asking.is_over and asking.mapped is None


def test_a_renewal_that_is_refused_leaves_what_we_have() -> None:
    asking = client()
    asking.receive(pcp(), 0.0)
    asking.receive(pcp(result=8), 1.0)
    assert asking.mapped is not None
    asking.handle_timer(120.0)
    assert asking.is_over


def test_a_router_that_maps_by_pcp_is_not_asked_by_nat_pmp() -> None:
    asking = client()
    asking.datagrams()
    asking.receive(pcp(), 0.0)
    asking.receive(UNSUPPORTED, 0.1)
    assert asking.datagrams() == [] and asking.mapped is not None


def test_its_end_is_a_request_for_no_life() -> None:
    asking = client()
    asking.datagrams()
    asking.receive(pcp(), 0.0)
    asking.release()
    assert asking.datagrams() == [REQUEST[:4] + bytes(4) + REQUEST[8:]]
    assert asking.is_over and asking.mapped is None and asking.timer() is None
    asking.release()
    asking.receive(pcp(), 0.1)
    assert asking.datagrams() == [] and asking.mapped is None


def test_one_whose_answer_is_not_there_yet_is_ended_all_the_same() -> None:
    asking = client()
    asking.release()
    assert asking.datagrams() == [REQUEST[:4] + bytes(4) + REQUEST[8:]]


@pytest.mark.parametrize(
    "answer",
    [
        pcp(result=2),
        pcp(outer=0),
        pcp(seconds=0),
        pcp(host=bytes.fromhex("20010db8000000000000000000000001")),
    ],
)
def test_what_is_no_mapping_ends_it(answer: bytes) -> None:
    asking = client()
    asking.datagrams()
    asking.receive(answer, 0.1)
    assert asking.is_over and asking.mapped is None and asking.protocol is Protocol.PCP
    assert len(asking.datagrams()) == 1  # there may be something for the router to forget


@pytest.mark.parametrize(
    "answer",
    [
        pcp(nonce=bytes(12)),
        pcp(opcode=0x01),
        pcp(opcode=0x82),
        pcp(protocol=6),
        pcp(port=PORT + 1),
        pcp()[:56],
        pcp() + b"\0",
        pcp() + bytes(1_100),
        b"\1" + pcp()[1:],
        b"",
        b"\2",
        pmp_map(),
        pmp_address(),
        b"\0\x80\0\2" + bytes(4),
        b"\0\0\0\1" + bytes(4),
    ],
)
def test_what_is_no_answer_changes_nothing(answer: bytes) -> None:
    asking = client()
    asking.datagrams()
    asking.receive(answer, 0.1)
    assert not asking.is_over and asking.mapped is None and asking.protocol is None and asking.datagrams() == []
    asking.receive(pcp() + bytes(8), 0.2)  # with an option
    assert asking.mapped is not None


def test_silence_ends_it() -> None:
    asking, times = client(), []
    sent = len(asking.datagrams())
    while (due := asking.timer()) is not None:
        times.append(due)
        asking.handle_timer(due)
        sent += len(asking.datagrams())
    assert times == [0.25, 0.75, 1.75]
    assert sent == limits.MAPPING_SENDS + 1
    assert asking.is_over


def test_a_refusal_of_the_port_ends_what_is_asked_and_not_what_is_there() -> None:
    asking, there = client(), client()
    there.receive(pcp(), 0.0)
    asking.refused()
    there.refused()
    assert asking.is_over and not there.is_over


def test_a_long_life_is_not_believed() -> None:
    asking = client()
    asking.receive(pcp(seconds=2**32 - 1), 0.0)
    assert asking.timer() == limits.MAPPING_SECONDS_MOST / 2


def test_a_short_life_is_no_flood() -> None:
    asking = client()
    asking.receive(pcp(seconds=1), 0.0)
    assert asking.timer() == 1.0
    asking.handle_timer(1.0)
    assert asking.is_over
    asking = client()
    asking.receive(pcp(seconds=5), 0.0)
    assert asking.timer() == limits.MAPPING_RENEW_LEAST


# ---------------------------------------------------------------- NAT-PMP


def test_a_router_without_pcp_is_asked_by_nat_pmp() -> None:
    asking = in_nat_pmp()
    assert asking.datagrams() == [b"\0\0", bytes.fromhex("0001 0000 9c40 0000 00000078")]
    asking.receive(pmp_map(), 0.1)
    assert asking.mapped is None
    asking.receive(pmp_address(), 0.1)
    assert asking.mapped == Mapped(OUTER, OUTER_PORT, 120)
    assert asking.protocol is Protocol.NAT_PMP
    asking.handle_timer(60.1)
    assert asking.datagrams() == [b"\0\0", bytes.fromhex("0001 0000 9c40 c351 00000078")]
    asking.receive(pmp_address(), 60.2)
    assert asking.timer() == pytest.approx(90.1)  # its life is not told yet
    asking.receive(pmp_map(), 60.2)
    assert asking.timer() == pytest.approx(120.2)
    asking.release()
    assert asking.datagrams() == [bytes.fromhex("0001 0000 9c40 0000 00000000")]


@pytest.mark.parametrize("answer", [pmp_map(result=2), pmp_address(result=3)])
def test_what_nat_pmp_refuses_ends_it(answer: bytes) -> None:
    asking = in_nat_pmp()
    asking.receive(answer, 0.1)
    assert asking.is_over and asking.protocol is Protocol.NAT_PMP


@pytest.mark.parametrize(
    "answer", [pmp_map(port=1), pmp_map() + b"\0", pmp_address()[:11], b"\0\x82" + pmp_map()[2:], pcp(), UNSUPPORTED]
)
def test_what_is_no_answer_of_nat_pmp_changes_nothing(answer: bytes) -> None:
    asking = in_nat_pmp()
    asking.datagrams()
    asking.receive(pmp_address(), 0.0)
    asking.receive(answer, 0.1)
    assert not asking.is_over and asking.mapped is None and asking.datagrams() == []


# ---------------------------------------------------------------- whatever comes


@given(st.booleans(), st.lists(st.tuples(st.binary(max_size=80), st.booleans()), max_size=8))
def test_junk_is_no_mapping_and_costs_nothing(nat_pmp: bool, junk: list[tuple[bytes, bool]]) -> None:
    asking = in_nat_pmp() if nat_pmp else client()
    for data, is_like_one in junk:
        asking.receive((b"\2\x81\0\0" if is_like_one else b"") + data, 0.0)
    assert asking.mapped is None
    assert len(asking.datagrams()) <= 3


@pytest.mark.parametrize(
    ("host", "port", "worth"),
    [
        ("203.0.113.7", 50_000, True),
        ("203.0.113.7", 1023, False),
        ("192.168.7.1", 50_000, False),
        ("100.64.0.9", 50_000, False),
        ("127.0.0.1", 50_000, False),
        ("0.0.0.0", 50_000, False),
        ("224.0.0.1", 50_000, False),
        ("169.254.169.254", 50_000, False),
        ("198.51.100.9", 50_000, False),
    ],
)
def test_addresses_that_are_worth_telling(host: str, port: int, worth: bool) -> None:
    assert is_worth_telling((host, port), {"198.51.100.9"}) is worth

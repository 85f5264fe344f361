"""The heads of datagrams on direct paths: vectors of docs/protocol/services.md, and what is no head."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssbfast.errors import LocalProtocolError
from ssbfast.wire.direct.flows import head_of, split_head

VECTORS = {
    1: "02",
    -1: "03",
    31: "3e",
    -31: "3f",
    32: "4040",
    -32: "4041",
    8191: "7ffe",
    -8191: "7fff",
    8192: "80004000",
    -8192: "80004001",
    2**29 - 1: "bffffffe",
    1 - 2**29: "bfffffff",
    2**29: "c000000040000000",
    -(2**31): "c000000100000001",
}


@pytest.mark.parametrize(("number", "head"), VECTORS.items())
def test_vectors(number: int, head: str) -> None:
    assert head_of(number).hex() == head
    assert split_head(bytes.fromhex(head) + b"datagram") == (bytes.fromhex(head), b"datagram")


@given(st.integers(1, 2**31), st.integers(1, 2**31), st.binary(max_size=20))
def test_each_end_of_each_flow_has_a_head_of_its_own(one: int, other: int, datagram: bytes) -> None:
    heads = {head_of(number) for number in (one, -one, other, -other)}
    assert len(heads) == (2 if one == other else 4)
    for head in heads:
        assert split_head(head + datagram) == (head, datagram)


@pytest.mark.parametrize("number", [0, 2**61, -(2**61)])
def test_numbers_that_no_duplex_has(number: int) -> None:
    with pytest.raises(LocalProtocolError):
        head_of(number)


@given(st.binary(max_size=12))
def test_whatever_comes_is_cut_in_two(data: bytes) -> None:
    head, rest = split_head(data)
    assert head + rest == data
    assert len(head) == (min(len(data), (1, 2, 4, 8)[data[0] >> 6]) if data else 0)

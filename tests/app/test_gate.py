"""Caps on unproven connections."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ssbfast import limits
from ssbfast.app.gate import Gate


def test_total_cap_counts_everybody() -> None:
    gate = Gate(total=3, per_address=3)
    tickets = [gate.enter(f"192.0.2.{i}") for i in range(3)]
    assert None not in tickets
    assert gate.enter("192.0.2.9") is None
    assert gate.inside == 3
    gate.leave(str(tickets[0]))
    assert gate.enter("192.0.2.9") is not None


def test_one_address_cannot_fill_the_gate() -> None:
    gate = Gate(total=10, per_address=2)
    assert [gate.enter("192.0.2.1") is None for _ in range(4)] == [False, False, True, True]
    assert gate.enter("192.0.2.2") is not None
    assert gate.inside == 3


def test_ipv6_addresses_of_one_household_are_one() -> None:
    gate = Gate(total=10, per_address=1)
    assert gate.enter("2001:db8:1:2::1") is not None
    assert gate.enter("2001:db8:1:2:ffff:ffff:ffff:ffff") is None
    assert gate.enter("2001:db8:1:3::1") is not None
    assert gate.enter("fe80::1%eth0") is not None
    assert gate.enter("fe80::2%eth0") is None


def test_an_ipv4_address_is_itself_when_mapped_into_ipv6() -> None:
    gate = Gate(total=10, per_address=1)
    assert gate.enter("::ffff:192.0.2.1") is not None
    assert gate.enter("192.0.2.1") is None
    assert gate.enter("::ffff:192.0.2.2") is not None


def test_what_is_no_address_counts_as_one() -> None:
    gate = Gate(total=10, per_address=1)
    assert gate.enter("") is not None
    assert gate.enter("") is None


def test_defaults_are_the_limits() -> None:
    gate = Gate()
    assert sum(gate.enter("192.0.2.1") is not None for _ in range(limits.HANDSHAKES)) == limits.HANDSHAKES_PER_ADDRESS


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=60))
def test_counts_are_those_of_a_list(steps: list[tuple[bool, int]]) -> None:
    gate = Gate(total=5, per_address=2)
    inside: list[str] = []
    for enters, number in steps:
        host = f"192.0.2.{number}"
        if enters:
            allowed = len(inside) < 5 and inside.count(host) < 2
            ticket = gate.enter(host)
            assert (ticket is not None) is allowed
            if ticket is not None:
                inside.append(ticket)
        elif host in inside:
            inside.remove(host)
            gate.leave(host)
        assert gate.inside == len(inside)
    for ticket in inside:
        gate.leave(ticket)
    assert gate.inside == 0 and not gate._counts

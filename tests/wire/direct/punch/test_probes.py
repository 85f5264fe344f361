"""Probes: the bytes, and everything that must not pass for one."""

from __future__ import annotations

import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from ssbfast.wire.direct.keys import DirectKeys, Role
from ssbfast.wire.direct.punch.probes import PROBE, Probe, ProbeKind, Probes

EXPORT_KEY = bytes(range(32))
CALLER = DirectKeys.derive(EXPORT_KEY, Role.CALLER, 1)
TARGET = DirectKeys.derive(EXPORT_KEY, Role.TARGET, 1)

tokens = st.binary(min_size=12, max_size=12)
kinds = st.sampled_from(ProbeKind)


def seal(probes: Probes, kind: ProbeKind, token: bytes) -> bytes:
    return probes.check(token) if kind is ProbeKind.CHECK else probes.answer(token)


@given(tokens)
def test_the_bytes(token: bytes) -> None:
    head = b"\x20" + token
    mac = hmac.new(CALLER.probe_key(Role.CALLER), head, hashlib.sha256).digest()[:16]
    assert Probes(CALLER).check(token) == head + mac
    head = b"\x21" + token
    mac = hmac.new(TARGET.probe_key(Role.TARGET), head, hashlib.sha256).digest()[:16]
    assert Probes(TARGET).answer(token) == head + mac


@given(kinds, tokens)
def test_the_other_end_reads_them(kind: ProbeKind, token: bytes) -> None:
    caller, target = Probes(CALLER), Probes(TARGET)
    assert target.open(seal(caller, kind, token)) == Probe(kind, token)
    assert caller.open(seal(target, kind, token)) == Probe(kind, token)


@given(kinds, tokens)
def test_mirrors_show_nothing(kind: ProbeKind, token: bytes) -> None:
    caller = Probes(CALLER)
    assert caller.open(seal(caller, kind, token)) is None


@given(kinds, tokens, st.integers(0, PROBE * 8 - 1))
def test_each_bit_counts(kind: ProbeKind, token: bytes, bit: int) -> None:
    data = bytearray(seal(Probes(CALLER), kind, token))
    data[bit // 8] ^= 1 << bit % 8
    assert Probes(TARGET).open(bytes(data)) is None


@given(kinds, tokens, st.binary(min_size=1, max_size=4))
def test_each_length_but_one_is_wrong(kind: ProbeKind, token: bytes, more: bytes) -> None:
    data = seal(Probes(CALLER), kind, token)
    assert Probes(TARGET).open(data + more) is None
    assert all(Probes(TARGET).open(data[:cut]) is None for cut in range(PROBE))


@given(tokens)
def test_a_check_is_no_answer(token: bytes) -> None:
    check = Probes(CALLER).check(token)
    assert Probes(TARGET).open(b"\x21" + check[1:]) is None


@given(tokens)
def test_other_attempts_and_sessions_have_other_keys(token: bytes) -> None:
    check = Probes(CALLER).check(token)
    assert Probes(DirectKeys.derive(EXPORT_KEY, Role.TARGET, 2)).open(check) is None
    assert Probes(DirectKeys.derive(bytes(32), Role.TARGET, 1)).open(check) is None


@given(st.binary(max_size=64))
def test_junk(data: bytes) -> None:
    assert Probes(TARGET).open(data) is None


def test_the_first_byte_leaves_stun_and_quic_alone() -> None:
    for kind in ProbeKind:
        assert 0x20 <= kind < 0x40


def test_repr_shows_no_token() -> None:
    assert "token" not in repr(Probe(ProbeKind.CHECK, bytes(12)))

"""Public keys: the tables, checked against arithmetic done here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base, crypto_sign_ed25519_pk_to_curve25519
from nacl.exceptions import CryptoError

from ssbfast.errors import HandshakeError
from ssbfast.keys import Keypair
from ssbfast.wire.curve import LOW_ORDER, check_ephemeral, feed_to_curve
from tests.helpers.handshakes import ALICE, P, mixed_order, small_order_aliases, small_order_points

A = 486662
BIT_255 = 1 << 255


def encode(number: int) -> bytes:
    return number.to_bytes(32, "little")


def double(u: int) -> int:
    """Double x on the Montgomery curve and its twist; division by zero gives 0, as X25519 prints infinity."""
    return (u * u - 1) ** 2 * pow(4 * u * (u * u + A * u + 1), P - 2, P) % P


def low_order_encodings() -> list[bytes]:
    """Return all encodings of points of low order: 7 numbers below 2**255, with and without bit 255."""
    numbers = [*sorted(LOW_ORDER), P, P + 1]
    return [encode(number | bit) for number in numbers for bit in (0, BIT_255)]


def test_the_table_holds_points_of_order_8_at_most() -> None:
    assert len(LOW_ORDER) == 5
    for u in LOW_ORDER:
        assert double(double(double(u))) == 0


def test_the_table_is_complete() -> None:
    # Order 2: u = 0. Order 4: doubling gives 0, so u*u = 1. Order 8: doubling gives 1 or -1; each has two roots over
    # the curve or the twist, of which the table must hold those that exist.
    assert {u for u in LOW_ORDER if double(u) == 0} == {0, 1, P - 1}
    eights = {u for u in LOW_ORDER if double(u) in (1, P - 1)}
    assert len(eights) == 2 and {double(u) for u in eights} == {1}
    a, b = eights
    # (u*u - 1)**2 = 4u(u*u + Au + 1) factors into two quadratics; a and b are the roots of one, and the other has none
    # because its discriminant is no square.
    trace, product = (a + b) % P, a * b % P
    rest = (-4 - -trace) % P  # u**4 - 4u**3 + ... : the sum of all roots is 4
    discriminant = (rest * rest - 4 * pow(product, P - 2, P)) % P
    assert pow(discriminant, (P - 1) // 2, P) == P - 1
    # -1 would need u with (u*u - 1)**2 = -4u(u*u + Au + 1): a polynomial without roots in the field.
    assert not has_root([1, 4, (4 * A - 2) % P, 4, 1])


def has_root(polynomial: list[int]) -> bool:
    """Return whether x**P - x and a monic polynomial of degree 4 share a divisor. polynomial: highest power first."""
    rest = power_of_x(P, polynomial)
    rest[-2] = (rest[-2] - 1) % P
    return len(common_divisor(polynomial, rest)) > 1


def reduce(value: list[int], modulus: list[int]) -> list[int]:
    value = [item % P for item in value]
    while len(value) >= len(modulus):
        factor = value[0] * pow(modulus[0], P - 2, P) % P
        for index, item in enumerate(modulus):
            value[index] = (value[index] - factor * item) % P
        value.pop(0)
    return value


def power_of_x(exponent: int, modulus: list[int]) -> list[int]:
    out = [1]
    for bit in bin(exponent)[2:]:
        square = [0] * (2 * len(out) - 1)
        for i, one in enumerate(out):
            for j, two in enumerate(out):
                square[i + j] = (square[i + j] + one * two) % P
        out = reduce([*square, 0] if bit == "1" else square, modulus)
    return [0] * (len(modulus) - 1 - len(out)) + out


def common_divisor(one: list[int], two: list[int]) -> list[int]:
    while True:
        while two and two[0] == 0:
            two = two[1:]
        if not two:
            return one
        one, two = two, reduce(one, two)


def test_the_14_low_order_encodings() -> None:
    encodings = low_order_encodings()
    assert len(set(encodings)) == 14
    for public in encodings:
        with pytest.raises(HandshakeError):
            check_ephemeral(public)
        with pytest.raises(CryptoError):  # libsodium agrees, as the second line of defence
            crypto_scalarmult(b"k" * 32, public)


@pytest.mark.parametrize("number", [*range(P, 2**255), *(BIT_255 | n for n in (2, 9, P - 2)), BIT_255, 2**256 - 1])
def test_second_names_of_points(number: int) -> None:
    with pytest.raises(HandshakeError):
        check_ephemeral(encode(number))


@pytest.mark.parametrize("number", [2, 3, 9, P - 2, P - 3])
def test_the_neighbours_are_taken(number: int) -> None:
    check_ephemeral(encode(number))


@given(st.binary(min_size=32, max_size=32))
def test_what_honest_peers_make_is_taken_and_its_alias_is_not(secret: bytes) -> None:
    public = crypto_scalarmult_base(secret)
    check_ephemeral(public)
    with pytest.raises(HandshakeError):
        check_ephemeral(encode(int.from_bytes(public, "little") | BIT_255))


@given(st.binary(min_size=32, max_size=32))
def test_conversion_is_libsodiums_and_fits_the_secret(seed: bytes) -> None:
    keypair = Keypair.from_seed(seed)
    assert feed_to_curve(keypair.id.key) == crypto_sign_ed25519_pk_to_curve25519(keypair.id.key)
    assert feed_to_curve(keypair.id.key) == crypto_scalarmult_base(keypair.curve_secret())


@pytest.mark.parametrize("public", [*small_order_points(), *small_order_aliases()])
def test_small_order_keys_do_not_convert(public: bytes) -> None:
    with pytest.raises((HandshakeError, CryptoError)):
        feed_to_curve(public)


def test_there_are_eight() -> None:
    assert len(set(small_order_points())) == 8
    assert set(small_order_points()).isdisjoint(small_order_aliases())


@pytest.mark.parametrize("y", range(P, 2**255))
@pytest.mark.parametrize("sign", [0, BIT_255])
def test_keys_beyond_p_do_not_convert(y: int, sign: int) -> None:
    with pytest.raises(HandshakeError):
        feed_to_curve(encode(y | sign))


def test_keys_off_the_curve_or_out_of_the_subgroup_do_not_convert() -> None:
    bad = [mixed_order(ALICE), encode(2), encode(2 | BIT_255), b"\xff" * 32]
    for public in bad:
        with pytest.raises((HandshakeError, CryptoError)):
            feed_to_curve(public)

"""Keys of direct paths: the formulas written down once more, fixed values, and what must differ."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssbfast.wire.direct.keys import DirectKeys, Role, session_id

EXPORT_KEY = bytes(range(32))
CERTIFICATE = b"not looked into"

keys = st.binary(min_size=32, max_size=32)
epochs = st.integers(1, 2**32 - 1)


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


def both(export_key: bytes, epoch: int) -> tuple[DirectKeys, DirectKeys]:
    return DirectKeys.derive(export_key, Role.CALLER, epoch), DirectKeys.derive(export_key, Role.TARGET, epoch)


@given(keys, epochs, st.binary(max_size=64))
def test_the_formulas(export_key: bytes, epoch: int, certificate: bytes) -> None:
    caller, target = both(export_key, epoch)
    k = mac(export_key, b"direct" + epoch.to_bytes(4, "big"))
    digest = hashlib.sha256(certificate).digest()
    for side in (caller, target):
        assert side.probe_key(Role.CALLER) == mac(k, b"probe caller")
        assert side.probe_key(Role.TARGET) == mac(k, b"probe target")
    assert caller.proof(certificate) == mac(k, b"caller" + digest)
    assert target.proof(certificate) == mac(k, b"target" + digest)
    assert session_id(export_key) == mac(export_key, b"session id")


def test_fixed_values() -> None:
    """Made once with another implementation of HMAC-SHA256 (OpenSSL's command)."""
    caller, target = both(EXPORT_KEY, 7)
    assert caller.probe_key(Role.CALLER).hex() == "224ed0381931a3207833a445818b7aa7f6bc866b3f54611677d5f8f09e72dfec"
    assert caller.probe_key(Role.TARGET).hex() == "f177db697f7b5f603c285f2888e328b427d3a83db97e5f452447e9a166f10af7"
    assert caller.proof(CERTIFICATE).hex() == "aa710935b9fb3b3d6e26b1e685cfa9caa9c34a87e2248457fde3c5447385ba4e"
    assert target.proof(CERTIFICATE).hex() == "4481841dadf14af52f48091afddc48e39b2d04f6eeb2ecde4573986c137ff8af"
    assert session_id(EXPORT_KEY).hex() == "47f618fbf38af9071437a79769bd9c56d3482384949896d2fff522376fbf5152"


@given(keys, epochs, st.binary(max_size=64), st.integers(0, 255))
def test_a_proof_counts_for_one_side_one_certificate_and_one_attempt(
    export_key: bytes, epoch: int, certificate: bytes, bit: int
) -> None:
    caller, target = both(export_key, epoch)
    proof = caller.proof(certificate)
    assert target.proves(proof, certificate)
    assert caller.proves(target.proof(certificate), certificate)
    assert not caller.proves(proof, certificate), "its own, mirrored"
    assert not target.proves(proof, certificate + b"\0")
    assert not target.proves(proof[:-1], certificate)
    assert not target.proves(b"", certificate)
    wrong = bytearray(proof)
    wrong[bit // 8] ^= 1 << bit % 8
    assert not target.proves(bytes(wrong), certificate)
    for other in (epoch - 1, epoch + 1):
        if 0 < other < 2**32:
            assert not DirectKeys.derive(export_key, Role.TARGET, other).proves(proof, certificate)


@given(keys, keys, epochs)
def test_sessions_share_nothing(one: bytes, two: bytes, epoch: int) -> None:
    if one != two:
        assert session_id(one) != session_id(two)
        assert both(one, epoch)[0].probe_key(Role.CALLER) != both(two, epoch)[0].probe_key(Role.CALLER)


@pytest.mark.parametrize("epoch", [0, -1, 2**32])
def test_epochs_that_are_none(epoch: int) -> None:
    with pytest.raises(ValueError, match="epoch"):
        DirectKeys.derive(EXPORT_KEY, Role.CALLER, epoch)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_keys_that_are_none(length: int) -> None:
    with pytest.raises(ValueError, match="32-byte"):
        DirectKeys.derive(bytes(length), Role.CALLER, 1)


def test_repr_shows_no_key() -> None:
    caller, _ = both(EXPORT_KEY, 7)
    k = mac(EXPORT_KEY, b"direct" + (7).to_bytes(4, "big"))
    assert repr(k) not in repr(caller) and "_k" not in repr(caller)


def test_roles() -> None:
    assert Role.CALLER.other is Role.TARGET and Role.TARGET.other is Role.CALLER

"""Certificates of direct paths: one kind is of use, and only for a while."""

from __future__ import annotations

import contextlib
import datetime
import random
import sys
from typing import Any

import pytest

if sys.version_info < (3, 11):
    pytest.skip("aioquic needs Python 3.11: there are no direct paths", allow_module_level=True)

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from ssbfast.direct.certificates import Credentials, load
from ssbfast.direct.quic_path import DirectPath
from ssbfast.errors import RemoteProtocolError
from ssbfast.wire.direct.keys import Role
from tests.helpers.direct import RecordingHandler, keys, loopback
from tests.helpers.rawpeer import eventually, settle


def certificate(key: Any, *, begins: int = -1, ends: int = 24, padding: int = 0) -> bytes:
    """One with that key, valid from and until so many hours from now."""
    now = datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now + datetime.timedelta(hours=begins))
        .not_valid_after(now + datetime.timedelta(hours=ends))
    )
    if padding:
        names = [x509.DNSName("a" * 60 + f".{i}.example") for i in range(padding)]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(Encoding.DER)


def useless() -> dict[str, bytes]:
    p256 = ec.generate_private_key(ec.SECP256R1())
    good = certificate(p256)
    return {
        "empty": b"",
        "garbage": bytes(100),
        "too long": certificate(p256, padding=40),
        "two": good + good,
        "one byte more": good + b"\0",
        "one byte less": good[:-1],
        "RSA": certificate(rsa.generate_private_key(65537, 2048)),
        "P-384": certificate(ec.generate_private_key(ec.SECP384R1())),
        "PEM": b"-----BEGIN CERTIFICATE-----\n",
    }


USELESS = useless()


@pytest.mark.parametrize("name", USELESS)
async def test_useless_certificates_are_refused(name: str) -> None:
    with pytest.raises(RemoteProtocolError):
        DirectPath.caller(USELESS[name], keys(Role.CALLER), RecordingHandler())


def test_every_bit_of_a_certificate_may_be_wrong() -> None:
    """Whatever comes is parsed or refused by our error."""
    good = certificate(ec.generate_private_key(ec.SECP256R1()))
    chance = random.Random(6)
    for _ in range(2000):
        bad = bytearray(good)
        for _ in range(chance.randrange(1, 4)):
            bad[chance.randrange(len(bad))] = chance.randrange(256)
        with contextlib.suppress(RemoteProtocolError):
            load(bytes(bad))


@pytest.mark.parametrize(
    ("begins", "ends", "fine"), [(-1, 24, True), (1, 24, False), (-3, -1, False)], ids=["now", "later", "over"]
)
@pytest.mark.parametrize("kind", ["P-256", "Ed25519"])
async def test_dates_are_looked_at(begins: int, ends: int, fine: bool, kind: str) -> None:
    key: Any = ec.generate_private_key(ec.SECP256R1()) if kind == "P-256" else ed25519.Ed25519PrivateKey.generate()
    credentials = Credentials(certificate(key, begins=begins, ends=ends), key)
    sockets = (loopback(), loopback())
    here, there = RecordingHandler(), RecordingHandler()
    pinned = credentials.certificate
    caller = DirectPath.caller(pinned, keys(Role.CALLER), here)
    target = DirectPath.target(credentials, caller.connection_id, keys(Role.TARGET), there)
    try:
        target.start(sockets[1])
        target.allow(sockets[0].local)
        caller.start(sockets[0], sockets[1].local)
        await eventually(lambda: here.ready or here.lost)
        assert here.ready is fine
        if not fine:
            assert not there.ready
    finally:
        caller.abort("")
        target.abort("")
        await settle()
        for sock in sockets:
            sock.close()

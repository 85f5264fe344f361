"""Certificates of direct paths: one each, made for one attempt and forgotten with it.

A certificate says nothing about its owner's identity: it reaches the other end through the inner session, which has
proven that. It is P-256 throughout, self-signed, nameless, and trusted only where it is pinned.
"""

from __future__ import annotations

import base64
import datetime
import warnings
from dataclasses import dataclass, field

from ssbfast import limits
from ssbfast.errors import DirectUnavailableError, RemoteProtocolError

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.serialization import Encoding
except ImportError as error:
    raise DirectUnavailableError from error

_AGE = datetime.timedelta(hours=1)
_LIFE = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The certificate and key that the target of a direct path shows, and proves with. `Credentials.make` makes them.

    certificate: DER, about 250 bytes. key: its private key.
    """

    certificate: bytes
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def make(cls) -> Credentials:
        """Make a key and its certificate, valid from an hour ago to a day ahead: clocks differ. Takes 0.1 ms."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.timezone.utc)
        nameless = x509.Name([])
        builder = (
            x509.CertificateBuilder()
            .subject_name(nameless)
            .issuer_name(nameless)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _AGE)
            .not_valid_after(now + _LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        return cls(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER), key)


def load(certificate: bytes) -> x509.Certificate:
    """Return the certificate that the other end has sent us (DER).

    Raises RemoteProtocolError unless it is exactly one of at most `limits.CERTIFICATE` bytes with a P-256 or Ed25519
    key. Its dates are looked at when it is used.
    """
    if not 0 < len(certificate) <= limits.CERTIFICATE:
        raise RemoteProtocolError("the peer's certificate has a wrong length")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # it warns of what it will refuse
            parsed = x509.load_der_x509_certificate(certificate)
            key = parsed.public_key()
    except Exception:  # what it raises is an open set: ValueError, InvalidVersion, UnsupportedAlgorithm, our warnings …
        raise RemoteProtocolError("the peer's certificate cannot be read") from None
    is_p256 = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    if not is_p256 and not isinstance(key, ed25519.Ed25519PublicKey):
        raise RemoteProtocolError("the peer's certificate has a key of another kind")
    return parsed


def pem(certificate: bytes) -> bytes:
    """Return the same bytes as PEM."""
    body = base64.encodebytes(certificate)
    return b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"

"""Dates of certificates, read without a library: as cryptography says, and nothing but ValueError for what is none."""

from __future__ import annotations

import base64
import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssbfast.net.certificate_facts import read_facts
from tests.helpers import tls

BEGIN, END = "-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n"


def made(begins: datetime.datetime, ends: datetime.datetime, issuer: str) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("room.test", issuer)]
    builder = x509.CertificateBuilder(names[1], names[0], key.public_key(), x509.random_serial_number(), begins, ends)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize("ends", [2049, 2050, 2120])  # the form of a date differs from 2050 on
@pytest.mark.parametrize("issuer", ["room.test", "authority"])
def test_facts(ends: int, issuer: str) -> None:
    begin = datetime.datetime(1999, 12, 31, 23, 59, 58, tzinfo=datetime.timezone.utc)
    end = datetime.datetime(ends, 2, 3, 4, 5, 6, tzinfo=datetime.timezone.utc)
    text = made(begin, end, issuer)
    facts = read_facts("-----BEGIN PRIVATE KEY-----\n" + text + tls.certificate().decode())
    assert (facts.begins, facts.ends) == (begin.timestamp(), end.timestamp())
    assert facts.is_self_signed is (issuer == "room.test")


DER = base64.b64decode("".join(tls.certificate().decode().partition(BEGIN)[2].partition(END)[0].split()))


@given(st.integers(0, len(DER) - 1), st.integers(0, 255), st.booleans())
def test_what_is_none_is_refused_and_no_more(at: int, value: int, cut: bool) -> None:
    data = DER[:at] if cut else DER[:at] + bytes([value]) + DER[at + 1 :]
    try:
        read_facts(BEGIN + base64.b64encode(data).decode() + "\n" + END)
    except ValueError:
        return
    assert not cut or at > 200


@pytest.mark.parametrize(
    "text", ["", BEGIN, END + BEGIN, BEGIN + END, BEGIN + "MA==\n" + END, BEGIN + "MIT/////\n" + END]
)
def test_texts_without_one(text: str) -> None:
    with pytest.raises(ValueError):
        read_facts(text)

"""Private tunnel addresses: the vector, who can resolve what, and what is not one at all."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_scalarmult, crypto_sign_ed25519_pk_to_curve25519

from ssbfast.errors import AddressError, LimitError
from ssbfast.ids import MAIN_NETWORK, FeedId, NetworkId, encode_key
from ssbfast.keys import Keypair
from ssbfast.limits import PRIVATE_TAGS
from ssbfast.wire.address import TunnelAddress
from ssbfast.wire.private_tunnel import (
    PrivateResolver,
    PrivateTunnelAddress,
    is_private_tunnel,
    issue_group,
    issue_personal,
    parse_private_tunnel,
)
from tests.helpers.handshakes import ALICE, BOB, CAROL, small_order_points
from tests.helpers.vectors import load

SHS = load("shs")
OWNER = Keypair.from_seed(bytes.fromhex(SHS[0]["server_seed"]))
READER = Keypair.from_seed(bytes.fromhex(SHS[0]["client_seed"]))
PORTAL = FeedId(bytes.fromhex(SHS[1]["server_pk"]))
NETWORK = NetworkId(bytes.fromhex(SHS[0]["app_key"]))
NONCE = bytes(range(16))
VECTOR = "ptunnel:1:AAECAwQFBgcICQoLDA0ODw:3H98lsd8mlgpOibKiy7yXZVzjgOW0bElusU3ShiOfd8"
SECRET = bytes(range(100, 132))
KEY = encode_key(OWNER.id.key)

keypairs = st.binary(min_size=32, max_size=32).map(Keypair.from_seed)
feeds = st.binary(min_size=32, max_size=32).map(FeedId)
nonces = st.binary(min_size=16, max_size=16)


def test_the_vector() -> None:
    assert str(issue_personal(OWNER, READER.id, PORTAL, network=NETWORK, nonce=NONCE)) == VECTOR
    address = parse_private_tunnel(VECTOR)
    assert str(address) == VECTOR
    resolver = PrivateResolver(READER, network=NETWORK)
    assert resolver.resolve(address, portals=[PORTAL], contacts=[OWNER.id]) == TunnelAddress(PORTAL, OWNER.id)


def test_the_formulas_written_down_once_more() -> None:
    def mac(key: bytes, *parts: bytes) -> bytes:
        return hmac.new(key, b"".join(parts), hashlib.sha256).digest()

    d = crypto_scalarmult(READER.curve_secret(), crypto_sign_ed25519_pk_to_curve25519(OWNER.id.key))
    k = mac(d, b"ssbfast ptunnel key v1", NETWORK.key, OWNER.id.key, READER.id.key)
    t = mac(k, b"ssbfast ptunnel tag v1", NONCE, PORTAL.key)
    assert issue_personal(OWNER, READER.id, PORTAL, network=NETWORK, nonce=NONCE).tag == t
    k = mac(SECRET, b"ssbfast ptunnel group v1", NETWORK.key, OWNER.id.key)
    t = mac(k, b"ssbfast ptunnel tag v1", NONCE, PORTAL.key)
    group = issue_group(SECRET, OWNER.id, PORTAL, network=NETWORK, nonce=NONCE)
    text = base64.urlsafe_b64encode(t).decode().rstrip("=")
    assert str(group) == f"ptunnel:2:AAECAwQFBgcICQoLDA0ODw:{text}"


@given(keypairs, keypairs, feeds, nonces, st.booleans(), st.booleans())
def test_what_was_issued_is_resolved(
    owner: Keypair, reader: Keypair, portal: FeedId, nonce: bytes, group: bool, with_owner: bool
) -> None:
    if group:
        address = issue_group(SECRET, owner.id, portal, nonce=nonce, with_owner=with_owner)
    else:
        address = issue_personal(owner, reader.id, portal, nonce=nonce, with_owner=with_owner)
    assert parse_private_tunnel(str(address)) == address
    resolver = PrivateResolver(reader, groups=[bytes(32), SECRET])
    contacts = [] if with_owner else [ALICE.id, owner.id]
    for _cached in range(2):
        found = resolver.resolve(address, portals=[BOB.id, portal, CAROL.id], contacts=contacts)
        assert found == TunnelAddress(portal, owner.id)


@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize("with_owner", [False, True])
def test_not_for_you(group: bool, with_owner: bool) -> None:
    def issue(with_owner: bool) -> PrivateTunnelAddress:
        if group:
            return issue_group(SECRET, OWNER.id, PORTAL, nonce=NONCE, with_owner=with_owner)
        return issue_personal(OWNER, READER.id, PORTAL, nonce=NONCE, with_owner=with_owner)

    address = issue(with_owner)

    def resolves(
        me: Keypair = READER,
        secret: bytes = SECRET,
        network: NetworkId = MAIN_NETWORK,
        portals: tuple[FeedId, ...] = (PORTAL,),
        contacts: tuple[FeedId, ...] = (OWNER.id,),
        address: PrivateTunnelAddress = address,
    ) -> bool:
        resolver = PrivateResolver(me, network=network, groups=[secret])
        return resolver.resolve(address, portals=portals, contacts=contacts) is not None

    assert resolves()
    assert resolves(me=ALICE) is group  # a group's address opens for whoever has the secret
    assert resolves(secret=bytes(32)) is not group
    assert not resolves(network=NetworkId(bytes(32)))
    assert not resolves(portals=())
    assert not resolves(portals=(ALICE.id, BOB.id))
    assert resolves(contacts=()) is with_owner
    assert resolves(contacts=(ALICE.id,)) is with_owner
    other_form = PrivateTunnelAddress(address.nonce, address.tag, address.owner, not group)
    assert not resolves(address=other_form)
    wrong_owner = PrivateTunnelAddress(address.nonce, address.tag, ALICE.id, group)
    assert not resolves(address=wrong_owner)


@given(st.integers(0, 16 * 8 + 32 * 8 - 1))
def test_any_flipped_bit_is_not_for_you(bit: int) -> None:
    address = parse_private_tunnel(VECTOR)
    raw = bytearray(address.nonce + address.tag)
    raw[bit // 8] ^= 1 << bit % 8
    flipped = PrivateTunnelAddress(bytes(raw[:16]), bytes(raw[16:]))
    assert PrivateResolver(READER).resolve(flipped, portals=[PORTAL], contacts=[OWNER.id]) is None


def test_two_issues_have_nothing_in_common() -> None:
    one, two = (issue_personal(OWNER, READER.id, PORTAL) for _ in range(2))
    assert one.nonce != two.nonce and one.tag != two.tag


def test_keys_that_are_none() -> None:
    for bad in small_order_points():
        address = PrivateTunnelAddress(NONCE, bytes(32), FeedId(bad))
        assert PrivateResolver(READER).resolve(address, portals=[PORTAL]) is None
        with pytest.raises(AddressError):
            issue_personal(OWNER, FeedId(bad), PORTAL)


def test_so_many_tags_and_no_more() -> None:
    portals = [FeedId(n.to_bytes(32, "big")) for n in range(PRIVATE_TAGS // 2)]
    address = parse_private_tunnel(VECTOR)
    resolver = PrivateResolver(READER)
    assert resolver.resolve(address, portals=portals, contacts=[ALICE.id, BOB.id]) is None
    with pytest.raises(LimitError):
        resolver.resolve(address, portals=portals, contacts=[ALICE.id, BOB.id, CAROL.id])
    # The same one twice is one.
    assert resolver.resolve(address, portals=[*portals, *portals], contacts=[ALICE.id, BOB.id, BOB.id]) is None


N, T = VECTOR.split(":")[2:]


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("", 0),
        ("tunnel:1", 0),
        ("ptunnel", 0),
        ("ptunnel:", 8),
        (f"ptunnel:3:{N}:{T}", 8),
        (f"ptunnel:01:{N}:{T}", 8),
        (f"ptunnel::{N}:{T}", 8),
        ("ptunnel:1", 9),
        ("ptunnel:1:", 10),
        (f"ptunnel:1:{N}", 32),
        (f"ptunnel:1:{N}:", 33),
        (f"ptunnel:1:{N}==:{T}", 32),
        (f"ptunnel:1:{N[:-1]}:{T}", 10),
        (f"ptunnel:1:{N[:-1]}x:{T}", 10),  # stray bits behind the last byte
        (f"ptunnel:1:{N[:3]}+{N[4:]}:{T}", 13),
        (f"ptunnel:1:{N}:{T[:-1]}9", 33),
        (f"ptunnel:1:{N}:{T}A", 33),
        (f"ptunnel:1:{N}:{T[:-1]}", 33),
        (f"ptunnel:1:{N}:{T[:5]}/{T[6:]}", 38),
        (f"ptunnel:1:{N}:{T}\n", 76),
        (f" ptunnel:1:{N}:{T}", 0),
        (f"ptunnel:1:{N}:{T}:", 76),
        (f"ptunnel:1:{N}:{T}:x", 76),
        (f"ptunnel:1:{N}:{T}~", 77),
        (f"ptunnel:1:{N}:{T}~shs", 77),
        (f"ptunnel:1:{N}:{T}~shs:", 81),
        (f"ptunnel:1:{N}:{T}~noauth", 77),
        (f"ptunnel:1:{N}:{T}~shs:{KEY[:-1]}", 81),
        (f"ptunnel:1:{N}:{T}~shs:{KEY}:{KEY}", 81),
        (f"ptunnel:1:{N}:{T}~shs:{KEY};{VECTOR}", 81),
        (f"ptunnel:1:{N}:{T};{VECTOR}", 76),
        ("ptunnel:1:ä", 10),
    ],
)
def test_what_is_none(text: str, offset: int) -> None:
    with pytest.raises(AddressError) as caught:
        parse_private_tunnel(text)
    assert caught.value.offset == offset


@given(st.text() | st.text().map("ptunnel:".__add__) | st.text().map(VECTOR.__add__))
def test_anything_is_read_or_refused(text: str) -> None:
    try:
        address = parse_private_tunnel(text)
    except AddressError as error:
        assert 0 <= error.offset <= len(text)
    else:
        assert str(address) == text


def test_addresses_that_are_built_wrong() -> None:
    for nonce, tag in ((b"", bytes(32)), (bytes(16), bytes(31))):
        with pytest.raises(AddressError):
            PrivateTunnelAddress(nonce, tag)
    for secret in (b"", bytes(31), bytes(33)):
        with pytest.raises(ValueError):
            issue_group(secret, OWNER.id, PORTAL)
        with pytest.raises(ValueError):
            PrivateResolver(READER, groups=[secret])


def test_what_is_shown() -> None:
    address = parse_private_tunnel(f"{VECTOR}~shs:{KEY}")
    assert address.owner == OWNER.id and not address.group
    assert T[:8] not in repr(address) and N not in repr(address)
    assert "secret" not in repr(PrivateResolver(READER, groups=[SECRET]))
    assert repr(PrivateResolver(READER, groups=[SECRET])) == f"<PrivateResolver of {READER.id.short}, 1 groups>"
    assert is_private_tunnel(VECTOR) and not is_private_tunnel(f"tunnel:{PORTAL}:{PORTAL}")

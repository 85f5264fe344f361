"""Handshakes driven from both ends, and a second, plain implementation of the four messages to forge them with.

The forger is written from the formulas, without our code: it can say what an honest program never says.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

from nacl.bindings import (
    crypto_core_ed25519_add,
    crypto_core_ed25519_scalar_add,
    crypto_core_ed25519_scalar_mul,
    crypto_core_ed25519_scalar_reduce,
    crypto_scalarmult,
    crypto_scalarmult_base,
    crypto_scalarmult_ed25519_base_noclamp,
    crypto_secretbox,
    crypto_sign_ed25519_pk_to_curve25519,
)

from ssbfast.ids import MAIN_NETWORK, FeedId, NetworkId
from ssbfast.keys import Keypair
from ssbfast.wire.curve import feed_to_curve
from ssbfast.wire.handshake import (
    ClientHandshake,
    ClientKnown,
    Completed,
    HandshakeEvent,
    Message,
    Send,
    ServerHandshake,
    Session,
)
from ssbfast.wire.handshake_messages import exchange_long_term

ALICE = Keypair.from_seed(b"alice".ljust(32, b"."))
BOB = Keypair.from_seed(b"bob".ljust(32, b"."))
CAROL = Keypair.from_seed(b"carol".ljust(32, b"."))
P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
SIZES = (64, 64, 112, 80)


@dataclass
class HandshakePair:
    """A client and a server that have exchanged some of their messages; ephemerals are fixed, so that runs repeat."""

    client: ClientHandshake
    server: ServerHandshake
    messages: list[bytes]
    sessions: list[Session]


def pair(
    steps: int, client_ephemeral: bytes | None = b"c" * 32, server_ephemeral: bytes | None = b"s" * 32
) -> HandshakePair:
    """Make a pair (ALICE calls BOB) and exchange `steps` messages; message `steps` + 1 is made, but not delivered."""
    client = ClientHandshake(ALICE, BOB.id, ephemeral=client_ephemeral)
    server = ServerHandshake(BOB, ephemeral=server_ephemeral)
    out = HandshakePair(client, server, [client.start()], [])
    for step in range(steps):
        events = (server if step % 2 == 0 else client).receive(out.messages[-1])
        if step == 2:
            assert events == [ClientKnown(ALICE.id)]
            events = server.accept()
        note(out, events)
    return out


def note(out: HandshakePair, events: list[HandshakeEvent]) -> None:
    for event in events:
        if isinstance(event, Send):
            out.messages.append(event.data)
        elif isinstance(event, Completed):
            out.sessions.append(event.session)


def receiver(out: HandshakePair, step: int) -> ClientHandshake | ServerHandshake:
    """Who receives message `step` (0..3)."""
    return out.server if step % 2 == 0 else out.client


def matched(one: Session, other: Session) -> bool:
    """Whether two sessions are the ends of one."""
    return (
        (one.send_key, one.send_nonce) == (other.receive_key, other.receive_nonce)
        and (one.receive_key, one.receive_nonce) == (other.send_key, other.send_nonce)
        and one.export_key == other.export_key
        and one.send_key != one.receive_key
    )


# ---------------------------------------------------------------- forging


def hello(public: bytes, network: NetworkId = MAIN_NETWORK) -> bytes:
    """A hello with any 32 bytes as ephemeral key, under a right hmac."""
    return hmac.new(network.key, public, hashlib.sha512).digest()[:32] + public


def secretbox(key: bytes, plain: bytes) -> bytes:
    return crypto_secretbox(plain, bytes(24), key)


class Forger:
    """One end with free hands: it holds its ephemeral secret and whichever long-term keys are asked for."""

    def __init__(self, secret: bytes = b"f" * 32, network: NetworkId = MAIN_NETWORK) -> None:
        self.secret = secret
        self.public = crypto_scalarmult_base(secret)
        self.network = network
        self.hello = hello(self.public, network)

    def client_proof(self, server_hello: bytes, server: FeedId) -> bytes:
        """What a client signs."""
        ab = crypto_scalarmult(self.secret, server_hello[32:])
        return self.network.key + server.key + hashlib.sha256(ab).digest()

    def client_authenticate(self, server_hello: bytes, server: FeedId, client: bytes, signature: bytes) -> bytes:
        """Message 3 with any key and signature in it."""
        ab = crypto_scalarmult(self.secret, server_hello[32:])
        a_b = crypto_scalarmult(self.secret, crypto_sign_ed25519_pk_to_curve25519(server.key))
        return secretbox(hashlib.sha256(self.network.key + ab + a_b).digest(), signature + client)

    def server_accept(self, client_hello: bytes, authenticate: bytes, me: Keypair, change: Any = None) -> bytes:
        """Message 4 by the owner of `me`; change: what to do to the signature."""
        from nacl.bindings import crypto_secretbox_open

        ab = crypto_scalarmult(self.secret, client_hello[32:])
        a_b = crypto_scalarmult(me.curve_secret(), client_hello[32:])
        key = hashlib.sha256(self.network.key + ab + a_b).digest()
        opened = crypto_secretbox_open(authenticate, bytes(24), key)
        ab_long = crypto_scalarmult(self.secret, crypto_sign_ed25519_pk_to_curve25519(opened[64:]))
        signature = me.sign(self.network.key + opened + hashlib.sha256(ab).digest())
        signature = change(signature) if change else signature
        return secretbox(hashlib.sha256(self.network.key + ab + a_b + ab_long).digest(), signature)


def plus_order(signature: bytes) -> bytes:
    """The malleable twin of a signature: S + L, which passes where S is not compared with L."""
    number = int.from_bytes(signature[32:], "little") + ORDER
    return signature[:32] + number.to_bytes(32, "little")


# One point of order 8; its multiples are all eight points of small order.
ORDER_8 = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")


def small_order_points() -> list[bytes]:
    """The eight Ed25519 keys of small order, canonical."""
    points = [ORDER_8]
    while len(points) < 8:
        points.append(crypto_core_ed25519_add(points[-1], ORDER_8))
    return points


def small_order_aliases() -> list[bytes]:
    """Other encodings of them: y + p, and the sign of an x that is zero."""
    out = []
    for point in small_order_points():
        number = int.from_bytes(point, "little")
        y, sign = number % 2**255, number >> 255
        if y + P < 2**255:
            out += [((y + P) | (bit << 255)).to_bytes(32, "little") for bit in (0, 1)]
        if y in (1, P - 1):
            out.append((y | ((1 - sign) << 255)).to_bytes(32, "little"))
    return out


def mixed_order(keypair: Keypair) -> bytes:
    """A public key with a part of order 8: its owner can sign for it, but it is outside the main subgroup."""
    return crypto_core_ed25519_add(keypair.id.key, ORDER_8)


def sign_with_torsion(seed: bytes | None, public: bytes, message: bytes) -> bytes:
    """A signature that fulfils S*B = R + h*A though A has (or is) a part of small order: h is made divisible by 8.

    seed: None when A is of small order itself.
    """
    scalar = bytes(32)
    if seed is not None:
        clamped = bytearray(hashlib.sha512(seed).digest()[:32])
        clamped[0] &= 248
        clamped[31] = clamped[31] & 63 | 64
        scalar = crypto_core_ed25519_scalar_reduce(bytes(clamped) + bytes(32))
    for counter in range(1, 1000):
        nonce = crypto_core_ed25519_scalar_reduce(hashlib.sha512(b"nonce %d" % counter).digest())
        point = crypto_scalarmult_ed25519_base_noclamp(nonce)
        challenge = crypto_core_ed25519_scalar_reduce(hashlib.sha512(point + public + message).digest())
        if challenge[0] % 8 == 0:
            return point + crypto_core_ed25519_scalar_add(nonce, crypto_core_ed25519_scalar_mul(challenge, scalar))
    raise AssertionError("no challenge divisible by 8 in 1,000")


class OwnKeyServer(ServerHandshake):
    """A server that its own key may call, as with ssb servers."""

    def _consume_client_authenticate(self, body: bytes) -> FeedId:
        from nacl.bindings import crypto_secretbox_open

        self._shared.add(self._ephemeral.exchange(self._theirs))
        self._shared.add(exchange_long_term(self._me, self._theirs))
        opened = crypto_secretbox_open(body, bytes(24), self._shared.key())
        self._client_signature, client = opened[:64], FeedId(opened[64:])
        self._shared.add(self._ephemeral.exchange(feed_to_curve(client.key)))
        self._client = client
        self._advance(Message.CLIENT_AUTHENTICATE)
        return client

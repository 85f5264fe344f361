"""The four messages of the secret handshake: their bytes and their cryptography, without any order or state.

::

    K  network id          a, b  ephemeral X25519 keys of client and server       A, B  their Ed25519 keys
    ab = X25519(a, b_pub)  aB = X25519(a, curve(B_pub))  Ab = X25519(curve(A), b_pub)
    hmac = HMAC-SHA-512, first 32 bytes      box = XSalsa20-Poly1305 with a nonce of zeros

    client hello         64   hmac(K, a_pub) | a_pub
    server hello         64   hmac(K, b_pub) | b_pub
    client authenticate 112   box[sha256(K | ab | aB)](sigA | A_pub)      sigA = sign(A, K | B_pub | sha256(ab))
    server accept        80   box[sha256(K | ab | aB | Ab)](sigB)         sigB = sign(B, K | sigA | A_pub | sha256(ab))

Spec: "Designing a Secret Handshake: Authenticated Key Exchange as a Capability System" (Tarr, 2015); Scuttlebutt
Protocol Guide, "Handshake".

`consume_*` functions raise HandshakeError or nacl's CryptoError; the state machines make one error of both.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

from nacl.bindings import (
    crypto_scalarmult,
    crypto_scalarmult_base,
    crypto_secretbox,
    crypto_secretbox_open,
    crypto_sign_open,
)

from ssbfast.errors import HandshakeError
from ssbfast.ids import FeedId, NetworkId
from ssbfast.keys import Keypair
from ssbfast.wire.curve import check_ephemeral

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 24
HMAC_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

CLIENT_BYTES: Final = 64 + 112
"""What the client writes before its box stream begins."""

SERVER_BYTES: Final = 64 + 80
"""The same of the server."""
EXPORT_LABEL: Final = b"ssbfast export v1"

_ZERO_NONCE: Final = bytes(NONCE_BYTES)
_SHARED_SECRETS: Final = 3


class Ephemeral:
    """An X25519 key pair for one handshake.

    secret: 32 bytes, or None for the system's randomness. Raises ValueError for another length.
    """

    __slots__ = ("_public", "_secret")

    def __init__(self, secret: bytes | None) -> None:
        self._secret = bytearray(secrets.token_bytes(KEY_BYTES) if secret is None else secret)
        if len(self._secret) != KEY_BYTES:
            raise ValueError("an ephemeral secret has 32 bytes")
        self._public: bytes | None = None

    @property
    def public(self) -> bytes:
        """Return the public key, computed on first use: garbage sent to a server costs it no curve arithmetic."""
        if self._public is None:
            self._public = crypto_scalarmult_base(bytes(self._secret))
        return self._public

    def exchange(self, public: bytes) -> bytes:
        """Return X25519 of this secret and a 32-byte public key. Raise CryptoError when the result is zero."""
        return crypto_scalarmult(bytes(self._secret), public)

    def wipe(self) -> None:
        """Overwrite the secret. (PyNaCl was given copies, freed at once: Python lets us do no more.)"""
        self._secret[:] = bytes(KEY_BYTES)


def exchange_long_term(me: Keypair, public: bytes) -> bytes:
    """Return X25519 of a long-term key pair and a 32-byte ephemeral public key. Raise CryptoError for zero."""
    return crypto_scalarmult(me.curve_secret(), public)


class SharedSecrets:
    """`K | ab | aB | Ab`, growing in this order while the handshake goes on."""

    __slots__ = ("_bytes", "_count")

    def __init__(self, network: NetworkId) -> None:
        # Full size from the start: a bytearray that grows leaves copies behind.
        self._bytes = bytearray(KEY_BYTES * (1 + _SHARED_SECRETS))
        self._bytes[:KEY_BYTES] = network.key
        self._count = 0

    def add(self, secret: bytes) -> None:
        """Append the next of ab, aB, Ab (32 bytes)."""
        self._count += 1
        self._bytes[KEY_BYTES * self._count : KEY_BYTES * (self._count + 1)] = secret

    def key(self) -> bytes:
        """Return sha256 of K and all secrets so far (32 bytes)."""
        with memoryview(self._bytes) as view:
            return hashlib.sha256(view[: KEY_BYTES * (1 + self._count)]).digest()

    def first_hash(self) -> bytes:
        """Return sha256(ab), which both signatures cover (32 bytes)."""
        with memoryview(self._bytes) as view:
            return hashlib.sha256(view[KEY_BYTES : 2 * KEY_BYTES]).digest()

    def wipe(self) -> None:
        """Overwrite everything."""
        self._bytes[:] = bytes(len(self._bytes))


def create_hello(network: NetworkId, ephemeral: Ephemeral) -> bytes:
    """Return a client or server hello: the sender's ephemeral public key under the network's hmac (64 bytes)."""
    return _auth(network, ephemeral.public) + ephemeral.public


def consume_hello(network: NetworkId, message: bytes, own: Ephemeral) -> bytes:
    """Check a hello of 64 bytes; return the peer's ephemeral public key.

    own: our ephemeral key. A peer that uses the same has only reflected it.
    """
    tag, public = message[:HMAC_BYTES], message[HMAC_BYTES:]
    if not hmac.compare_digest(tag, _auth(network, public)):
        raise HandshakeError
    check_ephemeral(public)
    if public == own.public:
        raise HandshakeError
    return public


def hello_nonce(hello: bytes) -> bytes:
    """Return `stream_nonce` of a checked hello's sender (24 bytes): the tag before its key is the same hmac."""
    return hello[:NONCE_BYTES]


def create_client_authenticate(
    me: Keypair, network: NetworkId, server: FeedId, shared: SharedSecrets
) -> tuple[bytes, bytes]:
    """Return the box (112 bytes) and the signature in it. shared: ab and aB."""
    signature = me.sign(network.key + server.key + shared.first_hash())
    return crypto_secretbox(signature + me.id.key, _ZERO_NONCE, shared.key()), signature


def consume_client_authenticate(
    message: bytes, network: NetworkId, server: FeedId, shared: SharedSecrets
) -> tuple[FeedId, bytes]:
    """Open the box (112 bytes); return the client's proven id and its signature. shared: ab and aB."""
    opened = crypto_secretbox_open(message, _ZERO_NONCE, shared.key())
    signature, client = opened[:SIGNATURE_BYTES], FeedId(opened[SIGNATURE_BYTES:])
    if client == server:
        raise HandshakeError  # our own key: a reflection, or a stolen identity
    crypto_sign_open(signature + network.key + server.key + shared.first_hash(), client.key)
    return client, signature


def create_server_accept(
    me: Keypair, network: NetworkId, client: FeedId, client_signature: bytes, shared: SharedSecrets
) -> bytes:
    """Return the box (80 bytes). shared: ab, aB and Ab."""
    signature = me.sign(network.key + client_signature + client.key + shared.first_hash())
    return crypto_secretbox(signature, _ZERO_NONCE, shared.key())


def consume_server_accept(
    message: bytes, network: NetworkId, server: FeedId, client: FeedId, client_signature: bytes, shared: SharedSecrets
) -> None:
    """Open and verify the box (80 bytes). shared: ab, aB and Ab."""
    signature = crypto_secretbox_open(message, _ZERO_NONCE, shared.key())
    crypto_sign_open(signature + network.key + client_signature + client.key + shared.first_hash(), server.key)


def stream_key(secret: bytes, towards: FeedId) -> bytes:
    """Return the box-stream key of the stream towards a peer. secret: see `final_secret`."""
    return hashlib.sha256(secret + towards.key).digest()


def stream_nonce(network: NetworkId, ephemeral: bytes) -> bytes:
    """Return the first nonce of the stream towards the peer whose ephemeral public key this is (24 bytes)."""
    return _auth(network, ephemeral)[:NONCE_BYTES]


def final_secret(shared: SharedSecrets) -> bytes:
    """Return sha256(sha256(K

    ab

    aB

    Ab)), from which every key of the session comes.
    """
    return hashlib.sha256(shared.key()).digest()


def export_key(secret: bytes) -> bytes:
    """Return the key that other protocols of this session derive theirs from (32 bytes)."""
    return hmac.digest(secret, EXPORT_LABEL, "sha256")


def _auth(network: NetworkId, data: bytes) -> bytes:
    """Return NaCl's crypto_auth: HMAC-SHA-512 cut to 32 bytes."""
    return hmac.digest(network.key, data, "sha512")[:HMAC_BYTES]

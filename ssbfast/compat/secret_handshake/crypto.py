"""The secret handshake step by step, as `secret_handshake.crypto` has it, on ssbfast's handshake functions.

The order of calls::

    client.generate_challenge()  ->  server.verify_challenge()
    server.generate_challenge()  ->  client.verify_server_challenge()
    client.generate_client_auth() -> server.verify_client_auth()
    server.generate_accept()     ->  client.verify_server_accept()
    get_box_keys() on both sides

Each object is for one handshake at a time; `clean()` forgets it and draws a new ephemeral key. A message that is not
what it should be gives False or SHSError, never an AssertionError.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode
from typing import Any, Final

from nacl.bindings import crypto_sign_ed25519_sk_to_curve25519, crypto_sign_open
from nacl.bindings.crypto_box import crypto_box_afternm, crypto_box_open_afternm
from nacl.bindings.crypto_scalarmult import crypto_scalarmult
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey
from nacl.signing import SigningKey, VerifyKey

from ssbfast.compat.secret_handshake.boxstream import BoxStreamKeys
from ssbfast.errors import HandshakeError
from ssbfast.ids import MAIN_NETWORK, FeedId, NetworkId
from ssbfast.wire.curve import check_ephemeral, feed_to_curve
from ssbfast.wire.handshake_messages import stream_key, stream_nonce

__all__ = [
    "APPLICATION_KEY",
    "BoxStreamKeys",
    "CryptoError",
    "PrivateKey",
    "SHSClientCrypto",
    "SHSCryptoBase",
    "SHSError",
    "SHSServerCrypto",
    "SigningKey",
    "VerifyKey",
    "b64decode",
    "crypto_box_afternm",
    "crypto_box_open_afternm",
    "crypto_scalarmult",
]

APPLICATION_KEY: Final = MAIN_NETWORK.key

_HELLO: Final = 64
_SIGNATURE: Final = 64
_AUTH: Final = 112
_ZERO_NONCE: Final = bytes(24)
_SECRETS: Final = ("shared_secret", "shared_hash", "a_bob", "b_alice", "box_secret", "hello")


class SHSError(Exception):
    """A message of the handshake that cannot be opened, or a step called before the one it builds on."""


class SHSCryptoBase:
    """The part that both sides share.

    local_key: our identity. ephemeral_key: for one handshake; None draws a new one. application_key: 32 bytes, the
    network's key; None is the main network.
    """

    def __init__(
        self,
        local_key: SigningKey,
        ephemeral_key: PrivateKey | None = None,
        application_key: bytes | None = None,
    ) -> None:
        self.local_key = local_key
        self.application_key = application_key or APPLICATION_KEY
        self._reset_keys(ephemeral_key or PrivateKey.generate())

    def _reset_keys(self, ephemeral_key: PrivateKey) -> None:
        self.local_ephemeral_key = ephemeral_key
        self.local_app_hmac = self._hmac(bytes(ephemeral_key.public_key))

    def _hmac(self, data: bytes) -> bytes:
        return hmac.digest(self.application_key, data, "sha512")[:32]

    def generate_challenge(self) -> bytes:
        """Return our hello: 64 bytes."""
        return self.local_app_hmac + bytes(self.local_ephemeral_key.public_key)

    def verify_challenge(self, data: bytes) -> bool:
        """Check the peer's hello and keep its ephemeral key. False: not 64 bytes, another network, an unusable key."""
        tag, public = data[:32], data[32:]
        if len(data) != _HELLO or not hmac.compare_digest(tag, self._hmac(public)):
            return False
        if public == bytes(self.local_ephemeral_key.public_key):
            return False  # our own hello, reflected
        try:
            check_ephemeral(public)
            shared_secret = crypto_scalarmult(bytes(self.local_ephemeral_key), public)
        except (HandshakeError, CryptoError):
            return False
        self.remote_app_hmac = tag
        self.remote_ephemeral_key = public
        self.shared_secret = shared_secret
        self.shared_hash = hashlib.sha256(shared_secret).digest()
        return True

    def clean(self, new_ephemeral_key: PrivateKey | None = None) -> None:
        """Forget this handshake: its secrets become None. A new ephemeral key is drawn unless one is given."""
        vars(self).update(dict.fromkeys((*_SECRETS, "remote_app_hmac", "remote_ephemeral_key")))
        self._reset_keys(new_ephemeral_key or PrivateKey.generate())

    def get_box_keys(self) -> BoxStreamKeys:
        """Return keys and first nonces of both box streams. SHSError before the handshake is done."""
        secret = hashlib.sha256(self._need("box_secret")).digest()
        network = NetworkId(self.application_key)
        remote = FeedId(bytes(self.remote_pub_key))
        return {
            "shared_secret": secret,
            "encrypt_key": stream_key(secret, remote),
            "encrypt_nonce": stream_nonce(network, self.remote_ephemeral_key),
            "decrypt_key": stream_key(secret, FeedId(bytes(self.local_key.verify_key))),
            "decrypt_nonce": stream_nonce(network, bytes(self.local_ephemeral_key.public_key)),
        }

    remote_pub_key: VerifyKey

    def _need(self, name: str) -> Any:
        value = vars(self).get(name)
        if value is None:
            raise SHSError("a step of the handshake is missing")
        return value

    def _exchange_long_term(self) -> bytes:
        """Return X25519 of our identity and the peer's ephemeral key."""
        secret = bytes(self.local_key) + bytes(self.local_key.verify_key)
        return crypto_scalarmult(crypto_sign_ed25519_sk_to_curve25519(secret), self._need("remote_ephemeral_key"))

    def _box_key(self, *secrets: bytes) -> bytes:
        return hashlib.sha256(b"".join((self.application_key, self._need("shared_secret"), *secrets))).digest()


class SHSServerCrypto(SHSCryptoBase):
    """The side that is called."""

    def verify_client_auth(self, data: bytes) -> bool:
        """Check the client's authentication: then `remote_pub_key` is proven. False for anything else."""
        if len(data) != _AUTH:
            return False
        try:
            a_bob = self._exchange_long_term()
            opened = crypto_box_open_afternm(data, _ZERO_NONCE, self._box_key(a_bob))
            signature, public = opened[:_SIGNATURE], opened[_SIGNATURE:]
            signed = self.application_key + bytes(self.local_key.verify_key) + self.shared_hash
            crypto_sign_open(signature + signed, public)
            b_alice = crypto_scalarmult(bytes(self.local_ephemeral_key), feed_to_curve(public))
        except (HandshakeError, CryptoError):
            return False
        self.a_bob, self.b_alice = a_bob, b_alice
        self.hello = opened
        self.remote_pub_key = VerifyKey(public)
        self.box_secret = self._box_key(a_bob, b_alice)
        return True

    def generate_accept(self) -> bytes:
        """Return the answer that lets the client in: 80 bytes."""
        box_secret = self._need("box_secret")
        signature = self.local_key.sign(self.application_key + self.hello + self.shared_hash).signature
        return crypto_box_afternm(signature, _ZERO_NONCE, box_secret)

    def clean(self, new_ephemeral_key: PrivateKey | None = None) -> None:
        SHSCryptoBase.clean(self, new_ephemeral_key)
        vars(self).pop("remote_pub_key", None)


class SHSClientCrypto(SHSCryptoBase):
    """The side that calls. server_pub_key: 32 bytes; whether they are a usable key shows at the server's challenge."""

    def __init__(
        self,
        local_key: SigningKey,
        server_pub_key: bytes,
        ephemeral_key: PrivateKey | None = None,
        application_key: bytes | None = None,
    ) -> None:
        SHSCryptoBase.__init__(self, local_key, ephemeral_key, application_key)
        self.remote_pub_key = VerifyKey(server_pub_key)

    def verify_server_challenge(self, data: bytes) -> bool:
        """Check the server's hello. False when it is not one, or the server's key cannot be used."""
        if not self.verify_challenge(data):
            return False
        try:
            curve = feed_to_curve(bytes(self.remote_pub_key))
            self.a_bob = crypto_scalarmult(bytes(self.local_ephemeral_key), curve)
        except (HandshakeError, CryptoError):
            return False
        signed = self.application_key + bytes(self.remote_pub_key) + self.shared_hash
        self.hello = self.local_key.sign(signed).signature + bytes(self.local_key.verify_key)
        self.box_secret = self._box_key(self.a_bob)
        return True

    def generate_client_auth(self) -> bytes:
        """Return the proof of our identity: 112 bytes."""
        hello = self._need("hello")
        return crypto_box_afternm(hello, _ZERO_NONCE, self._box_key(self.a_bob))

    def verify_server_accept(self, data: bytes) -> bool:
        """Check the server's answer. SHSError when it cannot be opened, False when it is not signed by the server."""
        b_alice = self._exchange_long_term()
        box_secret = self._box_key(self._need("a_bob"), b_alice)
        try:
            signature = crypto_box_open_afternm(data, _ZERO_NONCE, box_secret)
        except CryptoError:
            raise SHSError("Error decrypting server acceptance message") from None
        try:
            signed = self.application_key + self.hello + self.shared_hash
            crypto_sign_open(signature + signed, bytes(self.remote_pub_key))
        except CryptoError:
            return False
        self.b_alice, self.box_secret = b_alice, box_secret
        return True

    def clean(self, new_ephemeral_key: PrivateKey | None = None) -> None:
        SHSCryptoBase.clean(self, new_ephemeral_key)

"""The handshake step by step: JavaScript's vectors, order, garbage, and no assert to lose under -O."""

from __future__ import annotations

import hmac
from typing import Any

import pytest
from nacl.bindings import crypto_box_open_afternm
from nacl.public import PrivateKey
from nacl.signing import SigningKey

from ssbfast.compat.secret_handshake import crypto
from ssbfast.compat.secret_handshake.crypto import SHSClientCrypto, SHSError, SHSServerCrypto
from ssbfast.ids import FeedId, NetworkId
from ssbfast.keys import Keypair
from ssbfast.wire.handshake import ClientHandshake, ClientKnown, Completed, Send, ServerHandshake
from tests.helpers.vectors import load

SERVER = SigningKey(b"s" * 32)
CLIENT = SigningKey(b"c" * 32)


def pair(application_key: bytes | None = None) -> tuple[SHSClientCrypto, SHSServerCrypto]:
    client = SHSClientCrypto(CLIENT, bytes(SERVER.verify_key), PrivateKey.generate(), application_key)
    return client, SHSServerCrypto(SERVER, application_key=application_key)


def shake(client: SHSClientCrypto, server: SHSServerCrypto) -> None:
    for good in (
        server.verify_challenge(client.generate_challenge()),
        client.verify_server_challenge(server.generate_challenge()),
        server.verify_client_auth(client.generate_client_auth()),
        client.verify_server_accept(server.generate_accept()),
    ):
        if good is not True:
            raise AssertionError("the handshake failed")


@pytest.mark.parametrize("number", range(len(load("shs"))))
def test_vectors(number: int) -> None:
    v: dict[str, bytes] = {name: bytes.fromhex(text) for name, text in load("shs")[number].items()}
    client_key, server_key = SigningKey(v["client_seed"]), SigningKey(v["server_seed"])
    client = SHSClientCrypto(client_key, v["server_pk"], PrivateKey(v["client_eph_sk"]), v["app_key"])
    server = SHSServerCrypto(server_key, PrivateKey(v["server_eph_sk"]), v["app_key"])
    assert client.generate_challenge() == v["msg1"] and server.verify_challenge(v["msg1"])
    assert server.generate_challenge() == v["msg2"] and client.verify_server_challenge(v["msg2"])
    assert client.shared_secret == v["shared_ab"] and client.box_secret == v["secret2"]
    assert client.generate_client_auth() == v["msg3"] and server.verify_client_auth(v["msg3"])
    assert server.generate_accept() == v["msg4"] and client.verify_server_accept(v["msg4"])
    assert client.box_secret == server.box_secret == v["secret3"]
    keys, mirror = client.get_box_keys(), server.get_box_keys()
    for name in ("encrypt_key", "encrypt_nonce", "decrypt_key", "decrypt_nonce"):
        assert keys[name] == v[f"client_{name}"]  # type: ignore[literal-required]
    assert (mirror["encrypt_key"], mirror["decrypt_nonce"]) == (keys["decrypt_key"], keys["encrypt_nonce"])
    assert mirror["shared_secret"] == keys["shared_secret"]
    assert bytes(server.remote_pub_key) == v["client_pk"]


def test_with_the_native_server() -> None:
    client, _ = pair()
    machine = ServerHandshake(Keypair.from_seed(bytes(SERVER)))
    (sent,) = machine.receive(client.generate_challenge())
    assert isinstance(sent, Send) and client.verify_server_challenge(sent.data)
    (known,) = machine.receive(client.generate_client_auth())
    assert known == ClientKnown(FeedId(bytes(CLIENT.verify_key)))
    sent, done = machine.accept()
    assert isinstance(sent, Send) and isinstance(done, Completed) and client.verify_server_accept(sent.data)
    keys = client.get_box_keys()
    assert (keys["encrypt_key"], keys["decrypt_nonce"]) == (done.session.receive_key, done.session.send_nonce)


def test_with_the_native_client() -> None:
    _, server = pair(b"n" * 32)
    me = Keypair.from_seed(bytes(CLIENT))
    machine = ClientHandshake(me, FeedId(bytes(SERVER.verify_key)), network=NetworkId(b"n" * 32))
    assert server.verify_challenge(machine.start())
    (sent,) = machine.receive(server.generate_challenge())
    assert isinstance(sent, Send) and server.verify_client_auth(sent.data)
    (done,) = machine.receive(server.generate_accept())
    assert isinstance(done, Completed)
    keys = server.get_box_keys()
    assert (keys["encrypt_key"], keys["decrypt_nonce"]) == (done.session.receive_key, done.session.send_nonce)


@pytest.mark.parametrize("data", [b"", b"x" * 6, b"x" * 64, b"x" * 65, b"x" * 112])
def test_garbage_is_false(data: bytes) -> None:
    client, server = pair()
    assert server.verify_challenge(data) is False
    assert client.verify_server_challenge(data) is False
    assert server.verify_challenge(client.generate_challenge())
    assert client.verify_server_challenge(server.generate_challenge())
    assert server.verify_client_auth(data) is False
    with pytest.raises(SHSError):
        client.verify_server_accept(data)
    shake(client, server)  # and nothing was spoiled


def test_each_bit_counts() -> None:
    for step in range(4):
        for byte in (0, 15, 31, 32, 63):
            client, server = pair()
            try:
                good = steps(client, server, step, byte)
            except SHSError:
                good = False
            assert not good


def steps(client: SHSClientCrypto, server: SHSServerCrypto, bad: int, byte: int) -> bool:
    """A handshake in which one bit of message number `bad` is turned."""
    names = [
        (client.generate_challenge, server.verify_challenge),
        (server.generate_challenge, client.verify_server_challenge),
        (client.generate_client_auth, server.verify_client_auth),
        (server.generate_accept, client.verify_server_accept),
    ]
    for number, (make, check) in enumerate(names):
        data = bytearray(make())
        if number == bad:
            data[byte] ^= 1
        if not check(bytes(data)):
            return False
    return True


def test_secrets_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hmac used to be compared with `==`."""
    client, server = pair()
    seen: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, two: bytes) -> bool:
        seen.append((one, two))
        return False

    monkeypatch.setattr(hmac, "compare_digest", compare)
    challenge = client.generate_challenge()
    assert not server.verify_challenge(challenge) and seen == [(challenge[:32], challenge[:32])]


def test_programs_may_put_things_on_the_objects() -> None:
    """As tests do that mock one method of one object."""
    for side in pair():
        vars(side)["generate_challenge"] = lambda: b"mine"
        assert side.generate_challenge() == b"mine"


def test_other_networks_and_reflections() -> None:
    client, _ = pair(b"1" * 32)
    _, server = pair(b"2" * 32)
    assert not server.verify_challenge(client.generate_challenge())
    client, server = pair()
    assert not client.verify_challenge(client.generate_challenge())
    low = crypto.SHSCryptoBase(CLIENT)
    assert not server.verify_challenge(low._hmac(bytes(32)) + bytes(32)), "a point of low order"


def test_steps_in_the_wrong_order() -> None:
    client, server = pair()
    for call in (
        client.generate_client_auth,
        client.get_box_keys,
        server.get_box_keys,
        server.generate_accept,
        lambda: server.verify_client_auth(b"x" * 112),
        lambda: client.verify_server_accept(b"x" * 80),
    ):
        with pytest.raises(SHSError):
            call()


def test_clean_forgets() -> None:
    client, server = pair()
    shake(client, server)
    ephemeral = PrivateKey.generate()
    client.clean(ephemeral)
    server.clean()
    assert client.local_ephemeral_key is ephemeral
    for side in (client, server):
        names = ("shared_secret", "shared_hash", "remote_ephemeral_key", "box_secret", "hello", "a_bob", "b_alice")
        assert [getattr(side, name) for name in names] == [None] * len(names)
        with pytest.raises(SHSError):
            side.get_box_keys()
    shake(client, server)


def test_an_unusable_server_key_shows_only_at_its_challenge() -> None:
    client = SHSClientCrypto(CLIENT, b"\2" + bytes(31), PrivateKey.generate())
    assert not client.verify_server_challenge(pair()[1].generate_challenge())


def test_names_that_suites_replace(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = PrivateKey(b"e" * 32)

    class Fixed:
        @staticmethod
        def generate() -> PrivateKey:
            return fixed

    monkeypatch.setattr(crypto, "PrivateKey", Fixed)
    server = SHSServerCrypto(SERVER)
    assert server.local_ephemeral_key is fixed
    monkeypatch.undo()
    client, server = pair()
    server.verify_challenge(client.generate_challenge())
    client.verify_server_challenge(server.generate_challenge())
    auth = client.generate_client_auth()
    seen: list[Any] = []

    def spy(*args: bytes) -> bytes:
        seen.append(args)
        return crypto_box_open_afternm(*args)

    monkeypatch.setattr(crypto, "crypto_box_open_afternm", spy)
    assert server.verify_client_auth(auth) and seen
    monkeypatch.setattr(crypto, "crypto_box_open_afternm", lambda *args: bytes(96))
    assert not server.verify_client_auth(auth)
    assert not client.verify_server_accept(bytes(80))

"""Everything that the secret handshake refuses: one error, and not a byte afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from nacl.bindings import crypto_scalarmult_base

from ssbfast.errors import HandshakeError
from ssbfast.ids import FeedId, NetworkId
from ssbfast.keys import Keypair
from ssbfast.limits import EARLY_BYTES
from ssbfast.wire.handshake import ClientHandshake, ClientKnown, Completed, Send, ServerHandshake
from tests.helpers.feeds import feeds
from tests.helpers.handshakes import (
    ALICE,
    BOB,
    CAROL,
    SIZES,
    Forger,
    HandshakePair,
    OwnKeyServer,
    P,
    hello,
    mixed_order,
    note,
    pair,
    plus_order,
    receiver,
    sign_with_torsion,
    small_order_aliases,
    small_order_points,
)
from tests.wire.test_curve import encode, low_order_encodings

Role = ClientHandshake | ServerHandshake
OTHER_NETWORK = NetworkId(b"another network".ljust(32, b"."))
BIT_255 = 1 << 255

BAD_EPHEMERALS = [
    *low_order_encodings(),
    *(encode(number) for number in range(P, 2**255)),
    *(encode(number | BIT_255) for number in (2, 9, P - 2)),
    encode(int.from_bytes(crypto_scalarmult_base(b"x" * 32), "little") | BIT_255),
]


def dead(role: Role) -> None:
    """Check that every later call raises the one error."""
    calls: list[Callable[[], Any]] = [lambda: role.receive(b""), lambda: role.receive(bytes(200)), role.eof]
    calls += [role.accept, role.refuse] if isinstance(role, ServerHandshake) else [role.start]
    for call in calls:
        with pytest.raises(HandshakeError) as caught:
            call()
        assert str(caught.value) == "the secret handshake failed"


def refused(role: Role, data: bytes) -> None:
    with pytest.raises(HandshakeError) as caught:
        role.receive(data)
    assert type(caught.value) is HandshakeError and str(caught.value) == "the secret handshake failed"
    dead(role)


class TestDamage:
    @pytest.mark.parametrize("step", range(4))
    def test_every_bit_of_every_message(self, step: int) -> None:
        """All 320 bytes of the four messages, all 2,560 bits."""
        message = pair(step).messages[step]
        assert len(message) == SIZES[step]
        for bit in range(8 * len(message)):
            changed = bytearray(message)
            changed[bit // 8] ^= 1 << bit % 8
            role = receiver(pair(step), step)
            with pytest.raises(HandshakeError):
                role.receive(bytes(changed))
            with pytest.raises(HandshakeError):
                role.receive(message)

    @pytest.mark.parametrize("step", range(4))
    def test_every_truncation(self, step: int) -> None:
        message = pair(step).messages[step]
        for size in range(len(message)):
            role = receiver(pair(step), step)
            assert role.receive(message[:size]) == []
            with pytest.raises(HandshakeError):
                role.eof()
            dead(role)

    @pytest.mark.parametrize("step", range(4))
    def test_damage_fails_at_any_cut(self, step: int) -> None:
        both = pair(step)
        damaged = both.messages[step][:-1] + bytes([both.messages[step][-1] ^ 1])
        for chunks in feeds(damaged + b"more"):
            role = receiver(pair(step), step)
            with pytest.raises(HandshakeError):
                for chunk in chunks:
                    assert role.receive(chunk) == []
            dead(role)

    @pytest.mark.parametrize("step", range(4))
    @pytest.mark.parametrize("filler", [b"\0", b"\xff", b"g"])
    def test_constant_bytes(self, step: int, filler: bytes) -> None:
        refused(receiver(pair(step), step), filler * 200)

    def test_a_hello_whose_sender_does_not_know_the_secret(self) -> None:
        """Each bit of the ephemeral key changed by somebody who can make the public hmac."""
        for bit in range(256):
            both = pair(1)
            changed = encode(int.from_bytes(both.messages[1][32:], "little") ^ (1 << bit))
            try:
                [event] = both.client.receive(hello(changed))
            except HandshakeError:
                dead(both.client)
                continue
            assert isinstance(event, Send)
            refused(both.server, event.data)


class TestWrongMessages:
    @pytest.mark.parametrize("step", range(4))
    @pytest.mark.parametrize("other", range(4))
    def test_wrong_order(self, step: int, other: int) -> None:
        """Each message in each place: only its own place takes it."""
        messages = pair(3).messages
        role = receiver(pair(step), step)
        if other == step:
            assert role.receive(messages[other]) != []
        elif step == 0 and other == 1:
            pass  # a server hello is a client hello of somebody else's: see `test_somebody_elses_hello`
        else:
            refused(role, messages[other].ljust(SIZES[step], b"."))

    @pytest.mark.parametrize("step", range(4))
    def test_replay_behind_itself(self, step: int) -> None:
        """A message twice: the second is read as the next one, or as bytes behind the last."""
        message = pair(step).messages[step]
        role = receiver(pair(step), step)
        events = role.receive(message)
        if step == 3:
            assert isinstance(events[-1], Completed)
            return
        if step == 2:
            assert events == [ClientKnown(ALICE.id)]
            assert role.receive(message) == []  # unread until admission has decided
            return
        refused(role, message.ljust(112, b"."))

    @pytest.mark.parametrize("step", range(4))
    def test_reflection(self, step: int) -> None:
        """One's own last message comes back."""
        both = pair(step)
        sender = receiver(both, step + 1)
        if step == 3:
            return  # the server has completed: what comes now is the box stream's
        refused(sender, both.messages[step].ljust(112, b"."))

    def test_own_ephemeral_reflected(self) -> None:
        both = pair(0)
        refused(both.client, both.messages[0])
        own = crypto_scalarmult_base(b"s" * 32)
        refused(pair(0).server, hello(own))

    @pytest.mark.parametrize("step", [2, 3])
    def test_messages_of_another_session(self, step: int) -> None:
        """The same two peers, the same step, another session."""
        for client, server in ((b"c" * 32, b"t" * 32), (b"d" * 32, b"s" * 32), (b"d" * 32, b"t" * 32)):
            other = pair(step, client, server).messages[step]
            refused(receiver(pair(step), step), other)

    def test_somebody_elses_hello(self) -> None:
        """Hellos authenticate nobody. A replayed one is answered, and leads nowhere."""
        recorded = pair(3).messages
        for first in (recorded[0], recorded[1]):
            server = ServerHandshake(BOB)
            assert len(server.receive(first)) == 1
            refused(server, recorded[2])
        client = ClientHandshake(ALICE, BOB.id)
        client.start()
        assert len(client.receive(recorded[1])) == 1
        refused(client, recorded[3])

    def test_bytes_before_the_decision_are_bounded(self) -> None:
        both = pair(2)
        assert both.server.receive(both.messages[2]) == [ClientKnown(ALICE.id)]
        for _ in range(EARLY_BYTES // 1024):
            assert both.server.receive(bytes(1024)) == []
        refused(both.server, b"x")

    def test_bytes_before_the_decision_are_handed_over(self) -> None:
        both = pair(2)
        both.server.receive(both.messages[2] + bytes(EARLY_BYTES))
        _, completed = both.server.accept()
        assert isinstance(completed, Completed) and completed.leftover == bytes(EARLY_BYTES)

    def test_bytes_behind_message_4(self) -> None:
        both = pair(3)
        [completed] = both.client.receive(both.messages[3] + b"first box")
        assert isinstance(completed, Completed) and completed.leftover == b"first box"

    def test_eof_at_every_state(self) -> None:
        for steps in range(4):
            both = pair(steps)
            for role in (both.client, both.server):
                if steps == 3 and role is both.server:
                    continue
                with pytest.raises(HandshakeError):
                    role.eof()
                dead(role)


class TestIdentities:
    def test_wrong_server(self) -> None:
        client = ClientHandshake(ALICE, CAROL.id)
        server = ServerHandshake(BOB)
        [event] = server.receive(client.start())
        assert isinstance(event, Send)
        [event] = client.receive(event.data)
        assert isinstance(event, Send)
        refused(server, event.data)

    def test_wrong_network(self) -> None:
        client, server = ClientHandshake(ALICE, BOB.id, network=OTHER_NETWORK), ServerHandshake(BOB)
        refused(server, client.start())
        refused(client, pair(1).messages[1])

    def test_own_key_as_server(self) -> None:
        client = ClientHandshake(ALICE, ALICE.id)
        with pytest.raises(HandshakeError):
            client.start()
        dead(client)

    def test_own_key_as_server_when_asked_for(self) -> None:
        """A server on one's own machine that shares the identity; it is proven like any other."""
        out = HandshakePair(ClientHandshake(BOB, BOB.id, own_key=True), OwnKeyServer(BOB), [], [])
        out.messages.append(out.client.start())
        note(out, out.server.receive(out.messages[0]))
        note(out, out.client.receive(out.messages[1]))
        assert out.server.receive(out.messages[2]) == [ClientKnown(BOB.id)]
        note(out, out.server.accept())
        note(out, out.client.receive(out.messages[3]))
        there, here = out.sessions
        assert here.remote == there.remote == BOB.id
        assert (here.send_key, here.send_nonce) == (there.receive_key, there.receive_nonce)
        assert here.send_nonce != here.receive_nonce  # the two keys are equal: the nonces must not be
        client = ClientHandshake(BOB, BOB.id, own_key=True)
        refused(client, client.start())

    def test_own_key_as_client(self) -> None:
        server, forger = ServerHandshake(BOB), Forger()
        [event] = server.receive(forger.hello)
        assert isinstance(event, Send)
        signature = BOB.sign(forger.client_proof(event.data, BOB.id))
        refused(server, forger.client_authenticate(event.data, BOB.id, BOB.id.key, signature))

    def test_refusal_is_silence(self) -> None:
        both = pair(2)
        assert both.server.receive(both.messages[2]) == [ClientKnown(ALICE.id)]
        both.server.refuse()
        dead(both.server)

    def test_the_forger_is_right(self) -> None:
        """The forger's honest messages pass: what follows fails for the reason it names."""
        server, forger = ServerHandshake(BOB), Forger()
        [event] = server.receive(forger.hello)
        assert isinstance(event, Send)
        signature = CAROL.sign(forger.client_proof(event.data, BOB.id))
        box = forger.client_authenticate(event.data, BOB.id, CAROL.id.key, signature)
        assert server.receive(box) == [ClientKnown(CAROL.id)]
        assert forged_accept(None)

    @pytest.mark.parametrize(
        "change",
        [
            plus_order,
            lambda signature: bytes(64),
            lambda signature: signature[:32] + bytes(32),
            lambda signature: bytes(32) + signature[32:],
            lambda signature: signature[:63] + bytes([signature[63] | 0x80]),
            lambda signature: signature[:63] + bytes([signature[63] | 0xE0]),
        ],
    )
    def test_forged_or_malleable_signatures(self, change: Callable[[bytes], bytes]) -> None:
        server, forger = ServerHandshake(BOB), Forger()
        [event] = server.receive(forger.hello)
        assert isinstance(event, Send)
        signature = change(CAROL.sign(forger.client_proof(event.data, BOB.id)))
        refused(server, forger.client_authenticate(event.data, BOB.id, CAROL.id.key, signature))
        assert not forged_accept(change)

    def test_signatures_of_somebody_else_or_over_something_else(self) -> None:
        for signer, target in ((ALICE, BOB), (CAROL, ALICE), (CAROL, CAROL)):
            server, forger = ServerHandshake(BOB), Forger()
            [event] = server.receive(forger.hello)
            assert isinstance(event, Send)
            signature = signer.sign(forger.client_proof(event.data, target.id))
            refused(server, forger.client_authenticate(event.data, BOB.id, CAROL.id.key, signature))


def forged_accept(change: Callable[[bytes], bytes] | None) -> bool:
    """Return whether a client takes message 4 of a forger with the server's key and a changed signature."""
    client, forger = ClientHandshake(ALICE, BOB.id), Forger()
    first = client.start()
    [event] = client.receive(forger.hello)
    assert isinstance(event, Send)
    box = forger.server_accept(first, event.data, BOB, change)
    try:
        [done] = client.receive(box)
    except HandshakeError:
        dead(client)
        return False
    return isinstance(done, Completed)


class TestKeys:
    @pytest.mark.parametrize("public", BAD_EPHEMERALS)
    def test_bad_ephemerals(self, public: bytes) -> None:
        """Low order, >= p, bit 255: refused at the hello, in both roles, though the hmac is right."""
        both = pair(0)
        refused(both.server, hello(public))
        refused(both.client, hello(public))

    def test_a_relay_that_rewrites_ephemerals(self) -> None:
        """Bit 255 set and the public hmac made anew: X25519 would not notice, and the nonces would differ."""
        both = pair(1)
        for step, role in ((0, pair(0).server), (1, both.client)):
            number = int.from_bytes(both.messages[step][32:], "little")
            refused(role, hello(encode(number | BIT_255)))

    @pytest.mark.parametrize("public", [*small_order_points(), *small_order_aliases()])
    def test_servers_of_small_order(self, public: bytes) -> None:
        client = ClientHandshake(ALICE, FeedId(public))
        with pytest.raises(HandshakeError):
            client.start()
        dead(client)

    @pytest.mark.parametrize("public", [mixed_order(BOB), encode(2), b"\xff" * 32, encode(P + 3)])
    def test_servers_whose_key_does_not_convert(self, public: bytes) -> None:
        client = ClientHandshake(ALICE, FeedId(public))
        with pytest.raises(HandshakeError):
            client.start()
        dead(client)

    @pytest.mark.parametrize("public", [*small_order_points(), *small_order_aliases()])
    def test_clients_of_small_order(self, public: bytes) -> None:
        """Anybody can sign for such a key: h*A vanishes for one challenge in eight."""
        server, forger = ServerHandshake(BOB), Forger()
        [event] = server.receive(forger.hello)
        assert isinstance(event, Send)
        signature = sign_with_torsion(None, public, forger.client_proof(event.data, BOB.id))
        refused(server, forger.client_authenticate(event.data, BOB.id, public, signature))

    def test_clients_whose_key_does_not_convert(self) -> None:
        """A key with a part of small order: the signature is right, the key has twins."""
        seed = b"carol".ljust(32, b".")
        assert Keypair.from_seed(seed).id == CAROL.id
        public = mixed_order(CAROL)
        server, forger = ServerHandshake(BOB), Forger()
        [event] = server.receive(forger.hello)
        assert isinstance(event, Send)
        signature = sign_with_torsion(seed, public, forger.client_proof(event.data, BOB.id))
        refused(server, forger.client_authenticate(event.data, BOB.id, public, signature))

    @pytest.mark.parametrize("public", [encode(2), b"\xff" * 32, encode(P + 3), bytes(32)])
    def test_clients_that_are_no_point(self, public: bytes) -> None:
        server, forger = ServerHandshake(BOB), Forger()
        [event] = server.receive(forger.hello)
        assert isinstance(event, Send)
        refused(server, forger.client_authenticate(event.data, BOB.id, public, bytes(64)))

    def test_the_torsion_signer_is_right(self) -> None:
        """Its signatures verify where libsodium looks at nothing but the equation (a key without torsion)."""
        from nacl.bindings import crypto_sign_open

        signature = sign_with_torsion(b"carol".ljust(32, b"."), CAROL.id.key, b"message")
        assert crypto_sign_open(signature + b"message", CAROL.id.key) == b"message"
        mixed = mixed_order(CAROL)
        signature = sign_with_torsion(b"carol".ljust(32, b"."), mixed, b"message")
        assert crypto_sign_open(signature + b"message", mixed) == b"message"

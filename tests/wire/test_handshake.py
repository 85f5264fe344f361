"""The secret handshake: vectors of the JavaScript stack, both roles, any cut, and what both ends get."""

from __future__ import annotations

import base64
import gc
import hashlib
import hmac
import random
from types import ModuleType
from typing import Any

import pytest
from nacl.bindings import crypto_scalarmult

from ssbfast.errors import HandshakeError, LocalProtocolError
from ssbfast.ids import MAIN_NETWORK, FeedId, NetworkId
from ssbfast.keys import Keypair
from ssbfast.wire import handshake_messages
from ssbfast.wire.handshake import (
    CLIENT_TABLE,
    SERVER_TABLE,
    ClientHandshake,
    ClientKnown,
    ClientState,
    Completed,
    HandshakeEvent,
    Send,
    ServerHandshake,
    ServerState,
    Session,
)
from tests.helpers.feeds import feeds
from tests.helpers.handshakes import ALICE, BOB, SIZES, matched, pair
from tests.helpers.vectors import load

VECTORS = load("shs")


class Vector:
    """One handshake of the JavaScript stack."""

    def __init__(self, hexes: dict[str, str]) -> None:
        data = {name: bytes.fromhex(value) for name, value in hexes.items()}
        self.data = data
        self.network = NetworkId(data["app_key"])
        self.client = Keypair.from_seed(data["client_seed"])
        self.server = Keypair.from_seed(data["server_seed"])
        self.messages = [data[f"msg{n}"] for n in (1, 2, 3, 4)]

    def client_handshake(self) -> ClientHandshake:
        return ClientHandshake(self.client, self.server.id, network=self.network, ephemeral=self.data["client_eph_sk"])

    def server_handshake(self) -> ServerHandshake:
        return ServerHandshake(self.server, network=self.network, ephemeral=self.data["server_eph_sk"])

    def client_session(self) -> Session:
        secret = hashlib.sha256(self.data["secret3"]).digest()
        return Session(
            remote=FeedId(self.data["server_pk"]),
            send_key=self.data["client_encrypt_key"],
            send_nonce=self.data["client_encrypt_nonce"],
            receive_key=self.data["client_decrypt_key"],
            receive_nonce=self.data["client_decrypt_nonce"],
            export_key=hmac.new(secret, b"ssbfast export v1", hashlib.sha256).digest(),
        )

    def server_session(self) -> Session:
        mine = self.client_session()
        return Session(
            remote=FeedId(self.data["client_pk"]),
            send_key=mine.receive_key,
            send_nonce=mine.receive_nonce,
            receive_key=mine.send_key,
            receive_nonce=mine.send_nonce,
            export_key=mine.export_key,
        )


@pytest.fixture(params=VECTORS, ids=range(len(VECTORS)))
def vector(request: pytest.FixtureRequest) -> Vector:
    return Vector(request.param)


class TestVectors:
    def test_key_pairs(self, vector: Vector) -> None:
        assert vector.client.id.key == vector.data["client_pk"]
        assert vector.server.id.key == vector.data["server_pk"]
        for role in ("client", "server"):
            ephemeral = handshake_messages.Ephemeral(vector.data[f"{role}_eph_sk"])
            assert ephemeral.public == vector.data[f"{role}_eph_pk"]

    def test_the_client(self, vector: Vector) -> None:
        client = vector.client_handshake()
        assert client.start() == vector.messages[0]
        assert client.receive(vector.messages[1]) == [Send(vector.messages[2])]
        assert client.receive(vector.messages[3]) == [Completed(vector.client_session(), b"")]

    def test_the_server(self, vector: Vector) -> None:
        server = vector.server_handshake()
        assert server.receive(vector.messages[0]) == [Send(vector.messages[1])]
        assert server.receive(vector.messages[2]) == [ClientKnown(vector.client.id)]
        assert server.accept() == [Send(vector.messages[3]), Completed(vector.server_session(), b"")]

    def test_shared_secrets(self, vector: Vector) -> None:
        """Every intermediate value the reference stack tells."""
        shared = handshake_messages.SharedSecrets(vector.network)
        names = ("shared_ab", "shared_aB", "shared_Ab")
        keys = []
        for name in names:
            shared.add(vector.data[name])
            keys.append(shared.key())
        assert keys[1:] == [vector.data["secret2"], vector.data["secret3"]]
        assert shared.first_hash() == hashlib.sha256(vector.data["shared_ab"]).digest()
        ephemeral = handshake_messages.Ephemeral(vector.data["client_eph_sk"])
        assert ephemeral.exchange(vector.data["server_eph_pk"]) == vector.data["shared_ab"]
        assert (
            handshake_messages.exchange_long_term(vector.client, vector.data["server_eph_pk"])
            == vector.data["shared_Ab"]
        )

    def test_any_cut_to_the_client(self, vector: Vector) -> None:
        for extra in (b"", b"box stream"):
            for chunks in feeds(vector.messages[1] + vector.messages[3] + extra):
                client = vector.client_handshake()
                client.start()
                events: list[HandshakeEvent] = []
                rest = bytearray()
                for chunk in chunks:
                    if events and isinstance(events[-1], Completed):
                        rest += chunk
                    else:
                        events += client.receive(chunk)
                done = events[-1]
                assert isinstance(done, Completed)
                assert events == [Send(vector.messages[2]), Completed(vector.client_session(), done.leftover)]
                assert done.leftover + rest == extra

    def test_any_cut_to_the_server(self, vector: Vector) -> None:
        """With bytes behind message 3, which no honest client sends: kept unread, then handed over."""
        for chunks in feeds(vector.messages[0] + vector.messages[2] + b"early bytes"):
            server = vector.server_handshake()
            events = [event for chunk in chunks for event in server.receive(chunk)]
            assert events == [Send(vector.messages[1]), ClientKnown(vector.client.id)]
            assert server.accept() == [Send(vector.messages[3]), Completed(vector.server_session(), b"early bytes")]


class TestSessions:
    def test_both_ends_agree(self) -> None:
        both = pair(4, None, None)
        server, client = both.sessions
        assert matched(server, client)
        assert (server.remote, client.remote) == (ALICE.id, BOB.id)
        assert [len(message) for message in both.messages] == list(SIZES)

    def test_every_session_has_its_own_keys(self) -> None:
        seen: set[bytes] = set()
        for _ in range(10):
            session = pair(4, None, None).sessions[0]
            seen |= {session.send_key, session.receive_key, session.send_nonce, session.export_key}
        assert len(seen) == 40

    def test_the_export_key_is_none_of_the_others(self) -> None:
        session = pair(4).sessions[0]
        assert len({session.send_key, session.receive_key, session.export_key}) == 3
        assert len(session.export_key) == 32

    def test_many_at_a_time_on_one_identity(self) -> None:
        """20 handshakes whose messages arrive in a random order; the incumbents finish one of them."""
        rng = random.Random(20)
        callers = [Keypair.generate() for _ in range(20)]
        clients = [ClientHandshake(caller, BOB.id) for caller in callers]
        servers = [ServerHandshake(BOB) for _ in clients]
        wires = [[client.start(), b""] for client in clients]  # to the server, to the client
        found: dict[int, list[Session]] = {n: [] for n in range(20)}
        while any(len(sessions) < 2 for sessions in found.values()):
            n, way = rng.randrange(20), rng.randrange(2)
            cut = rng.randint(0, len(wires[n][way]))
            data, wires[n][way] = wires[n][way][:cut], wires[n][way][cut:]
            if not data:
                continue
            events = (clients[n] if way else servers[n]).receive(data)
            if ClientKnown(callers[n].id) in events:
                events += servers[n].accept()
            for event in events:
                if isinstance(event, Send):
                    wires[n][1 - way] += event.data
                elif isinstance(event, Completed):
                    found[n].append(event.session)
        for n, (server, client) in found.items():
            assert matched(server, client)
            assert (server.remote, client.remote) == (callers[n].id, BOB.id)
        assert len({sessions[0].send_key for sessions in found.values()}) == 20


class TestOrder:
    def test_the_tables_are_one_path_each(self) -> None:
        """No state is reached in two ways, none is left in two, and FAILED is in no row."""
        for table, states in ((CLIENT_TABLE, ClientState), (SERVER_TABLE, ServerState)):
            sources = [state for state, _ in table]
            targets = list(table.values())
            assert sources == list(states)[:4]
            assert targets == list(states)[1:5]
            assert len({message for _, message in table}) == 4

    def test_the_client_speaks_first_and_once(self) -> None:
        client = ClientHandshake(ALICE, BOB.id)
        with pytest.raises(LocalProtocolError):
            client.receive(b"")
        client.start()
        with pytest.raises(LocalProtocolError):
            client.start()

    @pytest.mark.parametrize("steps", [0, 1, 2])
    def test_no_answer_before_the_client_is_known(self, steps: int) -> None:
        server = pair(min(steps, 1)).server
        for call in (server.accept, server.refuse):
            with pytest.raises(LocalProtocolError):
                call()

    def test_nothing_after_completion(self) -> None:
        both = pair(4)
        calls: list[Any] = [
            both.client.start,
            both.client.eof,
            both.server.eof,
            both.server.accept,
            both.server.refuse,
            lambda: both.client.receive(b"x"),
            lambda: both.server.receive(b"x"),
        ]
        for call in calls:
            with pytest.raises(LocalProtocolError):
                call()

    def test_a_misuse_does_not_spoil_the_handshake(self) -> None:
        both = pair(0)
        with pytest.raises(LocalProtocolError):
            both.client.start()
        with pytest.raises(LocalProtocolError):
            both.server.accept()
        [hello] = both.server.receive(both.messages[0])
        assert isinstance(hello, Send)
        [authenticate] = both.client.receive(hello.data)
        assert isinstance(authenticate, Send) and both.server.receive(authenticate.data) == [ClientKnown(ALICE.id)]

    @pytest.mark.parametrize("ephemeral", [b"", b"x" * 31, b"x" * 33])
    def test_ephemerals_have_32_bytes(self, ephemeral: bytes) -> None:
        with pytest.raises(ValueError, match="32 bytes"):
            ClientHandshake(ALICE, BOB.id, ephemeral=ephemeral)
        with pytest.raises(ValueError, match="32 bytes"):
            ServerHandshake(BOB, ephemeral=ephemeral)

    def test_a_misuse_in_the_middle_of_a_step_ends_the_handshake(self, monkeypatch: pytest.MonkeyPatch) -> None:
        both = pair(1)

        def broken(*_: Any) -> bytes:
            raise MemoryError

        monkeypatch.setattr(handshake_messages, "crypto_scalarmult", broken)
        with pytest.raises(MemoryError):
            both.client.receive(both.messages[1])
        monkeypatch.undo()
        with pytest.raises(HandshakeError):
            both.client.receive(both.messages[1])


class TestCost:
    def test_garbage_costs_no_curve_arithmetic(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = counted(monkeypatch, handshake_messages, "crypto_scalarmult", "crypto_scalarmult_base")
        with pytest.raises(HandshakeError):
            ServerHandshake(BOB).receive(b"g" * 64)
        assert calls == []

    def test_no_diffie_hellman_before_message_3(self, monkeypatch: pytest.MonkeyPatch) -> None:
        messages = pair(2).messages
        calls = counted(monkeypatch, handshake_messages, "crypto_scalarmult")
        server = ServerHandshake(BOB, ephemeral=b"s" * 32)
        server.receive(messages[0])
        server.receive(messages[2][:-1])
        assert calls == []
        server.receive(messages[2][-1:])
        assert len(calls) == 3


def counted(monkeypatch: pytest.MonkeyPatch, module: ModuleType, *names: str) -> list[str]:
    calls: list[str] = []

    def counting(name: str) -> Any:
        original = getattr(module, name)

        def call(*args: Any) -> Any:
            calls.append(name)
            return original(*args)

        return call

    for name in names:
        monkeypatch.setattr(module, name, counting(name))
    return calls


class TestSilence:
    """Tests of what objects and errors show, and of what is left in memory."""

    def spellings(self) -> list[str]:
        both = pair(4)
        shared = crypto_scalarmult(b"c" * 32, both.messages[1][32:])
        session = both.sessions[0]
        secrets = [b"c" * 32, b"s" * 32, shared, session.send_key, session.receive_key, session.export_key]
        secrets += [ALICE.curve_secret(), BOB.curve_secret(), b"alice".ljust(32, b"."), b"bob".ljust(32, b".")]
        secrets += [session.send_nonce, session.receive_nonce]
        out: list[str] = []
        for secret in secrets:
            start = secret[:9]
            out += [start.hex(), base64.b64encode(start).decode(), base64.urlsafe_b64encode(start).decode()]
            out += [repr(start)[2:-1], str(list(start))[1:-1]]
        return out

    def test_nothing_shows(self) -> None:
        shown: list[str] = []
        for steps in range(5):
            both = pair(steps)
            shown += [f"{thing!r} {thing}" for thing in (both.client, both.server, *both.sessions)]
            if steps < 4:
                broken = bytes(len(both.messages[steps]))
                try:
                    (both.server if steps % 2 == 0 else both.client).receive(broken)
                except HandshakeError as error:
                    assert error.__cause__ is None and error.__context__ is None
                    shown.append(f"{error!r} {error} {error.args} {vars(error)}")
                shown += [repr(both.client), repr(both.server)]
        completed = Completed(pair(4).sessions[0], b"leftover")
        shown += [repr(completed), repr(Send(b"body")), repr(ClientKnown(ALICE.id)), repr(MAIN_NETWORK), repr(ALICE)]
        everything = "\n".join(shown)
        assert "leftover" not in everything.replace("leftover=", "") and "body" not in everything
        for spelling in self.spellings():
            assert spelling not in everything

    @pytest.mark.parametrize("end", ["completed", "failed", "refused", "eof"])
    def test_nothing_is_left(self, end: str) -> None:
        both = pair(3 if end != "completed" else 4)
        shared = crypto_scalarmult(b"c" * 32, both.messages[1][32:])
        if end == "refused":
            both = pair(2)
            both.server.receive(both.messages[2])
            both.server.refuse()
        elif end != "completed":
            with pytest.raises(HandshakeError):
                _ = both.client.eof() if end == "eof" else both.client.receive(bytes(80))
        ended = both.server if end == "refused" else both.client
        for held in reachable(ended):
            assert b"c" * 32 not in held and b"s" * 32 not in held and shared not in held

    def test_bytes_behind_the_handshake_are_not_kept(self) -> None:
        both = pair(2)
        both.server.receive(both.messages[2] + b"early bytes")
        both.server.accept()
        assert not any(b"early bytes" in held for held in reachable(both.server))

    def test_secrets_are_overwritten_not_only_dropped(self) -> None:
        both = pair(2)
        buffers = [
            both.client._ephemeral._secret,
            both.client._shared._bytes,
            both.server._ephemeral._secret,
            both.server._shared._bytes,
        ]
        both.server.receive(both.messages[2])
        assert not any(both.client._ephemeral._secret) and not any(both.server._ephemeral._secret)
        both.server.refuse()
        with pytest.raises(HandshakeError):
            both.client.eof()
        assert not any(any(buffer) for buffer in buffers)
        assert [len(buffer) for buffer in buffers] == [32, 128, 32, 128]


def reachable(root: object) -> list[bytes]:
    """Return all bytes that an object holds, but those of the long-term key pairs."""
    seen: set[int] = set()
    found: list[bytes] = []
    queue = [root]
    while queue:
        thing = queue.pop()
        if id(thing) in seen or isinstance(thing, type | ModuleType | Keypair):
            continue
        seen.add(id(thing))
        if isinstance(thing, bytes | bytearray):
            found.append(bytes(thing))
        queue += gc.get_referents(thing)
    return found

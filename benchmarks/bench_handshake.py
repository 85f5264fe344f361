"""Secret handshake: the server's part, both parts, and the curve operations alone that the server cannot do without.

`curve only` is the ceiling: three Diffie-Hellmans, one ephemeral key, one key conversion, one signature made and one
checked, two boxes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from nacl.bindings import (
    crypto_box_keypair,
    crypto_scalarmult,
    crypto_secretbox,
    crypto_secretbox_open,
    crypto_sign,
    crypto_sign_ed25519_pk_to_curve25519,
    crypto_sign_open,
    crypto_sign_seed_keypair,
)
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import Note
from ssbfast.keys import Keypair
from ssbfast.wire.handshake import ClientHandshake, Completed, Send, ServerHandshake, Session

ALICE = Keypair.from_seed(b"a" * 32)
BOB = Keypair.from_seed(b"b" * 32)
EPHEMERALS = b"c" * 32, b"s" * 32


def _sent(events: list[Any]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, Send))


def _session(events: list[Any]) -> Session:
    return next(event.session for event in events if isinstance(event, Completed))


def both() -> tuple[Session, Session]:
    """A whole handshake in memory: the sessions of client and server."""
    client, server = ClientHandshake(ALICE, BOB.id), ServerHandshake(BOB)
    hello = _sent(server.receive(client.start()))
    server.receive(_sent(client.receive(hello)))
    accepted = server.accept()
    return _session(client.receive(_sent(accepted))), _session(accepted)


def recorded() -> tuple[bytes, bytes]:
    """Messages 1 and 3 of a client, for a server with the ephemeral key in EPHEMERALS."""
    client = ClientHandshake(ALICE, BOB.id, ephemeral=EPHEMERALS[0])
    first = client.start()
    hello = _sent(ServerHandshake(BOB, ephemeral=EPHEMERALS[1]).receive(first))
    return first, _sent(client.receive(hello))


def server_part(first: bytes, third: bytes) -> Session:
    server = ServerHandshake(BOB, ephemeral=EPHEMERALS[1])
    server.receive(first)
    server.receive(third)
    return _session(server.accept())


def curve_only() -> Callable[[], bool]:
    """The server's public-key operations and boxes, with nothing around them."""
    public, secret = crypto_sign_seed_keypair(b"a" * 32)
    signed = crypto_sign(b"m" * 96, secret)
    key = hashlib.sha256(b"k").digest()
    box = crypto_secretbox(b"m" * 96, bytes(24), key)

    def work() -> bool:
        mine, ephemeral = crypto_box_keypair()
        for _ in range(3):
            crypto_scalarmult(ephemeral, mine)
        crypto_sign_ed25519_pk_to_curve25519(public)
        crypto_secretbox_open(box, bytes(24), key)
        crypto_secretbox(crypto_sign(b"m" * 96, secret)[:64], bytes(24), key)
        return bool(crypto_sign_open(signed, public) == b"m" * 96)

    return work


@pytest.mark.benchmark(group="handshake, server part")
def bench_server(benchmark: BenchmarkFixture, note: Note) -> None:
    first, third = recorded()
    session = server_part(first, third)
    note(correct=session.remote == ALICE.id)
    benchmark(server_part, first, third)


@pytest.mark.benchmark(group="handshake, server part")
def bench_server_curve_only(benchmark: BenchmarkFixture, note: Note) -> None:
    work = curve_only()
    note(correct=work())
    benchmark(work)


@pytest.mark.benchmark(group="handshake, client and server")
def bench_both(benchmark: BenchmarkFixture, note: Note) -> None:
    client, server = both()
    same = client.send_key == server.receive_key and client.receive_key == server.send_key
    note(correct=same and client.export_key == server.export_key)
    benchmark(both)

"""Contests of the secret handshake, in memory: what a server does, beside the curve arithmetic that it cannot save."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

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

from ssbfast.cli.bench.contest import Contender, Contest
from ssbfast.keys import Keypair
from ssbfast.wire.handshake import ClientHandshake, Completed, Send, ServerHandshake, Session

ALICE: Final = Keypair.from_seed(b"a" * 32)
BOB: Final = Keypair.from_seed(b"b" * 32)
EPHEMERALS: Final = b"c" * 32, b"s" * 32


def _sent(events: list[Any]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, Send))


def _session(events: list[Any]) -> Session:
    return next(event.session for event in events if isinstance(event, Completed))


def both() -> tuple[Session, Session]:
    """Make a whole handshake in memory; return the sessions of client and server."""
    client, server = ClientHandshake(ALICE, BOB.id), ServerHandshake(BOB)
    hello = _sent(server.receive(client.start()))
    server.receive(_sent(client.receive(hello)))
    accepted = server.accept()
    return _session(client.receive(_sent(accepted))), _session(accepted)


def agree(client: Session, server: Session) -> bool:
    """Return whether both ends have come to the same keys."""
    same = client.send_key == server.receive_key and client.receive_key == server.send_key
    return same and client.export_key == server.export_key


def recorded() -> tuple[bytes, bytes]:
    """Return messages 1 and 3 of a client, for a server with the ephemeral key in EPHEMERALS."""
    client = ClientHandshake(ALICE, BOB.id, ephemeral=EPHEMERALS[0])
    first = client.start()
    hello = _sent(ServerHandshake(BOB, ephemeral=EPHEMERALS[1]).receive(first))
    return first, _sent(client.receive(hello))


def server_part(first: bytes, third: bytes) -> Session:
    """Do all that a server does for one client."""
    server = ServerHandshake(BOB, ephemeral=EPHEMERALS[1])
    server.receive(first)
    server.receive(third)
    return _session(server.accept())


def curve_only() -> Callable[[], bool]:
    """Do the server's public-key operations and boxes, with nothing around them.

    Three Diffie-Hellmans, one ephemeral key, one key conversion, one signature made and one checked, two boxes.
    """
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


def contests() -> Iterator[Contest]:
    """Yield contests of one handshake a pass, each beside its ceiling.

    A ratio above 1.0 is impossible, except for `server part`, whose ephemeral key is given: a room makes its own in
    advance, while no caller waits.
    """
    first, third = recorded()
    curve, serve = curve_only(), partial(server_part, first, third)
    contenders = {
        "curve only": Contender(curve, curve),
        "server part": Contender(lambda: serve().remote == ALICE.id, serve),
        "both ends": Contender(lambda: agree(*both()), both),
    }
    yield Contest("handshake", "in memory", "handshakes", 1, "curve only", contenders)

"""The secret handshake: whoever does not hold the keys gets HandshakeError, whatever it sends, and nothing after it."""

from __future__ import annotations

from typing import Final

import pytest

from ssbfast.errors import HandshakeError
from ssbfast.keys import Keypair
from ssbfast.wire.handshake import ClientHandshake, ClientKnown, Completed, HandshakeEvent, Send, ServerHandshake
from tests.fuzz.parsers.target import halves

ALICE: Final = Keypair.from_seed(b"alice".ljust(32, b"."))
BOB: Final = Keypair.from_seed(b"bob".ljust(32, b"."))
CLIENT: Final = b"c" * 32
SERVER: Final = b"s" * 32


def transcript() -> tuple[bytes, bytes]:
    """All that the client says, and all that the server says, with the ephemeral keys that the targets have too."""
    client = ClientHandshake(ALICE, BOB.id, ephemeral=CLIENT)
    server = ServerHandshake(BOB, ephemeral=SERVER)
    hello = client.start()
    challenge = _sent(server.receive(hello))
    auth = _sent(client.receive(challenge))
    server.receive(auth)
    return hello + auth, challenge + _sent(server.accept())


def _sent(events: list[HandshakeEvent]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, Send))


_SAID: Final = transcript()


def _receive(handshake: ClientHandshake | ServerHandshake, chunks: tuple[bytes, ...]) -> list[HandshakeEvent] | None:
    """The events; None for a HandshakeError, which then is all that there is."""
    events: list[HandshakeEvent] = []
    try:
        for chunk in chunks:
            if not any(isinstance(event, Completed) for event in events):
                events += handshake.receive(chunk)
    except HandshakeError:
        with pytest.raises(HandshakeError):
            handshake.receive(b"")
        return None
    return events


def handshake_server(data: bytes) -> None:
    """A client is known only by what the client's keys have made; whole or in two, the same events."""
    first, second = halves(data)
    cut = _receive(ServerHandshake(BOB, ephemeral=SERVER), (first, second))
    assert cut == _receive(ServerHandshake(BOB, ephemeral=SERVER), (first + second,))
    known = [event for event in cut or () if isinstance(event, ClientKnown)]
    assert known == ([ClientKnown(ALICE.id)] if cut is not None and (first + second).startswith(_SAID[0]) else [])


def handshake_client(data: bytes) -> None:
    """The handshake is done only by what the server's keys have made; whole or in two, it ends the same."""
    first, second = halves(data)
    outcomes = []
    for chunks in ((first, second), (first + second,)):
        client = ClientHandshake(ALICE, BOB.id, ephemeral=CLIENT)
        client.start()
        outcomes.append(_receive(client, chunks))
    done = [any(isinstance(event, Completed) for event in events or ()) for events in outcomes]
    assert [events is None for events in outcomes] == [outcomes[0] is None] * 2
    assert done == [outcomes[0] is not None and (first + second).startswith(_SAID[1])] * 2


TARGETS: Final = (handshake_server, handshake_client)

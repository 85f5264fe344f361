"""No order of calls, and no mixture of messages, yields a session but the right one.

Clients and servers are made at will, and any message of any of them (whole, cut, damaged, repeated, glued to others)
is delivered to any of them. A model that knows no cryptography, only who made which bytes in answer to what, says what
each delivery must lead to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ssbfast.errors import HandshakeError, LocalProtocolError
from ssbfast.keys import Keypair
from ssbfast.wire.handshake import (
    ClientHandshake,
    ClientKnown,
    Completed,
    HandshakeEvent,
    Send,
    ServerHandshake,
    Session,
)
from tests.helpers.handshakes import ALICE, BOB, CAROL, matched

SIZE = {"hello": 64, "authenticate": 112, "accept": 80}


@dataclass
class End:
    """One end, and the model's view of it."""

    role: ClientHandshake | ServerHandshake
    me: Keypair
    awaits: str | None
    unread: bytearray = field(default_factory=bytearray)
    dead: bool = False
    sent: dict[str, bytes] = field(default_factory=dict)
    heard: dict[str, bytes] = field(default_factory=dict)
    deciding: bool = False
    session: Session | None = None

    @property
    def is_server(self) -> bool:
        return isinstance(self.role, ServerHandshake)


WHICH = st.integers(0, 99)


class Handshakes(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.everyone: list[End] = []
        self.messages: list[bytes] = []

    @initialize(steps=st.integers(0, 6))
    def begin(self, steps: int) -> None:
        self.a_handshake_under_way(ALICE, steps)

    @rule(me=st.sampled_from([ALICE, CAROL]), steps=st.integers(0, 6))
    def a_handshake_under_way(self, me: Keypair, steps: int) -> None:
        """Begin a handshake with the first steps right: chance alone would hardly ever finish one."""
        client = End(ClientHandshake(me, BOB.id), me, None)
        server = End(ServerHandshake(BOB), BOB, "hello")
        self.everyone += [client, server]
        for _ in range(steps):
            self.right_step(client, server)

    @rule(which=WHICH)
    def go_on(self, which: int) -> None:
        """Take the next right step of two ends that belong together."""
        at = 2 * (which % (len(self.everyone) // 2))
        self.right_step(self.everyone[at], self.everyone[at + 1])

    def right_step(self, client: End, server: End) -> None:
        if client.dead or server.dead or client.unread or server.unread:
            return
        if "hello" not in client.sent:
            self.start_end(client)
        elif server.deciding:
            self.decide_end(server, True)
        elif server.awaits is not None and server.awaits in client.sent:
            self.feed(server, client.sent[server.awaits])
        elif client.awaits is not None and client.awaits in server.sent:
            self.feed(client, server.sent[client.awaits])

    @rule(which=WHICH)
    def start(self, which: int) -> None:
        self.start_end(self.everyone[which % len(self.everyone)])

    def start_end(self, end: End) -> None:
        if not isinstance(end.role, ClientHandshake):
            return
        if end.dead or "hello" in end.sent:
            kind = LocalProtocolError if end.session or not end.dead else HandshakeError
            self.raises(kind, end.role.start)
            return
        end.sent["hello"] = end.role.start()
        end.awaits = "hello"
        self.messages.append(end.sent["hello"])

    @precondition(lambda self: self.messages)
    @rule(which=WHICH, parts=st.lists(WHICH, min_size=1, max_size=2), cut=st.integers(0, 300))
    def deliver(self, which: int, parts: list[int], cut: int) -> None:
        data = b"".join(self.messages[part % len(self.messages)] for part in parts)
        end = self.everyone[which % len(self.everyone)]
        self.feed(end, data[:cut])
        self.feed(end, data[cut:])

    @precondition(lambda self: self.messages)
    @rule(which=WHICH, message=WHICH, bit=st.integers(0, 1023))
    def deliver_damaged(self, which: int, message: int, bit: int) -> None:
        changed = bytearray(self.messages[message % len(self.messages)])
        changed[bit // 8 % len(changed)] ^= 1 << bit % 8
        self.feed(self.everyone[which % len(self.everyone)], bytes(changed))

    @rule(which=WHICH, yes=st.booleans())
    def decide(self, which: int, yes: bool) -> None:
        self.decide_end(self.everyone[which % len(self.everyone)], yes)

    def decide_end(self, end: End, yes: bool) -> None:
        if not isinstance(end.role, ServerHandshake):
            return
        if end.dead or not end.deciding:
            self.raises(HandshakeError if end.dead else LocalProtocolError, end.role.accept if yes else end.role.refuse)
            return
        end.deciding = False
        if not yes:
            end.role.refuse()
            end.dead = True
            return
        send, completed = end.role.accept()
        assert isinstance(send, Send) and isinstance(completed, Completed)
        assert completed.leftover == bytes(end.unread)
        end.sent["accept"], end.session = send.data, completed.session
        self.messages.append(send.data)

    @rule(which=WHICH)
    def eof(self, which: int) -> None:
        end = self.everyone[which % len(self.everyone)]
        self.raises(LocalProtocolError if end.session else HandshakeError, end.role.eof)
        end.dead = end.session is None

    def feed(self, end: End, data: bytes) -> None:
        """Deliver a message, and compare the outcome with the model's."""
        if end.dead or end.session or (not end.is_server and "hello" not in end.sent):
            self.raises(HandshakeError if end.dead else LocalProtocolError, lambda: end.role.receive(data))
            return
        end.unread += data
        taken: list[tuple[str, bytes]] = []
        while end.awaits is not None and len(end.unread) >= SIZE[end.awaits]:
            kind, message = end.awaits, bytes(end.unread[: SIZE[end.awaits]])
            del end.unread[: SIZE[kind]]
            end.heard[kind] = message
            if kind == "hello" and end.is_server:
                end.awaits = "authenticate"  # our hello goes out in between, whether this one was right or not
            elif kind == "hello":
                end.awaits = "accept"
            else:
                end.awaits = None
            taken.append((kind, message))
        if not all(self.right(end, kind, message) for kind, message in taken):
            self.raises(HandshakeError, lambda: end.role.receive(data))
            end.dead = True
            return
        events = end.role.receive(data)
        self.check_events(end, [kind for kind, _ in taken], events)

    def check_events(self, end: End, kinds: list[str], events: list[HandshakeEvent]) -> None:
        assert len(events) == len(kinds)
        for kind, event in zip(kinds, events, strict=True):
            if kind == "hello":
                assert isinstance(event, Send)
                end.sent["hello" if end.is_server else "authenticate"] = event.data
                self.messages.append(event.data)
            elif kind == "authenticate":
                assert event == ClientKnown(self.caller_of(end).me.id)
                end.deciding = True
            else:
                assert isinstance(event, Completed)
                assert event.leftover == bytes(end.unread)
                end.session = event.session

    def right(self, end: End, kind: str, message: bytes) -> bool:
        """Return whether the model takes this message: from the right end, in answer to the right message."""
        if kind == "hello":
            others = [other.sent.get("hello") for other in self.everyone if other is not end]
            return message in others
        if kind == "authenticate":
            return any(message == client.sent.get("authenticate") for client in self.partners(end))
        return any(message == server.sent.get("accept") for server in self.partners(end))

    def partners(self, end: End) -> list[End]:
        """Return the ends of the other role that hold this end's hello, and whose hello this end holds."""
        return [
            other
            for other in self.everyone
            if other.is_server != end.is_server
            and other.heard.get("hello") == end.sent.get("hello")
            and end.heard.get("hello") == other.sent.get("hello")
        ]

    def caller_of(self, server: End) -> End:
        [client] = self.partners(server)
        return client

    def raises(self, kind: type[Exception], call: Any) -> None:
        try:
            call()
        except kind as error:
            assert type(error) is kind
        else:
            raise AssertionError(f"{kind.__name__} was not raised")

    @invariant()
    def sessions_come_in_pairs(self) -> None:
        for end in self.everyone:
            if end.session is None:
                continue
            [other] = self.partners(end)
            assert end.session.remote == other.me.id
            assert other.session is not None or end.is_server  # the server completes first
            assert other.session is None or matched(end.session, other.session)


TestHandshakes = Handshakes.TestCase
TestHandshakes.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

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
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

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
    """One end, and what the model believes of it."""

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


class Handshakes(RuleBasedStateMachine):
    messages = Bundle("messages")
    ends = Bundle("ends")

    def __init__(self) -> None:
        super().__init__()
        self.everyone: list[End] = []

    @rule(target=ends, me=st.sampled_from([ALICE, CAROL]))
    def new_client(self, me: Keypair) -> End:
        return self.add(End(ClientHandshake(me, BOB.id), me, None))

    @rule(target=ends)
    def new_server(self) -> End:
        return self.add(End(ServerHandshake(BOB), BOB, "hello"))

    def add(self, end: End) -> End:
        self.everyone.append(end)
        return end

    @rule(target=messages, end=ends)
    def start(self, end: End) -> Any:
        if not isinstance(end.role, ClientHandshake):
            return multiple()
        if end.dead or "hello" in end.sent:
            self.raises(HandshakeError if end.dead else LocalProtocolError, end.role.start)
            return multiple()
        end.sent["hello"] = end.role.start()
        end.awaits = "hello"
        return end.sent["hello"]

    @rule(target=messages, end=ends, parts=st.lists(messages, min_size=1, max_size=2), cut=st.integers(0, 300))
    def deliver(self, end: End, parts: list[bytes], cut: int) -> Any:
        data = b"".join(parts)
        return multiple(*self.feed(end, data[:cut]), *self.feed(end, data[cut:]))

    @rule(target=messages, end=ends, message=messages, bit=st.integers(0, 511))
    def deliver_damaged(self, end: End, message: bytes, bit: int) -> Any:
        changed = bytearray(message)
        changed[bit // 8 % len(changed)] ^= 1 << bit % 8
        return multiple(*self.feed(end, bytes(changed)))

    @rule(target=messages, client=ends, server=ends)
    def the_right_next_message(self, client: End, server: End) -> Any:
        """Otherwise chance would hardly ever finish a handshake."""
        if client.is_server or not server.is_server:
            return multiple()
        for sender, taker in ((client, server), (server, client)):
            message = sender.sent.get(taker.awaits or "")
            if message is not None and not taker.unread:
                return multiple(*self.feed(taker, message))
        return multiple()

    @rule(target=messages, end=ends, yes=st.booleans())
    def decide(self, end: End, yes: bool) -> Any:
        if not isinstance(end.role, ServerHandshake):
            return multiple()
        call = end.role.accept if yes else end.role.refuse
        if end.dead or not end.deciding:
            self.raises(HandshakeError if end.dead else LocalProtocolError, call)
            return multiple()
        end.deciding = False
        if not yes:
            end.role.refuse()
            end.dead = True
            return multiple()
        send, completed = end.role.accept()
        assert isinstance(send, Send) and isinstance(completed, Completed)
        assert completed.leftover == bytes(end.unread)
        end.sent["accept"], end.session = send.data, completed.session
        return send.data

    @rule(end=ends)
    def eof(self, end: End) -> None:
        self.raises(LocalProtocolError if end.session else HandshakeError, end.role.eof)
        end.dead = end.session is None

    def feed(self, end: End, data: bytes) -> list[bytes]:
        """Deliver and compare with the model; returns the messages that were sent."""
        if end.dead or end.session or (not end.is_server and "hello" not in end.sent):
            self.raises(HandshakeError if end.dead else LocalProtocolError, lambda: end.role.receive(data))
            return []
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
            return []
        events = end.role.receive(data)
        return self.check_events(end, [kind for kind, _ in taken], events)

    def check_events(self, end: End, kinds: list[str], events: list[HandshakeEvent]) -> list[bytes]:
        assert len(events) == len(kinds)
        out: list[bytes] = []
        for kind, event in zip(kinds, events, strict=True):
            if kind == "hello":
                assert isinstance(event, Send)
                end.sent["hello" if end.is_server else "authenticate"] = event.data
                out.append(event.data)
            elif kind == "authenticate":
                assert event == ClientKnown(self.caller_of(end).me.id)
                end.deciding = True
            else:
                assert isinstance(event, Completed)
                assert event.leftover == bytes(end.unread)
                end.session = event.session
        return out

    def right(self, end: End, kind: str, message: bytes) -> bool:
        """Whether the model takes this message: made by the right end, in answer to the right message."""
        if kind == "hello":
            return message != end.sent.get("hello") and any(message == other.sent.get("hello") for other in self.everyone)
        if kind == "authenticate":
            return any(message == client.sent.get("authenticate") for client in self.partners(end))
        return any(message == server.sent.get("accept") for server in self.partners(end))

    def partners(self, end: End) -> list[End]:
        """Those of the other role that hold this end's hello, and whose hello this end holds."""
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

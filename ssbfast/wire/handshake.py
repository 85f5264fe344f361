"""The secret handshake: the order of its messages, for both roles. Bytes in, events out; no I/O, no clock.

::

    client                                                  server
    START                                                   START
      create client hello     ── 64 bytes ──>                 consume client hello
    CREATED_CLIENT_HELLO                                    CONSUMED_CLIENT_HELLO
                                                              create server hello
      consume server hello    <── 64 bytes ──               CREATED_SERVER_HELLO
    CONSUMED_SERVER_HELLO
      create client authenticate ── 112 bytes ──>             consume client authenticate
    CREATED_CLIENT_AUTHENTICATE                             CONSUMED_CLIENT_AUTHENTICATE: ClientKnown, then
                                                              accept() or refuse()
      consume server accept   <── 80 bytes ──                 create server accept
    COMPLETED                                               COMPLETED

The tables below are all there is to the order; the cryptography is in `handshake_messages`. Every error ends
in FAILED, with the one HandshakeError, and every later call raises it again: not one byte is sent after a failure.
How long a peer may take is the caller's business.

Spec: see `handshake_messages`. That the server may say no between messages 3 and 4, by silence, is SSB's practice.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, NoReturn, TypeAlias, TypeVar

from nacl.exceptions import CryptoError

from ssbfast.errors import HandshakeError, LocalProtocolError
from ssbfast.ids import MAIN_NETWORK, FeedId, NetworkId
from ssbfast.keys import Keypair
from ssbfast.limits import EARLY_BYTES
from ssbfast.wire import handshake_messages as messages
from ssbfast.wire.curve import feed_to_curve


class _ByIdentity(enum.Enum):
    """An enum whose members are keys of the tables: they hash by identity, not by name in Python."""

    __hash__ = object.__hash__


class Message(_ByIdentity):
    """The four messages, in order."""

    CLIENT_HELLO = enum.auto()
    SERVER_HELLO = enum.auto()
    CLIENT_AUTHENTICATE = enum.auto()
    SERVER_ACCEPT = enum.auto()


LENGTH: Final[Mapping[Message, int]] = {
    Message.CLIENT_HELLO: 64,
    Message.SERVER_HELLO: 64,
    Message.CLIENT_AUTHENTICATE: 112,
    Message.SERVER_ACCEPT: 80,
}
"""Bytes of each message."""


class ClientState(_ByIdentity):
    """The last step of the client."""

    START = enum.auto()
    CREATED_CLIENT_HELLO = enum.auto()
    CONSUMED_SERVER_HELLO = enum.auto()
    CREATED_CLIENT_AUTHENTICATE = enum.auto()
    COMPLETED = enum.auto()
    FAILED = enum.auto()


class ServerState(_ByIdentity):
    """The last step of the server."""

    START = enum.auto()
    CONSUMED_CLIENT_HELLO = enum.auto()
    CREATED_SERVER_HELLO = enum.auto()
    CONSUMED_CLIENT_AUTHENTICATE = enum.auto()
    COMPLETED = enum.auto()
    FAILED = enum.auto()


State: TypeAlias = ClientState | ServerState
Table: TypeAlias = Mapping[tuple[State, Message], State]

CLIENT_TABLE: Final[Table] = {
    (ClientState.START, Message.CLIENT_HELLO): ClientState.CREATED_CLIENT_HELLO,
    (ClientState.CREATED_CLIENT_HELLO, Message.SERVER_HELLO): ClientState.CONSUMED_SERVER_HELLO,
    (ClientState.CONSUMED_SERVER_HELLO, Message.CLIENT_AUTHENTICATE): ClientState.CREATED_CLIENT_AUTHENTICATE,
    (ClientState.CREATED_CLIENT_AUTHENTICATE, Message.SERVER_ACCEPT): ClientState.COMPLETED,
}

SERVER_TABLE: Final[Table] = {
    (ServerState.START, Message.CLIENT_HELLO): ServerState.CONSUMED_CLIENT_HELLO,
    (ServerState.CONSUMED_CLIENT_HELLO, Message.SERVER_HELLO): ServerState.CREATED_SERVER_HELLO,
    (ServerState.CREATED_SERVER_HELLO, Message.CLIENT_AUTHENTICATE): ServerState.CONSUMED_CLIENT_AUTHENTICATE,
    (ServerState.CONSUMED_CLIENT_AUTHENTICATE, Message.SERVER_ACCEPT): ServerState.COMPLETED,
}


@dataclass(frozen=True, slots=True)
class Session:
    """The keys and the proven peer of a completed handshake. `repr` shows the remote's short id only.

    Attributes:
        remote: The peer's proven id.
        send_key: Box-stream key for sending, 32 bytes.
        send_nonce: First nonce for sending, 24 bytes.
        receive_key: Box-stream key for receiving, 32 bytes.
        receive_nonce: First nonce for receiving, 24 bytes.
        export_key: 32 bytes, the same at both ends and new in each session, for protocols bound to it.
    """

    remote: FeedId
    send_key: bytes = field(repr=False)
    send_nonce: bytes = field(repr=False)
    receive_key: bytes = field(repr=False)
    receive_nonce: bytes = field(repr=False)
    export_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Send:
    """Bytes for the peer, to be sent as they are.

    Attributes:
        data: The bytes of one message of the handshake.
    """

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientKnown:
    """The caller's proven id at the server.

    The server now calls `accept()` or `refuse()`; the client sees nothing until then.

    Attributes:
        id: The caller's proven id.
    """

    id: FeedId


@dataclass(frozen=True, slots=True)
class Completed:
    """The end of a successful handshake.

    Attributes:
        session: The keys of the session and the proven peer.
        leftover: Bytes that came behind the last message; they belong to the box stream.
    """

    session: Session
    leftover: bytes = field(repr=False)


HandshakeEvent: TypeAlias = Send | ClientKnown | Completed

T = TypeVar("T")


def _awaits(table: Table, *theirs: Message) -> Mapping[State, Message]:
    """Return the message of the peer that the table allows, by state."""
    return {state: message for state, message in table if message in theirs}


class _Handshake:
    """The part that both roles share: position in the table, unread bytes, secrets, and the one way to fail."""

    __slots__ = (
        *("_client_signature", "_ephemeral", "_me", "_network", "_receive_nonce"),
        *("_send_nonce", "_shared", "_state", "_theirs", "_unread"),
    )

    _AWAITS: ClassVar[Mapping[State, Message]]
    _TABLE: ClassVar[Table]
    _FAILED: ClassVar[State]
    _COMPLETED: ClassVar[State]

    def __init__(
        self, me: Keypair, start: State, network: NetworkId, ephemeral: bytes | messages.Ephemeral | None
    ) -> None:
        self._me = me
        self._network = network
        self._ephemeral = ephemeral if isinstance(ephemeral, messages.Ephemeral) else messages.Ephemeral(ephemeral)
        self._shared = messages.SharedSecrets(network)
        self._theirs = b""  # the peer's ephemeral public key
        self._send_nonce = self._receive_nonce = b""
        self._client_signature = b""
        self._state = start
        self._unread = bytearray()

    def receive(self, data: bytes) -> list[HandshakeEvent]:
        """Take bytes from the peer, cut anywhere; return the events that they complete, in order.

        Args:
            data: Bytes from the connection.

        Raises:
            HandshakeError: The peer does anything wrong.
            LocalProtocolError: Nothing can be received (a client that has not started, a handshake that is completed).
        """
        self._check_open()
        return self._guard(lambda: self._take(data))

    def eof(self) -> NoReturn:
        """Note that the connection ended before the handshake did.

        Raises:
            HandshakeError: Always, unless the handshake is completed.
            LocalProtocolError: The handshake is completed.
        """
        self._check_open()
        self._finish(self._FAILED)
        raise HandshakeError

    def _take(self, data: bytes) -> list[HandshakeEvent]:
        events: list[HandshakeEvent] = []
        self._unread += data
        while (message := self._AWAITS.get(self._state)) is not None and len(self._unread) >= LENGTH[message]:
            body = bytes(self._unread[: LENGTH[message]])
            del self._unread[: LENGTH[message]]
            events += self._consume(message, body)
        if len(self._unread) > EARLY_BYTES:
            raise HandshakeError
        return events

    def _consume(self, message: Message, body: bytes) -> list[HandshakeEvent]:
        raise NotImplementedError

    def _create_hello(self) -> bytes:
        hello = messages.create_hello(self._network, self._ephemeral)
        self._receive_nonce = messages.hello_nonce(hello)
        return hello

    def _consume_hello(self, hello: bytes) -> None:
        self._theirs = messages.consume_hello(self._network, hello, self._ephemeral)
        self._send_nonce = messages.hello_nonce(hello)

    def _advance(self, message: Message) -> None:
        self._state = self._TABLE[self._state, message]

    def _guard(self, step: Callable[[], T]) -> T:
        """Run one step. The only place where PyNaCl's errors become ours."""
        try:
            return step()
        except (HandshakeError, CryptoError):
            self._finish(self._FAILED)
        except BaseException:  # not the peer's doing; but nothing may go on from the middle of a step
            self._finish(self._FAILED)
            raise
        raise HandshakeError  # outside of `except`: the error must not carry the failed step's variables along

    def _check_open(self) -> None:
        if self._state is self._FAILED:
            raise HandshakeError
        if self._state is self._COMPLETED:
            raise LocalProtocolError("the handshake is completed")

    def _complete(self, remote: FeedId) -> Completed:
        secret = messages.final_secret(self._shared)
        session = Session(
            remote=remote,
            send_key=messages.stream_key(secret, remote),
            send_nonce=self._send_nonce,
            receive_key=messages.stream_key(secret, self._me.id),
            receive_nonce=self._receive_nonce,
            export_key=messages.export_key(secret),
        )
        completed = Completed(session, bytes(self._unread))
        self._finish(self._COMPLETED)
        return completed

    def _finish(self, last: State) -> None:
        self._state = last
        self._ephemeral.wipe()
        self._shared.wipe()
        self._unread.clear()
        self._client_signature = b""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._state.name})"


class ClientHandshake(_Handshake):
    """The caller's side of a handshake, which knows the server's id beforehand.

    Args:
        me: Our own key pair.
        server: The id of the peer that we call; no other peer can answer.
        network: The network id, the same at both ends.
        ephemeral: 32-byte X25519 secret, to be used once; None draws it from the system's randomness.
        own_key: Allow `server` to be our own key: only for one's own server on this machine, which shares the
            identity, as ssb servers do. Anywhere else a peer with our key is a reflection or a thief, and is not
            called.
    """

    __slots__ = ("_own_key", "_server", "_server_curve")

    _TABLE = CLIENT_TABLE
    _AWAITS = _awaits(CLIENT_TABLE, Message.SERVER_HELLO, Message.SERVER_ACCEPT)
    _FAILED = ClientState.FAILED
    _COMPLETED = ClientState.COMPLETED

    def __init__(
        self,
        me: Keypair,
        server: FeedId,
        *,
        network: NetworkId = MAIN_NETWORK,
        ephemeral: bytes | None = None,
        own_key: bool = False,
    ) -> None:
        super().__init__(me, ClientState.START, network, ephemeral)
        self._server = server
        self._own_key = own_key
        self._server_curve = b""

    def start(self) -> bytes:
        """Return the client hello, to be sent at once.

        Returns:
            64 bytes.

        Raises:
            HandshakeError: The server's id is our own, or no usable key.
            LocalProtocolError: Called twice.
        """
        self._check_open()
        if self._state is not ClientState.START:
            raise LocalProtocolError("the handshake has been started")
        return self._guard(self._create_client_hello)

    def receive(self, data: bytes) -> list[HandshakeEvent]:
        """Take bytes from the server, cut anywhere; return Send or Completed when they happen.

        Args:
            data: Bytes from the connection.

        Raises:
            HandshakeError: The peer does anything wrong.
            LocalProtocolError: Called before `start()` or after Completed.
        """
        if self._state is ClientState.START:
            raise LocalProtocolError("the client speaks first: call start()")
        return super().receive(data)

    def _consume(self, message: Message, body: bytes) -> list[HandshakeEvent]:
        if message is Message.SERVER_HELLO:
            self._consume_server_hello(body)
            return [Send(self._create_client_authenticate())]
        self._consume_server_accept(body)
        return [self._complete(self._server)]

    def _create_client_hello(self) -> bytes:
        if self._server == self._me.id and not self._own_key:
            raise HandshakeError
        self._server_curve = feed_to_curve(self._server.key)
        self._advance(Message.CLIENT_HELLO)
        return self._create_hello()

    def _consume_server_hello(self, body: bytes) -> None:
        self._consume_hello(body)
        self._shared.add(self._ephemeral.exchange(self._theirs))
        self._shared.add(self._ephemeral.exchange(self._server_curve))
        self._advance(Message.SERVER_HELLO)

    def _create_client_authenticate(self) -> bytes:
        box, self._client_signature = messages.create_client_authenticate(
            self._me, self._network, self._server, self._shared
        )
        self._shared.add(messages.exchange_long_term(self._me, self._theirs))
        self._ephemeral.wipe()
        self._advance(Message.CLIENT_AUTHENTICATE)
        return box

    def _consume_server_accept(self, body: bytes) -> None:
        messages.consume_server_accept(
            body, self._network, self._server, self._me.id, self._client_signature, self._shared
        )
        self._advance(Message.SERVER_ACCEPT)


class ServerHandshake(_Handshake):
    """The called side of a handshake: it learns the caller's id from message 3, and then says yes or nothing.

    Args:
        me: Our own key pair.
        network: The network id, the same at both ends.
        ephemeral: 32-byte X25519 secret, to be used once, or a key pair made in advance, which becomes ours to wipe;
            None draws it from the system's randomness.
    """

    __slots__ = ("_client",)

    _TABLE = SERVER_TABLE
    _AWAITS = _awaits(SERVER_TABLE, Message.CLIENT_HELLO, Message.CLIENT_AUTHENTICATE)
    _FAILED = ServerState.FAILED
    _COMPLETED = ServerState.COMPLETED

    def __init__(
        self,
        me: Keypair,
        *,
        network: NetworkId = MAIN_NETWORK,
        ephemeral: bytes | messages.Ephemeral | None = None,
    ) -> None:
        super().__init__(me, ServerState.START, network, ephemeral)
        self._client: FeedId | None = None

    def accept(self) -> list[HandshakeEvent]:
        """Let the client of ClientKnown in.

        Returns:
            `[Send, Completed]`.

        Raises:
            LocalProtocolError: No client waits for an answer.
            HandshakeError: The handshake has failed.
        """
        client = self._waiting_client()
        return self._guard(lambda: [Send(self._create_server_accept(client)), self._complete(client)])

    def refuse(self) -> None:
        """Turn the client of ClientKnown away. Nothing is sent: the connection is to be closed.

        Raises:
            LocalProtocolError: No client waits for an answer.
            HandshakeError: The handshake has failed.
        """
        self._waiting_client()
        self._finish(self._FAILED)

    def _waiting_client(self) -> FeedId:
        self._check_open()
        if self._client is None:
            raise LocalProtocolError("no client waits for an answer")
        return self._client

    def _consume(self, message: Message, body: bytes) -> list[HandshakeEvent]:
        if message is Message.CLIENT_HELLO:
            self._consume_client_hello(body)
            return [Send(self._create_server_hello())]
        return [ClientKnown(self._consume_client_authenticate(body))]

    def _consume_client_hello(self, body: bytes) -> None:
        self._consume_hello(body)
        self._advance(Message.CLIENT_HELLO)

    def _create_server_hello(self) -> bytes:
        self._advance(Message.SERVER_HELLO)
        return self._create_hello()

    def _consume_client_authenticate(self, body: bytes) -> FeedId:
        # The first Diffie-Hellman of this side: a hello alone, which any peer can make, costs us none.
        self._shared.add(self._ephemeral.exchange(self._theirs))
        self._shared.add(messages.exchange_long_term(self._me, self._theirs))
        client, self._client_signature = messages.consume_client_authenticate(
            body, self._network, self._me.id, self._shared
        )
        self._shared.add(self._ephemeral.exchange(feed_to_curve(client.key)))
        self._ephemeral.wipe()
        self._client = client
        self._advance(Message.CLIENT_AUTHENTICATE)
        return client

    def _create_server_accept(self, client: FeedId) -> bytes:
        box = messages.create_server_accept(self._me, self._network, client, self._client_signature, self._shared)
        self._advance(Message.SERVER_ACCEPT)
        return box

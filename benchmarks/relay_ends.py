"""The two ends of a measured relay: plain blocking sockets, so that little runs beside the relay.

What is sent is sealed before the clock starts, one packet to a box; what arrives is opened by the C core and hashed.
An end speaks in one of three ways:

    bytes   nothing but the payload
    boxes   packets in boxes under KEY and NONCE, for relays that know no handshake
    room    the same in a tunnel: handshake with a room, muxrpc, tunnel.connect

The far end is a process of its own, `python -m benchmarks.relay_ends bytes|boxes|room bulk|echo [ADDRESS]`. With `bulk`
it hashes and says at the end how much there was, with `echo` it sends back what comes.
"""

from __future__ import annotations

import hashlib
import json
import socket
import sys
from collections.abc import Iterator
from typing import Any, Final, Literal

from benchmarks.baselines import KEY, NONCE, packet
from benchmarks.children import CALLER, NETWORK, TARGET
from ssbfast import native
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.wire.address import NetAddress, parse_address
from ssbfast.wire.handshake import ClientHandshake, Completed, Send, Session
from ssbfast.wire.muxrpc import JSON, Answered, Called, CallKind, MuxRPC, Out

Speech = Literal["bytes", "boxes", "room"]

READ: Final = 256 * 1024
_REQ: Final = 1
_END: Final = native.STREAM | native.END | native.JSON
_PATIENCE: Final = 15.0


class BytesEnd:
    """An end without boxes."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = bytearray(READ)

    def encode(self, body: bytes) -> bytes:
        return body

    def end(self) -> bytes:
        return b""

    def read(self) -> bytes | None:
        """Payload that has come (b"" when it was none); None when no more will come."""
        n = self.sock.recv_into(self._buffer)
        return bytes(self._buffer[:n]) if n else None


class BoxesEnd:
    """An end with packets in boxes. req: what it writes in them."""

    def __init__(self, sock: socket.socket, session: Session, req: int = 0) -> None:
        self.sock = sock
        self.mux = MuxRPC()
        self.happened: list[Any] = []
        self.early = b""  # payload that came right behind a call
        self._buffer = bytearray(READ)
        self._sealer = native.Sealer(session.send_key, session.send_nonce)
        self._link = native.Link(
            native.Hub(8 << 20),
            1,
            send_key=session.send_key,
            send_nonce=session.send_nonce,
            receive_key=session.receive_key,
            receive_nonce=session.receive_nonce,
        )
        self._ended = False
        self._req = req
        if req:
            self.use(req)

    def use(self, req: int) -> None:
        """Send as `req`, take what comes for it."""
        self._req = req
        self._inlet = native.Inlet(self._link, -req, None)

    def send(self, out: Out) -> None:
        self.sock.sendall(self._sealer.seal(packet(*out)))

    def encode(self, body: bytes) -> bytes:
        """One packet in one box, or in as many as it needs."""
        return self._sealer.seal(packet(native.STREAM, self._req, body))

    def end(self) -> bytes:
        return self._sealer.seal(packet(_END, self._req, b"true"))

    def read(self) -> bytes | None:
        """Payload that has come (b"" when it was none); None when no more will come."""
        if self.early:
            data, self.early = self.early, b""
            return data
        if self._ended:
            return None
        n = self.sock.recv_into(self._buffer)
        if not n:
            return None
        status, events = self._link.receive(memoryview(self._buffer)[:n])
        found = self._take(events)
        while status is native.Status.AGAIN:
            status, events = self._link.proceed()
            found += self._take(events)
        if self._link.failure is not None:
            raise self._link.failure
        return b"".join(found)

    def _take(self, events: list[native.Event]) -> list[bytes]:
        chunks = []
        for kind, flags, req, body in events:
            if kind == native.EV_CHUNK:
                chunks.append(body)
            elif req == -self._req and flags & native.END:
                self._ended = True
            else:
                self._packet(flags, req, body)
        return chunks

    def _packet(self, flags: int, req: int, body: bytes) -> None:
        for event in self.mux.receive(flags, req, body):
            self.happened.append(event)
            if isinstance(event, Called):  # before the bytes right behind the call are looked at
                self.use(event.req)


End = BytesEnd | BoxesEnd

_SHARED: Final = Session(CALLER.id, KEY, NONCE, KEY, NONCE, KEY)


def dialled(port: int) -> socket.socket:
    """A connection to a port of this machine."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def near_end(speech: Speech, port: int, room: FeedId | None = None) -> End:
    """The end that sends. port: the relay's, or the far end's when there is no relay."""
    if room is not None:
        end = member(port, room, CALLER)
        where: JSON = {"portal": str(room), "target": str(TARGET.id)}
        req, out = end.mux.call(CallKind.DUPLEX, ("tunnel", "connect"), [where])
        end.send(out)
        end.use(req)
        return end
    return _spoken(speech, dialled(port))


def _spoken(speech: Speech, sock: socket.socket) -> End:
    return BytesEnd(sock) if speech == "bytes" else BoxesEnd(sock, _SHARED, _REQ if speech == "boxes" else 0)


def member(port: int, room: FeedId, me: Keypair) -> BoxesEnd:
    """A session with a room, by handshake."""
    sock, shaking = dialled(port), ClientHandshake(me, room, network=NETWORK)
    sock.sendall(shaking.start())
    while True:
        for event in shaking.receive(sock.recv(112)):
            if isinstance(event, Send):
                sock.sendall(event.data)
            elif isinstance(event, Completed):
                return BoxesEnd(sock, event.session)


def announced(address: str, me: Keypair = TARGET) -> BoxesEnd:
    """A member of a room that can be called."""
    found = parse_address(address)[0]
    if not isinstance(found.transport, NetAddress) or found.shs is None:
        raise ValueError("a room of the benchmarks listens on TCP")
    end = member(found.transport.port, found.shs, me)
    end.send(end.mux.call(CallKind.ASYNC, ("tunnel", "announce"), [])[1])
    _await(end, Answered)
    return end


def _await(end: BoxesEnd, kind: type) -> Any:
    while True:
        for event in end.happened:
            if isinstance(event, kind):
                end.happened.remove(event)
                return event
        if (data := end.read()) is None:
            raise ConnectionError("the relay has hung up")
        end.early += data


def _far_end(speech: Speech, address: str) -> End:
    """The end that is called; it says when it is ready."""
    if speech == "room":
        end = announced(address)
        _say(event="ready", port=0)
        _await(end, Called)
        return end
    with socket.create_server(("127.0.0.1", 0)) as server:
        _say(event="ready", port=server.getsockname()[1])
        sock, _ = server.accept()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    spoken = _spoken(speech, sock)
    if isinstance(spoken, BoxesEnd):
        spoken.use(-_REQ)
    return spoken


def _payload(end: End) -> Iterator[bytes]:
    while (data := end.read()) is not None:
        if data:
            yield data


def bulk(end: End) -> None:
    """Hash what comes."""
    digest, count = hashlib.sha256(), 0
    for data in _payload(end):
        digest.update(data)
        count += len(data)
    _say(event="received", bytes=count, digest=digest.hexdigest())


def echo(end: End) -> None:
    """Send back what comes."""
    for data in _payload(end):
        end.sock.sendall(end.encode(data))


def _say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def main(args: list[str]) -> None:
    speech: Speech = args[0]  # type: ignore[assignment]  # one of its words, as our own command says
    end = _far_end(speech, args[2] if len(args) > 2 else "")
    {"bulk": bulk, "echo": echo}[args[1]](end)


if __name__ == "__main__":
    main(sys.argv[1:])

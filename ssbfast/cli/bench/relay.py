"""Contests of the relay engine, without sockets: what comes in on one link leaves, re-numbered, on another.

One read of 64 KiB, then one flush (receive → lane → flush): open, scan, queue, seal.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

from ssbfast import pure
from ssbfast.cli.bench.box_stream import KEY, NONCE, TOTAL, PlainOpener, PlainSealer, Wrap, along, paths
from ssbfast.cli.bench.contest import Contender, Contest

BODIES: Final = (4087, 1000, 64)
"""Bytes of each packet's body; with the head, 4087 fill a box."""

HEAD: Final = struct.Struct(">BIi")
"""Head of a packet: flags, length of the body, req."""

REQ_IN: Final = 7
REQ_OUT: Final = -3
_STREAM: Final = 0x08
_POOL: Final = 4 << 20


def packet(flags: int, req: int, body: bytes) -> bytes:
    """Return one packet as it is on the wire."""
    return HEAD.pack(flags, len(body), req) + body


def new_link(engine: Any, hub: Any, number: int = 1) -> Any:
    """Return a link of `engine` on `hub` whose both directions use KEY and NONCE."""
    return engine.Link(hub, number, send_key=KEY, send_nonce=NONCE, receive_key=KEY, receive_nonce=NONCE)


class PlainScanner:
    """A packet stream's receiving half: (flags, req, body) of each whole packet."""

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, plain: bytes) -> list[tuple[int, int, bytes]]:
        data = self._tail + plain
        packets = []
        at = 0
        while len(data) - at >= HEAD.size:
            flags, size, req = HEAD.unpack_from(data, at)
            end = at + HEAD.size + size
            if end > len(data):
                break
            packets.append((flags, req, data[at + HEAD.size : end]))
            at = end
        self._tail = data[at:]
        return packets


class PlainRelay:
    """One direction of a tunnel: open, scan, re-number, seal each packet in a box of its own."""

    def __init__(self, req: int) -> None:
        self._opener = PlainOpener(KEY, NONCE)
        self._scanner = PlainScanner()
        self._sealer = PlainSealer(KEY, NONCE)
        self._req = req

    def relay(self, data: bytes) -> bytes:
        packets = self._scanner.feed(b"".join(self._opener.open(data)))
        seal, req = self._sealer.seal, self._req
        return b"".join([seal(HEAD.pack(flags, len(body), req) + body) for flags, _, body in packets])


class EngineRelay:
    """Two links of an engine, spliced in one direction."""

    def __init__(self, engine: Any) -> None:
        hub = engine.Hub(_POOL)
        self._source, self._sink = new_link(engine, hub, 1), new_link(engine, hub, 2)
        self._lane = engine.Lane(self._sink, REQ_OUT)
        self._inlet = engine.Inlet(self._source, REQ_IN, self._lane)

    def relay(self, data: bytes) -> bytes:
        self._source.receive(bytearray(data))
        out: bytes = self._sink.flush()[0]
        return out


def arrived(wire: bytes) -> tuple[set[int], bytes]:
    """Return the numbers and the payload of what a relay sent."""
    found = PlainScanner().feed(b"".join(pure.Opener(KEY, NONCE).open(wire)))
    return {req for _, req, _ in found}, b"".join(body for _, _, body in found)


def contests(total: int = TOTAL) -> Iterator[Contest]:
    """Yield contests of one read a pass; the links are made anew for each and warmed up, untimed."""
    for size in BODIES:
        payload = [hashlib.shake_128(b"%d" % i).digest(size) for i in range(max(1, total // (size + 9)))]
        sealer, packets = pure.Sealer(KEY, NONCE), [packet(_STREAM, REQ_IN, body) for body in payload]
        wires = sealer.seal_many(packets), sealer.seal_many(packets)
        right = ({REQ_OUT}, b"".join(payload))
        contenders = {name: _contender(make, wrap, wires, right) for name, make, wrap in _relays()}
        amount = size * len(payload) / 1e6
        yield Contest("relay engine", str(size), "MB", amount, "libsodium", contenders)


def _relays() -> Iterator[tuple[str, Callable[[], Any], Wrap]]:
    core_paths = paths()
    if core_paths:
        from ssbfast.native import links

        for path in core_paths:
            yield path, partial(EngineRelay, links), partial(along, path)
    yield "pynacl", partial(PlainRelay, REQ_OUT), lambda work: work
    yield "pure", partial(EngineRelay, pure), lambda work: work


def _contender(make: Callable[[], Any], wrap: Wrap, wires: Sequence[bytes], right: tuple[set[int], bytes]) -> Contender:
    """Make a contender. wires: two reads, one after the other on a link; the first warms up what the second finds."""

    def warm() -> Any:
        relay = make()
        return relay, relay.relay(wires[0])

    def fresh() -> Callable[[], Any]:
        return wrap(partial(wrap(warm)()[0].relay, wires[1]))

    return Contender(lambda: arrived(wrap(warm)()[1]) == right, fresh(), fresh)

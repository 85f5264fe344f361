"""Two ends of a direct path on the loopback interface, each with a handler that writes down what it is told."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ssbfast.direct.udp import Address, UdpSocket
from ssbfast.wire.direct.keys import DirectKeys, Role
from tests.helpers.rawpeer import eventually

if sys.version_info < (3, 11):
    pytest.skip("aioquic needs Python 3.11: there are no direct paths", allow_module_level=True)

# Not skipped where it is missing: from 3.11 on the tests need the extra `direct`, which `dev` includes.
from ssbfast.direct.certificates import Credentials
from ssbfast.direct.quic_connection import caller_connection, target_connection
from ssbfast.direct.quic_driver import QuicDriver
from ssbfast.direct.quic_path import DirectPath

both_engines = pytest.mark.usefixtures("engine")
"""Run a test with the engine, and with aioquic alone: `tests/direct/conftest.py`."""


def only(engine: str) -> pytest.MarkDecorator:
    """Run a test of `both_engines` with this one alone: it looks inside."""
    return pytest.mark.parametrize("engine", [engine], indirect=True)


EXPORT_KEY = bytes(range(32))
EPOCH = 7


def keys(role: Role, epoch: int = EPOCH, export_key: bytes = EXPORT_KEY) -> DirectKeys:
    return DirectKeys.derive(export_key, role, epoch)


def loopback() -> UdpSocket:
    return UdpSocket.open(socket.AF_INET, "127.0.0.1")


class RecordingHandler:
    """A handler that keeps what it is told.

    log: names of calls, in order, without `heard`. heard: how often. lost: what `path_lost` said.
    """

    def __init__(self) -> None:
        self.log: list[str] = []
        self.records = bytearray()
        self.data = bytearray()
        self.streams: dict[int, bytearray] = {}
        self.ended: set[int] = set()
        self.resets: list[int] = []
        self.datagrams: list[bytes] = []
        self.heard = 0
        self.lost: list[tuple[bool, str]] = []

    def path_ready(self, path: DirectPath) -> None:
        self.log.append("ready")

    def path_records(self, path: DirectPath, data: bytes) -> None:
        self.log.append("records")
        self.records += data

    def path_data(self, path: DirectPath, data: bytes) -> None:
        self.log.append("data")
        self.data += data

    def path_stream(self, path: DirectPath, stream: int, data: bytes, end: bool) -> None:
        self.log.append("stream")
        self.streams.setdefault(stream, bytearray()).extend(data)
        if end:
            self.ended.add(stream)

    def path_stream_reset(self, path: DirectPath, stream: int) -> None:
        self.log.append("reset")
        self.resets.append(stream)

    def path_datagrams(self, path: DirectPath, datagrams: list[bytes]) -> None:
        self.log.append("datagrams")
        self.datagrams += datagrams

    def path_heard(self, path: DirectPath) -> None:
        self.heard += 1

    def path_lost(self, path: DirectPath, clean: bool, reason: str) -> None:
        self.log.append("lost")
        self.lost.append((clean, reason))

    @property
    def ready(self) -> bool:
        return "ready" in self.log


def stay_with_aioquic(path: DirectPath) -> None:
    """Have an end do what one without the engine does, whatever SSBFAST_DIRECT says of the other."""
    path._driver.settle = lambda _within: path.quic_settled(path._quic)  # type: ignore[method-assign]


def move(udp: UdpSocket) -> Address:
    """Go on from another port, as a socket does behind a NAT that forgets; returns the address that it had."""
    before, old = udp.local, udp._sock
    udp._loop.remove_reader(old)
    udp._sock = socket.socket(old.family, socket.SOCK_DGRAM)
    udp._sock.setblocking(False)
    udp._sock.bind(("127.0.0.1", 0))
    udp._loop.add_reader(udp._sock, udp._readable)
    old.close()
    return before


class PathPair:
    """caller and target, with their sockets and recorders."""

    def __init__(
        self,
        caller_keys: DirectKeys | None = None,
        target_keys: DirectKeys | None = None,
        pinned: bytes | None = None,
        connection_id: bytes | None = None,
        sockets: tuple[UdpSocket, UdpSocket] | None = None,
    ) -> None:
        self.sockets = sockets or (loopback(), loopback())
        self.here, self.there = RecordingHandler(), RecordingHandler()
        self.credentials = Credentials.make()
        self.caller = DirectPath.caller(
            pinned or self.credentials.certificate,
            caller_keys or keys(Role.CALLER),
            self.here,
        )
        self.target = DirectPath.target(
            self.credentials,
            connection_id or self.caller.connection_id,
            target_keys or keys(Role.TARGET),
            self.there,
        )

    @property
    def addresses(self) -> tuple[Address, Address]:
        return self.sockets[0].local, self.sockets[1].local

    def start(self, within: float = 30.0, rtt: float | None = None) -> None:
        self.start_target(within, rtt)
        self.target.allow(self.sockets[0].local)
        self.start_caller(within, rtt)

    def start_caller(self, within: float = 30.0, rtt: float | None = None) -> None:
        self.caller.start(self.sockets[0], self.sockets[1].local, within=within, rtt=rtt)

    def start_target(self, within: float = 30.0, rtt: float | None = None) -> None:
        self.target.start(self.sockets[1], within=within, rtt=rtt)

    async def ready(self) -> None:
        both = (self.caller, self.target)
        await eventually(lambda: all(path.is_settled for path in both) or bool(self.here.lost or self.there.lost))
        assert not self.here.lost and not self.there.lost, (self.here.lost, self.there.lost)

    async def can_open(self) -> None:
        """Both ends have heard that they may open streams."""
        await eventually(lambda: self.caller.can_open() and self.target.can_open())

    async def lost(self) -> None:
        await eventually(lambda: bool(self.here.lost and self.there.lost))

    async def close(self) -> None:
        """Every path that has begun says once that it is over."""
        for path in (self.caller, self.target):
            path.abort("the test is over")
        await asyncio.sleep(0)
        for sock in self.sockets:
            sock.close()
        for recorder in (self.here, self.there):
            assert len(recorder.lost) <= 1


@asynccontextmanager
async def direct(aioquic: Role | None = None) -> AsyncIterator[PathPair]:
    """A path on which both proofs have passed. aioquic: the end that has no engine, under SSBFAST_DIRECT=auto."""
    ends = PathPair()
    if aioquic is not None:
        stay_with_aioquic(ends.caller if aioquic is Role.CALLER else ends.target)
    try:
        ends.start()
        await ends.ready()
        yield ends
    finally:
        await ends.close()


class RawEnd:
    """One end that keeps to QUIC, and to nothing of ours above it: for what an honest end never does.

    quic: aioquic's connection. events: what it has told, all of it.
    """

    def __init__(self, quic: Any) -> None:
        self.quic = quic
        self.driver = QuicDriver(quic, self)
        self.events: list[Any] = []
        self.code: int | None = None

    @property
    def connected(self) -> bool:
        return self.driver.handshaken

    def quic_events(self) -> None:
        while (event := self.quic.next_event()) is not None:
            self.events.append(event)
            if type(event).__name__ == "HandshakeCompleted":
                self.driver.handshaken = True

    def quic_ended(self, code: int, reason: str) -> None:
        self.code = code

    def write(self, stream: int, data: bytes, end: bool = False) -> None:
        self.quic.send_stream_data(stream, data, end)
        self.driver.transmit_soon()

    def got(self, stream: int) -> bytes:
        """What has come on a stream."""
        return b"".join(event.data for event in self.events if getattr(event, "stream_id", None) == stream)


class RawCaller(RawEnd):
    """Such an end as the caller of an honest target: `target`, whose handler is `there`."""

    def __init__(self) -> None:
        self.credentials = Credentials.make()
        self.sockets = (loopback(), loopback())
        quic = caller_connection(self.credentials.certificate, 1200)
        super().__init__(quic)
        self.there = RecordingHandler()
        self.target = DirectPath.target(
            self.credentials,
            quic.original_destination_connection_id,
            keys(Role.TARGET),
            self.there,
        )
        self.proof = keys(Role.CALLER).proof(self.credentials.certificate)

    async def connect(self, within: float = 30.0) -> None:
        """QUIC's handshake; no proof."""
        self.target.start(self.sockets[1], within=within)
        self.target.allow(self.sockets[0].local)
        self.driver.start(self.sockets[0], self.sockets[1].local)
        await eventually(lambda: self.connected)

    async def prove(self) -> None:
        await self.connect()
        self.write(0, self.proof)
        await eventually(lambda: self.there.ready)

    async def refused(self, code: int = 1) -> None:
        """The target has ended the path, and told only a number."""
        await eventually(lambda: bool(self.there.lost) and self.code is not None)
        assert self.code == code
        assert self.there.lost[0][0] is False

    async def close(self) -> None:
        self.driver.close(1, "")
        self.target.abort("the test is over")
        await asyncio.sleep(0)
        for sock in self.sockets:
            sock.close()
        assert len(self.there.lost) == 1


class RawTarget(RawEnd):
    """Such an end as the target of an honest caller: `caller`, whose handler is `here`."""

    def __init__(self, pinned: bytes | None = None) -> None:
        self.credentials = Credentials.make()
        self.sockets = (loopback(), loopback())
        self.here = RecordingHandler()
        certificate = pinned or self.credentials.certificate
        self.caller = DirectPath.caller(certificate, keys(Role.CALLER), self.here)
        quic = target_connection(self.credentials, self.caller.connection_id, 1200)
        super().__init__(quic)
        self.proof = keys(Role.TARGET).proof(certificate)

    def start(self) -> None:
        self.driver.allow(self.sockets[0].local)
        self.driver.start(self.sockets[1], None)
        self.caller.start(self.sockets[0], self.sockets[1].local)

    async def close(self) -> None:
        self.driver.close(1, "")
        self.caller.abort("the test is over")
        await asyncio.sleep(0)
        for sock in self.sockets:
            sock.close()
        assert len(self.here.lost) == 1


@asynccontextmanager
async def raw_caller() -> AsyncIterator[RawCaller]:
    raw = RawCaller()
    try:
        yield raw
    finally:
        await raw.close()


@asynccontextmanager
async def raw_target(pinned: bytes | None = None) -> AsyncIterator[RawTarget]:
    raw = RawTarget(pinned)
    try:
        yield raw
    finally:
        await raw.close()

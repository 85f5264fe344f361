"""Two ends of a direct path on the loopback interface, each with a handler that writes down what it is told."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from ssbfast.net.udp import Address, UdpSocket
from ssbfast.wire.direct_keys import DirectKeys, Role
from tests.helpers.rawpeer import eventually

if sys.version_info < (3, 11):
    pytest.skip("aioquic needs Python 3.11: there are no direct paths", allow_module_level=True)
if not TYPE_CHECKING:  # not skipped on 3.11: there the tests need the extra `direct`, as `dev` has it
    from ssbfast.net.direct import Credentials, DirectPath

EXPORT_KEY = bytes(range(32))
EPOCH = 7


def keys(role: Role, epoch: int = EPOCH, export_key: bytes = EXPORT_KEY) -> DirectKeys:
    return DirectKeys.derive(export_key, role, epoch)


def loopback() -> UdpSocket:
    return UdpSocket.open(socket.AF_INET, "127.0.0.1")


class Recorder:
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

    def path_heard(self, path: DirectPath) -> None:
        self.heard += 1

    def path_lost(self, path: DirectPath, clean: bool, reason: str) -> None:
        self.log.append("lost")
        self.lost.append((clean, reason))

    @property
    def ready(self) -> bool:
        return "ready" in self.log


class Ends:
    """caller and target, with their sockets and recorders."""

    def __init__(self, caller_keys: DirectKeys | None = None, target_keys: DirectKeys | None = None) -> None:
        self.sockets = (loopback(), loopback())
        self.here, self.there = Recorder(), Recorder()
        self.credentials = Credentials.make()
        self.caller = DirectPath.caller(
            self.sockets[0],
            self.sockets[1].local,
            self.credentials.certificate,
            caller_keys or keys(Role.CALLER),
            self.here,
        )
        self.target = DirectPath.target(
            self.sockets[1],
            self.credentials,
            self.caller.connection_id,
            target_keys or keys(Role.TARGET),
            self.there,
        )

    @property
    def addresses(self) -> tuple[Address, Address]:
        return self.sockets[0].local, self.sockets[1].local

    def start(self, within: float = 30.0) -> None:
        self.target.start(within)
        self.target.allow(self.sockets[0].local)
        self.caller.start(within)

    async def ready(self) -> None:
        await eventually(lambda: (self.here.ready and self.there.ready) or bool(self.here.lost or self.there.lost))
        assert not self.here.lost and not self.there.lost, (self.here.lost, self.there.lost)

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
async def direct() -> AsyncIterator[Ends]:
    """A path on which both proofs have passed."""
    ends = Ends()
    try:
        ends.start()
        await ends.ready()
        yield ends
    finally:
        await ends.close()

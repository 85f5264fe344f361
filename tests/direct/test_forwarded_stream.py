"""A carried connection that leaves its direct path: what its writer is told."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.direct.forwarded_stream import DirectStream
from ssbfast.wire.direct.carriers.streams import CarriedStream


class Writer(asyncio.Protocol):
    """Remembers whether it may write."""

    paused = False

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False


class Duplex:
    """The edge: a duplex with room for `room` bytes."""

    def __init__(self, stream: DirectStream, room: int) -> None:
        self.stream = stream
        self.room = room
        self.written = bytearray()

    def write(self, data: Any) -> None:
        self.written += data
        if len(self.written) > self.room:
            self.stream.pause()


@pytest.mark.parametrize("room", [0, 2 * limits.FORWARD_WINDOW], ids=["full", "empty"])
async def test_the_writer_waits_for_the_duplex_and_no_longer_for_the_path(room: int) -> None:
    """A writer that goes on while the duplex is full would never be paused again: the duplex has said it once."""
    writer = Writer()
    way: Any = SimpleNamespace(epoch=1, path=None, send_records=lambda record: None)
    owner: Any = SimpleNamespace(stream_over=lambda stream: None)
    stream = DirectStream(owner, 1, way, CarriedStream(4), writer)
    stream.write(bytes(limits.FORWARD_WINDOW + 100))
    assert writer.paused
    stream.detach()
    duplex: Any = Duplex(stream, room)
    stream.resume(duplex, 0)
    assert len(duplex.written) == limits.FORWARD_WINDOW + 100
    assert writer.paused is (room == 0)
    stream.unpause()
    assert not writer.paused

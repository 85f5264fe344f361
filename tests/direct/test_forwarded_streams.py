"""The connections of a direct path: which service each leads to, however its first bytes come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.direct.forwarded_streams import DirectForwards
from ssbfast.wire.direct.carriers.records import Record, RecordType
from ssbfast.wire.direct.keys import Role
from ssbfast.wire.muxrpc import Called, CallKind


class Sink(asyncio.Protocol):
    """What a service gets."""

    def __init__(self) -> None:
        self.got = b""
        self.cut: list[Exception | None] = []
        self.has_ended = False

    def data_received(self, data: bytes) -> None:
        self.got += data

    def eof_received(self) -> bool:
        self.has_ended = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.cut.append(exc)


class Services:
    """The edge: services of these names, and a first one."""

    def __init__(self, *names: str | None) -> None:
        self.names = names
        self.taken: list[tuple[str | None, Sink]] = []

    def accept_direct(self, _peer: Any, open_stream: Any, name: str | None = None) -> bool:
        if name not in self.names:
            return False
        self.taken.append((name, Sink()))
        open_stream(self.taken[-1][1])
        return True


class Way:
    """The edge: a path, and the session."""

    epoch = 1
    stream_bytes = 0
    takes = share = None
    rtt = 0.0

    def __init__(self) -> None:
        self.path = self
        self.sent: dict[int, bytes] = {}
        self.was_reset: list[int] = []
        self.aborted: list[str] = []
        self.called: list[tuple[Any, ...]] = []
        self.refused: list[str] = []

    def open_stream(self) -> int:
        return 4 * (len(self.sent) + 1)

    def send_stream(self, number: int, data: bytes, end: bool = False) -> None:
        self.sent[number] = self.sent.get(number, b"") + data

    def reset_stream(self, number: int) -> None:
        self.was_reset.append(number)

    def stream_used(self, number: int, used: int, unread: int) -> None:
        """Credit is not looked at."""

    def stream_over(self, number: int) -> None:
        """Nor is its end."""

    def abort(self, reason: str) -> None:
        self.aborted.append(reason)

    def send_records(self, data: bytes) -> None:
        """Records are not looked at."""

    def on_forward_activity(self) -> None:
        """Nothing waits for it."""

    def open_carried(self, *call: Any) -> None:
        self.called.append((call[0], *call[2:]))

    def refuse(self, _req: int, message: str) -> None:
        self.refused.append(message)

    def carry(self, _req: int, _make: Any) -> None:
        """The duplex itself is not made."""


def forwards(role: Role, services: Services) -> tuple[DirectForwards, Any]:
    """The connections of one end of a path, that is up, and its edges."""
    way: Any = Way()
    found = DirectForwards(way, role, lambda: services)
    found.path_up(way)
    return found, way


async def test_streams_begin_with_what_they_are_for() -> None:
    caller, way = forwards(Role.CALLER, Services())
    caller.open(Sink())
    caller.open(Sink(), "ssh")
    assert way.sent == {4: b"\x01", 8: b"\x02\x03ssh"}
    caller.path_over()
    assert [args for _method, *args in way.called] == [
        [{"epoch": 1, "stream": 4, "received": 0}],
        [{"epoch": 1, "stream": 8, "received": 0}, "ssh"],
    ]


@pytest.mark.parametrize("name", [None, "ssh"])
@pytest.mark.parametrize("piece", [1, 3, 100])
async def test_a_head_may_come_in_pieces(name: str | None, piece: int) -> None:
    services = Services(name)
    target, way = forwards(Role.TARGET, services)
    data = (b"\x01" if name is None else b"\x02\x03ssh") + b"hello"
    for at in range(0, len(data), piece):
        target.data(way, 4, data[at : at + piece])
    ((found, sink),) = services.taken
    assert (found, sink.got) == (name, b"hello")
    assert not way.was_reset and not way.aborted and not target._heads


async def test_an_end_that_overtakes_a_stream_without_bytes_is_told() -> None:
    services = Services(None)
    target, way = forwards(Role.TARGET, services)
    target.record(way, Record(RecordType.END, 4, 0))
    target.data(way, 4, b"\x01")
    ((_name, sink),) = services.taken
    assert sink.has_ended and not way.was_reset and not way.aborted


@pytest.mark.parametrize(
    "head", [b"\x00", b"\x03\x03ssh", b"\x02\x00", b"\x02\x03SSH", b"\x02\x03git", b"\x02\x02\xff\xff"]
)
async def test_what_leads_to_no_service_is_reset_and_nothing_else(head: bytes) -> None:
    services = Services(None, "ssh")
    target, way = forwards(Role.TARGET, services)
    target.data(way, 4, head)
    assert (way.was_reset, way.aborted, services.taken) == ([4], [], [])
    target.data(way, 8, b"\x02\x03ssh")
    assert [name for name, _sink in services.taken] == ["ssh"]


async def test_heads_that_do_not_come_whole_are_kept_up_to_a_limit() -> None:
    services = Services("ssh")
    target, way = forwards(Role.TARGET, services)
    for number in range(1, limits.FORWARDS_PER_PEER + 2):
        target.data(way, 4 * number, b"\x02")
    assert len(target._heads) == limits.FORWARDS_PER_PEER
    assert way.aborted == ["a forwarded connection broke the rules"]
    target.reset(way, 4)
    target.data(way, 8, b"\x03ssh")
    assert len(target._heads) == limits.FORWARDS_PER_PEER - 2 and len(services.taken) == 1
    target.path_over()
    assert not target._heads


@pytest.mark.parametrize("came", [b"", b"\x02", b"\x02\x03ss"])
@pytest.mark.parametrize(("name", "is_there"), [("ssh", True), (None, True), ("git", False)])
async def test_a_stream_whose_head_was_lost_with_the_path_goes_on_by_its_name(
    came: bytes, name: str | None, is_there: bool
) -> None:
    services = Services(None, "ssh")
    target, way = forwards(Role.TARGET, services)
    if came:
        target.data(way, 4, came)
    target.path_over()
    args: list[Any] = [{"epoch": 1, "stream": 4, "received": 0}, *([] if name is None else [name])]
    target.continued(Called(1, CallKind.DUPLEX, ("direct", "continue"), args))
    assert [found for found, _sink in services.taken] == [name] * is_there
    assert way.refused == ["no such connection"] * (not is_there)

"""Where a standby's own session ends and the one that it has to carry begins: found at every cut."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.direct.standby_tunnel import Boundary, RawTunnel, StandbyTunnel
from ssbfast.wire.box_stream import Boxer
from tests.helpers.feeds import feeds
from tests.helpers.rawpeer import eventually

KEY, NONCE = bytes(range(32)), bytes(24)


def session() -> Any:
    return SimpleNamespace(receive_key=KEY, receive_nonce=NONCE)


def boxed(*plain: bytes, goodbye: bool = True) -> bytes:
    boxer = Boxer(KEY, NONCE)
    return b"".join(map(boxer.seal, plain)) + (boxer.goodbye() if goodbye else b"")


@pytest.mark.parametrize("rest", [b"", b"x", bytes(34), bytes(5000)])
def test_the_boundary_is_found_however_bytes_are_cut(rest: bytes) -> None:
    own = boxed(b"records", bytes(9))
    for pieces in feeds(own + rest):
        boundary, at, found = Boundary(session()), 0, None
        for piece in pieces:
            end = boundary.find(piece)
            if end is not None:
                found = at + end
                break
            at += len(piece)
        assert found == len(own)


def test_a_broken_stream_has_no_end() -> None:
    own = bytearray(boxed(b"records"))
    own[20] ^= 1
    boundary = Boundary(session())
    assert boundary.find(bytes(own)) is None
    assert boundary.find(boxed()) is None


class Tunnel:
    """The edges: a tunnel below, a link above, and the owner of what is carried."""

    def __init__(self) -> None:
        self.log: list[tuple[str, bytes]] = []
        self.session = session()
        self.protocol: Any = None

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def move(self, transport: Any) -> None:
        self.link_transport = transport

    def write(self, data: bytes) -> None:
        self.log.append(("write", bytes(data)))

    def abort(self) -> None:
        self.log.append(("abort", b""))

    def close(self) -> None:
        self.log.append(("close", b""))

    def finish(self) -> None:
        """The link says its goodbyes: they leave as its last write."""
        self.link_transport.write(b"goodbyes")
        self.link_transport.write_eof()

    def data_received(self, data: bytearray) -> None:
        self.log.append(("link", bytes(data)))

    def connection_lost(self, error: Exception | None) -> None:
        self.log.append(("link lost", b""))

    def raw_lost(self, _tunnel: Any, error: Exception | None) -> None:
        self.log.append(("lost", str(error).encode()))

    def raw_received(self, _tunnel: Any, data: bytes) -> None:
        self.log.append(("raw", data))

    def of(self, name: str) -> bytes:
        return b"".join(data for kind, data in self.log if kind == name)


def standby() -> tuple[Tunnel, StandbyTunnel]:
    edge: Any = Tunnel()
    return edge, StandbyTunnel(edge, edge)


async def test_raw_bytes_go_behind_the_goodbyes_and_come_from_behind_them() -> None:
    own = boxed(b"HOLD and TAKE")
    for seed in range(20):
        edge, tunnel = standby()
        owner: Any = edge
        tunnel.change(owner)
        tunnel.write_raw(b"raw")
        assert edge.of("write") == b"goodbyesraw"
        data, rng = own + b"theirs, raw", random.Random(seed)
        while data:
            size = rng.randint(1, len(data))
            edge.protocol.data_received(data[:size])
            data = data[size:]
        assert edge.of("link") == own and edge.of("raw") == b"theirs, raw"
        assert isinstance(edge.protocol, RawTunnel)


async def test_what_is_written_raw_before_the_goodbyes_waits_for_them() -> None:
    edge, tunnel = standby()
    owner: Any = edge
    edge.finish = lambda: None  # type: ignore[method-assign]  # the link has still something to say
    tunnel.change(owner)
    tunnel.write_raw(b"raw")
    tunnel.write(b"boxes")
    assert edge.of("write") == b"boxes"
    tunnel.write_eof()
    tunnel.write(b"too late")
    tunnel.write_raw(b"+")
    assert edge.of("write") == b"boxesraw+"


async def test_nothing_may_follow_a_goodbye_that_means_goodbye() -> None:
    for rest, aborted in ((b"", False), (b"x", True)):
        edge, _ = standby()
        edge.protocol.data_received(boxed(b"records") + rest)
        assert (("abort", b"") in edge.log) is aborted
        assert edge.of("raw") == b""


async def test_a_standby_that_talks_too_much_is_ended() -> None:
    edge, _ = standby()
    many = boxed(*(bytes(4096) for _ in range(limits.STANDBY_BYTES // 4096 + 1)), goodbye=False)
    edge.protocol.data_received(many[: limits.STANDBY_BYTES])
    assert ("abort", b"") not in edge.log
    edge.protocol.data_received(many[limits.STANDBY_BYTES :][:1])
    assert ("abort", b"") in edge.log


async def test_the_end_of_the_link_is_told_once() -> None:
    edge, tunnel = standby()
    owner: Any = edge
    tunnel.change(owner)
    tunnel.close()
    tunnel.connection_lost(None)
    await asyncio.sleep(0)
    assert [kind for kind, _ in edge.log].count("link lost") == 1


async def test_the_link_s_patience_is_not_the_session_s() -> None:
    """The standby's link has said goodbye and waits no longer for the other end's: the session does."""
    edge, tunnel = standby()
    tunnel.abort()
    assert [kind for kind, _ in edge.log] == ["abort"]  # before there is a session
    edge, tunnel = standby()
    owner: Any = edge
    tunnel.change(owner)
    tunnel.abort()
    edge.protocol.data_received(boxed(b"HOLD and TAKE") + b"theirs, raw")
    assert edge.of("raw") == b"theirs, raw" and ("abort", b"") not in edge.log
    await asyncio.sleep(0)
    assert ("link lost", b"") in edge.log


async def test_a_box_that_does_not_open_ends_the_way_back_at_once() -> None:
    edge, tunnel = standby()
    owner: Any = edge
    tunnel.change(owner)
    broken = bytearray(boxed(b"HOLD and TAKE"))
    broken[20] ^= 1
    edge.data_received = lambda _data: tunnel.abort()  # type: ignore[method-assign]  # as a link does
    edge.protocol.data_received(bytes(broken))
    assert ("abort", b"") in edge.log


async def test_a_goodbye_that_does_not_come_ends_the_way_back_by_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CARRIER_SECONDS", 0.05)
    edge, tunnel = standby()
    owner: Any = edge
    tunnel.change(owner)
    tunnel._until += 3600.0  # as much as we were asleep
    due = tunnel._deadline
    await eventually(lambda: tunnel._deadline is not due)
    assert ("abort", b"") not in edge.log
    tunnel._until -= 3600.0
    tunnel._late()
    await eventually(lambda: ("abort", b"") in edge.log)
    assert edge.of("lost") == b"the way back did not open in time"
    assert ("link lost", b"") in edge.log


async def test_a_way_back_with_both_goodbyes_has_no_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CARRIER_SECONDS", 0.02)
    edge, tunnel = standby()
    owner: Any = edge
    tunnel.change(owner)
    edge.protocol.data_received(boxed(b"HOLD and TAKE"))
    await asyncio.sleep(0.1)
    assert ("abort", b"") not in edge.log and edge.of("lost") == b""


async def test_a_session_that_is_over_closes_the_tunnel_behind_its_last_bytes() -> None:
    edge, tunnel = standby()
    owner: Any = edge
    edge.finish = lambda: None  # type: ignore[method-assign]  # the link has still something to say
    tunnel.change(owner)
    tunnel.write_raw(b"raw")
    tunnel.close_raw()
    assert ("close", b"") not in edge.log
    tunnel.write_eof()
    assert edge.log[-2:] == [("write", b"raw"), ("close", b"")]
    tunnel.cut()
    tunnel.connection_lost(None)

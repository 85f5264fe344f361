"""What strangers and men in the middle can do to a direct path: nothing, or end it at the most."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import random
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

if sys.version_info < (3, 11):
    pytest.skip("aioquic needs Python 3.11: there are no direct paths", allow_module_level=True)

from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import get_retry_integrity_tag

from ssbfast.direct.certificates import Credentials
from ssbfast.direct.quic_connection import VERSION, Connection, caller_connection
from ssbfast.direct.quic_engine import FastConnection
from ssbfast.direct.quic_path import DirectPath
from ssbfast.wire.direct.keys import Role
from tests.helpers.direct import (
    EXPORT_KEY,
    PathPair,
    RawCaller,
    both_engines,
    direct,
    keys,
    loopback,
    only,
    raw_caller,
    raw_target,
)
from tests.helpers.rawpeer import eventually, settle

pytestmark = both_engines

MANY = 10_000


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


async def flood(send: Callable[[bytes], Any], make: Callable[[int], bytes], count: int = MANY) -> None:
    """count datagrams, with pauses in which they are read."""
    for i in range(count):
        send(make(i))
        if i % 64 == 63:
            await asyncio.sleep(0)
    await settle(50)


def an_initial(connection_id: bytes) -> bytes:
    """A whole first flight of another caller, real in every byte, for that connection id."""
    quic = caller_connection(Credentials.make().certificate, 1200)
    quic._peer_cid.cid = quic._original_destination_connection_id = connection_id
    quic.connect(("127.0.0.1", 1), 0.0)
    found: bytes = quic.datagrams_to_send(0.0)[0][0]
    assert found[6 : 6 + found[5]] == connection_id and len(found) >= 1200
    return found


def aioquics(path: DirectPath) -> Connection:
    """Return what a path has before the engine takes it over."""
    assert isinstance(path._quic, Connection)
    return path._quic


def connections() -> int:
    gc.collect()
    return sum(isinstance(one, QuicConnection) for one in gc.get_objects())


async def is_unharmed(ends: PathPair) -> None:
    """It works in both directions, and has one network path."""
    for path, other in ((ends.caller, ends.there), (ends.target, ends.here)):
        before = len(other.data)
        path.send_data(b"still there?")
        await eventually(lambda other=other, before=before: len(other.data) == before + 12)
    assert not ends.here.lost and not ends.there.lost
    quic = ends.target._quic
    if isinstance(quic, FastConnection):
        assert len(quic._remotes) == 1
    else:
        assert len(quic._network_paths) == 1


# ---------------------------------------------------------------- men in the middle, and the wrong peer


async def test_a_man_in_the_middle_has_another_certificate() -> None:
    """The caller notices before it says its proof."""
    async with raw_target(pinned=Credentials.make().certificate) as raw:
        raw.start()
        await eventually(lambda: raw.here.lost)
        assert raw.here.log == ["lost"] and raw.here.lost[0][0] is False
        await settle(50)
        assert raw.got(0) == b""
        assert not raw.connected


@pytest.mark.parametrize("who", ["session", "epoch"])
@pytest.mark.parametrize("end", [Role.CALLER, Role.TARGET])
async def test_proofs_of_another_session_or_epoch_prove_nothing(who: str, end: Role) -> None:
    wrong = keys(end, export_key=bytes(32)) if who == "session" else keys(end, epoch=8)
    ends = PathPair(**{f"{end.value}_keys": wrong})
    try:
        ends.start()
        await ends.lost()
        assert not ends.there.ready and not ends.here.ready
        assert ends.there.lost == [(False, "the other end has not proven itself")]
        assert ends.here.lost[0][0] is False
    finally:
        await ends.close()


def wrong_proofs(raw: RawCaller) -> dict[str, bytes]:
    certificate = raw.credentials.certificate
    return {
        "reflected": keys(Role.TARGET).proof(certificate),
        "other certificate": keys(Role.CALLER).proof(Credentials.make().certificate),
        "certificate itself": hashlib.sha256(certificate).digest(),
        "last bit": raw.proof[:31] + bytes([raw.proof[31] ^ 1]),
        "first bit": bytes([raw.proof[0] ^ 0x80]) + raw.proof[1:],
        "export key": EXPORT_KEY,
        "zeros": bytes(32),
        "shifted": b"\0" + raw.proof,
    }


@pytest.mark.parametrize(
    "name",
    ["reflected", "other certificate", "certificate itself", "last bit", "first bit", "export key", "zeros", "shifted"],
)
async def test_a_wrong_first_word_ends_the_path(name: str) -> None:
    async with raw_caller() as raw:
        await raw.connect()
        raw.write(0, wrong_proofs(raw)[name] + raw.proof)  # the right one behind it is too late
        await raw.refused()
        assert raw.there.log == ["lost"]
        assert raw.got(0) == b"", "no proof of ours for somebody who has none"


async def test_the_caller_s_own_proof_reflected_proves_nothing() -> None:
    async with raw_target() as raw:
        raw.start()
        await eventually(lambda: len(raw.got(0)) == 32)
        raw.write(0, raw.got(0))
        await eventually(lambda: raw.here.lost)
        assert raw.here.log == ["lost"]


async def test_a_proof_counts_for_one_path() -> None:
    """A second caller with everything right (an observer who could break TLS would have it) is not listened to."""
    async with raw_caller() as raw:
        await raw.prove()
        before = connections()
        udp = loopback()
        other = caller_connection(raw.credentials.certificate, 1200)
        other._peer_cid.cid = other._original_destination_connection_id = raw.target.connection_id
        other.connect(raw.sockets[1].local, 0.0)
        raw.target.allow(udp.local)
        for data, to in other.datagrams_to_send(0.0):
            udp.send(data, to)
        await settle(50)
        udp.close()
        assert connections() == before + 1  # the other caller's own
        raw.write(0, raw.proof)  # said twice: bytes like any others
        await eventually(lambda: raw.there.records == raw.proof)
        assert raw.there.log.count("ready") == 1


# ---------------------------------------------------------------- strangers


async def test_another_connection_id_finds_nobody() -> None:
    ends = PathPair(connection_id=b"12345678")
    try:
        ends.target.allow(ends.sockets[0].local)
        ends.start_target()
        ends.start_caller(0.1)
        await eventually(lambda: ends.here.lost)
        assert aioquics(ends.target).get_peer_address() is None
        assert ends.here.lost == [(False, "the proofs have not come in time")]
    finally:
        await ends.close()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("right_id", [True, False])
async def test_ten_thousand_initials_of_strangers_leave_nothing_behind(
    stranger: socket.socket, when: str, right_id: bool
) -> None:
    ends = PathPair()
    try:
        ends.start_target()
        if when == "after":
            ends.target.allow(ends.sockets[0].local)
            ends.start_caller()
            await ends.ready()
        initial = bytearray(an_initial(ends.caller.connection_id if right_id else b"12345678"))
        before = connections()
        chance = random.Random(3)

        def make(i: int) -> bytes:
            initial[30:40] = chance.randbytes(10)
            if not right_id:
                initial[6:14] = chance.randbytes(8)
            return bytes(initial)

        remote = ends.sockets[1].local
        await flood(lambda data: stranger.sendto(data, remote), make)
        assert connections() == before
        with pytest.raises(BlockingIOError):
            stranger.recv(1)
        if when == "before":
            assert aioquics(ends.target).get_peer_address() is None
            ends.target.allow(ends.sockets[0].local)
            ends.start_caller()
            await ends.ready()
        await is_unharmed(ends)
    finally:
        await ends.close()


async def test_a_real_initial_of_a_stranger_is_not_parsed(stranger: socket.socket, monkeypatch: Any) -> None:
    """Right in all but the address: with the right id it would be answered, were it let in."""
    parsed: list[Any] = []
    whole = Connection.receive_datagram

    def watched(quic: Connection, data: bytes, addr: Any, now: float) -> None:
        parsed.append(addr)
        whole(quic, data, addr, now)

    monkeypatch.setattr(Connection, "receive_datagram", watched)
    ends = PathPair()
    try:
        ends.start_target()
        stranger.sendto(an_initial(ends.caller.connection_id), ends.sockets[1].local)
        await settle(50)
        assert parsed == []
        ends.target.allow(stranger.getsockname())
        stranger.sendto(an_initial(b"12345678"), ends.sockets[1].local)
        await settle(50)
        assert parsed == []
        stranger.sendto(an_initial(ends.caller.connection_id), ends.sockets[1].local)
        await eventually(lambda: parsed)
    finally:
        await ends.close()


@pytest.mark.parametrize("own", [True, False], ids=["from the peer's address", "from a stranger's"])
async def test_ten_thousand_bogus_datagrams_change_nothing(stranger: socket.socket, own: bool) -> None:
    chance = random.Random(4)

    def make(i: int) -> bytes:
        first = chance.choice((0x40, 0x41, 0x5F, 0x7F, 0xC0, 0xC3, 0xD0, 0xE0, 0xF0, 0xFF))
        body = chance.randbytes(chance.choice((0, 1, 4, 5, 6, 20, 60, 200)))
        return bytes([first]) + (VERSION.to_bytes(4, "big") if i % 2 else b"") + body

    async with direct() as ends:
        host_id = ends.target._quic.host_cid

        def aimed(i: int) -> bytes:
            """Some with an id of the path, as only somebody on the way knows it."""
            data = make(i)
            if i % 3:
                return data
            return bytes([data[0] & 0x7F]) + host_id + data[1:]

        remote = ends.sockets[1].local
        sender = ends.sockets[0].send if own else stranger.sendto
        await flood(lambda data: sender(data, remote), aimed)
        await is_unharmed(ends)


async def test_an_unknown_address_with_the_right_id_makes_no_path(stranger: socket.socket) -> None:
    async with direct() as ends:
        data = bytes([0x41]) + ends.target._quic.host_cid + bytes(40)
        stranger.sendto(data, ends.sockets[1].local)
        await settle(50)
        await is_unharmed(ends)


async def test_version_negotiation_and_retry_are_not_listened_to() -> None:
    """Anybody on the way can make them: they cost the attempt at the most, and here not even that."""
    ends = PathPair()
    try:
        mine = ends.caller._quic.host_cid
        retry = bytes([0xF0]) + VERSION.to_bytes(4, "big") + bytes([8]) + mine + bytes([8]) + bytes(8) + b"token"
        retry += get_retry_integrity_tag(retry, ends.caller.connection_id, VERSION)
        forged = [
            bytes([0xC0]) + bytes(4) + bytes([8]) + mine + bytes([8]) + bytes(8) + (0x6B3343CF).to_bytes(4, "big"),
            retry,
        ]
        ends.start_target()
        ends.start_caller()
        for data in forged:
            ends.sockets[1].send(data, ends.sockets[0].local)
        await settle(50)
        assert not ends.here.lost and aioquics(ends.caller)._retry_count == 0
        ends.target.allow(ends.sockets[0].local)
        await ends.ready()
    finally:
        await ends.close()


@only("aioquic")
async def test_a_mistake_of_aioquic_s_ends_the_path_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async with direct() as ends:

        def broken(*_args: Any) -> None:
            raise AssertionError("192.0.2.1")

        monkeypatch.setattr(ends.target._quic, "receive_datagram", broken)
        ends.caller.send_data(b"x")
        await ends.lost()
        assert ends.there.lost == [(False, "QUIC cannot go on")]

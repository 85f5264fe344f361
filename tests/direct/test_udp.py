"""The UDP socket of direct paths: who gets what, and how often."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.direct.udp import Address, UdpSocket
from tests.helpers.rawpeer import eventually, settle


class Quic:
    """Counts datagrams and batches."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, Address]] = []
        self.batches: list[int] = []
        self._fresh = 0

    def datagram(self, data: bytes, source: Address) -> None:
        self.seen.append((data, source))
        self._fresh += 1

    def train(self, data: memoryview, segment: int, source: Address) -> None:
        for at in range(0, len(data), segment):
            self.datagram(bytes(data[at : at + segment]), source)

    def batch_done(self) -> None:
        self.batches.append(self._fresh)
        self._fresh = 0


@pytest.fixture(autouse=True)
def _turns_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """No clock of a busy machine cuts a batch short."""
    monkeypatch.setattr(limits, "UDP_TURN_SECONDS", 60.0)


@pytest.fixture
def sender() -> Iterator[socket.socket]:
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


@contextlib.contextmanager
def opened(family: socket.AddressFamily = socket.AF_INET, host: str = "127.0.0.1") -> Iterator[UdpSocket]:
    udp = UdpSocket.open(family, host)
    try:
        yield udp
    finally:
        udp.close()


async def test_the_first_byte_says_whose_a_datagram_is(sender: socket.socket) -> None:
    quic, probes, stun = Quic(), list[bytes](), list[bytes]()
    with opened() as udp:
        udp.quic = quic
        udp.probes = lambda data, source: probes.append(data)
        udp.stun = lambda data, source: stun.append(data)
        for first in (0x00, 0x01, 0x1F, 0x20, 0x21, 0x3F, 0x40, 0x7F, 0xC0, 0xFF, 0x80):
            sender.sendto(bytes([first]) + b"body", udp.local)
        await eventually(lambda: len(quic.seen) + len(probes) + len(stun) == 11)
        assert [data[0] for data in stun] == [0x00, 0x01, 0x1F]
        assert [data[0] for data in probes] == [0x20, 0x21, 0x3F, 0x80]
        assert [data[0] for data, _ in quic.seen] == [0x40, 0x7F, 0xC0, 0xFF]
        assert {source for _, source in quic.seen} == {sender.getsockname()}


async def test_what_nobody_wants_is_dropped(sender: socket.socket) -> None:
    with opened() as udp:
        for first in (0x00, 0x20, 0x40):
            sender.sendto(bytes([first]), udp.local)
        sender.sendto(b"", udp.local)
        await settle()
        quic = Quic()
        udp.quic = quic
        sender.sendto(b"\x40later", udp.local)
        await eventually(lambda: quic.seen)
        assert [data for data, _ in quic.seen] == [b"\x40later"]


async def test_a_wake_up_is_one_batch_of_a_bounded_size(sender: socket.socket) -> None:
    quic = Quic()
    with opened() as udp:
        udp.quic = quic
        count = 2 * limits.UDP_BATCH + 5
        for i in range(count):
            sender.sendto(b"\x40%d" % i, udp.local)
        await eventually(lambda: len(quic.seen) == count)
        assert quic.batches == [limits.UDP_BATCH, limits.UDP_BATCH, 5]
        assert [data for data, _ in quic.seen] == [b"\x40%d" % i for i in range(count)]


async def test_a_batch_without_quic_is_no_batch(sender: socket.socket) -> None:
    quic, probes = Quic(), list[bytes]()
    with opened() as udp:
        udp.quic = quic
        udp.probes = lambda data, source: probes.append(data)
        sender.sendto(b"\x20", udp.local)
        await eventually(lambda: probes)
        assert quic.batches == []


async def test_it_may_be_closed_from_within_a_datagram(sender: socket.socket) -> None:
    with opened() as udp:
        seen = list[bytes]()

        def stop(data: bytes, source: Address) -> None:
            seen.append(data)
            udp.close()

        udp.probes = stop
        for _ in range(3):
            sender.sendto(b"\x20", udp.local)
        await eventually(lambda: udp.is_closed)
        await settle()
        assert seen == [b"\x20"]
        assert udp.send(b"\x20", sender.getsockname()) is False
        udp.close()


async def test_what_the_network_refuses_is_lost_and_nothing_more(sender: socket.socket) -> None:
    probes = list[bytes]()
    with opened() as udp:
        udp.probes = lambda data, source: probes.append(data)
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as gone:
            gone.bind(("127.0.0.1", 0))
            nowhere = gone.getsockname()
        for _ in range(5):  # nobody is there: the refusal comes back as an error of a later call
            udp.send(b"\x20", nowhere)
            await asyncio.sleep(0)
        assert udp.send(bytes(70_000), sender.getsockname()) is False
        sender.sendto(b"\x20still", udp.local)
        await eventually(lambda: probes)


async def test_answers_go_back_to_where_it_came_from(sender: socket.socket) -> None:
    with opened() as udp:
        udp.probes = lambda data, source: [udp.send(b"\x21" + data[1:], source)].clear()
        sender.sendto(b"\x20ping", udp.local)
        sender.setblocking(False)
        answer = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sender, 100), 5)
        assert answer == b"\x21ping"


async def test_ipv6_has_sockets_of_its_own() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 on this machine")
    try:
        with opened(socket.AF_INET6, "::1") as one, opened(socket.AF_INET6, "::1") as other:
            quic = Quic()
            other.quic = quic
            assert one.family is socket.AF_INET6
            assert one.send(b"\x40", other.local)
            await eventually(lambda: quic.seen)
            assert quic.seen[0][1] == one.local
    except OSError:
        pytest.skip("no IPv6 loopback on this machine")


async def test_an_address_that_cannot_be_had_is_an_error_and_leaks_nothing() -> None:
    with opened() as udp, pytest.raises(OSError):
        UdpSocket.open(socket.AF_INET, *udp.local)


@pytest.mark.parametrize("trains", [False, True])
async def test_a_socket_whose_datagrams_take_long_leaves_the_others_their_turn(
    sender: socket.socket, monkeypatch: pytest.MonkeyPatch, trains: bool
) -> None:
    monkeypatch.setattr(limits, "UDP_TURN_SECONDS", -1.0)
    turns: list[str] = []
    with opened() as one, opened() as other:
        for name, udp in (("one", one), ("other", other)):
            udp.quic = Quic()
            if trains:
                udp.take_trains()
            udp.quic.batch_done = lambda name=name: turns.append(name)  # type: ignore[method-assign,misc]
            for length in range(5, 0, -1):  # none is joined to a shorter one in front
                sender.sendto(b"\x40" * (6 - length), udp.local)
        await eventually(lambda: len(turns) == 10)
    assert {turns[n] for n in (0, 1)} == {turns[n] for n in (2, 3)} == {"one", "other"}


# ---------------------------------------------------------------- trains


class Refusing:
    """A socket whose `sendmsg` fails with each of these numbers in turn, and then works. calls: how often it was."""

    def __init__(self, udp: UdpSocket, *numbers: int) -> None:
        self.sock, self.numbers, self.calls = udp._sock, list(numbers), 0
        udp._sock = self  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)

    def sendmsg(self, *args: Any) -> int:
        self.calls += 1
        if self.numbers:
            number = self.numbers.pop(0)
            raise OSError(number, "refused")
        return self.sock.sendmsg(*args)


@contextlib.contextmanager
def train_ends() -> Iterator[tuple[UdpSocket, UdpSocket, Quic]]:
    """A socket that sends, one that reads trains, and what comes there."""
    quic = Quic()
    with opened() as one, opened() as other:
        other.quic = quic
        other.take_trains()
        yield one, other, quic


def a_train(count: int, segment: int, last: int) -> tuple[bytes, list[bytes]]:
    """Datagrams of that length, all but the last, joined and apart."""
    apart = [bytes([0x40 + n % 16]) * (last if n == count - 1 else segment) for n in range(count)]
    return b"".join(apart), apart


@pytest.mark.parametrize(("segment", "last"), [(1200, 1200), (1200, 300), (1400, 1), (40, 40), (40, 7)])
async def test_a_train_arrives_as_the_datagrams_that_it_is_made_of(segment: int, last: int) -> None:
    with train_ends() as (one, other, quic):
        whole, apart = a_train(20, segment, last)
        assert one.send_train(whole, segment, other.local)
        assert one.send_train(whole[:segment], segment, other.local), "a single one, too"
        await eventually(lambda: len(quic.seen) >= 21)
        assert [data for data, _ in quic.seen] == [*apart, apart[0]]
        assert {source for _, source in quic.seen} == {one.local}
        assert sum(quic.batches) == 21 and len(quic.batches) <= 2


@pytest.mark.parametrize("number", [errno.EIO, errno.EINVAL, errno.ENOPROTOOPT, errno.EOPNOTSUPP])
async def test_where_the_system_joins_nothing_trains_go_one_by_one_for_good(number: int) -> None:
    with train_ends() as (one, other, quic):
        one._joins = True
        refusing = Refusing(one, number)
        whole, apart = a_train(5, 1200, 300)
        for _ in range(3):
            assert one.send_train(whole, 1200, other.local)
        await eventually(lambda: len(quic.seen) == 15)
        assert [data for data, _ in quic.seen] == apart * 3
        assert refusing.calls == 1


async def test_a_full_socket_says_when_there_is_room() -> None:
    with train_ends() as (one, other, quic):
        one._joins = True
        refusing = Refusing(one, errno.EAGAIN, errno.EAGAIN, errno.ENETUNREACH)
        whole, apart = a_train(5, 1200, 300)
        room: list[bool] = []
        one.on_writable = lambda: room.append(True)
        for n in (1, 2):
            assert not one.send_train(whole, 1200, other.local)
            await eventually(lambda n=n: len(room) == n)  # type: ignore[misc]
        assert one.send_train(whole, 1200, other.local), "another error: it is lost"
        await settle()
        assert len(room) == 2 and not quic.seen and refusing.calls == 3
        one.send_train(whole, 1200, other.local)
        await eventually(lambda: len(quic.seen) == 5)
        assert [data for data, _ in quic.seen] == apart


async def test_a_closed_socket_waits_for_no_room() -> None:
    """Nor does the next one that has its descriptor."""
    with train_ends() as (one, other, quic):
        one._joins = True
        Refusing(one, errno.EAGAIN)
        room: list[bool] = []
        one.on_writable = lambda: room.append(True)
        assert not one.send_train(a_train(2, 1200, 1200)[0], 1200, other.local)
        descriptor = one._sock.fileno()
        one.close()
        assert one.send_train(b"x", 1, other.local), "no room will ever be"
        with opened() as again:
            assert again._sock.fileno() == descriptor
            again.send(b"\x40", other.local)
            await eventually(lambda: quic.seen)
        assert not room


@pytest.mark.parametrize("length", [40, 128, 600])
async def test_the_system_may_join_datagrams_of_several_kinds(length: int) -> None:
    """Where they have one length. A long one that is QUIC's begins a train of QUIC's alone: nobody makes others."""
    with train_ends() as (one, other, quic):
        probes, stun = list[bytes](), list[bytes]()
        other.probes = lambda data, source: probes.append(data)
        other.stun = lambda data, source: stun.append(data)
        firsts = (0x20, 0x40, 0x00, 0x41, 0x21, 0x01) if length > 128 else (0x40, 0x20, 0x00, 0x41, 0x21, 0x01)
        assert one.send_train(b"".join(bytes([first]) * length for first in firsts), length, other.local)
        await eventually(lambda: len(probes) + len(stun) + len(quic.seen) == 6)
        assert [[data[0] for data in found] for found in (stun, probes, [data for data, _ in quic.seen])] == [
            [0x00, 0x01],
            [0x20, 0x21],
            [0x40, 0x41],
        ]
        assert {len(data) for data in probes + stun} == {length} and quic.batches == [2]


async def test_the_longest_train_of_the_engine_s_is_one_call() -> None:
    quic_engine = pytest.importorskip("ssbfast.native.quic", reason="the C core is not built")
    whole = b"\x40" * quic_engine.TRAIN
    with train_ends() as (one, other, quic):
        assert one.send_train(whole, 1365, other.local)
        await eventually(lambda: sum(len(data) for data, _ in quic.seen) == len(whole))


async def test_an_empty_datagram_of_a_stranger_costs_no_other_its_turn(sender: socket.socket) -> None:
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: problems.append(context))
    with train_ends() as (_one, other, quic):
        for data in (b"\x40before", b"", b"\x40behind"):
            sender.sendto(data, other.local)
        await eventually(lambda: problems or sum(quic.batches) == 2)
        assert not problems
        assert [data for data, _ in quic.seen] == [b"\x40before", b"\x40behind"]

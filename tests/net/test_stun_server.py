"""The STUN responder: right answers, silence for all the rest, and bounds that nobody can talk it out of."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aioice import stun
from hypothesis import given
from hypothesis import strategies as st

from ssbfast import limits
from ssbfast.errors import MissingExtraError
from ssbfast.net import stun_server
from ssbfast.net.stun_server import Limiter, Reflector, answer_to, is_request
from tests.helpers.require import require

PATIENCE = 30.0
COOKIE = 0x2112A442
GENEROUS = 10**6


def request(attributes: bytes = b"", *, kind: int = 1, cookie: int = COOKIE, length: int | None = None) -> bytes:
    size = len(attributes) if length is None else length
    return struct.pack("!HHI12s", kind, size, cookie, os.urandom(12)) + attributes


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


PADDED = request(attribute(0x8022, b"ssbfast".ljust(28)))


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@asynccontextmanager
async def running(
    host: str = "127.0.0.1", limiter: Limiter | None = None, clock: Callable[[], float] | None = None
) -> AsyncIterator[Reflector]:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    made = Reflector(sock, limiter or Limiter(GENEROUS, GENEROUS), clock)
    try:
        yield made
    finally:
        made.close()


class Asker:
    """A socket that is connected: it gets only what comes from where it has asked. transport: of asyncio."""

    def __init__(self, to: tuple[str, int], host: str | None = None) -> None:
        self.sock = socket.socket(socket.AF_INET6 if ":" in to[0] else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        if host is not None:
            self.sock.bind((host, 0))
        self.sock.connect(to)

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.send(data)

    async def receive(self) -> bytes:
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.sock, 2048), PATIENCE)

    async def ask(self, data: bytes) -> bytes:
        self.send(data)
        return await self.receive()


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize(("host", "size"), [("127.0.0.1", 32), ("::1", 44)])
async def test_an_answer_tells_the_address_and_nothing_else(host: str, size: int) -> None:
    if host == "::1":
        require("ipv6", has_ipv6())
    async with running(host) as made:
        for ask in (request(), PADDED):
            with Asker(made.local) as asker:
                answer = await asker.ask(ask)
                message = stun.parse_message(answer)
                assert (message.message_class, message.message_method) == (stun.Class.RESPONSE, stun.Method.BINDING)
                assert message.transaction_id == ask[8:20]
                assert message.attributes == {"XOR-MAPPED-ADDRESS": asker.sock.getsockname()[:2]}
                assert len(answer) == size
                assert len(answer) <= (2.2 if ":" in host else 1.6) * 20
        assert len(answer) <= len(PADDED)


async def test_two_askers_get_each_their_own() -> None:
    async with running() as made:
        with Asker(made.local) as one, Asker(made.local) as other:
            first, second = request(), request()
            one.send(first)
            other.send(second)
            for asker, ask in ((other, second), (one, first)):
                message = stun.parse_message(await asker.receive())
                assert message.transaction_id == ask[8:20]
                assert message.attributes["XOR-MAPPED-ADDRESS"] == asker.sock.getsockname()


@pytest.mark.parametrize(("any_host", "hosts"), [("0.0.0.0", ["127.0.0.1", "127.0.0.2"]), ("::", ["::1"])])
async def test_the_answer_comes_from_the_address_that_was_asked(any_host: str, hosts: list[str]) -> None:
    if any_host == "::":
        require("ipv6", has_ipv6())
    async with running(any_host) as made:
        for host in hosts:
            with Asker((host, made.local[1])) as asker:
                assert stun.parse_message(await asker.ask(request())).attributes


async def test_closing_twice_is_harmless_and_frees_the_port() -> None:
    async with running() as made:
        address = made.local
        made.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
            again.bind(address)


async def test_without_the_codec_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "aioice", None)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(MissingExtraError, match="aioice"):
        Reflector(sock, Limiter())


# ---------------------------------------------------------------- silence

_FINGERPRINTED = request(attribute(0x8028, bytes(4)))
WRONG = {
    "an indication": request(kind=0x0011),
    "an answer": request(attribute(0x0020, bytes.fromhex("0001a147e112a643")), kind=0x0101),
    "an error": request(kind=0x0111),
    "another method": request(kind=0x0003),
    "no STUN": request(kind=0x4001),
    "of RFC 3489": request(cookie=0),
    "longer than it says": request(length=0) + bytes(4),
    "shorter than it says": request(length=8) + attribute(0x8022, b""),
    "a length that is no multiple of four": request(bytes(6)),
    "an attribute that ends too late": request(struct.pack("!HH", 0x8022, 5) + bytes(4)),
    "an attribute that is to be understood": request(attribute(0x7777, b"")),
    "a wish for another source (RFC 5780)": request(attribute(0x0003, bytes([0, 0, 0, 6]))),
    "a user name": request(attribute(0x0006, b"user")),
    "a wrong fingerprint": _FINGERPRINTED,
    "text that is no UTF-8": request(attribute(0x8022, b"\xff\xfe\xfd\xfc")),
    "nothing": b"",
    "zeros": bytes(20),
    "a probe": b"\x20" + bytes(28),
    "QUIC": b"\xc0" + bytes(1199),
    "longer than any honest one": request(attribute(0x8022, b"x" * 300)),
    "longer than we read": request(attribute(0x8022, b"x" * 4000)),
}


@pytest.mark.parametrize("what", WRONG)
async def test_what_is_no_good_request_gets_no_answer(what: str) -> None:
    """The answer to the good one that follows is the first thing that comes."""
    async with running() as made:
        with Asker(made.local) as asker:
            asker.send(WRONG[what])
            fence = request()
            assert (await asker.ask(fence))[8:20] == fence[8:20]


async def test_no_part_of_a_request_is_a_request() -> None:
    async with running() as made:
        with Asker(made.local) as asker:
            for end in range(len(PADDED)):
                asker.send(PADDED[:end])
                asker.send(PADDED[end + 1 :])
                asker.send(PADDED[:end] + PADDED[end + 1 :])
                fence = request()
                assert (await asker.ask(fence))[8:20] == fence[8:20]


async def test_answers_are_not_answered() -> None:
    """Two reflectors that are made to talk to each other fall silent."""
    async with running() as one, running() as other:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:
            forger.setblocking(False)
            forger.sendto(request(), one.local)
            loop = asyncio.get_running_loop()
            answer = await asyncio.wait_for(loop.sock_recv(forger, 2048), PATIENCE)
            for made in (one, other):
                forger.sendto(answer, made.local)
                fence = request()
                forger.sendto(fence, made.local)
                assert (await asyncio.wait_for(loop.sock_recv(forger, 2048), PATIENCE))[8:20] == fence[8:20]


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda some: request(some + bytes(-len(some) % 4))))
def test_whatever_comes_is_answered_within_bounds_or_not_at_all(data: bytes) -> None:
    if is_request(data):
        answer = answer_to(stun, data, ("2001:db8::1", 1))
        assert answer is None or len(answer) <= 2.2 * len(data)


def test_the_quick_look_lets_only_whole_requests_pass() -> None:
    assert is_request(request()) and is_request(PADDED)
    assert [is_request(PADDED[:end]) for end in range(len(PADDED))] == [False] * len(PADDED)
    passing = {"a wrong fingerprint", "text that is no UTF-8"}
    assert {what for what, data in WRONG.items() if is_request(data)} == passing


# ---------------------------------------------------------------- bounds


async def test_a_flood_from_one_net_gets_ten_answers_a_second_and_others_theirs() -> None:
    now = 100.0
    async with running("0.0.0.0", Limiter(), lambda: now) as made:
        port = made.local[1]
        with (
            Asker(("127.0.0.1", port), "127.0.0.1") as flooder,
            Asker(("127.0.0.1", port), "127.0.0.77") as neighbour,
            Asker(("127.0.0.1", port), "127.0.1.1") as stranger,
        ):
            for _ in range(limits.REFLECT_PER_NET):
                await flooder.ask(request())
            for _ in range(50):  # no more than the kernel keeps
                flooder.send(request())
                neighbour.send(request())
            await stranger.ask(request())
            now = 100.5
            for asker in (flooder, neighbour):  # 5 for both together
                fence = request()
                assert (await asker.ask(fence))[8:20] == fence[8:20]


async def test_two_sockets_of_one_room_share_the_bounds() -> None:
    limiter = Limiter(per_net=2, total=GENEROUS)
    async with running(limiter=limiter, clock=lambda: 5.0) as one, running(limiter=limiter, clock=lambda: 5.0) as other:
        with Asker(one.local) as first, Asker(other.local) as second, Asker(other.local, "127.0.3.1") as stranger:
            await first.ask(request())
            await second.ask(request())
            first.send(request())
            second.send(request())
            await stranger.ask(request())
            for asker in (first, second):
                with pytest.raises(BlockingIOError):
                    asker.sock.recv(2048)


def allowed(limiter: Limiter, host: str, now: float, n: int) -> int:
    return sum(limiter.allows(host, now) for _ in range(n))


def test_a_net_gets_its_share_back_with_time() -> None:
    limiter = Limiter(per_net=10, total=GENEROUS)
    assert allowed(limiter, "192.0.2.1", 0.0, 50) == 10
    assert allowed(limiter, "192.0.2.255", 0.0, 50) == 0
    assert allowed(limiter, "192.0.3.0", 0.0, 50) == 10
    assert allowed(limiter, "192.0.2.1", 0.35, 50) == 3
    assert allowed(limiter, "192.0.2.1", 100.0, 50) == 10


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:200::1", "2001:db8:1:2ff:ffff::9", True),
        ("2001:db8:1:200::1", "2001:db8:1:300::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("10.0.0.1", "10.0.1.1", False),
        ("0.0.0.0", "::", False),
    ],
)
def test_what_a_net_is(one: str, other: str, same: bool) -> None:
    limiter = Limiter(per_net=1, total=GENEROUS)
    assert limiter.allows(one, 0.0)
    assert limiter.allows(other, 0.0) is not same


def test_all_together_get_no_more_than_the_total_and_are_remembered_no_longer_than_needed() -> None:
    limiter = Limiter(per_net=10, total=1000)
    most = answered = 0
    for tick in range(300):  # 3 s, 100,000 nets a second
        for _ in range(1000):
            answered += limiter.allows(socket.inet_ntoa(os.urandom(4)), tick / 100)
            most = max(most, limiter.remembered)
    assert 3_900 <= answered <= 4_000  # what there is at first, and three seconds' worth
    assert most <= 2_000
    limiter.allows("192.0.2.1", 100.0)
    assert limiter.remembered == 1


def test_who_is_over_his_own_share_takes_nothing_from_the_others() -> None:
    limiter = Limiter(per_net=10, total=20)
    assert allowed(limiter, "192.0.2.1", 0.0, 1000) == 10
    assert allowed(limiter, "192.0.3.1", 0.0, 1000) == 10
    assert allowed(limiter, "192.0.4.1", 0.0, 1000) == 0
    assert limiter.remembered == 2


# ---------------------------------------------------------------- where an answer leaves


def test_only_what_tells_a_destination_is_taken_from_what_the_system_says() -> None:
    info = bytes([7, 0, 0, 0, 10, 0, 0, 1, 10, 0, 0, 255])
    kind = stun_server._PKTINFO
    assert stun_server.from_destination([(socket.SOL_SOCKET, kind, info)]) == []
    assert stun_server.from_destination([(socket.IPPROTO_IP, kind, info[:8])]) == []
    found = stun_server.from_destination([(socket.IPPROTO_IP, kind, info)])
    assert found == [(socket.IPPROTO_IP, kind, bytes([0, 0, 0, 0, 10, 0, 0, 1, 0, 0, 0, 0]))]

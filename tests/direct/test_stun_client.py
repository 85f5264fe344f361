"""The STUN client on real sockets: who is believed, what is repeated, and that nothing is multiplied."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from aioice import stun
from hypothesis import given
from hypothesis import strategies as st

from ssbfast import limits
from ssbfast.direct.stun_client import StunClient, reflexive
from ssbfast.direct.udp import Address, UdpSocket
from tests.helpers.reflectors import Answering, claiming, honest, reflector, silent, success

SEEN = ("198.51.100.7", 4567)
LONG = 60.0


@pytest.fixture
async def udp() -> AsyncIterator[UdpSocket]:
    sock = UdpSocket.open(socket.AF_INET, "127.0.0.1")
    yield sock
    sock.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_an_honest_reflector(host: str) -> None:
    sock = UdpSocket.open(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    async with reflector(host=host) as server:
        assert await reflexive(sock, server.address, LONG) == sock.local
        assert len(server.asked) == 1
    sock.close()


async def test_spelling_does_not_matter(udp: UdpSocket) -> None:
    async with reflector() as server:
        assert await reflexive(udp, ("::ffff:127.0.0.1", server.address[1]), LONG) == udp.local


@pytest.mark.parametrize("mapped", [SEEN, ("2600::7", 4567)])
async def test_answers_are_not_longer_than_requests(udp: UdpSocket, mapped: Address) -> None:
    async with reflector(claiming(mapped)) as server:
        assert await reflexive(udp, server.address, LONG) == mapped
        request, _, data = server.asked[0]
        assert len(success(request, mapped)) + 8 <= len(data), "a fingerprint has 8 bytes"


async def test_a_silent_reflector_is_asked_again(udp: UdpSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STUN_RESENDS", (0.01, 0.02, 0.03))
    async with reflector(silent) as server:
        assert await reflexive(udp, server.address, 0.05) is None
        assert len(server.asked) == 4
        assert len({data for _, _, data in server.asked}) == 1


async def test_no_request_after_the_end(udp: UdpSocket) -> None:
    async with reflector(silent) as server:
        assert await reflexive(udp, server.address, limits.STUN_RESENDS[0] / 2) is None
        assert len(server.asked) == 1


async def test_a_lost_request_is_made_good(udp: UdpSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STUN_RESENDS", (0.01,))
    async with reflector(lambda request, source: honest(request, source) if len(server.asked) == 2 else []) as server:
        assert await reflexive(udp, server.address, LONG) == udp.local


def _other_transaction(request: stun.Message, source: Address) -> list[bytes]:
    other = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, bytes(12))
    return [success(other, SEEN)]


def _old_attribute(request: stun.Message, source: Address) -> list[bytes]:
    message = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id, {"MAPPED-ADDRESS": SEEN})
    return [bytes(message)]


def _error(request: stun.Message, source: Address) -> list[bytes]:
    attributes = {"XOR-MAPPED-ADDRESS": SEEN, "ERROR-CODE": (400, "no")}
    return [bytes(stun.Message(stun.Method.BINDING, stun.Class.ERROR, request.transaction_id, attributes))]


def _other_method(request: stun.Message, source: Address) -> list[bytes]:
    attributes = {"XOR-MAPPED-ADDRESS": SEEN}
    return [bytes(stun.Message(stun.Method.ALLOCATE, stun.Class.RESPONSE, request.transaction_id, attributes))]


def _request(request: stun.Message, source: Address) -> list[bytes]:
    return [bytes(request)]


def _junk(request: stun.Message, source: Address) -> list[bytes]:
    good = success(request, SEEN)
    return [good[:-1], good[:20], b"\0", bytes(20), good[:4] + b"junk" + good[8:-4] + b"\xff" * 40]


@pytest.mark.parametrize("first", [_other_transaction, _old_attribute, _error, _other_method, _request, _junk])
async def test_what_is_no_answer(udp: UdpSocket, first: Answering) -> None:
    """It is passed over, and the answer behind it counts."""
    async with reflector(lambda request, source: [*first(request, source), *honest(request, source)]) as server:
        assert await reflexive(udp, server.address, LONG) == udp.local


async def test_only_who_was_asked_answers(udp: UdpSocket) -> None:
    async with reflector(silent) as server, reflector() as liar:
        asking = asyncio.create_task(reflexive(udp, server.address, LONG))
        await server.was_asked.wait()
        request, source, _ = server.asked[0]
        seen = asyncio.Event()
        client = udp.stun
        assert client is not None

        def watch(data: bytes, source: Address) -> None:
            client(data, source)
            seen.set()

        udp.stun = watch
        liar.udp.send(success(request, SEEN), source)
        await seen.wait()
        assert not asking.done()
        server.udp.send(success(request, udp.local), source)
        assert await asking == udp.local


async def test_several_at_a_time(udp: UdpSocket) -> None:
    async with reflector() as one, reflector(claiming(SEEN)) as two, reflector(silent) as three:
        answers = await asyncio.gather(*(reflexive(udp, server.address, 0.05) for server in (one, two, three)))
    assert answers == [udp.local, SEEN, None]


@pytest.mark.parametrize("server", [("::1", 9), ("localhost", 9), ("", 9), ("127.0.0.1", 0)])
async def test_no_way_to_get_there(udp: UdpSocket, server: Address) -> None:
    assert await reflexive(udp, server, LONG) is None


async def test_a_socket_that_is_closed(udp: UdpSocket) -> None:
    udp.close()
    assert await reflexive(udp, ("127.0.0.1", 9), LONG) is None


async def test_who_gives_up_leaves_nothing(udp: UdpSocket) -> None:
    async with reflector(silent) as server:
        asking = asyncio.create_task(reflexive(udp, server.address, LONG))
        await server.was_asked.wait()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert isinstance(udp.stun, StunClient) and not udp.stun._asked


@given(st.binary(max_size=100), st.integers(0, 500), st.integers(1, 255))
async def test_whatever_comes(junk: bytes, position: int, flip: int) -> None:
    """One byte changed anywhere, or plain junk: refused or read, never an error."""
    loop = asyncio.get_running_loop()
    udp = UdpSocket.open(socket.AF_INET, "127.0.0.1")
    client = StunClient(udp)
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    waiting = loop.create_future()
    client._asked[request.transaction_id, SEEN] = waiting
    good = bytearray(success(request, SEEN, SOFTWARE="a reflector"))
    good[position % len(good)] ^= flip
    for data in (junk, bytes(good), bytes(good) + junk):
        client(data, SEEN)
    udp.close()

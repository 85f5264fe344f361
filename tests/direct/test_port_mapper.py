"""Mappings of real sockets, at a router that is a socket of this machine."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from ssbfast import limits
from ssbfast.direct import port_mapper
from ssbfast.direct.budgets import Resources
from ssbfast.direct.hole_punch import Attempt
from ssbfast.direct.interfaces import HostAddress
from ssbfast.direct.port_mapper import PortMapper, PortMapping
from ssbfast.direct.udp import Address, UdpSocket
from ssbfast.wire.direct.port_mapping import GREETING, Protocol
from ssbfast.wire.direct.punch.candidates import Kind, NatMapping
from tests.helpers.reflectors import claiming, reflector

OUTER = ("198.51.100.7", 50_001)
HOSTS = [HostAddress("127.0.0.1", ipaddress.ip_network("127.0.0.0/8"))]


class Router:
    """PCP of a router that maps every port to one outer address. asked: (port, seconds) of each request."""

    def __init__(self) -> None:
        self.udp = UdpSocket.open(socket.AF_INET, "127.0.0.1")
        self.udp.stun = self.receive
        self.outer = OUTER
        self.is_silent = False
        self.delay = 0.0
        self.asked: list[tuple[int, int]] = []
        self.greeted = 0
        self.came = asyncio.Event()
        self.clients: set[Address] = set()

    def receive(self, data: bytes, source: Address) -> None:
        self.clients.add(source)
        self.came.set()
        if data == GREETING:
            self.greeted += 1
            self.udp.send(bytes([2, 0x81, 0, 1]) + bytes(20), source)
            return
        seconds, port = struct.unpack_from("!I", data, 4)[0], struct.unpack_from("!H", data, 40)[0]
        self.asked.append((port, seconds))
        if not self.is_silent:
            asyncio.get_running_loop().call_later(self.delay, self.udp.send, self.answer(data), source)

    def answer(self, request: bytes) -> bytes:
        host = ipaddress.ip_address(self.outer[0]).packed
        head = struct.pack("!BBBB4sI12x", 2, 0x81, 0, 0, request[4:8], 1)
        return head + request[24:42] + struct.pack("!H", self.outer[1]) + bytes(10) + b"\xff\xff" + host

    async def until(self, *asked: tuple[int, int]) -> None:
        while self.asked != list(asked):
            self.came.clear()
            await self.came.wait()


@pytest.fixture
async def router(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Router]:
    router = Router()
    monkeypatch.setattr(port_mapper, "SERVER_PORT", router.udp.local[1])
    monkeypatch.setattr(port_mapper, "gateway_of", lambda hosts: ("127.0.0.1", "127.0.0.1"))
    monkeypatch.setattr(limits, "MAPPING_WAIT_SECONDS", 60.0)  # nothing waits so long: the router answers
    yield router
    router.udp.close()


def mapped(mapper: PortMapper, port: int) -> PortMapping:
    mapping = mapper.map(port, HOSTS)
    assert mapping is not None
    return mapping


def is_open(mapper: PortMapper) -> bool:
    return mapper._router is not None and mapper._router._sock is not None


async def test_mappings_share_a_socket_which_goes_with_the_last(router: Router) -> None:
    mapper = PortMapper()
    one, two = mapped(mapper, 40_001), mapped(mapper, 40_002)
    await asyncio.gather(one.settled(10.0), two.settled(10.0))
    assert one.address == two.address == OUTER
    assert one.protocol is Protocol.PCP
    assert len(router.clients) == 1
    one.close()
    assert one.address is None and two.address == OUTER and is_open(mapper)
    two.close()
    two.close()
    assert not is_open(mapper)
    await router.until((40_001, 120), (40_002, 120), (40_001, 0), (40_002, 0))


async def test_they_are_renewed(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAPPING_SECONDS", 1)
    monkeypatch.setattr(limits, "MAPPING_RENEW_LEAST", 0.01)
    mapper = PortMapper()
    mapping = mapped(mapper, 40_001)
    await router.until((40_001, 1), (40_001, 1))
    mapping.close()
    assert not is_open(mapper)


@pytest.mark.parametrize("host", ["192.168.7.1", "127.0.0.1"])
async def test_an_address_of_no_use_is_no_mapping(host: str, router: Router) -> None:
    router.outer = host, 50_001
    mapper = PortMapper()
    mapping = mapped(mapper, 40_001)
    await mapping.settled(10.0)
    assert mapping.address is None and mapping.protocol is Protocol.PCP and not is_open(mapper)
    await router.until((40_001, 120), (40_001, 0))


async def test_only_the_gateway_is_heard(router: Router) -> None:
    router.is_silent = True
    mapper = PortMapper()
    mapping = mapped(mapper, 40_001)
    await router.until((40_001, 120))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.2", 0))
        stranger.sendto(bytes([2, 0x81, 0, 2]) + bytes(56), router.clients.pop())
    await mapping.settled(0.1)
    assert not mapping.is_prompt and mapping.address is None and is_open(mapper)
    mapping.close()


async def test_a_closed_port_settles_it_at_once(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAPPING_RESEND_SECONDS", 600.0)
    router.udp.close()
    mapper = PortMapper()
    mapping = mapped(mapper, 40_001)
    await mapping.settled(10.0)
    assert mapping.address is None and mapping.protocol is None and not is_open(mapper) and not mapping.is_prompt


async def greeted() -> Resources:
    resources = Resources()
    resources.ports.greet(HOSTS)
    resources.ports.greet(HOSTS)
    while resources.ports._router is None or not resources.ports._router.has_answered:
        await asyncio.sleep(0.01)
    resources.ports.close()
    resources.ports.close()
    return resources


async def test_a_mapping_that_ends_leaves_a_greeting_alone(router: Router) -> None:
    mapper = PortMapper()
    mapper.greet(HOSTS)
    mapped(mapper, 40_001).close()
    assert is_open(mapper)
    mapper.close()
    assert not is_open(mapper)


async def test_a_router_that_answers_a_greeting_is_prompt(router: Router) -> None:
    mapper = (await greeted()).ports
    assert not is_open(mapper) and router.greeted == 1
    router.is_silent = True
    mapping = mapped(mapper, 40_001)
    assert mapping.is_prompt
    mapping.close()


@pytest.mark.parametrize("how", ["closed", "lingers"])
async def test_a_mapping_ends_with_the_use_of_its_socket(
    how: str, router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OFFER_SECONDS", 600.0)  # else it closes itself
    attempt = Attempt(port_mapping=True, resources=Resources())
    ours = await attempt.gather()
    assert ours.candidates[0].address == OUTER and ours.candidates[0].kind is Kind.REFLEXIVE
    udp = next(udp for _, udp in attempt._open_sockets() if udp.family == socket.AF_INET)
    port = udp.local[1]
    if how == "lingers":
        udp.linger(600.0)
        await router.until((port, 120), (port, 0))
    attempt.close()
    await router.until((port, 120), (port, 0))


async def test_a_symmetric_nat_whose_router_maps_is_easy(router: Router) -> None:
    router.delay = 0.1  # reflectors are faster
    outside = [(OUTER[0], 4_567), (OUTER[0], 4_568)]
    async with reflector(claiming(outside[0])) as one, reflector(claiming(outside[1]), "127.0.0.2") as two:
        asked, known = [one.address, two.address], await greeted()
        attempts = [Attempt(asked, port_mapping=wanted, resources=known) for wanted in (True, False)]
        easy, hard = [await attempt.gather() for attempt in attempts]
    assert (easy.mapping, hard.mapping) == (NatMapping.EASY, NatMapping.HARD)
    assert [item.address for item in easy.candidates[:3]] == [OUTER, *outside]
    assert [item.address for item in hard.candidates[:2]] == outside
    for attempt in attempts:
        attempt.close()


async def test_a_mapping_at_another_address_says_nothing_of_the_nat(router: Router) -> None:
    outside = [("198.51.100.9", 4_567), ("198.51.100.9", 4_568)]
    async with reflector(claiming(outside[0])) as one, reflector(claiming(outside[1]), "127.0.0.2") as two:
        attempt = Attempt([one.address, two.address], port_mapping=True, resources=await greeted())
        ours = await attempt.gather()
    assert ours.mapping is NatMapping.HARD
    assert [item.address for item in ours.candidates[:3]] == [OUTER, *outside]
    attempt.close()


async def test_an_address_that_comes_too_late_is_not_told(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAPPING_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(limits, "OFFER_SECONDS", 600.0)  # else it closes itself
    attempt = Attempt(port_mapping=True, resources=Resources())
    ours = await attempt.gather()
    assert OUTER not in [item.address for item in ours.candidates]
    port = router.asked[0][0] if router.asked else attempt._open_sockets()[0][1].local[1]
    await router.until((port, 120), (port, 0))
    attempt.close()


async def test_nothing_is_asked_unless_wanted(router: Router) -> None:
    for attempt in (Attempt(resources=Resources()), Attempt(port_mapping=True, loopback=True, resources=Resources())):
        await attempt.gather()
        attempt.close()
    await asyncio.sleep(0.05)
    assert router.asked == []

"""Flows of a UDP service and the direct path of their session: they go by it, leave it, and come back to it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

if sys.version_info < (3, 11):
    pytest.skip("aioquic needs Python 3.11: there are no direct paths", allow_module_level=True)

from ssbfast import limits
from ssbfast.direct import quic_connection
from ssbfast.direct.options import PreferredPath
from ssbfast.net.endpoints import UdpEndpoint
from ssbfast.net.forward import datagrams
from ssbfast.net.forward.datagram_listener import DatagramListener
from ssbfast.net.forward.datagrams import DROPPED
from ssbfast.net.forward.failures import Complaint
from ssbfast.net.forward.service import Service
from ssbfast.net.forward.tcp_server import ServiceServer
from tests.helpers.meeting import MeetingClients, meeting
from tests.helpers.rawpeer import eventually
from tests.helpers.udp import UdpEnd, udp_program, udp_service

ROOMS = {
    "aioquic": limits.DIRECT_DATAGRAM - 8 - 3 - 16 - 3,
    "native": limits.QUIC_DATAGRAM_IPV4 - 8 - 5 - 16 - 3,
}
"""Bytes of the longest datagram that a packet takes, for each of what moves a path's bytes."""


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UPGRADE_SECONDS", 0.5)
    monkeypatch.setattr(limits, "DIRECT_FAREWELL_SECONDS", 0.1)


@pytest.fixture
def by_aioquic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSBFAST_DIRECT", "aioquic")


class Flows:
    """A session that may leave its room, and a program of the caller's that uses a UDP service of the target's."""

    met: MeetingClients
    listener: DatagramListener
    services: ServiceServer
    service: UdpEnd
    program: UdpEnd

    def __init__(self) -> None:
        self.told: list[Complaint] = []

    async def echo(self, datagram: bytes) -> None:
        """Send one datagram and get it back."""
        self.program.send(datagram)
        assert await self.program.read() == datagram

    async def known(self) -> None:
        """Wait until the flow may go by a path."""
        await self.echo(b"the first")
        (flow,) = self.listener._flows
        await eventually(lambda: flow.known_there)

    def by_quic(self) -> tuple[int, int]:
        """Bytes of datagrams that came by direct paths: at the caller and at the target."""
        here, there = self.datagrams()
        return here.received, there.received

    def datagrams(self) -> tuple[Any, Any]:
        """What each end has of flows on direct paths."""
        here, there = [peer.forwards and peer.forwards.datagrams for peer in (self.met.peer, self.met.there)]
        return here, there


@asynccontextmanager
async def flows(*, echoes: bool = True) -> AsyncIterator[Flows]:
    made = Flows()
    async with AsyncExitStack() as stack:
        made.met = await stack.enter_async_context(meeting())
        made.service = await stack.enter_async_context(udp_service(echoes=echoes))
        services = ServiceServer([Service(UdpEndpoint("127.0.0.1", made.service.port), "wg")])
        made.services = await stack.enter_async_context(services)
        services.register(made.met.target._api)
        made.listener = DatagramListener("127.0.0.1", 0, service="wg", told=made.told.append)
        stack.push_async_callback(made.listener.close)
        await made.listener.start()
        made.listener.peer = made.met.peer
        made.program = await stack.enter_async_context(udp_program(made.listener.place))
        await made.met.path("direct")
        yield made


@pytest.mark.parametrize(("engine", "room"), ROOMS.items())
async def test_datagrams_go_by_quic_and_those_that_do_not_fit_by_the_session(
    engine: str, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSBFAST_DIRECT", engine)
    async with flows() as at:
        await at.known()
        for client in (at.met.caller, at.met.target):
            path: Any = at.met.negotiation(client)._path
            await eventually(lambda path=path: path.path.datagram_room == room)
        short = [b"", b"x", bytes(100), bytes(1300), bytes(room - 1)]
        for datagram in short:
            await at.echo(datagram)
        there = sum(map(len, short))
        back = there + len(b"the first")  # it came back by the path
        assert at.by_quic() == (back, there)
        before = at.met.peer.moved
        for datagram in (bytes(room), bytes(1472), bytes(9000), bytes(limits.DATAGRAM)):
            await at.echo(datagram)
        assert at.by_quic() == (back, there)
        await at.echo(bytes(1000))
        moved = [late - early for late, early in zip(at.met.peer.moved, before, strict=True)]
        assert min(moved) > room + 1472 + 9000 + limits.DATAGRAM + 1000, "status counts both"
        assert at.listener.open == at.services._flows.open == 1 and not at.told


@pytest.mark.parametrize("old", ["caller", "target"])
async def test_an_end_of_before_is_sent_none(old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make = quic_connection._configuration

    def of_before(*, is_client: bool, datagram: int) -> Any:
        made = make(is_client=is_client, datagram=datagram)
        if is_client is (old == "caller"):
            made.max_datagram_frame_size = None
        return made

    monkeypatch.setattr(quic_connection, "_configuration", of_before)
    async with flows() as at:
        await at.known()
        for datagram in (b"", b"x", bytes(1300), bytes(9000)):
            await at.echo(datagram)
        assert at.by_quic()[old == "target"] == 0 and at.met.peer.path == "direct"


async def test_an_opener_that_is_told_nothing_sends_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagrams._FlowTransport, "say_known", lambda _transport: None)
    async with flows() as at:
        for datagram in (b"", b"x", bytes(1300), bytes(9000)) * 2:
            await at.echo(datagram)
        assert at.by_quic() == (2 * 1301, 0)


async def test_a_flow_moves_with_its_session_and_keeps_its_boundaries() -> None:
    """It goes by the path, back, by the next one, and loses it: no datagram comes apart, or twice."""
    async with flows() as at:
        caller = at.met.negotiation(at.met.caller)
        sent: set[bytes] = set()
        goes_on = True

        async def send() -> None:
            number = 0
            while goes_on:
                for _ in range(10):
                    number += 1
                    sent.add(number.to_bytes(4, "big") * (1 + number * 7 % 600))
                    at.program.send(number.to_bytes(4, "big") * (1 + number * 7 % 600))
                await asyncio.sleep(0.002)

        sender = asyncio.ensure_future(send())
        (flow,) = await _flows_of(at.listener)
        for path in (PreferredPath.TUNNEL, PreferredPath.DIRECT, PreferredPath.TUNNEL, PreferredPath.DIRECT):
            came, quic = at.program.got.qsize(), min(at.by_quic())
            assert await asyncio.wait_for(caller.choose(path), 60) is None
            await eventually(lambda came=came: at.program.got.qsize() > came + 50)  # type: ignore[misc]
            if path is PreferredPath.DIRECT:
                await eventually(lambda quic=quic: min(at.by_quic()) > quic)  # type: ignore[misc]
            else:
                assert at.datagrams()[0]._carrier is at.datagrams()[1]._carrier is None
        at.met.silence()  # the path dies, and what was on it is lost
        await at.met.path("tunnel", 3)
        came = at.program.got.qsize()
        await eventually(lambda: at.program.got.qsize() > came + 50)
        goes_on = False
        await sender
        assert list(at.listener._flows) == [flow] and at.services._flows.open == 1
        got = [at.program.got.get_nowait()[0] for _ in range(at.program.got.qsize())]
        assert set(got) <= sent and len(got) == len(set(got))


async def _flows_of(listener: DatagramListener) -> list[Any]:
    await eventually(lambda: listener.open)
    return list(listener._flows)


@pytest.mark.usefixtures("by_aioquic")
async def test_when_more_come_than_the_path_takes_the_oldest_are_dropped_and_told() -> None:
    async with flows(echoes=False) as at:
        at.program.send(b"the first")
        await at.service.read()
        (flow,) = at.listener._flows
        await eventually(lambda: flow.known_there)
        for number in range(limits.FLOW_QUEUE + 7):
            flow.send(number.to_bytes(4, "big"))
        assert at.listener.dropped == 7
        await eventually(lambda: [one.reason for one in at.told] == [DROPPED])
        for number in range(7, limits.FLOW_QUEUE + 7):
            assert await at.service.read() == number.to_bytes(4, "big")


async def test_datagrams_for_no_flow_reach_no_service() -> None:
    async with flows() as at:
        await at.known()
        (flow,) = at.listener._flows
        path: Any = at.met.negotiation(at.met.caller).direct
        there = at.datagrams()[1]
        for head in (b"", b"\x00", b"\x03", b"\x40", b"\xc0\x00\x00\x00\x00\x00\x00\x02", b"\x3c"):
            path.path.send_datagram(head)
        await eventually(lambda: there.ignored == 6)
        flow.close()
        await eventually(lambda: not at.services._flows.open)
        path.path.send_datagram(flow._head + b"late")
        await eventually(lambda: there.ignored == 7)
        assert not there._flows and at.met.peer.path == "direct"


async def test_the_engine_s_path_stays_when_it_becomes_too_narrow_for_datagrams(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are lost until the engine takes shorter ones; then the long ones go in the session."""
    monkeypatch.setenv("SSBFAST_DIRECT", "native")
    async with flows() as at:
        await at.known()
        at.met.net.longest = 1250
        long = bytes(1300)
        while at.program.got.empty():
            at.program.send(long)
            await asyncio.sleep(0.005)
        assert await at.program.read() == long
        assert at.met.paths(at.met.caller) == ["direct"]


@pytest.mark.usefixtures("by_aioquic")
async def test_a_path_that_becomes_too_narrow_for_datagrams_is_given_up() -> None:
    """Short ones pass, and UDP does not repeat: else the long ones would vanish for ever."""
    async with flows() as at:
        await at.known()
        await at.met.has_standby()
        at.met.net.longest = 1250

        async def send() -> None:
            while True:
                for datagram in (bytes(1300), b"short"):
                    at.program.send(datagram)
                    await asyncio.sleep(0.005)

        sender = asyncio.ensure_future(send())
        try:
            await at.met.path("tunnel")
        finally:
            sender.cancel()
        await at.met.path("direct", 2)
        before = len(at.met.net.sent)
        wanted = {b"one that fits", bytes(1301)}
        for datagram in wanted:
            at.program.send(datagram)
        while wanted:
            wanted.discard(await at.program.read())
        assert max(len(data) for _, data in at.met.net.sent[before:]) <= limits.DIRECT_DATAGRAM_LEAST

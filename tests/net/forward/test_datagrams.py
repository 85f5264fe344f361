"""UDP services: datagrams keep their boundaries and order, nothing waits behind a full way, and flows are bounded."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssbfast import limits
from ssbfast.errors import MuxRPCError, RemoteError
from ssbfast.keys import Keypair
from ssbfast.net.api import Api
from ssbfast.net.endpoints import Endpoint, UdpEndpoint
from ssbfast.net.forward.datagram_listener import DatagramListener
from ssbfast.net.forward.datagrams import DROPPED, METHOD, Flow, Unframer, framed, victim_of
from ssbfast.net.forward.failures import Complaint
from ssbfast.net.forward.service import NO_SERVICE, Offered, Service, look_for
from ssbfast.net.forward.tcp import METHOD as OPEN
from ssbfast.net.forward.tcp import SERVICE, SERVICES
from ssbfast.net.forward.tcp_server import ServiceServer
from ssbfast.net.peer import Peer
from tests.helpers.forwards import TcpService
from tests.helpers.pairs import PeerPair, connected
from tests.helpers.rawpeer import eventually
from tests.helpers.room_processes import free_port
from tests.helpers.udp import UdpEnd, udp_program, udp_service

OTHER = frozenset({Keypair.generate().id})


# ---------------------------------------------------------------- frames


def received(unframer: Unframer, data: bytes) -> Iterator[bytes]:
    unframer.add(data)
    return unframer.whole()


@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(0, 2500), max_size=6))
def test_datagrams_come_out_as_they_went_in_however_the_stream_is_cut(datagrams: list[bytes], cuts: list[int]) -> None:
    data = b"".join(map(framed, datagrams))
    edges = sorted({0, *(min(cut, len(data)) for cut in cuts), len(data)})
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    for split in (pieces, [data[i : i + 1] for i in range(len(data))], [data]):
        unframer = Unframer()
        assert [found for piece in split for found in received(unframer, piece)] == datagrams
        assert not len(unframer)


def test_the_longest_datagram_and_one_that_is_none() -> None:
    longest = bytes(limits.DATAGRAM)
    assert list(received(Unframer(), framed(longest) + b"\0")) == [longest]
    found = received(Unframer(), framed(b"good") + (limits.DATAGRAM + 1).to_bytes(2, "big"))
    assert next(found) == b"good"
    with pytest.raises(MuxRPCError):
        next(found)


# ---------------------------------------------------------------- sockets


class Taking(DatagramListener):
    """A port that keeps what comes. It reads from this object itself: `meanwhile` runs within each read."""

    def __init__(self, datagrams: list[bytes], meanwhile: Callable[[], object] = lambda: None) -> None:
        super().__init__("127.0.0.1", 0, service="wg")
        self.taken: list[bytes] = []
        self.datagrams = datagrams
        self.meanwhile = meanwhile
        self._sock = cast(Any, self)

    def take(self, datagram: bytes, address: Any) -> None:
        self.taken.append(datagram)

    def recvfrom_into(self, buffer: memoryview) -> tuple[int, Any]:
        if not self.datagrams:
            raise BlockingIOError
        datagram = self.datagrams.pop(0)
        buffer[: len(datagram)] = datagram
        self.meanwhile()
        return len(datagram), None


@pytest.mark.skipif(sys.platform == "win32", reason="one datagram at a time is read there")
def test_two_loops_in_two_threads_do_not_mix_their_datagrams() -> None:
    """The second may read while the first has read, and has not got the interpreter back."""
    other = Taking([b"a secret of another session"])
    one = Taking([b"mine"], meanwhile=lambda: other.datagram_received(b"", None))
    one.datagram_received(b"", None)
    assert (one.taken, other.taken) == ([b"", b"mine"], [b"", b"a secret of another session"])


# ---------------------------------------------------------------- flows


class Way:
    """A program's port, the service behind it, and both ends."""

    pair: PeerPair
    server: ServiceServer
    listener: DatagramListener
    service: UdpEnd

    def __init__(self) -> None:
        self.told: list[Complaint] = []
        self.told_there: list[Complaint] = []

    async def is_idle(self) -> None:
        await eventually(lambda: not self.listener.open and not self.server._flows.open)


@asynccontextmanager
async def way(*, name: str = "wg", echoes: bool = True, **options: Any) -> AsyncIterator[Way]:
    """options: of the listener. The server offers `wg` to all, `other` to others, and `tcp`, which is none of UDP."""
    made, api = Way(), Api()
    async with AsyncExitStack() as stack:
        made.service = await stack.enter_async_context(udp_service(echoes=echoes))
        place = UdpEndpoint("127.0.0.1", made.service.port)
        tcp = await stack.enter_async_context(TcpService())
        services = [
            Service(place, "wg"),
            Service(place, "other", OTHER),
            Service(UdpEndpoint("127.0.0.1", free_port()), "nothing"),
            Service(Endpoint("127.0.0.1", tcp.port), "tcp"),
        ]
        made.pair = await stack.enter_async_context(connected(api))
        made.server = ServiceServer(services, allow=lambda _peer: True, told=made.told_there.append)
        await stack.enter_async_context(made.server)
        made.server.register(api)
        made.listener = DatagramListener("127.0.0.1", 0, service=name, told=made.told.append, **options)
        stack.push_async_callback(made.listener.close)
        await made.listener.start()
        made.listener.peer = made.pair.here
        yield made


async def refusal(peer: Peer, method: str, *args: object) -> str:
    with pytest.raises(RemoteError) as caught:
        await peer.duplex(method, *args).__anext__()
    return caught.value.message


async def test_each_program_has_a_flow_and_gets_its_own_answers() -> None:
    longest = bytes(range(256)) * 255 + bytes(limits.DATAGRAM - 255 * 256)
    async with way() as at, udp_program(at.listener.place) as one, udp_program(at.listener.place) as other:
        for datagram in (b"one", b"", b"\0", bytes(1400), longest):
            one.send(datagram)
            assert await one.read() == datagram
        other.send(b"other")
        assert await other.read() == b"other" and one.got.empty()
        assert at.listener.open == at.server._flows.open == 2
        assert not at.told and not at.told_there


async def test_five_thousand_a_second_keep_boundaries_and_order() -> None:
    """The rate is how they are sent; nothing depends on how long it takes. At most one in a hundred is lost."""
    count, size = 5000, 200
    async with way() as at, udp_program(at.listener.place) as program:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(count):
            program.send(number.to_bytes(4, "big") * (1 + number % size))
            if number % 5 == 4:
                await asyncio.sleep(max(0, began + number / 5000 - loop.time()))
        program.send(b"end")
        got: list[int] = []
        while (datagram := await program.read()) != b"end":
            number = int.from_bytes(datagram[:4], "big")
            assert datagram == datagram[:4] * (1 + number % size)
            got.append(number)
        assert got == sorted(set(got)) and len(got) >= 0.99 * count, len(got)


async def test_when_the_way_is_full_datagrams_are_dropped_and_those_before_arrive() -> None:
    async with way(echoes=False) as at, udp_program(at.listener.place) as program:
        program.send(b"first")
        await at.service.read()
        (flow,) = at.listener._flows
        n = 0
        while not at.listener.dropped:
            flow.send(n.to_bytes(4, "big") * 300)
            n += 1
            assert n < 10_000, "nothing is ever dropped"
        assert 100 <= n <= 250, "what one flow may queue: 256 KiB"
        assert flow._transport.get_write_buffer_size() <= limits.TUNNEL_SHARE
        await eventually(lambda: [one.reason for one in at.told] == [DROPPED])
        got = [int.from_bytes((await at.service.read())[:4], "big") for _ in range(n - 1)]
        assert got == list(range(n - 1)), "the newest was dropped"


async def test_a_flow_that_is_silent_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FLOW_IDLE_SECONDS", 0.3)
    async with way() as at, udp_program(at.listener.place) as program:
        flows = set()
        for _ in range(8):
            program.send(b"hello")
            await program.read()
            flows.update(at.listener._flows)
            await asyncio.sleep(0.05)
        assert len(flows) == 1, "its datagrams kept it"
        await at.is_idle()
        await eventually(lambda: not at.server._flows._sockets)
        program.send(b"again")
        assert await program.read() == b"again"


async def test_one_flow_more_ends_the_one_that_was_silent_longest() -> None:
    async with way(per_peer=3) as at, AsyncExitStack() as stack:
        programs = [await stack.enter_async_context(udp_program(at.listener.place)) for _ in range(4)]
        for number in (0, 1, 2, 0, 3):
            programs[number].send(b"%d" % number)
            assert await programs[number].read() == b"%d" % number
        assert at.listener.open == 3
        ports = [program.transport.get_extra_info("sockname") for program in programs]
        assert list(at.listener._by_address) == [ports[0], ports[2], ports[3]]
        await eventually(lambda: len(at.server._flows._sockets) == 3)


@pytest.mark.parametrize("end", ["listener", "server"])
async def test_programs_that_ask_once_leave_a_lasting_flow_its_place(end: str) -> None:
    async with way(per_peer=4 if end == "listener" else 1000) as at, AsyncExitStack() as stack:
        if end == "server":
            at.server._flows._per_peer = 4
        lasting = await stack.enter_async_context(udp_program(at.listener.place))
        for _ in range(limits.FLOW_LASTING // 2):
            lasting.send(b"lasting")
            await lasting.read()
        (flow,) = at.server._flows._sockets
        for _ in range(8):
            program = await stack.enter_async_context(udp_program(at.listener.place))
            program.send(b"once")
            await program.read()
        assert flow in at.server._flows._sockets
        lasting.send(b"again")
        assert await lasting.read() == b"again"
        assert flow in at.server._flows._sockets, "its answers come from the same address"


def test_where_most_flows_are_lasting_the_one_that_was_silent_longest_goes() -> None:
    flows = [cast(Flow, SimpleNamespace(carried=carried)) for carried in (8, 1, 8, 8, 9)]
    assert victim_of(flows) is flows[0], "one that lasts no longer would keep its place for ever"
    assert victim_of(flows[:4]) is flows[1]


async def test_more_flows_than_can_be_answered_do_not_end_each_other() -> None:
    async with way(echoes=False, per_peer=3) as at, AsyncExitStack() as stack:
        programs = [await stack.enter_async_context(udp_program(at.listener.place)) for _ in range(4)]
        for number, program in enumerate(programs):
            program.send(b"%d" % number)
        await eventually(lambda: at.listener.dropped == 1)
        await eventually(lambda: at.service.got.qsize() == 3)
        asked = [at.service.got.get_nowait() for _ in range(3)]
        assert sorted(datagram for datagram, _ in asked) == [b"0", b"1", b"2"]
        assert [one.reason for one in at.told] == [DROPPED]
        for datagram, address in asked:
            at.service.send(datagram, address)
        for number in range(3):
            assert await programs[number].read() == b"%d" % number
        programs[3].send(b"3")
        assert await at.service.read() == b"3", "those that are answered give way"


async def test_a_flow_that_is_never_answered_gives_way_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async with way(echoes=False, per_peer=1) as at, AsyncExitStack() as stack:
        one, other = [await stack.enter_async_context(udp_program(at.listener.place)) for _ in range(2)]
        one.send(b"one")
        assert await at.service.read() == b"one"
        other.send(b"dropped")
        await eventually(lambda: at.listener.dropped)
        monkeypatch.setattr(limits, "FLOW_ANSWER_SECONDS", 0.0)
        other.send(b"other")
        assert await at.service.read() == b"other"


async def test_a_key_has_no_more_flows_than_its_share_at_the_server() -> None:
    async with way(per_peer=1000) as at, AsyncExitStack() as stack:
        at.server._flows._per_peer = 4
        for _ in range(20):
            program = await stack.enter_async_context(udp_program(at.listener.place))
            program.send(b"x")
            assert await program.read() == b"x"
            assert at.server._flows.open <= 4 and len(at.server._flows._sockets) <= 5


async def test_where_all_places_are_taken_a_key_without_any_is_refused() -> None:
    async with way() as at:
        at.server._flows._per_peer = 0
        assert await refusal(at.pair.here, METHOD, "wg") == "too many flows"
        assert not at.server._flows._sockets


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("args", [("git",), ("",), (None,), (), (["wg"],), ("other",), ("tcp",), ({},)])
async def test_what_is_no_udp_service_for_us_is_refused_alike(args: tuple[object, ...]) -> None:
    async with way() as at:
        assert await refusal(at.pair.here, METHOD, *args) == NO_SERVICE


async def test_a_udp_service_is_none_of_tcp() -> None:
    async with way() as at:
        assert await refusal(at.pair.here, SERVICE, "wg") == NO_SERVICE
        assert at.server._services.first == at.server.services[3], "the first of TCP is what no name means"
        told = await at.pair.here.call(SERVICES)
        assert told[0] == {"name": "wg", "kind": "udp", "port": at.service.port}
        assert [(one.name, one.kind) for one in Offered.read(told)] == [
            ("wg", "udp"),
            ("nothing", "udp"),
            ("tcp", "tcp"),
        ]
        at.server.replace(at.server.services[:1])
        assert await refusal(at.pair.here, OPEN) == (await refusal(at.pair.here, "forward.x")).replace(",x", ",open")


@pytest.mark.parametrize(("name", "reason"), [("git", NO_SERVICE), ("tcp", NO_SERVICE)])
async def test_a_refusal_is_told_and_not_asked_again_with_each_datagram(
    name: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with way(name=name) as at, udp_program(at.listener.place) as program:
        program.send(b"1")
        await eventually(lambda: [one.reason for one in at.told] == [reason])
        asked: list[str] = []
        call = at.pair.here.open_carried
        monkeypatch.setattr(at.pair.here, "open_carried", lambda *how: (asked.append(how[0]), call(*how))[1])
        for _ in range(50):
            program.send(b"2")
        await eventually(lambda: at.listener.dropped == 50)
        assert not asked, "each would be a call"


async def test_an_older_peer_has_no_such_method() -> None:
    told: list[Complaint] = []
    async with connected(Api()) as pair:
        listener = DatagramListener("127.0.0.1", 0, service="wg", told=told.append)
        await listener.start()
        listener.peer = pair.here
        async with udp_program(listener.place) as program:
            program.send(b"1")
            await eventually(lambda: told)
        assert "allowed methods" in told[0].reason
        await listener.close()


async def test_a_service_that_is_not_there_is_told_to_its_owner() -> None:
    async with way(name="nothing") as at, udp_program(at.listener.place) as program:
        program.send(b"1")
        await eventually(lambda: at.told_there)
        place = at.server.services[2].place
        assert at.told_there[0].reason == f"nothing: {await look_for(place)}"
        assert "nothing listens at udp:127.0.0.1:" in at.told_there[0].reason
        assert await look_for(at.server.services[0].place) is None


async def test_without_a_session_datagrams_are_dropped_and_it_goes_on_in_the_next() -> None:
    async with way() as at, udp_program(at.listener.place) as program:
        at.listener.peer = None
        program.send(b"1")
        await eventually(lambda: at.listener.dropped == 1)
        at.listener.peer = at.pair.here
        program.send(b"2")
        assert await program.read() == b"2"


async def test_what_is_not_offered_any_more_is_cut() -> None:
    async with way() as at, udp_program(at.listener.place) as program:
        program.send(b"1")
        await program.read()
        at.server.replace(at.server.services[:2])
        assert at.server._flows.open == 1, "the same service goes on"
        at.server.replace(at.server.services[1:2])
        await at.is_idle()


# ---------------------------------------------------------------- hostile peers


async def test_a_datagram_that_is_none_costs_its_flow_alone() -> None:
    async with way() as at, udp_program(at.listener.place) as program:
        program.send(b"1")
        await program.read()
        stream = at.pair.here.duplex(METHOD, "wg")
        await stream.send(b"\xff\xff")
        with pytest.raises(RemoteError):
            async for _ in stream:
                pass
        program.send(b"2")
        assert await program.read() == b"2"
        assert at.server._flows.open == 1


async def test_others_get_their_turn_between_tiny_datagrams_and_those_before_the_end_arrive() -> None:
    count = 10 * limits.FLOW_TURN
    async with way(echoes=False) as at:
        stream = at.pair.here.duplex(METHOD, "wg")
        await eventually(lambda: at.server._flows.open)
        (flow,) = at.server._flows._flows
        turns = [0]

        def deliver(_datagram: bytes) -> None:
            turns[-1] += 1

        def count_turn() -> None:
            turns.append(0)
            if at.server._flows.open:
                asyncio.get_running_loop().call_soon(count_turn)

        flow.deliver = deliver
        count_turn()
        await stream.send(framed(b"") * count)
        await stream.send({"fin": True})
        await at.is_idle()
        assert sum(turns) == count and max(turns) == limits.FLOW_TURN

"""What the doctor makes of what reflectors say, and the command on this machine; other networks: tests/nat."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import cast

import pytest
from aioice import stun

from ssbfast import limits
from ssbfast.cli.doctor import _engine_words, _words
from ssbfast.client.nat_diagnosis import OTHERS, Nat, Works, _hairpin, classify, diagnose, find, outlook
from ssbfast.direct.udp import UdpSocket
from ssbfast.errors import BadInputError
from ssbfast.net.endpoints import Endpoint
from tests.helpers.commands import assert_unusable, printed
from tests.helpers.processes import run
from tests.helpers.room_processes import RoomProcesses, free_port, room_processes

HERE, THERE, ELSEWHERE = ("192.0.2.1", 5000), ("198.51.100.1", 5000), ("198.51.100.1", 5001)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[RoomProcesses]:
    with room_processes(tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    ("asked", "seen", "nat"),
    [
        (0, [], Nat.UNASKED),
        (3, [], Nat.SILENT),
        (1, [HERE], Nat.NONE),
        (2, [HERE, ("192.0.2.1", 6000)], Nat.NONE),
        (1, [THERE], Nat.UNKNOWN),
        (4, [THERE], Nat.UNKNOWN),
        (2, [THERE, THERE], Nat.EASY),
        (2, [THERE, ELSEWHERE], Nat.HARD),
        (3, [THERE, THERE, ELSEWHERE], Nat.HARD),
        (2, [HERE, THERE], Nat.HARD),
    ],
)
def test_what_answers_mean(asked: int, seen: list[tuple[str, int]], nat: Nat) -> None:
    assert classify(asked, seen, ["192.0.2.1", "10.0.0.1"]) is nat


def test_the_outlook_is_the_matrix() -> None:
    """DIRECT paths as measured in the lab; an easy NAT counts as the strictest sort."""
    rows = {nat: [works.value[0] for works in outlook(nat).values()] for nat in Nat}
    assert rows[Nat.NONE] == [*"dddddd", "r"]
    assert rows[Nat.EASY] == [*"dddddbr"]
    assert rows[Nat.HARD] == [*"dddbbrr"]
    assert set(rows[Nat.SILENT]) == {"r"}
    assert all(tuple(outlook(nat)) == OTHERS and outlook(nat)["blocked"] is Works.RELAY for nat in Nat)


class Server(asyncio.DatagramProtocol):
    """A STUN server that sees everybody at the next of these addresses."""

    def __init__(self, *told: tuple[str, int]) -> None:
        self.told = [*told]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        request = stun.parse_message(data)
        attributes = {"XOR-MAPPED-ADDRESS": self.told.pop(0)}
        answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id, attributes)
        self.transport.sendto(bytes(answer), addr)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()

    async def open(self, stack: AsyncExitStack) -> tuple[str, int]:
        self.gone = asyncio.Event()
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, ("127.0.0.1", 0))
        stack.push_async_callback(self.gone.wait)
        stack.callback(self.transport.close)
        address: tuple[str, int] = self.transport.get_extra_info("sockname")
        return address


@pytest.mark.parametrize(
    ("protocol", "address", "asked", "said"),
    [
        ("pcp", "203.0.113.7", ["pcp"], "maps ports (PCP) at 203.0.113.7"),
        ("nat-pmp", None, ["pcp"], "speaks NAT-PMP, but maps no port"),
        ("upnp", None, ["pcp", "upnp"], "speaks UPnP, but maps no port"),
        (None, None, ["pcp", "nat-pmp"], "pip install 'ssbfast[upnp]'"),
        (None, None, ["pcp", "nat-pmp", "upnp"], "neither PCP, NAT-PMP nor UPnP"),
    ],
)
def test_what_the_router_does_is_said(protocol: str | None, address: str | None, asked: list[str], said: str) -> None:
    assert said in _words({"event": "port_mapping", "protocol": protocol, "address": address, "asked": asked})


def test_a_router_that_maps_makes_every_peer_direct_that_has_udp() -> None:
    for nat in (Nat.EASY, Nat.HARD, Nat.UNKNOWN):
        assert outlook(nat, maps=True) == outlook(Nat.NONE)
    for nat in (Nat.NONE, Nat.SILENT, Nat.UNASKED):
        assert outlook(nat, maps=True) == outlook(nat)


@pytest.mark.parametrize(
    ("one", "other", "nat"), [(THERE, THERE, Nat.EASY), (THERE, ELSEWHERE, Nat.HARD)], ids=["easy", "hard"]
)
async def test_two_servers_show_the_mapping(one: tuple[str, int], other: tuple[str, int], nat: Nat) -> None:
    async with AsyncExitStack() as stack:
        servers = [await Server(told).open(stack) for told in (one, other)]
        v4, v6 = await diagnose(servers)
        assert (v4.nat, v4.asked, v4.seen) == (nat, 2, (one, other))
        assert v4.keeps_port is False
        assert v4.hairpin is (False if nat is Nat.EASY else None)  # nobody is at that address
        assert ("reflexive", THERE[0]) in v4.candidates()
        assert (v6.nat, v6.seen, v6.keeps_port) == (Nat.UNASKED, (), None)


async def test_our_own_address_is_no_nat_and_silence_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DOCTOR_SECONDS", 0.2)
    async with AsyncExitStack() as stack:
        silent = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        silent.bind(("127.0.0.1", 0))
        server = await Server(("127.0.0.1", 7)).open(stack)
        v4, _ = await diagnose([server, silent.getsockname()], loopback=True)
        assert (v4.nat, v4.asked, len(v4.seen), v4.hairpin) == (Nat.NONE, 2, 1, None)
        assert ("public", "127.0.0.1") in v4.candidates()
        v4, _ = await diagnose([silent.getsockname()])
        assert (v4.nat, v4.asked, v4.seen) == (Nat.SILENT, 1, ())


async def test_a_hairpin_is_seen_and_strangers_are_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HAIRPIN_SECONDS", 0.05)
    udp = UdpSocket.open(socket.AF_INET, "127.0.0.1")
    try:
        assert await _hairpin(udp, udp.local) is True  # as if a router sent it back
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.1", 0))
            stranger.sendto(b"\x3f" + bytes(16), udp.local)
            assert await _hairpin(udp, stranger.getsockname()) is False
            assert await _hairpin(udp, ("127.0.0.1", 53)) is None  # a port that nothing is sent to
    finally:
        udp.close()


async def test_names_are_looked_up() -> None:
    assert ("127.0.0.1", 3478) in await find([Endpoint("127.0.0.1", 3478), Endpoint("localhost", 3478)])
    with pytest.raises(BadInputError, match=r"no such host: nowhere\.invalid"):
        await find([Endpoint("nowhere.invalid", 1)])


# ---------------------------------------------------------------- the command


def doctor(place: RoomProcesses, *arguments: str) -> tuple[str, ...]:
    return ("doctor", "--data", str(place.path("c")), "--room", place.address(), *arguments)


def test_on_one_machine_there_is_no_nat(place: RoomProcesses) -> None:
    place.room()
    told = printed(run(*doctor(place), "--json"))
    first, _second = told[0].pop("reflectors")
    assert first == f"127.0.0.1:{place.port}"
    assert told[0] == {"event": "room", "portal": str(place.id("room")), "is_here": True}
    v4, v6 = (event for event in told if event["event"] == "network")
    assert v4 == {
        **{"event": "network", "family": 4, "nat": "none", "asked": 2, "answered": 2},
        **{"keeps_port": True, "hairpin": None, "filtering": None},
    }
    assert (v6["family"], v6["nat"]) == (6, "unasked")
    assert {"event": "candidate", "kind": "public", "address": "127.0.0.1"} in told
    assert {"event": "outlook", "other": "symmetric", "works": "direct"} in told
    assert [event["other"] for event in told if event["event"] == "outlook"] == [*OTHERS, "lan", "ipv6"]
    (engine,) = (event for event in told if event["event"] == "engine")
    assert set(engine) == {"event", "engine", "reason", "kernel", "segment", "gro"}
    text = run(*doctor(place)).stdout
    assert text.endswith(_engine_words(engine) + "\n")
    assert "on this very machine" in text and "no NAT" in text and "A peer behind a symmetric NAT: direct\n" in text
    assert not place.path("c").exists()  # it makes no identity


def test_another_server_can_be_asked_and_a_room_may_have_none(place: RoomProcesses) -> None:
    place.start("room", "room", "--listen", f"127.0.0.1:{place.port}", "--no-udp").event("listening")
    told = printed(run(*doctor(place), "--json"))
    assert told[0]["reflectors"] == [] and not told[0]["is_here"]
    assert {event["nat"] for event in told if event["event"] == "network"} == {"unasked"}
    assert "give one with --stun" in run(*doctor(place)).stdout
    other = free_port()
    place.start("room", "other", "--listen", f"127.0.0.1:{other}").event("listening")
    told = printed(run(*doctor(place, "--stun", f"127.0.0.1:{other}"), "--json"))
    assert [event["nat"] for event in told if event["event"] == "network"] == ["none", "unasked"]


def test_a_room_that_is_not_there_is_a_failure(place: RoomProcesses) -> None:
    done = run(*doctor(place))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("ssbfast: room ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("server", ["nowhere.invalid:3478", "stun.example", ":3478", "127.0.0.1:99999"])
def test_bad_servers_are_refused(place: RoomProcesses, server: str) -> None:
    assert_unusable(run(*doctor(place, "--stun", server)))

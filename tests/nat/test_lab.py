"""The lab is what it says: each kind of NAT maps and filters as its name promises, and the weather is as ordered.

That a packet is *not* let through shows in what comes behind it: the internet keeps the order of all packets, so when
the one that must pass is there, those sent before it would have been, too.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.nat.housekeeping import NAMESPACES, PREFIX, sweep
from tests.nat.kinds import KINDS, Kind
from tests.nat.lab import ROOM, ROOM6, NatLab, nat_lab

pytestmark = [pytest.mark.nat, pytest.mark.timeout(120)]

Address = tuple[str, int]
PATIENCE = 20.0
NATS = [kind for kind in KINDS if kind != "blocked"]


class Udp:
    """A bound UDP socket somewhere in the lab."""

    def __init__(self, lab: NatLab, place: str, host: str = "", port: int = 0) -> None:
        self.sock = lab.socket(place, socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.sock.settimeout(PATIENCE)
        self.sock.bind((host, port))

    @property
    def port(self) -> int:
        return int(self.sock.getsockname()[1])

    def send(self, text: str, to: Address) -> None:
        self.sock.sendto(text.encode(), to)

    def receive(self) -> tuple[str, Address]:
        data, source = self.sock.recvfrom(2048)
        return data.decode(), (source[0], source[1])

    def until(self, text: str) -> list[str]:
        """All texts up to this one, which has to come."""
        got = [self.receive()[0]]
        while got[-1] != text:
            got.append(self.receive()[0])
        return got


class Scene:
    """s: sockets of the server: at (address 0 or 1, name of a port)."""

    def __init__(self, lab: NatLab, stack: ExitStack) -> None:
        self.lab, self._stack = lab, stack
        self._server: dict[tuple[int, str], Udp] = {}
        self._ports: dict[str, int] = {}

    def udp(self, place: str, host: str = "", port: int = 0) -> Udp:
        udp = Udp(self.lab, place, host, port)
        self._stack.callback(udp.sock.close)
        return udp

    def s(self, address: int, name: str) -> Udp:
        if (address, name) not in self._server:
            made = self.udp("S", ROOM[address], self._ports.get(name, 0))
            self._ports[name] = made.port
            self._server[address, name] = made
        return self._server[address, name]

    def at(self, address: int, name: str) -> Address:
        return ROOM[address], self.s(address, name).port

    def seen(self, udp: Udp, address: int = 0, name: str = "p") -> Address:
        """As whom a socket appears at one of the server's."""
        udp.send("who am I?", self.at(address, name))
        return self.s(address, name).receive()[1]


@contextmanager
def scene(lab: NatLab) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(lab, stack)


def tcp_passes(lab: NatLab, place: str) -> None:
    with lab.socket("S", kind=socket.SOCK_STREAM) as server, lab.socket(place, kind=socket.SOCK_STREAM) as client:
        for sock in (server, client):
            sock.settimeout(PATIENCE)
        server.bind((ROOM[0], 0))
        server.listen()
        client.connect(server.getsockname())
        with server.accept()[0] as accepted:
            accepted.settimeout(PATIENCE)
            client.sendall(b"x")
            assert accepted.recv(1) == b"x"
            assert accepted.getpeername()[0] == lab.public_address("A" if place == "A" else "B")


# ---------------------------------------------------------------- kinds


@pytest.mark.parametrize("kind", NATS)
def test_mapping(kind: Kind) -> None:
    """Whether one socket looks the same to everybody."""
    with nat_lab(kind, "public") as lab, scene(lab) as there:
        a = there.udp("A", port=40_000)
        seen = [there.seen(a, address, name) for address, name in ((0, "p"), (0, "q"), (1, "p"))]
        assert {host for host, _ in seen} == {lab.public_address("A")}
        ports = {port for _, port in seen}
        if kind == "symmetric":
            assert len(ports) == 3
        else:
            assert ports == {40_000}
        assert (lab.public_address("A") == lab.address("A")) is (kind == "public")


@pytest.mark.parametrize(
    ("kind", "passing"),
    [
        ("public", ["other address", "other port", "same"]),
        ("full-cone", ["other address", "other port", "same"]),
        ("address", ["other port", "same"]),
        ("port", ["same"]),
        ("port-open", ["same"]),
        ("symmetric", ["same"]),
    ],
)
@pytest.mark.parametrize("side", ["A", "B"])
def test_filtering(kind: Kind, passing: list[str], side: str) -> None:
    """Who may send to a socket that has sent to one address and port."""
    kinds: tuple[Kind, Kind] = (kind, "port") if side == "A" else ("port", kind)
    with nat_lab(*kinds) as lab, scene(lab) as there:
        a = there.udp(side, port=40_000)
        seen = there.seen(a)
        there.s(1, "p").send("other address", seen)
        there.s(0, "q").send("other port", seen)
        there.s(0, "p").send("same", seen)
        assert a.until("same") == passing


@pytest.mark.parametrize("kind", ["full-cone", "address", "port", "port-open"])
def test_an_early_packet_moves_the_port_at_a_port_open_nat_only(kind: Kind) -> None:
    with nat_lab("public", kind) as lab, scene(lab) as there:
        b = there.udp("B", port=40_000)
        seen = there.seen(b, 0)
        there.s(1, "p").send("early", seen)
        there.s(0, "p").send("fence", seen)
        b.until("fence")
        later = there.seen(b, 1)
        assert (later == seen) is (kind != "port-open")
        assert there.seen(b, 0) == seen


def test_blocked_lets_nothing_but_tcp_through() -> None:
    with nat_lab("blocked", "blocked", a6="open", b6="firewall") as lab, scene(lab) as there:
        for place, host in (("A", ""), ("B", ""), ("A", "::"), ("B", "::")):
            udp = there.udp(place, host)
            to = (ROOM6, 9) if host else there.at(0, "p")
            udp.send("hello", to)
        tcp_passes(lab, "A")
        tcp_passes(lab, "B")
        counts = lab.counts()
        assert sum(count.udp_packets for count in counts.values()) == 0
        assert counts["A", "S"].other_packets > 0 < counts["B", "S"].other_packets


@pytest.mark.parametrize("kind", NATS)
def test_tcp_passes_every_nat(kind: Kind) -> None:
    with nat_lab(kind, kind) as lab:
        tcp_passes(lab, "A")
        tcp_passes(lab, "B")


# ---------------------------------------------------------------- topology


@pytest.mark.parametrize("kind", ["full-cone", "address", "port", "port-open", "symmetric"])
def test_on_one_lan_there_is_a_short_way_but_no_hairpin(kind: Kind) -> None:
    with nat_lab(kind, same_lan=True) as lab, scene(lab) as there:
        a, b = there.udp("A", port=40_001), there.udp("B", port=40_002)
        seen_a, seen_b = there.seen(a, 0, "p"), there.seen(b, 0, "q")
        assert seen_a[0] == seen_b[0] == lab.public_address("A") == lab.public_address("B")
        a.send("hairpin", seen_b)
        b.send("hairpin", seen_a)
        a.send("direct", (lab.address("B"), 40_002))
        b.send("direct", (lab.address("A"), 40_001))
        assert b.receive() == ("direct", (lab.address("A"), 40_001))
        assert a.receive() == ("direct", (lab.address("B"), 40_002))
        there.s(0, "q").send("fence", seen_b)
        there.s(0, "p").send("fence", seen_a)
        assert (a.until("fence"), b.until("fence")) == (["fence"], ["fence"])
        assert lab.counts()["A", "A"].udp_packets == 0


def test_both_lans_may_have_the_same_addresses() -> None:
    with nat_lab("port", "port", same_subnet=True) as lab, scene(lab) as there:
        assert lab.address("A") == lab.address("B")
        a, b = there.udp("A", port=40_001), there.udp("B", port=40_001)
        seen_a, seen_b = there.seen(a), there.seen(b)
        assert (seen_a, seen_b) == ((lab.public_address("A"), 40_001), (lab.public_address("B"), 40_001))
        a.send("to B", seen_b)  # opens A, and is refused by NAT-B
        there.s(0, "p").send("fence", seen_b)
        assert b.until("fence") == ["fence"]
        b.send("to A", seen_a)
        assert a.receive() == ("to A", seen_b)


@pytest.mark.parametrize("kind6", ["open", "firewall"])
def test_ipv6(kind6: str) -> None:
    with nat_lab("symmetric", "symmetric", a6=kind6, b6="open") as lab, scene(lab) as there:
        assert lab.room_addresses == (*ROOM, ROOM6)
        a, b, s = there.udp("A", "::"), there.udp("B", "::"), there.udp("S", ROOM6)
        a.send("hello", (ROOM6, s.port))
        text, seen = s.receive()
        assert (text, seen) == ("hello", (lab.address6("A"), a.port))
        b.send("unasked", seen)
        s.send("fence", seen)
        assert a.until("fence") == (["unasked", "fence"] if kind6 == "open" else ["fence"])
        a.send("opens", (lab.address6("B"), b.port))
        assert b.receive() == ("opens", seen)
        b.send("asked", seen)
        assert a.receive()[0] == "asked"


def test_ipv6_on_one_lan_and_none_where_none_is_wanted() -> None:
    with nat_lab("port", same_lan=True, a6="firewall") as lab, scene(lab) as there:
        a, b = there.udp("A", "::"), there.udp("B", "::")
        a.send("direct", (lab.address6("B"), b.port))
        assert b.receive() == ("direct", (lab.address6("A"), a.port))
    with nat_lab("port", "port", b6="open") as lab, scene(lab) as there:
        a = there.udp("A", "::")
        with pytest.raises(OSError):
            a.send("nowhere", (ROOM6, 9))


# ---------------------------------------------------------------- weather


def round_trip(udp: Udp, there: Scene) -> float:
    began = time.monotonic()
    there.s(0, "p").send("back", there.seen(udp))
    udp.until("back")
    return time.monotonic() - began


def quickest(udp: Udp, there: Scene, most: float) -> float:
    """The shortest of some round trips, as many as a busy machine needs for one of less than `most`."""
    until = time.monotonic() + PATIENCE
    found = min(round_trip(udp, there) for _ in range(10))
    while found >= most and time.monotonic() < until:
        found = min(found, round_trip(udp, there))
    return found


def test_every_way_takes_its_time() -> None:
    with nat_lab("public", "port", delay=0.030) as lab, scene(lab) as there:
        a = there.udp("A")
        assert 0.060 <= quickest(a, there, 0.120) < 0.120
        began = time.monotonic()
        there.udp("B").send("once", (lab.address("A"), a.port))
        assert a.receive()[0] == "once"
        assert time.monotonic() - began >= 0.030  # not through S
        lab.set_delay(0.0)
        assert quickest(a, there, 0.060) < 0.060


def test_losses_are_as_ordered_and_can_be_between_two_places_only() -> None:
    with nat_lab("public", "public", loss=0.3) as lab, scene(lab) as there:
        a = there.udp("A")
        to_b, to_s = (lab.address("B"), 9), there.at(0, "p")
        for _ in range(1000):
            a.send("x", to_s)
        tcp_passes(lab, "A")
        assert 200 <= lab.counts()["A", "S"].lost <= 400
        lab.set_loss(0.0)
        lab.set_loss(1.0, "A", "B")
        before = lab.counts()
        for _ in range(100):
            a.send("y", to_b)
        assert there.seen(a)[0] == lab.address("A")
        until = time.monotonic() + 10
        while (after := lab.counts())["A", "B"].udp_packets < before["A", "B"].udp_packets + 100:
            assert time.monotonic() < until  # on a busy machine one processor's packets overtake another's
            time.sleep(0.01)
        assert after["A", "B"].lost - before["A", "B"].lost == 100
        assert after["A", "S"].lost == before["A", "S"].lost


def test_cables_can_be_cut_and_mended() -> None:
    with nat_lab("public", "port") as lab, scene(lab) as there:
        a, b = there.udp("A"), there.udp("B")
        b.send("opens", (lab.address("A"), a.port))
        seen = a.receive()[1]
        lab.down("A", "B")
        a.send("lost", seen)
        there.s(0, "p").send("fence", there.seen(b))
        assert b.until("fence") == ["fence"]
        lab.up("A", "B")
        a.send("through", seen)
        assert b.receive()[0] == "through"
        lab.block_udp("A", "B")
        lab.down("B")
        there.s(0, "p").send("lost as well", seen)
        lab.up("B")
        a.send("lost, too", seen)
        there.s(0, "p").send("fence", there.seen(b))
        assert b.until("fence") == ["fence"]
        tcp_passes(lab, "A")
        lab.allow_udp("A", "B")
        a.send("again", seen)
        assert b.receive()[0] == "again"


# ---------------------------------------------------------------- life

_STAYS = """
import sys
from tests.nat.lab import NatLab
with NatLab("port", "port") as lab:
    lab.popen("A", ["sleep", "1000"])
    print("up", flush=True)
    sys.stdin.read()
"""


def mine(pid: int) -> list[str]:
    return sorted(path.name for path in NAMESPACES.glob(f"{PREFIX}-{pid}-*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_run_leaves_nothing_behind(number: signal.Signals) -> None:
    with nat_lab("port", "port"), nat_lab("port", same_lan=True):  # two at once beside it
        others = mine(os.getpid())
        assert len(others) >= 9
        process = subprocess.Popen(
            [sys.executable, "-c", _STAYS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        with process:
            assert process.stdout is not None and process.stdout.readline() == "up\n"
            assert len(mine(process.pid)) == 5
            process.send_signal(number)
            process.wait(PATIENCE)
        until = time.monotonic() + PATIENCE
        while mine(process.pid) and time.monotonic() < until:
            time.sleep(0.05)
        assert mine(process.pid) == []
        assert mine(os.getpid()) == others
    assert set(mine(os.getpid())).isdisjoint(others)


def test_what_nobody_could_remove_is_swept_by_the_next_run() -> None:
    with nat_lab("public", "public") as lab:
        dead = subprocess.Popen(["true"])
        dead.wait(PATIENCE)
        name = f"{PREFIX}-{dead.pid}-1-A"
        subprocess.run(["ip", "netns", "add", name], check=True)
        with subprocess.Popen(["ip", "netns", "exec", name, "sleep", "1000"]) as sleeper:
            sweep()
            assert sleeper.wait(PATIENCE) == -signal.SIGKILL
        assert mine(dead.pid) == []
        assert lab.run("A", ["echo", "alive"]).stdout == "alive\n"

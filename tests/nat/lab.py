"""Two peers behind NATs and a room between them, in network namespaces of their own.

::

    A ── lan ── NAT-A ── wan ──┐                     ┌── wan ── NAT-B ── lan ── B
    .2          .1  11.1.0.1   │                     │   11.2.0.1   .1         .2
                               └──── the internet ───┘
    10.1.1.0/24                      (internet.c)                     10.1.2.0/24
    or 11.1.1.0/24 (public)               │             or 11.2.1.0/24 (public)
    2a11:1:0:1::/64                       S                       2a11:2:0:1::/64
                              11.9.0.1  11.9.1.1  2a11:9::1

    same_lan:  A and B on one bridge behind NAT-A (B is 10.1.1.3; no hairpin), no NAT-B
    routed:    the internet is a private network (10.… for 11.…), and the LANs behind NATs are 192.168.1.0/24 and .2.

The internet is one small process with a TUN device in each place: it delays every packet by the same time (one way),
loses some, counts all, and can cut any way between two places. What the routers do is in `kinds.py`.

    with nat_lab(a="port", b="symmetric", loss=0.1) as lab:
        lab.run("S", ["ip", "address"])
        with lab.socket("A") as sock: ...            # a socket of this process, in A's namespace

Names are unique, so that labs may run side by side. However the process ends, a shell that waits for its end removes
everything; if even that one is killed, the next lab does it.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeVar

from tests.helpers.require import require
from tests.nat.housekeeping import NAMESPACES, PREFIX, SECONDS, compiled, janitor, shell, sweep
from tests.nat.kinds import Kind, Kind6, rules

Place = Literal["A", "B", "S"]
Result = TypeVar("Result")

ROOM: Final = ("11.9.0.1", "11.9.1.1")
"""The two addresses of S: not in one /24."""
ROOM6: Final = "2a11:9::1"
DELAY: Final = 0.010
_PLACES: Final[tuple[Place, ...]] = ("A", "B", "S")
_PREFIXES: Final = {"A": "11.1.0.0/16,2a11:1::/32", "B": "11.2.0.0/16,2a11:2::/32", "S": "11.9.0.0/16,2a11:9::/32"}
_CLONE_NEWNET: Final = 0x40000000

_numbers = itertools.count(1)


class Count(NamedTuple):
    """Packets that came into the internet on one way, and how many of them were lost there."""

    udp_packets: int
    udp_bytes: int
    other_packets: int
    other_bytes: int
    lost: int


class NatLab:
    """a, b: what NAT-A and NAT-B are; a6, b6: their IPv6, if any. delay: seconds one way. loss: share of the packets.

    same_lan: B is on A's LAN, and b and b6 mean nothing. same_subnet: both LANs have the addresses 10.1.1.0/24, so
    that the two peers have one and the same address. routed: all addresses of the internet are private ones.
    Raises subprocess.CalledProcessError from `build` where the kernel does not do it.
    """

    def __init__(
        self,
        a: Kind = "port",
        b: Kind = "port",
        *,
        a6: Kind6 = None,
        b6: Kind6 = None,
        delay: float = DELAY,
        loss: float = 0.0,
        same_lan: bool = False,
        same_subnet: bool = False,
        routed: bool = False,
    ) -> None:
        if same_lan and a == "public":
            raise ValueError("one LAN behind nothing is no NAT lab")
        self.a, self.b, self.a6, self.b6 = a, b, a6, a6 if same_lan else b6
        self.same_lan = same_lan
        self._routed = routed
        self._delay, self._loss = delay, loss
        self._stem = f"{PREFIX}-{os.getpid()}-{next(_numbers)}"
        self._names = ["A", "B", "S", "NA", *(() if same_lan else ("NB",))]
        self._lans = {"A": self._lan(a, 1), "B": "10.1.1" if same_subnet else self._lan(b, 2)}
        self._internet: subprocess.Popen[str] | None = None
        self._janitor: subprocess.Popen[bytes] | None = None
        self._started: list[subprocess.Popen[Any]] = []

    # ------------------------------------------------------------ what is where

    @property
    def room_addresses(self) -> tuple[str, ...]:
        """Where S can be reached: two IPv4 addresses and, if any side has IPv6, one of that."""
        return (*map(self._outer, ROOM), *((ROOM6,) if self.a6 or self.b6 else ()))

    def namespace(self, name: str) -> str:
        """Of "A", "B", "S", "NA" or "NB"."""
        return f"{self._stem}-{name}"

    def address(self, place: Place) -> str:
        """A peer's own IPv4 address, or the first of S."""
        if place == "S":
            return self.room_addresses[0]
        return f"{self._lans['A']}.3" if self.same_lan and place == "B" else f"{self._lans[place]}.2"

    def address6(self, place: Place) -> str:
        """The same in IPv6, which is a public one."""
        if place == "S":
            return ROOM6
        return "2a11:1:0:1::3" if self.same_lan and place == "B" else f"2a11:{_number(place)}:0:1::2"

    def public_address(self, place: Place) -> str:
        """The IPv4 address that the world sees."""
        if place == "S":
            return self.room_addresses[0]
        at = "A" if self.same_lan else place
        is_public = (self.a if at == "A" else self.b) == "public"
        return self.address(place) if is_public else self._outer(f"11.{_number(at)}.0.1")

    def router_address(self, router: Literal["NA", "NB"]) -> str:
        """The IPv4 address of a router on its LAN."""
        return f"{self._lans['A' if router == 'NA' else 'B']}.1"

    def _outer(self, address: str) -> str:
        """An address of the internet, or what is there instead of it."""
        return address.replace("11.", "10.", 1) if self._routed else address

    def _lan(self, kind: Kind, number: int) -> str:
        if kind == "public":
            return self._outer(f"11.{number}.1")
        return f"192.168.{number}" if self._routed else f"10.1.{number}"

    # ------------------------------------------------------------ life

    def __enter__(self) -> NatLab:
        try:
            self.build()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def build(self) -> None:
        sweep()
        names = [self.namespace(name) for name in self._names]
        self._janitor = janitor(names)
        shell("".join(f"ip netns add {name}\n" for name in names))
        self._start_internet()
        for name, script in self._scripts().items():
            shell(_QUICK + script, *self.prefix(name))

    def remove(self) -> None:
        """Harmless when nothing was built, or when it has been removed already."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()
        for helper in (self._internet, self._janitor):  # both end with their stdin
            if helper is not None:
                helper.communicate(timeout=SECONDS)
        self._internet = self._janitor = None
        self._started.clear()

    def _start_internet(self) -> None:
        at = {"A": "NA", "B": "NA" if self.same_lan else "NB", "S": "S"}
        places = [place for place in _PLACES if not (self.same_lan and place == "B")]
        process = subprocess.Popen(
            [
                str(compiled()),
                str(self._delay),
                *(
                    f"{place}={NAMESPACES / self.namespace(at[place])}:{self._outer(_PREFIXES[place])}"
                    for place in places
                ),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._internet = process
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise subprocess.CalledProcessError(1, "internet", stderr=process.communicate()[1])
        self._places = places
        if self._loss:
            self.set_loss(self._loss)

    def _scripts(self) -> dict[str, str]:
        """What to run in each namespace, routers first: they make the cables."""
        routers = {"NA": self._router("A")} if self.same_lan else {"NA": self._router("A"), "NB": self._router("B")}
        return {**routers, "A": self._host("A"), "B": self._host("B"), "S": self._server()}

    def _router(self, side: Literal["A", "B"]) -> str:
        kind, kind6 = (self.a, self.a6) if side == "A" else (self.b, self.b6)
        lan, number = self._lans[side], _number(side)
        hosts = ("A", "B") if self.same_lan else (side,)
        cables = "".join(
            f"ip link add lan{host} type veth peer name eth0 netns {self.namespace(host)}\n"
            f"ip link set lan{host} master lan up\n"
            for host in hosts
        )
        return f"""
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
for file in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do [ ! -e $file ] || echo 0 >$file; done
ip link set lo up
ip link add lan type bridge
{cables}
ip address add {lan}.1/24 dev lan
{f"ip address add 2a11:{number}:0:1::1/64 dev lan nodad" if kind6 else ""}
ip link set lan up
ip address add {self._outer(f"11.{number}.0.1")}/32 dev wan
ip link set wan txqueuelen 4000 up
ip route add default dev wan
ip -6 route add default dev wan
nft -f - <<'RULES'
{rules(kind, kind6, f"{lan}.2")}
RULES
"""

    def _host(self, place: Literal["A", "B"]) -> str:
        lan = self._lans["A" if self.same_lan else place]
        router6 = f"2a11:{1 if self.same_lan else _number(place)}:0:1::1"
        has6 = self.a6 if place == "A" else self.b6
        ipv6 = f"""
ip address add {self.address6(place)}/64 dev eth0 nodad
ip -6 route add default via {router6}
"""
        return f"""
ip link set lo up
{"" if has6 else "echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6"}
ip link set eth0 gso_max_segs 1  # a train leaves datagram by datagram, as on a cable: routers here look at lengths
ip link set eth0 up
ip address add {self.address(place)}/24 dev eth0
ip route add default via {lan}.1
{ipv6 if has6 else ""}
"""

    def _server(self) -> str:
        return f"""
ip link set lo up
ip link set wan txqueuelen 4000 up
{"".join(f"ip address add {self._outer(address)}/32 dev wan; " for address in ROOM)}
ip address add {ROOM6}/128 dev wan nodad
ip route add default dev wan
ip -6 route add default dev wan
"""

    # ------------------------------------------------------------ doing things there

    def prefix(self, name: str) -> tuple[str, ...]:
        """What to write in front of a command to have it run there."""
        return ("ip", "netns", "exec", self.namespace(name))

    def run(self, name: str, arguments: Sequence[str], *, timeout: float = 60.0, **how: Any) -> Any:
        """subprocess.run there, with captured text unless told otherwise."""
        how = {"capture_output": True, "text": True, "check": True, **how}
        check = how.pop("check")
        return subprocess.run([*self.prefix(name), *arguments], check=check, timeout=timeout, **how)

    def popen(self, name: str, arguments: Sequence[str], **how: Any) -> subprocess.Popen[Any]:
        """subprocess.Popen there; it is killed with the lab if it still runs."""
        process = subprocess.Popen([*self.prefix(name), *arguments], **how)
        self._started.append(process)
        return process

    def socket(
        self,
        name: str,
        family: socket.AddressFamily = socket.AF_INET,
        kind: socket.SocketKind = socket.SOCK_DGRAM,
        protocol: int = 0,
    ) -> socket.socket:
        """A socket of this very process that lives there, for as long as it is open."""
        return self._inside(name, lambda: socket.socket(family, kind, protocol))

    def _inside(self, name: str, work: Callable[[], Result]) -> Result:
        """Do something in a thread that has gone there: sockets remember where they were made."""
        done: list[Result | OSError] = []

        def go() -> None:
            try:
                with (NAMESPACES / self.namespace(name)).open("rb") as there:
                    if ctypes.CDLL(None, use_errno=True).setns(there.fileno(), _CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), "setns")
                done.append(work())
            except OSError as error:
                done.append(error)

        thread = threading.Thread(target=go)
        thread.start()
        thread.join()
        outcome = done[0]
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    # ------------------------------------------------------------ weather

    def set_delay(self, seconds: float) -> None:
        """One way, from now on."""
        self._tell(f"delay {seconds}")

    def set_loss(self, share: float, *between: Place) -> None:
        """Lose so many packets from now on: everywhere, or both ways between two places."""
        for one, other in self._ways(between):
            self._tell(f"loss {one} {other} {share}")

    def down(self, *between: Place) -> None:
        """Cut one place off from everybody, or two from each other. Nobody is told: packets get lost."""
        self._cut("way", between, 0)

    def up(self, *between: Place) -> None:
        """The opposite of `down`."""
        self._cut("way", between, 1)

    def block_udp(self, *between: Place) -> None:
        """The same for UDP alone: direct paths die, and tunnels live."""
        self._cut("udp", between, 0)

    def allow_udp(self, *between: Place) -> None:
        """The opposite of `block_udp`."""
        self._cut("udp", between, 1)

    def counts(self) -> dict[tuple[Place, Place], Count]:
        """What has come into the internet, (from, to). On one LAN, what is B's counts as A's."""
        words = [int(word) for word in self._tell("count").split()]
        rows = [words[start : start + 7] for start in range(0, len(words), 7)]
        return {(self._places[row[0]], self._places[row[1]]): Count(*row[2:]) for row in rows}

    def _cut(self, what: str, between: Sequence[Place], value: int) -> None:
        if not between:
            raise ValueError("say which place, or which two")
        for one, other in self._ways(between):
            self._tell(f"{what} {one} {other} {value}")

    def _ways(self, between: Sequence[Place]) -> list[tuple[int, int]]:
        """Pairs of the forwarder's numbers: all of them, those of one place, those between two."""
        chosen = [self._places.index(place) for place in between]
        numbers = range(len(self._places))
        everywhere = [(one, other) for one in numbers for other in numbers]
        if len(chosen) == 2:
            return [(chosen[0], chosen[1]), (chosen[1], chosen[0])]
        return [way for way in everywhere if not chosen or chosen[0] in way]

    def _tell(self, command: str) -> str:
        process = self._internet
        if process is None or process.stdin is None or process.stdout is None:
            raise ValueError("the lab is closed")
        process.stdin.write(command + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if answer in ("", "what?\n"):
            raise RuntimeError(f"the internet does not understand {command!r}")
        return answer


_QUICK: Final = "for file in /proc/sys/net/ipv6/conf/*/accept_dad; do echo 0 >$file; done\n"
"""Nobody else has our addresses: no second of waiting for objections."""


def _number(place: str) -> int:
    return 1 if place == "A" else 2


@contextlib.contextmanager
def nat_lab(*kinds: Kind, **how: Any) -> Iterator[NatLab]:
    """A NatLab; the test is skipped, or fails if it must not be, where it cannot be had."""
    missing = [name for name in ("ip", "nft", "cc") if shutil.which(name) is None]
    able = sys.platform == "linux" and os.geteuid() == 0 and Path("/dev/net/tun").exists() and not missing
    require("nat", able, f"needs Linux, root, /dev/net/tun{''.join(f', {name}' for name in missing)}")
    lab = NatLab(*kinds, **how)
    try:
        try:
            lab.build()
        except subprocess.CalledProcessError as error:
            require("nat", False, str(error.stderr).strip())
        yield lab
    finally:
        lab.remove()

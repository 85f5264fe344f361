"""Two peers behind NATs of every kind, on virtual time: what `Punch` meets in the network namespaces, in a second.

::

    A ── NAT-A ── internet (delay, loss) ── NAT-B ── B        reflectors: two addresses in the internet

NATs are those of Linux: one table of flows, ports kept where that is possible. A port-open one takes packets for itself
that nobody has asked for, and remembers them: what is sent to their source later gets another port, and so does what
the same socket sends to anybody new from then on, for a new flow takes the newest port of its socket.
"""

from __future__ import annotations

import enum
import functools
import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from ssbfast.wire.direct.keys import DirectKeys, Role
from ssbfast.wire.direct.punch import birthday
from ssbfast.wire.direct.punch.attempt import Failed, Nominated, Proven, Punch, PunchEffect, SendProbe
from ssbfast.wire.direct.punch.budgets import Unanswered
from ssbfast.wire.direct.punch.candidates import (
    Address,
    Candidate,
    Candidates,
    Kind,
    NatMapping,
    Surroundings,
    admit,
    parse_whereabouts,
)
from ssbfast.wire.direct.punch.pace import ProbePace, Turn

REFLECTORS: tuple[Address, Address] = (("192.0.2.1", 3478), ("192.0.2.2", 3478))
EXPORT_KEY = bytes(range(32))
QUIC = b"\xc0initial"
QUIC_ANSWER = b"\xc0answer"


class NatKind(enum.Enum):
    PUBLIC = "public"
    FULL_CONE = "full cone"
    ADDRESS = "address-restricted"
    PORT = "port-restricted"
    PORT_OPEN = "port-open"
    SYMMETRIC = "symmetric"
    BLOCKED = "blocked"


class SimulatedNat:
    """One host and its NAT. inner: the host's own IP address; public ones have no other."""

    def __init__(self, kind: NatKind, outer: str, inner: str, rng: random.Random) -> None:
        self.kind = kind
        self.outer = outer
        self.inner = outer if kind is NatKind.PUBLIC else inner
        self._rng = rng
        self._table: dict[tuple[int, Address], Address | None] = {}  # None: the NAT's own
        self._flows: dict[tuple[Address, Address], int] = {}
        self._known: dict[tuple[int, str], Address] = {}
        self._newest: dict[Address, int] = {}
        self.pace = ProbePace()  # of the host, as is the next one
        self.unanswered = Unanswered()

    def outbound(self, inner: Address, remote: Address) -> Address | None:
        """The address under which the internet sees this packet."""
        if self.kind is NatKind.BLOCKED:
            return None
        if self.kind is NatKind.PUBLIC:
            return inner
        port = self._flows.get((inner, remote))
        if port is None:
            kept = () if self.kind is NatKind.SYMMETRIC else (self._newest.get(inner, inner[1]), inner[1])
            drawn = (self._rng.randrange(1024, 65536) for _ in itertools.count())
            port = next(port for port in itertools.chain(kept, drawn) if (port, remote) not in self._table)
            self._remember(inner, remote, port)
        return self.outer, port

    def inbound(self, remote: Address, port: int) -> Address | None:
        """The inner address that gets this packet, if any."""
        if self.kind is NatKind.BLOCKED:
            return None
        if self.kind is NatKind.PUBLIC:
            return self.inner, port
        if (port, remote) in self._table:
            return self._table[port, remote]
        inner = None
        if self.kind is NatKind.FULL_CONE:
            inner = self.inner, port
        elif self.kind is NatKind.ADDRESS:
            inner = self._known.get((port, remote[0]))
        elif self.kind is NatKind.PORT_OPEN:
            self._table[port, remote] = None
        if inner is not None:
            self._remember(inner, remote, port)
        return inner

    def _remember(self, inner: Address, remote: Address, port: int) -> None:
        self._flows[inner, remote] = port
        self._table[port, remote] = inner
        self._known[port, remote[0]] = inner
        self._newest[inner] = port


class SimulatedInternet:
    """The internet and its clock. delay: one way, seconds. loss: part of the packets."""

    def __init__(self, seed: int, *, delay: float = 0.01, loss: float = 0.0) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.delay = delay
        self.loss = loss
        self.nats: dict[str, SimulatedNat] = {}
        self.hosts: dict[str, PunchEnd] = {}
        self.strays: list[Address] = []  # where packets went that nobody lives at
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, when: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (when, next(self._order), do))

    def run(self, until: float) -> None:
        """Let time pass."""
        while self._queue and self._queue[0][0] <= until:
            self.now, _, do = heapq.heappop(self._queue)
            do()
        self.now = until

    def send(self, nat: SimulatedNat, inner: Address, remote: Address, data: bytes) -> None:
        source = nat.outbound(inner, remote)
        if source is not None and self.rng.random() >= self.loss:
            self.at(self.now + self.delay, lambda: self.arrive(source, remote, data))

    def arrive(self, source: Address, remote: Address, data: bytes) -> None:
        """A packet comes to the edge of where it is going. (Tests call this to forge one.)"""
        nat = self.nats.get(remote[0])
        if nat is None:
            self.strays.append(remote)
            return
        inner = nat.inbound(source, remote[1])
        side = self.hosts.get(nat.outer)
        if inner is not None and side is not None:
            side.arrived(inner[1], data, source)


@dataclass
class PunchEnd:
    """One end of one attempt: fresh sockets, and what came of them."""

    net: SimulatedInternet
    nat: SimulatedNat
    role: Role
    epoch: int
    sockets: int = 1
    ports: list[int] = field(default_factory=list)
    punch: Punch | None = None
    seen: list[PunchEffect] = field(default_factory=list)
    sent: list[tuple[float, Address, bytes]] = field(default_factory=list)
    start = 0.0  # when the target begins
    found: float | None = None  # when the caller had its path
    connected: float | None = None  # when QUIC had gone both ways, at the caller
    turn: Turn | None = None

    def __post_init__(self) -> None:
        self.net.hosts[self.nat.outer] = self
        self._socket(self.sockets - 1)

    def gather(self, *, birthday: bool = False) -> Candidates:
        """What reflectors would say."""
        inner = self.nat.inner, self.ports[0]
        found = [item for item in (self.nat.outbound(inner, server) for server in REFLECTORS) if item is not None]
        candidates = [Candidate(self.nat.inner, self.ports[0], Kind.HOST)]
        if found and found[0] != inner:
            candidates.insert(0, Candidate(*found[0], Kind.REFLEXIVE))
        mapping = NatMapping.UNKNOWN
        if found:
            mapping = NatMapping.EASY if len(set(found)) == 1 else NatMapping.HARD
        self.ours = Candidates(tuple(candidates), mapping, birthday)
        return parse_whereabouts(self.ours.as_json())

    def begin(self, theirs: Candidates, start: float) -> None:
        """`Attempt.punch`."""
        around = Surroundings(reflexive=self.ours.reflexive(), reflectors=frozenset(host for host, _ in REFLECTORS))
        remote = admit(theirs, around)
        rng = self.net.rng
        self.punch = Punch(
            DirectKeys.derive(EXPORT_KEY, self.role, self.epoch),
            families=[4] * self.sockets,
            remote=remote,
            start=start,
            random=rng.randbytes,
            unanswered=self.nat.unanswered,
            around=around,
            search=birthday.plan(self.ours, theirs, remote, [4] * self.sockets, rng.randrange),
        )
        self.turn = self.nat.pace.enter(b"peer", self._send)
        self._tick()

    def leave(self) -> None:
        """`Attempt.close`."""
        if self.turn is not None:
            self.nat.pace.leave(self.turn)

    def arrived(self, port: int, data: bytes, source: Address) -> None:
        if port not in self.ports or self.punch is None:
            return  # an attempt that is over, or has not begun
        index = self.ports.index(port)
        if data == QUIC:
            if self.punch.choose(index, source) or self._is_chosen(index, source):
                self._drain()
                self.net.send(self.nat, (self.nat.inner, port), source, QUIC_ANSWER)
        elif data == QUIC_ANSWER:
            self.connected = self.connected if self.connected is not None else self.net.now
        else:
            self.punch.receive(index, data, source, self.net.now)
            self._drain()

    @property
    def nominated(self) -> Nominated | None:
        return next((effect for effect in self.seen if isinstance(effect, Nominated)), None)

    @property
    def proven(self) -> set[tuple[int, Address]]:
        return {(effect.socket, effect.address) for effect in self.seen if isinstance(effect, Proven)}

    @property
    def failed(self) -> Failed | None:
        return next((effect for effect in self.seen if isinstance(effect, Failed)), None)

    def busiest_second(self) -> int:
        """Probes that left within one second, at the most."""
        times = [when for when, _, _ in self.sent]
        first = most = 0
        for last, when in enumerate(times):
            while times[first] < when - 1:
                first += 1
            most = max(most, last - first + 1)
        return most

    def _is_chosen(self, index: int, source: Address) -> bool:
        chosen = self.nominated
        return chosen is not None and (chosen.socket, chosen.address) == (index, source)

    def _tick(self) -> None:
        if self.punch is not None:
            self.punch.handle_timer(self.net.now)
            self._drain()

    def _send(self, now: float) -> None:
        assert self.punch is not None and self.turn is not None
        self.punch.send(now)
        self._carry_out()
        self.turn.due = self.punch.due()

    def _drain(self) -> None:
        """`Attempt._advance`."""
        assert self.punch is not None and self.turn is not None
        self._carry_out()
        self.turn.due = self.punch.due()
        self.nat.pace.run(self.net.now)
        at = min((at for at in (self.punch.timer(), self.nat.pace.timer()) if at is not None), default=None)
        if at is not None:
            self._timer = marker = object()
            self.net.at(max(at, self.net.now), lambda: self._tick() if self._timer is marker else None)

    def _carry_out(self) -> None:
        assert self.punch is not None
        for effect in self.punch.effects():
            self.seen.append(effect)
            if isinstance(effect, SendProbe):
                self.sent.append((self.net.now, effect.address, effect.data))
                inner = self.nat.inner, self._socket(effect.socket)
                self.net.send(self.nat, inner, effect.address, effect.data)
            elif isinstance(effect, Nominated) and self.role is Role.CALLER:
                self.found = self.net.now
                for pause in (0.0, 0.2, 0.6, 1.4, 3.0):
                    self.net.at(self.net.now + pause, functools.partial(self._dial, effect))

    def _dial(self, path: Nominated) -> None:
        if self.connected is None:
            self.net.send(self.nat, (self.nat.inner, self.ports[path.socket]), path.address, QUIC)

    def _socket(self, index: int) -> int:
        """The port of a socket, opened now if need be."""
        while len(self.ports) <= index:
            self.ports.append(self.net.rng.randrange(32768, 61000))
        return self.ports[index]


@dataclass
class PunchResult:
    """attempts: how many it took, 0 if none did. seconds: from the first SYNC. caller, target: of the last attempt."""

    attempts: int
    seconds: float
    caller: PunchEnd
    target: PunchEnd


def meet(
    one: NatKind,
    two: NatKind,
    *,
    seed: int = 1,
    attempts: int = 3,
    delay: float = 0.01,
    loss: float = 0.0,
    late: tuple[float, ...] = (),
    birthday: bool = False,
) -> PunchResult:
    """The caller behind `one` and the target behind `two` punch, as often as they may.

    late: by how much the caller's start misses the target's, for each attempt. birthday: both opt in.
    """
    net = SimulatedInternet(seed, delay=delay, loss=loss)
    a = SimulatedNat(one, "203.0.113.1", "192.168.1.5", net.rng)
    b = SimulatedNat(two, "198.51.100.1", "192.168.2.5", net.rng)
    net.nats = {nat.outer: nat for nat in (a, b)}
    begun = net.now
    for number in range(attempts):
        caller, target = PunchEnd(net, a, Role.CALLER, number + 1), PunchEnd(net, b, Role.TARGET, number + 1)
        from_caller, from_target = caller.gather(birthday=birthday), target.gather(birthday=birthday)
        start = net.now + 2 * delay  # SYNC takes the way through the room
        caller.start = start
        missed = late[number] if number < len(late) else 0.0
        net.at(net.now, functools.partial(caller.begin, from_target, start + missed))
        net.at(start, functools.partial(target.begin, from_caller, start))
        while caller.connected is None and caller.failed is None and net.now < start + 30:
            net.run(net.now + 0.01)
        caller.leave()
        if caller.connected is not None:
            return PunchResult(number + 1, caller.connected - begun, caller, target)
    return PunchResult(0, net.now - begun, caller, target)

"""One attempt to open a direct path: fresh sockets, what reflectors say of them, and the punch (`wire/direct/punch`).

::

    ours = await attempt.gather()                  → goes into direct.offer, or into its answer
    theirs = parse_whereabouts(…)                  ← from the other side
    punched = await attempt.punch(keys, theirs)    caller: the path that was chosen;
                                                   target: the one on which the caller's QUIC has come
    path = DirectPath(punched.udp, …)              the socket is its owner's now
    attempt.hand_to(path)                          target: addresses that may speak QUIC, and early datagrams
    attempt.close()                                once QUIC is up, or given up

Until it is closed an attempt answers checks on the socket that won: the other side may be later than we are. Each
attempt needs fresh sockets, for the ports of one that failed may be spoilt: make a new `Attempt`.

What an attempt uses is counted for its peer (`direct/budgets.py`): it may get no sockets, and it may be given up for
another attempt. One that has not begun to punch `OFFER_SECONDS` after it has gathered closes itself.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import secrets
import socket
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ssbfast import limits
from ssbfast.direct.budgets import Resources
from ssbfast.direct.interfaces import HostAddress, host_addresses
from ssbfast.direct.port_mapper import PortMapping
from ssbfast.direct.stun_client import reflexive
from ssbfast.direct.udp import Address, UdpSocket
from ssbfast.errors import LocalProtocolError, PunchError
from ssbfast.wire.direct.keys import DirectKeys, Role
from ssbfast.wire.direct.punch import birthday
from ssbfast.wire.direct.punch.attempt import Failed, Nominated, Proven, Punch, SendProbe
from ssbfast.wire.direct.punch.budgets import Place, Stage
from ssbfast.wire.direct.punch.candidates import (
    Candidate,
    Candidates,
    Kind,
    NatMapping,
    Surroundings,
    admit,
    canonical_host,
    is_credible,
    is_sendable,
    may_send,
)
from ssbfast.wire.direct.punch.pace import Turn

_LONG_HEADER = 0x80
"""First byte of a QUIC packet that names its connection (RFC 9000 §17.2)."""


class QuicTarget(Protocol):
    """The path of the target, as far as an attempt knows it (`direct/quic_path.py`)."""

    def allow(self, address: Address) -> None:
        """Note that a valid probe came from there."""

    def datagram(self, data: bytes, source: Address) -> None:
        """Take one datagram."""

    def batch_done(self) -> None:
        """Note that nothing more has come for now."""


@dataclass(frozen=True, slots=True)
class Punched:
    """A path that works. udp: its socket, the receiver's to close from now on. rtt: seconds, None if not measured."""

    udp: UdpSocket
    remote: Address = field(repr=False)
    rtt: float | None


class Attempt:
    """An attempt to open a path; `gather` and `punch` once each, in this order.

    reflectors: IP literals and ports; a few are asked. key: of the peer. resources: what it is counted in; None: those
    of this event loop. loopback: this machine's own addresses count, too. used: our addresses that are known to lead
    somewhere, which are told before others. port_mapping: our router is asked to let every sender in (never with
    `loopback`). birthday: we would take part in a search.
    may_search: asked when it comes to one, which begins then; `has_searched` says so. Its maker closes it.
    """

    def __init__(
        self,
        reflectors: Sequence[Address] = (),
        *,
        key: bytes = b"",
        resources: Resources | None = None,
        loopback: bool = False,
        used: Collection[str] = (),
        port_mapping: bool = False,
        birthday: bool = False,
        may_search: Callable[[], bool] = lambda: True,
    ) -> None:
        self._reflectors = _chosen(reflectors)
        self._key = key
        self._resources = resources or Resources.shared()
        self._loopback = loopback
        self._used = {host.partition("%")[0] for host in used}
        self._port_mapping = port_mapping
        self._birthday = birthday
        self._may_search = may_search
        self._loop = asyncio.get_running_loop()
        self._place: Place | None = None
        self._claimed = False
        self._turn: Turn | None = None
        self._sockets: list[UdpSocket | None] = []  # by index; None could not be opened
        self._ordinary = 0  # those behind are a search's
        self._hosts: list[HostAddress] = []
        self._seen_at: frozenset[str] = frozenset()
        self._answered = 0  # reflectors that told our IPv4 address
        self._no_search: str | None = None
        self._ours = Candidates()
        self._punch: Punch | None = None
        self._role = Role.CALLER
        self._timer: asyncio.TimerHandle | None = None
        self._outcome: asyncio.Future[Punched] = self._loop.create_future()
        self._closed = False
        self._winner: int | None = None
        self.has_searched = False
        """Whether a birthday search has begun."""
        self._connection = b""
        self._proven: dict[tuple[int, Address], None] = {}
        self._early: list[tuple[bytes, Address]] = []
        self._path: QuicTarget | None = None

    @property
    def is_closed(self) -> bool:
        return self._closed

    # ---------------------------------------------------------------- before the punch

    async def gather(self, *, spare: bool = False) -> Candidates:
        """Open the sockets, and find out where we can be reached; at most `GATHER_SECONDS`.

        Our router is asked beside the reflectors, and waited for at most `MAPPING_WAIT_SECONDS`.

        spare: it is not waited for yet; it is the first to be given up. `claim` ends that.
        Raises PunchError when no socket can be had, or the attempt was given up; MissingExtraError without the extra
        `direct`.
        """
        if self._sockets or self._closed:
            raise LocalProtocolError("an attempt gathers once: another needs fresh sockets")
        stage = Stage.SPARE if spare and not self._claimed else Stage.WAITING
        self._place = self._resources.attempts.enter(self._key, stage, self.close)
        if self._place is None:
            self.close()
            raise PunchError("too many attempts at a time")
        try:
            self._hosts = host_addresses(loopback=self._loopback)
        except OSError:
            self.close()
            raise PunchError("this machine does not tell its addresses") from None
        families = (socket.AF_INET, socket.AF_INET6)
        opened = [self._resources.open(self._key, family) for family in families]
        self._sockets = [udp for udp in opened if udp is not None]
        self._ordinary = len(self._sockets)
        if not self._sockets:
            self.close()
            raise PunchError("no UDP socket can be had")
        began = self._loop.time()
        mapping = self._map_port()
        asked = [(udp, server) for _, udp in self._open_sockets() for server in self._reflectors]
        answers = await asyncio.gather(*(reflexive(udp, server, limits.GATHER_SECONDS) for udp, server in asked))
        if mapping is not None and not self._closed:
            await self._await_mapping(mapping, began, is_seen=any(answers))
        if self._closed:
            raise PunchError("the attempt was given up")
        if mapping is not None and mapping.address is None:
            mapping.close()  # it comes too late to be told
        mapped = None if mapping is None else mapping.address
        told = ((udp, server, at) for (udp, server), at in zip(asked, answers, strict=True) if at is not None)
        self._learn(told, mapped)
        self._expire()
        return self._ours

    def _map_port(self) -> PortMapping | None:
        """Ask our router to let every sender in to our IPv4 socket, as long as that is in use."""
        udp = next((udp for _, udp in self._open_sockets() if udp.family == socket.AF_INET), None)
        if udp is None or not self._port_mapping or self._loopback:
            return None
        mapping = self._resources.ports.map(udp.local[1], self._hosts)
        if mapping is not None:
            udp.on_unused = mapping.close
        return mapping

    async def _await_mapping(self, mapping: PortMapping, began: float, *, is_seen: bool) -> None:
        """Wait for a router that is known to answer, or that alone may tell where the world reaches us."""
        if mapping.is_prompt or not is_seen:
            await mapping.settled(began + limits.MAPPING_WAIT_SECONDS - self._loop.time())

    def claim(self) -> None:
        """Note that a caller waits for it now: it is not spare any more."""
        self._claimed = True
        if self._place is not None:
            self._place.stage = Stage.WAITING
        if self._timer is not None:
            self._expire()

    def _expire(self) -> None:
        """Close it unless punching begins in time."""
        self._call_at(self._loop.time() + limits.OFFER_SECONDS, self.close)

    def _learn(self, answers: Iterable[tuple[UdpSocket, Address, Address]], mapped: Address | None) -> None:
        """Make of what reflectors and our router say what we say of ourselves.

        answers: our socket, the reflector, where it saw us. mapped: where the router lets every sender in.
        """
        seen: dict[UdpSocket, list[tuple[str, Address]]] = defaultdict(list)
        for udp, (reflector, _), at in answers:
            own = {(item.host, udp.local[1]) for item in self._hosts}
            if is_credible(at, reflector, own):
                seen[udp].append((reflector, at))
        self._seen_at = frozenset(at[0] for found in seen.values() for _, at in found)
        self._answered = sum(len(found) for udp, found in seen.items() if udp.family == socket.AF_INET)
        self._ours = Candidates(tuple(self._candidates(seen, mapped)), self._mapping(seen, mapped), self._birthday)

    def _candidates(self, seen: dict[UdpSocket, list[tuple[str, Address]]], mapped: Address | None) -> list[Candidate]:
        """Return our router's mapping and what reflectors saw first, then where we speak to our rooms from, then all
        the rest in the order of `host_addresses`: bridges of containers must not crowd out what leads somewhere.

        One address counts for each socket and IP address of a reflector: one that has several ports may show that a NAT
        is hard, when all but one of them are of no use to peers; or it lies, and has our peers send to third parties.
        """
        found: dict[bool, list[Candidate]] = {False: [], True: []}
        told = sorted(self._hosts, key=lambda item: item.host not in self._used)
        for _, udp in self._open_sockets():
            is_v6 = udp.family == socket.AF_INET6
            found[is_v6] = [Candidate(item.host, udp.local[1], Kind.HOST) for item in told if item.is_v6 is is_v6]
        hosts = [item for pair in itertools.zip_longest(*found.values()) for item in pair if item is not None]
        known = {item.address for item in hosts}
        own = {host for host, _ in self._reflectors}
        outside: dict[object, Address] = {} if mapped is None else {"mapped": mapped}
        for udp, answers in seen.items():
            for reflector, at in answers:
                if is_sendable(*at, loopback=self._loopback) and at[0] not in own and at not in known:
                    outside.setdefault((udp, reflector), at)
        reflexive = [Candidate(*at, Kind.REFLEXIVE) for at in dict.fromkeys(outside.values())]
        return [*reflexive, *hosts][: limits.CANDIDATES]

    def _mapping(self, seen: dict[UdpSocket, list[tuple[str, Address]]], mapped: Address | None) -> NatMapping:
        """Return how the NAT of our IPv4 socket gives out ports: one for all, when there is a mapping for all."""
        answers = next((found for udp, found in seen.items() if udp.family == socket.AF_INET), [])
        if mapped is not None and any(at[0] == mapped[0] for _, at in answers):
            return NatMapping.EASY
        if len(answers) < 2:
            return NatMapping.UNKNOWN
        return NatMapping.EASY if len({at for _, at in answers}) == 1 else NatMapping.HARD

    # ---------------------------------------------------------------- the punch

    async def punch(
        self,
        keys: DirectKeys,
        theirs: Candidates,
        start_in: float = 0.0,
        *,
        connection: bytes = b"",
        seconds: float = limits.PUNCH_SECONDS,
    ) -> Punched:
        """Open a path to the other side, which does the same at the same time.

        theirs: `parse_whereabouts` of what it said. start_in: seconds until then; the target starts at once, the
        caller half a round trip of the tunnel after it has sent SYNC. connection: target only, the id of the QUIC
        connection that SYNC named; only a packet for it can choose the path. seconds: how long to try.
        Raises PunchError after that time (`BIRTHDAY_SECONDS` with a search). Then, and when cancelled, the attempt is
        closed.
        """
        if not self._sockets or self._punch is not None or self._place is None:
            raise LocalProtocolError("an attempt punches once, after gathering")
        if self._closed:
            raise PunchError("the attempt was given up")
        self._role, self._connection = keys.role, connection
        self._place.stage = Stage.PUNCHING
        self._punch = self._plan(keys, theirs, self._loop.time() + start_in, seconds)
        self._turn = self._resources.enter(self._key, self._send_probe)
        for index, udp in self._open_sockets():
            self._listen(index, udp)
        try:
            self._tick()
            return await self._outcome
        except BaseException:
            self._winner = None  # its socket has no other owner
            self.close()
            raise

    def hand_to(self, path: QuicTarget) -> None:
        """Tell the target's path, after `punch`, which addresses may speak, now and later; hand it early datagrams."""
        self._path = path
        for index, address in self._proven:
            if index == self._winner:
                path.allow(address)
        early, self._early = self._early, []
        for data, source in early:
            path.datagram(data, source)
        if early:
            path.batch_done()

    def close(self) -> None:
        """Stop answering, and close all sockets but the one that `punch` has given away. Harmless when done already."""
        self._closed = True
        self._stop_timer()
        self._close_losers()
        for _, udp in self._open_sockets():
            udp.probes = udp.stun = None
            if isinstance(udp.quic, _Doorbell):
                udp.quic = None
        self._path = None
        if self._turn is not None:
            self._resources.leave(self._turn)
        if self._place is not None:
            self._resources.attempts.leave(self._place)
        self._resources.sockets.end_search(self)
        if not self._outcome.done():
            self._outcome.set_exception(PunchError("the attempt was given up"))
            self._outcome.exception()  # a failure that nothing awaits is no error

    def _plan(self, keys: DirectKeys, theirs: Candidates, start: float, seconds: float) -> Punch:
        """Plan where to send to, and whether to search for it."""
        families = [4 if udp.family == socket.AF_INET else 6 for _, udp in self._open_sockets()]
        around = self._surroundings()
        remote = admit(theirs, around)
        for _, udp in self._open_sockets():
            udp.may_send = functools.partial(may_send, around=around)
        search = birthday.plan(self._ours, theirs, remote, families, secrets.randbelow)
        if search is not None and not self._begin_search(search):
            search = None
        self.has_searched = search is not None
        if search is None:
            self._no_search = birthday.why_not(self._ours, theirs, self._answered)
        return Punch(
            keys,
            families=families,
            remote=remote,
            start=start,
            random=os.urandom,
            unanswered=self._resources.unanswered,
            around=around,
            search=search,
            seconds=seconds,
        )

    def _begin_search(self, search: birthday.Search) -> bool:
        """Return whether it may begin: for its sockets, and for what this peer has had."""
        sockets = self._resources.sockets
        if isinstance(search, birthday.OpenSockets) and not sockets.begin_search(self):
            return False
        if not self._may_search():
            sockets.end_search(self)
            return False
        return True

    def _surroundings(self) -> Surroundings:
        return Surroundings(
            subnets=tuple(dict.fromkeys(item.subnet for item in self._hosts)),
            reflexive=self._seen_at,
            reflectors=frozenset(host for host, _ in self._reflectors),
            loopback=self._loopback,
        )

    def _listen(self, index: int, udp: UdpSocket) -> None:
        udp.probes = functools.partial(self._probed, index)
        if self._role is Role.TARGET:
            udp.quic = _Doorbell(functools.partial(self._on_early_quic, index))

    def _probed(self, index: int, data: bytes, source: Address) -> None:
        if self._punch is not None:
            self._punch.receive(index, data, source, self._loop.time())
            self._advance(self._punch)

    def _on_early_quic(self, index: int, data: bytes, source: Address) -> None:
        """Keep QUIC that came to the target before it has a path. The first packet is the caller's choice."""
        if self._winner is None:
            expected = bytes([len(self._connection)]) + self._connection if self._connection else b""
            if not data[0] & _LONG_HEADER or not data.startswith(expected, 5):
                return
            if self._punch is None or not self._punch.choose(index, source):
                return
            self._advance(self._punch)
        if self._winner == index and len(self._early) < limits.UDP_BATCH:
            self._early.append((data, source))

    def _tick(self) -> None:
        if self._punch is not None:
            self._punch.handle_timer(self._loop.time())
            self._advance(self._punch)

    def _send_probe(self, now: float) -> None:
        """Send one probe: it is our turn."""
        if self._punch is not None and self._turn is not None:
            self._punch.send(now)
            self._carry_out(self._punch)
            self._turn.due = self._punch.due()

    def _advance(self, punch: Punch) -> None:
        """Go on after something has come, or time has passed."""
        self._carry_out(punch)
        if self._closed:
            return
        at = punch.timer()
        if at is None:
            self._stop_timer()
        else:
            self._call_at(at, self._tick)
        if self._turn is not None:
            self._turn.due = punch.due()
            self._resources.run()

    def _carry_out(self, punch: Punch) -> None:
        for effect in punch.effects():
            match effect:
                case SendProbe(index, address, data):
                    udp = self._socket(index)
                    if udp is not None:
                        udp.send(data, address)
                case Proven(index, address):
                    self._proven[index, address] = None
                    if self._path is not None and index == self._winner:
                        self._path.allow(address)
                case Nominated(index, address, rtt):
                    self._won(index, address, rtt)
                case Failed(reason):
                    hint = f"; no birthday search: {self._no_search}" if self._no_search else ""
                    self._fail(f"no direct path: {reason}{hint}")

    def _call_at(self, at: float, what: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self._loop.call_at(at, what)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _won(self, index: int, address: Address, rtt: float | None) -> None:
        udp = self._sockets[index]
        if udp is None or self._outcome.done():  # done: the waiting task was cancelled
            self._fail("the socket of the path is closed")
            return
        self._winner = index
        self._close_losers()
        if index >= self._ordinary and not self._resources.keep(self._key, udp):
            self._winner = None
            self._fail("no direct path: no UDP socket can be had")
            return
        self._outcome.set_result(Punched(udp, address, rtt))

    def _fail(self, reason: str) -> None:
        if not self._outcome.done():
            self._outcome.set_exception(PunchError(reason))

    # ---------------------------------------------------------------- sockets

    def _open_sockets(self) -> list[tuple[int, UdpSocket]]:
        return [(index, udp) for index, udp in enumerate(self._sockets) if udp is not None and not udp.is_closed]

    def _socket(self, index: int) -> UdpSocket | None:
        """Return one of our sockets; a search opens its own, one after the other."""
        if index == len(self._sockets) and self._winner is None and not self._closed:
            udp = _open_for_search(self._sockets)
            self._sockets.append(udp)
            if udp is not None:
                self._listen(index, udp)
        return self._sockets[index] if index < len(self._sockets) else None

    def _close_losers(self) -> None:
        for index, udp in self._open_sockets():
            if index != self._winner:
                udp.close()


class _Doorbell:
    """QUIC side of a socket that no path has taken yet."""

    def __init__(self, ring: Callable[[bytes, Address], None]) -> None:
        self._ring = ring

    def datagram(self, data: bytes, source: Address) -> None:
        self._ring(data, source)

    def train(self, data: memoryview, segment: int, source: Address) -> None:
        """Do nothing: a socket reads trains for a path that is ready."""

    def batch_done(self) -> None:
        """Do nothing: each datagram was kept for later, or not."""


def _open_for_search(beside: Sequence[UdpSocket | None]) -> UdpSocket | None:
    """Open one more socket, with the rule of those that are there."""
    try:
        udp = UdpSocket.open(socket.AF_INET)
    except OSError:  # no descriptor left: those that are there have to do
        return None
    udp.may_send = next((other.may_send for other in beside if other is not None), None)
    return udp


def _chosen(reflectors: Sequence[Address]) -> list[Address]:
    """Choose the reflectors to ask: the first port of each IP address, then second ones."""
    by_host: dict[str, dict[int, None]] = defaultdict(dict)
    for text, port in reflectors:
        host = canonical_host(text)
        if host is not None:
            by_host[host][port] = None
    few = [[(host, port) for port in ports][: limits.REFLECTORS_PER_HOST] for host, ports in by_host.items()]
    in_turns = (item for row in itertools.zip_longest(*few) for item in row if item is not None)
    return list(in_turns)[: limits.REFLECTORS]

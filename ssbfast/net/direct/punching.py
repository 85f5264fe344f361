"""One attempt to open a direct path: fresh sockets, what reflectors say of them, and the punch (`wire/punch`).

::

    ours = await attempt.gather()                  → goes into direct.offer, or into its answer
    theirs = parse_whereabouts(…)                  ← from the other side
    punched = await attempt.punch(keys, theirs)    caller: the path that was chosen;
                                                   target: the one on which the caller's QUIC has come
    path = DirectPath(punched.udp, …)              the socket is its owner's now
    attempt.hand_to(path)                          target: who may speak QUIC, and what came before there was a path
    attempt.close()                                once QUIC is up, or given up

Until it is closed an attempt answers checks on the socket that won: the other side may be later than we are. Each
attempt needs fresh sockets, for the ports of one that failed may be spoilt: make a new `Attempt`.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ssbfast import limits
from ssbfast.errors import LocalProtocolError, PunchError
from ssbfast.net.direct.interfaces import HostAddress, host_addresses
from ssbfast.net.direct.stun import reflexive
from ssbfast.net.direct.udp import Address, UdpSocket
from ssbfast.wire.direct_keys import DirectKeys, Role
from ssbfast.wire.punch import birthday
from ssbfast.wire.punch.attempt import Failed, Nominated, Proven, Punch, SendProbe
from ssbfast.wire.punch.candidates import (
    Candidate,
    Kind,
    NatMapping,
    Surroundings,
    Whereabouts,
    admit,
    canonical_host,
    is_sendable,
)

_LONG_HEADER = 0x80
"""First byte of a QUIC packet that names its connection (RFC 9000 §17.2)."""


class QuicTarget(Protocol):
    """The target's path, as far as an attempt knows it (`net/direct/path.py`)."""

    def allow(self, address: Address) -> None:
        """A valid probe came from there."""

    def datagram(self, data: bytes, source: Address) -> None:
        """One datagram."""

    def batch_done(self) -> None:
        """Nothing more for now."""


@dataclass(frozen=True, slots=True)
class Punched:
    """A path that works. udp: its socket, the receiver's to close from now on. rtt: seconds, None if not measured."""

    udp: UdpSocket
    remote: Address = field(repr=False)
    rtt: float | None


class Attempt:
    """One attempt; `gather` and `punch` once each, in this order.

    reflectors: IP literals and ports; the first few are asked. loopback: this machine's own addresses count, too.
    birthday: we would take part in a search; `has_searched` says whether it came to one. Whoever made it closes it.
    """

    def __init__(self, reflectors: Sequence[Address] = (), *, loopback: bool = False, birthday: bool = False) -> None:
        asked = ((canonical_host(host), port) for host, port in reflectors[: limits.REFLECTORS])
        self._reflectors = [(host, port) for host, port in asked if host is not None]
        self._loopback = loopback
        self._birthday = birthday
        self._loop = asyncio.get_running_loop()
        self._sockets: list[UdpSocket | None] = []  # by index; None could not be opened
        self._hosts: list[HostAddress] = []
        self._ours = Whereabouts()
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

    # ---------------------------------------------------------------- before the punch

    async def gather(self) -> Whereabouts:
        """Open the sockets, and find out where we can be reached; at most `GATHER_SECONDS`.

        Raises PunchError when no socket can be had, MissingExtraError without the extra `direct`.
        """
        if self._sockets or self._closed:
            raise LocalProtocolError("an attempt gathers once: another needs fresh sockets")
        try:
            self._hosts = host_addresses(loopback=self._loopback)
        except OSError:
            raise PunchError("this machine does not tell its addresses") from None
        self._sockets = [udp for udp in map(_open, (socket.AF_INET, socket.AF_INET6)) if udp is not None]
        if not self._open_sockets():
            raise PunchError("no UDP socket can be had")
        seen: dict[Address, list[Address]] = {}  # our own address → where reflectors saw it, one entry each
        asked = [(udp, server) for _, udp in self._open_sockets() for server in dict.fromkeys(self._reflectors)]
        answers = await asyncio.gather(*(reflexive(udp, server, limits.GATHER_SECONDS) for udp, server in asked))
        for (udp, _), answer in zip(asked, answers, strict=True):
            if answer is not None:
                seen.setdefault(udp.local, []).append(answer)
        self._ours = Whereabouts(tuple(self._candidates(seen)), self._mapping(seen), self._birthday)
        return self._ours

    def _candidates(self, seen: dict[Address, list[Address]]) -> list[Candidate]:
        """What reflectors saw first: bridges of containers and the like must not crowd it out."""
        found: dict[bool, list[Candidate]] = {False: [], True: []}
        for _, udp in self._open_sockets():
            is_v6 = udp.family == socket.AF_INET6
            found[is_v6] = [
                Candidate(item.host, udp.local[1], Kind.HOST) for item in self._hosts if item.is_v6 is is_v6
            ]
        hosts = [item for pair in itertools.zip_longest(*found.values()) for item in pair if item is not None]
        known = {item.address for item in hosts}
        own = {host for host, _ in self._reflectors}
        mapped: dict[object, Candidate] = {}
        for answers in seen.values():
            hard = len(set(answers)) > 1  # then the port is of no use to anybody, and one of each IP address enough
            for host, port in answers:
                usable = is_sendable(host, port, loopback=self._loopback) and host not in own
                if usable and (host, port) not in known:
                    mapped.setdefault(host if hard else (host, port), Candidate(host, port, Kind.REFLEXIVE))
        return [*mapped.values(), *hosts][: limits.CANDIDATES]

    def _mapping(self, seen: dict[Address, list[Address]]) -> NatMapping:
        """How the NAT of our IPv4 socket gives out ports."""
        answers = next((found for local, found in seen.items() if ":" not in local[0]), [])
        if len(answers) < 2:
            return NatMapping.UNKNOWN
        return NatMapping.EASY if len(set(answers)) == 1 else NatMapping.HARD

    # ---------------------------------------------------------------- the punch

    async def punch(
        self,
        keys: DirectKeys,
        theirs: Whereabouts,
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
        if not self._sockets or self._punch is not None or self._closed:
            raise LocalProtocolError("an attempt punches once, after gathering")
        self._role, self._connection = keys.role, connection
        self._punch = self._plan(keys, theirs, self._loop.time() + start_in, seconds)
        for index, udp in self._open_sockets():
            self._listen(index, udp)
        try:
            self._tick()
            return await self._outcome
        except BaseException:
            self._winner = None  # nobody has got its socket
            self.close()
            raise

    def hand_to(self, path: QuicTarget) -> None:
        """Target, after `punch`: tell the path who may speak, now and later, and give it what has come already."""
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
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._close_losers()
        for _, udp in self._open_sockets():
            udp.probes = udp.stun = None
            if isinstance(udp.quic, _Doorbell):
                udp.quic = None
        self._path = None
        if not self._outcome.done():
            self._outcome.set_exception(PunchError("the attempt was given up"))
            self._outcome.exception()  # when nobody waits for it, nobody has to hear of it

    def _plan(self, keys: DirectKeys, theirs: Whereabouts, start: float, seconds: float) -> Punch:
        """Where to send to, and whether to search for it."""
        families = [4 if udp.family == socket.AF_INET else 6 for _, udp in self._open_sockets()]
        remote = admit(theirs, self._surroundings())
        search = birthday.plan(self._ours, theirs, remote, families, secrets.randbelow)
        self.has_searched = search is not None
        return Punch(
            keys,
            families=families,
            remote=remote,
            start=start,
            random=os.urandom,
            search=search,
            loopback=self._loopback,
            seconds=seconds,
        )

    def _surroundings(self) -> Surroundings:
        return Surroundings(
            subnets=tuple(dict.fromkeys(item.subnet for item in self._hosts)),
            reflexive=self._ours.reflexive(),
            reflectors=frozenset(host for host, _ in self._reflectors),
            loopback=self._loopback,
        )

    def _listen(self, index: int, udp: UdpSocket) -> None:
        udp.probes = functools.partial(self._probed, index)
        if self._role is Role.TARGET:
            udp.quic = _Doorbell(functools.partial(self._rung, index))

    def _probed(self, index: int, data: bytes, source: Address) -> None:
        if self._punch is not None:
            self._punch.receive(index, data, source, self._loop.time())
            self._carry_out(self._punch)

    def _rung(self, index: int, data: bytes, source: Address) -> None:
        """QUIC came to the target before it has a path. The caller's choice is the first packet of its connection."""
        if self._winner is None:
            expected = bytes([len(self._connection)]) + self._connection if self._connection else b""
            if not data[0] & _LONG_HEADER or not data.startswith(expected, 5):
                return
            if self._punch is None or not self._punch.choose(index, source):
                return
            self._carry_out(self._punch)
        if self._winner == index and len(self._early) < limits.UDP_BATCH:
            self._early.append((data, source))

    def _tick(self) -> None:
        if self._punch is not None:
            self._punch.handle_timer(self._loop.time())
            self._carry_out(self._punch)

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
                case Failed(reason) if not self._outcome.done():  # else it was cancelled a moment ago
                    self._outcome.set_exception(PunchError(f"no direct path: {reason}"))
        if self._timer is not None:
            self._timer.cancel()
        at = None if self._closed else punch.timer()
        self._timer = None if at is None else self._loop.call_at(at, self._tick)

    def _won(self, index: int, address: Address, rtt: float | None) -> None:
        udp = self._sockets[index]
        if self._outcome.done():
            return  # it was cancelled a moment ago
        if udp is None:
            self._outcome.set_exception(PunchError("the socket of the path is closed"))
            return
        self._winner = index
        self._close_losers()
        self._outcome.set_result(Punched(udp, address, rtt))

    # ---------------------------------------------------------------- sockets

    def _open_sockets(self) -> list[tuple[int, UdpSocket]]:
        return [(index, udp) for index, udp in enumerate(self._sockets) if udp is not None and not udp.is_closed]

    def _socket(self, index: int) -> UdpSocket | None:
        """One of our sockets; a search opens its own, one after the other."""
        if index == len(self._sockets) and self._winner is None and not self._closed:
            udp = _open(socket.AF_INET)
            self._sockets.append(udp)
            if udp is not None:
                self._listen(index, udp)
        return self._sockets[index] if index < len(self._sockets) else None

    def _close_losers(self) -> None:
        for index, udp in self._open_sockets():
            if index != self._winner:
                udp.close()


class _Doorbell:
    """The QUIC side of a socket that no path has taken yet."""

    def __init__(self, ring: Callable[[bytes, Address], None]) -> None:
        self._ring = ring

    def datagram(self, data: bytes, source: Address) -> None:
        self._ring(data, source)

    def batch_done(self) -> None:
        """Each datagram was kept for later, or not."""


def _open(family: socket.AddressFamily) -> UdpSocket | None:
    try:
        return UdpSocket.open(family)
    except OSError:  # no IPv6 here, or no descriptor left: another socket may do
        return None

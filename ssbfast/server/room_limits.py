"""What a room's peers may hold and spend: `ssbfast.budgets` applied to connections, sessions and tunnels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING

from ssbfast import limits
from ssbfast.budgets import Places, Rates, Rings, Tally, Verdict
from ssbfast.net.relayed_tunnel import RelayedTunnel
from ssbfast.net.sockets import files_allowed
from ssbfast.room.effects import Effect, Joined, Left, Splice, StreamItem
from ssbfast.server.limit_table import DELAYED, RoomCaps, files_beside
from ssbfast.server.meter import Meter

if TYPE_CHECKING:
    from ssbfast.server.session import RoomSession


_LOOKED_AT = 4
"""Tunnels of a session that are looked at: it may have a thousand."""


class RoomLimits:
    """The limits of one room.

    caps: what they are set to; of files that may be open, no more is used than there are.
    now: a clock that does not jump, in seconds. reached: told the name of a limit each time it is reached.
    """

    def __init__(
        self,
        caps: RoomCaps,
        now: Callable[[], float],
        reached: Callable[[str], None],
    ) -> None:
        self._now = now
        self._reached = reached
        self._set_to = caps
        self.caps = caps = caps.within(files_allowed())
        self.connections: Places[RoomSession] = Places("connections", caps.places("connections"), self._silence)
        self.sessions: Places[RoomSession] = Places("sessions", caps.places("sessions"), self._standing)
        self.tunnels: Places[RelayedTunnel] = Places("tunnels", caps.places("tunnels"), self._use)
        self.rates = Rates(caps.allowances(DELAYED))
        self.penalties = caps.penalties()
        self.meter = Meter(caps, now, reached) if Meter.is_needed(caps) else None
        self.tally = Tally()
        self._tunnels_per_session = caps.count("tunnels_per_session")

    # ------------------------------------------------------------ penalties

    def is_refused(self, networks: Rings) -> bool:
        """Return whether a connection of an address is to be refused at once, for what others of it have done.

        Not where a peer of the address has a session already: places and rates bound that address well enough, and a
        household does not lose the room for what one of its machines does.
        """
        now = self._now()
        if not self.penalties.is_penalised(networks, now):
            return False
        if self._has_proof(networks[-1]) or self.caps.is_allowed(networks) or self.penalties.may_try(networks, now):
            return False
        self._reached("trials_per_address")
        return True

    def _has_proof(self, network: str) -> bool:
        return any(session.age() >= limits.PENALTY_PROOF_SECONDS for session in self.sessions.some(network))

    def fail(self, session: RoomSession) -> None:
        """Charge an address for a connection that came to nothing by the peer's own fault."""
        if not self.caps.is_allowed(session.networks) and self.penalties.fail(session.networks, self._now()):
            self._reached("failures_per_address")

    # ------------------------------------------------------------ places

    def leave_files(self, wanted: int) -> int:
        """Leave files to a web site, which are not there for sessions then; return how many."""
        files = files_allowed()
        left = files_beside(files, wanted)
        self.caps = self._set_to.within(files, beside=left)
        self.sessions.caps = self.caps.places("sessions")
        return left

    def connect(self, session: RoomSession) -> bool:
        """Give a new connection a place; cut the one that loses its place for it. Return whether it has one."""
        verdict = self.connections.ask(session.networks)
        if verdict.leaves is None and verdict.enters:
            self._hurry(session.networks)
        if not self._settle(verdict):
            return False
        if verdict.leaves is not None:
            self._cut(verdict.leaves)
        self.connections.add(session, session.networks)
        return True

    def _hurry(self, networks: Rings) -> None:
        """Cut a long silent connection without asking it where half of the places are taken."""
        for network, cap in self.connections.caps.of(networks):
            if self.connections.held(network) * 2 > cap:
                longest = self.connections.least(network)
                if longest is not None and not longest.link.has_spoken and longest.age() > limits.SILENT_SECONDS:
                    self._reached("connections_silent")
                    self._cut(longest)
                return

    def _cut(self, connection: RoomSession) -> None:
        if not connection.link.has_spoken and connection.age() > limits.SILENT_SECONDS:
            self.fail(connection)
        self.connections.remove(connection)
        connection.abort()

    def enter(self, session: RoomSession) -> bool:
        """Return whether a proven peer gets a place as a session; cut the one that loses its place for it."""
        verdict = self.sessions.ask(session.networks)
        if not self._settle(verdict):
            return False
        if verdict.leaves is not None:
            self.sessions.remove(verdict.leaves)
            verdict.leaves.dismiss()
        return True

    def open(self, caller: RoomSession, target: RoomSession) -> bool:
        """Return whether a tunnel may be opened; end the one that loses its place for it."""
        if len(caller.splices) >= self._tunnels_per_session:
            self._reached("tunnels_per_session")
            return False
        if len(target.splices) >= self._tunnels_per_session and not self._make_room(caller, target):
            self._reached("tunnels_per_session")
            return False
        verdict = self.tunnels.ask(caller.networks)
        if not self._settle(verdict):
            return False
        if verdict.leaves is not None:
            verdict.leaves.displace()
        return True

    def _make_room(self, caller: RoomSession, target: RoomSession) -> bool:
        """Make room at a full target: the network with most of its tunnels gives one up, but not for itself."""
        by_network: dict[str, list[RelayedTunnel]] = {}
        for splice in target.splices.values():
            by_network.setdefault(splice.caller.share.network, []).append(splice)
        most = max(by_network.values(), key=len)
        own = by_network.get(caller.link.share.network, [])
        if len(own) >= len(most):
            most = [splice for splice in own if splice.caller is not caller.link]
            by_key: dict[object, list[RelayedTunnel]] = {}
            for splice in most:
                by_key.setdefault(splice.caller.remote, []).append(splice)
            most = max(by_key.values(), key=len, default=[])
            if len(most) <= sum(splice.caller is caller.link for splice in own) + 1:
                return False
        min(most, key=self._use).displace()
        return True

    def _settle(self, verdict: Verdict[RoomSession] | Verdict[RelayedTunnel]) -> bool:
        if verdict.reason:
            self._reached(verdict.reason)
        return verdict.enters

    # ------------------------------------------------------------ what goes first (the least of them)

    def _silence(self, session: RoomSession) -> tuple[bool, float]:
        """Rank connections: silent ones go first, of these the oldest."""
        return session.link.has_spoken, session.began

    def _standing(self, session: RoomSession) -> tuple[bool, bool, bool, int, float]:
        """Rank sessions: those without tunnels go first, of these one of the key that has most, of these the newest.

        A new session gets a moment without tunnels; a session whose tunnels are used stays longer than a new one.
        """
        few = islice(session.splices.values(), _LOOKED_AT)
        is_used = any(max(splice.moved) > limits.UNUSED_TUNNEL for splice in few)
        is_new = session.age() < limits.EVICTION_GRACE
        return is_used, is_new, bool(session.splices), -session.siblings(), -session.began

    def _use(self, splice: RelayedTunnel) -> tuple[bool, float]:
        """Rank tunnels: those that carried no more than a handshake go first, of these the newest."""
        return max(splice.moved) > limits.UNUSED_TUNNEL, -splice.began

    # ------------------------------------------------------------ rates

    def spend(self, session: RoomSession, kind: str, target: object = None) -> None:
        """Charge a session for something; when it has spent too much it is not read for a while.

        target: the peer that a tunnel leads to.
        """
        networks = session.networks
        if target is not None:
            networks = tuple(f"{network} {target}" for network in networks)
        delay = self.rates.spend(kind, session.number, session.link.remote, networks, self._now())
        if delay.seconds > 0:
            self._reached(delay.limit)
            session.link.pause(min(delay.seconds, limits.PAUSE_SECONDS))

    def charge(self, session: RoomSession, effects: Iterable[Effect]) -> None:
        """Charge a session for what its call costs others."""
        is_list_charged = False
        for effect in effects:
            if isinstance(effect, Joined | Left):
                self.spend(session, "announcements")
            elif isinstance(effect, StreamItem):
                if effect.snapshot and effect.session == session.number and not is_list_charged:
                    is_list_charged = True  # the list of members comes in pieces
                    self.spend(session, "lists")
            elif isinstance(effect, Splice):
                self.spend(session, "opens")
                self.spend(session, "visits", effect.to)

"""A world for `wire.direct.carriers`: two ends, one room, tunnels, direct paths, a virtual clock, chaos from a seed.

::

    Side(caller) ── tunnels through the room (in order, stallable, cut at any byte) ── Side(target)
                 ── direct paths (records and data separately, pings, death at any byte, lost closes) ──

Each side sends a known stream, ends it with a goodbye, and checks every delivered byte against the other's. A *fair*
schedule never takes away what nobody could replace (a tunnel that S is using, or the room for more than 10 s): both
sides have to end with everything delivered. A foul one does; then it is enough that nothing is wrong and all ends.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable
from typing import Final

from ssbfast.errors import DeadlineError, SSBError
from ssbfast.wire.direct.carriers import effects
from ssbfast.wire.direct.carriers.handover import Kind, Phase
from ssbfast.wire.direct.carriers.session import Carriers
from ssbfast.wire.direct.keys import Role
from tests.helpers.carrier_ways import DirectPath, Pipe, Tunnel

WINDOW: Final = 2048
FLUSH: Final = 512
BACKLOG: Final = 3000
"""Bytes that wait in a tunnel, or unread behind it, before the flow control of tunnels stops the other end."""

POOL: Final = random.Random(4).randbytes(1 << 17)
START: Final = {Role.CALLER: 0, Role.TARGET: 1 << 16}
HORIZON: Final = 900.0


class SimulatedEnd:
    """One end: the shell around a machine, with an application that sends, reads, stands still and says goodbye."""

    def __init__(self, world: CarrierSimulation, role: Role, machine: Carriers, total: int, polite: bool) -> None:
        self.world = world
        self.role = role
        self.machine = machine
        self.other: SimulatedEnd
        self.paths: dict[int, Tunnel | DirectPath] = {}
        self.waiting: list[Pipe] = []
        self.early: list[tuple[DirectPath, str, bytes]] = []
        self.total = total
        self.polite = polite  # says goodbye only behind the other's
        self.sent = self.got = self.unread = 0
        self.said = self.heard = False
        self.pace = world.rng.choice((0.01, 0.1, 0.4))
        self.stalled_until = 0.0
        self.outcome: str | SSBError | None = None
        self.forgotten = False
        self.most_kept = self.most_unread = 0
        self.wanting_standby = self.wanting_quic = False
        self._to = 0  # carrier of the last Data
        self._wake: float | None = None

    # ------------------------------------------------------------ the machine

    @property
    def full(self) -> bool:
        return self.unread > BACKLOG

    def arrived(self, carrier: int, kind: str, data: bytes) -> None:
        now = self.world.now
        if kind == "records":
            self.machine.records(carrier, data, now)
        elif kind == "data":
            self.machine.data(carrier, data, now)
        else:
            self.machine.lost(carrier, now, clean=kind in ("end", "close"))
        self.after()

    def after(self) -> None:
        """Do what the machine wants, and look when it wants to be called."""
        while todo := self.machine.effects():
            for effect in todo:
                self._perform(effect)
        at = self.machine.timer()
        if at is not None and (self._wake is None or at < self._wake):
            self._wake = at
            self.world.at(max(at, self.world.now), lambda: self._woken(at))

    def _woken(self, at: float) -> None:
        if self._wake != at:
            return
        self._wake = None
        self.machine.handle_timer(self.world.now)
        self.after()

    def _perform(self, effect: effects.Effect) -> None:
        world = self.world
        if isinstance(effect, effects.Deliver):
            self._deliver(effect.data)
        elif isinstance(effect, effects.Data):
            self._to = effect.carrier
            self.paths[effect.carrier].write(self.role, "data", effect.data)
        elif isinstance(effect, effects.Records):
            self.paths[effect.carrier].write(self.role, "records", effect.data)
        elif isinstance(effect, effects.BeginRaw):
            self.paths[effect.carrier].write(self.role, "begin", b"")
        elif isinstance(effect, effects.EndCarrier):
            path = self.paths.get(effect.carrier)
            if path is None:  # it came too late, and is not entered yet
                world.at(world.now, lambda: self.paths[effect.carrier].end(self.role, effect.clean))
            else:
                path.end(self.role, effect.clean)
        elif isinstance(effect, effects.Ping):
            path = self.paths[effect.carrier]
            if not isinstance(path, DirectPath):
                raise AssertionError("a ping for a tunnel")
            path.ping(self.role)
        else:
            self._note(effect)

    def _note(self, effect: effects.Effect) -> None:
        world = self.world
        world.seen[type(effect).__name__] += 1
        if isinstance(effect, effects.Failed):
            self.outcome = effect.error
            world.seen[str(effect.error)] += 1
        elif isinstance(effect, effects.Over):
            self.outcome = "over"
        elif isinstance(effect, effects.Forget):
            self.forgotten = True
        elif isinstance(effect, effects.WantStandby):
            world.dial_standby()
        elif isinstance(effect, effects.WantQuic):
            world.punch()
        elif isinstance(effect, effects.AskUpgrade):
            world.at(world.now + 0.1, world.asked)
        elif isinstance(effect, effects.PathChanged):
            world.seen[effect.path] += 1
            world.seen[effect.reason] += 1

    # ------------------------------------------------------------ the application

    def _deliver(self, data: bytes) -> None:
        start = START[self.role.other] + self.got
        if POOL[start : start + len(data)] != data:
            raise AssertionError("lost, doubled or re-ordered")
        self.got += len(data)
        self.unread += len(data)
        if self.got > self.other.sent:
            raise AssertionError("more than was sent")
        on_quic = self.machine._from is not None and self.machine._from.kind is Kind.QUIC
        if on_quic and self.unread > self.most_unread:
            self.most_unread = self.unread

    def write(self) -> None:
        """One step of the sender."""
        world, machine = self.world, self.machine
        if self.outcome is not None or self.said:
            return
        world.at(world.now + self.pace * world.rng.uniform(0.1, 3.0), self.write)
        path = self.paths[self._to]
        jammed = isinstance(path, Tunnel) and path.pipes[self.role].backlog > BACKLOG
        if jammed or machine.room <= 0:
            return
        if self.sent < self.total:
            size = min(self.total - self.sent, world.rng.choice((1, 17, 34, 100, FLUSH)))
            self._send(size)
        elif not self.polite or self.heard:
            self._send(34)
            self.said = True
            machine.said_goodbye(world.now)
        self.after()

    def _send(self, size: int) -> None:
        start = START[self.role] + self.sent
        self.sent += size
        self.machine.send(POOL[start : start + size], self.world.now)
        sending = self.machine._sending
        self.most_kept = max(self.most_kept, sum(map(len, sending._chunks)) - sending._acked)

    def read(self) -> None:
        """One step of the reader."""
        world, machine = self.world, self.machine
        if self.outcome is not None:
            return
        world.at(max(self.stalled_until, world.now + 2 * self.pace * world.rng.random()), self.read)
        if not self.unread or world.now < self.stalled_until:
            return
        size = world.rng.randint(1, self.unread)
        if self.got - self.unread + size == self.other.total + 34:
            self.heard = True
            machine.heard_goodbye(world.now)
            self.after()
        self.unread -= size
        machine.consumed(size, world.now)
        self.after()
        if not self.full:
            waiting, self.waiting = self.waiting, []
            for pipe in waiting:
                pipe.schedule()

    @property
    def complete(self) -> bool:
        return self.got == self.other.total + 34


class CarrierSimulation:
    """One schedule. make: builds the machines, so that broken ones can be shown to fail.

    fickle: both ends' users choose the tunnel, and the direct path again, every now and then.
    """

    def __init__(
        self, seed: int, *, foul: bool = False, fickle: bool = False, make: Callable[..., Carriers] = Carriers
    ) -> None:
        self.rng = random.Random(seed)
        self._moods = random.Random(seed) if fickle else None
        self.foul = foul
        self.now = 0.0
        self.seen: Counter[str] = Counter()
        self.tunnels: list[Tunnel] = []
        self.direct: DirectPath | None = None
        self._withheld = -60.0  # when a tunnel was held back last
        self.room_back = 0.0  # when the room is up again
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._chaos = self.rng.choice((0.0, 0.3, 0.6, 1.0, 3.0))  # mean seconds between blows
        self._blows = self.rng.randint(5, 60)
        self.caller, self.target = (self._side(role, make(role, window=WINDOW)) for role in (Role.CALLER, Role.TARGET))
        if self.caller.polite and self.target.polite:
            self.caller.polite = False
        self.caller.other, self.target.other = self.target, self.caller
        Tunnel(self, (self.caller, self.target), (0, 0))

    def _side(self, role: Role, machine: Carriers) -> SimulatedEnd:
        total = self.rng.choice((0, 1, 500, 6000, 15000, 30000))
        return SimulatedEnd(self, role, machine, total, polite=self.rng.random() < 0.3)

    def at(self, time: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (time, next(self._order), what))

    def run(self, doom: int | None = None) -> int:
        """Play the schedule to its end; returns the number of steps. Raises AssertionError when something is wrong.

        doom: before this step everything that carries anything dies, and the room stays away.
        """
        for side in (self.caller, self.target):
            self.at(self.rng.random() * 0.1, side.write)
            self.at(self.rng.random() * 0.1, side.read)
        self.at(0.3 * self.rng.random(), self._begin)
        if self._chaos:
            self.at(self.rng.expovariate(1 / self._chaos), self._blow)
        if self._moods is not None:
            self.at(self._moods.random(), self._choose)
        step = 0
        while self._heap and self.now < HORIZON:
            if step == doom:
                self._doom()
            step += 1
            self.now, _, what = heapq.heappop(self._heap)
            what()
        self._check()
        return step

    def _doom(self) -> None:
        self.room_back = HORIZON
        if self.direct is not None and not self.direct.dead:
            self.direct.die()
        for tunnel in list(self.tunnels):
            tunnel.die()

    def _begin(self) -> None:
        self.caller.machine.upgrade(self.now)
        self.caller.after()

    def asked(self) -> None:
        """The target asks for a direct path."""
        if self.caller.outcome is None:
            self.caller.machine.upgrade_asked(self.now)
            self.caller.after()

    def _choose(self) -> None:
        """A user chooses a path."""
        moods, side = self._moods, self.caller
        if moods is None or all(one.outcome is not None for one in (self.caller, self.target)):
            return
        if moods.random() < 0.5:
            side = self.target
        if moods.random() < 0.4:
            side.machine.leave(self.now)
        else:
            side.machine.upgrade(self.now, at_once=moods.random() < 0.5)
        side.after()
        self.at(self.now + moods.expovariate(0.5), self._choose)

    def _check(self) -> None:
        sides = (self.caller, self.target)
        for side in sides:
            if side.outcome is None:
                raise AssertionError(f"{side.role} never ended: {self.describe()}")
            if side.most_kept > WINDOW + FLUSH or side.most_unread > WINDOW + FLUSH:
                raise AssertionError(f"too much memory: {side.most_kept} kept, {side.most_unread} unread")
            if side.outcome == "over" and not (side.complete and side.forgotten):
                raise AssertionError(f"{side.role} is over without everything: {self.describe()}")
        if self.foul:
            return
        if not all(side.complete for side in sides):
            raise AssertionError(f"not everything was delivered: {self.describe()}")
        # Nobody can tell a last side that its goodbye arrived, if every way to it died at that moment.
        unsure = [side for side in sides if side.outcome != "over"]
        if len(unsure) > 1 or not all(isinstance(side.outcome, DeadlineError) for side in unsure):
            raise AssertionError(f"not ended in order: {self.describe()}")

    def describe(self) -> str:
        return "; ".join(
            f"{side.role.value}: {side.outcome!r}, {side.got} of {side.other.total + 34}, {side.machine!r}"
            for side in (self.caller, self.target)
        )

    # ------------------------------------------------------------ shells' work

    def dial_standby(self) -> None:
        epoch = self.caller.machine.next_epoch()
        self.at(self.now + self.rng.choice((0.05, 0.2, 1.0)), lambda: self._dialled(epoch))

    def _dialled(self, epoch: int) -> None:
        caller, target = self.caller.machine, self.target.machine
        gone = target._phase is Phase.DEAD
        if self.now < self.room_back or gone or not target.claim(epoch):
            caller.standby_failed(self.now, refused=gone and self.now >= self.room_back)
            self.caller.after()
            return
        theirs = target.standby_up(epoch, self.now)
        ours = caller._next_id  # given a moment later
        tunnel = Tunnel(self, (self.caller, self.target), (ours, theirs))
        if self.rng.random() < 0.1 and (self.foul or self.now > self._withheld + 60.0):
            self._withheld = self.now
            held = self.rng.choice((1.0, 4.0, 7.0, 1e6))
            for pipe in tunnel.pipes.values():  # held back one way for good, nobody can tell what has arrived
                pipe.stalled_until = self.now + (self.rng.choice((0.0, held)) if self.foul else held)
        self.target.after()
        caller.standby_up(epoch, self.now)
        self.caller.after()

    def punch(self) -> None:
        epoch = self.caller.machine.next_epoch()
        self.target.machine.claim(epoch)
        self.at(self.now + self.rng.choice((0.02, 0.1, 0.3)), lambda: self._punched(epoch))

    def _punched(self, epoch: int) -> None:
        luck = self.rng.random()
        target = self.target.machine  # the offer went through S: so the target has come to where the caller is
        if luck < 0.1 or self.target.outcome is not None or target._change or target._stranded is not None:
            self.caller.machine.upgrade_failed(self.now)
            self.caller.after()
            return
        path = DirectPath(self, (self.caller, self.target))
        path.up(self.target, epoch)
        if luck < 0.2:  # the target's proof never arrives
            path.die()
            self.caller.machine.upgrade_failed(self.now)
            self.caller.after()
            return
        self.direct = path
        if luck < 0.3:
            path.die()
        path.up(self.caller, epoch)

    # ------------------------------------------------------------ chaos

    def _blow(self) -> None:
        if not self._blows or all(side.outcome is not None for side in (self.caller, self.target)):
            return
        self._blows -= 1
        self.at(self.now + self.rng.expovariate(1 / self._chaos), self._blow)
        kind = self.rng.random()
        direct = self.direct
        if kind < 0.5:
            if direct is not None and not direct.dead:
                self.seen["direct paths killed"] += 1
                direct.die()
        elif kind < 0.65:
            side = self.rng.choice((self.caller, self.target))
            side.stalled_until = self.now + self.rng.choice((0.2, 1.0, 5.0, 40.0))
        elif kind < 0.75:
            for pipe in [pipe for tunnel in self.tunnels for pipe in tunnel.pipes.values()]:
                pipe.stalled_until = max(pipe.stalled_until, self.now + self.rng.choice((0.3, 3.0)))
        elif kind < 0.9:
            tunnel = self.rng.choice(self.tunnels) if self.tunnels else None
            if tunnel is not None and (self.foul or self._replaceable(tunnel)):
                self.seen["tunnels killed"] += 1
                tunnel.die(None if self.foul else 0.0)
        elif self.foul or (self._settled() and all(map(self._replaceable, self.tunnels))):
            self.seen["rooms killed"] += 1
            self.room_back = self.now + self.rng.choice((0.5, 3.0, 10.0))
            for tunnel in list(self.tunnels):
                tunnel.die(None if self.foul else 0.0)

    def _settled(self) -> bool:
        """Whether no side needs the room just now."""
        return all(side.machine._stranded is None for side in (self.caller, self.target))

    def _replaceable(self, tunnel: Tunnel) -> bool:
        """Whether S can do without: neither end sends or listens there, nor has moved there."""
        for side in (self.caller, self.target):
            machine, number = side.machine, tunnel.ids[side.role]
            for used in (machine._to, machine._from):
                if used is not None and used.id == number and used.kind is Kind.TUNNEL:
                    return False
            carrier = machine._carriers.get(number)
            if carrier is not None and carrier.taken is not None:
                return False  # about to move there, and to keep nothing
        return True

"""What carries a session in the world of `carrier_world`: pipes, tunnels, direct paths, and how each of them dies."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from ssbfast.wire.direct.keys import Role

if TYPE_CHECKING:
    from tests.helpers.carrier_world import CarrierSimulation, SimulatedEnd

Item = tuple[str, bytes]
"""("records" | "data" | "begin" | "end" | "cut" | "close" | "broken", bytes)."""


class Pipe:
    """One direction, in order: items arrive after random delays, cut into random pieces."""

    def __init__(
        self, world: CarrierSimulation, deliver: Callable[[str, bytes], None], delay: float, gate: SimulatedEnd | None
    ) -> None:
        self._world = world
        self._deliver = deliver
        self._delay = delay
        self.gate = gate  # whose full buffers hold data back
        self._queue: deque[tuple[float, Item]] = deque()
        self._last = 0.0
        self._scheduled = False
        self.stalled_until = 0.0
        self.closed = False  # nothing more is taken
        self.backlog = 0

    def write(self, kind: str, data: bytes = b"") -> None:
        if self.closed:
            return
        self._last = max(self._last, self._world.now + self._delay * self._world.rng.uniform(0.5, 1.5))
        self._queue.append((self._last, (kind, data)))
        self.backlog += len(data)
        self.schedule()

    def cut(self, last: str | None, *, keep: float | None = None) -> None:
        """Nothing more is taken; of what is under way a random number of bytes arrives (or `keep` of all), then `last`.

        last: the item that tells the receiver, if anything does.
        """
        if self.closed:
            return
        share = self._world.rng.random() if keep is None else keep
        left = round(share * self.backlog)
        kept: deque[tuple[float, Item]] = deque()
        for at, (kind, data) in self._queue:
            if left < len(data) or (not data and share < 1.0 and self._world.rng.random() > share):
                if left and data:
                    kept.append((at, (kind, data[:left])))
                break
            left -= len(data)
            kept.append((at, (kind, data)))
        self._queue = kept
        self.backlog = sum(len(data) for _, (_, data) in kept)
        if last is not None:
            self.write(last)
        self.closed = True

    def schedule(self) -> None:
        if self._queue and not self._scheduled:
            self._scheduled = True
            self._world.at(max(self._queue[0][0], self.stalled_until, self._world.now), self._pump)

    def _pump(self) -> None:
        self._scheduled = False
        while self._queue and self._queue[0][0] <= self._world.now and self.stalled_until <= self._world.now:
            kind, data = self._queue[0][1]
            if kind in ("data", "end", "cut") and self.gate is not None and self.gate.full:
                self.gate.waiting.append(self)
                return
            self._queue.popleft()
            self.backlog -= len(data)
            if not data:
                self._deliver(kind, data)
            while data:
                size = self._world.rng.choice((1, 16, 17, 18, 400, len(data)))
                self._deliver(kind, data[:size])
                data = data[size:]
        self.schedule()


class Tunnel:
    """A tunnel through the room: the first one, or a standby."""

    def __init__(self, world: CarrierSimulation, ends: tuple[SimulatedEnd, SimulatedEnd], ids: tuple[int, int]) -> None:
        self._world = world
        self.ids = dict(zip((side.role for side in ends), ids, strict=True))
        delay = world.rng.choice((0.01, 0.05, 0.3))
        self.dead = False
        self.pipes: dict[Role, Pipe] = {}
        for side, other in (ends, ends[::-1]):
            gate = other if self.ids[other.role] == 0 else None  # what is told of a standby waits for no reader
            self.pipes[side.role] = Pipe(world, self._receiver(other), delay, gate)
        for side in ends:
            side.paths[self.ids[side.role]] = self
        world.tunnels.append(self)

    def _receiver(self, side: SimulatedEnd) -> Callable[[str, bytes], None]:
        carrier = self.ids[side.role]
        seen = {"raw": carrier == 0}

        def deliver(kind: str, data: bytes) -> None:
            if kind == "begin":
                seen["raw"] = True
                self.pipes[side.role.other].gate = side
            elif kind == "data" and not seen["raw"]:
                raise AssertionError("raw bytes before the goodbye")
            else:
                side.arrived(carrier, kind, data)

        return deliver

    def write(self, role: Role, kind: str, data: bytes) -> None:
        self.pipes[role].write(kind, data)

    def end(self, role: Role, clean: bool) -> None:
        """One side ends it: what it wrote arrives first if that is in order."""
        self.pipes[role].cut("end" if clean else "cut", keep=1.0 if clean else None)
        self.pipes[role.other].cut(None, keep=0.0)
        self._gone()

    def die(self, keep: float | None = None) -> None:
        """The room, or the way there, is gone."""
        for pipe in self.pipes.values():
            pipe.cut("cut", keep=keep)
        self._gone()

    def _gone(self) -> None:
        self.dead = True
        if self in self._world.tunnels:
            self._world.tunnels.remove(self)


class DirectPath:
    """A direct path: two streams each way, answers to pings, and several ways to die."""

    def __init__(self, world: CarrierSimulation, ends: tuple[SimulatedEnd, SimulatedEnd]) -> None:
        self._world = world
        self._sides = {side.role: side for side in ends}
        self.ids: dict[Role, int] = {}
        self.delay = world.rng.choice((0.002, 0.02, 0.2))
        self.dead = False
        self.pipes: dict[Role, dict[str, Pipe]] = {}
        for side, other in (ends, ends[::-1]):
            self.pipes[side.role] = {
                kind: Pipe(world, self._receiver(other), self.delay, None) for kind in ("records", "data")
            }

    def _receiver(self, side: SimulatedEnd) -> Callable[[str, bytes], None]:
        def deliver(kind: str, data: bytes) -> None:
            if side.role in self.ids:
                side.arrived(self.ids[side.role], kind, data)
                self._answer(side.role.other)
            else:  # this end is not up yet: its shell keeps what comes
                side.early.append((self, kind, data))

        return deliver

    def up(self, side: SimulatedEnd, epoch: int) -> None:
        self.ids[side.role] = number = side.machine.quic_up(epoch, self._world.now)
        side.paths[number] = self
        side.after()
        for path, kind, data in [item for item in side.early if item[0] is self]:
            side.arrived(number, kind, data)
            side.early.remove((path, kind, data))

    def _answer(self, role: Role) -> None:
        """Something of `role`'s came through: the acknowledgement comes back."""
        self._world.at(self._world.now + self.delay, lambda: self._heard(role))

    def _heard(self, role: Role) -> None:
        side = self._sides[role]
        if not self.dead and role in self.ids:
            side.machine.data_received(self.ids[role], self._world.now)
            side.after()

    def ping(self, role: Role) -> None:
        self._world.at(self._world.now + self.delay, lambda: None if self.dead else self._answer(role))

    def write(self, role: Role, kind: str, data: bytes) -> None:
        self.pipes[role][kind].write(kind, data)

    def end(self, role: Role, clean: bool) -> None:
        told = None if self._world.rng.random() < 0.2 else "close" if clean else "broken"
        keep = self._world.rng.choice((1.0, None))
        self.pipes[role]["data"].cut(None, keep=keep)
        self.pipes[role]["records"].cut(told, keep=keep)
        self._silence(role.other)
        self.dead = True

    def die(self) -> None:
        """Silently, or with an error at either end."""
        self.dead = True
        for role in Role:
            told = "broken" if self._world.rng.random() < 0.3 else None
            self.pipes[role]["data"].cut(None)
            self.pipes[role]["records"].cut(told)

    def _silence(self, role: Role) -> None:
        for pipe in self.pipes[role].values():
            pipe.cut(None, keep=0.0)

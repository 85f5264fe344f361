"""Two backends, the same random calls, and every answer compared.

`Lockstep(seed)` makes two worlds (a hub with its links, lanes and inlets) of two backends and drives both with one
schedule: what peers send, good and bad, cut anywhere; what Python sends; flushes with odd room; closing of anything
at any moment. After each call it compares return values, errors, events, flushed bytes and all counters.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from types import ModuleType
from typing import Any

from ssbfast.errors import SSBError
from ssbfast.pure import CoreLimits, Status
from tests.helpers.traffic import BODIES, Traffic

REQS = [1, 2, 3, -1, -2, 7, 64, -65]


class BackendObjects:
    """One backend's objects; the same indices mean the same things in both worlds."""

    def __init__(self, core: ModuleType, pool: int) -> None:
        self.core = core
        self.hub = core.Hub(pool)
        self.links: list[Any] = []
        self.lanes: list[Any] = []
        self.inlets: list[Any] = []

    def state(self) -> tuple[Any, ...]:
        """All that can be seen without changing anything."""
        links = [
            (x.held, x.queued, x.control_queued, repr(x.failure), self.lanes.index(x.blocked) if x.blocked else None)
            for x in self.links
        ]
        lanes = [(x.queued, x.taken, x.put, x.full) for x in self.lanes]
        return (self.hub.lent, self.hub.left, self.hub.heavy(1), links, lanes)


class Lockstep:
    """One schedule. Raises AssertionError at the first difference; `log` says what was done."""

    def __init__(self, one: ModuleType, two: ModuleType, seed: int) -> None:
        self.rng = random.Random(seed)
        rng = self.rng
        self.log: list[str] = []
        self.seen: set[str] = set()  # what happened at least once
        tiny = rng.random() < 0.5
        pool = (512 + rng.choice((1, 2, 3, 5, 9, 17, 40))) * 4096 if tiny else 8 << 20
        self.worlds = (BackendObjects(one, pool), BackendObjects(two, pool))
        self.hostile = rng.choice((0.0, 0.02, 0.2))
        self.traffic: list[Traffic] = []
        self.status: list[Status] = []
        self.gone: list[bool] = []
        for i in range(rng.choice((1, 2, 2, 3))):
            self._open_link(i)

    # ------------------------------------------------------------ the machine

    def both(self, what: str, call: Callable[[BackendObjects], Any]) -> Any:
        """Do it in both worlds, compare answer and state, and return the answer."""
        self.log.append(what)
        answers = [self._answer(call, world) for world in self.worlds]
        assert answers[0] == answers[1], f"{what}: {_short(answers[0])} != {_short(answers[1])}"
        states = [world.state() for world in self.worlds]
        assert states[0] == states[1], f"state after {what}: {states[0]} != {states[1]}"
        self._note(*answers[0])
        return answers[0][1]

    def _note(self, error: str, value: Any) -> None:
        self.seen.add(error)
        if isinstance(value, bool):
            self.seen.add(str(value))
        elif isinstance(value, tuple) and len(value) == 2:
            status = next(v for v in value if isinstance(v, Status))
            self.seen.add(status.name)
            events = value[1] if value[0] is status else []
            self.seen |= {f"event {event[0]}" for event in events}
        world = self.worlds[1]
        self.seen |= {type(link.failure).__name__ for link in world.links}
        if any(link.held for link in world.links):
            self.seen.add("held")
        if any(lane.taken for lane in world.lanes):
            self.seen.add("tunnelled")

    @staticmethod
    def _answer(call: Callable[[BackendObjects], Any], world: BackendObjects) -> tuple[str, Any]:
        try:
            return "", call(world)
        except SSBError as error:
            return type(error).__name__, None

    def run(self, steps: int) -> None:
        """Random steps, then everything is closed in random order and nothing may be lent."""
        for _ in range(steps):
            self.step()
        closers = [("link", i) for i in range(len(self.worlds[0].links))]
        closers += [("lane", i) for i in range(len(self.worlds[0].lanes))]
        closers += [("inlet", i) for i in range(len(self.worlds[0].inlets))]
        self.rng.shuffle(closers)
        for kind, i in closers:
            self.both(f"close {kind} {i}", _closer(kind, i))
        assert self.worlds[0].hub.lent == self.worlds[1].hub.lent == 0
        self.both("trim", lambda w: w.hub.trim())

    def step(self) -> None:
        """One random call."""
        steps = (
            (30, self.receive), (10, self.proceed), (25, self.flush), (8, self.control), (12, self.write),
            (6, self.packet), (4, self.open_inlet), (3, self.open_lane), (1, self.close_inlet), (1, self.close_lane),
            (3, self.keep), (1, self.clear),
            (2, self.dirty), (1, self.trim), (0.3, self.goodbye), (0.3, self.close_link),
        )  # fmt: skip
        self.rng.choices([s for _, s in steps], [weight for weight, _ in steps])[0]()

    def _pick(self, things: list[Any]) -> int | None:
        return self.rng.randrange(len(things)) if things else None

    # ------------------------------------------------------------ the calls

    def _open_link(self, i: int) -> None:
        rng = self.rng
        keys = {
            "send_key": rng.randbytes(32), "send_nonce": rng.randbytes(24),
            "receive_key": rng.randbytes(32), "receive_nonce": rng.choice((b"\xff" * 24, rng.randbytes(24))),
        }  # fmt: skip
        limits = rng.choice(
            (
                CoreLimits(),
                CoreLimits(events=0),
                CoreLimits(4096, 1000, 5000, 3000, 20_000, 3),
                CoreLimits(rng.choice((100, 4096, 65535)), 30_000, 30_000, 100, 100, rng.choice((0, 1, 2))),
            )
        )
        split = rng.random() < 0.3

        def make(w: BackendObjects) -> None:
            w.links.append(w.core.Link(w.hub, i, limits=limits, split=split, **keys))

        self.both(f"link {i} {limits} split={split}", make)
        reqs = rng.sample(REQS, 4)
        self.traffic.append(Traffic(rng, keys["receive_key"], keys["receive_nonce"], reqs, self.hostile))
        self.status.append(Status.OK)
        self.gone.append(False)
        for _ in range(rng.randrange(4)):
            self.open_lane()
            self.open_inlet()

    def receive(self) -> None:
        i = self.rng.randrange(len(self.status))
        if self.status[i] == Status.AGAIN:  # the contract: proceed first
            self._proceed(i)
            return
        if self.status[i] == Status.BLOCKED and self.rng.random() < 0.8:
            return
        data = self.traffic[i].take()
        answer = self.both(f"receive {i} {len(data)}", lambda w: w.links[i].receive(bytearray(data)))
        self._follow(i, answer)

    def proceed(self) -> None:
        self._proceed(self.rng.randrange(len(self.status)))

    def _proceed(self, i: int) -> None:
        self._follow(i, self.both(f"proceed {i}", lambda w: w.links[i].proceed()))

    def _follow(self, i: int, answer: tuple[Status, list[Any]] | None) -> None:
        """Do what the caller has to: open inlets for streams that begin, proceed after AGAIN."""
        if answer is None:
            return
        self.status[i], events = answer
        for kind, flags, req, _ in events:
            if kind == 1 and flags & 0x0C == 8 and self.rng.random() < 0.5:
                self.open_inlet(i, req)
        if self.status[i] == Status.AGAIN:
            for _ in range(self.rng.choice((0, 0, 0, 1, 3))):
                self.rng.choice((self.flush, self.control, self.write, self.close_lane, self.close_inlet))()
            if self.rng.random() < 0.3:
                self._keep(i)
            else:
                self._proceed(i)

    def keep(self) -> None:
        """Input that is looked at later."""
        i = self.rng.randrange(len(self.status))
        if not self.gone[i]:
            self._keep(i)

    def _keep(self, i: int) -> None:
        data = self.traffic[i].take() if self.rng.random() < 0.5 else b""
        self.both(f"keep {i} {len(data)}", lambda w: w.links[i].keep(bytearray(data)))
        self.status[i] = Status.OK

    def flush(self) -> None:
        i = self.rng.randrange(len(self.status))
        room = self.rng.choice((0, 34, 35, 43, 44, 100, 1000, 4129, 4130, 4131, 9000, 9000, 40_000, 131_072))
        self.both(f"flush {i} {room}", lambda w: w.links[i].flush(room))

    def control(self) -> None:
        i = self.rng.randrange(len(self.status))
        flags, req = self.rng.choice(((2, -1), (0x0A, 3), (0x0E, -2), (0, 0)))
        body = self.rng.randbytes(0 if not flags else self.rng.choice((0, 4, 100, 5000)))
        self.both(f"control {i} {len(body)}", lambda w: w.links[i].control(flags, req, body))

    def write(self) -> None:
        if (i := self._pick(self.worlds[0].lanes)) is not None:
            data = self.rng.randbytes(self.rng.choice((0, *BODIES, 100_000)))
            self.both(f"write {i} {len(data)}", lambda w: w.lanes[i].write(data))

    def packet(self) -> None:
        if (i := self._pick(self.worlds[0].lanes)) is not None:
            flags = self.rng.choice((8, 9, 0x0A, 0x0E))
            body = self.rng.randbytes(self.rng.choice((1, 4, 4000, 4087, 4096, 10_000)))
            self.both(f"packet {i} {len(body)}", lambda w: w.lanes[i].packet(flags, body))

    def open_lane(self) -> None:
        i = self._pick(self.worlds[0].links)
        req, share = self.rng.choice(REQS), self.rng.choice((1, 5000, 262_144))
        if i is not None and len(self.worlds[0].lanes) < 12 and not self.gone[i]:
            self.both(
                f"lane {len(self.worlds[0].lanes)}: link {i} req {req} share {share}",
                lambda w: w.lanes.append(w.core.Lane(w.links[i], req, share)),
            )

    def open_inlet(self, i: int | None = None, req: int | None = None) -> None:
        i = self._pick(self.worlds[0].links) if i is None else i
        if i is None or self.gone[i] or len(self.worlds[0].inlets) >= 30:
            return
        number = self.rng.choice(REQS) if req is None else req
        lane = self._pick(self.worlds[0].lanes) if self.rng.random() < 0.8 else None
        self.both(
            f"inlet {len(self.worlds[0].inlets)}: link {i} req {number} lane {lane}",
            lambda w: w.inlets.append(w.core.Inlet(w.links[i], number, None if lane is None else w.lanes[lane])),
        )

    def close_inlet(self) -> None:
        if (i := self._pick(self.worlds[0].inlets)) is not None:
            self.both(f"close inlet {i}", lambda w: w.inlets[i].close())

    def close_lane(self) -> None:
        if (i := self._pick(self.worlds[0].lanes)) is not None:
            self.both(f"close lane {i}", lambda w: w.lanes[i].close())

    def clear(self) -> None:
        if (i := self._pick(self.worlds[0].lanes)) is not None:
            self.both(f"clear {i}", lambda w: w.lanes[i].clear())

    def dirty(self) -> None:
        self.both("dirty", lambda w: w.hub.dirty())

    def trim(self) -> None:
        self.both("trim", lambda w: w.hub.trim())

    def goodbye(self) -> None:
        i = self.rng.randrange(len(self.status))
        self.both(f"goodbye {i}", lambda w: w.links[i].goodbye())

    def close_link(self) -> None:
        i = self.rng.randrange(len(self.status))
        self.gone[i] = True
        self.both(f"close link {i}", lambda w: w.links[i].close())


def _closer(kind: str, i: int) -> Callable[[BackendObjects], Any]:
    return lambda world: getattr(world, f"{kind}s")[i].close()


def _short(answer: Any) -> str:
    text = repr(answer)
    return text if len(text) < 300 else f"{text[:150]} … {text[-150:]} ({len(text)} characters)"

"""All attacks by name. The rows are those of the list of faults that they come from; NAMES is the order of a run."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import combinations

from tests.hostile import connections as c
from tests.hostile import sessions as s
from tests.hostile import tunnels as t
from tests.hostile.stranger import Cut
from tests.hostile.world import ADDRESSES, HONEST_ADDRESS, AttackProcess, spread

ONE = ADDRESSES[:1]
OWN = (HONEST_ADDRESS,)
MB = 1_000_000


@dataclass(frozen=True)
class Attack:
    """run: the attack. own: it comes from the honest pair's own address. files: the room's hard limit of descriptors.
    unread: nobody reads what the room prints on stderr meanwhile. plain: on asyncio's own loop, not on uvloop.
    flood: how long joins take, and what memory it costs meanwhile, count as well."""

    row: str
    about: str
    run: Callable[[AttackProcess], Awaitable[None]]
    own: bool = False
    files: int = 0
    unread: bool = False
    plain: bool = False
    flood: bool = False


# ---------------------------------------------------------------- a stranger with many keys


def stranger(keys: int, addresses: tuple[str, ...] = ADDRESSES) -> Callable[[AttackProcess], Awaitable[None]]:
    """Each key does something of its own choice for a while, then something else, in a new session."""

    async def attack(world: AttackProcess) -> None:
        await world.go()
        silent = asyncio.ensure_future(c.connections(c.valid_hello, 300, 100, addresses)(world))
        works: list[tuple[s.Work, bool]] = [
            (s.pipelining(("attendants",)), True),
            (s.pipelining(s.MIXED), True),
            (s.pipelining(("endpoints", "metadata")), False),
            (s.pipelining(("nobody",), 20), False),
            (s._unfinished_answer, False),
            (s._unfinished_call, False),
        ]

        async def one(address: str) -> None:
            while True:
                work, deaf = world.rng.choice(works)
                try:
                    session = await world.dial(address, deaf=deaf)
                    await asyncio.wait_for(work(session), world.rng.uniform(0.2, 1.0))
                    session.reset()
                except (Cut, asyncio.TimeoutError):
                    world.did["cut"] += 1
                await asyncio.sleep(world.rng.uniform(0.05, 0.3))

        await asyncio.gather(silent, *(one(address) for address in spread(keys, addresses)))

    return attack


def flood(addresses: tuple[str, ...]) -> Callable[[AttackProcess], Awaitable[None]]:
    """2,000 slow connections, 1,000 wrong hellos a second, and 200 strangers a second who prove a key and leave."""

    async def attack(world: AttackProcess) -> None:
        parts = (
            c.slow(2000, 1000, addresses),
            c.connections(c.garbage_hello, 100_000, 1000, addresses),
            c.handshakes(200, addresses),
        )
        await asyncio.gather(*(part(world) for part in parts))

    return attack


# ---------------------------------------------------------------- the table


async def _nothing(world: AttackProcess) -> None:
    await world.go()
    world.did["nothing"] += 1


ATTACKS: dict[str, Attack] = {
    "nothing": Attack("-", "no attack: what instrument and machine show by themselves", _nothing),
    "lists": Attack(
        "A1", "one session pipelines {room.attendants, end}, unread", s.calls(("attendants",), 1, addresses=ONE)
    ),
    "lists-own": Attack(
        "A1", "the same from the pair's own address", s.calls(("attendants",), 1, addresses=OWN), own=True
    ),
    "endpoints": Attack(
        "A1b", "30 sessions pipeline {tunnel.endpoints, end}, unread", s.calls(("endpoints",), 30, addresses=ADDRESSES)
    ),
    "unfinished": Attack(
        "A2",
        "66 answers of 4 MiB and 100 calls of 64 KiB, unfinished; one unread session",
        s.unfinished(66, 100, 1, ADDRESSES),
    ),
    "unfinished-calls": Attack("A2", "500 calls of 64 KiB, unfinished", s.unfinished(0, 500, 0, ADDRESSES)),
    "calls": Attack(
        "A3a",
        "20 sessions pipeline 10,000 calls of all kinds, unread",
        s.calls(s.MIXED, 20, addresses=ADDRESSES, blocks=20),
    ),
    "calls-own": Attack(
        "A3a", "the same from the pair's own address", s.calls(s.MIXED, 20, addresses=OWN, blocks=20), own=True
    ),
    **{
        f"calls-{name}": Attack(
            "A3a", f"20 sessions pipeline calls of the kind {name}, unread", s.calls((name,), 20, addresses=ADDRESSES)
        )
        for name in s.MIXED
    },
    "tunnels": Attack("A3b", "16 pairs open 15,000 tunnels between them", t.many_tunnels(16, 5000, close=False)),
    "tunnel-churn": Attack("A3b", "16 pairs open and end 2,000 tunnels a second", t.many_tunnels(16, 2000, close=True)),
    "announces": Attack("A3c", "5 sessions announce and leave without a pause, 100 are told", s.announcing(100, 5)),
    "tunnel-data": Attack("A3d", "64 tunnels carry 200 MB/s", t.busy_tunnels(8, 8, 200 * MB)),
    "knocks-1": Attack("A4", "100 tunnel.connect a second to the listener from 1 key", t.knocks(1, 100)),
    "knocks-12": Attack("A4", "the same from 12 keys", t.knocks(12, 100)),
    "knocks-100": Attack("A4", "300 a second from 100 keys", t.knocks(100, 300)),
    "knocks-hello": Attack("A4", "100 with an inner hello from 12 keys", t.knocks(12, 100, say=1)),
    "knocks-proof": Attack("A4", "100 with the proof of a stranger's key, from 12 keys", t.knocks(12, 100, say=2)),
    "silent": Attack("A5", "2,000 silent connections from 10 addresses", c.connections(c.no_hello, 2000, 1000)),
    "silent-own": Attack("A5", "100 from the pair's own address", c.connections(c.no_hello, 100, 200, OWN), own=True),
    "hellos": Attack("A5", "2,000 that say a right hello and no more", c.connections(c.valid_hello, 2000, 500)),
    "half-hellos": Attack("A5", "2,000 that lack the hello's last byte", c.connections(c.half_hello, 2000, 500)),
    "garbage": Attack("A5", "1,000 wrong hellos a second", c.connections(c.garbage_hello, 100_000, 1000)),
    "flood": Attack("A5", "2,000 slow, 1,000 wrong hellos and 200 proven keys a second", flood(ADDRESSES), flood=True),
    "flood-own": Attack("A5", "the same from the pair's own address", flood(OWN), own=True, flood=True),
    "joins": Attack("A6", "proven sessions, up to 500 a second, from one address", c.joins(500, ONE)),
    "joins-10": Attack("A6", "the same from 10 addresses", c.joins(500, ADDRESSES)),
    "joins-own": Attack("A6", "the same from the pair's own address", c.joins(500, OWN), own=True),
    "files": Attack(
        "A7", "silent connections at a room with 256 files", c.connections(c.no_hello, 2000, 500), files=256
    ),
    "files-proven": Attack("A7", "proven sessions at a room with 256 files", c.joins(300, ADDRESSES), files=256),
    "files-plain": Attack("A7", "the same on asyncio's own loop", c.joins(300, ADDRESSES), files=256, plain=True),
    "files-unread": Attack(
        "A7", "the same, and nobody reads stderr", c.joins(300, ADDRESSES), files=256, unread=True, plain=True
    ),
    "resets": Attack("A9", "50 RSTs a second while the room writes", s.resets(50)),
    "resets-plain": Attack("A9", "the same on asyncio's own loop", s.resets(50), plain=True),
    "stranger": Attack("all", "100 keys on 10 addresses, each does what it likes", stranger(100)),
}

NAMES = tuple(ATTACKS)
SHORT = tuple(name for name in NAMES if not name.startswith("calls-") or name in ("calls-own", "calls-manifest"))


def pairs(count: int, seed: int) -> list[tuple[str, str]]:
    """Attacks at the same time: so many different pairs, chosen by the seed; each needs the same of the room."""
    able = combinations(
        [name for name in NAMES if name != "nothing" and not ATTACKS[name].files and not ATTACKS[name].plain], 2
    )
    chosen = list(able)
    return random.Random(seed).sample(chosen, min(count, len(chosen)))

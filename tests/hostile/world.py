"""What every attack is given: where the room is, addresses to come from, a pace, and a count of what it did."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, TypeVar

from ssbfast.client.targets import ways_into
from ssbfast.ids import FeedId
from tests.hostile.stranger import Cut, Stranger

S = TypeVar("S", bound=Stranger)
ADDRESSES = tuple(f"127.0.0.{n}" for n in range(2, 12))
HONEST_ADDRESS = "127.0.0.1"
AGAIN_SECONDS = 0.1
"""Before an attacker that was cut comes again."""
CORE_SHARE = 0.5
"""Of one core that an attack may use: the honest pair shares it, and the room has the other."""


class AttackProcess:
    """One attack process. seed: decides all that is random."""

    def __init__(self, address: str, listener: str, seed: int) -> None:
        self.host, self.port, self.room = ways_into(address)[0][:3]
        self.listener = FeedId.parse(listener)
        self.rng = random.Random(seed)
        self.did: Counter[str] = Counter()
        self.ready = asyncio.Queue[None]()
        self.started = asyncio.Event()

    async def go(self) -> None:
        """An attack is prepared: wait until all are, and the word is given."""
        self.ready.put_nowait(None)
        await self.started.wait()

    async def dial(self, address: str, *, deaf: bool = False, kind: type[S] | None = None, **options: Any) -> S:
        """A proven session. Raises Cut."""
        make: Any = kind or Stranger
        try:
            found: S = await make(self.room, deaf=deaf, **options).dial(address, self.host, self.port)
        except Cut:
            self.did["not let in"] += 1
            raise
        self.did["sessions"] += 1
        return found

    async def crowd(self, addresses: Iterable[str], **options: Any) -> list[Any]:
        """Sessions from these addresses, a few at a time; those that the room does not take are missing."""
        turns = asyncio.Semaphore(8)

        async def one(address: str) -> Any:
            async with turns:
                try:
                    return await self.dial(address, **options)
                except Cut:
                    return None

        found = await asyncio.gather(*(one(address) for address in addresses))
        return [stranger for stranger in found if stranger is not None]

    async def again_and_again(
        self, address: str, work: Callable[[Any], Awaitable[None]], first: Any = None, **options: Any
    ) -> None:
        """Do `work` in a session, and in another one whenever the room has ended it. first: a session that is there."""
        while True:
            try:
                stranger = await self.dial(address, **options) if first is None else first
                await work(stranger)
                await stranger.wait_gone()
            except Cut:
                pass
            first = None
            self.did["cut"] += 1
            await asyncio.sleep(AGAIN_SECONDS)

    async def attackers(self, addresses: Iterable[str], work: Callable[[Any], Awaitable[None]], **options: Any) -> None:
        """Sessions that are proven before the attack begins; then each does `work`, again and again."""
        addresses = list(addresses)
        there = await self.crowd(addresses, **options)
        await self.go()
        there += [None] * (len(addresses) - len(there))
        await asyncio.gather(
            *(
                self.again_and_again(address, work, first, **options)
                for address, first in zip(addresses, there, strict=True)
            )
        )


async def paced(rate: float) -> AsyncIterator[int]:
    """0, 1, 2, … so many a second. Whoever is late does not catch up by more than a tenth of a second's worth."""
    began, n = time.monotonic(), 0
    while True:
        yield n
        n += 1
        now = time.monotonic()
        due = began + n / rate
        if due > now:
            await asyncio.sleep(due - now)
        elif now - due > 0.1:
            began += now - due - 0.1


async def keep_to(share: float) -> None:
    """Let this process not use more than that part of one core."""
    used, wall = time.process_time(), time.monotonic()
    while True:
        await asyncio.sleep(0.02)
        over = (time.process_time() - used) - share * (time.monotonic() - wall)
        if over > 0:
            time.sleep(min(over / share, 0.1))  # the whole process is to stand still
        elif over < -0.2 * share:
            used, wall = time.process_time(), time.monotonic()


def spread(count: int, addresses: tuple[str, ...] = ADDRESSES) -> list[str]:
    return [addresses[n % len(addresses)] for n in range(count)]

"""One or several attacks as a process of their own: `python -m tests.hostile.attack ROOM LISTENER SEED NAME …`.

It prepares them and says {"ready": true}; begins when a line comes on stdin, and at the end of stdin says what it did
and ends on the spot: the kernel closes what is open.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
import traceback

from tests.hostile.attacks import ATTACKS
from tests.hostile.lifeline import Lifeline
from tests.hostile.stranger import Stranger
from tests.hostile.world import CORE_SHARE, AttackProcess, keep_to

PREPARE_SECONDS = 20.0


async def main(address: str, listener: str, seed: int, names: list[str]) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    lifeline = Lifeline()
    world = AttackProcess(address, listener, seed)
    tasks = [asyncio.ensure_future(ATTACKS[name].run(world)) for name in names]
    for task in tasks:
        task.add_done_callback(_report)
    for _ in names:
        await asyncio.wait_for(world.ready.get(), PREPARE_SECONDS)
    print(json.dumps({"ready": True}), flush=True)
    await lifeline.line()
    began, used = time.monotonic(), time.process_time()
    governor = asyncio.ensure_future(keep_to(CORE_SHARE))
    world.started.set()
    await lifeline.ended.wait()
    world.did["cpu %"] = round(100 * (time.process_time() - used) / (time.monotonic() - began))
    world.did["bytes"] = Stranger.sent
    governor.cancel()
    print(json.dumps(dict(world.did)), flush=True)
    os._exit(0)


def _report(task: asyncio.Future[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        traceback.print_exception(task.exception())
        os._exit(1)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]))

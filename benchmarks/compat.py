"""The compat classes and the native API beside the original Python stacks: one run, contenders taking turns.

SSBFAST_PEERS=DIR python -m benchmarks.compat [--rounds N] [--json]

DIR holds the originals: `pip install --no-deps --target DIR secret-handshake==0.1.0.dev3 async_generator ssb-client
PyYAML`. What is missing is left out. Times are CPU time of the thread, because both ends of a connection live in it and
machines are shared; each figure is the median of the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any, Final

from nacl.signing import SigningKey

from benchmarks.baselines import KEY, NONCE, environment
from ssbfast import native, pure
from ssbfast.compat.secret_handshake import boxstream, network
from ssbfast.compat.ssb import muxrpc, packet_stream
from ssbfast.limits import BOX_BODY
from ssbfast.wire.box_stream import Boxer, Unboxer

SIZES: Final = (64, 1024, 4096)
READ: Final = 65_536
"""Bytes of a batch: what a socket gives at once."""
CALLS: Final = 500

Work = Callable[[], int]
"""Does something, and returns how many bytes or answers came of it."""


@dataclass(frozen=True)
class Stack:
    """Modules of one implementation of the old API."""

    boxstream: ModuleType
    network: ModuleType
    muxrpc: ModuleType | None
    packet_stream: ModuleType | None


@dataclass(frozen=True)
class Row:
    """One line of the table: what was done, seconds a piece by contender."""

    name: str
    seconds: dict[str, float]

    def ratio(self, name: str) -> float | None:
        """How many times faster than the original."""
        base = self.seconds.get("original")
        return base / self.seconds[name] if base else None


def stacks() -> dict[str, Stack]:
    """Ours, and the original where it is."""
    found = {"compat": Stack(boxstream, network, muxrpc, packet_stream)}
    if place := os.environ.get("SSBFAST_PEERS"):
        sys.path.append(place)
        boxes, net = (importlib.import_module(f"secret_handshake.{name}") for name in ("boxstream", "network"))
        found["original"] = Stack(boxes, net, *_original_ssb())
    return found


def _original_ssb() -> tuple[ModuleType | None, ModuleType | None]:
    for package in ("ssb_client", "ssb"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(f"{package}.muxrpc"), importlib.import_module(f"{package}.packet_stream")
    return None, None


class Counted:
    """A writer that counts, and keeps what it is given only if it has to."""

    def __init__(self, keep: bool = False) -> None:
        self.count = 0
        self.kept: list[bytes] | None = [] if keep else None

    def write(self, data: bytes) -> None:
        self.count += len(data)
        if self.kept is not None:
            self.kept.append(data)


def plain_texts(size: int) -> list[bytes]:
    return [bytes([n % 251]) * size for n in range(max(256, min(4096, (1 << 20) // size)))]


def batches(items: list[bytes], size: int) -> list[list[bytes]]:
    step = max(1, READ // size)
    return [items[at : at + step] for at in range(0, len(items), step)]


def writers(found: dict[str, Stack], plains: list[bytes]) -> dict[str, Work]:
    """Who seals `plains`, one a call or (`batched`) 64 KiB a call."""

    def by_stream(module: ModuleType, writer: Counted | None = None) -> int:
        writer = writer or Counted()
        write = module.BoxStream(writer, KEY, NONCE).write
        for plain in plains:
            write(plain)
        return writer.count

    def by_sealer(kind: type[Boxer | pure.Sealer]) -> int:
        seal = kind(KEY, NONCE).seal
        return sum([len(seal(plain)) for plain in plains])

    def batched() -> int:
        boxer = Boxer(KEY, NONCE)
        if len(plains[0]) == BOX_BODY:  # nothing has to be kept apart
            return sum([len(boxer.seal(some)) for some in wholes])
        return sum([len(boxer.seal_many(some)) for some in parts])

    parts = batches(plains, len(plains[0]))
    wholes = [b"".join(some) for some in parts]
    for stack in found.values():
        by_stream(stack.boxstream, writer := Counted(keep=True))
        assert b"".join(writer.kept or ()) == pure.Sealer(KEY, NONCE).seal_many(plains)
    work: dict[str, Work] = {name: partial(by_stream, stack.boxstream) for name, stack in found.items()}
    return {**work, "native": partial(by_sealer, Boxer), "pure": partial(by_sealer, pure.Sealer), "batched": batched}


def readers(found: dict[str, Stack], plains: list[bytes], loop: asyncio.AbstractEventLoop) -> dict[str, Work]:
    """Who opens the boxes of `plains`: the classes of the old API read one a call from a full StreamReader."""
    sealer = pure.Sealer(KEY, NONCE)
    sealed = [sealer.seal(plain) for plain in plains]
    parts = [b"".join(some) for some in batches(sealed, len(plains[0]) + 34)]
    wire = b"".join(sealed)

    async def by_stream(module: ModuleType) -> int:
        reader = asyncio.StreamReader()
        reader.feed_data(wire)
        reader.feed_eof()
        read, count = module.UnboxStream(reader, KEY, NONCE).read, 0
        while (body := await read()) is not None:
            count += len(body)
        return count

    def by_opener(open_one: Callable[[bytes], Any]) -> int:
        return sum([len(open_one(box)) for box in sealed])

    def by_pure() -> int:
        opener = pure.Opener(KEY, NONCE)
        return sum([len(opener.open(box)[0]) for box in sealed])

    def batched() -> int:
        boxes = Unboxer(KEY, NONCE)
        return sum([sum(map(len, boxes.open_boxes(part))) for part in parts])

    def by_old_api(stack: Stack) -> int:
        return loop.run_until_complete(by_stream(stack.boxstream))

    work: dict[str, Work] = {name: partial(by_old_api, stack) for name, stack in found.items()}
    return {**work, "native": lambda: by_opener(Unboxer(KEY, NONCE).open), "pure": by_pure, "batched": batched}


class Ends:
    """A server on loopback with one client, and what is said between them."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.key, self.me = stack, SigningKey.generate(), SigningKey.generate()
        self.arrived: asyncio.Queue[Any] = asyncio.Queue()

    async def listen(self) -> None:
        server = self.stack.network.SHSServer("127.0.0.1", 0, self.key)
        server.on_connect(self.arrived.put)
        listening = await asyncio.start_server(server.handle_connection, "127.0.0.1", 0)
        self.port = listening.sockets[0].getsockname()[1]

    async def open(self) -> None:
        self.client = self.stack.network.SHSClient("127.0.0.1", self.port, self.me, bytes(self.key.verify_key))
        await self.client.open()
        self.served = await self.arrived.get()

    async def shake(self) -> int:
        await self.open()
        for end in (self.client, self.served):
            end.write_stream.writer.close()
        return 1

    async def send(self, plain: bytes, count: int) -> int:
        async def receive() -> int:
            got = 0
            while got < count * len(plain):
                got += len(await self.served.read())
            return got

        task = asyncio.ensure_future(receive())
        for number in range(count):
            self.client.write(plain)
            if number % 64 == 0:
                await self.client.writer.drain()
        return await task


class Calls(Ends):
    """The same with calls over it. The serving side answers by hand, because that is all the original can do."""

    async def start(self) -> None:
        await self.listen()
        await self.open()
        assert self.stack.packet_stream is not None and self.stack.muxrpc is not None
        here, there = (self.stack.packet_stream.PacketStream(end) for end in (self.client, self.served))
        self.api = self.stack.muxrpc.MuxRPCAPI()
        self.api.add_connection(here)
        self.pumps = [asyncio.ensure_future(self._pump(here)), asyncio.ensure_future(self._serve(there))]

    async def stop(self) -> None:
        for pump in self.pumps:
            pump.cancel()
        await asyncio.gather(*self.pumps, return_exceptions=True)

    async def _pump(self, stream: Any) -> None:
        async for _ in stream:
            pass

    async def _serve(self, stream: Any) -> None:
        async for msg in stream:
            if msg.body["name"] == ["add"]:
                stream.send(sum(msg.body["args"]), req=-msg.req)
            else:
                for number in range(CALLS):
                    stream.send({"number": number}, stream=True, req=-msg.req)
                stream.send(True, stream=True, end_err=True, req=-msg.req)

    async def sequential(self) -> int:
        return sum([(await self.api.call("add", [n, 1], "async")).body == n + 1 for n in range(CALLS)])

    async def in_flight(self) -> int:
        async def one(n: int) -> bool:
            return bool((await self.api.call("add", [n, 1], "async")).body == n + 1)

        found = [await asyncio.gather(*map(one, range(at, at + 50))) for at in range(0, CALLS, 50)]
        return sum(map(sum, found))

    async def source(self) -> int:
        handler = self.api.call("count", [], "source")
        return sum([isinstance(msg.body, dict) async for msg in handler])


def turns(name: str, work: dict[str, Work], pieces: int, rounds: int, answer: int | None = None) -> Row:
    """Let the contenders take turns; all of them have to come to the same answer."""
    answers = {key: one() for key, one in work.items()}
    assert answer is None or set(answers.values()) == {answer}, (name, answers)
    taken: dict[str, list[float]] = {key: [] for key in work}
    for _ in range(rounds):
        for key, one in work.items():
            began = time.thread_time()
            one()
            taken[key].append(time.thread_time() - began)
    return Row(name, {key: statistics.median(times) / pieces for key, times in taken.items()})


def measure(rounds: int) -> Iterator[Row]:
    """All rows."""
    found, loop = stacks(), asyncio.new_event_loop()
    for size in SIZES:
        plains = plain_texts(size)
        yield turns(f"write {size} B", writers(found, plains), len(plains), rounds, len(plains) * (size + 34))
        yield turns(f"read {size} B", readers(found, plains, loop), len(plains), rounds, len(plains) * size)
    yield from over_tcp(found, loop, rounds)
    yield from calls(found, loop, rounds)


def over_tcp(found: dict[str, Stack], loop: asyncio.AbstractEventLoop, rounds: int) -> Iterator[Row]:
    ends = {name: Ends(stack) for name, stack in found.items()}
    for end in ends.values():
        loop.run_until_complete(end.listen())
    yield turns("handshake", {name: _runs(loop, end.shake) for name, end in ends.items()}, 1, rounds * 5, 1)
    for end in ends.values():
        loop.run_until_complete(end.open())
    for size in SIZES:
        count = (1 << 19) // size
        work = {name: _runs(loop, partial(end.send, bytes(size), count)) for name, end in ends.items()}
        yield turns(f"tcp {size} B", work, count, rounds, size * count)


def calls(found: dict[str, Stack], loop: asyncio.AbstractEventLoop, rounds: int) -> Iterator[Row]:
    ends = {name: Calls(stack) for name, stack in found.items() if stack.muxrpc is not None}
    for end in ends.values():
        loop.run_until_complete(end.start())
    for name in ("sequential", "in_flight", "source"):
        work = {key: _runs(loop, getattr(end, name)) for key, end in ends.items()}
        yield turns(f"rpc {name}", work, CALLS, rounds, CALLS)
    for end in ends.values():
        loop.run_until_complete(end.stop())


def _runs(loop: asyncio.AbstractEventLoop, work: Callable[[], Coroutine[Any, Any, int]]) -> Work:
    return lambda: loop.run_until_complete(work())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    options = parser.parse_args()
    rows = list(measure(options.rounds))
    if options.json:
        print(json.dumps({**environment(), "seconds": {row.name: row.seconds for row in rows}}))
        return
    print(f"{native.BACKEND}, Python {sys.version.split()[0]}, {options.rounds} rounds; times faster than the original")
    for row in rows:
        cells = [f"{name} {seconds * 1e6:8.2f} us" for name, seconds in row.seconds.items()]
        ratios = [f"{name} {ratio:.1f}x" for name in row.seconds if (ratio := row.ratio(name)) and name != "original"]
        print(f"{row.name:16} {'  '.join(cells)}   | {'  '.join(ratios)}")


if __name__ == "__main__":
    main()

"""The compat classes beside the original PySecretHandshake, and calls over them.

SSBFAST_PEERS names a directory with the original (`pip install --no-deps --target DIR secret-handshake==0.1.0.dev3
async_generator`); without it, the compat classes run alone. Boxes: one write, and one read, a body.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import Callable, Coroutine
from types import ModuleType
from typing import Any

import pytest
from nacl.signing import SigningKey
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.baselines import KEY, NONCE, sealed
from benchmarks.conftest import Note
from ssbfast.compat.secret_handshake import boxstream, network
from ssbfast.compat.ssb.muxrpc import MuxRPCAPI
from ssbfast.compat.ssb.packet_stream import PacketStream

TOTAL = 1 << 20
SIZES = (64, 1024, 4096)
CALLS = 500


def originals() -> dict[str, tuple[ModuleType, ModuleType]]:
    """The box stream and network modules of each contender."""
    found = {"compat": (boxstream, network)}
    place = os.environ.get("SSBFAST_PEERS")
    if place:
        sys.path.append(place)
        found["original"] = tuple(  # type: ignore[assignment]
            importlib.import_module(f"secret_handshake.{name}") for name in ("boxstream", "network")
        )
    return found


CONTENDERS = originals()


def cases(group: str) -> list[Any]:
    return [
        pytest.param(name, size, id=f"{size}-{name}", marks=pytest.mark.benchmark(group=f"compat {group} {size}"))
        for size in SIZES
        for name in CONTENDERS
    ]


class Kept:
    """A writer that keeps what it is given."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)


@pytest.fixture
def run() -> Any:
    loop = asyncio.new_event_loop()
    yield loop.run_until_complete
    loop.close()


@pytest.mark.parametrize(("name", "size"), cases("write"))
def bench_write(benchmark: BenchmarkFixture, note: Note, name: str, size: int) -> None:
    module, _ = CONTENDERS[name]
    plains = [bytes(size)] * (TOTAL // size)

    def write() -> Kept:
        kept = Kept()
        stream = module.BoxStream(kept, KEY, NONCE)
        for plain in plains:
            stream.write(plain)
        return kept

    correct = b"".join(write().writes) == sealed(plains)
    note(correct=correct)
    benchmark(write)
    note(correct=correct, nbytes=TOTAL)


@pytest.mark.parametrize(("name", "size"), cases("read"))
def bench_read(benchmark: BenchmarkFixture, note: Note, run: Any, name: str, size: int) -> None:
    module, _ = CONTENDERS[name]
    plains = [bytes(size)] * (TOTAL // size)
    wire = sealed(plains)

    async def read() -> int:
        reader = asyncio.StreamReader()
        reader.feed_data(wire)
        reader.feed_eof()
        stream = module.UnboxStream(reader, KEY, NONCE)
        count = 0
        while (body := await stream.read()) is not None:
            count += len(body)
        return count

    correct = run(read()) == TOTAL
    note(correct=correct)
    benchmark(lambda: run(read()))
    note(correct=correct, nbytes=TOTAL)


class Ends:
    """A server on loopback, and clients for it."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.key, self.me = module, SigningKey.generate(), SigningKey.generate()
        self.arrived: asyncio.Queue[Any] = asyncio.Queue()

    async def listen(self) -> None:
        server = self.module.SHSServer("127.0.0.1", 0, self.key)
        server.on_connect(self.arrived.put)
        listening = await asyncio.start_server(server.handle_connection, "127.0.0.1", 0)
        self.port = listening.sockets[0].getsockname()[1]

    async def pair(self) -> tuple[Any, Any]:
        client = self.module.SHSClient("127.0.0.1", self.port, self.me, bytes(self.key.verify_key))
        await client.open()
        return client, await self.arrived.get()


@pytest.mark.parametrize(("name", "size"), cases("tcp"))
def bench_tcp(benchmark: BenchmarkFixture, note: Note, run: Any, name: str, size: int) -> None:
    ends = Ends(CONTENDERS[name][1])
    run(ends.listen())
    client, served = run(ends.pair())

    async def send() -> int:
        async def receive() -> int:
            got = 0
            while got < TOTAL:
                got += len(await served.read())
            return got

        task = asyncio.ensure_future(receive())
        for number in range(TOTAL // size):
            client.write(bytes(size))
            if number % 64 == 0:
                await client.writer.drain()
        return await task

    correct = run(send()) == TOTAL
    note(correct=correct)
    benchmark(lambda: run(send()))
    note(correct=correct, nbytes=TOTAL)


@pytest.mark.benchmark(group="compat handshakes")
@pytest.mark.parametrize("name", list(CONTENDERS))
def bench_handshake(benchmark: BenchmarkFixture, note: Note, run: Any, name: str) -> None:
    ends = Ends(CONTENDERS[name][1])
    run(ends.listen())

    async def shake() -> bool:
        client, served = await ends.pair()
        for end in (client, served):
            end.write_stream.writer.close()
        return bool(client.is_connected)

    correct = run(shake())
    note(correct=correct)
    benchmark(lambda: run(shake()))
    note(correct=correct)


async def sequential(api: MuxRPCAPI) -> list[Any]:
    return [(await api.call("add", [n, 1], "async").get_response()).body for n in range(CALLS)]


async def fifty(api: MuxRPCAPI) -> list[Any]:
    found: list[Any] = []
    for at in range(0, CALLS, 50):
        calls = [api.call("add", [n, 1], "async").get_response() for n in range(at, at + 50)]
        found += [msg.body for msg in await asyncio.gather(*calls)]
    return found


async def source(api: MuxRPCAPI) -> list[Any]:
    return [msg.body async for msg in api.call("count", [], "source")][:-1]


@pytest.mark.benchmark(group=f"compat rpc ({CALLS} a round)")
@pytest.mark.parametrize("work", [sequential, fifty, source])
def bench_rpc(
    benchmark: BenchmarkFixture, note: Note, run: Any, work: Callable[[MuxRPCAPI], Coroutine[Any, Any, list[Any]]]
) -> None:
    ends = Ends(network)
    run(ends.listen())
    client, served = run(ends.pair())
    api, serving = MuxRPCAPI(), MuxRPCAPI()
    serving.define("add")(lambda connection, request: sum(request.args))

    @serving.define("count")
    def count(connection: PacketStream, request: Any) -> None:
        for number in range(1, CALLS + 1):
            connection.send(number, stream=True, req=-request.req)
        connection.send(True, stream=True, end_err=True, req=-request.req)

    api.add_connection(PacketStream(client))
    serving.add_connection(PacketStream(served))

    async def begin() -> list[asyncio.Future[Any]]:
        return [asyncio.ensure_future(side.process_messages()) for side in (api, serving)]

    pumps = run(begin())
    correct = run(work(api)) == list(range(1, CALLS + 1))
    note(correct=correct)
    benchmark(lambda: run(work(api)))
    note(correct=correct, calls=CALLS)
    client.disconnect()
    run(asyncio.gather(*pumps))

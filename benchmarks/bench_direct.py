"""A direct path beside aioquic as it comes (its asyncio protocol and server): throughput, and CPU of each end.

Sender and receiver are a process each; the contenders take turns in one run. What arrived is hashed after the clock
has stopped, and compared. `python -m benchmarks.bench_direct` prints a table of the medians.

    python -m benchmarks.bench_direct receive {ours,aioquic} BYTES   the receiving process, started by the others
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

if sys.version_info < (3, 11):
    pytest.skip("aioquic needs Python 3.11: there are no direct paths", allow_module_level=True)

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import QuicEvent, StreamDataReceived
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import Note
from ssbfast.direct import certificates
from ssbfast.direct.certificates import Credentials
from ssbfast.direct.quic_path import DirectPath
from ssbfast.wire.direct.keys import Role
from tests.helpers.direct import RecordingHandler, keys, loopback

TOTAL: Final = 24_000_000
CHUNK: Final = 65_536
AHEAD: Final = 4 * CHUNK
TURNS: Final = 5
ALPN: Final = ["bench"]
CONTENDERS: Final = ("aioquic", "ours")


@dataclass(frozen=True, slots=True)
class Transfer:
    """One transfer. seconds: until the last byte had come; receiver, sender: CPU-seconds of each, whole process."""

    seconds: float
    receiver: float
    sender: float
    correct: bool


def payload(total: int) -> bytes:
    return hashlib.shake_128(b"ssbfast bench direct").digest(CHUNK) * (total // CHUNK)


class Inbox:
    """Counts and keeps `total` bytes that come; the clocks run from the first one to the last."""

    def __init__(self, total: int) -> None:
        self.done = asyncio.Event()
        self._parts: list[bytes] = []
        self._left = len(payload(total))
        self._began = (0.0, 0.0)
        self.seconds = self.cpu = 0.0

    def add(self, data: bytes) -> None:
        if not self._parts:
            self._began = (time.perf_counter(), time.process_time())
        self._parts.append(data)
        self._left -= len(data)
        if self._left <= 0:
            self.seconds = time.perf_counter() - self._began[0]
            self.cpu = time.process_time() - self._began[1]
            self.done.set()

    def report(self) -> dict[str, Any]:
        digest = hashlib.sha256(b"".join(self._parts)).hexdigest()
        return {"seconds": self.seconds, "cpu": self.cpu, "sha256": digest}


class _Target(RecordingHandler):
    def __init__(self, inbox: Inbox) -> None:
        super().__init__()
        self._inbox = inbox

    def path_data(self, path: DirectPath, data: bytes) -> None:
        self._inbox.add(data)


class _StockServer(QuicConnectionProtocol):
    inbox: Inbox

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived) and event.data:
            self.inbox.add(event.data)


def _say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


async def _hear() -> dict[str, Any]:
    line = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    said: dict[str, Any] = json.loads(line)
    return said


async def receive_ours(inbox: Inbox) -> None:
    credentials, udp = Credentials.make(), loopback()
    _say(certificate=credentials.certificate.hex(), port=udp.local[1])
    said = await _hear()
    path = DirectPath.target(credentials, bytes.fromhex(said["id"]), keys(Role.TARGET), _Target(inbox))
    path.start(udp)
    path.allow(("127.0.0.1", said["port"]))
    _say(event="listening")
    await inbox.done.wait()
    _say(**inbox.report())
    await _hear()


async def receive_aioquic(inbox: Inbox) -> None:
    credentials = Credentials.make()
    _StockServer.inbox = inbox
    configuration = QuicConfiguration(is_client=False, alpn_protocols=ALPN)
    configuration.certificate = certificates.load(credentials.certificate)
    configuration.private_key = credentials.key
    server = await serve("127.0.0.1", 0, configuration=configuration, create_protocol=_StockServer)
    port = server._transport.get_extra_info("sockname")[1]
    _say(certificate=credentials.certificate.hex(), port=port)
    await _hear()
    _say(event="listening")
    await inbox.done.wait()
    _say(**inbox.report())
    await _hear()


class Receiver:
    """The other process, as the sender sees it."""

    def __init__(self, kind: str, total: int) -> None:
        command = [sys.executable, "-m", "benchmarks.bench_direct", "receive", kind, str(total)]
        pipe = subprocess.PIPE
        root = Path(__file__).resolve().parent.parent
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=root)
        self.hello = self._line()

    def tell(self, **what: Any) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()

    async def hear(self) -> dict[str, Any]:
        return await asyncio.get_running_loop().run_in_executor(None, self._line)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.tell()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _line(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads((self._process.stdout and self._process.stdout.readline()) or "{}")
        return said


async def send_ours(receiver: Receiver, data: bytes) -> dict[str, Any]:
    udp, handler = loopback(), RecordingHandler()
    remote = ("127.0.0.1", receiver.hello["port"])
    certificate = bytes.fromhex(receiver.hello["certificate"])
    path = DirectPath.caller(certificate, keys(Role.CALLER), handler)
    receiver.tell(id=path.connection_id.hex(), port=udp.local[1])
    await receiver.hear()
    path.start(udp, remote)
    while not handler.ready:
        await asyncio.sleep(0.001)
    answer = asyncio.ensure_future(receiver.hear())
    for start in range(0, len(data), CHUNK):
        path.send_data(data[start : start + CHUNK])
        while path.unsent > AHEAD:
            await asyncio.sleep(0.001)
    said = await answer
    path.close()
    udp.close()
    return said


async def send_aioquic(receiver: Receiver, data: bytes) -> dict[str, Any]:
    configuration = QuicConfiguration(is_client=True, alpn_protocols=ALPN)
    configuration.load_verify_locations(cadata=certificates.pem(bytes.fromhex(receiver.hello["certificate"])))
    receiver.tell()
    await receiver.hear()
    quic = QuicConnection(configuration=configuration)
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_datagram_endpoint(
        lambda: QuicConnectionProtocol(quic), local_addr=("127.0.0.1", 0)
    )
    client.connect(("127.0.0.1", receiver.hello["port"]))
    await client.wait_connected()
    stream = quic.get_next_available_stream_id()
    answer = asyncio.ensure_future(receiver.hear())
    for start in range(0, len(data), CHUNK):
        quic.send_stream_data(stream, data[start : start + CHUNK])
        client.transmit()
        sender = quic._streams[stream].sender
        while sender._buffer_stop - sender.highest_offset > AHEAD:
            await asyncio.sleep(0.001)
    said = await answer
    transport.close()
    return said


SENDERS: Final[dict[str, Callable[[Receiver, bytes], Awaitable[dict[str, Any]]]]] = {
    "ours": send_ours,
    "aioquic": send_aioquic,
}
RECEIVERS: Final[dict[str, Callable[[Inbox], Awaitable[None]]]] = {"ours": receive_ours, "aioquic": receive_aioquic}


def transfer(kind: str, total: int = TOTAL) -> Transfer:
    """One whole transfer of `total` bytes, in two processes."""
    data = payload(total)
    receiver = Receiver(kind, total)
    try:
        before = time.process_time()
        said = asyncio.run(asyncio.wait_for(_awaited(SENDERS[kind](receiver, data)), 120))
        sender = time.process_time() - before
        correct = said["sha256"] == hashlib.sha256(data).hexdigest()
        return Transfer(said["seconds"], said["cpu"], sender, correct)
    finally:
        receiver.close()


async def _awaited(what: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    return await what


@pytest.mark.parametrize("kind", CONTENDERS)
@pytest.mark.benchmark(group="direct path")
def bench_direct(benchmark: BenchmarkFixture, note: Note, kind: str) -> None:
    found: list[Transfer] = []
    timed: Any = benchmark  # its pedantic() has no types
    timed.pedantic(lambda: found.append(transfer(kind)), rounds=TURNS)
    note(
        correct=all(one.correct for one in found),
        mb_per_s_payload=round(statistics.median(TOTAL / one.seconds for one in found) / 1e6, 2),
        receiver_cpu_ns_per_byte=round(statistics.median(one.receiver / TOTAL for one in found) * 1e9, 2),
        sender_cpu_ns_per_byte=round(statistics.median(one.sender / TOTAL for one in found) * 1e9, 2),
    )


def table() -> None:
    """Print the medians, and ours in times of aioquic's."""
    found: dict[str, list[Transfer]] = {kind: [] for kind in CONTENDERS}
    for _ in range(TURNS):
        for kind in CONTENDERS:
            found[kind].append(transfer(kind))
    if not all(one.correct for many in found.values() for one in many):
        raise SystemExit("the answer is wrong: nothing is to be told")
    rows: dict[str, Callable[[Transfer], float]] = {
        "MB/s": lambda one: TOTAL / one.seconds / 1e6,
        "receiver CPU ns/B": lambda one: one.receiver / TOTAL * 1e9,
        "sender CPU ns/B": lambda one: one.sender / TOTAL * 1e9,
    }
    for name, value in rows.items():
        stock, ours = (statistics.median(map(value, found[kind])) for kind in CONTENDERS)
        print(f"{name:20} aioquic {stock:8.2f}   ours {ours:8.2f}   ratio {ours / stock:5.2f}")


def main(args: list[str]) -> None:
    if args[:1] == ["receive"]:
        asyncio.run(_received(args[1], int(args[2])))
    else:
        table()


async def _received(kind: str, total: int) -> None:
    await RECEIVERS[kind](Inbox(total))


if __name__ == "__main__":
    main(sys.argv[1:])

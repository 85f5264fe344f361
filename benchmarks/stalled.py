"""A target that does not read: what its tunnels may cost the room, and what the others feel of it.

    python -m benchmarks.stalled [--tunnels N] [--seconds S]

Several tunnels lead to one target that never reads; their sources send as much as they can. Beside them one tunnel to
another target makes calls. The room's resident memory may grow by no more than its limits say, and the calls' p99 is
compared with the same without that load.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks import load, processes
from benchmarks.children import keypair
from benchmarks.relay_ends import BoxesEnd, announced, member
from ssbfast import limits
from ssbfast.ids import FeedId
from ssbfast.wire.muxrpc import JSON, CallKind

TUNNELS: Final = 8
_CHUNK: Final = bytes(4000)
_PACKETS: Final = 4096
_WATCH_SECONDS: Final = 0.02
"""How often the room's memory is looked at, and a source looks whether it is to end."""


@dataclass(frozen=True, slots=True)
class Stalled:
    """alone, beside: median and p99 seconds of a call, without and with the stalled tunnels. grown: bytes of the room's
    resident memory at its peak, beyond before. sent: bytes that the sources could get rid of, socket buffers included.
    cpu: the room's, while they tried."""

    tunnels: int
    alone: tuple[float, float]
    beside: tuple[float, float]
    grown: int
    sent: int
    cpu: float

    @property
    def p99_ratio(self) -> float:
        return self.beside[1] / self.alone[1]

    @property
    def cap(self) -> int:
        """Bytes that the room's limits allow for it."""
        return cap(self.tunnels)


def cap(tunnels: int) -> int:
    """The target's queue, the receive buffer, the target's transport, and of each source one read that is unopened."""
    return limits.LINK_BACKLOG + limits.RECEIVE_BUFFER + limits.TRANSPORT_HIGH + tunnels * limits.RECEIVE_BUFFER


class _Source:
    """A tunnel whose sender never gives up."""

    def __init__(self, end: BoxesEnd, stop: threading.Event) -> None:
        self._end, self._stop, self.sent = end, stop, 0
        # Sealed before anybody measures: the calls beside it are made in this process.
        self._wire = memoryview(b"".join([end.encode(_CHUNK) for _ in range(_PACKETS)]))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._end.sock.settimeout(_WATCH_SECONDS)
        wire = self._wire
        while self.sent < len(wire) and not self._stop.is_set():
            with contextlib.suppress(socket.timeout):
                self.sent += self._end.sock.send(wire[self.sent : self.sent + (1 << 16)])

    def join(self) -> None:
        self._thread.join()
        self._end.sock.close()


class _Peak:
    """The room's resident memory, watched by a thread."""

    def __init__(self, room: processes.Room, stop: threading.Event) -> None:
        self._room, self._stop = room, stop
        self.before = self.most = room.process.memory()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(_WATCH_SECONDS):
            self.most = max(self.most, self._room.process.memory())

    def join(self) -> int:
        self._thread.join()
        return self.most - self.before


@contextlib.contextmanager
def _flood(room: processes.Room, tunnels: int, stop: threading.Event) -> Iterator[list[_Source]]:
    target = announced(room.address, keypair("stalled"))
    sources = []
    try:
        for number in range(tunnels):
            sources.append(_Source(_tunnel(room, number, keypair("stalled").id), stop))
        yield sources
    finally:
        stop.set()
        for source in sources:
            source.join()
        target.sock.close()


def _tunnel(room: processes.Room, number: int, target: FeedId) -> BoxesEnd:
    _, port, portal = room.endpoint
    end = member(port, portal, keypair(f"flood {number}"))
    where: JSON = {"portal": str(portal), "target": str(target)}
    req, out = end.mux.call(CallKind.DUPLEX, ("tunnel", "connect"), [where])
    end.send(out)
    end.use(req)
    return end


async def _measure(room: processes.Room, tunnels: int, seconds: float) -> Stalled:
    loop = asyncio.get_running_loop()
    async with load.tunnel(room) as peer:
        await load.round_trips(peer, seconds / 4)
        alone = _shape(await load.round_trips(peer, seconds))
        stop, flood = threading.Event(), contextlib.ExitStack()
        peak, cpu = _Peak(room, stop), room.process.cpu()
        sources = await loop.run_in_executor(None, flood.enter_context, _flood(room, tunnels, stop))
        began = time.perf_counter()
        beside = _shape(await load.round_trips(peer, seconds))
        used = (room.process.cpu() - cpu) / (time.perf_counter() - began)
        await loop.run_in_executor(None, flood.close)
        return Stalled(tunnels, alone, beside, peak.join(), sum(source.sent for source in sources), used)


def _shape(times: list[float]) -> tuple[float, float]:
    return statistics.median(times), statistics.quantiles(times, n=100)[98]


def measure(kind: str, tunnels: int = TUNNELS, seconds: float = 3.0) -> Stalled:
    """The room of this kind; see `processes.room`. A wrong echo raises."""
    with processes.room(kind) as room, processes.target(room):
        return asyncio.run(_measure(room, tunnels, seconds))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stalled")
    parser.add_argument("--tunnels", type=int, default=TUNNELS)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    found = measure("ssbfast", options.tunnels, options.seconds)
    print(
        f"{found.tunnels} stalled tunnels: memory +{found.grown / 2**20:.1f} MiB (cap {found.cap / 2**20:.1f}); "
        f"calls beside them: p99 {found.beside[1] * 1e3:.2f} ms, alone {found.alone[1] * 1e3:.2f} ms; "
        f"the sources got rid of {found.sent / 2**20:.1f} MiB"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

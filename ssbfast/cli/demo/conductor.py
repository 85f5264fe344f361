"""`ssbfast demo`: a room and two peers as three processes, random bytes through the tunnel, and the proof.

The conductor starts the parts (`cli/demo/parts.py`), gives each its orders, and believes none of them alone: the
demo holds only if what A sent, what C received and what came back to A have one SHA-256, if the room counted the
bytes, and if every part ended by itself. However it ends, no process is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any, Final, Literal

from ssbfast.cli.demo.parts import PartName
from ssbfast.cli.demo.path_change import DIRECT_BYTES, PREFIX, DemoError, DirectResult, Report, judge
from ssbfast.ids import MAIN_NETWORK

Sabotage = Literal["room", "bit", "network"]
SABOTAGES: Final[tuple[Sabotage, ...]] = ("room", "bit", "network")

START_SECONDS: Final = 60.0
"""For a part to start and to do one thing: a loaded machine is slow to import."""

QUIET_SECONDS: Final = 30.0
"""Without any report for so long the demo has failed."""

SETTLE_SECONDS: Final = 1.0
"""After the first bad news, how long others may still tell the better reason."""

END_SECONDS: Final = 10.0
"""For a part to end once it is told to."""

NAMES: Final[dict[PartName, str]] = {"room": "the room", "target": "peer A", "caller": "peer C"}

OnProgress = Callable[[int, bool], None]
"""Gets the bytes that are back at A, and whether they are those of the direct path."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """Parameters of a demo. size: bytes to tunnel there and back. calls: how many to time. sabotage: the fault to make.

    direct: whether to take a direct path afterwards, and come back.
    """

    size: int
    calls: int = 200
    sabotage: Sabotage | None = None
    direct: bool = True

    @property
    def direct_size(self) -> int:
        """Return the bytes there and back while the path changes."""
        return min(self.size, DIRECT_BYTES) if self.direct else 0


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The proofs and measurements.

    seconds: from the first byte sent to the last one back; both ways run at the same time.
    call_seconds: median of one call and its answer. cpu_seconds: of the room, while the bytes were under way.
    relayed: bytes that the room moved in that tunnel, both ways together. room_saw: its report of every tunnel.
    direct: the same session on two paths; None if that was left out: `left_out` says why, unless it was not wished.
    """

    size: int
    sha256: str
    seconds: float
    calls: int
    call_seconds: float
    cpu_seconds: float
    relayed: int
    room_saw: tuple[Report, ...]
    backend: str
    direct: DirectResult | None
    left_out: str | None

    @property
    def cpu_seconds_per_gb(self) -> float:
        return self.cpu_seconds / self.relayed * 1e9

    @property
    def mb_per_second(self) -> float:
        """Return the speed of each way."""
        return self.size / self.seconds / 1e6


@dataclass
class _Part:
    """One process and what it has reported so far."""

    role: PartName
    process: asyncio.subprocess.Process
    errors: IO[bytes]
    reports: list[Report] = field(default_factory=list)

    def order(self, **orders: Any) -> None:
        if self.process.stdin is not None:
            self.process.stdin.write(json.dumps(orders).encode() + b"\n")

    def dismiss(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    def last_words(self) -> str:
        self.errors.seek(0)
        lines = self.errors.read().decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


async def run_demo(wishes: Wishes, on_progress: OnProgress = lambda _bytes, _direct: None) -> DemoResult:
    """Run the demo. Raises DemoError."""
    async with _Conductor(wishes, on_progress) as conductor:
        return await conductor.play()


class _Conductor:
    def __init__(self, wishes: Wishes, on_progress: OnProgress) -> None:
        self._wishes = wishes
        self._on_progress = on_progress
        self._direct_size = wishes.direct_size
        self._parts: dict[PartName, _Part] = {}
        self._listeners: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()
        self._files = contextlib.ExitStack()

    async def __aenter__(self) -> _Conductor:
        try:
            for role in NAMES:
                await self._start(role)
        except BaseException:
            await self._end_all()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end_all()

    # ------------------------------------------------------------ processes

    async def _start(self, role: PartName) -> None:
        environment = dict(os.environ)
        if role == "room" and self._wishes.sabotage == "bit":
            environment["SSBFAST_BACKEND"] = "pure"
        errors = self._files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (the stack closes it)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ssbfast", "demo-part", role),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the conductor alone, which then ends its parts
        )
        part = self._parts[role] = _Part(role, process, errors)
        self._listeners.append(asyncio.get_running_loop().create_task(self._listen(part)))

    async def _listen(self, part: _Part) -> None:
        stdout = part.process.stdout
        while stdout is not None and (line := await stdout.readline()):
            part.reports.append(json.loads(line))
            self._news.set()
        await part.process.wait()
        part.reports.append({"event": "ended", "code": part.process.returncode})
        self._news.set()

    async def _end_all(self) -> None:
        """Kill every part that still runs: the parts keep nothing that could be lost."""
        for part in self._parts.values():
            if part.process.returncode is None:
                part.kill()
        await asyncio.gather(*self._listeners, return_exceptions=True)
        for part in self._parts.values():
            part.dismiss()
        self._files.close()

    # ------------------------------------------------------------ the play

    async def play(self) -> DemoResult:
        wishes = self._wishes
        ids = {role: (await self._expect(role, "ready"))["id"] for role in NAMES}
        network = MAIN_NETWORK.key
        foreign = os.urandom(32) if wishes.sabotage == "network" else network
        flip_at = wishes.size if wishes.sabotage == "bit" else None  # half of what there and back add up to
        self._parts["room"].order(network=network.hex(), flip_at=flip_at)
        address = (await self._expect("room", "listening"))["address"]
        self._parts["target"].order(
            network=network.hex(),
            address=address,
            allow=ids["caller"],
            bytes=wishes.size,
            direct_bytes=self._direct_size,
        )
        left_out = (await self._expect("target", "attending"))["left_out"]
        if left_out is not None:
            self._direct_size = 0
        self._parts["caller"].order(
            network=foreign.hex(),
            address=address,
            target=ids["target"],
            calls=wishes.calls,
            direct_bytes=self._direct_size,
        )
        await self._transfer()
        if self._direct_size:
            await self._transfer(PREFIX)
        return await self._conclude(left_out)

    async def _transfer(self, prefix: str = "") -> None:
        """Wait until all bytes are back at A; kill the room in the middle if that is wished for."""
        back = -1
        while self._find("target", prefix + "returned") is None:
            await self._wait_for_news()
            progress = self._find("target", prefix + "progress")
            if progress is not None and progress["bytes"] != back:
                back = progress["bytes"]
                self._on_progress(back, bool(prefix))
                if self._wishes.sabotage == "room":
                    self._parts["room"].kill()
        self._on_progress((await self._expect("target", prefix + "returned"))["bytes"], bool(prefix))

    async def _conclude(self, left_out: str | None) -> DemoResult:
        await self._expect("caller", "done")
        answered = await self._expect("caller", "answered")
        returned = await self._expect("target", "returned")
        received = await self._expect("caller", "received")
        size = self._wishes.size
        hashes = {returned["sent_sha256"], received["sha256"], returned["returned_sha256"]}
        if len(hashes) != 1 or not returned["bytes"] == received["bytes"] == size:
            raise DemoError("the bytes that arrived are not the bytes that were sent")
        opened, closed = await self._tunnels(4 if self._direct_size else 2)
        if closed[0]["bytes"] < 2 * size:
            raise DemoError("the room relayed fewer bytes than arrived")
        backend = (await self._expect("room", "ready"))["backend"]
        await self._dismiss_all()
        return DemoResult(
            size=size,
            sha256=returned["sent_sha256"],
            seconds=returned["seconds"],
            calls=self._wishes.calls,
            call_seconds=answered["median_seconds"],
            cpu_seconds=closed[0]["cpu_seconds"] - opened[0]["cpu_seconds"],
            relayed=closed[0]["bytes"],
            room_saw=tuple(_without(report, "event", "cpu_seconds") for report in closed),
            backend=backend,
            direct=self._judge(closed[2:]),
            left_out=left_out,
        )

    async def _tunnels(self, least: int) -> tuple[list[Report], list[Report]]:
        """Return what the room says of each tunnel's beginning and end, once all have ended."""
        while True:
            opened, closed = self._all("room", "tunnel_opened"), self._all("room", "tunnel_closed")
            if len(opened) == len(closed) >= least:
                return opened, closed
            await self._wait_for_news()

    def _judge(self, tunnels: list[Report]) -> DirectResult | None:
        """Judge all reports. Call it when all parts have left: then everything has been reported."""
        if not self._direct_size:
            return None
        target, caller = self._parts["target"].reports, self._parts["caller"].reports
        return judge(self._direct_size, target, caller, tunnels)

    async def _dismiss_all(self) -> None:
        """Dismiss every part, peers first; each leaves by itself and reports that all went well."""
        roles: tuple[PartName, ...] = ("caller", "target", "room")
        for role in roles:
            part = self._parts[role]
            part.dismiss()
            try:
                await asyncio.wait_for(part.process.wait(), END_SECONDS)
            except asyncio.TimeoutError:
                raise DemoError(f"{NAMES[role]} did not end") from None
            if part.process.returncode != 0:
                raise self._death(part)
        await asyncio.gather(*self._listeners)  # what they said last

    # ------------------------------------------------------------ reports

    def _all(self, role: PartName, event: str) -> list[Report]:
        return [report for report in self._parts[role].reports if report["event"] == event]

    def _find(self, role: PartName, event: str) -> Report | None:
        """Return the latest report of a kind."""
        reports = self._parts[role].reports
        return next((report for report in reversed(reports) if report["event"] == event), None)

    async def _expect(self, role: PartName, event: str) -> Report:
        while (report := self._find(role, event)) is None:
            await self._wait_for_news(START_SECONDS if event in ("ready", "listening", "attending") else QUIET_SECONDS)
        return report

    async def _wait_for_news(self, seconds: float = QUIET_SECONDS) -> None:
        """Wait for the next report of any part. Raises DemoError for bad news, and for none at all."""
        # Not `wait_for`, which can lose a Ctrl-C that comes together with news (before Python 3.12).
        news = asyncio.ensure_future(self._news.wait())
        try:
            done, _ = await asyncio.wait((news,), timeout=seconds)
        finally:
            news.cancel()
        if not done:
            raise DemoError(f"nothing happened for {seconds:.0f} seconds")
        self._news.clear()
        if self._is_bad():
            await asyncio.sleep(SETTLE_SECONDS)
            raise self._best_reason()

    def _is_bad(self) -> bool:
        if any(self._find(role, "failed") for role in self._parts):
            return True
        early: tuple[PartName, ...] = ("room", "target")
        return any(self._find(role, "ended") for role in early) or (
            self._find("caller", "ended") is not None and self._find("caller", "done") is None
        )

    def _best_reason(self) -> DemoError:
        """Return the best reason: a process that died explains all the rest; a protocol's own error explains an end."""
        for part in self._parts.values():
            if part.process.returncode is not None and self._find(part.role, "failed") is None:
                return self._death(part)
        failures = [(role, report) for role in self._parts for report in self._all(role, "failed")]
        role, report = min(failures, key=lambda item: _rank(item[1]["error"]))
        return DemoError(f"{NAMES[role]}: {report['message']}")

    def _death(self, part: _Part) -> DemoError:
        code = part.process.returncode or 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended early with exit code {code}"
        words = part.last_words()
        return DemoError(f"{NAMES[part.role]} {how}{': ' + words if words else ''}")


def _rank(error: str) -> int:
    telling = ("BoxStreamError", "PacketError", "HandshakeError", "LimitError", "DeadlineError", "RefusedError")
    return telling.index(error) if error in telling else len(telling)


def _without(report: Report, *names: str) -> Report:
    return {name: value for name, value in report.items() if name not in names}

"""Transfers whose path changes under them, and sessions that outlive paths and rooms: nothing is lost or piles up.

SSBFAST_TEST_MOVED is the size of the transfers in MB, 20 if it is not set; those on lossy paths are a tenth of it. When
it is set, no transfer may stand still for more than 3 s, and paths die twice in a row: for a machine that has nothing
else to do, and for somebody who has ten minutes.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import psutil
import pytest

from tests.helpers.processes import PATIENCE
from tests.nat.mixes import AIOQUIC_CALLS, AIOQUIC_LISTENS, Mix, mixed
from tests.nat.neighbours import Blob, LabPrograms, Moved, Program, Side, lab_programs

pytestmark = [pytest.mark.nat, pytest.mark.timeout(3600 if "SSBFAST_TEST_MOVED" in os.environ else 240)]

MB: Final = 1_000_000
THOROUGH: Final = "SSBFAST_TEST_MOVED" in os.environ
SIZE: Final = int(os.environ.get("SSBFAST_TEST_MOVED", "20")) * MB
GAP: Final = 3.0 if THOROUGH else 10.0
"""Seconds without a byte that a test stands; on a busy machine even a process that does everything right may pause."""

DEATHS: Final = 2 if THOROUGH else 1
"""Paths that die in a row: the pause before the next one doubles each time, to 20 and 40 s."""

GROWTH: Final = 32 * 1024 * 1024
"""Bytes of resident memory that a transfer may cost `listen` or `connect`: windows are 1 MiB a stream and direction,
twice that in QUIC, and the sockets' buffers."""


class Memory:
    """How much the resident memory of programs grows at the most while this is open. growth: bytes, by program."""

    def __init__(self, *programs: Program) -> None:
        self._processes = [psutil.Process(program.process.pid) for program in programs]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.growth = [0] * len(programs)

    def __enter__(self) -> Memory:
        self._before = [process.memory_info().rss for process in self._processes]
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            for number, process in enumerate(self._processes):
                grown = process.memory_info().rss - self._before[number]
                self.growth[number] = max(self.growth[number], grown)


class Accidents:
    """What happens to a transfer: one thing after each equal share of its bytes; `fetch` calls it with the total.

    An accident returns a question, or None. While the answer is no, bytes are taken slowly, and none beyond the share.
    """

    def __init__(self, size: int, *accidents: Callable[[], Callable[[], bool] | None]) -> None:
        self._share = size // (len(accidents) + 1)
        self._accidents = list(accidents)
        self._due = self._share
        self._is_over: Callable[[], bool] | None = None

    def __call__(self, total: int) -> None:
        if self._is_over is not None and not self._is_over():
            time.sleep(0.1)
            until = time.monotonic() + PATIENCE
            while total >= self._due and not self._is_over():
                if time.monotonic() > until:
                    raise TimeoutError("an accident is not over")
                time.sleep(0.01)
        if self._accidents and total >= self._due:
            self._due += self._share
            self._is_over = self._accidents.pop(0)()


def told(program: Program, path: str, times: int = 1) -> Callable[[], bool]:
    """Whether it has told of that path so many times."""
    return lambda: paths_of(program).count(path) >= times


def paths_of(program: Program) -> list[str]:
    """All that it has told of; attempts that came to nothing are "tunnel"."""
    return [event["path"] for event in program.said("path")]


def move(street: LabPrograms, how: str, side: Side, port: int, blob: Blob, accidents: Accidents) -> Moved:
    transfer: Any = street.fetch if how == "fetch" else street.put
    moved: Moved = transfer(side, port, blob, accidents)
    assert moved[:2] == (blob.size, blob.digest)
    return moved


def judge(what: str, moved: Moved, memory: Memory) -> None:
    grown = [round(growth / 2**20, 1) for growth in memory.growth]
    speed = moved.bytes / moved.seconds / MB
    print(f"moved {what}: {moved.bytes // MB} MB, {speed:.1f} MB/s, gap {moved.gap:.2f} s, grown by {grown} MiB")
    assert moved.gap < GAP
    assert max(memory.growth) < GROWTH


@mixed(
    "how loss",
    [("fetch", 0.0), ("put", 0.0), ("fetch", 0.1)],
    (AIOQUIC_CALLS, ("fetch", 0.0)),
    (AIOQUIC_LISTENS, ("put", 0.0)),
)
def test_relay_then_direct_then_relay(how: str, loss: float, mix: Mix, tmp_path: Path) -> None:
    blob = Blob(SIZE // 10 if loss else SIZE)
    with lab_programs(tmp_path, "port", "address", mix=mix) as street:
        street.room()
        street.lab.block_udp("A", "B")
        listener = street.listen("A")
        caller, port = street.connect("B")
        street.lab.set_loss(loss)

        def opens() -> Callable[[], bool]:
            assert "direct" not in paths_of(caller)
            street.lab.allow_udp("A", "B")
            return told(caller, "direct")

        def dies() -> Callable[[], bool]:
            street.lab.down("A", "B")
            return told(caller, "tunnel")

        street.echo("B", port, b"x")
        with Memory(caller, listener) as memory:
            moved = move(street, how, "B", port, blob, Accidents(blob.size, opens, dies))
        judge(f"{mix} {how}, loss {loss}", moved, memory)
        paths = paths_of(caller)
        assert paths[paths.index("direct") :][:2] == ["direct", "tunnel"]
        assert not caller.said("closed") and not listener.said("closed")


@mixed(
    "how loss",
    [("fetch", 0.0), ("put", 0.0), ("put", 0.1)],
    (AIOQUIC_CALLS, ("put", 0.0)),
    (AIOQUIC_LISTENS, ("fetch", 0.0)),
)
def test_a_forward_that_was_opened_while_direct_ends_on_the_relay(
    how: str, loss: float, mix: Mix, tmp_path: Path
) -> None:
    blob = Blob(SIZE // 10 if loss else SIZE)
    with lab_programs(tmp_path, "port", "port-open", mix=mix) as street:
        room = street.room()
        listener = street.listen("A")
        caller, port = street.connect("B")
        caller.event("path", path="direct")
        listener.event("path", path="direct")
        first = room.event("tunnel_closed")
        assert first["bytes"] < 50_000
        street.lab.set_loss(loss)

        def dies() -> None:
            street.lab.down("A", "B")

        relayed = street.relayed()
        with Memory(caller, listener) as memory:
            moved = move(street, how, "B", port, blob, Accidents(blob.size, dies))
        judge(f"{mix} {how} opened while direct, loss {loss}", moved, memory)
        # The path dies when half is fetched; of what is put, megabytes are still in buffers then.
        most = blob.size * (3 if how == "fetch" else 3.8) / 4 * (2 if loss else 1)
        assert blob.size // 4 < street.relayed() - relayed < most
        assert paths_of(caller)[:2] == ["direct", "tunnel"]
        assert not caller.said("closed") and not listener.said("closed")


@mixed("", [()], (AIOQUIC_CALLS, ()))
def test_the_room_is_killed_and_restarted_while_direct_and_then_the_path_dies(mix: Mix, tmp_path: Path) -> None:
    blob = Blob(SIZE)
    with lab_programs(tmp_path, "full-cone", "port", mix=mix) as street:
        rooms = [street.room()]
        listener = street.listen("A")
        caller, port = street.connect("B")
        caller.event("path", path="direct")

        def killed() -> None:
            rooms[0].process.kill()
            rooms[0].wait()
            threading.Thread(target=lambda: rooms.append(street.room()), daemon=True).start()

        def back() -> Callable[[], bool]:
            return lambda: len(rooms) == 2 and bool(rooms[1].said("tunnel_opened"))  # the standby

        def dies() -> Callable[[], bool]:
            street.lab.down("A", "B")
            return told(caller, "tunnel")

        with Memory(caller, listener) as memory:
            moved = move(street, "fetch", "B", port, blob, Accidents(blob.size, killed, back, dies))
        judge(f"{mix} room killed", moved, memory)
        assert not caller.said("closed") and not listener.said("closed")
        street.echo("B", port, b"by the new room")


@mixed("", [()], (AIOQUIC_LISTENS, ()))
def test_forwards_whose_first_bytes_are_lost_with_the_path_are_opened_all_the_same(mix: Mix, tmp_path: Path) -> None:
    """Neither end knows yet that the path is dead; then only the opener knows of the connections."""
    with lab_programs(tmp_path, "port", "port", mix=mix) as street:
        street.room()
        listener = street.listen("A")
        caller, port = street.connect("B")
        caller.event("path", path="direct")
        listener.event("path", path="direct")
        street.lab.down("A", "B")
        with street.dial("B", port) as one, street.dial("B", port) as other:
            for sock in (other, one):
                sock.sendall(b"echo\nhello")
            for sock in (one, other):
                assert sock.recv(5) == b"hello"
                sock.shutdown(socket.SHUT_WR)
                assert sock.recv(1) == b""
        assert not caller.said("closed") and not listener.said("closed")


@mixed("", [()], (AIOQUIC_CALLS, ()))
def test_after_a_path_that_died_comes_another(mix: Mix, tmp_path: Path) -> None:
    with lab_programs(tmp_path, "port", "port", mix=mix) as street:
        street.room()
        listener = street.listen("A")
        caller, port = street.connect("B")
        with street.dial("B", port) as sock:
            sock.sendall(b"echo\n")
            for number in range(DEATHS + 1):
                caller.event("path", path="direct")
                listener.event("path", path="direct")
                for direct in (True, False) if number < DEATHS else (True,):
                    if not direct:
                        street.lab.block_udp("A", "B")
                        caller.event("path", path="tunnel")
                    sock.sendall(b"%d%d" % (number, direct))
                    assert sock.recv(2) == b"%d%d" % (number, direct)
                street.lab.allow_udp("A", "B")
            assert not caller.said("closed") and not listener.said("closed")

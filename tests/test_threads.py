"""Threads, on objects of their own and on shared ones: right results, or an error that says so; never a crash.

cffi and PyNaCl let other threads run while they work, so these races are there with and without a global lock of the
interpreter. The interpreter changes threads as often as it can while these tests run. None decides by timing.
"""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from ssbfast import native
from ssbfast.errors import BoxStreamError, LocalProtocolError, SessionEndedError

KEY, NONCE = b"\x01" * 32, bytes(23) + b"\xf0"
NEAR: dict[str, Any] = {"send_key": KEY, "send_nonce": NONCE, "receive_key": bytes(32), "receive_nonce": NONCE}
FAR: dict[str, Any] = {"send_key": bytes(32), "send_nonce": NONCE, "receive_key": KEY, "receive_nonce": NONCE}
THREADS = 6
ROUNDS = 150


@pytest.fixture(autouse=True)
def _restless() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(*works: Callable[[], object]) -> None:
    """Run each in a thread of its own, all at once; the first failure is raised here."""
    start = threading.Barrier(len(works))
    failures: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            start.wait()
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has a global lock")
def test_nothing_asks_for_the_global_lock() -> None:
    code = "import sys, ssbfast.native; print(sys._is_gil_enabled())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def text(i: int) -> bytes:
    """Some bytes; longer than a box now and then."""
    return bytes([i % 251]) * (i * 97 % 5000 + 1)


def test_sealers_and_openers_of_ones_own(core: ModuleType) -> None:
    wanted = [text(i) for i in range(ROUNDS // 3)]

    def work() -> None:
        sealer, opener = core.Sealer(KEY, NONCE), core.Opener(KEY, NONCE)
        got = [b"".join(opener.open(sealer.seal(plain))) for plain in wanted]
        assert got == wanted
        assert opener.open(sealer.goodbye()) == []
        opener.eof()

    together(*[work] * THREADS)


@pytest.mark.parametrize("size", [5, 3000, 20_000])
def test_a_shared_sealer_uses_no_nonce_twice(core: ModuleType, size: int) -> None:
    """All texts are the same, so all that makes boxes differ is the nonce: they have to be those of one thread."""
    plain, rounds = bytes(size), ROUNDS // 3
    alone = core.Sealer(KEY, NONCE)
    wanted = sorted(alone.seal(plain) for _ in range(THREADS * rounds))
    shared = core.Sealer(KEY, NONCE)
    sealed: list[bytes] = []
    together(*[lambda: sealed.extend(shared.seal(plain) for _ in range(rounds))] * THREADS)
    assert sorted(sealed) == wanted
    assert len(set(wanted)) == len(wanted)


def test_one_goodbye_only(core: ModuleType) -> None:
    shared = core.Sealer(KEY, NONCE)
    said: list[bytes] = []

    def work() -> None:
        try:
            said.append(shared.goodbye())
        except LocalProtocolError:
            said.append(b"")

    together(*[work] * THREADS)
    assert sorted(map(len, said)) == [0] * (THREADS - 1) + [34]


def test_a_shared_opener_gives_nothing_that_was_not_sealed(core: ModuleType) -> None:
    """Who hands in boxes from several threads mixes up their order: an error, after texts that are all good."""
    sealer = core.Sealer(KEY, NONCE)
    texts = [b"%d " % i * 50 for i in range(THREADS * ROUNDS)]
    boxes = iter([sealer.seal(plain) for plain in texts])
    opener = core.Opener(KEY, NONCE)
    got = [body for box in itertools.islice(boxes, 5) for body in opener.open(box)]
    taking = threading.Lock()

    def work() -> None:
        while True:
            with taking:
                box = next(boxes, None)
            if box is None:
                return
            try:
                got.extend(opener.open(box))
            except BoxStreamError:
                return

    together(*[work] * THREADS)
    assert len(got) >= 5
    assert len(set(got)) == len(got)
    assert set(got) == set(texts[: len(got)])


def pump(core: ModuleType, hub: Any, number: int, rounds: int) -> None:
    """A pair of links with a stream and packets between them; all that arrives has to be what was sent."""
    near, far = core.Link(hub, 2 * number, **NEAR), core.Link(hub, 2 * number + 1, **FAR)
    lane = core.Lane(near, 1)
    core.Inlet(far, 1, None)
    sent, came, packets = bytearray(), bytearray(), []
    for i in range(rounds):
        piece = bytes([number, i % 251]) * (i * 131 % 4000 + 1)
        assert lane.write(piece)
        assert near.control(core.EV_PACKET, -number - 1, b"%d of %d" % (i, number))
        sent += piece
        status = core.Status.FULL
        while status == core.Status.FULL:
            data, status = near.flush()
            answer, events = far.receive(bytearray(data))
            assert answer == core.Status.OK
            came += b"".join(body for kind, _, _, body in events if kind == core.EV_CHUNK)
            packets += [(req, body) for kind, _, req, body in events if kind == core.EV_PACKET]
        hub.dirty()
    assert far.failure is None
    assert came == sent
    assert packets == [(-number - 1, b"%d of %d" % (i, number)) for i in range(rounds)]
    for thing in (lane, near, far):
        thing.close()


def test_hubs_of_ones_own(core: ModuleType) -> None:
    together(*[lambda n=n: pump(core, core.Hub(4 << 20), n, ROUNDS // 5) for n in range(THREADS)])


def test_links_of_a_shared_hub(core: ModuleType) -> None:
    """They share the pool, the list of links with something to send, and the buffers for events and output."""
    hub = core.Hub(16 << 20)
    together(*[lambda n=n: pump(core, hub, n, ROUNDS // 5) for n in range(THREADS)])
    assert hub.lent == 0
    assert hub.outgoing == 0


def test_a_shared_link(core: ModuleType) -> None:
    """Each thread writes to a lane of its own while one flushes: the streams arrive whole."""
    hub, other = core.Hub(32 << 20), core.Hub(4 << 20)
    near, far = core.Link(hub, 1, **NEAR), core.Link(other, 1, **FAR)
    lanes = [core.Lane(near, 1 + n, 4 << 20) for n in range(THREADS)]
    inlets = [core.Inlet(far, 1 + n, None) for n in range(THREADS)]
    pieces = [bytes([i]) * (i * 37 % 900 + 1) for i in range(ROUNDS)]
    left = threading.Semaphore(0)
    came = {1 + n: bytearray() for n in range(THREADS)}

    def write(lane: Any) -> None:
        try:
            for piece in pieces:
                assert lane.write(piece)
                assert lane.queued <= lane.put
        finally:
            left.release()

    def flush() -> None:
        done, busy = 0, True
        while busy:
            done += left.acquire(blocking=False)
            last = done == THREADS
            data, status = near.flush()
            _, events = far.receive(bytearray(data))
            for kind, _, req, body in events:
                assert kind == core.EV_CHUNK
                came[req] += body
            busy = not last or status == core.Status.FULL

    together(flush, *[lambda lane=lane: write(lane) for lane in lanes])
    assert far.failure is None
    assert all(stream == b"".join(pieces) for stream in came.values())
    assert len(inlets) == THREADS
    assert hub.lent == 0


def test_closing_under_everybodys_feet(core: ModuleType) -> None:
    hub = core.Hub(8 << 20)
    for _ in range(ROUNDS // 10):
        near, far = core.Link(hub, 1, **NEAR), core.Link(hub, 2, **FAR)
        out, onward = core.Lane(near, 1), core.Lane(near, 2)
        inlet = core.Inlet(far, 1, onward)

        def use(lane: Any = out, near: Any = near, far: Any = far) -> None:
            try:
                for i in range(40):
                    lane.write(text(i))
                    far.receive(bytearray(near.flush()[0]))
                    far.proceed()
                    hub.dirty()
            except (SessionEndedError, LocalProtocolError):
                pass

        together(use, use, near.close, far.close, inlet.close, onward.close, out.close)
        near.close()
        far.close()
        assert hub.lent == 0
        assert hub.dirty() == []


@pytest.mark.skipif(native.BACKEND == "pure", reason="the twin has nothing to give back")
def test_links_forgotten_while_another_thread_is_inside() -> None:
    """Garbage collection closes links in whatever thread it runs: there it must not wait for the hub's turn."""
    hub = native.Hub(8 << 20)
    link = native.Link(hub, 1, **NEAR)
    lane = native.Lane(link, 1)
    assert lane.write(bytes(100_000))
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with hub._turn:
            inside.set()
            leave.wait()

    thread = threading.Thread(target=stay)
    thread.start()
    inside.wait()
    del link, lane
    gc.collect()
    assert len(hub._forgotten) == 1
    leave.set()
    thread.join()
    assert hub.lent == 0
    assert hub.dirty() == []
    assert not hub._forgotten

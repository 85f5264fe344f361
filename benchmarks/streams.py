"""The native API, batched, beside other implementations of box streams, each in its own language.

`js`: pull-box-stream on sodium-native (streams.js). `go`: boxes by golang.org/x/crypto (go/). `openssl`: no box stream
but what a modern one could be, a ChaCha20-Poly1305 for each body through `cryptography`. The others are those of
`ssbfast bench`. Answers are compared by digest before anything is timed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from benchmarks.baselines import KEY, NONCE
from benchmarks.processes import ROOT, Child
from ssbfast import pure
from ssbfast.cli.bench.box_stream import CASES, TOTAL, PlainOpener, PlainSealer, along, paths
from ssbfast.cli.bench.contest import WrongAnswerError
from ssbfast.cli.bench.runner import Figure, figures
from ssbfast.limits import BOX_BODY
from tests.interop.js_modules import JS_DIR, ensure_modules, have_node

Turn = Callable[[], tuple[float, float]]
"""One turn: CPU-seconds and seconds on the clock of a pass."""

WAYS: Final = ("seal", "open")
_GO: Final = ROOT / "benchmarks" / "go"


def bodies_of(sizes: tuple[int, ...]) -> list[bytes]:
    """What all contenders seal: body i is of the value i % 251."""
    count = max(1, TOTAL // sum(sizes)) * len(sizes)
    return [bytes([i % 251]) * sizes[i % len(sizes)] for i in range(count)]


class Worker:
    """A contender in a process of its own, which carries out orders."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.child = Child(command, ROOT, env)

    def turn(self, order: dict[str, Any], digest: str) -> tuple[float, float]:
        """Raises WrongAnswerError."""
        done = self.child.asked(order)
        if done["digest"] != digest:
            raise WrongAnswerError("a wrong answer from another process")
        return float(done["cpu"]), float(done["seconds"])


def js_worker() -> Worker | str:
    """pull-box-stream, or why it is absent."""
    if not have_node():
        return "Node and npm are not installed"
    if (reason := ensure_modules()) is not None:
        return f"npm: {reason.strip()[-200:]}"
    env = {"NODE_PATH": str(JS_DIR / "node_modules"), "NODE_NO_WARNINGS": "1"}
    return Worker(["node", str(ROOT / "benchmarks" / "streams.js")], env)


def go_worker() -> Worker | str:
    """x/crypto, compiled for this run, or why it is absent."""
    go = shutil.which("go", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/go/bin"]))
    if go is None:
        return "no Go toolchain"
    program = Path(tempfile.mkdtemp(prefix="ssbfast-go-")) / "streams"
    command = [go, "build", "-o", str(program), "."]
    try:
        done = subprocess.run(command, cwd=_GO, capture_output=True, text=True, timeout=180, check=False)
    except subprocess.TimeoutExpired:
        return "go build took too long"
    return f"go build: {done.stderr.strip()[-200:]}" if done.returncode else Worker([str(program)], {})


def workers(stack: ExitStack, absent: dict[str, str]) -> dict[str, Worker]:
    """Those that there are; why others are not goes to `absent`."""
    found = {}
    for name, make in (("js", js_worker), ("go", go_worker)):
        made = make()
        if isinstance(made, str):
            absent[name] = made
        else:
            stack.callback(made.child.close)
            found[name] = made
    return found


def measure(rounds: int, absent: dict[str, str]) -> Iterator[tuple[str, str, float, dict[str, Figure]]]:
    """(way, case, MB of a pass, figures with ratios to js) of all sizes."""
    with ExitStack() as stack:
        others = workers(stack, absent)
        for case, sizes in CASES.items():
            plains = bodies_of(sizes)
            for way in WAYS:
                turns = {**_ours(way, plains), **_theirs(others, way, sizes, plains), **_openssl(way, plains, absent)}
                taken = take_turns(turns, rounds)
                yield way, case, sum(map(len, plains)) / 1e6, figures(taken, "js")


def take_turns(turns: Mapping[str, Turn], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """What each has taken, round by round; one round before that warms up."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in turns}
    for number in range(rounds + 1):
        for name, turn in turns.items():
            cost = turn()
            if number:
                taken[name].append(cost)
    return taken


def _ours(way: str, plains: list[bytes]) -> dict[str, Turn]:
    from ssbfast.native import box_stream

    wire = pure.Sealer(KEY, NONCE).seal_many(plains)
    right = hashlib.sha256(wire if way == "seal" else b"".join(plains)).hexdigest()

    full = b"".join(plains) if {len(plain) for plain in plains} == {BOX_BODY} else None

    def work(sealer: Any, opener: Any) -> Any:
        if way == "open":
            return opener(KEY, NONCE).open(wire)
        return sealer(KEY, NONCE).seal_many(plains)

    def native(path: str) -> Callable[[], Any]:
        if way == "seal" and full is not None:  # nothing has to be kept apart
            return along(path, lambda: box_stream.Sealer(KEY, NONCE).seal(full))
        return along(path, partial(work, box_stream.Sealer, box_stream.Opener))

    found: dict[str, Callable[[], Any]] = {path: native(path) for path in paths()}
    found["pynacl"] = partial(work, PlainSealer, PlainOpener)
    found["pure"] = partial(work, pure.Sealer, pure.Opener)
    for name, one in found.items():
        out = one()
        if hashlib.sha256(out if isinstance(out, bytes) else b"".join(out)).hexdigest() != right:
            raise WrongAnswerError(f"{name} gives a wrong answer: {way}")
    return {name: partial(timed, one) for name, one in found.items()}


def timed(work: Callable[[], Any], passes: int = 4) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(passes):
        work()
    return (time.process_time() - cpu) / passes, (time.perf_counter() - wall) / passes


def _theirs(others: dict[str, Worker], way: str, sizes: tuple[int, ...], plains: list[bytes]) -> dict[str, Turn]:
    answer = pure.Sealer(KEY, NONCE).seal_many(plains) if way == "seal" else b"".join(plains)
    order = {"op": way, "sizes": sizes, "count": len(plains), "passes": 4}
    digest = hashlib.sha256(answer).hexdigest()
    return {name: partial(worker.turn, order, digest) for name, worker in others.items()}


def _openssl(way: str, plains: list[bytes], absent: dict[str, str]) -> dict[str, Turn]:
    if find_spec("cryptography") is None:
        absent["openssl"] = "the package cryptography is not installed"
        return {}
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    aead = ChaCha20Poly1305(KEY)
    nonces = [i.to_bytes(12, "big") for i in range(len(plains))]
    sealed = [aead.encrypt(nonce, plain, None) for nonce, plain in zip(nonces, plains, strict=True)]
    one, texts = (aead.encrypt, plains) if way == "seal" else (aead.decrypt, sealed)
    pairs = list(zip(nonces, texts, strict=True))

    def work() -> list[bytes]:
        return [one(nonce, text, None) for nonce, text in pairs]

    if work() != (sealed if way == "seal" else plains):
        raise WrongAnswerError(f"openssl gives a wrong answer: {way}")
    return {"openssl": partial(timed, work)}

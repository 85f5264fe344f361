"""native = pure: the same calls, made of both backends, get the same answers to the last byte and counter.

On every path of the native core that this machine has.
"""

from __future__ import annotations

import inspect
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssbfast import limits, native, pure
from ssbfast.errors import SSBError
from ssbfast.pure import packet_stream
from tests.conftest import PATHS
from tests.helpers import hand_made_boxes
from tests.helpers.feeds import split
from tests.helpers.hand_made_boxes import KEY, NONCE
from tests.helpers.lockstep import Lockstep
from tests.helpers.traffic import Traffic

pytestmark = pytest.mark.skipif(native.BACKEND == "pure", reason="only one backend runs here")

SCHEDULES = 400
STEPS = 150
BLOCK = 20

keys = st.binary(min_size=32, max_size=32)
nonces = st.one_of(st.binary(min_size=24, max_size=24), st.integers(0, 24).map(lambda n: bytes(24 - n) + b"\xff" * n))


def answer(call: Any, *args: Any) -> Any:
    """What a call returns, or the error that it raises."""
    try:
        return call(*args)
    except SSBError as error:
        return repr(error)


BLOCKS = [
    (name, block)
    for name in PATHS
    for block in range((SCHEDULES if name == native.BACKEND else SCHEDULES // 8) // BLOCK)
]
"""Links do the same on every path but for the sealing and opening of boxes: the path in use gets all schedules."""


@pytest.mark.parametrize(("path", "block"), BLOCKS, indirect=["path"])
@pytest.mark.slow
def test_schedules(block: int, rounds: int, path: str) -> None:
    """Links, lanes, inlets and hubs under random and hostile input (tests/helpers/lockstep.py)."""
    for seed in range(block * BLOCK, block * BLOCK + max(1, BLOCK // rounds)):
        schedule = Lockstep(native, pure, seed)
        try:
            schedule.run(STEPS)
        except AssertionError as difference:
            last = "\n".join(schedule.log[-30:])
            raise AssertionError(f"seed {seed}: {difference}\n{last}") from None


@pytest.mark.slow
def test_schedules_reach_everything(rounds: int) -> None:
    """The driver is worth nothing if its traffic dies at the door."""
    seen: set[str] = set()
    for seed in range(100):
        schedule = Lockstep(pure, pure, seed)
        schedule.run(STEPS)
        seen |= schedule.seen
    assert seen >= {
        "OK", "AGAIN", "BLOCKED", "ENDED", "FULL", "True", "False",
        "event 1", "event 2", "event 3", "held", "tunnelled",
        "BoxStreamError", "PacketError", "LocalProtocolError", "SessionEndedError",
    }  # fmt: skip


def test_every_length(path: str) -> None:
    """Against libsodium by another way, PyNaCl's own."""
    plain = bytes(range(251)) * 17
    sealer, opener = native.Sealer(KEY, NONCE), native.Opener(KEY, NONCE)
    for n in range(1, limits.BOX_BODY + 1):
        sealed = sealer.seal(plain[:n])
        assert sealed == hand_made_boxes.box(plain[:n], n - 1), n
        assert opener.open(sealed) == [plain[:n]], n


@given(keys, nonces, st.lists(st.binary(max_size=9000), max_size=6), st.booleans())
def test_sealers(path: str, key: bytes, nonce: bytes, messages: list[bytes], early: bool) -> None:
    one, two = native.Sealer(key, nonce), pure.Sealer(key, nonce)
    for i, plain in enumerate(messages):
        if early and i == 2:
            assert answer(one.goodbye) == answer(two.goodbye)
        assert answer(one.seal, plain) == answer(two.seal, plain)
        assert answer(one.seal_many, messages) == answer(two.seal_many, messages)
        assert answer(one.seal_packet, i, -i, plain) == answer(two.seal_packet, i, -i, plain)
    assert answer(one.goodbye) == answer(two.goodbye)
    assert answer(one.seal, b"x") == answer(two.seal, b"x")


@pytest.mark.parametrize("hostile", [0.0, 0.1, 0.5])
@pytest.mark.slow
def test_openers(hostile: float, rounds: int, path: str) -> None:
    for seed in range((120 if path == native.BACKEND else 40) // rounds):
        rng = random.Random(f"{seed} {hostile}")
        key, nonce, most = rng.randbytes(32), rng.randbytes(24), rng.choice((50, 4096, 4096, 65535))
        one, two = native.Opener(key, nonce, most), pure.Opener(key, nonce, most)
        traffic = Traffic(rng, key, nonce, [1, -1], hostile)
        for _ in range(30):
            for piece in split(traffic.take(), rng, rng.choice((1, 50, 5000))):
                name = rng.choice(("open", "open_joined"))
                assert answer(getattr(one, name), piece) == answer(getattr(two, name), piece)
                assert one.ended == two.ended
            assert answer(one.eof) == answer(two.eof)


@pytest.mark.parametrize("hostile", [0, 1])
def test_scanners(hostile: int, rounds: int) -> None:
    """Packets of all lengths and kinds, one in a while broken, cut anywhere."""
    small = native.CoreLimits(call_body=300, answer_body=4000)
    for seed in range(80 // rounds):
        rng = random.Random(f"{seed} {hostile}")
        plain = b""
        for _ in range(rng.choice((3, 30, 300))):
            req = rng.choice((0, 1, -1, 7, -(2**31)))
            most = rng.choice((0, 9, 300)) if req >= 0 else rng.choice((0, 40, 4000))
            body = rng.randbytes(rng.randint(0, most + hostile * (rng.random() < 0.01)))
            flags = rng.randrange(256) & (0xFF if hostile and rng.random() < 0.01 else 0xFC)
            plain += packet_stream.write_head(flags, len(body), req) + body
        one, two = native.Scanner(small), pure.Scanner(small)
        for piece in split(plain, rng, rng.choice((20, 500, 9000)) if len(plain) > 3000 else 2):
            kind = rng.choice((bytes, bytearray, memoryview))
            assert answer(one.feed, kind(piece)) == answer(two.feed, piece)
        assert answer(one.feed, b"") == answer(two.feed, b"")


@pytest.mark.parametrize("name", ["Sealer", "Opener", "Scanner", "Hub", "Link", "Lane", "Inlet"])
def test_same_names_and_signatures(name: str) -> None:
    one, two = getattr(native, name), getattr(pure, name)
    assert _signature(one.__init__) == _signature(two.__init__)
    for member, value in vars(one).items():
        if member.startswith("_") or not (inspect.isfunction(value) or isinstance(value, property)):
            continue
        if inspect.isfunction(value):
            assert _signature(value) == _signature(getattr(two, member)), member
        else:
            assert hasattr(two, member) or member in inspect.getsource(two), member


def _signature(function: Any) -> list[tuple[str, Any, Any]]:
    """Names, kinds and defaults; what a function accepts may be wider in one than in the other."""
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]

"""The engine beside aioquic, case by case: what one end does, the other one sees."""

from __future__ import annotations

import sys
from collections import deque

import pytest

if sys.version_info < (3, 11):
    pytest.skip("aioquic needs Python 3.11: there are no direct paths", allow_module_level=True)
pytest.importorskip("ssbfast.native.core", reason="the C core is not built")

from aioquic.quic.packet import QuicErrorCode

from ssbfast.direct.quic_handover import is_quiet
from ssbfast.native.quic import NEVER, Limits
from tests.helpers.quic_world import (
    BOUNDS,
    CALLER,
    SECOND,
    TARGET,
    AioquicEnd,
    Direction,
    EngineEnd,
    Network,
    World,
    digest,
    text,
)

ROLES = pytest.mark.parametrize("role", [CALLER, TARGET], ids=["caller", "target"])
LOSSY = Network(Direction(loss=0.1), Direction(loss=0.1))


def meet(role: int, network: Network | None = None, bounds: Limits = BOUNDS) -> tuple[World, EngineEnd, AioquicEnd]:
    """Return a world in which the engine has this role, the engine, and aioquic."""
    world = World(("case", role), network)
    world.take_over(role, bounds=bounds)
    return world, world.ends[role], world.ends[1 - role]


@ROLES
def test_streams_are_taken_over_as_they_are(role: int) -> None:
    """Bytes on streams before and after the handover are one text."""
    world = World(("early", role))
    early = [end.open() for end in world.ends]
    for end, stream in zip(world.ends, early, strict=True):
        end.write(stream, text(stream, 3_000), end=False)
    assert world.run(SECOND, lambda: all(len(world.ends[1 - i].got.get(early[i], b"")) == 3_000 for i in (0, 1)))
    assert world.run(SECOND, lambda: all(is_quiet(end.quic) for end in world.ends))
    got = [end.got for end in world.ends]
    world.take_over(role)
    world.ends[role].got = got[role]
    for i, end in enumerate(world.ends):
        end.write(early[i], text(10 + i, 50_000), end=True)
        other = world.ends[1 - i]
        assert world.run(SECOND * 5, lambda i=i, other=other: early[i] in other.ended)
        assert digest(other.got[early[i]]) == digest(text(early[i], 3_000) + text(10 + i, 50_000))


@ROLES
def test_a_reset_ends_what_is_sent(role: int) -> None:
    world, engine, peer = meet(role, LOSSY)
    ours, theirs = engine.open(), peer.open()
    engine.write(ours, text(1, 5_000), end=False)
    peer.write(theirs, text(2, 5_000), end=False)
    world.run(SECOND)
    engine.engine.reset(ours, 17)
    peer.quic.reset_stream(theirs, 18)
    assert world.run(20 * SECOND, lambda: peer.resets.get(ours) == 17 and engine.resets.get(theirs) == 18)
    assert engine.engine.write(ours, b"x") == 0
    peer.write(ours, b"answer", end=True)
    engine.write(theirs, b"answer", end=True)
    assert world.run(20 * SECOND, lambda: ours in engine.ended and theirs in peer.ended)
    assert world.run(20 * SECOND, lambda: not engine.engine.is_open(ours) and not engine.engine.is_open(theirs))
    assert engine.engine.figures()["pages"] == engine.engine.figures()["segments"] == 0


@ROLES
def test_a_stop_resets_the_other_side(role: int) -> None:
    world, engine, peer = meet(role, LOSSY)
    ours, theirs = engine.open(), peer.open()
    engine.write(ours, text(1, 200_000), end=True)
    peer.write(theirs, text(2, 200_000), end=True)
    assert world.run(20 * SECOND, lambda: bool(peer.got.get(ours)) and bool(engine.got.get(theirs)))
    peer.quic.stop_stream(ours, 21)
    engine.engine.stop(theirs, 22)
    assert world.run(20 * SECOND, lambda: engine.stopped.get(ours) == 21 and peer.stopped.get(theirs) == 22)
    assert world.run(20 * SECOND, lambda: peer.resets.get(ours) == 21)
    read = len(engine.got[theirs])
    world.run(20 * SECOND)
    assert len(engine.got[theirs]) == read
    peer.write(ours, b"", end=True)
    engine.write(theirs, b"", end=True)
    assert world.run(60 * SECOND, lambda: engine.engine.figures()["segments"] == 0)
    assert engine.engine.figures()["pages"] == 0
    assert peer.closed is engine.closed is None


def is_free(piece: bytearray) -> bool:
    """Return whether nothing holds this memory any more; then it is overwritten, so that a late reader shows."""
    try:
        piece.append(0)
    except BufferError:
        return False
    piece[:] = bytes([0xFF]) * (len(piece) - 1)
    return True


@ROLES
def test_what_is_written_is_held_until_it_has_arrived(role: int) -> None:
    """Not shorter, for it may have to be sent again; and not longer."""
    world, engine, peer = meet(role, LOSSY)
    stream, data = engine.open(), text(1, 600_000)
    left = deque(bytearray(data[at : at + 3_000]) for at in range(0, len(data), 3_000))
    lent: deque[tuple[bytearray, int]] = deque()
    written = refused = 0
    while left or lent:
        while left and engine.engine.write(stream, left[0]):
            written += len(left[0])
            lent.append((left.popleft(), written))
        refused += bool(left)
        assert len(lent) <= BOUNDS.segments
        world.run(SECOND // 100)
        at = engine.engine.waiting(stream)
        if at is None:  # nothing is on its way
            at = written - engine.engine.figures()["unsent"]
        while lent and lent[0][1] <= at:
            assert is_free(lent.popleft()[0])
        assert not any(is_free(piece) for piece, _ in lent)
        assert world.now < 1_100 * SECOND
    assert refused and engine.engine.figures()["segments"] == 0 == len(engine.engine._lent)
    assert world.run(SECOND, lambda: len(peer.got[stream]) == len(data))
    assert digest(peer.got[stream]) == digest(data)


@ROLES
@pytest.mark.parametrize("how", ["reset", "stopped", "wiped", "refused"])
def test_what_is_given_up_is_held_no_more(role: int, how: str) -> None:
    world, engine, peer = meet(role)
    stream, piece, other = engine.open(), bytearray(50_000), bytearray(100)
    with pytest.raises(TypeError):
        engine.engine.write(stream, memoryview(piece))  # type: ignore[arg-type]
    taken = engine.engine.write(stream, piece), engine.engine.write(1_000, other)
    world.flush()
    assert taken == (len(piece), 0) and not is_free(piece) and is_free(other)
    if how == "reset":
        engine.engine.reset(stream, 1)
        engine.take_events()
    elif how == "stopped":
        assert world.run(SECOND, lambda: bool(peer.got.get(stream)))
        peer.quic.stop_stream(stream, 2)
        assert world.run(SECOND, lambda: engine.stopped.get(stream) == 2)
    elif how == "wiped":
        engine.engine.wipe()
    else:
        taken = engine.engine.write(stream, other, end=True), engine.engine.write(stream, b"late")
        assert taken == (len(other), 0) and not is_free(piece) and not is_free(other)
        engine.engine.wipe()
        assert is_free(other)
    assert is_free(piece) and not engine.engine._lent


@ROLES
def test_who_does_not_read_holds_the_sender_back(role: int) -> None:
    world, engine, peer = meet(role)
    engine.reading = False
    stream = peer.open()
    peer.write(stream, text(1, 1_000_000), end=True)
    world.run(60 * SECOND)
    assert engine.engine.figures()["unread"] == BOUNDS.window
    assert engine.engine.figures()["pages"] <= BOUNDS.window // 16_384 + 1
    engine.reading = True
    engine.read(stream)
    assert world.run(60 * SECOND, lambda: stream in engine.ended)
    assert digest(engine.got[stream]) == digest(text(1, 1_000_000))


@ROLES
def test_streams_come_and_go(role: int) -> None:
    """More, one after the other, than are open at a time; with room for others after each."""
    world, engine, peer = meet(role)
    for number in range(40):
        ours, theirs = engine.open(), peer.open()
        engine.write(ours, text(number, 500), end=True)
        peer.write(theirs, text(number + 100, 500), end=True)
        assert world.run(5 * SECOND, lambda a=ours, b=theirs: a in peer.ended and b in engine.ended)
        peer.write(ours, b"", end=True)
        engine.write(theirs, b"", end=True)
        assert world.run(5 * SECOND, lambda a=ours, b=theirs: a in engine.ended and b in peer.ended)
    assert world.run(5 * SECOND, lambda: engine.engine.figures()["in_flight"] == 0)
    assert engine.engine.figures()["pages"] == engine.engine.figures()["segments"] == 0


def test_more_streams_than_the_peer_allows() -> None:
    _, engine, _ = meet(CALLER)
    for _ in range(4):
        engine.open()
    assert engine.engine.open() is None
    assert engine.engine.open(uni=True) is not None


@ROLES
def test_datagrams_go_both_ways(role: int) -> None:
    world, engine, peer = meet(role)
    texts = [text(number, 1 + number * 40) for number in range(30)]
    for data in texts:
        assert engine.engine.datagram(data)
        peer.quic.send_datagram_frame(data)
    assert world.run(SECOND, lambda: len(peer.datagrams) == len(engine.datagrams) == 30)
    assert peer.datagrams == engine.datagrams == texts
    with pytest.raises(ValueError, match="never fits"):
        engine.engine.datagram(bytes(1_460))


@ROLES
def test_closing(role: int) -> None:
    world, engine, peer = meet(role)
    engine.engine.close(77)
    assert world.run(SECOND, lambda: peer.closed is not None)
    assert peer.closed == (77, True)
    assert engine.engine.open() is None and engine.engine.next != NEVER
    world.run(10 * SECOND)
    assert engine.engine.next == NEVER


@ROLES
@pytest.mark.parametrize("frame_type", [None, 0x1C])
def test_being_closed(role: int, frame_type: int | None) -> None:
    world, engine, peer = meet(role)
    code = 78 if frame_type is None else QuicErrorCode.INTERNAL_ERROR
    peer.quic.close(error_code=code, frame_type=frame_type)
    assert world.run(SECOND, lambda: engine.closed is not None)
    assert engine.closed == (code, frame_type is None)
    assert engine.engine.send(world.now) is None
    world.run(10 * SECOND)
    assert engine.engine.next == NEVER


def test_a_caller_may_move() -> None:
    """Its address changes: the target asks the new one, and goes on there."""
    world, engine, peer = meet(TARGET)
    stream, back = peer.open(), engine.open()
    peer.write(stream, text(1, 300_000), end=True)
    engine.write(back, text(2, 300_000), end=True)
    world.run(SECOND // 20)
    world.path = 1
    world.dead_path = 0
    assert world.run(60 * SECOND, lambda: stream in engine.ended and back in peer.ended)
    assert digest(engine.got[stream]) == digest(text(1, 300_000))
    assert digest(peer.got[back]) == digest(text(2, 300_000))
    assert engine.moved == [1]


def test_silence_ends_it() -> None:
    world = World("silence", idle_timeout=30.0)
    world.take_over(CALLER)
    engine = world.ends[CALLER]
    world.network = Network(Direction(loss=1.0), Direction(loss=1.0))
    engine.engine.ping()
    start = world.now
    assert world.run(100 * SECOND, lambda: engine.closed is not None)
    assert 30 * SECOND <= world.now - start < 31 * SECOND
    assert engine.engine.next == NEVER


@ROLES
def test_updates_of_keys(role: int) -> None:
    world, engine, peer = meet(role, LOSSY)
    ours, theirs = engine.open(), peer.open()
    engine.write(ours, text(1, 400_000), end=True)
    peer.write(theirs, text(2, 400_000), end=True)

    updated = 0

    def done() -> bool:
        nonlocal updated
        if world.now - updated > SECOND // 4 and peer.update_keys():  # what is in flight then is lost to aioquic
            updated = world.now
        return ours in peer.ended and theirs in engine.ended

    assert world.run(600 * SECOND, done)
    assert digest(peer.got[ours]) == digest(text(1, 400_000))
    assert digest(engine.got[theirs]) == digest(text(2, 400_000))
    assert engine.engine.figures()["updates"] > 5


@ROLES
def test_updates_of_a_peer_that_only_acknowledges(role: int) -> None:
    """Nothing of it wants an ACK, but quinn updates again once it has heard of our new keys."""
    slow = Direction(rate=0.01)
    world, engine, peer = meet(role, Network(slow, slow))
    stream = engine.open()
    engine.write(stream, text(1, 30_000), end=True)
    for _ in range(100):
        if not world.run(SECOND // 2, lambda: stream in peer.ended):
            peer.quic.request_key_update()
    assert digest(peer.got[stream]) == digest(text(1, 30_000))
    assert engine.engine.figures()["updates"] >= 3 and engine.closed is None


@ROLES
def test_ids_that_the_peer_changes(role: int) -> None:
    """As often as it likes: what it retires is replaced (RFC 9000, section 5.1.1), lost or not."""
    world, engine, peer = meet(role, LOSSY)
    stream, used = peer.open(), {bytes(peer.quic._peer_cid.cid)}
    for number in range(20):
        peer.quic.change_connection_id()
        used.add(bytes(peer.quic._peer_cid.cid))
        assert len(used) == number + 2
        peer.write(stream, text(number, 1_000), end=number == 19)
        assert world.run(20 * SECOND, lambda n=number: len(engine.got.get(stream, b"")) == 1_000 * (n + 1))
        assert world.run(20 * SECOND, lambda: bool(peer.quic._peer_cid_available))
    assert digest(engine.got[stream]) == digest(b"".join(text(number, 1_000) for number in range(20)))
    assert peer.closed is engine.closed is None


def test_a_wiped_engine_is_silent() -> None:
    world, engine, peer = meet(CALLER)
    engine.write(engine.open(), text(1, 50_000), end=True)
    peer.write(peer.open(), text(2, 50_000), end=False)
    engine.reading = False
    world.run(SECOND // 100)
    engine.engine.wipe()
    assert engine.engine.send(world.now) is None and engine.engine.open() is None
    assert engine.engine.event() is None and engine.engine.next == NEVER
    memory = bytes(engine.engine._memory)
    assert text(1, 50_000)[:64] not in memory and text(2, 50_000)[:64] not in memory

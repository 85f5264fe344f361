"""Forwarded connections on a direct path: R1, R5, R6 with their own numbers, and their way back into the session."""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Callable

import pytest

from ssbfast import limits
from ssbfast.errors import CarrierError, LimitError, LocalProtocolError
from ssbfast.wire.direct.carriers.records import Record, RecordReader, RecordType
from ssbfast.wire.direct.carriers.streams import CarriedStream, CarriedStreams
from ssbfast.wire.direct.keys import Role

W = 1000
POOL = random.Random(1).randbytes(1 << 16)


def stream(sent: int = 0, got: int = 0) -> CarriedStream:
    made = CarriedStream(4, window=W)
    made.send(bytes(sent), 0.0)
    made.received(bytes(got))
    return made


def ack(offset: int) -> Record:
    return Record(RecordType.ACK, 4, offset)


def end(offset: int) -> Record:
    return Record(RecordType.END, 4, offset)


def test_records_and_room() -> None:
    sender, reader = stream(), stream()
    assert sender.room == W
    data = sender.send(bytes(W), 0.0)
    assert data == bytes(W) and sender.room == 0 and sender.waits
    assert reader.received(data) == data
    assert reader.consumed(W // 4, 0.0) == ack(W // 4).encode()
    assert reader.consumed(10, 0.0) == b"" and reader.timer() == limits.ACK_SECONDS
    assert reader.handle_timer(limits.ACK_SECONDS) == ack(W // 4 + 10).encode()
    sender.record(ack(W // 4), 0.0)
    assert sender.room == W // 4
    assert sender.end() == end(W).encode() and sender.end() == b""
    reader.record(end(W), 0.1)
    assert reader.read_all and not reader.done and not sender.done
    with pytest.raises(LocalProtocolError):
        sender.send(b"x", 0.0)
    with pytest.raises(LocalProtocolError):
        reader.consumed(W, 0.0)


def test_the_last_ack_goes_out_before_a_stream_is_done() -> None:
    made = stream(sent=0, got=5)
    made.end()
    assert made.consumed(5, 0.0) == b""
    made.record(end(5), 0.0)
    assert made.read_all and not made.done
    assert made.handle_timer(0.0) == ack(5).encode()
    assert made.done


VIOLATIONS: dict[str, Callable[[], object]] = {
    "ACK above sent": lambda: stream(sent=5).record(ack(6), 0.0),
    "ACK that does not rise": lambda: stream(sent=5).record(ack(0), 0.0),
    "falling ACK": lambda: [stream(sent=5)] and twice(stream(sent=5), ack(3), ack(2)),
    "second END": lambda: twice(stream(), end(3), end(3)),
    "END behind": lambda: stream(got=5).record(end(4), 0.0),
    "HOLD": lambda: stream().record(Record(RecordType.HOLD, 4, 0), 0.0),
    "too much without ACK": lambda: stream().received(bytes(W + limits.CARRIER_SLACK + 1)),
    "bytes beyond END": lambda: beyond(stream()),
    "resume below the last ACK": lambda: resumed(3, 2),
    "resume above sent": lambda: resumed(0, 6),
    "duplex ended early": lambda: early(stream()),
}


def twice(made: CarriedStream, first: Record, second: Record) -> None:
    made.record(first, 0.0)
    made.record(second, 0.0)


def beyond(made: CarriedStream) -> None:
    made.record(end(3), 0.0)
    made.received(b"1234")


def resumed(acked: int, received: int) -> None:
    made = stream(sent=5)
    if acked:
        made.record(ack(acked), 0.0)
    made.detach()
    made.resume(received)


def early(made: CarriedStream) -> None:
    made.record(end(3), 0.0)
    made.detach()
    made.resume(0)
    made.received(b"12")
    made.duplex_ended()


@pytest.mark.parametrize("name", VIOLATIONS)
def test_violations(name: str) -> None:
    with pytest.raises(CarrierError):
        VIOLATIONS[name]()


def test_resume_after_the_path() -> None:
    made = stream(sent=0)
    made.send(b"12345", 0.0)
    made.record(ack(2), 0.0)
    with pytest.raises(LocalProtocolError):
        made.resume(2)
    made.detach()
    assert made.send(b"678", 0.0) == b"" and made.received(b"late") == b"" and made.got == 0
    made.record(ack(5), 0.0)  # late, too
    assert b"".join(made.resume(4)) == b"5678"
    assert made.room == sys.maxsize and not made.waits
    assert made.send(b"9", 0.0) == b"9"
    assert made.end() == b"" and made.ended
    assert made.received(b"abc") == b"abc"
    assert made.consumed(3, 0.0) == b"" and made.timer() is None
    made.duplex_ended()
    assert made.read_all and made.done


def test_numbers_of_streams() -> None:
    caller, target = CarriedStreams(Role.CALLER, limit=3), CarriedStreams(Role.TARGET, limit=3)
    for bad in (0, 1, 2, 3, 5, -4):
        with pytest.raises(LocalProtocolError):
            caller.begin(bad)
        if bad != 1 and bad != 5:
            with pytest.raises(CarrierError):
                caller.accept(bad, 0.0)
    assert caller.begin(4).stream == 4 and target.begin(1).stream == 1
    with pytest.raises(LocalProtocolError):
        caller.begin(4)
    assert target.accept(8, 0.0).stream == 8  # overtaken
    assert target.accept(4, 0.0).stream == 4
    with pytest.raises(CarrierError):
        target.accept(4, 0.0)
    target.accept(12, 0.0)
    with pytest.raises(LimitError):
        target.accept(16, 0.0)
    with pytest.raises(CarrierError):
        target.accept(16 + 4 * 4, 0.0)
    assert not target.is_full, "those of the other end are counted by themselves"
    target.begin(5)
    target.begin(9)
    assert target.is_full
    target.forget(5, 0.0)
    assert not target.is_full


def test_records_that_overtake_and_that_come_late() -> None:
    target = CarriedStreams(Role.TARGET)
    assert target.record(Record(RecordType.END, 8, 3), 0.0) is None
    with pytest.raises(CarrierError):
        target.record(Record(RecordType.END, 8, 3), 0.0)
    with pytest.raises(CarrierError):
        target.record(Record(RecordType.ACK, 4, 3), 0.0)
    made = target.accept(8, 0.0)
    made.received(b"123")
    assert made.read_all
    target.forget(8, 0.0)
    assert target.record(Record(RecordType.ACK, 8, 3), 0.0) is None
    assert target.record(Record(RecordType.END, 5, 3), 0.0) is None  # of ours: over here
    target.forget(4, 0.0)  # reset before it came
    with pytest.raises(CarrierError):
        target.accept(4, 0.0)


def test_numbers_cannot_be_left_out_without_end() -> None:
    target = CarriedStreams(Role.TARGET, limit=4)
    assert target.record(Record(RecordType.END, 16, 3), 0.0) is None
    with pytest.raises(CarrierError):
        target.record(Record(RecordType.END, 20, 3), 0.0)
    assert len(target._unseen) <= 4


def test_streams_that_were_done_lately_are_continued_too() -> None:
    """END has no ACK: the other side may not have seen it."""
    caller = CarriedStreams(Role.CALLER)
    for number in (4, 8, 12):
        made = caller.begin(number)
        made.end()
        made.record(Record(RecordType.END, number, 0), 0.0)
        assert made.done or number == 12
    caller.accept(1, 0.0)
    caller.forget(4, 0.0)
    caller.forget(8, 20.0)
    assert [made.stream for made in caller.detach(40.0)] == [12, 8]
    assert b"".join(caller.open[8].resume(0)) == b"" and caller.open[8].ended


# ---------------------------------------------------------------- both ends


class End:
    """One end of a connection, which sends known bytes and checks the other's."""

    def __init__(self, start: int, total: int, rng: random.Random) -> None:
        self.stream = CarriedStream(4, window=W)
        self.rng = rng
        self.start, self.total = start, total
        self.sent = self.got = self.unread = self.kept = 0
        self.data: deque[bytes] = deque()
        self.records = b""
        self.reader = RecordReader()
        self.duplex = False
        self.duplex_end = False

    def step(self, other: End, now: float) -> None:
        """Take one step: send, deliver a piece, consume, or run the timer."""
        what = self.rng.randrange(4)
        if what == 0:
            size = min(self.rng.choice((1, 50, 300)), self.total - self.sent)
            if size and self.stream.room > 0:
                piece = POOL[self.start + self.sent :][:size]
                self.sent += size
                written = self.stream.send(piece, now)
                if written:
                    self.data.append(written)
            elif not size and not self.stream.ended:
                self.records += self.stream.end()
            sending = self.stream._sending
            self.kept = max(self.kept, sum(map(len, sending._chunks)) - sending._acked)
        elif what == 1:
            self.deliver(other, now)
        elif what == 2 and self.unread:
            size = self.rng.randint(1, self.unread)
            self.unread -= size
            self.records += self.stream.consumed(size, now)
        else:
            self.records += self.stream.handle_timer(now)

    def deliver(self, other: End, now: float) -> None:
        cut = self.rng.randint(0, len(self.records))
        for record in other.reader.feed(self.records[:cut]):
            other.stream.record(record, now)
        self.records = self.records[cut:]
        if self.data:
            other.take(self.data.popleft(), self)
        elif self.duplex and self.stream.ended and not self.duplex_end:
            self.duplex_end = True
            other.stream.duplex_ended()

    def take(self, data: bytes, other: End) -> None:
        data = self.stream.received(data)
        if POOL[other.start + self.got :][: len(data)] != data:
            raise AssertionError("lost, doubled or re-ordered")
        self.got += len(data)
        self.unread += len(data)
        if not self.duplex and self.unread > W + 300:
            raise AssertionError("too much waits for the reader")


@pytest.mark.parametrize("batch", range(10))
def test_random_schedules(batch: int) -> None:
    """1,000 connections whose path dies at a random step, in the middle of anything, or not at all."""
    for seed in range(batch * 100, batch * 100 + 100):
        rng = random.Random(seed)
        ends = [End(index << 15, rng.choice((0, 1, 700, 6000)), rng) for index in range(2)]
        death = rng.choice((0, 5, 100, 400, 10**9))
        for step in range(20_000):
            if step == death:
                die(ends, rng)
            if step == death + 40:
                go_on(ends)
            one, other = rng.sample(ends, 2)
            one.step(other, step * 0.01)
            if all(item.stream.done for item in ends):
                break
        for one, other in (ends, ends[::-1]):
            assert one.got == other.total and one.stream.read_all, f"schedule {seed}"
            assert one.stream.done and one.kept <= W + 300, f"schedule {seed}"


def die(ends: list[End], rng: random.Random) -> None:
    for one, other in (ends, ends[::-1]):
        for _ in range(rng.randint(0, 3)):
            one.deliver(other, 0.0)
        if one.data:
            other.take(one.data[0][: rng.randint(0, len(one.data[0]))], one)
    for item in ends:
        item.stream.detach()
        item.data.clear()
        item.records = b""


def go_on(ends: list[End]) -> None:
    numbers = [item.stream.got for item in ends]
    for item, received in zip(ends, numbers[::-1], strict=True):
        item.data.extend(item.stream.resume(received))
        item.duplex = True

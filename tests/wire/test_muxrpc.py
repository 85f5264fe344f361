"""muxrpc, both roles: every packet of the reference stack, every way to end, and peers that get it wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ssbfast import limits
from ssbfast.errors import LimitError, LocalProtocolError, MuxRPCError, RemoteError, SessionEndedError
from ssbfast.wire.muxrpc import (
    Answered,
    Called,
    CallKind,
    Ended,
    Failed,
    Item,
    MuxEvent,
    MuxRPC,
    Out,
    Reply,
    encode_json,
)
from tests.helpers.vectors import load

ASYNC, SOURCE, SINK, DUPLEX = CallKind.ASYNC, CallKind.SOURCE, CallKind.SINK, CallKind.DUPLEX
STREAMS = [SOURCE, SINK, DUPLEX]
NAME = ("a", "b")
TRUE_END = b"true"
ERROR = b'{"message":"m","name":"Error","stack":""}'


def event(events: list[MuxEvent]) -> Any:
    assert len(events) == 1, events
    return events[0]


def served(kind: CallKind, args: list[Any] | None = None) -> tuple[MuxRPC, int]:
    """Return the called side, with one call open, and its req."""
    mux = MuxRPC()
    _, packet = MuxRPC().call(kind, NAME, args or [])
    called = event(mux.receive(*packet))
    assert isinstance(called, Called)
    return mux, called.req


def calling(kind: CallKind) -> tuple[MuxRPC, int]:
    mux = MuxRPC()
    return mux, mux.call(kind, NAME, [])[0]


def packet_of(vector: dict[str, Any]) -> Out:
    data = bytes.fromhex(vector["hex"])
    assert int.from_bytes(data[1:5], "big") == len(data) - 9
    return data[0], int.from_bytes(data[5:9], "big", signed=True), data[9:]


# ---------------------------------------------------------------- vectors of the reference stack

VECTORS = [packet_of(vector) for vector in load("mux")]


def test_async_call_vector_both_ways() -> None:
    packet = VECTORS[0]
    assert MuxRPC().call(ASYNC, ("tunnel", "isRoom"), [])[1] == packet
    assert MuxRPC().receive(*packet) == [Called(-1, ASYNC, ("tunnel", "isRoom"), [])]


def test_answer_vectors_both_ways() -> None:
    for packet, value in ((VECTORS[1], True), (VECTORS[2], False)):
        mux, req = calling(ASYNC)
        assert mux.receive(*packet) == [Answered(req, value)]
        other, req = served(ASYNC)
        assert other.answer(req, value) == packet


def test_stream_call_vector_both_ways() -> None:
    packet = VECTORS[3]
    args: list[Any] = [{"target": "@a", "portal": "@b"}]
    mux = MuxRPC()
    mux.call(ASYNC, NAME, [])
    assert mux.call(DUPLEX, ("tunnel", "connect"), args)[1] == packet
    assert MuxRPC().receive(*packet) == [Called(-2, DUPLEX, ("tunnel", "connect"), args)]


def test_item_and_end_vectors() -> None:
    mux = MuxRPC()
    mux.receive(*VECTORS[3])
    assert mux.receive(*VECTORS[4]) == [Item(-2, b"abc")]
    assert mux.item(-2, "strü") == VECTORS[5]
    assert mux.receive(*VECTORS[6]) == [Ended(-2)]
    assert mux.item(-2, {"still": "open"})[0] == 0x0A
    assert mux.end(-2) == (0x0E, -2, b"true")
    assert mux.open_streams == 0


def test_error_vectors() -> None:
    mux = MuxRPC()
    for _ in range(3):
        mux.call(DUPLEX, NAME, [])
    _, sync = mux.call(ASYNC, NAME, [])
    assert sync[1] == 4
    reply, ended = mux.receive(*VECTORS[7])
    assert reply == Reply((0x0E, 2, VECTORS[7][2]))
    assert isinstance(ended, Ended)
    assert isinstance(ended.error, RemoteError)
    assert ended.error.message == "m"
    failed = event(mux.receive(0x06, -4, VECTORS[8][2]))
    assert isinstance(failed, Failed)
    assert str(failed.error) == "m"


def test_req_zero_is_ignored() -> None:
    assert MuxRPC().receive(*VECTORS[9]) == []


# ---------------------------------------------------------------- calls and answers


@pytest.mark.parametrize(
    ("value", "flags", "body"),
    [
        (True, 2, b"true"),
        (None, 2, b"null"),
        ({"a": "ü"}, 2, '{"a":"ü"}'.encode()),
        ([1, "\ud800"], 2, b'[1,"\\ud800"]'),
        ("ü", 1, "ü".encode()),
        (b"\x00", 0, b"\x00"),
    ],
)
def test_answers_of_any_type(value: Any, flags: int, body: bytes) -> None:
    server, req = served(ASYNC)
    packet = server.answer(req, value)
    assert packet == (flags, -1, body)
    client, _ = calling(ASYNC)
    assert client.receive(*packet) == [Answered(1, value)]
    assert server.open_streams == client.open_streams == 0


def test_lone_surrogate_in_text_does_not_crash() -> None:
    server, req = served(ASYNC)
    assert server.answer(req, "\ud800") == (1, -1, b"?")


@pytest.mark.parametrize("value", ["", b""])
def test_empty_values_are_the_callers_mistake(value: Any) -> None:
    server, req = served(ASYNC)
    with pytest.raises(ValueError):
        server.answer(req, value)
    assert server.answer(req, 1)
    stream, req = served(DUPLEX)
    with pytest.raises(ValueError):
        stream.item(req, value)
    assert stream.is_open(req)


def test_failing_an_async_call() -> None:
    server, req = served(ASYNC)
    packet = server.fail(req, "no", "TypeError")
    assert packet == (0x06, -1, b'{"name":"TypeError","message":"no","stack":""}')
    client, _ = calling(ASYNC)
    failed = event(client.receive(*packet))
    assert (failed.error.message, failed.error.name) == ("no", "TypeError")


def test_an_async_call_is_answered_once() -> None:
    server, req = served(ASYNC)
    server.answer(req, 1)
    with pytest.raises(LocalProtocolError):
        server.answer(req, 1)
    with pytest.raises(LocalProtocolError):
        server.fail(req, "x")
    client, req = calling(ASYNC)
    assert len(client.receive(2, -1, b"1")) == 1
    assert client.receive(2, -1, b"1") == []
    with pytest.raises(LocalProtocolError):
        client.answer(req, 1)


def test_an_end_is_no_answer() -> None:
    client, _ = calling(ASYNC)
    failed = event(client.receive(0x06, -1, b"true"))
    assert isinstance(failed, Failed)


def test_a_cancelled_call_is_forgotten() -> None:
    client, req = calling(ASYNC)
    assert client.end(req) is None
    assert client.receive(2, -1, b"1") == []
    server, req = served(ASYNC)
    assert server.end(req, "gone") == (0x06, -1, b'{"name":"Error","message":"gone","stack":""}')


def test_names_may_be_plain_strings_and_types_may_be_there() -> None:
    called = MuxRPC().receive(2, 1, b'{"name":"manifest","args":[],"type":"sync"}')
    assert called == [Called(-1, ASYNC, ("manifest",), [])]


@pytest.mark.parametrize("kind", STREAMS)
def test_stream_calls(kind: CallKind) -> None:
    _, packet = MuxRPC().call(kind, NAME, [1])
    assert packet[0] == 0x0A
    assert json.loads(packet[2]) == {"name": ["a", "b"], "args": [1], "type": kind.value}
    assert MuxRPC().receive(*packet) == [Called(-1, kind, NAME, [1])]


def test_both_sides_count_on_their_own() -> None:
    one, two = MuxRPC(), MuxRPC()
    req, packet = one.call(ASYNC, NAME, [])
    other, back = two.call(DUPLEX, NAME, [])
    assert (req, other) == (1, 1)
    assert two.receive(*packet) == [Called(-1, ASYNC, NAME, [])]
    assert one.receive(*back) == [Called(-1, DUPLEX, NAME, [])]
    assert two.receive(*one.item(-1, 5)) == [Item(1, 5)]
    assert one.receive(*two.answer(-1, 6)) == [Answered(1, 6)]
    assert (one.open_streams, two.open_streams) == (1, 1)


def test_two_sessions_share_nothing() -> None:
    one, two = MuxRPC(), MuxRPC()
    one.call(ASYNC, NAME, [])
    assert two.open_streams == 0
    assert two.call(ASYNC, NAME, [])[0] == 1
    one.close()
    assert two.is_open(1)


def test_req_wraps_around_what_is_open() -> None:
    mux = MuxRPC()
    assert mux.call(DUPLEX, NAME, [])[0] == 1
    mux._next = 2**31 - 1
    assert mux.call(ASYNC, NAME, [])[0] == 2**31 - 1
    assert mux.call(ASYNC, NAME, [])[0] == 2


# ---------------------------------------------------------------- ends


def test_a_source_ends_and_is_echoed() -> None:
    client, req = calling(SOURCE)
    server, other = served(SOURCE)
    assert client.receive(*server.item(other, 1)) == [Item(req, 1)]
    end = server.end(other)
    assert end == (0x0E, -1, TRUE_END)
    reply, ended = client.receive(*end)
    assert (reply, ended) == (Reply((0x0E, 1, TRUE_END)), Ended(req))
    assert isinstance(reply, Reply)
    assert server.receive(*reply.packet) == [Ended(other)]
    assert client.open_streams == server.open_streams == 0


def test_a_source_is_cancelled() -> None:
    client, req = calling(SOURCE)
    server, other = served(SOURCE)
    late = server.item(other, 1)
    cancel = client.end(req)
    assert cancel == (0x0E, 1, TRUE_END)
    assert client.receive(*late) == []
    reply, ended = server.receive(*cancel)
    assert ended == Ended(other)
    assert not server.is_open(other)
    with pytest.raises(LocalProtocolError):
        server.item(other, 2)
    assert isinstance(reply, Reply)
    assert client.receive(*reply.packet) == [Ended(req)]
    assert client.open_streams == server.open_streams == 0


def test_a_duplex_ends_one_direction_at_a_time() -> None:
    client, req = calling(DUPLEX)
    server, other = served(DUPLEX)
    end = client.end(req)
    assert end is not None
    assert server.receive(*end) == [Ended(other)]
    assert client.receive(*server.item(other, "late")) == [Item(req, "late")]
    assert client.end(req) is None
    back = server.end(other)
    assert back is not None
    assert server.open_streams == 0
    assert client.receive(*back) == [Ended(req)]
    assert client.open_streams == 0
    assert server.end(other) is None


def test_a_sink_is_answered_by_the_application() -> None:
    client, req = calling(SINK)
    server, other = served(SINK)
    assert server.receive(*client.item(req, b"x")) == [Item(other, b"x")]
    end = client.end(req)
    assert end is not None
    assert server.receive(*end) == [Ended(other)]
    assert server.is_open(other)
    back = server.end(other)
    assert back is not None
    assert client.receive(*back) == [Ended(req)]
    assert client.open_streams == server.open_streams == 0


def test_a_sink_is_aborted_by_its_reader() -> None:
    client, req = calling(SINK)
    server, other = served(SINK)
    abort = server.end(other)
    assert abort is not None
    assert server.receive(*client.item(req, 1)) == []
    reply, ended = client.receive(*abort)
    assert ended == Ended(req)
    with pytest.raises(LocalProtocolError):
        client.item(req, 1)
    assert isinstance(reply, Reply)
    assert server.receive(*reply.packet) == [Ended(other)]
    assert server.open_streams == 0


@pytest.mark.parametrize("kind", STREAMS)
def test_an_error_end_is_answered_with_the_same(kind: CallKind) -> None:
    server, other = served(kind)
    reply, ended = server.receive(0x0E, 1, ERROR)
    assert reply == Reply((0x0E, -1, ERROR))
    assert isinstance(ended, Ended)
    assert str(ended.error) == "m"
    assert server.open_streams == 0
    assert server.end(other) is None


@pytest.mark.parametrize("kind", STREAMS)
def test_our_error_end_waits_for_the_echo(kind: CallKind) -> None:
    server, other = served(kind)
    end = server.fail(other, "no")
    assert end == (0x0E, -1, b'{"name":"Error","message":"no","stack":""}')
    assert server.receive(8, 1, b"late") == []
    assert server.open_streams == 0
    with pytest.raises(LocalProtocolError):
        server.fail(other, "again")
    ended = event(server.receive(0x0E, 1, end[2]))
    assert isinstance(ended, Ended)
    assert server.open_streams == 0


@pytest.mark.parametrize("kind", STREAMS)
def test_crossing_ends(kind: CallKind) -> None:
    client, req = calling(kind)
    server, other = served(kind)
    ours, theirs = client.end(req), server.end(other, "no")
    assert ours is not None
    assert theirs is not None
    assert isinstance(event(client.receive(*theirs)), Ended)
    assert server.receive(*ours) == [Ended(other)]
    assert client.open_streams == server.open_streams == 0


@pytest.mark.parametrize(
    ("flags", "body", "message"),
    [
        (0x0E, b"true", None),
        (0x0E, b"", None),
        (0x0E, b"false", None),
        (0x0E, b"null", None),
        (0x0E, b"{}", "unknown error"),
        (0x0E, b"{", "malformed error"),
        (0x0C, b"\x00", "malformed error"),
        (0x0D, b"text", "text"),
        (0x0D, b"\xff", "malformed error"),
        (0x0E, encode_json({"message": "x" * 9000, "name": "E"}), "x" * 1024),
        (0x06, ERROR, "m"),
    ],
)
def test_every_body_of_an_end(flags: int, body: bytes, message: str | None) -> None:
    server, other = served(DUPLEX)
    events = server.receive(flags, 1, body)
    ended = events[-1]
    assert isinstance(ended, Ended)
    if message is None:
        assert events == [Ended(other)]
        return
    assert str(ended.error) == message
    reply = events[0]
    assert isinstance(reply, Reply)
    assert reply.packet[:2] == (0x0E, -1)
    assert json.loads(reply.packet[2]).get("message", message) == message
    assert len(reply.packet[2]) <= 4096


# ---------------------------------------------------------------- what peers get wrong

MALFORMED = [b"null", b"", b"{", b"1", b'{"name":["a"]}', b'{"args":[]}', b'{"name":[1],"args":[]}', b"[" * 60_000]


@pytest.mark.parametrize("body", MALFORMED)
@pytest.mark.parametrize(("flags", "answer"), [(0x02, 0x06), (0x0A, 0x0E)])
def test_malformed_calls_get_an_error(flags: int, answer: int, body: bytes) -> None:
    mux = MuxRPC()
    reply = event(mux.receive(flags, 7, body))
    assert reply.packet[:2] == (answer, -7)
    assert json.loads(reply.packet[2]) == {"name": "Error", "message": "malformed call", "stack": ""}
    assert mux.open_streams == 0
    assert mux.receive(0x0E, 7, reply.packet[2]) == []


@pytest.mark.parametrize("type_", ["async", "sync", "", 5, None, ["source"], {}])
def test_streams_of_no_kind_get_an_error(type_: Any) -> None:
    mux = MuxRPC()
    reply = event(mux.receive(0x0A, 1, encode_json({"name": ["a"], "args": [], "type": type_})))
    assert reply.packet[:2] == (0x0E, -1)
    assert mux.open_streams == 0


@pytest.mark.parametrize(
    "packet", [(0x08, 5, b"x"), (0x09, 5, b"x"), (0x0E, 5, b"true"), (0x06, 5, ERROR), (0x00, 5, b"x")]
)
@pytest.mark.parametrize("sign", [1, -1])
def test_packets_for_nothing_are_dropped(packet: Out, sign: int) -> None:
    flags, req, body = packet
    assert MuxRPC().receive(flags, req * sign, body) == []


def test_answers_to_nothing_are_dropped() -> None:
    assert MuxRPC().receive(2, -5, b"true") == []
    assert MuxRPC().receive(0x0A, -(2**31), b"true") == []


def test_a_call_twice_on_one_req_is_dropped() -> None:
    server, _ = served(ASYNC)
    assert server.receive(2, 1, b'{"name":["a"],"args":[]}') == []
    assert server.open_streams == 1


@pytest.mark.parametrize("flags", [0x0A, 0x09])
def test_a_malformed_item_ends_the_stream(flags: int) -> None:
    client, req = calling(SOURCE)
    reply, ended = client.receive(flags, -1, b"\xff{")
    assert isinstance(reply, Reply)
    assert reply.packet[:2] == (0x0E, 1)
    assert isinstance(ended, Ended)
    assert isinstance(ended.error, RemoteError)
    assert client.receive(flags, -1, b"\xff{") == []
    assert client.receive(0x0A, -1, b"1") == []
    assert client.receive(0x0E, -1, reply.packet[2]) == []
    assert client.open_streams == 0
    assert not client.is_open(req)


def test_a_malformed_item_after_our_end() -> None:
    client, req = calling(DUPLEX)
    client.end(req)
    ended = event(client.receive(0x0A, -1, b"{"))
    assert isinstance(ended, Ended)
    assert ended.error is not None
    assert client.open_streams == 0
    assert client.receive(0x0A, -1, b"1") == []
    assert client.receive(0x0E, -1, b"true") == []


@pytest.mark.parametrize("again", [b"true", ERROR])
def test_a_peer_that_ends_twice(again: bytes) -> None:
    server, other = served(DUPLEX)
    assert server.receive(0x0E, 1, b"true") == [Ended(other)]
    assert server.receive(0x0E, 1, again) == []
    assert server.item(other, 1)
    assert server.end(other) is not None


def test_a_malformed_answer_fails_the_call() -> None:
    client, _ = calling(ASYNC)
    assert isinstance(event(client.receive(2, -1, b"{")), Failed)


def test_empty_items() -> None:
    server, req = served(DUPLEX)
    assert server.receive(8, 1, b"") == [Item(req, b"")]
    assert server.receive(9, 1, b"") == [Item(req, "")]


@pytest.mark.parametrize(("make", "kind", "sign"), [(served, SOURCE, 1), (calling, SINK, -1)])
def test_items_in_the_wrong_direction_are_dropped(make: Any, kind: CallKind, sign: int) -> None:
    mux, _ = make(kind)
    assert mux.receive(0x0A, sign, b"1") == []


@pytest.mark.parametrize(("make", "kind"), [(served, SINK), (calling, SOURCE), (served, ASYNC)])
def test_we_cannot_send_items_in_the_wrong_direction(make: Any, kind: CallKind) -> None:
    mux, req = make(kind)
    with pytest.raises(LocalProtocolError):
        mux.item(req, 1)


# ---------------------------------------------------------------- limits and the end of the session


def test_calls_above_the_limit_get_an_error_and_then_end_the_session() -> None:
    mux = MuxRPC(open_calls=2)
    call = b'{"name":["a"],"args":[],"type":"duplex"}'
    for req in (1, 2):
        assert isinstance(event(mux.receive(0x0A, req, call)), Called)
    assert event(mux.receive(2, 3, call)).packet[:2] == (0x06, -3)
    assert event(mux.receive(0x0A, 4, call)).packet[:2] == (0x0E, -4)
    with pytest.raises(MuxRPCError):
        mux.receive(2, 5, call)


def test_refused_calls_are_forgiven_with_the_next_good_one() -> None:
    mux = MuxRPC(open_calls=2)
    call = b'{"name":["a"],"args":[]}'
    for req in range(10, 100, 10):
        first, second = event(mux.receive(2, req, call)), event(mux.receive(2, req + 1, call))
        assert isinstance(event(mux.receive(2, req + 2, call)), Reply)
        assert isinstance(event(mux.receive(2, req + 3, call)), Reply)
        mux.answer(first.req, 1)
        mux.answer(second.req, 1)


def test_the_limit_counts_what_is_open() -> None:
    mux = MuxRPC(open_calls=2)
    for req in range(1, 100):
        called = event(mux.receive(2, req, b'{"name":["a"],"args":[]}'))
        mux.answer(called.req, True)
    mux.call(ASYNC, NAME, [])
    mux.call(ASYNC, NAME, [])
    with pytest.raises(LimitError):
        mux.call(ASYNC, NAME, [])
    assert isinstance(event(mux.receive(2, 100, b'{"name":["a"],"args":[]}')), Called)
    mux.receive(2, -1, b"1")
    assert mux.call(ASYNC, NAME, [])[0] == 3


def test_the_end_of_the_session_ends_everything_once() -> None:
    mux = MuxRPC()
    mux.call(ASYNC, NAME, [])
    mux.call(DUPLEX, NAME, [])
    mux.call(SOURCE, NAME, [])
    mux.receive(2, 1, b'{"name":["a"],"args":[]}')
    mux.receive(0x0A, 2, b'{"name":["a"],"args":[],"type":"duplex"}')
    mux.receive(0x0E, 2, b"true")
    events = mux.close()
    assert [type(e) for e in events] == [Failed, Ended, Ended, Ended]
    assert [e.req for e in events if not isinstance(e, Reply)] == [1, 2, 3, -1]
    assert all(isinstance(e.error, SessionEndedError) for e in events if isinstance(e, Failed | Ended))
    assert mux.close() == []
    assert mux.receive(2, 9, b'{"name":["a"],"args":[]}') == []
    assert mux.end(2) is None
    with pytest.raises(SessionEndedError):
        mux.call(ASYNC, NAME, [])


def test_repr_shows_no_bodies() -> None:
    server, req = served(DUPLEX, ["secret"])
    shown = [server, Item(req, "secret"), Answered(req, "secret"), Called(req, ASYNC, NAME, ["secret"])]
    shown.append(Reply((2, 1, b"secret")))
    assert "secret" not in repr(shown)


def test_streams_whose_end_is_never_answered_do_not_pile_up() -> None:
    mux = MuxRPC(open_calls=3)
    call = b'{"name":["a"],"args":[],"type":"duplex"}'
    for req in range(1, 1000):
        assert isinstance(event(mux.receive(0x0A, req, call)), Called)
        if req % 2:
            mux.fail(-req, "no")
        else:
            mux.end(-req)
            assert mux.open_streams == 1
            assert mux.abandon(-req) is None
        assert mux.open_streams == 0
    assert len(mux._open) == limits.LINGERING_STREAMS
    assert mux.receive(0x0A, 999, b"1") == []
    assert mux.receive(0x0E, 999, b"true") == [Ended(-999)]
    assert mux.receive(0x0E, 1, b"true") == []
    for _ in range(1000):
        own, _packet = mux.call(DUPLEX, NAME, [])
        mux.abandon(own)
    assert mux.open_streams == 0


def test_abandoning() -> None:
    client, req = calling(DUPLEX)
    assert client.abandon(req) == (0x0E, 1, b"true")
    assert client.abandon(req) is None
    assert client.receive(8, -1, b"late") == []
    assert client.receive(0x0E, -1, b"true") == [Ended(req)]
    assert client.abandon(req) is None
    server, other = served(DUPLEX)
    server.receive(0x0E, 1, b"true")
    assert server.abandon(other) == (0x0E, -1, b"true")
    assert server.open_streams == 0
    call, req = calling(ASYNC)
    assert call.abandon(req) is None
    assert call.open_streams == 0


BODIES = st.one_of(
    st.binary(max_size=30),
    st.sampled_from([b"", b"true", b"null", ERROR, b"{", b'{"name":["a"],"args":[]}']),
    st.sampled_from(["source", "sink", "duplex", "x"]).map(
        lambda kind: encode_json({"name": ["a"], "args": [], "type": kind})
    ),
)


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(-4, 4), BODIES), max_size=40))
@settings(max_examples=300)
def test_any_packets_give_events_and_no_errors(packets: list[Out]) -> None:
    mux = MuxRPC(open_calls=40)
    for kind in CallKind:
        mux.call(kind, NAME, [])
    for flags, req, body in packets:
        if flags & 3 == 3:
            continue  # the scanner takes no such packet
        for found in mux.receive(flags, req, body):
            if isinstance(found, Reply):
                assert found.packet[2]
    mux.close()
    assert mux.open_streams == 0


class Pair(RuleBasedStateMachine):
    """Two ends joined by two queues: after everything has ended on both, neither keeps anything."""

    def __init__(self) -> None:
        super().__init__()
        self.ends = (MuxRPC(), MuxRPC())
        self.wires: tuple[list[Out], list[Out]] = ([], [])
        self.open: tuple[dict[int, CallKind], dict[int, CallKind]] = ({}, {})
        self.sent: dict[tuple[int, int], list[int]] = {}  # values we put in, by sender and its req
        self.ended: set[tuple[int, int]] = set()
        self.number = 0

    side = st.integers(0, 1)

    @rule(side=side, kind=st.sampled_from(list(CallKind)))
    def call(self, side: int, kind: CallKind) -> None:
        req, packet = self.ends[side].call(kind, NAME, [])
        self.open[side][req] = kind
        self.wires[side].append(packet)

    @rule(side=side, data=st.data())
    def act(self, side: int, data: st.DataObject) -> None:
        mux = self.ends[side]
        live = [req for req in self.open[side] if mux.is_open(req)]
        if not live:
            return
        req = data.draw(st.sampled_from(live))
        kind = self.open[side][req]
        error = data.draw(st.sampled_from([None, "no"]))
        if kind is ASYNC:
            if req < 0:
                self.wires[side].append(mux.fail(req, error) if error else mux.answer(req, 1))
            return
        writes = kind is DUPLEX or (kind is SINK) == (req > 0)
        if writes and data.draw(st.booleans()):
            self.number += 1
            self.sent.setdefault((side, req), []).append(self.number)
            self.wires[side].append(mux.item(req, self.number))
            return
        packet = mux.end(req, error) if error or data.draw(st.booleans()) else mux.abandon(req)
        assert packet is not None
        assert mux.end(req) is None
        self.wires[side].append(packet)

    @precondition(lambda self: any(self.wires))
    @rule(side=side)
    def deliver(self, side: int) -> None:
        if self.wires[side]:
            self._deliver(side)

    def _deliver(self, side: int) -> None:
        packet = self.wires[side].pop(0)
        to = 1 - side
        for found in self.ends[to].receive(*packet):
            match found:
                case Called():
                    self.open[to][found.req] = found.kind
                case Reply():
                    self.wires[to].append(found.packet)
                case Item():
                    assert (to, found.req) not in self.ended
                    assert self.sent[side, -found.req].pop(0) == found.value
                case Ended() | Answered() | Failed():
                    assert (to, found.req) not in self.ended, "told twice"
                    self.ended.add((to, found.req))

    @invariant()
    def counts_agree(self) -> None:
        for mux, known in zip(self.ends, self.open, strict=True):
            assert mux.open_streams <= len(known)

    def teardown(self) -> None:
        for side in (0, 1, 0, 1):
            while any(self.wires):
                for each in (0, 1):
                    while self.wires[each]:
                        self._deliver(each)
            for req, kind in self.open[side].items():
                if kind is ASYNC and req > 0:
                    continue
                packet = self.ends[side].end(req)
                if packet is not None:
                    self.wires[side].append(packet)
        while any(self.wires):
            for each in (0, 1):
                while self.wires[each]:
                    self._deliver(each)
        assert [len(mux._open) for mux in self.ends] == [0, 0]
        assert [mux.open_streams for mux in self.ends] == [0, 0]


TestPair = Pair.TestCase
TestPair.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)

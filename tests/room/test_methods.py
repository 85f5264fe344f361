"""What a room answers to the three generations of clients, to refused callers, and to hostile ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssbfast import limits
from ssbfast.errors import RemoteError
from ssbfast.room.effects import Joined, Left
from ssbfast.room.methods import RoomInfo
from ssbfast.wire.muxrpc import Called, CallKind, Ended, Item
from tests.helpers.rooms import WALL_MS, MemoryClient, MemoryRoom, feed

A, B, C = feed(1), feed(2), feed(3)
METADATA = {"name": "room", "membership": True, "features": ["tunnel", "room1", "room2"]}


@pytest.fixture
def room() -> MemoryRoom:
    return MemoryRoom()


def state(*ids: Any) -> dict[str, Any]:
    return {"type": "state", "ids": [str(id) for id in ids]}


def announced(room: MemoryRoom, id: Any) -> MemoryClient:
    client = room.enter(id)
    assert client.call("tunnel.announce") is True
    return client


def attending(room: MemoryRoom, id: Any) -> MemoryClient:
    """Add a client of Rooms 2, which subscribes and announces nothing."""
    client = room.enter(id)
    client.source("room.attendants")
    client.take()
    return client


# ---------------------------------------------------------------- the three generations


def test_rooms_2_client(room: MemoryRoom) -> None:
    client = room.enter(A)
    ping = client.duplex("gossip.ping", {"timeout": 300000})
    client.send(client.mux.item(ping, 1))
    assert client.items(ping) == [WALL_MS]
    assert client.call("room.metadata") == METADATA
    attendants = client.source("room.attendants")
    assert client.items(attendants) == [state(A)]
    other = announced(room, B)
    assert client.items(attendants) == [{"type": "joined", "id": str(B)}]
    room.leave(other)
    assert client.items(attendants) == [{"type": "left", "id": str(B)}]


def test_rooms_1_client(room: MemoryRoom) -> None:
    client = room.enter(A)
    client.duplex("gossip.ping", {"timeout": 300000})
    assert client.call("tunnel.isRoom") == METADATA
    endpoints = client.source("tunnel.endpoints")
    assert client.items(endpoints) == [[str(A)]]
    announced(room, B)
    assert client.items(endpoints) == []
    room.advance(1.0)
    assert client.items(endpoints) == [[str(A), str(B)]]


def test_client_of_2018(room: MemoryRoom) -> None:
    target, caller = room.enter(A), room.enter(B)
    assert target.call("tunnel.announce", None) is True
    caller.duplex("tunnel.connect", {"target": str(A), "instance": 0})
    called = target.take()[0]
    assert isinstance(called, Called)
    assert called.name == ("tunnel", "connect")
    assert called.args == [{"target": str(A), "portal": str(room.me), "origin": str(B), "instance": 0}]
    assert target.call("tunnel.leave", None) is True
    assert room.news == [Joined(A), Left(A)]


# ---------------------------------------------------------------- one method at a time


@pytest.mark.parametrize(
    ("name", "args", "value"),
    [
        ("room.metadata", [], METADATA),
        ("tunnel.isRoom", [], METADATA),
        ("tunnel.ping", [], WALL_MS),
        ("room.ping", [None], WALL_MS),
        ("whoami", [], {"id": str(feed(1000))}),
        ("invite.use", [{"feed": str(A)}], True),
        ("tunnel.announce", [None], True),
        ("tunnel.leave", [], True),
    ],
)
def test_answers(room: MemoryRoom, name: str, args: list[Any], value: Any) -> None:
    assert room.enter(A).call(name, *args) == value


def test_manifest_names_what_is_served(room: MemoryRoom) -> None:
    manifest = room.enter(A).call("manifest")
    assert manifest == room.methods.manifest()
    assert manifest["room"] == {"metadata": "async", "attendants": "source", "connect": "duplex", "ping": "sync"}
    assert manifest["createHistoryStream"] == "source"
    assert manifest["gossip"] == {"ping": "duplex"}
    assert manifest["pairing"] == {"announce": "async", "find": "async"}


def test_a_history_stream_is_empty(room: MemoryRoom) -> None:
    client = room.enter(A)
    req = client.source("createHistoryStream", {"id": str(A), "seq": 1})
    assert client.take(req) == [Ended(req)]
    assert client.mux.open_streams == 0
    assert room.mux[client.session].open_streams == 0


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (CallKind.ASYNC, "room.members"),
        (CallKind.ASYNC, "room"),
        (CallKind.ASYNC, "blobs.get"),
        (CallKind.ASYNC, "room.attendants"),
        (CallKind.ASYNC, "tunnel.connect"),
        (CallKind.ASYNC, "__proto__.x"),
        (CallKind.SOURCE, "room.metadata"),
        (CallKind.SOURCE, "tunnel.connect"),
        (CallKind.SINK, "tunnel.connect"),
        (CallKind.DUPLEX, "ebt.replicate"),
        (CallKind.DUPLEX, "tunnel.endpoints"),
    ],
)
def test_unknown_methods_end_as_clients_need_it(room: MemoryRoom, kind: CallKind, name: str) -> None:
    client = room.enter(A)
    if kind is CallKind.ASYNC:
        error = client.call(name)
    else:
        req = client.open(kind, name)
        ended = client.take(req)[-1]
        assert isinstance(ended, Ended)
        error = ended.error
    assert isinstance(error, RemoteError)
    assert error.message.endswith("not in list of allowed methods")
    assert client.mux.open_streams == 0
    assert room.mux[client.session].open_streams == 0


def test_reflectors_are_told_if_there_are_any() -> None:
    info = RoomInfo("room.example", stun=(8008, "192.0.2.1:3478"))
    stun: list[Any] = [8008, "192.0.2.1:3478"]
    assert info.as_json() == {**RoomInfo("room.example").as_json(), "stun": stun}
    assert "stun" not in RoomInfo("room.example").as_json()


def test_room_info() -> None:
    told = RoomInfo("room.example").as_json(membership=False, features=("tunnel", "room2"))
    assert told == {"name": "room.example", "membership": False, "features": ["tunnel", "room2"]}


@pytest.mark.parametrize("name", ["pairing.announce", "pairing.find"])
def test_what_is_no_nameplate(room: MemoryRoom, name: str) -> None:
    client = room.enter(A)
    values: list[Any] = [7, "", "ma", "maples-all", "Maple", "map le", "maple\n", "m\u00e4ple", ["maple"], {}, False]
    for args in ([], *([value] for value in values)):
        error = client.call(name, *args)
        assert isinstance(error, RemoteError), args
        assert error.message == "that is no nameplate"
    assert isinstance(client.call("pairing.find", None), RemoteError)
    assert client.call("pairing.announce", None) is True
    assert client.call("pairing.announce", "maple") is True


# ---------------------------------------------------------------- announcing


def test_the_announcement_outlives_the_subscription(room: MemoryRoom) -> None:
    client = room.enter(A)
    req = client.source("room.attendants")
    client.send(client.mux.end(req))
    assert client.mux.open_streams == 0
    assert room.portal.attendants() == [A]
    again = client.source("room.attendants")
    assert client.items(again) == [state(A)]
    room.leave(client)
    assert room.news == [Joined(A), Left(A)]


@pytest.mark.parametrize("name", ["room.attendants", "tunnel.endpoints"])
def test_looking_without_being_listed(room: MemoryRoom, name: str) -> None:
    announced(room, B)
    client = room.enter(A)
    req = client.source(name, {"announce": False})
    assert client.items(req) == [state(B) if name == "room.attendants" else [str(B)]]
    assert room.portal.attendants() == [B]


@pytest.mark.parametrize(
    "args", [[], [None], [{}], [{"announce": True}], [{"announce": 0}], [{"announce": None}], [[]]]
)
def test_everything_else_announces(room: MemoryRoom, args: list[Any]) -> None:
    client = room.enter(A)
    client.source("room.attendants", *args)
    assert room.portal.attendants() == [A]


def test_looking_does_not_take_the_place_of_ones_own_user(room: MemoryRoom) -> None:
    mine, program, friend = announced(room, A), room.enter(A), room.enter(B)
    program.source("room.attendants", {"announce": False})
    friend.duplex("tunnel.connect", {"portal": str(room.me), "target": str(A)})
    assert isinstance(mine.take()[0], Called)
    room.leave(program)
    assert room.news == [Joined(A)]


def test_announcing_again_is_no_news(room: MemoryRoom) -> None:
    watcher = room.enter(B)
    req = watcher.source("room.attendants")
    first, second = announced(room, A), announced(room, A)
    first.call("tunnel.announce")
    room.leave(first)
    assert watcher.items(req) == [state(B), {"type": "joined", "id": str(A)}]
    room.leave(second)
    assert watcher.items(req) == [{"type": "left", "id": str(A)}]


def test_who_announces_later_hears_of_itself_once(room: MemoryRoom) -> None:
    client = room.enter(A)
    req = client.source("room.attendants", {"announce": False})
    client.call("tunnel.announce")
    assert client.items(req) == [state(), {"type": "joined", "id": str(A)}]


def test_two_rooms_share_nothing() -> None:
    one, two = MemoryRoom(1000, "one"), MemoryRoom(1001, "two")
    a, b = one.enter(A), two.enter(B)
    a_req, b_req = a.source("room.attendants"), b.source("room.attendants")
    assert a.items(a_req) == [state(A)]
    assert b.items(b_req) == [state(B)]
    assert (a.call("room.metadata")["name"], b.call("room.metadata")["name"]) == ("one", "two")
    assert a.call("whoami") != b.call("whoami")
    req = a.duplex("tunnel.connect", {"portal": str(one.me), "target": str(B)})
    assert isinstance(a.take(req)[0], Ended)


def test_subscriptions_have_a_limit(room: MemoryRoom) -> None:
    client = room.enter(A)
    reqs = [client.source("room.attendants") for _ in range(limits.SUBSCRIPTIONS_PER_SESSION)]
    refused = client.source("tunnel.endpoints")
    ended = client.take(refused)[0]
    assert isinstance(ended, Ended)
    assert str(ended.error) == "too many subscriptions"
    client.send(client.mux.end(reqs[0]))
    req = client.source("tunnel.endpoints")
    assert client.items(req) == [[str(A)]]


def test_pings_have_a_limit(room: MemoryRoom) -> None:
    client = room.enter(A)
    reqs = [client.duplex("gossip.ping") for _ in range(limits.SUBSCRIPTIONS_PER_SESSION + 1)]
    ended = client.take(reqs[-1])[0]
    assert isinstance(ended, Ended)
    assert str(ended.error) == "too many pings"


def test_a_ping_goes_on_and_ends(room: MemoryRoom) -> None:
    client = room.enter(A)
    req = client.duplex("gossip.ping", {"timeout": 300000})
    client.send(client.mux.item(req, 1))
    room.wall += 300_000
    room.advance(limits.PING_SECONDS)
    assert client.items(req) == [WALL_MS, WALL_MS + 300_000]
    client.send(client.mux.end(req))
    assert client.take(req) == [Ended(req)]
    assert client.mux.open_streams == room.mux[client.session].open_streams == 0
    room.advance(1000.0)
    assert client.take() == []


# ---------------------------------------------------------------- tunnels


@pytest.mark.parametrize("name", ["tunnel.connect", "room.connect"])
def test_a_tunnel_carries_bytes_both_ways_and_ends_on_both_sides(room: MemoryRoom, name: str) -> None:
    target, caller = attending(room, A), room.enter(B)
    req = caller.duplex(name, {"portal": str(room.me), "target": str(A)})
    called = target.take()[0]
    assert isinstance(called, Called)
    assert (called.kind, called.name) == (CallKind.DUPLEX, ("tunnel", "connect"))
    assert called.args == [{"portal": str(room.me), "target": str(A), "origin": str(B)}]
    caller.send(caller.mux.item(req, b"hello"))
    target.send(target.mux.item(called.req, b"there"))
    assert target.take() == [Item(called.req, b"hello")]
    assert caller.take() == [Item(req, b"there")]
    target.send(target.mux.end(called.req))
    assert caller.take() == [Ended(req)]
    caller.send(caller.mux.end(req))
    assert target.take() == [Ended(called.req)]
    assert [mux.open_streams for mux in room.mux.values()] == [1, 0], "the subscription stays"


def test_nothing_of_the_callers_passes(room: MemoryRoom) -> None:
    target, caller = announced(room, A), room.enter(B)
    wanted = {"portal": str(room.me), "target": str(A), "origin": str(C), "address": "x", "instance": 3, "opts": {}}
    caller.duplex("tunnel.connect", wanted, {"origin": str(C)})
    called = target.take()[0]
    assert isinstance(called, Called)
    assert called.args == [{"portal": str(room.me), "target": str(A), "origin": str(B), "instance": 3}]


@pytest.mark.parametrize("instance", [None, True, -1, 2**31, 1.5, "0", [], {}])
def test_odd_instances_do_not_pass(room: MemoryRoom, instance: Any) -> None:
    target, caller = attending(room, A), room.enter(B)
    caller.duplex("tunnel.connect", {"target": str(A), "instance": instance})
    called = target.take()[0]
    assert isinstance(called, Called)
    assert called.args == [{"portal": str(room.me), "target": str(A), "origin": str(B)}]


@pytest.mark.parametrize(("wanted", "instance"), [({}, 0), ({"instance": 2}, 2), ({"instance": "x"}, 0)])
def test_a_target_of_2018_is_always_told_an_instance(room: MemoryRoom, wanted: Any, instance: int) -> None:
    target, caller = announced(room, A), room.enter(B)
    caller.duplex("tunnel.connect", {"target": str(A), **wanted})
    called = target.take()[0]
    assert isinstance(called, Called)
    assert called.args == [{"portal": str(room.me), "target": str(A), "origin": str(B), "instance": instance}]


def test_a_replaced_session_keeps_its_tunnel_and_new_ones_go_to_the_newest(room: MemoryRoom) -> None:
    old, caller = announced(room, A), room.enter(B)
    first = caller.duplex("tunnel.connect", {"target": str(A)})
    running = old.take()[0]
    new = announced(room, A)
    second = caller.duplex("tunnel.connect", {"target": str(A)})
    assert isinstance(running, Called)
    assert isinstance(new.take()[0], Called)
    caller.send(caller.mux.item(first, b"still"))
    assert old.take() == [Item(running.req, b"still")]
    room.leave(old)
    ended = caller.take(first)[0]
    assert isinstance(ended, Ended)
    assert ended.error is not None
    assert caller.mux.is_open(second)
    assert room.news == [Joined(A)]


CANONICAL = str(A)
STRAY = CANONICAL.replace("AE=.ed25519", "AF=.ed25519")


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        ({"target": str(C)}, str(C)),
        ({"target": str(B)}, str(B)),
        ({"target": str(feed(1000))}, str(feed(1000))),
        ({"target": str(A), "portal": str(C)}, str(A)),
        ({"target": str(A), "portal": "x"}, str(A)),
        ({"target": str(A), "portal": 5}, str(A)),
        ({"target": STRAY}, STRAY),
        ({"target": str(A)[1:]}, str(A)[1:]),
        ({"target": "@" + "x" * 1000}, "@" + "x" * 63),
        ({"target": "a\nb\x1b"}, "a\ufffdb\ufffd"),
        ({"target": "\ud800"}, "\ufffd"),
        ({"target": None}, "nobody"),
        ({"target": [str(A)]}, "nobody"),
        ({}, "nobody"),
        (None, "nobody"),
        (str(A), "nobody"),
        ([], "nobody"),
    ],
)
def test_refusals_are_alike(room: MemoryRoom, wanted: Any, named: str) -> None:
    announced(room, A)
    caller = announced(room, B)
    req = caller.duplex("tunnel.connect", wanted)
    ended = caller.take(req)[-1]
    assert isinstance(ended, Ended)
    assert str(ended.error) == f"could not connect to: {named}"
    assert caller.mux.open_streams == room.mux[caller.session].open_streams == 0
    assert not room.tunnels


def test_stray_bits_are_another_spelling_of_a_key() -> None:
    assert STRAY != CANONICAL


def test_connect_without_arguments(room: MemoryRoom) -> None:
    caller = room.enter(B)
    req = caller.duplex("tunnel.connect")
    assert isinstance(caller.take(req)[-1], Ended)


# ---------------------------------------------------------------- under load, and at the end


def test_a_slow_subscriber(room: MemoryRoom) -> None:
    slow, quick = room.enter(A), room.enter(B)
    slow_req, quick_req = slow.source("room.attendants"), quick.source("room.attendants")
    assert slow.items(slow_req) == [state(A), {"type": "joined", "id": str(B)}]
    room.methods.backlog_passed(slow.session)
    third = announced(room, C)
    room.leave(third)
    announced(room, C)
    assert slow.items(slow_req) == []
    assert len(quick.items(quick_req)) == 4
    room.carry_out(room.methods.drained(slow.session, room.now))
    assert slow.items(slow_req) == [state(A, B, C)]
    room.carry_out(room.methods.drained(slow.session, room.now))
    assert slow.items(slow_req) == []


def test_feedback_about_a_session_that_is_over_is_ignored(room: MemoryRoom) -> None:
    client = room.enter(A)
    room.leave(client)
    room.methods.backlog_passed(client.session, lost=True)
    assert room.methods.drained(client.session, 0.0) == []
    assert room.methods.session_closed(client.session, 0.0) == []
    assert room.methods.handle(client.session, Called(-1, CallKind.ASYNC, ("whoami",), []), 0.0) == []


def test_next_tick_is_the_earliest(room: MemoryRoom) -> None:
    assert not room.methods.next_tick
    client = room.enter(A)
    ping = client.duplex("gossip.ping")
    client.send(client.mux.item(ping, 1))
    assert room.methods.next_tick == limits.PING_SECONDS
    client.source("tunnel.endpoints")
    announced(room, B)
    assert room.methods.next_tick == limits.ENDPOINTS_SECONDS


def test_a_session_that_dies_leaves_nothing_behind(room: MemoryRoom) -> None:
    watcher, client = room.enter(B), room.enter(A)
    req = watcher.source("room.attendants")
    client.source("room.attendants")
    client.source("tunnel.endpoints")
    ping = client.duplex("gossip.ping")
    client.send(client.mux.item(ping, 1))
    assert watcher.duplex("tunnel.connect", {"target": str(A)})
    room.leave(client)
    assert watcher.items(req)[-1] == {"type": "left", "id": str(A)}
    assert not room.methods.next_tick
    assert any(isinstance(event, Ended) for event in watcher.take())
    assert room.portal.sessions(A) == ()


def test_no_error_holds_a_path_or_a_stack(room: MemoryRoom) -> None:
    client = room.enter(A)
    client.call("x.y")
    client.duplex("tunnel.connect", {"target": "x"})
    errors = [json.loads(packet[2]) for _, packet in room.sent if packet[0] & 4]
    assert len(errors) == 2
    for error in errors:
        assert set(error) == {"name", "message", "stack"}
        assert error["stack"] == ""
        assert "/" not in error["message"]


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(-1e300, 1e300)
    | st.text(max_size=20)
    | st.sampled_from([str(A), str(B), str(feed(1000)), "\ud800", "@.ed25519"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["target", "portal", "origin", "instance", "announce", "timeout", "x"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)
SERVED = [
    f"{name}.{inner}" if inner else name
    for name, value in MemoryRoom().methods.manifest().items()
    for inner in (value if isinstance(value, dict) else [""])
]
NAMES = st.sampled_from([*SERVED, "room", "x", "room.x"])


def follow(present: list[str], event: Any) -> None:
    """Return a client's list after an attendants event."""
    if event["type"] == "state":
        present[:] = event["ids"]
    elif event["type"] == "joined":
        assert event["id"] not in present
        present.append(event["id"])
    else:
        present.remove(event["id"])


@given(st.lists(st.tuples(st.sampled_from(list(CallKind)), NAMES, st.lists(ANYTHING, max_size=3)), max_size=8))
@settings(max_examples=400, deadline=None)
@pytest.mark.slow
def test_any_arguments_get_an_answer_an_error_or_a_stream(calls: list[tuple[CallKind, str, list[Any]]]) -> None:
    room = MemoryRoom()
    watcher, client = announced(room, B), room.enter(A)
    view = watcher.source("room.attendants")
    for kind, name, args in calls:
        req = client.open(kind, name, *args)
        events = client.take(req)
        running = client.mux.is_open(req) and (name, kind) in (
            ("gossip.ping", CallKind.DUPLEX),
            ("tunnel.connect", CallKind.DUPLEX),
            ("room.connect", CallKind.DUPLEX),
        )
        assert events or running, (kind, name, args)
        if kind is CallKind.DUPLEX and running:
            client.send(client.mux.item(req, args or 1))
    room.leave(client)
    room.advance(1000.0)
    present: list[str] = []
    for event in watcher.take():
        if isinstance(event, Called):
            assert isinstance(event.args[0], dict)
            assert event.args[0]["origin"] == str(A)
            assert set(event.args[0]) <= {"origin", "portal", "target", "instance"}
        elif isinstance(event, Item) and event.req == view:
            follow(present, event.value)
    assert present == [str(B)]
    assert room.portal.attendants() == [B]

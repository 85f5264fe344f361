"""What a peer's packets carry: JSON, calls, errors, whole sessions of muxrpc, and what a room makes of calls."""

from __future__ import annotations

from typing import Final

from ssbfast import limits
from ssbfast.client.joined_room import feed_ids, reflectors_of
from ssbfast.errors import MuxRPCError
from ssbfast.ids import FeedId
from ssbfast.native.library_check import is_cut_off
from ssbfast.room.directory import Portal
from ssbfast.room.methods import RoomInfo, RoomMethods
from ssbfast.wire.muxrpc import Called, CallKind, MuxEvent, MuxRPC, Reply
from ssbfast.wire.muxrpc_body import call_body, decode_json, encode_json, read_call, read_error
from ssbfast.wire.packet_stream import Packet, PacketReader, encode_packet
from ssbfast.wire.pairing import Take, Taken, is_name
from ssbfast.wire.words import as_member, confirmation_in, message_in
from tests.fuzz.parsers.target import accepted, json_of

_ME: Final = FeedId(b"r" * 32)
_SESSIONS: Final = {1: FeedId(b"a" * 32), 2: FeedId(b"b" * 32)}


def rpc_json(data: bytes) -> None:
    """A value that survives encoding, or a ValueError."""
    try:
        value = decode_json(data)
    except ValueError:
        return
    assert decode_json(encode_json(value)) == value


def rpc_call(data: bytes) -> None:
    """Name, arguments and type as call_body writes them, or a ValueError."""
    try:
        name, args, kind = read_call(data)
    except ValueError:
        return
    assert name and all(name)
    again = read_call(call_body(name, args, kind if isinstance(kind, str) else None))
    assert again[:2] == (name, args)


def rpc_error(data: bytes) -> None:
    """Whatever came in an error's place is an error of short, printable texts."""
    found = read_error(json_of(data))
    for text, longest in ((found.message, limits.ERROR_TEXT), (found.name, limits.ERROR_NAME)):
        assert len(text) <= longest and all(c == "\ufffd" or c.isprintable() for c in text)
    assert found.name


def muxrpc(data: bytes) -> None:
    """Any packets: events and replies, or MuxRPCError; counts stay within the limit, and all that is open ends once."""
    mux = MuxRPC(open_calls=4)
    for kind in CallKind:
        mux.call(kind, ("a", "b"), [])
    try:
        for packet in accepted(lambda: list(PacketReader().feed(data))) or ():
            if isinstance(packet, Packet):
                for event in mux.receive(packet.flags, packet.req, packet.body):
                    _check(mux, event)
                assert 0 <= mux.open_streams <= 8
    except MuxRPCError:
        pass
    ended = [event.req for event in mux.close()]
    assert len(ended) == len(set(ended)) and mux.open_streams == 0


def _check(mux: MuxRPC, event: MuxEvent) -> None:
    if isinstance(event, Reply):
        flags, req, body = event.packet
        assert len(encode_packet(Packet(req, flags, body))) == 9 + len(body)
    elif isinstance(event, Called):
        assert event.req < 0 and event.name and mux.is_open(event.req)


def room_calls(data: bytes) -> None:
    """Whatever arguments a call of each kind has, a room raises nothing, and answers or opens something."""
    portal = Portal(_ME)
    room = RoomMethods(portal, RoomInfo("room"), wall_ms=lambda: 0, has_records=True)
    for session, feed in _SESSIONS.items():
        portal.open(session, feed)
    room.handle(2, Called(-1, CallKind.ASYNC, ("tunnel", "announce"), []), 0.0)
    value = json_of(data)
    args = value if isinstance(value, list) else [value]
    names: list[tuple[str, ...]] = [("no", "such")]
    for group, methods in room.manifest().items():
        names += [(group, method) for method in methods] if isinstance(methods, dict) else [(group,)]
    for req, name in enumerate(names, start=2):
        for kind in CallKind:
            room.handle(1, Called(-req, kind, name, args), 0.0)
    room.session_closed(1, 1.0)
    room.tick(2.0)


def room_answers(data: bytes) -> None:
    """Of what a room tells of itself and of who is there, only ids and reflectors at its own address are taken."""
    value = json_of(data)
    found = reflectors_of(value, ("192.0.2.1", 8008))
    assert len(found) <= limits.REFLECTORS and all(host == "192.0.2.1" for host, _ in found)
    assert all(port == 8008 or 1024 <= port <= 65535 for _, port in found)
    listed = value if isinstance(value, list) else [value]
    assert all(str(who) in listed for who in feed_ids(listed))


def pairing_calls(data: bytes) -> None:
    """Of what takers and targets say, only names of the one form and whole signatures are taken."""
    value = json_of(data)
    take, taken = Take.read(value), Taken.read(value)
    assert take is None or (len(take.signature) == 64 and Take.read(take.as_json()) == take)
    assert Taken.read(taken.as_json()) == taken and len(taken.services) <= limits.SERVICES
    names = [*taken.services, *(one.name for one in (take, taken) if one is not None and one.name is not None)]
    assert all(map(is_name, names))
    message, confirmation = message_in(value), confirmation_in(value)
    assert message is None or (len(message) == 33 and message_in(as_member("message", message)) == message)
    assert confirmation is None or len(confirmation) == 32


def library(data: bytes) -> None:
    """Any file: cut off or not. One that is whole is not whole without its last segment."""
    if not is_cut_off(data):
        is_cut_off(data[: len(data) // 2])


TARGETS: Final = (rpc_json, rpc_call, rpc_error, muxrpc, room_calls, room_answers, pairing_calls, library)

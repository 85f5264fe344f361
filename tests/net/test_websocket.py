"""Sessions over WebSockets: frames in every shape, back-pressure, endings, hostile ends, and real rooms and peers."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State

from ssbfast import limits
from ssbfast.errors import AddressError, DeadlineError, HandshakeError, SessionEndedError
from ssbfast.ids import encode_key
from ssbfast.keys import Keypair
from ssbfast.net import websocket
from ssbfast.net.link import Phase
from ssbfast.net.websocket import ServerWebSocket, protocol_class
from ssbfast.room.tunnel_auth import AllowList
from tests.helpers import tls
from tests.helpers.clients import RecordingClient
from tests.helpers.rawpeer import eventually
from tests.helpers.rooms import feed
from tests.helpers.served_room import served_room
from tests.helpers.web_sites import floods, says, silent, web_site
from tests.helpers.websockets import masked, upgrade, websocket_of

BYTES = bytes(range(256)) * 2


class Raw(asyncio.Transport):
    """A connection of which everything is noted."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.written = bytearray()
        self.calls: list[str] = []
        self.waiting = 0

    def write(self, data: Any) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.calls.append("limits")

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def is_closing(self) -> bool:
        return "close" in self.calls or "abort" in self.calls

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")


class LinkStub:
    """A link as a WebSocket sees it.

    room: the length of its buffer. rest_after: bytes after which it reads no more. waits: its tick has done enough.
    """

    waits = False

    def __init__(self, room: int = 1 << 16, rest_after: int | None = None) -> None:
        self.buffer = bytearray(room)
        self.got = bytearray()
        self.rest_after = rest_after
        self.transport: Any = None
        self.calls: list[Any] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.calls.append(("lost", error))

    def get_buffer(self, _hint: int) -> memoryview:
        return memoryview(self.buffer)

    def buffer_updated(self, size: int) -> None:
        self.got += self.buffer[:size]
        if self.rest_after is not None and len(self.got) >= self.rest_after:
            self.rest_after = None
            self.transport.pause_reading()

    def is_late(self) -> bool:
        return self.waits

    def in_turn(self, work: Any) -> None:
        asyncio.get_running_loop().call_soon(work)

    def pause_writing(self) -> None:
        self.calls.append("full")

    def resume_writing(self) -> None:
        self.calls.append("room")

    def close(self) -> None:
        self.calls.append("close")


class Ends:
    """A room's end that has agreed, and the parser of the client at the other."""

    def __init__(self, link: LinkStub | None = None) -> None:
        self.link = link or LinkStub()
        self.raw = Raw()
        self.here: ServerWebSocket = protocol_class(lambda _host: self.link)()  # type: ignore[arg-type,return-value]
        self.there, request = upgrade()
        self.here.connection_made(self.raw)
        self.here.data_received(request)
        self.heard()
        assert self.there.state is State.OPEN

    def heard(self) -> list[Frame]:
        """The frames that have come to the client since the last time."""
        self.there.receive_data(bytes(self.raw.written))
        self.raw.written.clear()
        self.there.data_to_send()
        return [event for event in self.there.events_received() if isinstance(event, Frame)]

    def say(self, *frames: Frame) -> None:
        self.here.data_received(b"".join(masked(*frames)))

    def close_code(self) -> int | None:
        self.heard()
        return None if self.there.close_rcvd is None else self.there.close_rcvd.code


def binary(data: bytes, fin: bool = True) -> Frame:
    return Frame(Opcode.BINARY, data, fin)


def more(data: bytes, fin: bool = True) -> Frame:
    return Frame(Opcode.CONT, data, fin)


PING, PONG = Frame(Opcode.PING, b"are you there"), Frame(Opcode.PONG, b"yes")


# ---------------------------------------------------------------- frames


@pytest.mark.parametrize("bytewise", [False, True])
async def test_messages_split_everywhere(bytewise: bool) -> None:
    ends = Ends()
    sent = b""
    for at in range(len(BYTES) + 1):
        if bytewise and at % 16:
            continue
        frames = masked(binary(BYTES[:at], False), PONG, more(BYTES[at : at + 7], False), more(BYTES[at + 7 :]))
        stream = b"".join(frames)
        for piece in [stream[i : i + 1] for i in range(len(stream))] if bytewise else [stream]:
            ends.here.data_received(piece)
        sent += BYTES
        ends.here._allowance = 100.0
    assert ends.link.got == sent
    assert ends.heard() == []


async def test_what_is_read_at_once_split_everywhere() -> None:
    stream = b"".join(masked(binary(BYTES), PING, binary(BYTES[:130]), binary(b"x")))
    for at in range(len(stream)):
        ends = Ends()
        ends.here.data_received(stream[:at])
        ends.here.data_received(stream[at:])
        assert ends.link.got == BYTES + BYTES[:130] + b"x"
        assert [frame.opcode for frame in ends.heard()] == [Opcode.PONG]


@pytest.mark.parametrize("room", [1, 7, 4096])
async def test_the_link_gets_what_its_buffer_holds(room: int) -> None:
    ends = Ends(LinkStub(room))
    ends.say(binary(BYTES), binary(BYTES))
    assert ends.link.got == 2 * BYTES


async def test_what_is_written_is_binary_and_bounded() -> None:
    ends = Ends()
    big = bytes(limits.WEBSOCKET_MESSAGE + 5)
    ends.here.write(b"one")
    ends.here.writelines([b"two", b"three"])
    ends.here.write(memoryview(big))
    frames = ends.heard()
    assert {frame.opcode for frame in frames} == {Opcode.BINARY}
    assert [len(frame.data) for frame in frames] == [3, 8, limits.WEBSOCKET_MESSAGE, 5]


async def test_a_ping_is_answered_with_its_own_bytes() -> None:
    ends = Ends()
    ends.say(PING)
    assert [(frame.opcode, bytes(frame.data)) for frame in ends.heard()] == [(Opcode.PONG, b"are you there")]


async def test_no_extension_is_agreed_upon() -> None:
    here = protocol_class(lambda _host: LinkStub())()  # type: ignore[arg-type,return-value]
    raw = Raw()
    here.connection_made(raw)
    here.data_received(upgrade(Sec_WebSocket_Extensions="permessage-deflate")[1])
    assert raw.written.startswith(b"HTTP/1.1 101") and b"deflate" not in raw.written


# ---------------------------------------------------------------- what is not allowed

BAD: dict[str, tuple[list[bytes], int]] = {
    "text": (masked(Frame(Opcode.TEXT, b"hello")), CloseCode.UNSUPPORTED_DATA),
    "empty text": (masked(Frame(Opcode.TEXT, b"")), CloseCode.UNSUPPORTED_DATA),
    "text in fragments": (masked(Frame(Opcode.TEXT, b"a", False), more(b"b")), CloseCode.UNSUPPORTED_DATA),
    "a giant frame": ([b"\x82\xff" + (2**62).to_bytes(8, "big") + b"abcd"], CloseCode.MESSAGE_TOO_BIG),
    "a frame of a MiB and a byte": (
        [b"\x82\xff" + (limits.WEBSOCKET_MESSAGE + 1).to_bytes(8, "big") + b"abcd"],
        CloseCode.MESSAGE_TOO_BIG,
    ),
    "a giant message": (
        masked(binary(bytes(1 << 19), False), more(bytes(1 << 19), False), more(b"x")),
        CloseCode.MESSAGE_TOO_BIG,
    ),
    "endless fragments": (masked(binary(b"x", False), *[more(b"", False)] * 500), CloseCode.POLICY_VIOLATION),
    "empty messages": (masked(*[binary(b"")] * 500), CloseCode.POLICY_VIOLATION),
    "pings": (masked(*[Frame(Opcode.PING, b"")] * 500), CloseCode.POLICY_VIOLATION),
    "pongs": (masked(*[Frame(Opcode.PONG, b"")] * 500), CloseCode.POLICY_VIOLATION),
    "no mask": ([binary(b"x").serialize(mask=False)], CloseCode.PROTOCOL_ERROR),
    "a reserved bit": ([b"\xc2\x80abcd"], CloseCode.PROTOCOL_ERROR),
    "an unknown opcode": ([b"\x83\x80abcd"], CloseCode.PROTOCOL_ERROR),
    "a message in a message": (masked(binary(b"x", False), binary(b"y")), CloseCode.PROTOCOL_ERROR),
    "a fragment of nothing": (masked(more(b"x")), CloseCode.PROTOCOL_ERROR),
    "a long ping": ([b"\x89\xfe\x00\x7eabcd" + bytes(126)], CloseCode.PROTOCOL_ERROR),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("together", [False, True])
async def test_what_breaks_the_rules_ends_it_behind_what_was_good(bad: str, together: bool) -> None:
    frames, code = BAD[bad]
    ends = Ends()
    last = more(b"never") if bad == "endless fragments" else binary(b"never")
    stream = [*masked(binary(b"good ")), *frames, *masked(last)]
    for piece in [b"".join(stream)] if together else stream:
        ends.here.data_received(piece)
    await eventually(lambda: ends.raw.calls and ends.raw.calls[-1] == "close")
    assert ends.link.got.startswith(b"good ") and b"never" not in ends.link.got
    assert ends.close_code() == code
    ends.here.write(b"too late")
    assert not ends.raw.written
    ends.here.connection_lost(None)
    assert ends.link.calls == [("lost", None)]


async def test_so_many_pings_are_answered_and_more_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = Ends()
    now = [1000.0]
    monkeypatch.setattr(ends.here, "_loop", type("Clock", (), {"time": lambda _self: now[0]})())
    for _ in range(limits.WEBSOCKET_IDLE_FRAMES):
        ends.say(PING)
    assert len(ends.heard()) == limits.WEBSOCKET_IDLE_FRAMES
    for _ in range(100):
        now[0] += 1 / limits.WEBSOCKET_IDLE_FRAMES_PER_SECOND
        ends.say(PING)
    assert len(ends.heard()) == 100


async def test_who_does_not_read_gets_no_pongs() -> None:
    ends = Ends()
    ends.here.pause_writing()
    for _ in range(50):
        ends.say(PING)
    assert not ends.raw.written
    ends.here.resume_writing()
    ends.say(PING)
    assert len(ends.heard()) == 1
    assert ends.link.calls == ["full", "room"]


# ---------------------------------------------------------------- back-pressure


async def test_a_link_that_rests_gets_the_rest_later_and_in_order() -> None:
    ends = Ends(LinkStub(room=10, rest_after=25))
    ends.say(binary(BYTES[:100]), binary(BYTES[100:]))
    assert ends.link.got == BYTES[:30]
    assert ends.raw.calls[-1] == "pause" and not ends.here.is_reading()
    ends.say(binary(b"behind"))  # TLS has some more
    assert ends.link.got == BYTES[:30]
    ends.link.rest_after = 60
    ends.here.resume_reading()
    await asyncio.sleep(0)
    assert ends.link.got == BYTES[:60] and "resume" not in ends.raw.calls
    ends.here.resume_reading()
    await asyncio.sleep(0)
    assert ends.link.got == BYTES + b"behind"
    assert ends.raw.calls[-1] == "resume"


async def test_a_link_that_rests_gets_what_came_before_a_close() -> None:
    ends = Ends(LinkStub(room=10, rest_after=25))
    ends.say(binary(BYTES), Frame(Opcode.CLOSE, b"\x03\xe8"))
    assert ends.link.got == BYTES[:30] and not ends.raw.is_closing()
    ends.here.resume_reading()
    await asyncio.sleep(0)
    assert ends.link.got == BYTES and ends.raw.calls[-1] == "close"


async def test_many_small_frames_take_turns() -> None:
    ends = Ends(LinkStub(room=100, rest_after=3000))
    frames = [bytes([n % 256]) for n in range(10_000)]
    ends.say(*map(binary, frames), Frame(Opcode.CLOSE, b"\x03\xe8"))
    at_once = len(ends.link.got)
    assert limits.WEBSOCKET_FRAMES < at_once < 3 * limits.WEBSOCKET_FRAMES and ends.raw.calls[-1] == "pause"
    ends.say(binary(b"never"))  # TLS has some more; it is behind the close frame
    await eventually(lambda: len(ends.link.got) >= 3000)
    assert not ends.here.is_reading()
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(ends.link.got) < 10_000
    ends.here.resume_reading()
    await eventually(lambda: ends.raw.calls[-1] == "close")
    assert ends.link.got == b"".join(frames)


async def test_frames_wait_while_the_tick_has_done_enough() -> None:
    """Each of many connections had its frames looked at as they came, and together they kept all others waiting."""
    ends = Ends()
    ends.link.waits = True
    ends.say(binary(b"first"))
    assert ends.link.got == b"" and ends.raw.calls[-1] == "pause"
    ends.say(binary(b", second"))  # TLS has some more
    await eventually(lambda: ends.raw.calls[-1] == "resume")
    assert ends.link.got == b"first, second"


async def test_long_messages_are_not_cut_small(monkeypatch: pytest.MonkeyPatch) -> None:
    ends, sizes = Ends(), []
    parse = ends.here._parse
    monkeypatch.setattr(
        ServerWebSocket, "_parse", lambda _self, data, into: (sizes.append(len(data)), parse(data, into))[1]
    )
    ends.say(binary(bytes(256 * 1024)))
    assert len(sizes) <= 10 and len(ends.link.got) == 256 * 1024


async def test_we_close_while_much_is_unread() -> None:
    ends = Ends(LinkStub(room=10, rest_after=1))
    ends.say(*[binary(b"x")] * 10_000, Frame(Opcode.CLOSE, b"\x03\xe8"))
    ends.here.close()
    await eventually(lambda: ends.raw.calls[-1] == "close")
    assert ends.close_code() == 1000


async def test_a_link_that_rests_for_ever_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STALL_SECONDS", 0.01)
    ends = Ends(LinkStub(room=10, rest_after=25))
    ends.say(binary(BYTES), Frame(Opcode.CLOSE, b"\x03\xe8"))
    await eventually(lambda: ends.raw.calls[-1:] == ["abort"])


# ---------------------------------------------------------------- endings


async def test_the_peer_closes() -> None:
    ends = Ends()
    ends.say(binary(b"last"), Frame(Opcode.CLOSE, b"\x03\xe8bye"))
    assert ends.link.got == b"last"
    assert ends.close_code() == 1000 and ends.raw.calls[-1] == "close"


async def test_we_close_and_the_peer_answers() -> None:
    ends = Ends()
    ends.here.close()
    ends.here.close()
    assert ends.here.is_closing() and not ends.raw.is_closing()
    assert ends.close_code() == 1000
    ends.say(binary(b"on its way"), Frame(Opcode.CLOSE, b"\x03\xe8"))
    assert ends.link.got == b"" and ends.raw.calls[-1] == "close"


@pytest.mark.parametrize("resting", [False, True])
async def test_we_close_and_the_peer_is_silent(monkeypatch: pytest.MonkeyPatch, resting: bool) -> None:
    monkeypatch.setattr(limits, "WEBSOCKET_CLOSE_SECONDS", 0.01)
    ends = Ends()
    if resting:
        ends.here.pause_reading()
    ends.here.close()
    assert ("resume" in ends.raw.calls) is resting  # its close frame is behind what is not wanted
    await eventually(lambda: ends.raw.calls[-1:] == ["abort"])


async def test_the_connection_dies() -> None:
    ends = Ends()
    problem = ConnectionResetError()
    assert not ends.here.eof_received()
    ends.here.connection_lost(problem)
    ends.here.write(b"x")
    ends.here.close()
    ends.here.resume_reading()
    assert ends.link.calls == [("lost", problem)]


async def test_the_web_server_ends() -> None:
    ends = Ends()
    ends.here.shutdown()
    assert ends.link.calls == ["close"]
    early = protocol_class(lambda _host: None)()
    raw = Raw()
    early.connection_made(raw)
    early.shutdown()
    assert raw.calls[-1] == "close"


# ---------------------------------------------------------------- the opening handshake


def answer_to(request: bytes, **options: Any) -> tuple[bytes, Raw]:
    here = protocol_class(options.pop("take_connection", lambda _host: LinkStub()), **options)()
    raw = Raw()
    here.connection_made(raw)
    here.data_received(request)
    return bytes(raw.written).partition(b"\r\n")[0], raw


@pytest.mark.parametrize("path", ["/", "/ws", "/?x=1", "/ws?y"])
async def test_where_rooms_answer(path: str) -> None:
    assert answer_to(upgrade(path)[1])[0].startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize("path", ["/x", "/ws/", "//", "/ws2", "/login"])
async def test_and_where_they_do_not(path: str) -> None:
    status, raw = answer_to(upgrade(path)[1])
    assert status.startswith(b"HTTP/1.1 404 ") and raw.calls[-1] == "close"


async def test_no_place_is_a_503() -> None:
    status, raw = answer_to(upgrade()[1], take_connection=lambda _host: None)
    assert status.startswith(b"HTTP/1.1 503 ") and raw.calls[-1] == "close"


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        upgrade()[1].replace(b"Version: 13", b"Version: 8"),
        upgrade()[1].replace(b"Sec-WebSocket-Key", b"X"),
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 10_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1_000 + b"\r\n",
        b"GET /" + b"x" * 10_000,
    ],
)
async def test_what_is_no_upgrade(request_: bytes) -> None:
    status, raw = answer_to(request_)
    assert not status.startswith(b"HTTP/1.1 101") and raw.calls[-1] == "close"


async def test_a_slow_upgrade_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WEBSOCKET_UPGRADE_SECONDS", 0.01)
    _status, raw = answer_to(b"GET / HTTP/1.1\r\nX:")
    await eventually(lambda: raw.calls[-1:] == ["abort"])


async def test_who_a_connection_is_from() -> None:
    hosts: list[str] = []

    def take_connection(host: str) -> Any:
        hosts.append(host)
        return LinkStub()

    request = upgrade(X_Forwarded_For="192.0.2.7")[1]
    answer_to(request, take_connection=take_connection)
    answer_to(
        request,
        take_connection=take_connection,
        client_host=lambda host, headers: f"{headers['X-Forwarded-For']} by {host}",
    )
    assert hosts == ["127.0.0.1", "192.0.2.7 by 127.0.0.1"]


# ---------------------------------------------------------------- rooms and peers


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(websocket, "tls_context", tls.trusting)
    yield


@pytest.mark.parametrize("caller_by", ["tcp", "ws", "wss"])
@pytest.mark.parametrize("target_by", ["tcp", "ws", "wss"])
async def test_a_tunnel_between_all_kinds_of_sessions(trusted: None, caller_by: str, target_by: str) -> None:
    async with (
        served_room() as room,
        websocket_of(room.server) as plain,
        websocket_of(room.server, tls.serving()) as safe,
    ):
        addresses = {"tcp": room.server.address, "ws": plain.address, "wss": safe.address}
        async with RecordingClient() as caller, RecordingClient(admission=AllowList([caller.me.id])) as target:
            there = await target.join(addresses[target_by])
            here = await caller.join(addresses[caller_by])
            await eventually(lambda: here.attendants == there.attendants == {caller.me.id, target.me.id})
            assert type(here.session.link.transport).__name__.startswith("Client") is (caller_by != "tcp")
            peer = await caller.connect(target.me.id)
            stream = peer.duplex("echo")
            sent = [bytes([n]) * 50_000 for n in range(40)]

            async def send() -> None:
                for item in sent:
                    await stream.send(item)

            sending = asyncio.ensure_future(send())
            assert [await anext(stream) for _ in sent] == sent
            await sending
            assert await peer.call("add", 1, 2) == 3
            await peer.close()
            assert peer.error is None
            session = here.session
            await here.leave()
            await there.leave()
            assert session.error is None


async def test_a_room_that_is_closed_says_goodbye_over_a_websocket() -> None:
    async with served_room() as room, websocket_of(room.server) as place, RecordingClient() as client:
        joined = await client.join(place.address, stay=False)
        await room.server.close()
        await joined.wait_left()
        assert joined.session.error is None


async def test_who_leaves_without_waiting_is_heard_out() -> None:
    async with served_room() as room, websocket_of(room.server) as place, RecordingClient() as client:
        joined = await client.join(place.address, stay=False)
        (session,) = room.server._sessions.values()
        session.link.finish()
        await joined.wait_left()
        await eventually(lambda: session.link.phase is Phase.CLOSED)
        assert joined.session.error is None and session.link._error is None


async def test_a_lost_websocket_is_dialled_again() -> None:
    async with served_room() as room, websocket_of(room.server) as place, RecordingClient() as client:
        joined = await client.join(place.address)
        joined.session.link.abort()
        await client.told("reconnecting")
        await client.told("announced", 2)
        assert client.named("reconnecting")[0]["portal"] == str(room.server.me.id)
        assert len(place.hosts) == 2


async def test_alternatives_are_tried_side_by_side() -> None:
    async with served_room() as room, websocket_of(room.server) as place, RecordingClient() as client:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            dead = f"net:127.0.0.1:{nobody.getsockname()[1]}~shs:{encode_key(room.server.me.id.key)}"
            joined = await client.join(f"{dead};{place.address}")
            assert isinstance(joined.session.link.transport, websocket.ClientWebSocket)


async def test_another_key_is_refused() -> None:
    async with served_room() as room, websocket_of(room.server) as place, RecordingClient() as client:
        with pytest.raises(HandshakeError):
            await client.join(f"{place.address.partition('~')[0]}~shs:{encode_key(Keypair.generate().id.key)}")


async def test_limits_count_websockets_as_well() -> None:
    async with served_room() as room, websocket_of(room.server) as place, RecordingClient() as client:
        await client.join(place.address)
        assert len(room.server.limits.sessions) == 1
        await room.server.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(upgrade()[1])
        assert (await reader.readline()).startswith(b"HTTP/1.1 503 ")
        writer.close()


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (says(200, b"hello"), "no WebSocket"),
        (says(404), "no WebSocket"),
        (says(301, Location="ws://127.0.0.1:1/"), "no WebSocket"),
        (says(101), "no WebSocket"),
        (floods(b"SSH-2.0-x\r\n", b"", 0), "no WebSocket|closed before"),
        (floods(b"", b"", 0), "closed before"),
    ],
)
async def test_a_web_server_without_a_room(page: Any, words: str) -> None:
    async with web_site() as site, RecordingClient() as client:
        site.pages["/"] = page
        with pytest.raises(SessionEndedError, match=words) as caught:
            await client.join(f"ws://127.0.0.1:{site.port}~shs:{encode_key(feed(9).key)}")
        assert "127.0.0.1" not in str(caught.value)


async def test_a_web_server_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WEBSOCKET_UPGRADE_SECONDS", 0.05)
    async with web_site() as site, RecordingClient() as client:
        site.pages["/"] = silent
        with pytest.raises(DeadlineError):
            await client.join(f"ws://127.0.0.1:{site.port}~shs:{encode_key(feed(9).key)}")


async def test_a_certificate_for_another_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served_room() as room, websocket_of(room.server, tls.serving()) as place, RecordingClient() as client:
        for context in (lambda: tls.trusting("elsewhere"), websocket.tls_context):
            monkeypatch.setattr(websocket, "tls_context", context)
            with pytest.raises(SessionEndedError, match="certificate there cannot be believed"):
                await client.join(place.address)
        assert place.hosts == []


async def test_cancelled_while_it_dials_nothing_is_left() -> None:
    async with web_site() as site, RecordingClient() as client:
        site.pages["/"] = silent
        joining = asyncio.ensure_future(client.join(f"ws://127.0.0.1:{site.port}~shs:{encode_key(feed(9).key)}"))
        await eventually(lambda: site.asked)
        joining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await joining


async def test_a_room_needs_its_key() -> None:
    async with RecordingClient() as client:
        with pytest.raises(AddressError):
            await client.join("wss://room.example")


async def test_uvicorn_hands_over_the_connection() -> None:
    uvicorn = pytest.importorskip("uvicorn")

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a page"})

    async with served_room() as room:
        ws = protocol_class(room.server.take_connection)
        config = uvicorn.Config(app, ws=ws, http="h11", lifespan="off", log_config=None)
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
            await server.startup(sockets=[sock])
            async with RecordingClient() as client:
                await client.join(f"ws://127.0.0.1:{port}~shs:{encode_key(room.server.me.id.key)}")
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert b"a page" in await reader.read()
                writer.write(upgrade("/", X_Forwarded_For="192.0.2.7")[1])
                writer.close()
                server.should_exit = True
                await server.shutdown(sockets=[sock])
                await client.told("reconnecting")


def test_without_websockets_the_extra_is_named() -> None:
    code = (
        "import sys, asyncio; sys.modules['websockets'] = None\n"
        "from ssbfast import RoomClient, Keypair\n"
        "async def main():\n"
        "    async with RoomClient(Keypair.generate()) as client:\n"
        f"        await client.join('ws://127.0.0.1:1~shs:{encode_key(feed(9).key)}')\n"
        "try: asyncio.run(main())\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("MissingExtraError") and "ssbfast[web]" in done.stdout


def test_the_client_loads_no_websockets_for_tcp() -> None:
    code = "import sys, ssbfast.client.room_client, ssbfast.server.room_server; print('websockets' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

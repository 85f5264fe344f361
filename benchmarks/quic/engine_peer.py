"""One end of a QUIC connection by our engine in C: aioquic shakes hands, then the engine goes on: see `peer.py`.

Trains of datagrams go through UDP_SEGMENT and UDP_GRO; with `-gso off` each datagram is a call of its own.
"""

from __future__ import annotations

import asyncio
import select
import socket
import struct
import time
from importlib.metadata import version
from typing import Any, Final

from aioquic.quic.connection import QuicConnection, stream_is_unidirectional
from aioquic.quic.events import StreamDataReceived

from benchmarks.quic.peer import CHUNK, FAREWELL, RECEIVING, Meter, Options, done, fail, payload, say
from ssbfast import native
from ssbfast.direct.quic_handover import Generations, is_fit, is_quiet, leave, take_over
from ssbfast.native.quic import NEVER, TRAIN, By, Engine, Kind, Limits

BOUNDS: Final = Limits(packets=16_384, window=1 << 22, window_all=1 << 23)
SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104
RECEIVES: Final = 16
"""Calls of the system in a row, before what came is acknowledged."""
DATAGRAMS: Final = 64
"""The same where each datagram is a call."""
MOST: Final = 2048
"""Bytes of a datagram: none is longer."""
BUFFERS: Final = 1 << 20
PATIENCE: Final = 10.0

Address = tuple[str, int]


def now() -> int:
    return time.monotonic_ns() // 1000


class Handshake:
    """aioquic's part, on a socket of its own. agreed: the other end's byte has come already."""

    def __init__(self, options: Options, udp: socket.socket) -> None:
        configuration = options.configuration
        configuration.max_data, configuration.max_stream_data = BOUNDS.window_all, BOUNDS.window
        self.agreed = False
        self._udp = udp
        if options.serve:
            udp.setblocking(True)
            first = udp.recvfrom(2048, socket.MSG_PEEK)[0]
            udp.setblocking(False)
            self.quic = QuicConnection(
                configuration=configuration, original_destination_connection_id=first[6 : 6 + first[5]]
            )
        else:
            self.quic = QuicConnection(configuration=configuration)
        for limit, most in (
            (self.quic._local_max_streams_bidi, BOUNDS.peer_bidi), (self.quic._local_max_streams_uni, BOUNDS.peer_uni),
        ):  # fmt: skip
            limit.value = limit.sent = most
        if not options.serve:
            self.quic.connect((options.host, options.port), time.monotonic())

    def run(self) -> Address:
        """Go on until the engine can: return the other end's address."""
        quic, end = self.quic, time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if select.select([self._udp], [], [], self._wait())[0]:
                data, source = self._udp.recvfrom(65_535)
                quic.receive_datagram(data, source, time.monotonic())
            elif (at := quic.get_timer()) is not None and at <= time.monotonic():
                quic.handle_timer(time.monotonic())
            self._take_events()
            if quic._network_paths:
                for data, address in quic.datagrams_to_send(time.monotonic()):
                    self._udp.sendto(data, address)
            if is_quiet(quic) and is_fit(quic):
                address = quic._network_paths[0].addr
                return str(address[0]), int(address[1])
        fail("engine peer: no quiet moment")

    def _wait(self) -> float:
        at = self.quic.get_timer()
        return 1.0 if at is None or not self.quic._network_paths else min(max(at - time.monotonic(), 0.0), 1.0)

    def _take_events(self) -> None:
        while (event := self.quic.next_event()) is not None:
            self.agreed = self.agreed or (isinstance(event, StreamDataReceived) and event.end_stream)


class Peer:
    """The engine's part. agreed, ended, closed: as aioquic_peer's."""

    def __init__(self, options: Options, udp: socket.socket, remote: Address, handshake: Handshake) -> None:
        self.loop = asyncio.get_running_loop()
        self.agreed, self.ended = asyncio.Event(), asyncio.Event()
        self.closed: asyncio.Future[tuple[By, int]] = self.loop.create_future()
        self.memory = bytearray(b"\1") * options.bytes if options.job in RECEIVING else bytearray()
        self.got = 0
        self._options, self._udp, self._remote = options, udp, remote
        self._keys = Generations(handshake.quic)
        bounds = Limits(**{name: getattr(BOUNDS, name) for name in BOUNDS.__slots__} | {"datagram": options.datagram})
        self.engine = Engine(take_over(handshake.quic, self._keys), bounds, now())
        leave(handshake.quic)
        self._in = bytearray(TRAIN)
        self._view: Any = memoryview(self._in)
        self._timer: asyncio.TimerHandle | None = None
        self._to_send: tuple[int, memoryview] | None = None
        self._echoed: tuple[bytes, bool] = b"", False
        self.echoed = 0
        if handshake.agreed:
            self.agreed.set()
        if options.gso:
            udp.setsockopt(SOL_UDP, UDP_GRO, 1)
        self.loop.add_reader(udp, self._readable)

    async def run(self) -> Meter:
        """Do the job."""
        job = self._options.job
        data = payload(self._options.bytes) if job in ("send", "ask") else b""
        self._tell()
        await self._until(self.agreed)
        meter = Meter()
        if data:
            stream = self.engine.open(uni=job == "send")
            assert stream is not None
            self._to_send = stream, memoryview(data)
            self._pass()
        await self._until(self.ended)
        meter.stop()
        if job in RECEIVING:
            self._tell()
            await asyncio.wait([self.closed], timeout=FAREWELL)
            if self.closed.done() and self.closed.result() != (By.PEER, 0):
                fail(f"engine peer: closed {self.closed.result()}")
        else:
            self.engine.close(0)
            self._pass()
        return meter

    def _tell(self) -> None:
        """Send a byte on a stream of its own."""
        stream = self.engine.open(uni=True)
        if stream is None:
            fail("engine peer: the other end lets us open no stream")
        self.engine.write(stream, b"!", end=True)
        self._pass()

    async def _until(self, event: asyncio.Event) -> None:
        waiting = self.loop.create_task(event.wait())
        await asyncio.wait([waiting, self.closed], return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            fail(f"engine peer: closed {self.closed.result()}")

    def _readable(self) -> None:
        receive = self._receive_trains if self._options.gso else self._receive_one_by_one
        receive()
        self._pass()

    def _receive_trains(self) -> None:
        for _ in range(RECEIVES):
            try:
                n, extra, _, source = self._udp.recvmsg_into([self._in], 64)
            except BlockingIOError:
                return
            segment = n
            for level, kind, value in extra:
                if (level, kind) == (SOL_UDP, UDP_GRO):
                    (segment,) = struct.unpack("i", value)
            if source == self._remote:
                self.engine.receive(self._view[:n], now(), segment)

    def _receive_one_by_one(self) -> None:
        """Put datagrams of one length behind one another: the engine opens many at once."""
        at = segment = 0
        for _ in range(DATAGRAMS):
            try:
                n, source = self._udp.recvfrom_into(self._view[at:])
            except BlockingIOError:
                break
            if source != self._remote:
                continue
            segment = segment or n
            if n > segment:
                self.engine.receive(self._view[:at], now(), segment)
                self._view[:n] = self._view[at : at + n]
                at, segment = 0, n
            at += n
            if n < segment or at + MOST > len(self._in):
                self.engine.receive(self._view[:at], now(), segment)
                at = segment = 0
        if at:
            self.engine.receive(self._view[:at], now(), segment)

    def _pass(self) -> None:
        """Act upon what has come, and send."""
        while (event := self.engine.event()) is not None:
            kind, stream, value = event
            if kind == Kind.READABLE:
                self._read(stream)
            elif kind == Kind.KEYS:
                self.engine.keys(self._keys.following())
            elif kind == Kind.CLOSED and not self.closed.done():
                self.closed.set_result((By(stream), value))
            elif kind == Kind.RESET or kind == Kind.STOPPED:
                fail("engine peer: a stream was given up")
        self._write()
        self._transmit()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (at := self.engine.next) != NEVER:
            self._timer = self.loop.call_later(max(at - now(), 0) / 1e6, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self.engine.timer(now())
        self._pass()

    def _read(self, stream: int) -> None:
        while True:
            if self._options.job == "echo" and not stream_is_unidirectional(stream) and self._echoed[0]:
                return  # the other end gets no more ahead than it takes back
            data, end = self.engine.read(stream, CHUNK)
            if not data and not end:
                return
            if stream_is_unidirectional(stream) and stream < 4:
                self.agreed.set()
            elif stream_is_unidirectional(stream) and self._options.job not in RECEIVING:
                self.ended.set()
            elif self._options.job == "echo":
                self.echoed += len(data)
                self._echoed = data, end
                self._echo(stream)
            else:
                self.memory[self.got : self.got + len(data)] = data
                self.got += len(data)
                if end:
                    self.ended.set()
            if end:
                return

    def _echo(self, stream: int) -> None:
        data, end = self._echoed
        taken = self.engine.write(stream, data, end=end)
        self._echoed = data[taken:], end

    def _write(self) -> None:
        if self._echoed[0]:
            stream = 0 if self._options.serve else 1
            self._echo(stream)
            if not self._echoed[0]:
                self._read(stream)
        if self._to_send is None:
            return
        stream, left = self._to_send
        while left:
            part = left[:CHUNK]
            taken = self.engine.write(stream, bytes(part), end=len(part) == len(left))
            left = left[taken:]
            if taken < len(part):
                break
        self._to_send = (stream, left) if left else None

    def _transmit(self) -> None:
        """Send until nothing may be sent. What the socket refuses is lost."""
        while (train := self.engine.send(now())) is not None:
            data, segment, _ = train
            try:
                if len(data) <= segment:
                    self._udp.sendto(data, self._remote)
                elif self._options.gso:
                    how = [(SOL_UDP, UDP_SEGMENT, struct.pack("H", segment))]
                    self._udp.sendmsg([data], how, 0, self._remote)
                else:
                    for at in range(0, len(data), segment):
                        self._udp.sendto(data[at : at + segment], self._remote)
            except BlockingIOError:
                return


async def main(options: Options) -> None:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        udp.setsockopt(socket.SOL_SOCKET, option, BUFFERS)
    udp.bind((options.host, options.port) if options.serve else ("", 0))
    udp.setblocking(False)
    say(event="ready", port=udp.getsockname()[1])
    handshake = Handshake(options, udp)
    peer = Peer(options, udp, handshake.run(), handshake)
    meter = await peer.run()
    done(
        options, meter, [bytes(peer.memory[: peer.got])], peer.echoed,
        library=f"ssbfast {version('ssbfast')}, {native.BACKEND}", gso=options.gso, figures=peer.engine.figures(),
    )  # fmt: skip


if __name__ == "__main__":
    asyncio.run(main(Options.parse()))

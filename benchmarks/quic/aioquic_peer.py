"""One end of a QUIC connection by aioquic as it comes, with its asyncio protocol and server: see `peer.py`."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Final

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.quic.connection import NetworkAddress, QuicConnection, stream_is_unidirectional
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamDataReceived
from aioquic.tls import Epoch

from benchmarks.quic.peer import CHUNK, FAREWELL, RECEIVING, Meter, Options, done, fail, payload, say

AHEAD: Final = 4 * CHUNK


class Peer(QuicConnectionProtocol):
    """A connection. agreed: the other end can go on; ended: it has sent or got all; closed: with this code."""

    def __init__(self, options: Options, quic: QuicConnection) -> None:
        super().__init__(quic)
        self.agreed, self.ended = asyncio.Event(), asyncio.Event()
        self.closed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.got: list[bytes] = []
        self.echoed = self.updates = 0
        self._options = options
        self._meter: Meter | None = None
        self._packets = self._updated_at = self._first_of_phase = 0

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ConnectionTerminated):
            self.closed.set_result(event.error_code)
        elif not isinstance(event, StreamDataReceived):
            return
        elif stream_is_unidirectional(event.stream_id) and event.stream_id < 4:
            if event.end_stream:
                self.agreed.set()
        elif stream_is_unidirectional(event.stream_id) and self._options.job not in RECEIVING:
            if event.end_stream:
                self.ended.set()
        elif self._options.job == "echo":
            self.echoed += len(event.data)
            self._quic.send_stream_data(event.stream_id, event.data, event.end_stream)
        else:
            self.got.append(event.data)
            if event.end_stream:
                self.ended.set()

    def datagram_received(self, data: bytes | str, addr: NetworkAddress) -> None:
        self._packets += 1
        super().datagram_received(data, addr)

    def transmit(self) -> None:
        self._update_keys()
        super().transmit()

    def _update_keys(self) -> None:
        """Begin a key update after so many packets, once one of the generation before has been acknowledged."""
        quic, every = self._quic, self._options.updates
        packets = self._packets + quic._packet_number
        if not every or packets < self._updated_at + every or not quic._handshake_confirmed:
            return
        if quic._spaces[Epoch.ONE_RTT].largest_acked_packet >= self._first_of_phase:
            quic.request_key_update()
            quic.send_ping(self.updates)  # it forgets its old keys, so the other end has to hear of the new ones
            self._updated_at, self._first_of_phase = packets, quic._packet_number
            self.updates += 1

    async def run(self) -> Meter:
        """Do the job."""
        job = self._options.job
        data = payload(self._options.bytes) if job in ("send", "ask") else b""
        await self.wait_connected()
        self._tell()
        await self.agreed.wait()
        meter = Meter()
        if job in ("send", "ask"):
            await self._write(data)
        await asyncio.wait([asyncio.ensure_future(self.ended.wait()), self.closed], return_when=asyncio.FIRST_COMPLETED)
        if not self.ended.is_set():
            fail(f"aioquic peer: closed with code {self.closed.result():#x}")
        meter.stop()
        if job in RECEIVING:
            self._tell()
            await asyncio.wait([self.closed], timeout=FAREWELL)
        else:
            self.close()
        return meter

    def _tell(self) -> None:
        """Send a byte on a stream of its own."""
        stream = self._quic.get_next_available_stream_id(is_unidirectional=True)
        self._quic.send_stream_data(stream, b"!", end_stream=True)
        self.transmit()

    async def _write(self, data: bytes) -> None:
        """aioquic takes all that it is given: look at what it has not sent yet."""
        quic = self._quic
        stream = quic.get_next_available_stream_id(is_unidirectional=self._options.job == "send")
        for start in range(0, len(data), CHUNK):
            part = data[start : start + CHUNK]
            quic.send_stream_data(stream, part, end_stream=start + len(part) == len(data))
            self.transmit()
            sender = quic._streams[stream].sender
            while sender._buffer_stop - sender.highest_offset > AHEAD and not self.closed.done():
                await asyncio.sleep(0.001)


async def main(options: Options) -> None:
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[Peer] = loop.create_future()

    def accept(quic: QuicConnection, stream_handler: object = None) -> Peer:
        accepted.set_result(Peer(options, quic))
        return accepted.result()

    if options.serve:
        server = await serve(options.host, options.port, configuration=options.configuration, create_protocol=accept)
        say(event="ready", port=server._transport.get_extra_info("sockname")[1])
    else:
        quic = QuicConnection(configuration=options.configuration)
        await loop.create_datagram_endpoint(lambda: accept(quic), local_addr=("127.0.0.1", 0))
        accepted.result().connect((options.host, options.port))
        say(event="ready")
    peer = await accepted
    meter = await peer.run()
    done(
        options, meter, peer.got, peer.echoed,
        library=f"aioquic {version('aioquic')}", gso=False, updates=peer.updates,
    )  # fmt: skip


if __name__ == "__main__":
    asyncio.run(main(Options.parse()))

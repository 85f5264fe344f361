"""One UDP socket of a direct path: reflectors, probes and QUIC share it, and its first byte tells them apart.

    0x00, 0x01      STUN (RFC 8489)
    0x20, 0x21      probes (`wire/direct/punch/probes.py`)
    bit 0x40 set    QUIC (RFC 9000, fixed bit)

A wake-up reads up to `UDP_BATCH` datagrams, for `UDP_TURN_SECONDS` at most, before QUIC makes its pass over them: one
pass costs more than the parsing of a datagram. A datagram that the network refuses is lost: nothing is raised.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import sys
from collections.abc import Callable
from typing import Final, Protocol

from ssbfast import limits

Address = tuple[str, int]
"""An IP literal and a port; the scope of link-local addresses is written into the literal (fe80::1%eth0)."""

_UDP_SEGMENT: Final = 103
_UDP_GRO: Final = 104
_MTU_PROBE: Final = 3  # IP_PMTUDISC_PROBE: nothing is cut in pieces, and what the system believes to pass is no limit
_TRAIN_OPTIONS: Final = (
    {
        socket.AF_INET: ((socket.IPPROTO_UDP, _UDP_GRO, 1), (socket.IPPROTO_IP, 10, _MTU_PROBE)),
        socket.AF_INET6: ((socket.IPPROTO_UDP, _UDP_GRO, 1), (socket.IPPROTO_IPV6, 23, _MTU_PROBE)),
    }
    if sys.platform == "linux"
    else {}
)
"""IP_MTU_DISCOVER and IPV6_MTU_DISCOVER, which `socket` does not name."""
_TRAIN: Final = 65_536
_SEGMENT: Final = struct.Struct("=H")
_GRO: Final = struct.Struct("=i")
_CMSG: Final = socket.CMSG_SPACE(_GRO.size) if hasattr(socket, "CMSG_SPACE") else 0
_READS_TRAINS: Final = hasattr(socket.socket, "recvmsg_into")
_NO_JOINING: Final = frozenset({errno.EIO, errno.EINVAL, errno.ENOPROTOOPT, errno.EOPNOTSUPP})
_SPLIT: Final = 128
"""Datagrams of ours up to this length may be anything; longer ones are QUIC's, or nobody's."""

Buffer = bytes | memoryview

Receiver = Callable[[bytes, Address], None]


class QuicSide(Protocol):
    """A receiver of QUIC datagrams."""

    def datagram(self, data: bytes, source: Address) -> None:
        """Take one datagram."""

    def train(self, data: memoryview, segment: int, source: Address) -> None:
        """Take datagrams of one address, `segment` bytes each but for the last. `data` is scratch, until it returns."""

    def batch_done(self) -> None:
        """Act upon what has come: there is nothing more for now."""


class UdpSocket:
    """A UDP socket and the receivers of what comes in.

    stun, probes, quic: may be set at any time; what has no receiver is dropped. local: where it is bound.
    may_send: decides over the addresses that anything is sent to; None: all of them. on_closed, on_lingering: called
    once, when it is closed and when `linger` is called. on_unused: called at the first of these two.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._closed = False
        self.stun: Receiver | None = None
        self.probes: Receiver | None = None
        self.quic: QuicSide | None = None
        self.may_send: Callable[[Address], bool] | None = None
        self.on_closed: Callable[[], None] | None = None
        self.on_lingering: Callable[[], None] | None = None
        self.on_unused: Callable[[], None] | None = None
        self.on_writable: Callable[[], None] | None = None
        self._memory: memoryview | None = None  # for trains
        self._joins = hasattr(socket, "CMSG_SPACE") and sys.platform == "linux"
        self._joined = False  # it has worked
        self._allowed: Address | None = None  # the last one that `may_send` has let pass
        self._farewell: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        self._loop.add_reader(sock, self._readable)

    @classmethod
    def open(cls, family: socket.AddressFamily, host: str = "", port: int = 0) -> UdpSocket:
        """Bind a new one; without a port, any that is free. Raises OSError when that cannot be had."""
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, option, limits.UDP_BUFFER)
            sock.bind((host, port))
            return cls(sock)
        except BaseException:
            sock.close()
            raise

    @property
    def family(self) -> socket.AddressFamily:
        return self._sock.family

    @property
    def local(self) -> Address:
        """Address that it is bound to."""
        name = self._sock.getsockname()
        return name[0], name[1]

    @property
    def is_closed(self) -> bool:
        return self._closed

    @property
    def joins_trains(self) -> bool:
        """True while trains are given to the system whole."""
        return self._joins

    def send(self, data: bytes, to: Address) -> bool:
        """Send one datagram; return False when it was lost right here."""
        if self._closed or not (to == self._allowed or self._allow(to)):
            return False
        try:
            self._sock.sendto(data, to)
        except OSError:  # no route, no buffer, a refusal that came back: for datagrams all the same
            return False
        return True

    def take_trains(self) -> None:
        """From now on read QUIC's datagrams in trains, as many at once as the system joins (Windows: none)."""
        if _READS_TRAINS and self._memory is None and not self._closed:
            self._memory = memoryview(bytearray(_TRAIN))
            for option in _TRAIN_OPTIONS.get(self._sock.family, ()):
                with contextlib.suppress(OSError):
                    self._sock.setsockopt(*option)

    def send_train(self, data: Buffer, segment: int, to: Address) -> bool:
        """Send datagrams, `segment` bytes each but for the last.

        Returns False when the socket is full: nothing of it was sent, and `on_writable` is called when there is room.
        What is lost right here counts as sent.
        """
        if self._closed or not (to == self._allowed or self._allow(to)):
            return True
        if len(data) <= segment or not self._joins:
            return self._send_each(data, segment, to)
        try:
            self._sock.sendmsg([data], [(socket.IPPROTO_UDP, _UDP_SEGMENT, _SEGMENT.pack(segment))], 0, to)
        except BlockingIOError:
            self._loop.add_writer(self._sock, self._writable)
            return False
        except OSError as error:
            if error.errno in _NO_JOINING:
                self._joins = self._joined  # some network cards and old kernels: one by one from now on …
                return self._send_each(data, segment, to)  # … but once it has worked, these are too long for the way
        else:
            self._joined = True
        return True

    def close(self) -> None:
        """Close it. Harmless when closed already."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        self.stun = self.probes = self.quic = None
        if self._farewell is not None:
            self._farewell.cancel()
        self._unused()
        on_closed, self.on_closed, self.on_lingering = self.on_closed, None, None
        if on_closed is not None:
            on_closed()

    def linger(self, seconds: float) -> None:
        """Close it after so long; earlier, if another socket needs its place."""
        if self._closed or self._farewell is not None:
            return
        self._farewell = self._loop.call_later(seconds, self.close)
        self._unused()
        if self.on_lingering is not None:
            self.on_lingering()

    def _unused(self) -> None:
        on_unused, self.on_unused = self.on_unused, None
        if on_unused is not None:
            on_unused()

    def _allow(self, to: Address) -> bool:
        if self.may_send is not None:
            if not self.may_send(to):
                return False
            self._allowed = to
        return True

    def _send_each(self, data: Buffer, segment: int, to: Address) -> bool:
        return all([self._send_one(data[at : at + segment], to) for at in range(0, len(data), segment)])

    def _send_one(self, data: Buffer, to: Address) -> bool:
        with contextlib.suppress(OSError):  # a full socket, too: what is lost of a train is sent again
            self._sock.sendto(data, to)
        return True

    def _writable(self) -> None:
        self._loop.remove_writer(self._sock)
        if self.on_writable is not None:
            self.on_writable()

    def _readable(self) -> None:
        if self._memory is not None:
            self._read_trains(self._memory)
            return
        was_quic = False
        until = self._loop.time() + limits.UDP_TURN_SECONDS
        for _ in range(limits.UDP_BATCH):
            if self._closed:
                return
            try:
                data, source = self._sock.recvfrom(limits.UDP_DATAGRAM)[:2]
            except BlockingIOError:
                break
            except OSError:  # an ICMP error of something that we sent
                continue
            was_quic |= self._dispatch(data, (source[0], source[1]))
            if self._loop.time() > until:
                break
        if was_quic and self.quic is not None:
            self.quic.batch_done()

    def _read_trains(self, memory: memoryview) -> None:
        was_quic = False
        until = self._loop.time() + limits.UDP_TURN_SECONDS
        for _ in range(limits.UDP_TRAINS):
            if self._closed:
                return
            try:
                n, ancillary, _, source = self._sock.recvmsg_into([memory], _CMSG)
            except BlockingIOError:
                break
            except OSError:
                continue
            segment = next((_GRO.unpack(value)[0] for _, kind, value in ancillary if kind == _UDP_GRO), n)
            address = (source[0], source[1])
            was_quic |= self._dispatch_train(memory[:n], segment, address)
            if self._loop.time() > until:
                break
        if was_quic and self.quic is not None:
            self.quic.batch_done()

    def _dispatch_train(self, data: memoryview, segment: int, source: Address) -> bool:
        """Dispatch datagrams of one address; return whether some were for QUIC."""
        if not data:  # an empty one, which is no train
            return False
        if segment > _SPLIT and data[0] & 0x40 and self.quic is not None:
            self.quic.train(data, segment, source)
            return True
        # Short ones of several kinds may have been joined.
        return any([self._dispatch(bytes(data[at : at + segment]), source) for at in range(0, len(data), segment)])

    def _dispatch(self, data: bytes, source: Address) -> bool:
        """Dispatch a datagram; return whether it was for QUIC."""
        if not data:
            return False
        first = data[0]
        if first & 0x40:
            if self.quic is not None:
                self.quic.datagram(data, source)
            return True
        receiver = self.stun if first < 0x20 else self.probes
        if receiver is not None:
            receiver(data, source)
        return False

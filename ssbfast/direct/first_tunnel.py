"""The tunnel that a session began in, as one of its ways (`migration.py`): raw both ways, with no records."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ssbfast import limits
from ssbfast.direct.standby_tunnel import RawTunnel
from ssbfast.errors import SSBError
from ssbfast.net.tunnel_transport import TunnelTransport

if TYPE_CHECKING:
    from ssbfast.direct.carrier_transport import Migration

FIRST: Final = 0
"""Its number."""


class FirstTunnel:
    """What `Migration.take_over` puts the session's own tunnel behind. It becomes the tunnel's protocol."""

    def __init__(self, migration: Migration, tunnel: TunnelTransport) -> None:
        self._migration = migration
        self._tunnel = tunnel
        self._full = tunnel.get_write_buffer_size() > limits.TUNNEL_SHARE // 2
        tunnel.set_protocol(RawTunnel(self, tunnel))

    def begin(self, number: int) -> None:
        """It always was `FIRST`."""

    def send_records(self, data: bytes) -> None:
        """There are none on a raw tunnel."""

    def send_data(self, data: bytes) -> None:
        self._tunnel.write(data)

    def begin_raw(self) -> None:
        """It is."""

    def ping(self) -> None:
        """A tunnel has its room's keepalive."""

    def waiting(self) -> Mapping[int, int]:
        return {}

    def end(self, clean: bool) -> None:
        if clean:
            self._tunnel.close()
        else:
            self._tunnel.abort()

    def read(self, yes: bool) -> None:
        with contextlib.suppress(SSBError):
            if yes:
                self._tunnel.resume_reading()
            else:
                self._tunnel.pause_reading()

    @property
    def is_full(self) -> bool:
        return self._full

    def raw_received(self, tunnel: TunnelTransport, data: bytes) -> None:
        self._migration.data(FIRST, data)

    def raw_writable(self, tunnel: TunnelTransport, yes: bool) -> None:
        self._full = not yes
        self._migration.writable()

    def raw_lost(self, tunnel: TunnelTransport, error: Exception | None) -> None:
        self._migration.lost(FIRST, error is None, error)

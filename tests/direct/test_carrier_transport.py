"""A session's own transport takes over from the tunnel that it began in, in whatever state that is."""

from __future__ import annotations

from typing import Any

import pytest

from ssbfast.direct.carrier_transport import CarrierTransport
from ssbfast.net.duplex_transport import HIGH, LOW
from ssbfast.wire.direct.carriers.session import Carriers
from ssbfast.wire.direct.keys import Role
from tests.helpers.pairs import connected
from tests.helpers.rawpeer import eventually
from tests.net.test_tunnel_transport import Recorder, Tunnels


class Session(Recorder):
    """A session's link as its transports see it, and the listener of its carriers."""

    def move(self, transport: Any, *, piece: int) -> None:
        """Nothing is written by itself."""

    def silence_changed(self, silent: bool) -> None:
        """Nothing is told."""

    def forget(self) -> None:
        """Nothing is kept."""


@pytest.mark.parametrize("gone", [0, HIGH // 4], ids=["full", "between the marks"])
async def test_a_session_that_its_tunnel_has_paused_goes_on_when_the_tunnel_has_room(gone: int) -> None:
    """A tunnel pauses its session above `HIGH` and lets it go on at `LOW`; a direct path comes up at any time."""
    async with connected() as pair:
        session: Any = Session()
        tunnels = Tunnels(pair)
        pair.here.open_tunnel(lambda: session, {})
        there = await tunnels.accepted.get()
        outer = pair.here.link
        outer.pause_writing()  # the room takes nothing
        session.transport.write(bytes(HIGH + 1))
        if gone:
            outer.transport.write(outer.core.flush(gone)[0])
        queued = session.transport.get_write_buffer_size()
        assert session.paused and (LOW < queued <= HIGH if gone else queued > HIGH)

        carried = CarrierTransport(Carriers(Role.CALLER), session, session.transport, session)
        carried.take_over()
        carried.step()
        assert session.paused
        outer.resume_writing()
        await eventually(lambda: not session.paused)
        assert len(await there.read(HIGH + 1)) == HIGH + 1

"""The course of a room's process once it listens: control socket, service manager, and how it ends."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ssbfast import limits
from ssbfast.cli.room.clock_watch import ClockWatch
from ssbfast.cli.service_manager import ServiceManager
from ssbfast.server.control import Control
from ssbfast.server.handover import Predecessor, Succession

if TYPE_CHECKING:
    from ssbfast.server.room_server import RoomServer


class Site(Protocol):
    """A listener beside a room."""

    @property
    def every_socket(self) -> Sequence[socket.socket]:
        """Return all that it listens on."""

    async def stop_listening(self) -> None:
        """Take no connections any more."""

    def begin(self, room: RoomServer) -> None:
        """Do what only the process does that has the sockets for itself."""


class Course:
    """The work of a room's process beside serving.

    Args:
        terminated: Set when the room is to drain and end.
        seconds: How long tunnels may go on then.
        predecessor: The process whose sockets the room has, if it took over.
    """

    def __init__(self, terminated: asyncio.Event, seconds: float, predecessor: Predecessor | None) -> None:
        self._terminated = terminated
        self._seconds = seconds
        self._predecessor = predecessor
        self._manager = ServiceManager()

    @property
    def is_restarted(self) -> bool:
        """Return whether the process was begun by the room before, and so is none that a terminal waits for."""
        return self._predecessor is not None and self._predecessor.has_begun_us

    async def run(self, server: RoomServer, sites: Sequence[Site], data: Path) -> None:
        """Look after a room that listens; return when it is to be closed, its peers having left as far as they did.

        Args:
            server: The room.
            sites: What else listens, for browsers and for measurements.
            data: The room's directory.

        Raises:
            BadInputError: Another room runs on the data directory.
        """
        from ssbfast.server.status import handlers

        async def stop_listening() -> None:
            await server.stop_listening()
            for site in sites:
                await site.stop_listening()

        def sockets() -> list[socket.socket]:
            return [*server.sockets, *(sock for site in sites for sock in site.every_socket)]

        succession = Succession(sockets, stop_listening)
        control = Control(data, {**handlers(server), **succession.handlers(), "drain": self._drain})
        await control.start(takes_over=bool(self._predecessor))
        clocks = ClockWatch(server.events.emit)
        try:
            if self._predecessor is not None:
                await asyncio.get_running_loop().run_in_executor(None, self._predecessor.retire)
                control.take_place()
            for site in sites:
                site.begin(server)
            self._manager.start(os.getpid(), f"listening on port {server.port}")
            await _first(self._terminated.wait(), succession.taken_over.wait())
            if succession.taken_over.is_set():
                self._manager.close()  # the signs of life are the new process's
                server.events.emit("taken_over")
                await server.drain(self._seconds, grace=limits.HANDOVER_GRACE)
            else:
                succession.end()
                self._manager.stop("draining")
                await server.drain(self._seconds)
        finally:
            succession.end()
            clocks.close()
            self._manager.close()
            await control.close()

    def _drain(self, request: dict[str, Any]) -> dict[str, float]:
        self._terminated.set()
        return {"seconds": self._seconds}


async def _first(*waits: Coroutine[Any, Any, object]) -> None:
    """Wait until the first of them is done."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()

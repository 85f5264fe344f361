"""Mappings at a gateway by UPnP: it is looked for once, mappings are renewed, and deleted at their end.

The library (extra `upnp`) is loaded in a thread with the first search; without it no gateway is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from ssbfast import limits
from ssbfast.direct.udp import Address
from ssbfast.errors import SSBError

if TYPE_CHECKING:
    from ssbfast.direct.upnp_client import Igd

_CLIENT: Final = "ssbfast.direct.upnp_client"


def has_upnp() -> bool:
    """Return whether the extra `upnp` is there."""
    return find_spec("async_upnp_client") is not None


class UpnpGateway:
    """What is known of a gateway. own: our address on its LAN."""

    def __init__(self, gateway: str, own: str) -> None:
        self._gateway = gateway
        self._own = own
        self._search: asyncio.Task[Igd | None] | None = None
        self._again = float("-inf")

    @property
    def may_map(self) -> bool:
        """Return whether it speaks UPnP, or is just being asked."""
        search = self._search
        return search is not None and (not search.done() or (not search.cancelled() and search.result() is not None))

    def look(self) -> None:
        """Begin to find out whether it speaks UPnP. Harmless when that is known, or was looked for lately."""
        loop = asyncio.get_running_loop()
        if self.may_map or loop.time() < self._again or not has_upnp():
            return
        self._again = loop.time() + limits.UPNP_AGAIN_SECONDS
        self._search = loop.create_task(self._find())

    async def found(self) -> Igd | None:
        """Return it, once that is known."""
        self.look()
        if self._search is None:
            return None
        await asyncio.wait([self._search])
        return None if self._search.cancelled() else self._search.result()

    def forget(self) -> None:
        """Look for it anew, though not at once: it does not do what it is asked for."""
        self._search = None

    def close(self) -> None:
        """Give up the search."""
        if self._search is not None:
            self._search.cancel()

    async def _find(self) -> Igd | None:
        with contextlib.suppress(SSBError):
            client = await asyncio.to_thread(importlib.import_module, _CLIENT)
            found: Igd = await client.find_igd(self._gateway, self._own)
            return found
        return None


class UpnpMapping:
    """A mapping of one UDP port of ours, asked for.

    changed: is called when `address` or `is_over` has changed. address: where the world reaches the port. is_over: no
    more will come of it. has_answered: the gateway speaks UPnP.
    """

    def __init__(self, gateway: UpnpGateway, port: int, changed: Callable[[], None]) -> None:
        self.address: Address | None = None
        self.is_over = self.has_answered = False
        self._gateway = gateway
        self._port = port
        self._changed = changed
        self._outer: int | None = None  # the port that the gateway may have given
        self._closed = False
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(self._done)

    def close(self) -> None:
        """Have the gateway forget it. Harmless when done already."""
        self.address = None
        if not self._closed:
            self._closed = True
            self._task.cancel()

    async def _run(self) -> None:
        igd = await self._gateway.found()
        self.has_answered = igd is not None
        if igd is None:
            return
        try:
            while True:
                self._outer = self._outer or self._port
                self._outer = await igd.map(self._port, self._outer)
                self.address = await igd.host(), self._outer
                self._changed()
                await asyncio.sleep(limits.MAPPING_SECONDS / 2)
        except SSBError:
            self._gateway.forget()
        finally:
            self.address = None
            if self._outer is not None:
                await _unmap(igd, self._outer)

    def _done(self, _task: asyncio.Task[None]) -> None:
        self.address = None
        self.is_over = True
        self._changed()


async def _unmap(igd: Igd, outer: int) -> None:
    for _ in range(2):  # once more when the end of the event loop cancels it
        with contextlib.suppress(SSBError, asyncio.CancelledError):
            await igd.unmap(outer)
            return

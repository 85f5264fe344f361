"""What a room knows and tells of its web site, if it has one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ssbfast.room.alias_rules import alias_url
from ssbfast.room.methods import RoomMethods, SolutionTaker
from ssbfast.room.registry import Registry
from ssbfast.wire.address import MultiserverAddress
from ssbfast.wire.address_types import NetAddress


class DialableRoom(Protocol):
    """The room as far as its addresses need it."""

    @property
    def addresses(self) -> tuple[MultiserverAddress, ...]:
        """Return the addresses by which peers dial it."""

    @property
    def registry(self) -> Registry:
        """Return what the room knows of keys."""


@dataclass(frozen=True, slots=True)
class CertificateState:
    """The certificate of a web site.

    Attributes:
        ends: When it ceases to be valid, in seconds of Unix time; None while the site has none.
        problem: What keeps it from being renewed, and what to do; empty for nothing.
        aliases: Sub-domains of aliases that have a certificate of their own.
    """

    ends: float | None
    problem: str
    aliases: int = 0


class WebPresence:
    """The web site of a room, as far as peers hear of it.

    Args:
        room: The room.
        methods: The calls by which peers hear of it.
        url_of_alias: Returns the URL of an alias; unless given, one at the host of the published address.

    Attributes:
        certificate: Returns the state of the site's certificate; None for a site without one of its own.
    """

    def __init__(
        self, room: DialableRoom, methods: RoomMethods, url_of_alias: Callable[[str], str] | None = None
    ) -> None:
        self._room = room
        self._methods = methods
        self._url_of_alias = url_of_alias
        self.certificate: Callable[[], CertificateState] | None = None

    @property
    def is_running(self) -> bool:
        """True while a web site runs: what the room tells of its features."""
        return self._methods.is_web

    @is_running.setter
    def is_running(self, runs: bool) -> None:
        self._methods.is_web = runs

    @property
    def sign_ins(self) -> SolutionTaker | None:
        """The challenges of the web site, which peers solve by httpAuth.sendSolution."""
        return self._methods.sign_ins

    @sign_ins.setter
    def sign_ins(self, sign_ins: SolutionTaker | None) -> None:
        self._methods.sign_ins = sign_ins

    @property
    def addresses(self) -> tuple[str, ...]:
        """Multiserver addresses beside those of TCP, such as `wss:HOST:443~shs:KEY`; room.metadata tells them."""
        return self._methods.info.addresses[1:]

    @addresses.setter
    def addresses(self, addresses: Sequence[str]) -> None:
        every = (*map(str, self._room.addresses[:1]), *addresses) if addresses else ()
        self._methods.info = replace(self._methods.info, addresses=every)

    def alias_url(self, name: str) -> str:
        """Return the URL of an alias."""
        if self._url_of_alias is not None:
            return self._url_of_alias(name)
        transport = self._room.addresses[0].transport
        host = transport.host if isinstance(transport, NetAddress) else "localhost"
        host = f"[{host}]" if ":" in host else host
        return alias_url(f"https://{host}", name, self._room.registry.settings.alias_style)

"""Rooms and targets as a user names them, and the addresses that lead there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ssbfast.client.joined_room import JoinedRoom, KeyedEndpoint
from ssbfast.errors import AddressError, LocalProtocolError, RefusedError, SessionEndedError
from ssbfast.ids import FeedId, NetworkId
from ssbfast.keys import Keypair
from ssbfast.wire.address import NetAddress, TunnelAddress, WebSocketAddress, parse_address
from ssbfast.wire.private_tunnel import (
    NOT_FOR_YOU,
    PrivateResolver,
    PrivateTunnelAddress,
    is_private_tunnel,
    parse_private_tunnel,
)

Parsed = FeedId | TunnelAddress | PrivateTunnelAddress | tuple[TunnelAddress, ...]


class TunnelRoute(NamedTuple):
    """One attempt: the room, the target, and which of the target's instances (ssb-tunnel of 2018)."""

    room: JoinedRoom
    target: FeedId
    instance: int | None = None


def parse_target(text: str) -> Parsed:
    """Read a feed id, a tunnel address with its alternatives, or a private tunnel address.

    Raises FeedIdError, AddressError.
    """
    if is_private_tunnel(text):
        return parse_private_tunnel(text)
    if text.startswith("@"):
        return FeedId.parse(text)
    transports = (alternative.transport for alternative in parse_address(text))
    found = tuple(transport for transport in transports if isinstance(transport, TunnelAddress))
    if not found:
        raise AddressError("needs a tunnel: address, or a feed id", 0)
    return found


def keyed_endpoints(address: str) -> list[KeyedEndpoint]:
    """Return the alternatives of an address that can be dialled over TCP. Raises AddressError for other text."""
    return [
        KeyedEndpoint(alternative.transport.host, alternative.transport.port, alternative.shs)
        for alternative in parse_address(address)
        if isinstance(alternative.transport, NetAddress) and alternative.shs is not None
    ]


def ways_into(address: str) -> list[KeyedEndpoint]:
    """Return the ways into a room, over TCP or a WebSocket, never empty. Raises AddressError."""
    ways = []
    for one in parse_address(address):
        if isinstance(one.transport, NetAddress | WebSocketAddress) and one.shs is not None:
            web = one.transport if isinstance(one.transport, WebSocketAddress) else None
            ways.append(KeyedEndpoint(one.transport.host, one.transport.port, one.shs, web))
    if not ways:
        raise AddressError("needs a net: or wss: address with the room's key (net:HOST:PORT~shs:KEY)", 0)
    return ways


def ways_to(
    target: FeedId | TunnelAddress | tuple[TunnelAddress, ...],
    rooms: Sequence[JoinedRoom],
    kept: Sequence[JoinedRoom],
) -> list[TunnelRoute]:
    """Return the ways to try, in order, never empty.

    rooms: those to go through. kept: all that we know, for the message when there is no way.
    Raises LocalProtocolError when the room is none of ours, SessionEndedError when it is away just now.
    """
    if isinstance(target, FeedId):
        order = sorted(rooms, key=lambda room: target not in room.attendants)
        ways = [TunnelRoute(room, target, 0 if room.generation == _OF_2018 else None) for room in order]
        known = bool(kept)
    else:
        addresses = (target,) if isinstance(target, TunnelAddress) else target
        ways = [TunnelRoute(room, to.target, to.instance) for to in addresses for room in rooms if room.id == to.portal]
        known = any(room.id == to.portal for to in addresses for room in kept)
    if ways:
        return ways
    if known:
        raise SessionEndedError("the room cannot be reached just now")
    raise LocalProtocolError("join the room first" if not isinstance(target, FeedId) else "join a room first")


_OF_2018 = 2018


class Private:
    """The resolver of private tunnel addresses for one client, in a thread: there may be 100,000 tags to try.

    contacts: called there. groups: secrets of 32 bytes.
    """

    def __init__(
        self,
        me: Keypair,
        network: NetworkId,
        contacts: Callable[[], Iterable[FeedId]] | None,
        groups: Iterable[bytes],
    ) -> None:
        self._resolver = PrivateResolver(me, network=network, groups=groups)
        self._contacts = contacts
        self._lock = threading.Lock()

    async def resolve(self, address: PrivateTunnelAddress, portals: Sequence[FeedId]) -> TunnelAddress:
        """Resolve an address. Raises RefusedError when there is no answer, LimitError."""
        found = await asyncio.get_running_loop().run_in_executor(None, self._find, address, portals)
        if found is None:
            raise RefusedError(NOT_FOR_YOU)
        return found

    def _find(self, address: PrivateTunnelAddress, portals: Sequence[FeedId]) -> TunnelAddress | None:
        contacts = () if self._contacts is None or address.owner is not None else self._contacts()
        with self._lock:
            return self._resolver.resolve(address, portals=portals, contacts=contacts)

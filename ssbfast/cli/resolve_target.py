"""The targets of `ssbfast connect`: a nickname, a feed id, a tunnel address, a private tunnel address, an alias."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from ssbfast.cli.nicknames import find_contact
from ssbfast.cli.options import SECRET, has_store, read_secret
from ssbfast.cli.peer_options import RoomAddress
from ssbfast.errors import BadInputError
from ssbfast.ids import FeedId, NetworkId
from ssbfast.pasted.addresses import read_target
from ssbfast.pasted.web_links import AliasLink
from ssbfast.wire.address_types import TunnelAddress
from ssbfast.wire.alias import Alias
from ssbfast.wire.pairing import is_name
from ssbfast.wire.private_tunnel import NOT_FOR_YOU, PrivateResolver, PrivateTunnelAddress


@dataclass(frozen=True, slots=True)
class Target:
    """The peer to reach. ways: through which portals, in order of preference; empty when any room will do.

    room: where that room is, if the target says so: an alias does.
    """

    who: FeedId
    ways: tuple[TunnelAddress, ...] = ()
    room: RoomAddress | None = None

    def through(self, rooms: tuple[RoomAddress, ...]) -> Target:
        """Return a target with only the ways through one of `rooms`. Raises BadInputError when none is left."""
        portals = {room.portal for room in rooms}
        ways = tuple(way for way in self.ways if way.portal in portals)
        if self.ways and not ways:
            raise BadInputError(f"none of the rooms is the portal of that address, {self.ways[0].portal}")
        return Target(self.who, ways, self.room)


Parsed: TypeAlias = Target | PrivateTunnelAddress | AliasLink


_SSB: Final = ".ssb"
_LOGIN: Final = "ssh"


def split_service(text: str) -> tuple[str, str | None]:
    """Split a target into its peer and the name of a service; None: the peer's first.

    home/git and @ID/git are the service git of a peer, git.home.ssb is the same as a name for programs, and home.ssb is
    the service ssh of home.
    """
    given = text.strip()
    if given.endswith(_SSB):
        service, _, peer = f"{_LOGIN}.{given.removesuffix(_SSB)}".rpartition(".")
        service = service.removeprefix(f"{_LOGIN}.")
        return (peer, service) if is_name(service) and is_name(peer) else (text, None)
    peer, _, service = given.rpartition("/")
    is_peer = is_name(peer) or (peer.startswith("@") and peer.endswith(".ed25519"))
    return (peer, service) if is_peer and is_name(service) else (text, None)


def parse(text: str, data: Path) -> Parsed:
    """Read what was given: a nickname of one of our contacts, or what was pasted. Raises BadInputError."""
    contact = find_contact(text, data)
    if contact is not None:
        return Target(contact.id, room=None if contact.room is None else RoomAddress.parse(contact.room))
    match _read(text):
        case FeedId() as who:
            return Target(who)
        case PrivateTunnelAddress() | AliasLink() as unresolved:
            return unresolved
        case Alias() as alias:
            return _of_alias(alias)
        case ways:
            if len({way.target for way in ways}) > 1:
                raise BadInputError("the alternatives lead to different targets")
            return Target(ways[0].target, ways)


def _read(text: str) -> FeedId | tuple[TunnelAddress, ...] | PrivateTunnelAddress | AliasLink | Alias:
    try:
        return read_target(text)
    except BadInputError as error:
        peer, slash, service = text.strip().partition("/")
        if slash and is_name(peer):
            raise BadInputError(f"{peer}/NAME is a service, with a name of a-z, 0-9 and -: {service[:40]!r}") from error
        raise


def _of_alias(alias: Alias) -> Target:
    way = TunnelAddress(alias.room, alias.user)
    return Target(alias.user, (way,), RoomAddress(alias.address, alias.room))


def look_up(link: AliasLink) -> Target:
    """Ask a web site what an alias stands for. Raises AliasError, BadInputError."""
    from ssbfast.client.aliases import resolve_alias

    return _of_alias(asyncio.run(resolve_alias(link)))


def resolve(
    address: PrivateTunnelAddress,
    rooms: tuple[RoomAddress, ...],
    data: Path,
    network: NetworkId,
) -> Target:
    """Find out here, without sending anything, what a private tunnel address stands for. Raises BadInputError."""
    if address.group:
        raise BadInputError("an address for a group needs the group's secret: use RoomClient(groups=…) in Python")
    resolver = PrivateResolver(read_secret(data / SECRET), network=network)
    way = resolver.resolve(address, portals=[room.portal for room in rooms], contacts=_contacts(data))
    if way is None:
        raise BadInputError(f"{NOT_FOR_YOU}; nothing was sent")
    return Target(way.target, (way,))


def _contacts(data: Path) -> list[FeedId]:
    """Return the peers that may have issued an address to us: our contacts."""
    from ssbfast.store.peer_store import Store

    if not has_store(data):
        return []
    with Store(data) as store:
        return [contact.id for contact in store.contacts()]

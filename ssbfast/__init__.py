"""Secure Scuttlebutt tunnels: secret handshake, box stream, muxrpc, rooms and tunnel ends.

The names below are loaded when they are first used (PEP 562): `import ssbfast` alone brings in neither asyncio
servers nor the C core nor any optional dependency.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from ssbfast import source_tree as source_tree

__version__ = "0.1.0"

_HOMES: Final = {
    "FeedId": "ssbfast.ids",
    "NetworkId": "ssbfast.ids",
    "MAIN_NETWORK": "ssbfast.ids",
    "Keypair": "ssbfast.keys",
    "load_secret": "ssbfast.keys",
    "SSBError": "ssbfast.errors",
    "parse_address": "ssbfast.wire.address",
    "format_address": "ssbfast.wire.address",
    "TunnelAddress": "ssbfast.wire.address",
    "RoomServer": "ssbfast.server.room_server",
    "RoomClient": "ssbfast.client.room_client",
    "Peer": "ssbfast.net.peer",
    "install": "ssbfast.compat.installing",
    "uninstall": "ssbfast.compat.installing",
}

if TYPE_CHECKING:
    from ssbfast.client.room_client import RoomClient
    from ssbfast.compat.installing import install, uninstall
    from ssbfast.errors import SSBError
    from ssbfast.ids import MAIN_NETWORK, FeedId, NetworkId
    from ssbfast.keys import Keypair, load_secret
    from ssbfast.net.peer import Peer
    from ssbfast.server.room_server import RoomServer
    from ssbfast.wire.address import TunnelAddress, format_address, parse_address

__all__ = [
    "MAIN_NETWORK",
    "FeedId",
    "Keypair",
    "NetworkId",
    "Peer",
    "RoomClient",
    "RoomServer",
    "SSBError",
    "TunnelAddress",
    "__version__",
    "format_address",
    "install",
    "load_secret",
    "parse_address",
    "uninstall",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'ssbfast' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

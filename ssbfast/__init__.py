"""Secure Scuttlebutt tunnels: secret handshake, box stream, muxrpc, rooms, tunnels and direct paths.

The names below are loaded when they are first used (PEP 562): `import ssbfast` alone brings in neither asyncio
servers nor the C core nor any optional dependency.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from ssbfast import source_tree as source_tree

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
    "Endpoint": "ssbfast.net.endpoints",
    "RoomClient": "ssbfast.client.room_client",
    "Peer": "ssbfast.net.peer",
    "Api": "ssbfast.net.api",
    "AllowList": "ssbfast.room.tunnel_auth",
    "Trust": "ssbfast.client.tunnel_auth",
    "MemoryGraph": "ssbfast.client.follow_graph",
    "StoreGraph": "ssbfast.client.follow_graph",
    "SsbServerGraph": "ssbfast.client.ssb_server_graph",
    "DenialLog": "ssbfast.client.denial_log",
    "Tickets": "ssbfast.client.pairing",
    "Ticket": "ssbfast.wire.pairing",
    "SignInRequest": "ssbfast.client.sign_in",
    "Direct": "ssbfast.direct.options",
    "PreferredPath": "ssbfast.direct.options",
    "Status": "ssbfast.client.status",
    "ForwardServer": "ssbfast.net.forward.tcp_server",
    "ForwardListener": "ssbfast.net.forward.tcp_listener",
    "Service": "ssbfast.net.forward.service",
    "ServiceServer": "ssbfast.net.forward.tcp_server",
    "UnixPath": "ssbfast.net.endpoints",
    "install": "ssbfast.compat.installing",
    "uninstall": "ssbfast.compat.installing",
}
"""Where each public name is defined."""

if TYPE_CHECKING:
    from ssbfast.client.denial_log import DenialLog
    from ssbfast.client.follow_graph import MemoryGraph, StoreGraph
    from ssbfast.client.pairing import Tickets
    from ssbfast.client.room_client import RoomClient
    from ssbfast.client.sign_in import SignInRequest
    from ssbfast.client.ssb_server_graph import SsbServerGraph
    from ssbfast.client.status import Status
    from ssbfast.client.tunnel_auth import Trust
    from ssbfast.compat.installing import install, uninstall
    from ssbfast.direct.options import Direct, PreferredPath
    from ssbfast.errors import SSBError
    from ssbfast.ids import MAIN_NETWORK, FeedId, NetworkId
    from ssbfast.keys import Keypair, load_secret
    from ssbfast.net.api import Api
    from ssbfast.net.endpoints import Endpoint, UnixPath
    from ssbfast.net.forward.service import Service
    from ssbfast.net.forward.tcp_listener import ForwardListener
    from ssbfast.net.forward.tcp_server import ForwardServer, ServiceServer
    from ssbfast.net.peer import Peer
    from ssbfast.room.tunnel_auth import AllowList
    from ssbfast.server.room_server import RoomServer
    from ssbfast.wire.address import TunnelAddress, format_address, parse_address
    from ssbfast.wire.pairing import Ticket

    __version__: str

__all__ = [
    "MAIN_NETWORK",
    "AllowList",
    "Api",
    "DenialLog",
    "Direct",
    "Endpoint",
    "FeedId",
    "ForwardListener",
    "ForwardServer",
    "Keypair",
    "MemoryGraph",
    "NetworkId",
    "Peer",
    "PreferredPath",
    "RoomClient",
    "RoomServer",
    "SSBError",
    "Service",
    "ServiceServer",
    "SignInRequest",
    "SsbServerGraph",
    "Status",
    "StoreGraph",
    "Ticket",
    "Tickets",
    "Trust",
    "TunnelAddress",
    "UnixPath",
    "__version__",
    "format_address",
    "install",
    "load_secret",
    "parse_address",
    "uninstall",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    else:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module 'ssbfast' has no attribute {name!r}")
        value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    """Return the version of the installed package, or "unknown" for a source tree that is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ssbfast")
    except PackageNotFoundError:
        return "unknown"

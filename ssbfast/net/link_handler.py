"""What a link tells its owner, and where it stands."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol

from ssbfast.errors import SSBError

if TYPE_CHECKING:
    from ssbfast.net.link import Link


class LinkHandler(Protocol):
    """What a link tells its owner. Called from within the loop; must not block."""

    def opened(self, link: Link) -> None:
        """The handshake is done; `link.remote` is proven."""

    def packet(self, link: Link, flags: int, req: int, body: bytes) -> None:
        """A whole packet arrived that no inlet took."""

    def chunk(self, link: Link, req: int, data: bytes) -> None:
        """Bytes arrived for a delivering inlet."""

    def closed(self, link: Link, error: SSBError | None) -> None:
        """The connection is gone, once; error is None after goodbyes on both sides."""


class Phase(enum.Enum):
    """Where a link stands. It only ever moves downwards in this list."""

    HANDSHAKE = enum.auto()
    OPEN = enum.auto()
    LEAVING = enum.auto()
    CLOSED = enum.auto()

"""`ssb_client` is another name of `ssb`: its modules are the very same."""

from __future__ import annotations

import sys

from ssbfast.compat.ssb import feed, muxrpc, packet_stream, util
from ssbfast.compat.ssb.feed import models

__all__ = ["feed", "muxrpc", "packet_stream", "util"]

for _module in (feed, models, muxrpc, packet_stream, util):
    sys.modules[_module.__name__.replace(".ssb.", ".ssb_client.", 1)] = _module

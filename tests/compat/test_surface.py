"""Every name and parameter of the four packages that we stand in for. `surface.json` lists them."""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

LISTED = json.loads((Path(__file__).parent / "surface.json").read_text(encoding="utf-8"))
OLD_NAMES = {"n": "chunk_size"}
"""Parameters whose name the two generations do not agree on."""

CLASSES = [
    pytest.param(module, name, members, id=f"{package}-{module}.{name}")
    for package, modules in LISTED.items()
    for module, content in modules.items()
    for name, members in content["classes"].items()
]


def ours(module: str) -> Any:
    return importlib.import_module(f"ssbfast.compat.{module}")


def accepts(function: Any, wanted: list[str]) -> None:
    """Positional parameters of these names in this order, and nothing else that must be given."""
    parameters = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
    keywords = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    names = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    positional = [w for w in wanted if not w.startswith("*") and w not in keywords and w != "/"]
    for have, want in zip(names, positional, strict=False):
        assert have in (want, OLD_NAMES.get(want)), (function, names, wanted)
    assert len(names) >= len(positional), (function, names, wanted)
    for extra in parameters[len(positional) :]:
        if extra.name not in wanted and "**kwargs" not in wanted:
            assert extra.default is not extra.empty, (function, extra)


@pytest.mark.parametrize(("module", "name", "members"), CLASSES)
def test_classes(module: str, name: str, members: dict[str, Any]) -> None:
    cls = getattr(ours(module), name)
    assert isinstance(cls, type)
    for member, shape in members.items():
        raw = inspect.getattr_static(cls, member)
        if shape == "property":
            assert isinstance(raw, property)
        elif isinstance(shape, list) and member not in ("_generate_next_value_", "_make", "_replace"):
            function = raw.__func__ if isinstance(raw, classmethod) else raw
            accepts(function, shape)


@pytest.mark.parametrize(("package", "module"), [(p, m) for p, modules in LISTED.items() for m in modules])
def test_names_and_functions(package: str, module: str) -> None:
    content = LISTED[package][module]
    for name in content["names"]:
        assert hasattr(ours(module), name), name
    for name, parameters in content["functions"].items():
        accepts(getattr(ours(module), name), parameters)


@pytest.mark.parametrize(
    ("module", "cls", "method"),
    [
        ("secret_handshake.boxstream", "UnboxStream", "read"),
        ("secret_handshake.network", "SHSDuplexStream", "read"),
        ("secret_handshake.network", "SHSServer", "listen"),
        ("secret_handshake.network", "SHSServer", "handle_connection"),
        ("secret_handshake.network", "SHSClient", "open"),
        ("ssb.packet_stream", "PacketStream", "read"),
        ("ssb.packet_stream", "PSStreamHandler", "process"),
        ("ssb.packet_stream", "PSRequestHandler", "stop"),
        ("ssb.muxrpc", "MuxRPCAPI", "process_messages"),
        ("ssb.muxrpc", "MuxRPCHandler", "get_response"),
    ],
)
def test_what_was_awaited_is_awaited(module: str, cls: str, method: str) -> None:
    assert inspect.iscoroutinefunction(getattr(getattr(ours(module), cls), method))


def test_constants() -> None:
    boxstream, crypto, util = (ours(f"secret_handshake.{name}") for name in ("boxstream", "crypto", "util"))
    assert (boxstream.HEADER_LENGTH, boxstream.MAX_SEGMENT_SIZE) == (34, 4096)
    assert len(boxstream.TERMINATION_HEADER) == 18 and not any(boxstream.TERMINATION_HEADER)
    assert crypto.APPLICATION_KEY.hex() == "d4a1cb88a66f02f8db635ce26441cc5dac1b08420ceaac230839b755845a9ffb"
    assert (util.NONCE_SIZE, util.MAX_NONCE) == (24, 192)


def test_ssb_client_is_ssb() -> None:
    from ssbfast.compat import ssb_client
    from ssbfast.compat.ssb import muxrpc

    assert ssb_client.muxrpc is muxrpc
    assert importlib.import_module("ssbfast.compat.ssb_client.feed.models") is ours("ssb.feed.models")

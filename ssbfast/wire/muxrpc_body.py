"""The bodies of muxrpc packets: JSON, errors, calls, manifests. Bytes in, plain values out; nothing here has state.

Source: muxrpc and packet-stream-codec (npm), observed on the wire; SIP 7 for the names.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from ssbfast import limits
from ssbfast.errors import RemoteError

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"

NOT_ALLOWED: Final = "is not in list of allowed methods"
"""Room clients fall back (room.metadata → tunnel.isRoom, room.attendants → tunnel.endpoints) only on an error that
ends so; on any other they take the room for no room."""


_INVISIBLE: Final = frozenset(
    map(
        chr,
        (
            0x034F,  # combining grapheme joiner
            *(0x115F, 0x1160, 0x3164, 0xFFA0),  # Hangul fillers
            *(0x17B4, 0x17B5),  # Khmer inherent vowels
            *range(0x180B, 0x1810),  # Mongolian variation selectors
            0x2800,  # an empty cell of Braille
            *range(0xFE00, 0xFE10),  # variation selectors
            0x1D159,  # an empty note
            *range(0xE0000, 0xE1000),  # tags, more variation selectors, and their kin to come
        ),
    )
)
"""Characters that Python calls printable but are invisible (Unicode's Default_Ignorable_Code_Point, and blanks)."""


def encode_json(value: JSON) -> bytes:
    """Encode like JSON.stringify: compact, UTF-8, a lone surrogate as `\\udXXX`.

    Raises ValueError for NaN, infinities and what JSON cannot hold.
    """
    try:
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, RecursionError) as error:
        raise ValueError("not a JSON value") from error
    return text.encode("utf-8", "backslashreplace")  # what cannot be encoded is a lone surrogate inside a string


def decode_json(body: bytes) -> JSON:
    """Decode strictly: UTF-8, no NaN or infinity, no integer of more than limits.JSON_DIGITS. Raise ValueError."""
    try:
        value: JSON = json.loads(
            body.decode("utf-8"), parse_int=_integer, parse_float=_number, parse_constant=_no_constant
        )
    except RecursionError as error:
        raise ValueError("JSON is nested too deeply") from error
    return value


def _integer(text: str) -> int:
    if len(text) > limits.JSON_DIGITS:
        raise ValueError("an integer in JSON is too long")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number in JSON is too large")
    return value


def _no_constant(text: str) -> JSON:
    raise ValueError(f"{text} is not JSON")


def clean_text(text: str, length: int) -> str:
    """Return the first `length` characters of a peer's text, with everything unprintable replaced.

    That is: control characters and with them escape sequences and line ends, marks that turn the direction of writing,
    what has no width or is blank, lone surrogates, and combining marks after the first `COMBINING_MARKS` in a row.
    """
    text = text[:length]
    if text.isascii() and text.isprintable():
        return text
    cleaned, marks = [], 0
    for c in text:
        marks = marks + 1 if unicodedata.category(c) in ("Mn", "Me") else 0
        shown = c.isprintable() and c not in _INVISIBLE and marks <= limits.COMBINING_MARKS
        cleaned.append(c if shown else "\ufffd")
    return "".join(cleaned)


def error_body(message: str, name: str = "Error") -> bytes:
    """Return the body of an error answer or error end. `stack` is always empty: JS peers expect it."""
    return encode_json({"name": name, "message": message, "stack": ""})


def read_error(value: JSON) -> RemoteError:
    """Return a peer's error as ours: texts cut and cleaned, for any value in place of an error object."""
    if isinstance(value, str):
        return RemoteError(clean_text(value, limits.ERROR_TEXT))
    message = value.get("message") if isinstance(value, dict) else None
    name = value.get("name") if isinstance(value, dict) else None
    return RemoteError(
        clean_text(message, limits.ERROR_TEXT) if isinstance(message, str) and message else "unknown error",
        clean_text(name, limits.ERROR_NAME) if isinstance(name, str) and name else "Error",
    )


def unknown_method_message(name: Iterable[str]) -> str:
    """Return the text of muxrpc's own refusal. Spec: muxrpc permissions.js; room clients look at its end."""
    return f"method:{clean_text(','.join(name), limits.ERROR_NAME)} {NOT_ALLOWED}"


def call_body(name: tuple[str, ...], args: list[JSON], kind: str | None) -> bytes:
    """Return the body of a call. kind: None for async and sync calls (JS sends no `type`), else the stream's kind."""
    body: dict[str, JSON] = {"name": list(name), "args": args}
    if kind is not None:
        body["type"] = kind
    return encode_json(body)


def read_call(body: bytes) -> tuple[tuple[str, ...], list[JSON], JSON]:
    """Return name, arguments and `type` (None if absent) of a call; a name may be a string. Raise ValueError."""
    value = decode_json(body)
    if not isinstance(value, dict):
        raise ValueError("a call is not an object")
    args, name = value.get("args"), value.get("name")
    if not isinstance(args, list):
        raise ValueError("a call has no list of arguments")
    parts = [name] if isinstance(name, str) else name
    if not isinstance(parts, list) or not parts:
        raise ValueError("a call has no name")
    words = tuple(part for part in parts if isinstance(part, str) and part)
    if len(words) != len(parts):
        raise ValueError("a call has no name")
    return words, args, value.get("type")


def build_manifest(methods: Mapping[tuple[str, ...], str]) -> dict[str, JSON]:
    """Return the manifest: {("room", "metadata"): "async"} → {"room": {"metadata": "async"}}."""
    manifest: dict[str, JSON] = {}
    for name, kind in methods.items():
        level = manifest
        for part in name[:-1]:
            inner = level.setdefault(part, {})
            if not isinstance(inner, dict):
                raise ValueError(f"{part} is a method and a group")
            level = inner
        level[name[-1]] = kind
    return manifest

"""JSON bodies as `simplejson.dumps` wrote them: a namedtuple is an object, a Decimal a number.

Two things differ: bytes are refused (TypeError), and so is what JSON cannot hold, NaN and the infinities (ValueError).
JavaScript peers drop a connection that brings them.
"""

from __future__ import annotations

import json
import json.encoder
import marshal
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

_ENCODER: Final = json.JSONEncoder(allow_nan=False)


def _kept_encoder() -> Callable[[Any], str]:
    """Return `_ENCODER.encode`, without making its C part anew for every message, which takes half of the time."""
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return _ENCODER.encode
    quote = json.encoder.encode_basestring_ascii
    chunks = make(None, _ENCODER.default, quote, None, ": ", ", ", False, False, False)
    return lambda value: "".join(chunks(value, 0))


_encode: Final = _kept_encoder()


def dumps(value: Any) -> str:
    """Return a value's text. ValueError: NaN, infinite, circular or too deep. TypeError: JSON has no such thing."""
    try:
        return _encode(value) if _is_plain(value) else _text(value)
    except RecursionError:
        raise ValueError("the value is nested too deep, or holds itself") from None


def _is_plain(value: Any) -> bool:
    """Return whether nothing in it needs more than the standard library's encoder.

    `marshal` knows the built-in types alone, and looks through a value faster than any loop: a namedtuple, a Decimal,
    every subclass is a ValueError to it.
    """
    try:
        marshal.dumps(value)
    except ValueError:
        return False
    return True


def _text(value: Any) -> str:
    """Yield the same text as the encoder's, piece by piece."""
    if isinstance(value, Decimal):
        return _number(value)
    as_dict = getattr(value, "_asdict", None)
    if callable(as_dict):
        value = as_dict()
        if not isinstance(value, dict):
            raise TypeError("_asdict() does not return a dict")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)}: {_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_text, value)) + "]"
    return _ENCODER.encode(value)


def _number(value: Decimal) -> str:
    if not value.is_finite():
        raise ValueError("JSON has neither NaN nor infinity")
    return str(value)


def _key(key: Any) -> str:
    if isinstance(key, str):
        return _ENCODER.encode(key)
    if isinstance(key, Decimal):
        return f'"{_number(key)}"'
    if key is None or isinstance(key, (int, float)):
        return f'"{_ENCODER.encode(key)}"'
    raise TypeError(f"the keys of an object are text, not {type(key).__name__}")

"""The legacy encoding: what JavaScript's `JSON.stringify(value, null, 2)` writes, to the byte.

SSB signs the UTF-8 bytes of this text, and names a message by the hash of its UTF-16 units' low bytes. So numbers are
written as JavaScript does (all are doubles), keys that are array indices come first, and lone surrogates are escaped.

Spec: Scuttlebutt protocol guide, "Message format"; ECMA-262, Number::toString, JSON.stringify, OrdinaryOwnPropertyKeys.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

_LONE: Final = re.compile("[\ud800-\udfff]")
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_LAST_INDEX: Final = 2**32 - 2
_EXACT: Final = 2**53
_DECIMAL: Final = 21
"""From 10**21 on, JavaScript writes numbers with an exponent; below 10**-6 too."""


def dumps(value: Any) -> str:
    """Return the text of a JSON value. ValueError for what JSON cannot hold, or what is nested too deep."""
    try:
        return _value(value, "\n")
    except RecursionError:
        raise ValueError("the value is nested too deep") from None


def signed_bytes(text: str) -> bytes:
    """Return the bytes that are signed: UTF-8."""
    return text.encode("utf-8")


def hashed_bytes(text: str) -> bytes:
    """Return the bytes that are hashed: the low byte of each UTF-16 unit, as Node's "binary" encoding gives them."""
    return text.encode("utf-16-le")[::2]


def _value(value: Any, line: str) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, (int, float, Decimal)):
        return _number(value)
    inner = line + "  "
    as_dict = getattr(value, "_asdict", None)
    if callable(as_dict):  # a namedtuple, which simplejson took for an object
        value = as_dict()
    if isinstance(value, Mapping):
        items = [f"{_text(key)}: {_value(item, inner)}" for key, item in _ordered(value)]
        return _block("{", items, "}", line)
    if isinstance(value, (list, tuple)):
        return _block("[", [_value(item, inner) for item in value], "]", line)
    raise ValueError(f"JSON has no {type(value).__name__}")


def _block(opening: str, items: list[str], closing: str, line: str) -> str:
    if not items:
        return opening + closing
    return opening + ",".join(f"{line}  {item}" for item in items) + line + closing


def _text(text: Any) -> str:
    if not isinstance(text, str):
        raise ValueError("the keys of an object are text")
    quoted = json.dumps(text, ensure_ascii=False)
    return _LONE.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)


def _ordered(value: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """Yield array indices first, in their order, then the other keys in the order in which they were added."""
    items = list(value.items())
    indices = [item for item in items if _is_index(item[0])]
    if indices:
        indices.sort(key=lambda item: int(item[0]))
        items = indices + [item for item in items if not _is_index(item[0])]
    return items


def _is_index(key: Any) -> bool:
    return isinstance(key, str) and _INDEX.fullmatch(key) is not None and int(key) <= _LAST_INDEX


def _number(number: int | float | Decimal) -> str:
    if isinstance(number, int) and -_EXACT <= number <= _EXACT:
        return int.__repr__(number)
    try:
        double = float(number)
    except OverflowError:
        return "null"
    if not math.isfinite(double):
        return "null"
    if double == 0:
        return "0"
    sign = "-" if double < 0 else ""
    mantissa, _, exponent = float.__repr__(abs(double)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    return sign + _decimal(digits.rstrip("0"), point)


def _decimal(digits: str, point: int) -> str:
    """Return `0.digits * 10**point`, as Number::toString writes it."""
    count = len(digits)
    if count <= point <= _DECIMAL:
        return digits + "0" * (point - count)
    if 0 < point <= _DECIMAL:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    mantissa = digits if count == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{mantissa}e{point - 1:+d}"

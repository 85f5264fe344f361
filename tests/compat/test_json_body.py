"""What programs put into messages, and how it went out when simplejson wrote it."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict, namedtuple
from decimal import Decimal
from enum import IntEnum
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssbfast.compat.ssb.json_body import dumps
from ssbfast.compat.ssb.muxrpc import MuxRPCAPIException
from ssbfast.compat.ssb.packet_stream import PacketStream, PSMessage, PSMessageType
from tests.compat.test_packet_stream import Connection
from tests.helpers.compat import packet_stream_pair

Old = namedtuple("Old", "id seq")  # as programs of 2017 write it


class Point(NamedTuple):
    x: Any
    y: Any = None


class Level(IntEnum):
    LOW = 1


class Text(str):
    __slots__ = ()


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Old("@x", 3), '{"id": "@x", "seq": 3}'),
        ([{"at": Point(1, (2, Point("é")))}], '[{"at": {"x": 1, "y": [2, {"x": "\\u00e9", "y": null}]}}]'),
        (Decimal("1.10"), "1.10"),
        ([Decimal("-0"), Decimal("1E+2"), Decimal(7)], "[-0, 1E+2, 7]"),
        ({Decimal("1.5"): 1, 2: 3, 2.5: Old(1, 2), None: 4, True: 5}, None),
        (SimpleNamespace(_asdict=lambda: {"a": Decimal(1)}), '{"a": 1}'),
        ({"a": [1, 2.5, None, True, "\u2028\x00"]}, '{"a": [1, 2.5, null, true, "\\u2028\\u0000"]}'),
        (OrderedDict(b=Level.LOW, a=Text("x")), '{"b": 1, "a": "x"}'),
        ((), "[]"),
        ({"a": {}, "b": [Decimal(0)]}, '{"a": {}, "b": [0]}'),
    ],
)
def test_as_simplejson(value: Any, text: str | None) -> None:
    if text is None:
        text = '{"1.5": 1, "2": 3, "2.5": {"id": 1, "seq": 2}, "null": 4, "true": 5}'
    assert dumps(value) == text
    assert PSMessage(PSMessageType.JSON, value, False, False).data == text.encode()


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (NAN, ValueError),
        ([{"a": -INFINITY}], ValueError),
        (Point(INFINITY), ValueError),
        ({NAN: 1}, ValueError),
        ([Decimal("NaN")], ValueError),
        ({Decimal("Infinity"): 1}, ValueError),
        (b"x", TypeError),
        ({"a": Point(b"x")}, TypeError),
        ({b"a": 1}, TypeError),
        ({(1, 2): Decimal(1)}, TypeError),
        ({1, 2}, TypeError),
        (object(), TypeError),
        (SimpleNamespace(_asdict=lambda: 5), TypeError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_what_cannot_be_sent_is_an_error_here(bad: Any, error: type[Exception]) -> None:
    """NaN went out, and a JavaScript peer dropped the connection."""
    connection = Connection()
    stream = PacketStream(connection)
    with pytest.raises(error) as caught:
        stream.send(bad)
    assert "'x'" not in str(caught.value)
    assert connection.output == [] and stream._event_map == {} and stream.req_counter == 1


def test_deep_and_circular_values() -> None:
    circle: list[Any] = [Decimal(1)]
    circle.append(circle)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for name in ("circle", "deep"):
        failed = False
        try:
            dumps(locals()[name])
        except ValueError:
            failed = True
        assert failed, name


async def test_a_method_whose_answer_cannot_be_sent_fails() -> None:
    async with packet_stream_pair() as talk:
        for bad in (NAN, {"a": b"x"}, {1}):
            talk.served.define("bad")(lambda connection, request, bad=bad: bad)  # type: ignore[misc]
            with pytest.raises(MuxRPCAPIException, match="the call failed"):
                await asyncio.wait_for(talk.api.call("bad", []).get_response(), 10)
        talk.served.define("good")(lambda connection, request: Old(Decimal("0.5"), 1))
        assert (await talk.api.call("good", []).get_response()).body == {"id": 0.5, "seq": 1}


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
keys = st.text() | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(keys, inner) | st.builds(tuple, st.lists(inner)),
    max_leaves=12,
)


@given(values)
def test_all_else_is_the_standard_librarys(value: Any) -> None:
    assert dumps(value) == json.dumps(value)


@given(values)
def test_both_ways_of_writing_are_one(value: Any) -> None:
    assert dumps([value, Decimal(1)]) == json.dumps([value, 1])

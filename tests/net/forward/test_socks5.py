"""The opening of a SOCKS5 connection: what is asked for, what is refused and how, in whatever pieces it comes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssbfast.net.forward.socks5 import Opening, Reply, Request, reply
from tests.helpers.socks import GREETING, request

WELCOME = b"\x05\x00"
V4 = b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50"
V6 = b"\x05\x01\x00\x04" + bytes(16) + b"\x00\x50"


def opened(*pieces: bytes) -> tuple[Opening, bytes]:
    opening = Opening()
    return opening, b"".join([opening.receive(piece) for piece in pieces])


@pytest.mark.parametrize(
    ("host", "port", "wanted"),
    [
        ("jellyfin.home.ssb", 80, Request("home", "jellyfin", 80)),
        ("home.ssb", 8096, Request("home", None, 8096)),
        ("HOME.SSB", 1, Request("home", None, 1)),
        ("git.home.ssb.", 65_535, Request("home", "git", 65_535)),
    ],
)
def test_what_a_program_wants(host: str, port: int, wanted: Request) -> None:
    opening, answer = opened(GREETING, request(host, port) + b"GET /")
    assert (answer, opening.request, opening.rest, opening.is_over) == (WELCOME, wanted, b"GET /", False)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (request("example.com"), Reply.NOT_ALLOWED),
        (request("localhost"), Reply.NOT_ALLOWED),
        (request("home.ssb.example.com"), Reply.NOT_ALLOWED),
        (request("homessb"), Reply.NOT_ALLOWED),
        (request(b"\xff\xfe.example"), Reply.NOT_ALLOWED),
        (request(""), Reply.NOT_ALLOWED),
        (V4, Reply.NOT_ALLOWED),
        (V6, Reply.NOT_ALLOWED),
        (request(".ssb"), Reply.UNREACHABLE),
        (request("ssb.ssb.ssb.ssb"), Reply.UNREACHABLE),
        (request(".home.ssb"), Reply.UNREACHABLE),
        (request("-.home.ssb"), Reply.UNREACHABLE),
        (request(b"\xc3\xa4.home.ssb"), Reply.UNREACHABLE),
        (request("h\0.ssb"), Reply.UNREACHABLE),
        (request("home.ssb", command=2), Reply.NO_COMMAND),
        (request("home.ssb", command=3), Reply.NO_COMMAND),
        (b"\x05\x01\x00\x02\x00", Reply.NO_ADDRESS_TYPE),
        (b"\x04", Reply.FAILURE),
    ],
)
def test_what_is_refused(asked: bytes, code: Reply) -> None:
    opening, answer = opened(GREETING, asked)
    assert answer == WELCOME + reply(code)
    assert opening.is_over and opening.request is None
    assert opening.receive(b"more") == b"" and not opening.rest


@pytest.mark.parametrize("data", [b"\x04\x01", b"GET / HTTP/1.1\r\n", b"\x00", b"CONNECT home.ssb:80 HTTP/1.1\r\n"])
def test_other_protocols_get_no_answer(data: bytes) -> None:
    opening, answer = opened(data)
    assert answer == b"" and opening.is_over


@pytest.mark.parametrize("methods", [b"", b"\x01", b"\x02\x80"])
def test_a_program_that_wants_to_authenticate_is_refused(methods: bytes) -> None:
    opening, answer = opened(bytes((5, len(methods))) + methods)
    assert answer == b"\x05\xff" and opening.is_over


def test_no_authentication_is_taken_among_others() -> None:
    assert opened(b"\x05\x03\x02\x01\x00")[1] == WELCOME


STREAMS = st.one_of(
    st.binary(max_size=40),
    st.builds(lambda asked, rest: GREETING + asked + rest, st.sampled_from((V4, V6)), st.binary(max_size=4)),
    st.builds(
        lambda host, port, command, rest: GREETING + request(host, port, command) + rest,
        st.one_of(st.sampled_from((b"home.ssb", b"a.b.ssb", b"x.y")), st.binary(max_size=255)),
        st.integers(0, 65_535),
        st.integers(0, 4),
        st.binary(max_size=8),
    ),
    st.binary(max_size=20).map(lambda data: GREETING + b"\x05" + data),
)


@given(STREAMS, st.lists(st.integers(0, 300), max_size=6))
def test_pieces_give_what_the_whole_gives(data: bytes, cuts: list[int]) -> None:
    whole, answer = opened(data)
    edges = sorted({0, *(min(cut, len(data)) for cut in cuts), len(data)})
    for pieces in ([data[i : i + 1] for i in range(len(data))], [data[a:b] for a, b in itertools.pairwise(edges)]):
        split, same = opened(*pieces)
        assert (same, split.request, split.rest) == (answer, whole.request, whole.rest)
        assert split.is_over == whole.is_over
        assert len(split._data) <= 262, "it keeps no more than a greeting and a request"

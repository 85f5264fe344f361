"""Direct paths: what the other end of a session, a stranger's datagram or a reflector says."""

from __future__ import annotations

import socket
from typing import Any, Final, cast

from ssbfast import limits
from ssbfast.direct.stun_client import StunClient
from ssbfast.direct.udp import UdpSocket
from ssbfast.errors import MuxRPCError
from ssbfast.net.stun_server import answer_to, codec, is_request
from ssbfast.wire.direct.keys import DirectKeys, Role
from ssbfast.wire.direct.port_mapping import MappingClient, Protocol
from ssbfast.wire.direct.punch.candidates import (
    PORTS,
    Candidates,
    Surroundings,
    admit,
    canonical_host,
    is_sendable,
    parse_whereabouts,
)
from ssbfast.wire.direct.punch.probes import PROBE, Probes
from ssbfast.wire.direct.signaling import (
    Continue,
    parse_answer,
    parse_continue,
    parse_offer,
    parse_stand_by,
    parse_sync,
)
from ssbfast.wire.muxrpc_body import decode_json, encode_json
from tests.fuzz.parsers.target import accepted, json_of, text_of

EXPORT_KEY: Final = b"e" * 32
PROBES: Final = Probes(DirectKeys.derive(EXPORT_KEY, Role.TARGET, 1))
CALLER: Final = Probes(DirectKeys.derive(EXPORT_KEY, Role.CALLER, 1))
REFLECTOR: Final = ("192.0.2.1", 8008)
_AROUND: Final = Surroundings()


def direct_calls(data: bytes) -> None:
    """Each call is read, and what was read is said again and read the same; or MuxRPCError."""
    value = json_of(data)
    for parse in (parse_offer, parse_sync, parse_stand_by, parse_continue):
        for args in (value, [value]):
            found: Any = accepted(lambda parse=parse, args=args: parse(args), MuxRPCError)  # type: ignore[misc]
            if found is not None:
                said = found.as_args() if isinstance(found, Continue) else [found.as_json()]
                assert parse(decode_json(encode_json(said))) == found
    answer = accepted(lambda: parse_answer(value), MuxRPCError)
    if answer is not None:
        again = parse_answer(decode_json(encode_json(cast(Any, answer.as_json()))))
        assert (again.certificate, again.whereabouts) == (answer.certificate, answer.whereabouts)
        assert abs(again.took - answer.took) < 1e-5


def whereabouts(data: bytes) -> None:
    """Never an error; at most 8 candidates, of canonical literals and high ports; public ones only are sent to."""
    found = parse_whereabouts(json_of(data))
    assert len(found.candidates) <= limits.CANDIDATES
    for item in found.candidates:
        assert canonical_host(item.host) == item.host and item.port in PORTS
    assert parse_whereabouts(found.as_json()) == found
    for item in admit(found, _AROUND):
        assert is_sendable(item.host, item.port)
    assert isinstance(found, Candidates) and canonical_host(text_of(data)) in (None, canonical_host(text_of(data)))


def probes(data: bytes) -> None:
    """Authentic is only what the other end's key has made: that very check or answer."""
    found = PROBES.open(data)
    if found is not None:
        assert len(data) == PROBE and data in (CALLER.check(found.token), CALLER.answer(found.token))


def stun_request(data: bytes) -> None:
    """A request is answered or not, never with an error, and not at more than 2.2 times its length."""
    if is_request(data):
        for source in (("192.0.2.7", 4096), ("2001:db8::7", 4096)):
            answer = answer_to(codec(), data, source)
            assert answer is None or (len(answer) in (32, 44) and answer[8:20] == data[8:20])


class _Udp:
    """A socket that keeps what is sent."""

    family = socket.AF_INET

    def __init__(self) -> None:
        self.stun: StunClient | None = None

    def send(self, data: bytes, to: tuple[str, int]) -> bool:
        return True


def stun_answer(data: bytes) -> None:
    """Any datagram in a reflector's place: an IP literal and a port for the number that was asked, or nothing."""
    client = StunClient(cast(UdpSocket, _Udp()))
    answer = _Future()
    client._asked[data[8:20], REFLECTOR] = cast(Any, answer)
    client(data, REFLECTOR)
    client(data, ("192.0.2.2", 8008))
    if answer.value is not None:
        assert canonical_host(answer.value[0]) is not None and 0 <= answer.value[1] <= 65_535


class _Future:
    """As much of a future as one answer needs."""

    value: tuple[str, int] | None = None

    def done(self) -> bool:
        return self.value is not None

    def set_result(self, value: tuple[str, int]) -> None:
        assert self.value is None, "answered twice"
        self.value = value


def router_answer(data: bytes) -> None:
    """Any two datagrams of a router, the first as long as the first byte says: an IPv4 address and a port, or nothing.

    A mapping by PCP needs the nonce; and nothing makes more than three datagrams of ours.
    """
    pcp = MappingClient("192.168.1.5", 40_000, bytes(range(12)), 0.0)
    nat_pmp = MappingClient("192.168.1.5", 40_000, bytes(range(12)), 0.0)
    nat_pmp.receive(b"\0\x80\0\1", 0.0)
    for client in (pcp, nat_pmp):
        client.datagrams()
        for datagram in (data[1 : 1 + data[0]], data[1 + data[0] :]) if data else ():
            client.receive(datagram, 0.0)
        assert len(client.datagrams()) <= 3
        if client.mapped is not None:
            assert ":" not in client.mapped.host and canonical_host(client.mapped.host) == client.mapped.host
            assert 0 < client.mapped.port <= 65_535 and client.mapped.seconds > 0 and not client.is_over
            assert client is nat_pmp or bytes(range(12)) in data or client.protocol is Protocol.NAT_PMP
            due = client.timer()
            assert due is not None and 0.0 < due <= limits.MAPPING_SECONDS_MOST


TARGETS: Final = (direct_calls, whereabouts, probes, stun_request, stun_answer, router_answer)

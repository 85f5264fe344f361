"""A room's reflectors, asked from behind NATs."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from aioice import stun

from tests.nat.kinds import Kind
from tests.nat.lab import ROOM, ROOM6, NatLab
from tests.nat.neighbours import PORT, SECOND_PORT, lab_programs

pytestmark = [pytest.mark.nat, pytest.mark.timeout(120)]


def ask(lab: NatLab, place: str, local: int, *servers: tuple[str, int]) -> list[tuple[str, int]]:
    """Where each of them sees one socket."""
    seen = []
    with lab.socket(place, socket.AF_INET6 if ":" in servers[0][0] else socket.AF_INET) as sock:
        sock.settimeout(30)
        sock.bind(("", local))
        for server in servers:
            request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
            sock.sendto(bytes(request), server)
            data, source = sock.recvfrom(2048)
            assert source[:2] == server
            answer = stun.parse_message(data)
            assert answer.transaction_id == request.transaction_id
            seen.append(answer.attributes["XOR-MAPPED-ADDRESS"])
    return seen


@pytest.mark.parametrize("kind", ["public", "full-cone", "port", "symmetric"])
def test_a_room_at_all_addresses_answers_from_the_one_that_was_asked(kind: Kind, tmp_path: Path) -> None:
    """NATs would keep out the answer of another."""
    servers = [(ROOM[0], PORT), (ROOM[0], SECOND_PORT), (ROOM[1], PORT)]
    with lab_programs(tmp_path, kind, "port", b6="open") as street:
        street.room()
        seen = ask(street.lab, "A", 40_000, *servers)
        assert {host for host, _ in seen} == {street.lab.public_address("A")}
        assert len({port for _, port in seen}) == (3 if kind == "symmetric" else 1)
        assert ask(street.lab, "B", 40_000, (ROOM6, PORT)) == [(street.lab.address6("B"), 40_000)]

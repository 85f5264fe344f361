"""Routers that map ports on request, by PCP or UPnP: peers behind symmetric NATs meet directly, without a search.

A few pairs run always; the whole matrix, with either router and every mix, when SSBFAST_TEST_LAB=all.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any, Final, get_args

import pytest

from ssbfast.wire.direct.port_mapping import GREETING, MappingClient, Protocol
from tests.helpers.processes import PATIENCE
from tests.nat.kinds import Kind
from tests.nat.lab import nat_lab
from tests.nat.mapping_router import PORT, MappingRouter, Router
from tests.nat.mixes import ALL, Mix, mixed
from tests.nat.neighbours import Blob, LabPrograms, lab_programs
from tests.nat.test_doctor import doctor, works

pytestmark = [pytest.mark.nat, pytest.mark.timeout(240)]

TELLING: Final[list[tuple[Kind, Kind, Router]]] = [
    ("symmetric", "port", "NA"),
    ("port-open", "symmetric", "NA"),
    ("symmetric", "symmetric", "NB"),
]
_KINDS: Final = [kind for kind in get_args(Kind) if kind != "blocked"]
MATRIX: Final[list[tuple[Kind, Kind, Router]]] = [
    (a, b, maps) for a in _KINDS for b in _KINDS for maps in get_args(Router) if (a if maps == "NA" else b) != "public"
]
PAIRS: Final = MATRIX if ALL else TELLING


def mapping_told(street: LabPrograms) -> dict[str, dict[str, Any]]:
    """What the doctor tells of A's router, by event; on a busy machine it may give up before the router answers."""
    until = time.monotonic() + PATIENCE
    while True:
        told = {event["event"]: event for event in doctor(street, "--room", street.address())}
        if told["port_mapping"]["protocol"] is not None or time.monotonic() > until:
            return told


def maps_ports(street: LabPrograms, name: Router, *, upnp: bool = False) -> MappingRouter:
    return MappingRouter(street.lab, name, street.data, upnp=upnp)


@mixed("a b maps", PAIRS)
def test_one_router_that_maps_is_enough(a: Kind, b: Kind, maps: Router, mix: Mix, tmp_path: Path) -> None:
    with lab_programs(tmp_path, a, b, mix=mix) as street:
        router = maps_ports(street, maps)
        street.room()
        listener = street.listen("A")
        caller, port = street.connect("B")
        path = street.until_path(caller, "B", port)
        print(f"mapped {mix} {maps} {a} {b} {path['path']} {path['took_ms']} ms, rtt {path['rtt_ms']}")
        assert path["path"] == "direct"
        assert len(router.mappings()) == 1
        blob, direct = Blob(1_000_000), street.direct()
        assert street.fetch("B", port, blob)[:2] == (blob.size, blob.digest)
        assert street.direct() - direct > blob.size
        for program in (caller, listener):
            program.process.send_signal(signal.SIGINT)
        router.until(0)


def test_a_router_that_speaks_upnp_alone_is_enough(tmp_path: Path) -> None:
    with lab_programs(tmp_path, "symmetric", "port") as street:
        router = maps_ports(street, "NA", upnp=True)
        street.room()
        told = mapping_told(street)
        assert told["port_mapping"]["protocol"] == "upnp"
        assert told["port_mapping"]["address"] == street.lab.public_address("A")
        router.until(0)
        listener = street.listen("A")
        caller, port = street.connect("B")
        assert street.until_path(caller, "B", port)["path"] == "direct"
        assert len(router.mappings()) == 1
        for program in (caller, listener):
            program.process.send_signal(signal.SIGINT)
        router.until(0)


def test_no_router_is_asked_by_those_that_do_not_want_it(tmp_path: Path) -> None:
    with lab_programs(tmp_path, "port", "port") as street:
        routers = [maps_ports(street, name) for name in get_args(Router)]
        street.room()
        street.listen("A", "--no-port-mapping")
        caller, port = street.connect("B", "--no-port-mapping")
        assert street.until_path(caller, "B", port)["path"] == "direct"
        assert [router.mappings() for router in routers] == [[], []]


def test_the_doctor_says_what_the_router_does(tmp_path: Path) -> None:
    with lab_programs(tmp_path, "symmetric", "port") as street:
        router = maps_ports(street, "NA")
        street.room()
        told = doctor(street, "--room", street.address())
        assert [event["protocol"] for event in told if event["event"] == "port_mapping"] == ["pcp"]
        assert [event["address"] for event in told if event["event"] == "port_mapping"] == [
            street.lab.public_address("A")
        ]
        assert (works(told, "port"), works(told, "symmetric")) == ("direct", "direct")
        router.until(0)
        told = doctor(street, "--room", street.address(), "--no-port-mapping")
        assert not [event for event in told if event["event"] == "port_mapping"]
        assert works(told, "symmetric") == "relay"


def test_nat_pmp_as_miniupnpd_speaks_it(tmp_path: Path) -> None:
    with nat_lab("symmetric", "port") as lab:
        router = MappingRouter(lab, "NA", tmp_path)
        with lab.socket("A") as sock:
            sock.settimeout(10)
            sock.connect((lab.router_address("NA"), PORT))
            client = MappingClient(lab.address("A"), 40_000, bytes(12), 0.0)
            client.datagrams()
            client.receive(b"\0\x80\0\1" + bytes(4), 0.0)  # as a router says that knows nothing of PCP
            requests = client.datagrams()
            assert requests[0] == GREETING
            for request in requests:
                sock.send(request)
                client.receive(sock.recv(2_000), 0.0)
            assert client.protocol is Protocol.NAT_PMP and client.mapped is not None
            assert client.mapped.host == lab.public_address("A")
            assert f"dport {client.mapped.port} dnat" in router.mappings()[0]
            client.release()
            sock.send(client.datagrams()[0])
            router.until(0)

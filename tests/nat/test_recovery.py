"""Attempts that go wrong, and the next ones that do not."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path

import pytest

from tests.helpers.processes import PATIENCE
from tests.nat.mixes import Mix, mixed
from tests.nat.neighbours import Blob, Program, lab_programs

pytestmark = [pytest.mark.nat, pytest.mark.timeout(240)]


def udp_ports(program: Program) -> set[int]:
    """Of the IPv4 sockets that hear everybody, in the namespace that a program runs in."""
    lines = Path(f"/proc/{program.process.pid}/net/udp").read_text().splitlines()[1:]
    ends = [line.split()[1:3] for line in lines]
    return {int(local.rpartition(":")[2], 16) for local, remote in ends if remote == "00000000:0000"}


def first_port(program: Program) -> int:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if ports := udp_ports(program):
            return ports.pop()
        time.sleep(0.002)
    raise TimeoutError("it opens no socket")


def datagram(source: tuple[str, int], to: tuple[str, int], data: bytes) -> bytes:
    """An IPv4 packet in somebody else's name; the kernel fills in the IP checksum, and UDP needs none."""
    udp = struct.pack("!HHHH", source[1], to[1], 8 + len(data), 0) + data
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0)
    return head + socket.inet_aton(source[0]) + socket.inet_aton(to[0]) + udp


@mixed("", [()])
def test_an_early_packet_spoils_one_attempt_and_not_the_next(mix: Mix, tmp_path: Path) -> None:
    """A packet as if from A reaches B's NAT before B has sent any: that NAT gives what B sends to A another port.

    Delays are long here: there are 0.8 s in which the packet is early.
    """
    with lab_programs(tmp_path, "port", "port-open", delay=0.1, mix=mix) as street:
        street.room()
        listener = street.listen("A")
        caller, port = street.connect("B")
        a, b = first_port(listener), first_port(caller)
        to = (street.lab.public_address("B"), b)
        with street.lab.socket("S", kind=socket.SOCK_RAW, protocol=socket.IPPROTO_RAW) as forger:
            forger.sendto(datagram((street.lab.public_address("A"), a), to, b"early"), (to[0], 0))
        path = caller.event("path", path="direct")  # on a busy machine the second attempt may fail as well
        print(f"recovered {path['path']} {path['took_ms']} ms")
        assert b not in udp_ports(caller)  # that attempt's socket is closed: it was another that met
        street.echo("B", port, b"hello")


@mixed("", [()])
def test_a_way_too_narrow_for_long_datagrams_gets_shorter_ones(mix: Mix, tmp_path: Path) -> None:
    """A router swallows what is longer than 1,300 bytes and says nothing: probes pass, the first flight does not."""
    with lab_programs(tmp_path, "port", "port", mix=mix) as street:
        swallow = "insert rule ip gate through meta l4proto udp ip length > 1300 drop"
        street.lab.run("NA", ["nft", *swallow.split()])
        street.room()
        street.listen("A")
        caller, port = street.connect("B")
        path = street.until_path(caller, "B", port)
        print(f"narrow {path['path']} {path['took_ms']} ms")
        assert path["path"] == "direct"
        blob, relayed = Blob(1_000_000), street.relayed()
        assert street.fetch("B", port, blob)[:2] == (blob.size, blob.digest)
        assert street.relayed() - relayed < blob.size // 10

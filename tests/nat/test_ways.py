"""Which way a session takes: on one LAN, over IPv6, when told which, and what nobody hears who is not welcome."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssbfast.store.peer_store import Store
from tests.nat.kinds import Kind, Kind6
from tests.nat.lab import Count, NatLab
from tests.nat.mixes import Mix, mixed
from tests.nat.neighbours import Blob, LabPrograms, Program, lab_programs

pytestmark = [pytest.mark.nat, pytest.mark.timeout(240)]


def datagrams(lab: NatLab) -> dict[str, int]:
    """UDP packets that each side has sent, wherever to."""
    sent = {"A": 0, "B": 0}
    counts: dict[tuple[str, str], Count] = {(one, other): count for (one, other), count in lab.counts().items()}
    for (sender, _), count in counts.items():
        if sender in sent:
            sent[sender] += count.udp_packets
    return sent


def becomes_direct(street: LabPrograms) -> tuple[Program, int]:
    """Both ends run, and say that they have met directly."""
    listener = street.listen("A")
    caller, port = street.connect("B")
    assert street.until_path(caller, "B", port)["path"] == "direct"
    assert listener.event("path")["path"] == "direct"
    return caller, port


@mixed("kind", ["port", "symmetric"])
def test_on_one_lan_nothing_leaves_it(kind: Kind, mix: Mix, tmp_path: Path) -> None:
    """There is no hairpin: nothing but their own addresses leads from one to the other."""
    with lab_programs(tmp_path, kind, same_lan=True, mix=mix) as street:
        street.room()
        _, port = becomes_direct(street)
        blob, relayed, before = Blob(1_000_000), street.relayed(), datagrams(street.lab)
        assert street.fetch("B", port, blob)[:2] == (blob.size, blob.digest)
        assert street.relayed() - relayed < blob.size // 10
        assert datagrams(street.lab) == before


@mixed("a b", [("public", "public"), ("port", "public"), ("public", "port"), ("port", "port")])
def test_in_a_routed_private_network(a: Kind, b: Kind, mix: Mix, tmp_path: Path) -> None:
    """A campus, a VPN: the room and both ends are inside, at 10.9…, 10.1… and 10.2…, some of them behind NATs."""
    with lab_programs(tmp_path, a, b, routed=True, mix=mix) as street:
        street.room()
        _, port = becomes_direct(street)
        blob, relayed = Blob(500_000), street.relayed()
        assert street.fetch("B", port, blob)[:2] == (blob.size, blob.digest)
        assert street.relayed() - relayed < blob.size // 10


@mixed("a6 b6", [("firewall", "firewall"), ("open", "firewall")])
def test_ipv6_where_ipv4_is_hopeless(a6: Kind6, b6: Kind6, mix: Mix, tmp_path: Path) -> None:
    """The one way is IPv6: NATs for IPv4 are symmetric, and firewalls let in what was asked for."""
    with lab_programs(tmp_path, "symmetric", "symmetric", a6=a6, b6=b6, mix=mix) as street:
        street.room()
        _, port = becomes_direct(street)
        blob = Blob(500_000)
        assert street.fetch("B", port, blob)[:2] == (blob.size, blob.digest)


def test_path_tunnel_sends_no_datagram(tmp_path: Path) -> None:
    with lab_programs(tmp_path, "public", "public") as street:
        street.room()
        listener = street.listen("A", "--path", "tunnel")
        caller, port = street.connect("B", "--path", "tunnel")
        blob = Blob(2_000_000)
        assert street.fetch("B", port, blob)[:2] == (blob.size, blob.digest)
        assert datagrams(street.lab) == {"A": 0, "B": 0}
        assert not caller.said("path") and not listener.said("path")


@pytest.mark.parametrize("who", ["A", "B"])
def test_path_tunnel_at_one_end_is_enough(who: str, tmp_path: Path) -> None:
    """And the end that wants none sends nothing, whatever the other would like."""
    with lab_programs(tmp_path, "public", "public") as street:
        street.room()
        street.listen("A", "--path", "tunnel" if who == "A" else "auto")
        _, port = street.connect("B", "--path", "tunnel" if who == "B" else "auto")
        blob = Blob(2_000_000)
        assert street.fetch("B", port, blob)[:2] == (blob.size, blob.digest)
        assert datagrams(street.lab)[who] == 0
        assert street.direct() == 0


@mixed("", [()])
def test_path_direct_holds_what_comes_until_it_is_direct(mix: Mix, tmp_path: Path) -> None:
    with lab_programs(tmp_path, "port", "port", mix=mix) as street:
        room = street.room()
        street.listen("A", "--path", "direct")
        caller, port = street.connect("B", "--path", "direct")
        blob = Blob(1_000_000)
        assert street.fetch("B", port, blob)[:2] == (blob.size, blob.digest)
        assert caller.event("path")["path"] == "direct"
        assert room.event("tunnel_closed")["bytes"] < 50_000
        assert street.relayed() < blob.size // 10


def test_path_direct_ends_when_there_is_none(tmp_path: Path) -> None:
    with lab_programs(tmp_path, "symmetric", "symmetric") as street:
        street.room()
        street.listen("A")
        caller, port = street.connect("B", "--path", "direct")
        with street.dial("B", port) as held:
            held.sendall(b"echo\nhello")
            assert caller.wait() == 1
            with pytest.raises((ConnectionError, ValueError)):
                if held.recv(1) == b"":
                    raise ValueError("closed")
        lines = caller.stderr.splitlines()
        assert len(lines) == 1 and "no direct path" in lines[0]


@pytest.mark.parametrize("how", ["stranger", "blocked"])
def test_who_is_not_welcome_learns_no_address(how: str, tmp_path: Path) -> None:
    """The target sends no datagram for him: it asks no reflector and answers no offer. Nor does he for the target:
    neither has proven itself to the other before there is a session."""
    with lab_programs(tmp_path, "port", "public") as street:
        room = street.room()
        listener = street.listen("A")
        with Store(street.path("A")) as store:
            if how == "blocked":
                store.block(street.id("B"))
            else:
                store.unfollow(street.id("B"))
        street.connect("B")
        assert listener.event("denied")["origin"] == str(street.id("B"))
        assert datagrams(street.lab) == {"A": 0, "B": 0}
        assert street.direct() == 0
        assert not listener.said("path") and not room.said("tunnel_closed")


def test_who_is_let_in_although_nobody_follows_him_learns_no_address_either(tmp_path: Path) -> None:
    """With the policy `everyone` a stranger gets his tunnel, and stays in it."""
    with lab_programs(tmp_path, "public", "public") as street:
        street.room()
        street.listen("A", "--policy", "everyone")
        with Store(street.path("A")) as store:
            store.unfollow(street.id("B"))
        _, port = street.connect("B")
        blob = Blob(2_000_000)
        assert street.fetch("B", port, blob)[:2] == (blob.size, blob.digest)
        assert datagrams(street.lab)["A"] == 0
        assert street.direct() == 0

"""`ssbfast doctor`: say what this machine's network allows, and which peers can be reached directly."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ssbfast.cli.options import SECRET, peer_options, read_secret, several
from ssbfast.cli.path_options import port_mapping_option, reflector
from ssbfast.cli.peer_options import RoomAddress, in_room, room_option
from ssbfast.cli.peer_output import PeerWords
from ssbfast.cli.terminal_text import progress
from ssbfast.errors import SSBError
from ssbfast.ids import NetworkId
from ssbfast.pasted.hosts import show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ssbfast.cli.output import Event, Printer
    from ssbfast.client.nat_diagnosis import Family, Nat, Router
    from ssbfast.direct.udp import Address
    from ssbfast.keys import Keypair
    from ssbfast.net.endpoints import Endpoint

_NATS: Final = {
    "none": "no NAT: the world sees your own address",
    "easy": "a NAT that gives one port for all destinations: good for direct paths",
    "hard": "a NAT with another port for each destination (symmetric): hard for direct paths",
    "unknown": "a NAT; with one reflector alone its kind cannot be told (give another with --stun), so --birthday does"
    " not search",
    "silent": "no answer: UDP is blocked, or the reflectors are away",
    "unasked": "not asked: there is no reflector (give one with --stun)",
}

_OTHERS: Final = {
    "public": "without NAT",
    "full-cone": "behind a NAT that lets in every sender",
    "address": "behind a NAT that lets in the addresses that it has sent to",
    "port": "behind a NAT that lets in the addresses and ports that it has sent to",
    "port-open": "behind such a NAT that early packets confuse",
    "symmetric": "behind a symmetric NAT",
    "blocked": "without UDP",
    "lan": "on your own LAN",
    "ipv6": "with IPv6",
}

_WORKS: Final = {
    "direct": "direct",
    "birthday": "direct if both peers use --birthday, else by the room's relay",
    "relay": "by the room's relay",
    "perhaps": "cannot be told",
}


@click.command()
@room_option()
@click.option(
    "--stun",
    multiple=True,
    metavar="HOST:PORT",
    callback=several(reflector),
    help="Also ask this STUN server; repeatable. Two reflectors show the kind of NAT.",
)
@port_mapping_option
@peer_options
def doctor(
    rooms: tuple[RoomAddress, ...],
    stun: tuple[Endpoint, ...],
    no_port_mapping: bool,
    data: Path,
    network: NetworkId,
    as_json: bool,
) -> int:
    """Show what your network allows: UDP, the kind of NAT, and which peers you reach directly.

    It also says which engine direct paths have on this machine.

    It joins each room without being listed there and asks its reflectors. The report contains your addresses: think
    before you send it to others.

    \b
    Example:
      ssbfast doctor --room net:room.example:8008~shs:KEY --stun stun.example:3478
    """
    from ssbfast.cli.runner import run_until_stopped

    me = _identity(data)

    async def work(printer: Printer) -> int:
        from ssbfast.client.engine_diagnosis import find_engine
        from ssbfast.client.nat_diagnosis import ask_router, diagnose, find

        engine = await find_engine()
        reflectors = await find(stun)
        events: list[dict[str, Any]] = []
        for room in dict.fromkeys(rooms):
            found = await _reflectors(me, room, network)
            reflectors += found
            shown = [show(*address) for address in found]
            events.append(
                {"event": "room", "portal": str(room.portal), "reflectors": shown, "is_here": _is_here(found)}
            )
        with progress("Asking how your network looks from outside"):
            is_here = _is_here(reflectors)
            router = None
            if no_port_mapping or is_here:
                v4, v6 = await diagnose(reflectors, loopback=is_here)
            else:
                (v4, v6), router = await asyncio.gather(diagnose(reflectors), ask_router())
        events += [*_findings(v4, v6, router), {"event": "engine", **engine.as_json()}]
        await printer.report(events, _words)
        return 0

    return run_until_stopped(work, as_json=as_json, words=PeerWords())


def _identity(data: Path) -> Keypair:
    from ssbfast.keys import Keypair

    return read_secret(data / SECRET) if os.path.lexists(data / SECRET) else Keypair.generate()


async def _reflectors(me: Keypair, room: RoomAddress, network: NetworkId) -> list[Address]:
    from ssbfast.client.room_client import RoomClient

    async with RoomClient(me, network=network) as client:
        try:
            joined = await client.join(room.text, announce=False, attendants=False, stay=False)
        except SSBError as error:
            raise in_room(room, error) from error
        return list(joined.reflectors)


def _is_here(reflectors: list[Address]) -> bool:
    """Return whether all of them are on this very machine: then its loopback addresses are what they see."""
    return bool(reflectors) and all(host.startswith("127.") or host == "::1" for host, _ in reflectors)


def _findings(v4: Family, v6: Family, router: Router | None) -> list[dict[str, Any]]:
    from ssbfast.client.nat_diagnosis import outlook

    events: list[dict[str, Any]] = []
    for family in (v4, v6):
        events.append({"event": "network", **family.as_json()})
        for kind, address in family.candidates():
            events.append({"event": "candidate", "kind": kind, "address": address})
    if router is not None:
        events.append({"event": "port_mapping", **router.as_json()})
    maps = router is not None and router.host is not None
    for other, works in outlook(v4.nat, maps=maps).items():
        events.append({"event": "outlook", "other": other, "works": works.value})
    events.append({"event": "outlook", "other": "lan", "works": "direct"})
    events.append({"event": "outlook", "other": "ipv6", "works": _over_v6(v6.nat)})
    return events


def _over_v6(nat: Nat) -> str:
    """Return IPv6's outlook. Firewalls there are stateful and change no ports: punching opens them, if IPv6 works."""
    return {"none": "direct", "easy": "direct", "silent": "relay"}.get(nat.value, "perhaps")


def _router_words(protocol: str | None, address: str | None, asked: Sequence[str]) -> str:
    if protocol is None:
        if "upnp" in asked:
            return "Your router maps no ports (it speaks neither PCP, NAT-PMP nor UPnP, or that is switched off)"
        return (
            "Your router maps no ports (it speaks neither PCP nor NAT-PMP, or that is switched off)\n"
            "  perhaps it speaks UPnP: pip install 'ssbfast[upnp]'"
        )
    name = {"pcp": "PCP", "nat-pmp": "NAT-PMP", "upnp": "UPnP"}[protocol]
    if address is None:
        return f"Your router speaks {name}, but maps no port that the world can reach"
    return f"Your router maps ports ({name}) at {address}: peers can reach you there whatever the kind of its NAT"


def _engine_words(event: Event) -> str:
    if event["engine"] is None:
        return f"No direct paths on this machine: {event['reason']}"
    if event["engine"] == "aioquic":
        return f"Direct paths are slow on this machine, by aioquic alone: {event['reason']}"
    line = f"Direct paths go by the native engine ({event['kernel']})"
    told = [
        f"{name} {'works' if works else 'is not to be had'}"
        for name, works in (("UDP_SEGMENT", event["segment"]), ("UDP_GRO", event["gro"]))
        if works is not None
    ]
    return "\n  ".join([line, f"many datagrams in one call: {', '.join(told)}"] if told else [line])


def _words(event: Event) -> str:
    match event:
        case {"event": "room", "portal": portal, "reflectors": reflectors}:
            here = "\n  it is on this very machine, and knows nothing of your network" if event["is_here"] else ""
            return f"Room {portal}\n  reflectors: {', '.join(reflectors) or 'none'}{here}"
        case {"event": "candidate", "kind": kind, "address": address}:
            return f"  {kind:9} {address}"
        case {"event": "port_mapping", "protocol": protocol, "address": address, "asked": asked}:
            return _router_words(protocol, address, asked)
        case {"event": "outlook", "other": other, "works": works}:
            return f"A peer {_OTHERS[other]}: {_WORKS[works]}"
        case {"event": "engine"}:
            return _engine_words(event)
    lines = [f"IPv{event['family']}: {_NATS[event['nat']]} ({event['answered']} of {event['asked']} answered)"]
    if event["keeps_port"] is not None and event["nat"] != "none":
        lines.append(f"  your port is {'kept' if event['keeps_port'] else 'changed'}")
    if event["hairpin"] is not None:
        lines.append(f"  two peers behind it {'can' if event['hairpin'] else 'cannot'} use its outer address (hairpin)")
    return "\n".join(lines)

"""What makes a router of the lab the NAT, or the firewall, that its name says: rules for nft.

====================  ===========================================  ==============================================
kind                  mapping (what the world sees)                filtering (what of the world gets in)
====================  ===========================================  ==============================================
public                no NAT: the host's own address               everything
full-cone             one port for all destinations                everything
address               the same                                     from addresses that the host has sent to
port                  the same                                     from addresses and ports that it has sent to
port-open             the same, but an early packet from somebody  the same; what is refused is answered by the
                      whom we send to later moves our port         router, whose conntrack remembers it
symmetric             another port for each destination            from addresses and ports that it has sent to
blocked               UDP never passes; TCP does                   nothing
====================  ===========================================  ==============================================

What is refused by `port` is dropped before conntrack confirms it, and so forgotten at once; `port-open` accepts it as
the router's own. For IPv6: `open` (everything passes), `firewall` (inside speaks first), None (there is none).
"""

from __future__ import annotations

from typing import Final, Literal, get_args

Kind = Literal["public", "full-cone", "address", "port", "port-open", "symmetric", "blocked"]
Kind6 = Literal["open", "firewall"] | None

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

_DYNAMIC: Final = "udp dport 1024-65535 dnat to"
"""The first thousand ports stay the router's own."""


def rules(kind: Kind, kind6: Kind6, inside: str) -> str:
    """For `nft -f`. Devices: `lan` and `wan`; inside: the host that unasked packets are for."""
    return "\n".join([_translation(kind, inside), _filter(kind), _filter6(kind, kind6)])


def _translation(kind: Kind, inside: str) -> str:
    if kind == "public":
        return ""
    whom = {"full-cone": "", "address": "ip saddr @spoken"}
    let_in = f'iifname "wan" {whom[kind]} {_DYNAMIC} {inside}' if kind in whom else ""
    hide = "masquerade fully-random" if kind == "symmetric" else "masquerade"
    return f"""
table ip translation {{
    set spoken {{ type ipv4_addr; flags dynamic,timeout; timeout 2m; }}
    chain spoken_to {{
        type filter hook forward priority 10; policy accept;
        iifname "lan" oifname "wan" meta l4proto udp update @spoken {{ ip daddr }}
    }}
    chain incoming {{
        type nat hook prerouting priority -100; policy accept;
        {let_in}
    }}
    chain outgoing {{
        type nat hook postrouting priority 100; policy accept;
        oifname "wan" {hide}
    }}
}}"""


def _filter(kind: Kind) -> str:
    if kind == "public":
        return ""
    router = "accept" if kind == "port-open" else "drop"
    return f"""
table ip gate {{
    chain through {{
        type filter hook forward priority 0; policy drop;
        {"meta l4proto udp drop" if kind == "blocked" else ""}
        ct state established,related accept
        ct status dnat accept
        iifname "lan" oifname "wan" accept
    }}
    chain to_the_router {{
        type filter hook input priority 0; policy accept;
        iifname "wan" ct state new {router}
    }}
}}"""


def _filter6(kind: Kind, kind6: Kind6) -> str:
    if kind6 is None:
        return ""
    outside = "accept" if kind6 == "open" else "drop"
    return f"""
table ip6 gate {{
    chain through {{
        type filter hook forward priority 0; policy {outside};
        {"meta l4proto udp drop" if kind == "blocked" else ""}
        ct state established,related accept
        iifname "lan" oifname "wan" accept
    }}
}}"""

"""A router of the lab that speaks PCP and NAT-PMP, or UPnP alone: miniupnpd.

It has chains of its own beside those of `kinds.py`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from tests.helpers.require import require

if TYPE_CHECKING:
    from tests.nat.lab import NatLab

PORT: Final = 5351
_SECONDS: Final = 30.0

_CHAINS: Final = """
table inet mapping {
    chain miniupnpd { }
    chain prerouting_miniupnpd { }
    chain postrouting_miniupnpd { }
    chain forward { type filter hook forward priority 5; policy accept; jump miniupnpd; }
    chain prerouting { type nat hook prerouting priority -100; policy accept; jump prerouting_miniupnpd; }
    chain postrouting { type nat hook postrouting priority 90; policy accept; jump postrouting_miniupnpd; }
}
"""

_CONFIGURATION: Final = """
ext_ifname=wan
listening_ip=lan
enable_natpmp={pcp}
enable_upnp={upnp}
secure_mode=yes
system_uptime=yes
min_lifetime=120
max_lifetime=3600
upnp_table_name=mapping
upnp_nat_table_name=mapping
upnp_forward_chain=miniupnpd
upnp_nat_chain=prerouting_miniupnpd
upnp_nat_postrouting_chain=postrouting_miniupnpd
uuid=00000000-0000-0000-0000-000000000001
allow 1024-65535 0.0.0.0/0 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""

_SEARCH: Final = (
    b'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\nMX: 1\r\nST: upnp:rootdevice\r\n\r\n'
)

Router = Literal["NA", "NB"]


class MappingRouter:
    """miniupnpd on a router of a lab, until the lab is removed. folder: for its files. upnp: it speaks only that."""

    def __init__(self, lab: NatLab, router: Router, folder: Path, *, upnp: bool = False) -> None:
        program = shutil.which("miniupnpd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        require("miniupnpd", program is not None, "needs miniupnpd")
        self._lab, self._router = lab, router
        lab.run(router, ["nft", "-f", "-"], input=_CHAINS)
        configuration = folder / f"{router}.conf"
        speaks = {"upnp": "yes", "pcp": "no"} if upnp else {"upnp": "no", "pcp": "yes"}
        configuration.write_text(_CONFIGURATION.format(**speaks))
        words = [str(program), "-d", "-f", str(configuration), "-P", str(folder / f"{router}.pid")]
        self._process = lab.popen(router, words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._await(*((1900, _SEARCH) if upnp else (PORT, b"\0\0")))

    def mappings(self) -> list[str]:
        """The rules that it has made: one for each mapping."""
        chain = ["nft", "list", "chain", "inet", "mapping", "prerouting_miniupnpd"]
        lines = str(self._lab.run(self._router, chain).stdout).splitlines()
        return [line.strip() for line in lines if "dnat" in line]

    def until(self, count: int) -> None:
        """Wait until it has so many mappings."""
        end = time.monotonic() + _SECONDS
        while len(self.mappings()) != count:
            if time.monotonic() > end:
                raise TimeoutError(f"{count} mappings expected: {self.mappings()}")
            time.sleep(0.05)

    def _await(self, port: int, question: bytes) -> None:
        end = time.monotonic() + _SECONDS
        while True:
            with self._lab.socket(self._router) as sock:
                sock.settimeout(0.1)
                sock.connect((self._lab.router_address(self._router), port))
                try:
                    sock.send(question)
                    sock.recv(100)
                except (TimeoutError, ConnectionRefusedError) as error:
                    if self._process.poll() is not None or time.monotonic() > end:
                        raise TimeoutError("miniupnpd does not answer") from error
                    time.sleep(0.05)
                else:
                    return

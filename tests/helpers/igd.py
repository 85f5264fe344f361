"""A gateway that speaks UPnP (IGD 1) on this machine, as far as mappings need it; or lies."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

_SERVICE = "urn:schemas-upnp-org:service:WANIPConnection:1"
_ACTIONS = {
    "AddPortMapping": {
        "NewRemoteHost": "string",
        "NewExternalPort": "ui2",
        "NewProtocol": "string",
        "NewInternalPort": "ui2",
        "NewInternalClient": "string",
        "NewEnabled": "boolean",
        "NewPortMappingDescription": "string",
        "NewLeaseDuration": "ui4",
    },
    "DeletePortMapping": {"NewRemoteHost": "string", "NewExternalPort": "ui2", "NewProtocol": "string"},
    "GetExternalIPAddress": {"NewExternalIPAddress": "string"},
}
_ENVELOPE = (
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
    's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>{}</s:Body></s:Envelope>'
)


class FakeIgd(asyncio.DatagramProtocol):
    """calls: (action, outer port) of each that came. taken: outer ports that others have. lies: path → whole answer.

    location, control: where it says that it describes itself, and takes calls. padding: bytes of a comment.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.leases: list[int] = []
        self.taken: set[int] = set()
        self.host = "198.51.100.7"
        self.lies: dict[str, bytes] = {}
        self.searches = 0
        self.location = ""
        self.control = "/control"
        self.is_slow = False
        self.requests = self.padding = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.udp: Any = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.searches += 1
        self.udp.sendto(f"HTTP/1.1 200 OK\r\nST: x\r\nLocation: {self.location}\r\n\r\n".encode(), addr)

    @property
    def search_port(self) -> int:
        return int(self.udp.get_extra_info("sockname")[1])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.requests += 1
        length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
        body = (await reader.readexactly(int(length[1]) if length else 0)).decode()
        path = head.split()[1]
        if path in self.lies:
            answer = self.lies[path]
        else:
            status, text = (200, self._text(path)) if path != "/control" else self._call(body)
            if self.is_slow and "AddPort" not in body:
                await asyncio.sleep(0.2)
            answer = f"HTTP/1.1 {status} x\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode()
        writer.write(answer)
        writer.close()

    def _text(self, path: str) -> str:
        if path == "/scpd":
            arguments = {
                action: "".join(
                    f"<argument><name>{name}</name><direction>{'out' if action.startswith('Get') else 'in'}</direction>"
                    f"<relatedStateVariable>{name}</relatedStateVariable></argument>"
                    for name in names
                )
                for action, names in _ACTIONS.items()
            }
            actions = "".join(
                f"<action><name>{name}</name><argumentList>{listed}</argumentList></action>"
                for name, listed in arguments.items()
            )
            kinds = {name: kind for names in _ACTIONS.values() for name, kind in names.items()}
            variables = "".join(
                f'<stateVariable sendEvents="no"><name>{name}</name><dataType>{kind}</dataType></stateVariable>'
                for name, kind in kinds.items()
            )
            return (
                '<scpd xmlns="urn:schemas-upnp-org:service-1-0"><specVersion><major>1</major></specVersion>'
                f"<actionList>{actions}</actionList><serviceStateTable>{variables}</serviceStateTable></scpd>"
            )
        return (
            '<root xmlns="urn:schemas-upnp-org:device-1-0"><device><deviceType>x</deviceType><UDN>uuid:1</UDN>'
            f"<serviceList><service><serviceType>{_SERVICE}</serviceType><serviceId>y</serviceId>"
            f"<controlURL>{self.control}</controlURL><eventSubURL>/event</eventSubURL><SCPDURL>/scpd</SCPDURL>"
            f"</service></serviceList></device></root><!--{self.padding * 'x'}-->"
        )

    def _call(self, body: str) -> tuple[int, str]:
        name = next(action for action in _ACTIONS if f":{action} " in body)
        port = re.search(r"<NewExternalPort>(\d+)<", body)
        outer = int(port[1]) if port else 0
        self.calls.append((name, outer))
        lease = re.search(r"<NewLeaseDuration>(\d+)<", body)
        self.leases += [int(lease[1])] if lease else []
        if outer in self.taken and name == "AddPortMapping":
            fault = (
                "<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>"
                '<UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>718</errorCode></UPnPError>'
                "</detail></s:Fault>"
            )
            return 500, _ENVELOPE.format(fault)
        out = f"<NewExternalIPAddress>{self.host}</NewExternalIPAddress>" if name.startswith("Get") else ""
        return 200, _ENVELOPE.format(f'<u:{name}Response xmlns:u="{_SERVICE}">{out}</u:{name}Response>')


@asynccontextmanager
async def fake_igd() -> AsyncIterator[FakeIgd]:
    """Run one at 127.0.0.1."""
    igd = FakeIgd()
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: igd, ("127.0.0.1", 0))
    try:
        async with await asyncio.start_server(igd.serve, "127.0.0.1", 0) as server:
            igd.location = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/description"
            yield igd
    finally:
        transport.close()
        await asyncio.sleep(0)  # until it is

"""UPnP with the default gateway: it is found, and maps UDP ports (IGD 1 and 2). async-upnp-client speaks it.

UPnP trusts the whole LAN: any machine may answer a search, and what answers names the addresses that are asked next.
So the search goes to the gateway alone and only its answer is heard; each address that it names has to be its own; and
no redirect is followed. What it sends is bounded, and whatever it makes the library raise is an UpnpFault.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import re
from typing import Any, Final
from urllib.parse import urlsplit

from ssbfast import limits
from ssbfast.direct.gateway import gateway_socket
from ssbfast.errors import MissingExtraError, SSBError

try:
    from aiohttp import ClientError, ClientSession, ClientTimeout
    from async_upnp_client.client import UpnpDevice, UpnpRequester, UpnpService
    from async_upnp_client.client_factory import UpnpFactory
    from async_upnp_client.const import HttpRequest, HttpResponse
    from async_upnp_client.exceptions import UpnpActionError, UpnpConnectionError
    from async_upnp_client.ssdp import build_ssdp_search_packet
except ImportError as error:
    raise MissingExtraError("UPnP needs an extra: pip install 'ssbfast[upnp]'") from error

SEARCH_PORT: Final = 1900
_DEVICE: Final = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
_SERVICES: Final = re.compile(r"urn:schemas-upnp-org:service:WAN(?:IP|PPP)Connection:\d")
_LOCATION: Final = re.compile(rb"^location:[ \t]*(\S+)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_NAME: Final = "ssbfast"
_CONFLICT: Final = 718
"""Code of a refusal: another machine has that port."""
_PORTS: Final = range(20_000, 60_000)


class UpnpFault(SSBError):
    """The gateway does not do what was asked for."""


class Igd:
    """A gateway that maps ports. own: our address on its LAN."""

    def __init__(self, service: UpnpService, own: str) -> None:
        self._service = service
        self._own = own

    async def map(self, port: int, wish: int) -> int:
        """Have every sender let in to a UDP port of ours; return the gateway's port for it.

        wish: the port that it should be; another one where that is in use. Raises UpnpFault.
        """
        for outer in (wish, *random.sample(_PORTS, limits.UPNP_PORTS)):
            try:
                await self._call(
                    "AddPortMapping",
                    NewRemoteHost="",
                    NewExternalPort=outer,
                    NewProtocol="UDP",
                    NewInternalPort=port,
                    NewInternalClient=self._own,
                    NewEnabled=True,
                    NewPortMappingDescription=_NAME,
                    NewLeaseDuration=limits.MAPPING_SECONDS,
                )
            except _PortTaken:
                continue
            return outer
        raise UpnpFault("no port is free")

    async def host(self) -> str:
        """Return the gateway's address in the world. Raises UpnpFault."""
        answer = await self._call("GetExternalIPAddress")
        try:
            return str(ipaddress.IPv4Address(answer["NewExternalIPAddress"]))
        except (KeyError, ValueError):
            raise UpnpFault("no address") from None

    async def unmap(self, outer: int) -> None:
        """Have it forget a mapping. Raises UpnpFault."""
        await self._call("DeletePortMapping", NewRemoteHost="", NewExternalPort=outer, NewProtocol="UDP")

    async def _call(self, name: str, **arguments: Any) -> dict[str, Any]:
        try:
            return dict(await self._service.action(name).async_call(**arguments))
        except UpnpActionError as error:
            if error.error_code == _CONFLICT:
                raise _PortTaken from None
            raise UpnpFault("refused") from error
        except Exception as error:  # whatever the library makes of what a router sends
            raise UpnpFault("no answer") from error


class _PortTaken(UpnpFault):
    """Another machine has that port."""


async def find_igd(gateway: str, own: str) -> Igd:
    """Ask the gateway whether it maps ports. own: our address on its LAN. Raises UpnpFault."""
    try:
        device = await asyncio.wait_for(_device(gateway, own), limits.UPNP_FIND_SECONDS)
    except UpnpFault:
        raise
    except Exception as error:  # as above
        raise UpnpFault("no such device") from error
    for service in device.all_services:
        if _SERVICES.fullmatch(service.service_type) and service.has_action("AddPortMapping"):
            return Igd(service, own)
    raise UpnpFault("no such service")


async def _device(gateway: str, own: str) -> UpnpDevice:
    url = await _search(gateway, own)
    return await UpnpFactory(_GatewayRequester(gateway), non_strict=True).async_create_device(url)


async def _search(gateway: str, own: str) -> str:
    """Return where the gateway describes itself."""
    loop = asyncio.get_running_loop()
    request = build_ssdp_search_packet((gateway, SEARCH_PORT), 1, _DEVICE)
    with contextlib.closing(gateway_socket(gateway, own, SEARCH_PORT)) as sock:
        for _ in range(limits.MAPPING_SENDS):
            await loop.sock_sendall(sock, request)
            with contextlib.suppress(TimeoutError):
                answer = await asyncio.wait_for(loop.sock_recv(sock, limits.UDP_DATAGRAM), limits.UPNP_RESEND_SECONDS)
                found = _LOCATION.search(answer)
                if found is not None:
                    return found[1].decode("ascii")
    raise UpnpFault("no answer")


class _GatewayRequester(UpnpRequester):
    """Requests to the gateway's own address, and to no other."""

    def __init__(self, gateway: str) -> None:
        self._gateway = gateway

    async def async_http_request(self, http_request: HttpRequest) -> HttpResponse:
        at = urlsplit(http_request.url)
        if at.scheme != "http" or at.hostname != self._gateway:
            raise UpnpConnectionError("another machine's address")
        how = ClientTimeout(total=limits.UPNP_SECONDS)
        try:
            async with (
                ClientSession(timeout=how) as session,
                session.request(
                    http_request.method,
                    http_request.url,
                    headers=http_request.headers,
                    data=http_request.body,
                    allow_redirects=False,
                ) as response,
            ):
                body = bytearray()
                async for chunk in response.content.iter_chunked(limits.UPNP_ANSWER):
                    body += chunk
                    if len(body) > limits.UPNP_ANSWER:
                        raise UpnpConnectionError("an answer too long")
                return HttpResponse(response.status, dict(response.headers), body.decode("utf-8", "replace"))
        except (ClientError, TimeoutError) as error:
            raise UpnpConnectionError("no answer") from error

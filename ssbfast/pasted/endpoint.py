"""HOST:PORT as people write it: a port alone, a URL, an IPv6 address with or without brackets.

A port alone is this machine (127.0.0.1) for programs of one's own, and every address for a room. Raises BadInputError
with the form that is expected, everywhere.
"""

from __future__ import annotations

import os
import re
import socket
from typing import Final

from ssbfast import limits
from ssbfast.errors import BadInputError
from ssbfast.net.endpoints import DEFAULT_PORT, Endpoint, Place, UdpEndpoint, UnixPath
from ssbfast.pasted.tidy_text import tidy

_HERE: Final = "127.0.0.1"
_UNSAID: Final = -1
_SERVICE_FORM: Final = "it reads HOST:PORT, as 127.0.0.1:8000 or [::1]:8000, or PORT alone"
_STUN_FORM: Final = "it reads HOST:PORT, as stun.example:3478"
_NAME_FORM: Final = "it reads NAME or NAME:PORT, as room.example:8008"
_LISTEN_FORM: Final = "it reads HOST:PORT, as 127.0.0.1:8008 or [::]:8008, or PORT alone"
_STUN_PORT: Final = 3478

_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443, "ssh": 22, "tcp": _UNSAID}
"""The ports that URLs of TCP services need not say."""

_URL: Final = re.compile(r"(?i)([a-z][a-z0-9+.-]*)://(.*)")
_PREFIX: Final = re.compile(r"(?i)(tcp|net):(?=.*:[0-9]+$)")
_UNIX: Final = "unix:"
_UDP: Final = "udp:"
_STUN: Final = re.compile(r"(?i)stun:(//)?")


def read_service(text: str) -> Endpoint:
    """Read the endpoint of a TCP service. PORT alone is on 127.0.0.1. Port 0 is read, too."""
    given = _tidy(text, _SERVICE_FORM)
    given, port = _from_url(given)
    if given.startswith("*"):
        raise BadInputError(f"{given!r} may mean IPv4 or IPv6: say 0.0.0.0:PORT or [::]:PORT for every address")
    found = _endpoint(_PREFIX.sub("", given), _SERVICE_FORM, default_port=port)
    if found.port == _UNSAID:
        raise BadInputError(f"the port of {found.host!r} is missing: {_SERVICE_FORM}")
    return Endpoint(found.host or _HERE, found.port)


def read_place(text: str) -> Place:
    """Read the place of a service: unix:PATH, or what `read_service` reads, behind udp: for one of UDP."""
    given = text.strip()
    if given.startswith(_UDP):
        found = read_service(given.removeprefix(_UDP))
        return UdpEndpoint(found.host, found.port)
    if not given.startswith(_UNIX):
        return read_service(text)
    path = given.removeprefix(_UNIX)
    if not hasattr(socket, "AF_UNIX"):
        raise BadInputError("this machine has no Unix sockets")
    if not path or "\0" in path or path.endswith("/"):
        raise BadInputError("the name of the Unix socket is missing: it reads unix:PATH, as unix:/run/service.sock")
    if len(os.fsencode(path)) > limits.SOCKET_PATH:
        raise BadInputError(f"the name of a Unix socket has at most {limits.SOCKET_PATH} bytes")
    return UnixPath(path)


def read_reflector(text: str) -> Endpoint:
    """Read the endpoint of a STUN server; with stun: in front its port may be left out."""
    given = _tidy(text, _STUN_FORM)
    named = _STUN.match(given)
    given = given[named.end() :] if named is not None else given
    found = _endpoint(given, _STUN_FORM, default_port=_STUN_PORT if named is not None else 0)
    if not found.host or not found.port:
        raise BadInputError(f"the host or port of the STUN server is missing in {given!r}: {_STUN_FORM}")
    return found


def read_listen(text: str) -> Endpoint:
    """Read the endpoint where a room listens. PORT alone is every address; HOST alone is port 8008."""
    return _endpoint(_tidy(text, _LISTEN_FORM), _LISTEN_FORM)


def read_name(text: str) -> Endpoint:
    """Read what other peers dial to reach a room; port 0 when none is given."""
    given = _tidy(text, _NAME_FORM)
    found = _endpoint(given, _NAME_FORM, default_port=_UNSAID)
    if not found.host or found.port == 0:
        raise BadInputError(f"the host or port is missing in {given!r}: {_NAME_FORM}")
    return Endpoint(found.host, max(found.port, 0))


def _tidy(text: str, form: str) -> str:
    given = tidy(text, keep="*")
    if not given:
        raise BadInputError(f"nothing was given: {form}")
    if _URL.match(given) and form not in (_SERVICE_FORM, _STUN_FORM):
        raise BadInputError(f"that is a URL: {form}")
    return given


def _endpoint(text: str, form: str, default_port: int = DEFAULT_PORT) -> Endpoint:
    try:
        return Endpoint.parse(text, default_port)
    except BadInputError as error:
        raise BadInputError(f"{error}: {form}") from None


def _from_url(text: str) -> tuple[str, int]:
    """Return HOST:PORT of a URL, and the port that its scheme has."""
    found = _URL.fullmatch(text)
    if found is None:
        return text, _UNSAID
    scheme, place = found[1].lower(), found[2].rstrip("/")
    if scheme not in _PORTS:
        raise BadInputError(f"a service of {scheme}: is not one of TCP, or not known here: {_SERVICE_FORM}")
    if not place or re.search(r"[/?#@\\]", place):
        raise BadInputError(f"connections are forwarded whole, without user, path or query: {_SERVICE_FORM}")
    return place, _PORTS[scheme]

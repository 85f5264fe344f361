"""Links to a room's web site, as far as they mean something to a peer: aliases and invites.

::

    aliases   https://alice.room.example   https://room.example/alice   https://room.example/alias/alice
              alice.room.example   room.example/alice   @alice@room.example
    invites   https://room.example/join?invite=CODE   …/join?token=CODE (go-ssb-room)

`http:` is read for this machine alone. Nothing is asked here.

Spec: SIP 7, "Alias"; SIP 5. `@alice@room.example` is of a draft that was given up; people still write it.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

from ssbfast import limits
from ssbfast.errors import BadInputError
from ssbfast.pasted.hosts import read_host
from ssbfast.wire.alias import may_be_alias

_HOST: Final = r"[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9])?)+"
_FULL: Final = re.compile(rf"(?i)@([a-z0-9-]{{1,63}})@((?:{_HOST}|localhost)(?::[0-9]{{1,5}})?)")
_BARE: Final = re.compile(rf"(?i)({_HOST}|localhost)(:[0-9]{{1,5}})?/.*|{_HOST}")
_SUBDOMAIN_LABELS: Final = 3
_CODE: Final = re.compile(r"[\x21-\x7e]{1,512}")
_INVITE_MEMBERS: Final = ("invite", "token")


@dataclass(frozen=True, slots=True)
class AliasLink:
    """An alias that a web site can tell of. urls: where to ask, in this order. name: the alias."""

    urls: tuple[str, ...]
    name: str


@dataclass(frozen=True, slots=True)
class InviteLink:
    """A web invite, which claims it once. url: its page, or None. code, post_to: what the page would tell, or None."""

    url: str | None = field(default=None, repr=False)
    code: str | None = field(default=None, repr=False)
    post_to: str | None = field(default=None, repr=False)


def alias_link(word: str) -> AliasLink | None:
    """Return the alias that a link stands for; None for other text."""
    full = _FULL.fullmatch(word)
    if full is not None:
        name, place = full[1].lower(), full[2].lower()
        if not may_be_alias(name):
            return None
        return alias_at(f"https://{place}", name)
    found = _split(word)
    if found is None:
        return None
    segments = [unquote(segment) for segment in found.path.split("/") if segment]
    host = found.hostname or ""
    if not segments and "://" not in word and len(host.split(".")) < _SUBDOMAIN_LABELS:
        return None
    if not segments:
        name = "" if is_literal(host) or "." not in host else host.partition(".")[0]
    elif len(segments) == 1 or (len(segments) == 2 and segments[0].lower() == "alias"):
        name = segments[-1].lower()
    else:
        return None
    if not may_be_alias(name) or (not segments and len(host.split(".")) < _SUBDOMAIN_LABELS and not is_loopback(host)):
        return None
    path = "/".join(quote(segment) for segment in segments)
    return AliasLink((f"{found.scheme}://{found.netloc}/{path}",), name)


def alias_at(site: str, name: str) -> AliasLink:
    """Return an alias at a web site, wherever there it is. site: `https://HOST`."""
    scheme, _, place = site.partition("://")
    urls = [f"{site}/{name}", f"{site}/alias/{name}"]
    host = urlsplit(site).hostname or ""
    if "." in host and not is_literal(host):
        urls.append(f"{scheme}://{name}.{place}/")
    return AliasLink(tuple(urls), name)


def invite_link(word: str) -> InviteLink | None:
    """Return the web invite that a link stands for; None for other text."""
    found = _split(word)
    if found is None or not found.path.rstrip("/").lower().endswith("/join"):
        return None
    members = parse_qs(found.query.replace("+", "%2B"))
    code = next((members[name][0] for name in _INVITE_MEMBERS if name in members), None)
    if code is None or _CODE.fullmatch(code) is None:
        return None
    return InviteLink(url=f"{found.scheme}://{found.netloc}{found.path}?{found.query}")


def invite_from(code: str, post_to: str) -> InviteLink | None:
    """Return the invite of a code, and of where it is claimed; None when they cannot be that."""
    if _CODE.fullmatch(code) is None or "://" not in post_to or _split(post_to) is None:
        return None
    return InviteLink(code=code, post_to=post_to)


def is_web(url: SplitResult) -> bool:
    """Return whether a URL may be asked: `https:`, or `http:` on this machine."""
    host = url.hostname or ""
    return bool(host) and (url.scheme == "https" or (url.scheme == "http" and is_loopback(host)))


def is_literal(host: str) -> bool:
    """Return whether a host is an IP address."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, as far as its text tells."""
    if is_literal(host):
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def _split(word: str) -> SplitResult | None:
    """Split a URL, or one whose scheme was left out; None for what may not be asked."""
    if len(word) > limits.WEB_URL:
        return None
    if "://" not in word:
        if _BARE.fullmatch(word) is None:
            return None
        word = f"https://{word}"
    try:
        found = urlsplit(word)
        if not is_web(found) or "@" in found.netloc or found.port == 0:
            return None
        host = found.hostname or ""
        if not is_literal(host):
            host = read_host(host).lower()
    except (ValueError, BadInputError):
        return None
    port = "" if found.port is None else f":{found.port}"
    return found._replace(netloc=f"[{host}]{port}" if ":" in host else f"{host}{port}")

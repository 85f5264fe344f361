"""Rules of aliases that are not in their letters: reserved words, and what the room says when it refuses one."""

from __future__ import annotations

from typing import Final

from ssbfast.ids import FeedId
from ssbfast.room.effects import RegisterAlias
from ssbfast.room.records import Outcome
from ssbfast.wire.alias import is_alias, verify_alias

RESERVED: Final = frozenset(
    (  # First segments of the paths that the web site serves, now or perhaps later: `https://HOST/ALIAS` is one.
        "account",
        "admin",
        "alias",
        "aliases",
        "api",
        "assets",
        "audit",
        "blocked",
        "claim",
        "create-invite",
        "dashboard",
        "denied",
        "docs",
        "events",
        "favicon",
        "healthz",
        "help",
        "htmx",
        "icon",
        "invite",
        "invites",
        "join",
        "join-fallback",
        "join-manually",
        "language",
        "login",
        "logout",
        "me",
        "measurements",
        "members",
        "metrics",
        "news",
        "notices",
        "privacy",
        "robots",
        "room",
        "rooms",
        "security",
        "settings",
        "setup",
        "sign-in",
        "signin",
        "sse",
        "static",
        "status",
        "terms",
        "well-known",
        "withssb",
        "ws",
        "wss",
        # Hosts that people expect below the room's own: `https://ALIAS.HOST` is one.
        "autoconfig",
        "autodiscover",
        "dns",
        "ftp",
        "http",
        "https",
        "imap",
        "localhost",
        "mail",
        "mx",
        "ns",
        "ns1",
        "ns2",
        "pop",
        "smtp",
        "ssb",
        "wpad",
        "www",
    )
)
"""Words that are no aliases."""

NOT_VALID: Final = "alias is not valid"
TAKEN: Final = "alias is taken"
BAD_SIGNATURE: Final = "signature is not valid"
NO_ALIASES: Final = "this room has no aliases"
MEMBERS_ONLY: Final = "only members may have an alias"
TOO_MANY: Final = "too many aliases"
FULL: Final = "the room is full: ask its moderators"
UNKNOWN: Final = "no such alias"

REFUSALS: Final = {
    Outcome.TAKEN: TAKEN,
    Outcome.TOO_MANY: TOO_MANY,
    Outcome.FULL: FULL,
    Outcome.BLOCKED: MEMBERS_ONLY,
    Outcome.MISSING: MEMBERS_ONLY,
}
"""What a registration that the store has refused is answered with."""


def may_be_registered(name: str) -> bool:
    """Return whether an alias can be given out: its letters are right, and it is no reserved word."""
    return is_alias(name) and name not in RESERVED


def alias_url(site: str, name: str, style: str) -> str:
    """Return the URL of an alias. site: `https://HOST`. style: "path" or "subdomain".

    Reserved words are aliases of rooms that were imported: pages are at `/WORD`, and they are below `/alias`.
    """
    scheme, _, host = site.partition("://")
    if style == "subdomain":
        return f"{scheme}://{name}.{host}"
    return f"{site}/alias/{name}" if name in RESERVED else f"{site}/{name}"


def is_signed(room: FeedId, effect: RegisterAlias) -> bool:
    """Return whether the signature of a registration is its owner's. Takes 0.1 ms."""
    return verify_alias(room, effect.feed, effect.name, effect.signature)

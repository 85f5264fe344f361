"""Who is at the browser: sessions of members, the cookies that hold them, and tokens against forged forms."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import time
from dataclasses import dataclass, field
from typing import Final

from starlette.responses import Response

from ssbfast import limits
from ssbfast.errors import StoreError
from ssbfast.ids import FeedId
from ssbfast.room.codes import hash_of, new_code
from ssbfast.room.records import RoomRecords, WebSession
from ssbfast.room.registry import Registry
from ssbfast.room.roles import Action, Role
from ssbfast.server.keeper import Keeper

_BROWSERS: Final = (
    # What the header says, and the family; the first that is found.
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Vivaldi", "Vivaldi"),
    ("Electron", "an app"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("Chromium", "Chromium"),
    ("Chrome", "Chrome"),
    ("CriOS", "Chrome"),
    ("Safari", "Safari"),
)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who a request comes from.

    Attributes:
        feed: The member; None for somebody who is not signed in.
        role: The member's role now; EXTERNAL for others.
        session_hash: SHA-256 of the session's token, as the records know it.
        token: The session's token, which is nobody's business but the CSRF token's.
    """

    feed: FeedId | None = None
    role: Role = Role.EXTERNAL
    session_hash: bytes | None = None
    token: str | None = field(default=None, repr=False)

    @property
    def is_signed_in(self) -> bool:
        """Return whether it is a member."""
        return self.feed is not None


NOBODY: Final = Visitor()


class Sessions:
    """The sessions of a room's web site, in its records; in memory, too, until these change."""

    def __init__(self, keeper: Keeper, registry: Registry) -> None:
        self._keeper = keeper
        self._registry = registry
        self._known: dict[bytes, WebSession] = {}  # by hash
        self._version = keeper.version  # that they are of

    @property
    def _records(self) -> RoomRecords:
        return self._keeper.records

    async def find(self, token: str) -> Visitor:
        """Return who has a session; NOBODY for an unknown or old one, or when its key may not sign in any more."""
        hashed = hash_of(token)
        if hashed is None:
            return NOBODY
        session = await self._session(hashed)
        now = time.time()
        if session is None or not self._registry.may(session.feed, Action.SIGN_IN):
            return NOBODY
        if now - session.seen > limits.WEB_SESSION_IDLE or now - session.created > limits.WEB_SESSION_MOST:
            return NOBODY
        if now - session.seen > limits.WEB_SESSION_NOTED:
            with contextlib.suppress(StoreError):  # a full disk shuts nobody out
                await self._keeper.run(self._records.touch_web_session, hashed, now)
        return Visitor(session.feed, self._registry.role(session.feed), hashed, token)

    async def _session(self, hashed: bytes) -> WebSession | None:
        """Return a session of the records, expired or not, without asking them twice between two changes."""
        if self._version != self._keeper.version:
            self._version = self._keeper.version
            self._known.clear()
        session = self._known.get(hashed)
        if session is None:
            version = self._version
            session = await self._keeper.read(self._records.web_session, hashed)
            if session is not None and version == self._keeper.version == self._version:
                if len(self._known) >= limits.WEB_SESSIONS_KNOWN:
                    del self._known[next(iter(self._known))]
                self._known[hashed] = session
        return session

    async def is_current(self, visitor: Visitor) -> bool:
        """Return whether a visitor is still signed in: for what goes on after its request."""
        return visitor.token is not None and (await self.find(visitor.token)).feed == visitor.feed

    async def begin(self, feed: FeedId, user_agent: str) -> str:
        """Sign a member in; return the new session's token."""
        token = new_code()
        hashed = hash_of(token) or b""
        await self._keeper.run(self._records.add_web_session, hashed, feed, browser_family(user_agent), time.time())
        return token

    async def end(self, visitor: Visitor) -> None:
        """Sign a visitor out, of this browser."""
        if visitor.feed is not None and visitor.session_hash is not None:
            await self._keeper.run(self._records.end_web_sessions, visitor.feed, visitor.session_hash)


def browser_family(user_agent: str) -> str:
    """Return the family of a browser, and nothing more of it."""
    for word, family in _BROWSERS:
        if word in user_agent:
            return family
    return "a browser"


# ---------------------------------------------------------------- cookies


@dataclass(frozen=True, slots=True)
class Cookies:
    """The names and flags of our cookies. is_secure: browsers come by TLS; else only this machine's can."""

    is_secure: bool

    @property
    def session(self) -> str:
        """Return the name of the session's cookie."""
        return "__Host-ssb" if self.is_secure else "ssb"

    @property
    def pre(self) -> str:
        """Return the name of the cookie of a browser that is not signed in yet."""
        return "__Host-ssb-pre" if self.is_secure else "ssb-pre"

    def put(self, response: Response, name: str, value: str, seconds: float) -> None:
        """Set a cookie that no script reads and no other site's form sends."""
        response.set_cookie(
            name, value, max_age=int(seconds), path="/", secure=self.is_secure, httponly=True, samesite="lax"
        )

    def drop(self, response: Response, name: str) -> None:
        """Delete a cookie."""
        response.set_cookie(name, "", max_age=0, path="/", secure=self.is_secure, httponly=True, samesite="lax")


def browser_hash(pre: str) -> bytes:
    """Return the hash by which a browser's sign-ins are known."""
    return hashlib.sha256(b"ssbfast browser " + pre.encode()).digest()


def csrf_token(secret: str) -> str:
    """Return the token that forms of a browser carry. secret: the value of its cookie, which only it and we know."""
    return hmac.new(secret.encode(), b"ssbfast form", hashlib.sha256).hexdigest()


def is_csrf_token(secret: str, given: str) -> bool:
    """Return whether a form's token belongs to a browser's cookie."""
    return hmac.compare_digest(csrf_token(secret).encode(), given.encode())

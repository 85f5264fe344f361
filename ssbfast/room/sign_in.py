"""Sign-in by SSB: the challenges that browsers wait on and that peers solve.

A challenge belongs to one browser, which holds a cookie. Its peer solves it over muxrpc, and then the browser, and no
other, exchanges the cookie for a session::

    open ── solve ──> solved ── finish ──> used
      │
      └── a wrong solution ──> failed

Whatever waits too long is expired, and forgotten. Nothing here waits or holds a lock: `on_settled` tells.

Source: SIP 6, "Server-initiated protocol".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ssbfast import limits
from ssbfast.budgets import Caps, Places, Rings
from ssbfast.ids import FeedId
from ssbfast.wire.http_auth import is_nonce, is_solution, new_nonce

_CODE_LETTERS: Final = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"


class SignInState(Enum):
    """How far a sign-in is."""

    OPEN = "open"
    SOLVED = "solved"
    FAILED = "failed"
    USED = "used"


@dataclass(slots=True, eq=False)
class SignIn:
    """One challenge.

    Attributes:
        sc: The server's nonce.
        browser: SHA-256 of the cookie of the browser that waits.
        until: When it is over.
        link: The hash of a link that makes its first user an admin; None for everyone else.
        state: How far it is.
        feed: Who solved it.
    """

    sc: str
    browser: bytes
    until: float
    link: bytes | None = None
    state: SignInState = SignInState.OPEN
    feed: FeedId | None = None

    @property
    def code(self) -> str:
        """Return four characters by which people see that two screens show the same sign-in."""
        digest = hashlib.sha256(b"ssbfast sign-in " + self.sc.encode()).digest()
        return "".join(_CODE_LETTERS[byte % len(_CODE_LETTERS)] for byte in digest[:4])


class SignIns:
    """The challenges of a room.

    Args:
        me: The room's id.
        may_sign_in: Tells whether a key may sign in.
        on_settled: Called with a challenge that was solved, failed or given up.
    """

    def __init__(
        self,
        me: FeedId,
        may_sign_in: Callable[[FeedId], bool],
        on_settled: Callable[[SignIn], None] = lambda sign_in: None,
    ) -> None:
        self._me = me
        self._may_sign_in = may_sign_in
        self._on_settled = on_settled
        self._all: dict[str, SignIn] = {}  # by sc, the oldest first
        caps = Caps(limits.SIGN_INS, limits.SIGN_INS_PER_ADDRESS)
        self._places: Places[SignIn] = Places("sign_ins", caps, self._worth)
        self._at: dict[bytes, SignIn] = {}  # by browser

    def __len__(self) -> int:
        return len(self._all)

    def begin(self, browser: bytes, networks: Rings, now: float, *, link: bytes | None = None) -> SignIn:
        """Return a browser's challenge; a new one, unless it has one of the same kind that is open for a while yet.

        Args:
            browser: SHA-256 of its cookie.
            networks: Its networks, widest first, for counting.
            now: Seconds of a clock that does not jump.
            link: The hash of a link that makes its first user an admin.
        """
        self.sweep(now)
        old = self._at.get(browser)
        if old is not None:
            if old.state is SignInState.OPEN and old.link == link and old.until - now > limits.SIGN_IN_SECONDS / 2:
                return old
            self._drop(old)
        leaves = self._places.ask(networks).leaves
        if leaves is not None:
            self._drop(leaves)
        sign_in = SignIn(new_nonce(), browser, now + limits.SIGN_IN_SECONDS, link)
        self._all[sign_in.sc] = sign_in
        self._places.add(sign_in, networks)
        self._at[browser] = sign_in
        return sign_in

    def find(self, sc: object, now: float) -> SignIn | None:
        """Return the challenge of a nonce, unless it is over."""
        sign_in = self._all.get(sc) if isinstance(sc, str) else None
        return sign_in if sign_in is not None and now < sign_in.until else None

    def of_browser(self, browser: bytes, now: float) -> SignIn | None:
        """Return the challenge of a browser, unless it is over."""
        sign_in = self._at.get(browser)
        return sign_in if sign_in is not None and now < sign_in.until else None

    def solve(self, feed: FeedId, sc: object, cc: object, solution: object, now: float) -> bool:
        """Take a solution from a peer whose key is proven; return whether it is right.

        A wrong one fails the challenge: who knows the nonce and has no key for it gets no second try.
        """
        sign_in = self.find(sc, now)
        if sign_in is None or sign_in.state is not SignInState.OPEN:
            return False
        is_right = (
            isinstance(cc, str)
            and is_nonce(cc)
            and is_solution(self._me, feed, sign_in.sc, cc, solution)
            and (sign_in.link is not None or self._may_sign_in(feed))
        )
        sign_in.state = SignInState.SOLVED if is_right else SignInState.FAILED
        if is_right:
            sign_in.feed = feed
            sign_in.until = now + limits.SIGN_IN_SECONDS
        self._on_settled(sign_in)
        return is_right

    def finish(self, browser: bytes, now: float) -> SignIn | None:
        """Use up the solved challenge of a browser; return it. None: there is none, or it is not solved."""
        sign_in = self.of_browser(browser, now)
        if sign_in is None or sign_in.state is not SignInState.SOLVED:
            return None
        sign_in.state = SignInState.USED
        self._remove(sign_in)
        return sign_in

    def forget(self, feed: FeedId) -> None:
        """Drop what a key has solved and no browser has used yet: it lost its role, or signed out everywhere."""
        for sign_in in [one for one in self._all.values() if one.feed == feed]:
            self._drop(sign_in)

    def sweep(self, now: float) -> None:
        """Drop what is over, of those at the front."""
        for sign_in in list(self._all.values()):
            if now < sign_in.until:
                break
            self._drop(sign_in)

    def _drop(self, sign_in: SignIn) -> None:
        self._remove(sign_in)
        if sign_in.state is not SignInState.FAILED:
            sign_in.state = SignInState.FAILED
            self._on_settled(sign_in)

    def _remove(self, sign_in: SignIn) -> None:
        if self._all.pop(sign_in.sc, None) is None:
            return
        if self._at.get(sign_in.browser) is sign_in:
            del self._at[sign_in.browser]
        self._places.remove(sign_in)

    @staticmethod
    def _worth(sign_in: SignIn) -> tuple[bool, float]:
        """Rank challenges: one that is solved stays longest; of the others the oldest goes first."""
        return sign_in.state is SignInState.SOLVED, sign_in.until

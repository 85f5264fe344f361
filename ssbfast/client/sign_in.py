"""Sign-in to the web sites of rooms: a room asks us to solve a challenge, or we send it a solution.

A solution signs a browser in as us. So nothing is solved before the program, which is to ask its user, says yes.

Source: SIP 6.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from ssbfast import limits
from ssbfast.errors import RefusedError
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.net.api import Api
from ssbfast.net.peer import Peer
from ssbfast.net.timeouts import within
from ssbfast.wire.http_auth import is_nonce, solve


@dataclass(frozen=True, slots=True)
class SignInRequest:
    """The question of a room whether a browser is to be signed in to its web site as us.

    Attributes:
        room: The room's id, proven by its handshake.
        sc: The room's nonce.
        cc: Our nonce, if we made one: the program that opened the browser knows it, and refuses others.
    """

    room: FeedId
    sc: str
    cc: str


Consent: TypeAlias = Callable[[SignInRequest], "bool | Awaitable[bool]"]
"""Returns whether the user wants it."""


def serve_sign_in(api: Api, me: Keypair, consent: Consent) -> None:
    """Serve httpAuth.requestSolution to rooms.

    Args:
        api: What rooms are served.
        me: Our key pair.
        consent: Asked about each challenge; at most `limits.SIGN_INS_ASKED` at a time.
    """
    asked = 0

    @api.call("httpAuth.requestSolution")
    async def request_solution(room: Peer, sc: object = None, cc: object = None, *_rest: object) -> str:
        nonlocal asked
        if not (is_nonce(sc) and is_nonce(cc)) or asked >= limits.SIGN_INS_ASKED:
            raise RefusedError("the sign-in is refused")
        asked += 1
        try:
            may = await _ask(consent, SignInRequest(room.id, str(sc), str(cc)))
        finally:
            asked -= 1
        if not may:
            raise RefusedError("the sign-in is refused")
        return solve(me, room.id, str(sc), str(cc))


async def _ask(consent: Consent, request: SignInRequest) -> bool:
    answer = consent(request)
    if inspect.isawaitable(answer):
        try:
            answer = await within(asyncio.ensure_future(answer), limits.SOLUTION_SECONDS)
        except asyncio.TimeoutError:
            return False
    return answer is True

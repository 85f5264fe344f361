"""Invites: the page that a link leads to, claiming, and making one without an account.

Source: SIP 5. Whatever is wrong with an invite, the text is the same.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ssbfast import limits
from ssbfast.errors import BadInputError
from ssbfast.ids import FeedId
from ssbfast.pasted.addresses import read_id
from ssbfast.room.alias_rules import FULL
from ssbfast.room.codes import new_code
from ssbfast.room.records import NewInvite, Outcome
from ssbfast.room.roles import Action, features
from ssbfast.server.web.errors import WebError
from ssbfast.server.web.site import Site, code_hash, media_type, wall_time, wants_json
from ssbfast.server.web.templating import qr

INVALID: Final = "this invite is not valid"
INVALID_PAGE: Final = "This invite is not valid: it was used, it is too old, or it never was one."
FULL_PAGE: Final = "The room takes no more people that come by themselves. Ask its moderators for an invite."
BAD_ID: Final = "this is not an SSB id"
BAD_ID_PAGE: Final = "That is not an SSB id. It begins with @ and ends with .ed25519."
CLAIM: Final = "/claim"
_CODE_LETTERS: Final = 100


def routes(site: Site) -> list[Route]:
    """Return the routes of this module."""
    pages = InvitePages(site)
    return [
        Route("/join", pages.join),
        Route(CLAIM, pages.claim, methods=["POST"]),
        Route("/invite/consume", pages.claim, methods=["POST"]),
        Route("/create-invite", pages.create_form, methods=["GET"]),
        Route("/create-invite", pages.create, methods=["POST"]),
    ]


def invite_url(site: Site, code: str) -> str:
    """Return the link of an invite."""
    return site.url("/join?" + urlencode({"invite": code}))


def claim_uri(site: Site, code: str) -> str:
    """Return the URI by which an app claims an invite."""
    query = urlencode(
        {"action": "claim-http-invite", "invite": code, "postTo": site.url(CLAIM)}, quote_via=quote, safe=""
    )
    return f"ssb:experimental?{query}"


def intent_for(request: Request, uri: str) -> str | None:
    """Return how a page links to an `ssb:` URI for Chrome on Android, which opens intents only; None elsewhere."""
    agent = request.headers.get("user-agent", "")
    if "Android" in agent and "Chrome" in agent:
        return f"intent://{uri.removeprefix('ssb:')}#Intent;scheme=ssb;end;"
    return None


async def make_invite(
    site: Site, by: FeedId | None, *, note: str = "", days: int | None = None, uses: int = 1
) -> tuple[str, int]:
    """Make an invite; return its code and its number.

    Args:
        site: The site.
        by: Who makes it. None: somebody who is not signed in, whose invite is the room's own key's, and so is not
            valid any more once the room is not open.
        note: For its maker.
        days: How long it is valid; the room's setting, unless given.
        uses: How many it lets in.
    """
    code = new_code()
    seconds = (days or site.registry.settings.invite_days) * 86_400.0
    made = await site.change(
        site.records.create_invite,
        code_hash(code),
        by=by or site.room.me.id,
        note=note[: limits.SETTING_LETTERS],
        expires=wall_time() + seconds,
        uses=uses,
    )
    check_not_full(made)
    return code, made.number


def check_not_full(made: NewInvite) -> None:
    """Raise WebError when there was no place for an invite."""
    if made.outcome is Outcome.FULL:
        raise WebError(403, FULL_PAGE)


class InvitePages:
    """The handlers."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def join(self, request: Request) -> Response:
        """Show what an invite is good for, or tell an app where to claim it."""
        site = self._site
        site.spend(request, "claims")
        code = request.query_params.get("invite") or request.query_params.get("token") or ""
        is_valid = await self._is_valid(code)
        if wants_json(request):
            if not is_valid:
                return _failed(site, INVALID)
            return site.json({"status": "successful", "invite": code, "postTo": site.url(CLAIM)})
        if not is_valid:
            raise WebError(404, INVALID_PAGE)
        return await self._join_page(request, code)

    async def _join_page(self, request: Request, code: str, error: str = "", status: int = 200) -> Response:
        site = self._site
        uri = claim_uri(site, code)
        return await site.render(
            request,
            "join.html",
            status,
            code=code,
            uri=uri,
            intent=intent_for(request, uri),
            page_url=invite_url(site, code),
            qr=await site.in_thread(qr, invite_url(site, code)),
            error=site.text(request)(error) if error else "",
        )

    async def claim(self, request: Request) -> Response:
        """Claim an invite for a key. No cookie has to do with it, so it needs no token."""
        site = self._site
        site.spend(request, "claims")
        is_json = media_type(request) == "application/json"
        if is_json:
            body = await site.json_body(request)
            given, code = body.get("id"), body.get("invite")
        else:
            form = await site.open_form(request)
            given, code = form.get("id"), form.get("invite")
        feed = self._read(given)
        problem = BAD_ID if feed is None else await self._claim(feed, code)
        if is_json or wants_json(request):
            return _failed(site, problem) if problem else site.json(self._claimed())
        if problem is not None:
            if problem == BAD_ID and isinstance(code, str) and await self._is_valid(code):
                return await self._join_page(request, code, BAD_ID_PAGE, 400)
            raise WebError(403, FULL_PAGE) if problem == FULL else WebError(404, INVALID_PAGE)
        return await site.render(request, "claimed.html", address=site.address, feed=feed)

    async def create_form(self, request: Request) -> Response:
        """Show the form: looking at a page makes no invite."""
        self._site.require(request, Action.CREATE_INVITE)
        return await self._site.render(request, "create_invite.html")

    async def create(self, request: Request) -> Response:
        """Make an invite for one key."""
        site = self._site
        visitor = site.require(request, Action.CREATE_INVITE)
        site.spend(request, "claims")
        if visitor.feed is not None:
            await site.form(request)
        site.spend(request, "invites", None if visitor.feed is None else str(visitor.feed))
        code, _ = await make_invite(site, visitor.feed)
        url = invite_url(site, code)
        if wants_json(request):
            return site.json({"url": url})
        return await site.render(
            request,
            "invite_created.html",
            link=url,
            uri=claim_uri(site, code),
            qr=await site.in_thread(qr, url),
            expires=wall_time() + site.registry.settings.invite_days * 86_400.0,
            uses=1,
            back="/" if visitor.feed is None else "/invites",
        )

    # ------------------------------------------------------------ inside

    async def _is_valid(self, code: object) -> bool:
        if not isinstance(code, str) or not 0 < len(code) <= _CODE_LETTERS:
            return False
        invite = await self._site.keeper.read(self._site.records.find_invite, code_hash(code))
        registry = self._site.registry
        return (
            invite is not None
            and invite.is_open(wall_time())
            and (invite.by is None or registry.may(invite.by, Action.CREATE_INVITE))
        )

    async def _claim(self, feed: FeedId, code: object) -> str | None:
        """Claim an invite; return what is wrong, None for nothing."""
        if not isinstance(code, str) or not 0 < len(code) <= _CODE_LETTERS:
            return INVALID
        claim = await self._site.change(self._site.records.claim_invite, code_hash(code), feed, wall_time())
        if claim.outcome in (Outcome.DONE, Outcome.UNCHANGED):
            return None
        return FULL if claim.outcome is Outcome.FULL else INVALID

    def _read(self, given: Any) -> FeedId | None:
        if not isinstance(given, str) or len(given) > limits.ADDRESS_TEXT:
            return None
        try:
            feed = read_id(given)
        except BadInputError:
            return None
        return None if feed == self._site.room.me.id else feed

    def _claimed(self) -> dict[str, Any]:
        """Return the answer to an app. `features` are more than SIP 5 has; it looks at what it knows."""
        site = self._site
        return {
            "status": "successful",
            "multiserverAddress": site.address,
            "features": list(features(site.registry.mode, is_web=True)),
        }


def _failed(site: Site, problem: str | None) -> Response:
    """Return a failure for an app, which reads only what comes with 200."""
    return site.json({"status": "failed", "error": problem or INVALID})

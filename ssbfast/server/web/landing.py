"""The first page: what the room is, its address, and how to join; as JSON the address alone.

docs/protocol/pairing.md, "In words", has the JSON.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ssbfast.room.roles import Action, Mode
from ssbfast.server.web.notice_choice import notice_html
from ssbfast.server.web.site import Site, wants_json

DESCRIPTION = "description"
"""The notice that is shown here."""


def routes(site: Site) -> list[Route]:
    """Return the routes of this module."""

    async def landing(request: Request) -> Response:
        if wants_json(request):
            told = ";".join([site.address, *site.room.web.addresses])
            return site.json({"status": "successful", "multiserverAddress": told, "roomId": str(site.room.me.id)})
        notice = await notice_html(site, request, DESCRIPTION)
        return await site.render(
            request,
            "landing.html",
            notice=None if notice is None else notice[1],
            addresses=addresses(site, request),
            can_invite=site.registry.may(site.visitor(request).feed, Action.CREATE_INVITE),
        )

    return [Route("/", landing)]


def addresses(site: Site, request: Request) -> list[tuple[str, str]]:
    """Return how peers reach the room: what each form is for, and the form."""
    say = site.text(request)
    found = [(say("Address, for every app"), site.address)]
    found += [(say("Address for browsers"), address) for address in site.room.web.addresses]
    if site.registry.mode is Mode.OPEN:
        found.append((say("Invite, for older apps"), str(site.room.invite)))
    return found

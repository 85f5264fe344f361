"""What was done by whom, and measurements without names: for moderators."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ssbfast import limits
from ssbfast.room.roles import Action
from ssbfast.server.status import status
from ssbfast.server.web.pages.common import N_, names_of, number_in
from ssbfast.server.web.site import Site, wall_time

ACTIONS = {
    "add": N_("%(who)s added %(whom)s"),
    "role": N_("%(who)s changed the role of %(whom)s"),
    "remove": N_("%(who)s removed %(whom)s"),
    "block": N_("%(who)s blocked %(whom)s"),
    "unblock": N_("%(who)s unblocked %(whom)s"),
    "settings": N_("%(who)s changed the settings"),
    "invite": N_("%(who)s made an invite"),
    "revoke invite": N_("%(who)s revoked an invite"),
    "claim": N_("%(who)s joined by invite"),
    "alias": N_("%(who)s registered an alias"),
    "revoke alias": N_("%(who)s revoked an alias of %(whom)s"),
    "link": N_("%(who)s made a login link for %(whom)s"),
    "use link": N_("%(who)s signed in by link"),
    "password": N_("%(who)s changed the password of %(whom)s"),
    "notice": N_("%(who)s changed a notice"),
    "import": N_("%(who)s took over %(whom)s from another room"),
}
"""What lines of the audit log are about (`ssbfast.room.records.AUDIT_ACTIONS`)."""


def routes(site: Site) -> list[Route]:
    """Return the routes of both pages."""

    async def audit(request: Request) -> Response:
        site.require(request, Action.SEE_AUDIT)
        before = number_in(request.query_params.get("before", "")) or None
        size = limits.WEB_AUDIT_PAGE
        found = await site.keeper.read(site.records.audit, before=before, count=size + 1)
        return await site.render(
            request,
            "audit.html",
            rows=found[:size],
            older=found[size - 1].number if len(found) > size else None,
            newest=before is None,
            actions=ACTIONS,
            names=names_of(site.registry),
            days=limits.AUDIT_DAYS,
        )

    async def measurements(request: Request) -> Response:
        site.require(request, Action.SEE_AUDIT)
        open_invites = await site.keeper.read(site.records.open_invites, wall_time())
        claimed = await site.keeper.read(lambda: sum(invite.used for invite in site.records.invites()))
        return await site.render(
            request,
            "measurements.html",
            figures=status(site.room),
            open_invites=sum(open_invites.values()),
            claimed=claimed,
        )

    return [Route("/audit", audit, methods=["GET"]), Route("/measurements", measurements, methods=["GET"])]

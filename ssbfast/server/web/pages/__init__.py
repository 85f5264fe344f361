"""The pages of a room's web site after sign-in, and its notices. Each module has `routes(site)`.

Every right is asked of the registry, in memory, right before something is done; every change is one call of the
records, by the keeper. A form that cannot be taken is shown again with status 400 and one sentence.
"""

from __future__ import annotations

from starlette.routing import Route

from ssbfast.server.web.pages import (
    aliases,
    audit,
    blocked,
    dashboard,
    invites,
    language,
    me,
    members,
    notices,
    settings,
)
from ssbfast.server.web.site import Site

MODULES = (dashboard, members, invites, aliases, blocked, settings, notices, me, audit, language)


def routes(site: Site) -> list[Route]:
    """Return the routes of all pages."""
    return [route for module in MODULES for route in module.routes(site)]

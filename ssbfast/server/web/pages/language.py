"""The language of the pages, as a visitor chooses it at their foot."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ssbfast.server.web.errors import WebError
from ssbfast.server.web.languages import LANGUAGES
from ssbfast.server.web.site import Site


def routes(site: Site) -> list[Route]:
    """Return the route of the language."""

    async def choose(request: Request) -> Response:
        # An open form: what another site's form could do with it is a page in another language.
        form = await site.open_form(request)
        language = form.get("language")
        if language not in LANGUAGES:
            raise WebError(400)
        response = site.redirect(local_path(form.get("next")))
        site.choose_language(request, response, language)
        return response

    return [Route("/language", choose, methods=["POST"])]


def local_path(text: str) -> str:
    """Return a path of this site; the front page for anything that could be another one's."""
    is_path = text.startswith("/") and not text.startswith("//") and text.isascii() and text.isprintable()
    return text if is_path and not set(text) & set('\\ "<>') else "/"

"""What a request may end in besides a page."""

from __future__ import annotations

from collections.abc import Mapping


class WebError(Exception):
    """A request that gets an error page, or the same as JSON.

    Args:
        status: The HTTP status.
        text: One sentence for people; a text of ours, which is translated. Empty: the status's own.
        headers: Further headers.
        incident: What our log calls it by.
    """

    def __init__(
        self, status: int, text: str = "", headers: Mapping[str, str] | None = None, incident: str = ""
    ) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = dict(headers or {})
        self.incident = incident

"""QR codes on a terminal."""

from __future__ import annotations

import importlib.util
import io

from ssbfast.errors import MissingExtraError


def check_qr() -> None:
    """Raise MissingExtraError where no QR code can be made."""
    if importlib.util.find_spec("segno") is None:
        raise MissingExtraError("QR codes need an extra: pip install 'ssbfast[web]' (or segno)")


def qr(text: str) -> str:
    """Return a text as a QR code: lines of half blocks."""
    import segno

    out = io.StringIO()
    segno.make(text, error="l", micro=False).terminal(out, border=2, compact=True)
    return out.getvalue()

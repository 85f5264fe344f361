"""The number of files, and so of connections, that this process may have open."""

from __future__ import annotations

from typing import Final

_ENOUGH: Final = (65_536, 10_240)
"""What is asked for where the hard limit itself is refused: macOS calls its own "infinite"."""


def raise_file_limit() -> None:
    """Raise the soft limit of open files to the hard one: the usual 1,024 are soon used up.

    Does nothing where there is no such limit (Windows), or the system refuses.
    """
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft in (hard, resource.RLIM_INFINITY):
        return
    for wanted in (hard, *_ENOUGH):
        if wanted != hard and wanted <= soft:
            return
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            continue
        return

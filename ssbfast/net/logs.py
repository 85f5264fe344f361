"""Loggers of this package: `ssbfast.<part>`, quiet until a program configures them.

No line tells an address or a full id. So a line is a text of ours with numbers and feed ids, and an id is cut to its
short form.
"""

from __future__ import annotations

import logging

from ssbfast.ids import FeedId


class Log:
    """The logger of one part of the package."""

    def __init__(self, part: str) -> None:
        self._logger = logging.getLogger(f"ssbfast.{part}")
        self._logger.addHandler(logging.NullHandler())

    def warning(self, text: str, *values: int | float | FeedId) -> None:
        """Log a warning. text: a format of ours, as the `logging` module takes it."""
        shown = [value.short if isinstance(value, FeedId) else value for value in values]
        self._logger.warning(text, *shown, stacklevel=2)


def silence(name: str) -> None:
    """Silence the logger of another package, which tells what ours may not."""
    logging.getLogger(name).setLevel(logging.CRITICAL + 1)

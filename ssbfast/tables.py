"""Tables of many entries that give their memory back."""

from __future__ import annotations

import sys
from typing import Any

_SMALL = 16 * 1024
_BYTES_AN_ENTRY = 400


def compact(*tables: dict[Any, Any]) -> None:
    """Shrink tables that were large once to the memory that their entries need now.

    Python never does so when entries are deleted. The order of entries stays. No code may be iterating over a table.
    """
    for table in tables:
        size = sys.getsizeof(table)
        if size > _SMALL and size > len(table) * _BYTES_AN_ENTRY:
            entries = dict(table)
            table.clear()
            table.update(entries)

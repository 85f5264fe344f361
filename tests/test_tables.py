"""Tables that were large once."""

from __future__ import annotations

import sys

from ssbfast.tables import compact


def test_a_table_that_was_large_takes_what_it_needs() -> None:
    table = {n: str(n) for n in range(5_000)}
    for n in range(10, 5_000):
        del table[n]
    before = sys.getsizeof(table)
    compact(table)
    assert sys.getsizeof(table) < before / 100
    assert list(table.items()) == [(n, str(n)) for n in range(10)]


def test_a_table_in_use_is_left_alone() -> None:
    table = dict.fromkeys(range(5_000))
    entries = iter(table)
    next(entries)
    compact(table)
    assert len(list(entries)) == 4_999  # it would raise if the table had been touched


def test_small_tables_are_left_alone() -> None:
    table = dict.fromkeys(range(100))
    for n in range(99):
        del table[n]
    before = sys.getsizeof(table)
    compact(table)
    assert sys.getsizeof(table) == before

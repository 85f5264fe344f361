"""The log of what has happened: numbered, shared, bounded."""

from __future__ import annotations

from ssbfast import limits
from ssbfast.room.event_log import News


def test_each_reads_on_where_he_was() -> None:
    news = News()
    for event in (b"a", b"b", b"c"):
        news.add(event)
    assert news.next == 3
    assert news.since(0) == [b"a", b"b", b"c"]
    assert news.since(2) == [b"c"]
    assert news.since(3) == []


def test_what_all_know_is_forgotten() -> None:
    news = News()
    for event in (b"a", b"b", b"c"):
        news.add(event)
    news.forget(2)
    assert news.since(1) is None
    assert news.since(2) == [b"c"]
    news.forget(100)
    assert news.since(3) == [] and news.next == 3


def test_the_oldest_are_forgotten_when_there_is_too_much() -> None:
    news = News()
    event = bytes(1000)
    for _ in range(1000):
        news.add(event)
    kept = news.since(1000 - limits.SUBSCRIBER_BACKLOG // 1000)
    assert kept is not None and len(kept) == limits.SUBSCRIBER_BACKLOG // 1000
    assert news.since(999 - limits.SUBSCRIBER_BACKLOG // 1000) is None

"""The calls of a room with members, and what its sessions feel of changes, without a network."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import ssbfast
from ssbfast import limits
from ssbfast.keys import Keypair
from ssbfast.room.alias_rules import RESERVED, alias_url, is_signed, may_be_registered
from ssbfast.room.directory import Portal
from ssbfast.room.effects import EndVisits, Exclude, Fail, Left, RegisterAlias, StreamItem
from ssbfast.room.member_list import MemberList
from ssbfast.room.methods import MEMBERS_ONLY, RoomInfo, RoomMethods
from ssbfast.room.records import News, Settings, Standing
from ssbfast.room.registry import Registry
from ssbfast.room.roles import Mode, Role
from ssbfast.wire.alias import decode_signature, sign_alias
from ssbfast.wire.muxrpc import Called, CallKind
from tests.helpers.rooms import feed

A, B, C = feed(1), feed(2), feed(3)


class Room:
    """A registry and the methods that ask it. sessions: A has 1 and 2, B has 3, C has 4; A and B are members."""

    def __init__(self, mode: Mode = Mode.COMMUNITY) -> None:
        self.number = 1
        self.settings = Settings(mode=mode)
        self.portal = Portal(feed(9))
        self.registry = Registry(feed(9))
        self.registry.apply(News(1, self.settings, {A: Standing(Role.MEMBER), B: Standing(Role.MEMBER)}, True))
        self.methods = RoomMethods(
            self.portal, RoomInfo("room"), wall_ms=lambda: 0, registry=self.registry, has_records=True
        )
        for session, id in ((1, A), (2, A), (3, B), (4, C)):
            self.portal.open(session, id)
        self.requests = iter(range(-1, -100, -1))

    def call(self, session: int, name: str, *args: Any, kind: CallKind = CallKind.ASYNC) -> tuple[int, list[Any]]:
        req = next(self.requests)
        return req, self.methods.handle(session, Called(req, kind, tuple(name.split(".")), list(args)), 0.0)

    def subscribe(self, session: int) -> int:
        return self.call(session, "room.attendants", kind=CallKind.SOURCE)[0]

    def change(self, mode: Mode | None = None, **standings: Role) -> list[Any]:
        self.number += 1
        self.settings = self.settings if mode is None else Settings(mode=mode)
        keys = {"a": A, "b": B, "c": C}
        news = News(self.number, self.settings, {keys[name]: Standing(role) for name, role in standings.items()})
        effects = self.methods.changed(self.registry.apply(news), 0.0)
        return effects if mode is None else [*effects, *self.methods.settle(self.portal.feeds(), 0.0)]


def told(session: int, req: int, kind: str, id: Any) -> StreamItem:
    return StreamItem(session, req, json.dumps({"type": kind, "id": str(id)}, separators=(",", ":")).encode())


def test_a_blocked_key_leaves_once_before_it_is_cut() -> None:
    room = Room()
    for session in (1, 2):
        room.subscribe(session)
    listener = room.subscribe(3)
    effects = room.change(a=Role.BLOCKED)
    assert effects[0] == Left(A) and told(3, listener, "left", A) in effects
    assert effects.count(Left(A)) == 1
    assert effects[-2:] == [Exclude(2, A), Exclude(1, A)]
    assert room.portal.attendants() == [B]
    assert room.methods.session_closed(1, 0.0) == room.methods.session_closed(2, 0.0) == []


def test_a_key_that_turns_external_hears_why() -> None:
    room = Room()
    requests = [room.subscribe(1), room.subscribe(1), room.subscribe(2)]
    effects = room.change(a=Role.EXTERNAL)
    for session, req in zip((1, 1, 2), requests, strict=True):
        assert effects.count(Fail(session, req, MEMBERS_ONLY)) == 1
    assert [effect for effect in effects if isinstance(effect, EndVisits)] == [EndVisits(2, A), EndVisits(1, A)]
    assert room.change(a=Role.EXTERNAL) == []
    _, (failed,) = room.call(1, "room.attendants", kind=CallKind.SOURCE)
    assert isinstance(failed, Fail) and failed.message == MEMBERS_ONLY
    assert room.change(a=Role.MEMBER) == [] and room.portal.attendants() == []
    room.subscribe(1)
    assert room.portal.attendants() == [A]


def test_modes() -> None:
    room = Room(Mode.OPEN)
    for session in (1, 3, 4):
        room.subscribe(session)
    effects = room.change(Mode.COMMUNITY)
    assert [one for one in effects if isinstance(one, Left | EndVisits | Exclude)] == [Left(C), EndVisits(4, C)]
    effects = room.change(Mode.RESTRICTED)
    assert effects == [Exclude(4, C)]
    assert room.change(Mode.OPEN) == []


def test_roles_inside_change_nothing() -> None:
    room = Room()
    room.subscribe(1)
    assert room.change(a=Role.ADMIN) == room.change(a=Role.MEMBER) == []


def test_members_in_pieces(monkeypatch: Any) -> None:
    monkeypatch.setattr(limits, "MEMBERS_PER_PACKET", 2)
    members = MemberList()
    assert list(members.packets()) == []
    for number in range(5):
        members.put(feed(number), Role.MEMBER)
    members.put(feed(2), Role.ADMIN)  # keeps its place
    members.put(feed(0), Role.BLOCKED)
    members.put(feed(7), Role.EXTERNAL)
    pieces = [json.loads(piece) for piece in members.packets()]
    assert [[item["id"] for item in piece] for piece in pieces] == [
        [str(feed(1)), str(feed(2))],
        [str(feed(3)), str(feed(4))],
    ]
    assert len(members) == 4


def test_a_registration_is_an_effect_whose_signature_is_checked_later() -> None:
    me = Keypair.generate()
    room = Room(Mode.OPEN)
    room.portal.open(5, me.id)
    text = sign_alias(me, room.portal.me, "alice")
    req, effects = room.call(5, "room.registerAlias", "alice", text)
    signature = decode_signature(text)
    assert signature is not None
    assert effects == [RegisterAlias(5, req, me.id, "alice", signature)]
    assert is_signed(room.portal.me, effects[0])
    assert not is_signed(feed(8), effects[0])


def test_every_first_segment_of_the_web_site_is_a_reserved_word() -> None:
    """An alias is one, too: `https://HOST/ALIAS`."""
    web = Path(ssbfast.__file__).parent / "server" / "web"
    sources = [path.read_text(encoding="utf-8") for path in web.rglob("*.py")]
    paths = {path for source in sources for path in re.findall(r'(?:Route|Mount)\(\s*"/([^"]*)"', source)}
    segments = {path.partition("/")[0] for path in paths} - {"", "{alias}"}
    assert segments and segments <= RESERVED


def test_reserved_words_are_no_aliases() -> None:
    assert may_be_registered("alice") and not may_be_registered("Alice")
    assert not any(may_be_registered(word) for word in RESERVED)


@pytest.mark.parametrize(
    ("name", "style", "url"),
    [
        ("alice", "path", "https://room.example:8443/alice"),
        ("alice", "subdomain", "https://alice.room.example:8443"),
        ("news", "path", "https://room.example:8443/alias/news"),  # imported: our own rooms give it to nobody
        ("news", "subdomain", "https://news.room.example:8443"),
    ],
)
def test_where_an_alias_is(name: str, style: str, url: str) -> None:
    assert alias_url("https://room.example:8443", name, style) == url

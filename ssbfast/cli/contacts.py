"""`ssbfast follow`, `unfollow`, `block`, `unblock` and `contacts`: the peers that this peer lets in.

Running `ssbfast listen` and `connect` feel a change within a second.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import click

from ssbfast.cli.list_group import ListGroup, is_alone
from ssbfast.cli.nicknames import as_option, full_option, peer_argument, read_nickname, show
from ssbfast.cli.options import (
    OWN_ID,
    SECRET,
    callback,
    data_flag,
    has_store,
    peer_options,
    read_secret,
    say,
    say_row,
    say_text,
)
from ssbfast.cli.terminal_text import Meaning, Piece
from ssbfast.errors import BadInputError, KeyFileError
from ssbfast.ids import FeedId, NetworkId
from ssbfast.room.tunnel_auth import Relation


@click.command()
@peer_argument()
@as_option
@full_option
@peer_options
def follow(who: FeedId, nickname: str | None, data: Path, network: NetworkId, as_json: bool) -> None:
    """Follow a peer: it may open tunnels to you, and you to it if it follows you.

    Its nickname is taken wherever a command takes an id.

    \b
    Examples:
      ssbfast follow @ID
      ssbfast follow @ID --as laptop
    """
    _change("follow", who, data, nickname=nickname, as_json=as_json)


@click.command()
@peer_argument()
@full_option
@peer_options
def unfollow(who: FeedId, data: Path, network: NetworkId, as_json: bool) -> None:
    """Stop following a peer. Its tunnels end within a second.

    \b
    Examples:
      ssbfast unfollow @ID
      ssbfast unfollow laptop
    """
    _change("unfollow", who, data, as_json=as_json)


@click.command()
@peer_argument()
@full_option
@peer_options
def block(who: FeedId, data: Path, network: NetworkId, as_json: bool) -> None:
    """Block a peer; no policy overrules that. Its tunnels end within a second.

    \b
    Examples:
      ssbfast block @ID
      ssbfast block laptop
    """
    _change("block", who, data, as_json=as_json)


@click.command()
@peer_argument()
@full_option
@peer_options
def unblock(who: FeedId, data: Path, network: NetworkId, as_json: bool) -> None:
    """Stop blocking a peer. If you followed it before the block, you follow it again.

    \b
    Examples:
      ssbfast unblock @ID
      ssbfast unblock laptop
    """
    _change("unblock", who, data, as_json=as_json)


@click.group(cls=ListGroup)
@full_option
@peer_options
def contacts(data: Path, network: NetworkId, as_json: bool) -> None:
    """List the peers that you follow and block, and change their nicknames.

    Without a command it lists. A nickname is what you call a peer; no other peer learns it.

    \b
    Examples:
      ssbfast contacts
      ssbfast contacts --json
      ssbfast contacts rename laptop old-laptop
      ssbfast contacts forget old-laptop
    """
    if is_alone():
        _list(data, as_json=as_json)


def _list(data: Path, *, as_json: bool) -> None:
    from ssbfast.store.peer_store import Store

    found = []
    if has_store(data):
        with Store(data, reading=True) as store:
            found = store.contacts()
    for contact in found:
        event = {
            "event": "contact",
            "id": str(contact.id),
            "nickname": contact.nickname,
            **_as_members(contact.relation),
            "room": contact.room,
            "changed": round(contact.changed, 3),
        }
        day = time.strftime("%Y-%m-%d", time.localtime(contact.changed))
        relation = paint_relation(contact.relation)
        say_row(event, f"{show(contact.id, contact.nickname)}  ", relation, f"  since {day}", as_json=as_json)
    if not found and not as_json:
        say_text("You follow nobody and block nobody. Next: ", (f"ssbfast follow @ID{data_flag(data)}", Meaning.HINT))


@contacts.command()
@peer_argument("OLD")
@click.argument("new", metavar="NEW", callback=callback(read_nickname))
@full_option
@peer_options
def rename(who: FeedId, new: str, data: Path, network: NetworkId, as_json: bool) -> None:
    """Give a peer another nickname. OLD is its nickname or its id; one without a nickname gets its first.

    \b
    Examples:
      ssbfast contacts rename laptop old-laptop
      ssbfast contacts rename @ID laptop
    """
    from ssbfast.store.peer_store import Store

    if who == _own_id(data):
        raise BadInputError(OWN_ID)
    with Store(data) as store:
        changed = store.rename(who, new)
    event = {"event": "rename", "id": str(who), "nickname": new, "changed": changed}
    say(event, f"{show(who, new)}{'' if changed else ' (as before)'}", as_json=as_json)


@contacts.command()
@peer_argument("NICK|@ID")
@full_option
@peer_options
def forget(who: FeedId, data: Path, network: NetworkId, as_json: bool) -> None:
    """Forget a peer: its nickname, its room and that you follow it. Its tunnels end within a second.

    A block stays: to end it too, unblock the peer.

    \b
    Example:
      ssbfast contacts forget old-laptop
    """
    from ssbfast.store.peer_store import Store

    with Store(data) as store:
        shown = show(who, store.nickname(who))
        changed = store.forget(who)
        relation = store.relation(who)
    event = {"event": "forget", "id": str(who), "changed": changed, **_as_members(relation)}
    text = f"{shown}  {'forgotten' if changed else 'not known'}{', and still blocked' if relation.blocks else ''}"
    say(event, text, as_json=as_json)


def _change(action: str, who: FeedId, data: Path, *, nickname: str | None = None, as_json: bool) -> None:
    from ssbfast.store.peer_store import Store

    if action in ("follow", "block") and who == _own_id(data):
        raise BadInputError(OWN_ID)
    with Store(data) as store:
        changes: dict[str, Callable[[FeedId], bool]] = {
            "follow": lambda peer: store.follow(peer, nickname),
            "unfollow": store.unfollow,
            "block": store.block,
            "unblock": store.unblock,
        }
        changed = changes[action](who)
        relation = store.relation(who)
        called = store.nickname(who)
    event = {"event": action, "id": str(who), "nickname": called, "changed": changed, **_as_members(relation)}
    words = outcome(who, called, relation, changed=changed)
    if action == "follow":
        words += block_hint(called or str(who), relation, data)
    say(event, *words, as_json=as_json)


def outcome(who: FeedId, called: str | None, relation: Relation, *, changed: bool) -> list[Piece]:
    """Return what people read after a change: what we think of a peer now."""
    return [f"{show(who, called)}  ", paint_relation(relation), "" if changed else " (as before)"]


def block_hint(called: str, relation: Relation, data: Path) -> list[Piece]:
    """Return what people read after they follow a peer that they block."""
    if not relation.blocks:
        return []
    text = "\nThe block is the stronger of the two. To let the peer in: "
    return [text, (f"ssbfast unblock {called}{data_flag(data)}", Meaning.HINT)]


def _own_id(data: Path) -> FeedId | None:
    """Return our id; None while we have none that can be read, which is no reason not to change contacts."""
    file = data / SECRET
    try:
        return read_secret(file).id if os.path.lexists(file) else None
    except KeyFileError:
        return None


def _as_members(relation: Relation) -> dict[str, object]:
    return {"follows": relation.follows, "blocks": relation.blocks}


def in_words(relation: Relation) -> str:
    """Return what a relation means, as a list shows it."""
    if relation.blocks:
        return "blocked (and followed)" if relation.follows else "blocked"
    return "followed" if relation.follows else "neither followed nor blocked"


def paint_relation(relation: Relation) -> Piece:
    """Return it with what it means."""
    words = in_words(relation)
    if relation.blocks:
        return words, Meaning.BAD
    return (words, Meaning.GOOD) if relation.follows else words

"""`ssbfast follow`, `unfollow`, `block`, `unblock` and `contacts`: the peers that this peer lets in.

Running `ssbfast listen` and `connect` feel a change within a second.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import click

from ssbfast.cli.options import (
    OWN_ID,
    SECRET,
    data_flag,
    feed_argument,
    has_store,
    peer_options,
    read_secret,
    say,
)
from ssbfast.errors import BadInputError, KeyFileError
from ssbfast.ids import FeedId, NetworkId
from ssbfast.room.tunnel_auth import Relation


@click.command()
@feed_argument
@peer_options
def follow(who: FeedId, data: Path, network: NetworkId, as_json: bool) -> None:
    """Follow a peer: it may open tunnels to you, and you to it if it follows you.

    \b
    Example:
      ssbfast follow @ID
    """
    _change("follow", who, data, as_json=as_json)


@click.command()
@feed_argument
@peer_options
def unfollow(who: FeedId, data: Path, network: NetworkId, as_json: bool) -> None:
    """Stop following a peer. Its tunnels end within a second.

    \b
    Example:
      ssbfast unfollow @ID
    """
    _change("unfollow", who, data, as_json=as_json)


@click.command()
@feed_argument
@peer_options
def block(who: FeedId, data: Path, network: NetworkId, as_json: bool) -> None:
    """Block a peer; no policy overrules that. Its tunnels end within a second.

    \b
    Example:
      ssbfast block @ID
    """
    _change("block", who, data, as_json=as_json)


@click.command()
@feed_argument
@peer_options
def unblock(who: FeedId, data: Path, network: NetworkId, as_json: bool) -> None:
    """Stop blocking a peer. If you followed it before the block, you follow it again.

    \b
    Example:
      ssbfast unblock @ID
    """
    _change("unblock", who, data, as_json=as_json)


@click.command()
@peer_options
def contacts(data: Path, network: NetworkId, as_json: bool) -> None:
    """List the peers that you follow and block.

    \b
    Examples:
      ssbfast contacts
      ssbfast contacts --json
    """
    from ssbfast.store.peer_store import Store

    found = []
    if has_store(data):
        with Store(data, reading=True) as store:
            found = store.contacts()
    for contact in found:
        event = {"event": "contact", "id": str(contact.id), **_as_members(contact.relation)}
        event["changed"] = round(contact.changed, 3)
        day = time.strftime("%Y-%m-%d", time.localtime(contact.changed))
        say(event, f"{contact.id}  {in_words(contact.relation)}  since {day}", as_json=as_json)
    if not found and not as_json:
        click.echo(f"You follow nobody and block nobody. Next: ssbfast follow @ID{data_flag(data)}")


def _change(action: str, who: FeedId, data: Path, *, as_json: bool) -> None:
    from ssbfast.store.peer_store import Store

    if action in ("follow", "block") and who == _own_id(data):
        raise BadInputError(OWN_ID)
    with Store(data) as store:
        changes: dict[str, Callable[[FeedId], bool]] = {
            "follow": store.follow,
            "unfollow": store.unfollow,
            "block": store.block,
            "unblock": store.unblock,
        }
        changed = changes[action](who)
        relation = store.relation(who)
    event = {"event": action, "id": str(who), "changed": changed, **_as_members(relation)}
    text = f"{who}  {in_words(relation)}{'' if changed else ' (as before)'}"
    if action == "follow" and relation.blocks:
        text += f"\nThe block is the stronger of the two. To let the peer in: ssbfast unblock {who}{data_flag(data)}"
    say(event, text, as_json=as_json)


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

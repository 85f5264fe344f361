"""`ssbfast denials`: the connections that this peer refused, and the two answers to one: follow back, call back."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssbfast.cli.calling import calling_options, run_calls
from ssbfast.cli.contacts import block_hint, outcome
from ssbfast.cli.nicknames import as_option, brief, full_option
from ssbfast.cli.options import callback, data_flag, has_store, peer_options, say, say_row, say_text
from ssbfast.cli.path_options import paths_from
from ssbfast.cli.peer_options import trust_from
from ssbfast.cli.peer_output import meaning
from ssbfast.cli.terminal_text import Meaning, Piece
from ssbfast.errors import BadInputError
from ssbfast.ids import FeedId, NetworkId
from ssbfast.pasted.addresses import read_alias

if TYPE_CHECKING:
    from ssbfast.cli.peer_options import Given
    from ssbfast.net.endpoints import Place
    from ssbfast.pasted.web_links import AliasLink
    from ssbfast.room.denials import Denial
    from ssbfast.store.peer_store import DenialCount, Store
    from ssbfast.wire.alias import Alias

_NUMBER = click.IntRange(1, 2**63 - 1)


@click.command()
@click.argument("number", type=_NUMBER, metavar="[N]", required=False)
@click.option(
    "--alias",
    metavar="ALIAS",
    callback=callback(lambda text: None if text is None else read_alias(text)),
    help="Verify that denial N was of this alias's owner, and remember it.",
)
@click.option(
    "--follow", type=_NUMBER, metavar="N", help="Follow the peer that was refused. Shows the full id and asks."
)
@as_option
@click.option("--yes", is_flag=True, help="With --follow: do not ask.")
@click.option(
    "--connect",
    "call",
    type=_NUMBER,
    metavar="N",
    help="Open a tunnel to the peer that was refused; the options below are those of `ssbfast connect`.",
)
@calling_options(bind="Local address where programs reach the peer's service; port 0 picks a free port.")
@full_option
@peer_options
def denials(
    number: int | None,
    alias: AliasLink | Alias | None,
    follow: int | None,
    nickname: str | None,
    yes: bool,
    call: int | None,
    data: Path,
    network: NetworkId,
    as_json: bool,
    **calling: Any,
) -> int:
    """List refused connections, or one of them. Each keeps its number.

    A refused peer does not learn why it was refused, nor that you can see it here. To let a peer in, follow it
    (--follow N); it has to follow you too.

    \b
    Examples:
      ssbfast denials
      ssbfast denials --follow 3 --as laptop
      ssbfast denials 3 --alias alice.room.example
    """
    if follow is not None and call is not None:
        raise click.UsageError("--follow and --connect are two things: one at a time")
    if number is not None and (follow is not None or call is not None):
        raise click.UsageError("--follow and --connect have a number of their own")
    if alias is not None and number is None:
        raise click.UsageError("--alias goes with the number of a denial")
    if (yes or nickname is not None) and follow is None:
        raise click.UsageError("--yes and --as go with --follow N")
    trust, paths = trust_from(calling), paths_from(calling)
    if call is None and (trust or paths or any(calling.values())):
        raise click.UsageError("options of a connection go with --connect N")
    if follow is not None:
        return _follow(follow, data, nickname=nickname, yes=yes, as_json=as_json)
    if call is not None:
        return _call(call, data, network=network, as_json=as_json, trust=trust, paths=paths, **calling)
    if number is None:
        _list(data, as_json=as_json)
    elif alias is None:
        _show(number, data, as_json=as_json)
    else:
        _name(number, alias, data, as_json=as_json)
    return 0


# ---------------------------------------------------------------- the list


def _list(data: Path, *, as_json: bool) -> None:
    from ssbfast.store.peer_store import Store

    found: list[Denial] = []
    counts: dict[FeedId, DenialCount] = {}
    nicknames: dict[FeedId, str | None] = {}
    if has_store(data):
        with Store(data, reading=True) as store:
            found, counts = store.denials(), store.denial_counts()
            nicknames = {contact.id: contact.nickname for contact in store.contacts()}
    for denial in found:
        say_row(as_event(denial), *in_a_line(denial, nicknames.get(denial.origin)), as_json=as_json)
    for room, count in counts.items():
        event = {"event": "refused", "portal": str(room), "n": count.refused, "kept": count.kept}
        say_row({**event, "faults": count.faults}, _in_figures(room, count), as_json=as_json)
    if as_json:
        return
    if found:
        say_text("Next: ", (f"ssbfast denials --follow N{data_flag(data)}", Meaning.HINT))
    else:
        say_text("No connection was refused.")


def _show(number: int, data: Path, *, as_json: bool) -> None:
    from ssbfast.store.peer_store import Store

    with Store(_existing(data), reading=True) as store:
        denial = _denial(store, number)
        nickname = store.nickname(denial.origin)
    say_row(as_event(denial), *in_a_line(denial, nickname), as_json=as_json)


def _name(number: int, link: AliasLink | Alias, data: Path, *, as_json: bool) -> None:
    """Note an alias in a denial, once it is verified that it is that peer's, in that room. Raises AliasError."""
    from ssbfast.client.aliases import check_owner, resolve_alias
    from ssbfast.store.peer_store import Store

    with Store(_existing(data)) as store:
        denial = _denial(store, number)
        alias = asyncio.run(resolve_alias(link))
        check_owner(alias, denial.origin, denial.room)
        store.name_denials(denial.room, denial.origin, str(alias), time.time())
        named = _denial(store, number)
    say(as_event(named), f"{named.origin} ({named.alias}) was refused", as_json=as_json)


def as_event(denial: Denial) -> dict[str, object]:
    return {
        "event": "denied",
        "n": denial.number,
        "portal": str(denial.room),
        "origin": str(denial.origin),
        "address": denial.address,
        "proven": denial.proven,
        "reason": denial.reason.value,
        "alias": denial.alias,
        "verified_at": denial.verified_at,
        "time": round(denial.time, 3),
    }


def in_a_line(denial: Denial, nickname: str | None) -> list[Piece]:
    """Return a denial as the list shows it."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(denial.time))
    who = " ".join(filter(None, (nickname, brief(denial.origin), denial.alias and f"({denial.alias})")))
    text = f"{denial.number:>5}  {when}  {who}  through {brief(denial.room)}  "
    return [text, (meaning(as_event(denial)), Meaning.BAD)]


def _in_figures(room: FeedId, count: DenialCount) -> str:
    text = f"through {brief(room)}: {count.refused} refused"
    if count.rest > 0:
        text += f", {count.rest} of them only counted"
    if count.faults:
        text += f", {count.faults} in which the room named another peer"
    return text


# ---------------------------------------------------------------- the two answers


def _follow(number: int, data: Path, *, nickname: str | None, yes: bool, as_json: bool) -> int:
    from ssbfast.store.peer_store import Store

    with Store(_existing(data)) as store:
        who = _denial(store, number).origin
        if not yes:
            if not sys.stdin.isatty():
                raise BadInputError(f"there is no terminal to ask whether to follow {who}: say --yes")
            if not click.confirm(f"Follow {who}?", err=True):
                click.echo("Nothing was changed.", err=True)
                return 1
        changed = store.follow(who, nickname)
        relation = store.relation(who)
        called = store.nickname(who)
    event = {"event": "follow", "id": str(who), "nickname": called, "changed": changed}
    words = outcome(who, called, relation, changed=changed) + block_hint(called or str(who), relation, data)
    say({**event, "follows": relation.follows, "blocks": relation.blocks}, *words, as_json=as_json)
    return 0


def _call(number: int, data: Path, *, rooms: tuple[Given, ...], bind: Place | None, **options: Any) -> int:
    from ssbfast.store.peer_store import Store

    with Store(_existing(data), reading=True) as store:
        denial = _denial(store, number)
    if denial.address is None:
        raise BadInputError(f"denial {number} has no verified address")
    if bind is None or not (rooms or denial.alias):
        raise BadInputError(f"--connect needs --bind HOST:PORT, and --room with the address of {denial.room}")
    target = denial.address if rooms or denial.alias is None else denial.alias  # which says where the room is
    return run_calls([target], data=data, rooms=rooms, bind=bind, only=denial.origin, **options)


def _existing(data: Path) -> Path:
    """Return the directory, if it has a store: looking for a denial makes none."""
    if not has_store(data):
        raise BadInputError(f"there are no denials in {data}")
    return data


def _denial(store: Store, number: int) -> Denial:
    denial = store.denial(number)
    if denial is None:
        raise BadInputError(f"there is no denial {number} (any more); see the list with: ssbfast denials")
    return denial

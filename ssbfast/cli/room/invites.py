"""`ssbfast room invite`: make invites, list them, revoke them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from ssbfast import limits
from ssbfast.cli.list_group import ListGroup, is_alone
from ssbfast.cli.options import say
from ssbfast.cli.output import clean_line
from ssbfast.cli.room.common import (
    called,
    day,
    id_or_none,
    names_of,
    next_command,
    room_options,
    short_text_callback,
    to_read,
    to_write,
)
from ssbfast.cli.room.urls import url_option, web_address
from ssbfast.errors import BadInputError
from ssbfast.room.records import Invite, Outcome
from ssbfast.room.roles import Action, Role, may

_NUMBER = click.IntRange(1, 2**63 - 1)


@click.group("invite", cls=ListGroup)
@room_options
def invite(data: Path, as_json: bool) -> None:
    """Make invites, list them, revoke them.

    Without a command it lists. Who claims an invite becomes a member. Invites need the room's web site.

    \b
    Examples:
      ssbfast room invite create --uses 10 --days 7 --note "reading group"
      ssbfast room invite
      ssbfast room invite revoke 3
    """
    if is_alone():
        _list(data, as_json=as_json)


@invite.command("create")
@click.option(
    "--uses", type=click.IntRange(1, limits.INVITE_USES), default=1, show_default=True, help="Keys it lets in."
)
@click.option(
    "--days", type=click.IntRange(1, limits.INVITE_DAYS), help="Days that it is valid. Default: as the settings say."
)
@click.option("--note", default="", callback=short_text_callback, help="For whom it is, for you to remember.")
@url_option
@room_options
def create_invite(uses: int, days: int | None, note: str, url: str | None, data: Path, as_json: bool) -> None:
    """Make an invite, and print its link: it is shown this once.

    \b
    Examples:
      ssbfast room invite create
      ssbfast room invite create --uses 10 --days 7 --note "reading group"
    """
    from ssbfast.room.codes import hash_of, new_code

    code = new_code()
    hash = hash_of(code)
    if hash is None:
        raise AssertionError("a new code cannot be read")
    with to_write(data) as store:
        settings = store.news(None).settings
        expires = time.time() + (days or settings.invite_days) * 86_400.0
        number = store.create_invite(hash, by=None, note=note, expires=expires, uses=uses).number
        base = web_address(url, store)
    link = None if base is None else f"{base}/join?invite={code}"
    event = {"event": "invite_created", "number": number, "invite": code, "url": link}
    event |= {"uses": uses, "expires": round(expires, 3)}
    lines = [f"Invite {number}, for {uses} {'key' if uses == 1 else 'keys'}, until {day(expires)}; shown this once:"]
    if link is None:
        lines += [f"  {code}", "It is claimed at the room's web site, https://HOST/join?invite=CODE"]
        lines.append("(to have the whole link here: --url https://HOST).")
    else:
        lines.append(f"  {link}")
    say(event, "\n".join(lines), as_json=as_json)


@invite.command("list")
@room_options
def list_invites(data: Path, as_json: bool) -> None:
    """List the invites, newest first. Their codes are not kept.

    \b
    Example:
      ssbfast room invite list --json
    """
    _list(data, as_json=as_json)


@invite.command("revoke")
@click.argument("number", type=_NUMBER, metavar="N")
@room_options
def revoke_invite(number: int, data: Path, as_json: bool) -> None:
    """Revoke an invite. Who has claimed it stays a member.

    \b
    Example:
      ssbfast room invite revoke 3
    """
    with to_write(data) as store:
        outcome = store.revoke_invite(number, by=None)
    if outcome is Outcome.MISSING:
        raise BadInputError(f"there is no open invite {number}; see them with: {next_command('invite', data)}")
    say({"event": "invite_revoked", "number": number}, f"invite {number}  revoked", as_json=as_json)


def _list(data: Path, *, as_json: bool) -> None:
    store = to_read(data)
    found: list[tuple[Invite, str]] = []
    names = {}
    now = time.time()
    if store is not None:
        with store as records:
            names, news = names_of(records, data), records.news(None)
            for one in records.invites():
                standing = None if one.by is None else news.standings.get(one.by)
                role = Role.OPERATOR if one.by is None else standing.role if standing else Role.EXTERNAL
                found.append((one, _state(one, now, may(role, news.settings.mode, Action.CREATE_INVITE))))
    for one, state in found:
        event: dict[str, Any] = {"event": "invite", "number": one.number, "by": id_or_none(one.by), "note": one.note}
        event |= {"created": one.created, "expires": one.expires, "uses": one.uses, "used": one.used, "state": state}
        text = f"{one.number:>5}  {state:9}  {one.used} of {one.uses} used  until {day(one.expires)}"
        say(event, f"{text}  by {called(one.by, names)}  {clean_line(one.note)}".rstrip(), as_json=as_json)
    if not found and not as_json:
        click.echo(f"This room has no invites. Next: {next_command('invite create', data)}")


def _state(one: Invite, now: float, maker_may_invite: bool) -> str:
    if one.revoked is not None:
        return "revoked"
    if one.used >= one.uses:
        return "used up"
    if not one.is_open(now):
        return "expired"
    return "open" if maker_may_invite else "not valid"  # its maker may not invite any more

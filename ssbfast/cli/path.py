"""`ssbfast path`: which path the sessions with a peer take, in the processes that run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ssbfast import limits
from ssbfast.cli.nicknames import Nicknames, peer_argument
from ssbfast.cli.options import data_flag, data_option, json_option, say
from ssbfast.cli.running import ask_all
from ssbfast.cli.terminal_text import plain_option
from ssbfast.errors import RefusedError
from ssbfast.ids import FeedId


@click.command()
@peer_argument("NICK|@ID")
@click.argument("choice", metavar="tunnel|direct|auto", type=click.Choice(["tunnel", "direct", "auto"]))
@data_option
@plain_option
@json_option
def path(who: FeedId, choice: str, data: Path, as_json: bool) -> int:
    """Change the path of the sessions with a peer in the processes that run, without losing a byte.

    tunnel: back to the room, and stay there. direct: try a direct path now; if there is none, it says why. auto: leave
    the room when possible, as without any choice. It lasts until the process ends.

    \b
    Examples:
      ssbfast path home tunnel
      ssbfast path home direct
    """
    seconds = limits.PATH_CHOICE_SECONDS + limits.CONTROL_SECONDS
    answers = ask_all(data, "path", seconds=seconds, peer=str(who), path=choice)
    outcomes: list[dict[str, Any]] = [one for told, _problem in answers if told is not None for one in told]
    if not outcomes:
        problems = [problem for _told, problem in answers if problem is not None]
        raise RefusedError(problems[0] if problems else f"nothing runs here; next: ssbfast status{data_flag(data)}")
    with Nicknames(data) as nicknames:
        name = nicknames.find(str(who)) or who.short
    for outcome in outcomes:
        event = {"event": "path", "peer": str(who), "preferred": choice, **outcome}
        say(event, _text(name, choice, outcome), as_json=as_json)
    return 0 if all(one["reached"] for one in outcomes) else 1


def _text(who: str, choice: str, outcome: dict[str, Any]) -> str:
    where = "direct" if outcome["path"] == "direct" else "through the room"
    if outcome["reached"]:
        then = {"tunnel": ", and stays there", "direct": "", "auto": "; direct when possible"}[choice]
        return f"{who}  {where}{then if outcome['path'] != 'direct' else ''}"
    return f"{who}  {where}: {outcome['reason']}"

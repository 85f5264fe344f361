"""`ssbfast room audit`: who changed what."""

from __future__ import annotations

import time
from pathlib import Path

import click

from ssbfast.cli.options import say
from ssbfast.cli.output import clean_line
from ssbfast.cli.room.common import called, id_or_none, names_of, room_options, to_read
from ssbfast.room.records import AuditLine


@click.command("audit")
@click.option("--count", type=click.IntRange(1, 1_000_000), default=100, show_default=True, help="Lines to show.")
@room_options
def audit(count: int, data: Path, as_json: bool) -> None:
    """Show who changed what, oldest first.

    Lines are kept for 90 days.

    \b
    Examples:
      ssbfast room audit
      ssbfast room audit --count 1000 --json
    """
    store = to_read(data)
    found: list[AuditLine] = []
    names = {}
    if store is not None:
        with store as records:
            found, names = list(records.audit(count=count)), names_of(records, data)
    for line in reversed(found):
        event = {
            "event": "audit",
            "number": line.number,
            "time": line.time,
            "by": id_or_none(line.by),
            "action": line.action,
            "subject": id_or_none(line.subject),
            "detail": line.detail,
        }
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line.time))
        words = [called(line.by, names), line.action, str(line.subject or ""), clean_line(line.detail)]
        say(event, f"{line.number:>5}  {when}  {'  '.join(filter(None, words))}", as_json=as_json)
    if not found and not as_json:
        click.echo("Nobody has changed anything yet.")

"""`ssbfast room login-link`: sign a member in on the web site without an SSB app."""

from __future__ import annotations

import time
from pathlib import Path

import click

from ssbfast import limits
from ssbfast.cli.options import say
from ssbfast.cli.room.common import no_member, read_who, room_options, to_write, who_argument
from ssbfast.cli.room.urls import url_option, web_address


@click.command("login-link")
@who_argument
@url_option
@room_options
def login_link(who: str, url: str | None, data: Path, as_json: bool) -> None:
    """Make a link that signs a member in on the web site, once.

    Give it to nobody but that member. It can be used for 15 minutes.

    \b
    Examples:
      ssbfast room login-link @ID
      ssbfast room login-link alice --url https://room.example
    """
    from ssbfast.room.codes import hash_of, new_code
    from ssbfast.room.records import Outcome

    code = new_code()
    hash = hash_of(code)
    if hash is None:
        raise AssertionError("a new code cannot be read")
    expires = time.time() + limits.LOGIN_LINK_SECONDS
    with to_write(data) as store:
        feed = read_who(who, store, data)
        if store.add_link(hash, feed, "login", expires, by=None) is not Outcome.DONE:
            raise no_member(feed, data)
        base = web_address(url, store)
    path = f"/login/link?code={code}"
    link = None if base is None else base + path
    event = {"event": "login_link", "id": str(feed), "url": link, "path": path, "expires": round(expires, 3)}
    until = time.strftime("%H:%M", time.localtime(expires))
    lines = [f"Signs {feed} in, once, until {until}:", f"  {link or f'https://HOST{path}'}"]
    if link is None:
        lines.append("Put the room's web host in place of HOST (or say --url https://HOST).")
    say(event, "\n".join(lines), as_json=as_json)

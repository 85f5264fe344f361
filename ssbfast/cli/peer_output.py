"""Events of one's own peer, as people read them: what peers are called, and what to do next."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ssbfast.cli.output import Event, describe, duration, shell_word
from ssbfast.room.tunnel_auth import Reason

if TYPE_CHECKING:
    from ssbfast.client.pairing import Paired
    from ssbfast.net.forward.failures import Complaint

REFUSED: Final = "refused"
"""Why we wait for a target that is there."""

_CONTINUED: Final = "\n          "  # below the words, right of the time

_MEANINGS: Final = {
    Reason.STRANGER.value: "you do not follow it",
    Reason.BLOCKED.value: "you block it",
    Reason.MISMATCH.value: "the room named another peer: its fault",
    Reason.GRAPH_AWAY.value: "the follow graph could not be asked",
}


_WORDS_ENDED: Final = {
    "guessed": "wrong ones were tried too often; make new words, or use a ticket: ssbfast ticket",
    "expired": "their time is over; new ones: ssbfast ticket --words",
    "cancelled": "they were cancelled; new ones: ssbfast ticket --words",
    "lost": "the room does not keep them any more; new ones: ssbfast ticket --words",
}


class PeerWords:
    """The words of events.

    flag: what advised commands need to find our data, e.g. ` --data DIR`, or nothing.
    show: returns a peer, given by its id, as people read it (`Nicknames`).
    end: how the user ends a wait, where that needs to be said.
    """

    def __init__(self, flag: str = "", show: Callable[[str], str] = str, end: str = "") -> None:
        self._flag = flag
        self._show = show
        self._end = f"; {end}" if end else ""

    def __call__(self, event: Event) -> str:
        peers = ("id",) if event.get("event") in ("joined", "left") else ("peer", "origin", "recipient")
        return self._words({**event, **{key: self._show(event[key]) for key in peers if event.get(key) is not None}})

    def _words(self, event: Event) -> str:
        match event:
            case {"event": "bound", "service": service, "peer": peer, "bind": bind, "url": url}:
                return f"ready   {service} of {peer} at {url or bind}"
            case {"event": "bound", "bind": bind}:
                return f"ready   at {bind}"
            case {"event": "connected" | "accepted" as name, "peer": peer, "path": path}:
                return f"{'reached' if name == 'connected' else 'let in '} {peer} ({path})"
            case {"event": "path", "peer": peer, "path": path, "reason": reason}:
                how = f", {event['rtt_ms']:.0f} ms" if event["rtt_ms"] is not None else ""
                return f"path    {peer} {'direct' if path == 'direct' else 'through the room'}{how} ({reason})"
            case {"event": "closed", "peer": peer, "reason": reason}:
                return f"closed  {peer} ({reason})"
            case {"event": "reconnecting", "portal": portal, "reason": reason, "seconds": seconds}:
                return f"away    room {portal} ({reason}); next attempt in {seconds:.1f} s"
            case {"event": "waiting", "peer": peer, "reason": reason, "id": me}:
                hint = f"{_CONTINUED}does it follow you? You are{_CONTINUED}{me}" if reason == REFUSED else ""
                return f"waiting for {peer} ({reason}){hint}"
            case {"event": "announced", "portal": portal}:
                return f"listed  in room {portal}"
            case {"event": "external", "portal": portal}:
                return f"guest   in room {portal}: you reach its members, but no peer reaches you through it"
            case {"event": "private_address", "recipient": recipient, "address": address}:
                return f"private address for {recipient}:{_CONTINUED}{shell_word(address)}"
            case {"event": "forward_problem", "peer": peer, "reason": reason, "count": count}:
                whose = "" if peer is None else f"{peer} "
                return f"service {whose}({reason}{f'; {count} times' if count > 1 else ''})"
        return self._of_caller(event)

    def _of_caller(self, event: Event) -> str:
        match event:
            case {"event": "away", "peer": peer, "seconds": seconds}:
                return f"away    {peer}; waiting up to {duration(seconds)}{self._end}"
            case {"event": "back", "peer": peer}:
                return f"back    {peer}"
            case {"event": "paired", "peer": peer}:
                return f"paired  {peer} took your ticket; you follow each other"
            case {"event": "reread", "services": services, "added": added, "removed": removed}:
                changes = [
                    f"{word} {', '.join(names)}" for word, names in (("new:", added), ("gone:", removed)) if names
                ]
                return f"offered {', '.join(services)}{''.join(f'; {change}' for change in changes)}"
            case {"event": "words_ended", "reason": reason}:
                return f"words   hold no more: {_WORDS_ENDED.get(reason, reason)}"
            case {"event": "denied" | "denied_alias"}:
                return self._denied(event)
        return describe(event)

    def _denied(self, event: Event) -> str:
        if event["event"] == "denied_alias":
            return f"denied  {event['origin']} ({event['alias']}) was refused"
        if not event["proven"]:
            return f"not dialled: {event['origin']} ({meaning(event)})"
        text = f"denied  {event['origin']} ({meaning(event)})"
        if event["n"] is not None and event["reason"] == Reason.STRANGER.value:
            text += f"{_CONTINUED}to let it in: ssbfast denials --follow {event['n']}{self._flag}"
        return text


def paired_event(paired: Paired) -> Event:
    """Return the event that tells of a peer that has taken a ticket of ours."""
    portal = None if paired.portal is None else str(paired.portal)
    return {"event": "paired", "peer": str(paired.id), "nickname": paired.nickname, "portal": portal}


def forward_problem(complaint: Complaint) -> Event:
    """Return the event that tells of connections that could not be carried, or have to wait."""
    peer = None if complaint.peer is None else str(complaint.peer)
    return {"event": "forward_problem", "peer": peer, "reason": complaint.reason, "count": complaint.count}


def meaning(event: Event) -> str:
    """Return why a peer was refused. `event`: one with a `reason`."""
    reason = str(event["reason"])
    return _MEANINGS.get(reason, reason)

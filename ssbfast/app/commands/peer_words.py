"""Events of one's own peer, as people read them: full ids, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ssbfast.app.commands.printing import describe
from ssbfast.room.trust import Reason

_MEANINGS: Final = {
    Reason.STRANGER.value: "you do not follow it",
    Reason.BLOCKED.value: "you block it",
    Reason.MISMATCH.value: "the room named somebody else: its fault",
    Reason.GRAPH_AWAY.value: "whom you follow could not be found out",
}


def describe_peer(event: Mapping[str, Any]) -> str:
    """One event in words."""
    match event:
        case {"event": "bound", "bind": bind}:
            return f"ready   at {bind}"
        case {"event": "connected" | "accepted" as name, "peer": peer, "path": path}:
            return f"{'tunnel to' if name == 'connected' else 'let in'} {peer} ({path})"
        case {"event": "closed", "peer": peer, "reason": reason}:
            return f"closed  {peer} ({reason})"
        case {"event": "reconnecting", "portal": portal, "reason": reason, "seconds": seconds}:
            return f"away    room {portal}: {reason}; next attempt in {seconds:.0f} s"
        case {"event": "waiting", "peer": peer, "reason": reason}:
            return f"waiting for {peer}: {reason}"
        case {"event": "announced", "portal": portal, "address": address}:
            return f"listed  in room {portal}\n          your address there: {address}"
        case {"event": "private_address", "recipient": recipient, "address": address}:
            return f"private address for {recipient}: {address}"
        case {"event": "joined" | "left" as name, "id": who}:
            return f"{name:8}{who}"
        case {"event": "denied"}:
            return _denied(event)
    return describe(event)


def _denied(event: Mapping[str, Any]) -> str:
    if not event["proven"]:
        return f"not dialled: {event['origin']} ({meaning(event)})"
    text = f"denied  {event['origin']} ({meaning(event)})"
    number = event["n"]
    if number is not None and event["reason"] == "stranger":
        text += f"\n          to let them in: ssbfast denials --follow {number}"
    return text


def meaning(event: Mapping[str, Any]) -> str:
    """Why somebody was refused. `event`: one with a `reason`."""
    reason = str(event["reason"])
    return _MEANINGS.get(reason, reason)

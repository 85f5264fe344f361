"""The events of a room: its operator hears of them, and all that watch it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ssbfast.server.measures import Measures

EventSink = Callable[[dict[str, Any]], None]


class RoomEvents:
    """Tells of the events of one room.

    Args:
        on_event: The operator's function; it gets a dict with the member "event".
        measures: Where events are counted.
    """

    def __init__(self, on_event: EventSink | None, measures: Measures) -> None:
        self._on_event = on_event
        self._measures = measures
        self._watchers: list[EventSink] = []

    def emit(self, event: str, **members: Any) -> None:
        """Report an event to the operator, and to all watchers."""
        self._measures.event(event, members)
        self.tell_operator(event, **members)
        if self._watchers:
            self.tell_watchers(event, **members)

    def tell_operator(self, event: str, **members: Any) -> None:
        """Report something that only the operator hears of."""
        if self._on_event is not None:
            self._on_event({"event": event, **members})

    def tell_watchers(self, event: str, **members: Any) -> None:
        """Report something that only watchers hear of."""
        for watcher in tuple(self._watchers):
            try:
                watcher({"event": event, **members})
            except Exception as error:  # it looks on only: no session and no write may fail for it
                context = {"message": "an event of the room could not be told", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)

    def watch(self, on_event: EventSink) -> Callable[[], None]:
        """Tell a function of each event, and of changes of members, aliases, mode and settings.

        Args:
            on_event: Called in the loop with a dict with the member "event"; it must be quick.

        Returns:
            A function that ends it.
        """

        def watcher(event: dict[str, Any]) -> None:  # an object of its own: the same function may watch twice
            on_event(event)

        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher) if watcher in self._watchers else None

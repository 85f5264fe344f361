"""Commands that stay, run in a thread of this process, with the test's own room: a tenth of what a process costs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any
from unittest import mock

from ssbfast.cli.group import group
from ssbfast.cli.output import Event
from ssbfast.cli.terminal_text import Piece, Style
from tests.helpers.rawpeer import eventually


class CommandHere:
    """A command; leaving the context stops it as Ctrl-C does.

    events: what it has printed, as programs read it. texts: the same for people, without times.
    """

    def __init__(self, *arguments: str) -> None:
        self.events: list[Event] = []
        self.texts: list[str] = []
        self.as_json = True
        self._arguments = arguments
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._is_stopped = False
        self._stop: Callable[[], object] = lambda: None
        self._words: Callable[[Event], str] = str
        self._thread = threading.Thread(target=self._run, args=(asyncio.get_running_loop(),))

    async def __aenter__(self) -> CommandHere:
        self._patch = mock.patch("ssbfast.cli.runner.run_until_stopped", _run_here)
        self._patch.start()
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_stopped = True
        self._stop()
        await asyncio.wait((self._code,))
        self._thread.join()
        self._patch.stop()
        self._code.exception()  # whether it is looked at is the test's business

    async def code(self) -> int:
        """Its exit code. Raises what it has failed with."""
        return await asyncio.wait_for(asyncio.shield(self._code), 20)

    async def event(self, name: str, **members: object) -> Event:
        """The first event of that name, with these members, when it comes. Raises what the command has failed with."""

        def found() -> list[Event]:
            return [event for event in self.events if {"event": name, **members}.items() <= event.items()]

        await eventually(lambda: bool(found()) or self._code.done())
        if not found():
            raise EOFError(f"ended before {name!r}") from self._code.exception()
        return found()[0]

    # ------------------------------------------------------------ the printer of the command

    def text(self, *pieces: Piece) -> None:
        self.texts.append(Style().text(pieces))

    def event_printed(self, event: Event) -> None:
        self.texts.append(self._words(event))
        self.events.append(event)

    # ------------------------------------------------------------ in the thread

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        _OF_THREAD.command = self
        try:
            code = group.main(list(self._arguments), prog_name="ssbfast", standalone_mode=False)
        except BaseException as error:
            loop.call_soon_threadsafe(self._code.set_exception, error)
        else:
            loop.call_soon_threadsafe(self._code.set_result, code if isinstance(code, int) else 0)

    async def serve(self, work: Callable[[Any], Coroutine[Any, Any, int]], words: Callable[[Event], str]) -> int:
        loop = asyncio.get_running_loop()
        self._words = words
        working = loop.create_task(work(_Printer(self)))
        self._stop = lambda: loop.call_soon_threadsafe(working.cancel)
        if self._is_stopped:  # before it began
            working.cancel()
        try:
            return await working
        except asyncio.CancelledError:
            return 0
        finally:
            self._stop = lambda: None


class _Printer:
    """What a command prints to: everything for programs and for people."""

    as_json = True

    def __init__(self, command: CommandHere) -> None:
        self.text = command.text
        self.event = command.event_printed


_OF_THREAD = threading.local()


def _run_here(work: Any, *, words: Callable[[Event], str] = str, **_: Any) -> int:
    command: CommandHere = _OF_THREAD.command
    return asyncio.run(command.serve(work, words))

"""Events on stdout, one a line, for people or as JSON; and what may stand in such a line.

Remote text is cleaned where it comes in. Here it is cleaned once more, whatever it is: a line that is printed moves no
cursor, begins no other line, and has a length that we know.
"""

from __future__ import annotations

import datetime
import enum
import json
import re
import shlex
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TextIO

from ssbfast import limits
from ssbfast.cli.output_thread import Writer
from ssbfast.cli.terminal_text import Piece, Style
from ssbfast.wire.muxrpc_body import clean_text

CLOSE_SECONDS: Final = 1.0
"""How long the end of the program waits for a slow reader."""

Event = Mapping[str, Any]


class Level(enum.IntEnum):
    """The weight of a line of a log, as syslog and journald count it."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


_LEVELS: Final[Mapping[str, Level]] = {
    **dict.fromkeys(("error",), Level.ERROR),
    **dict.fromkeys(("lost", "skipped", "limited", "stalled", "clock_set"), Level.WARNING),
    **dict.fromkeys(("records_problem", "certificate_problem"), Level.WARNING),
    **dict.fromkeys(("joined", "left", "tunnel_opened", "tunnel_closed", "connected", "refused"), Level.INFO),
}


def level_of(event: Event) -> Level:
    """Return the level of an event of a room; of those that are rare and in order it is NOTICE."""
    return _LEVELS.get(event.get("event", ""), Level.NOTICE)


class LogForm(enum.Enum):
    """The form of a log: lines for people, lines with levels for journald, which has the time, or JSON."""

    TEXT = "text"
    JOURNALD = "journald"
    JSON = "json"


def journal_mark(level: Level) -> str:
    """Return what journald takes for the level of a line, when it begins with it: sd-daemon(3)."""
    return f"<{level:d}>"


_UNUSUAL: Final = re.compile(r"[^ -~]")
_PLAIN_WORD: Final = re.compile(r"[A-Za-z0-9_@%+=:,./-][A-Za-z0-9_@%+=:,./~-]*")


def clean_line(text: str, length: int = limits.LOG_TEXT) -> str:
    """Return `text` as one line for people: its line ends become spaces."""
    return clean_text(" ".join(text[:length].splitlines()), length)


def clean_lines(text: str) -> str:
    """Return several lines of ours, cleaned."""
    return "\n".join(clean_text(line, limits.LOG_TEXT) for line in text.split("\n"))


def clean_pieces(pieces: Iterable[Piece]) -> list[Piece]:
    """Return a text of ours in pieces, cleaned."""
    return [clean_lines(one) if isinstance(one, str) else (clean_lines(one[0]), one[1]) for one in pieces]


def shell_word(text: str) -> str:
    """Return a word as people may paste it into a shell: quoted only where the shell would change it (`!`, `;`)."""
    return text if _PLAIN_WORD.fullmatch(text) else shlex.quote(text)


def clean_value(value: Any) -> Any:
    """Return a value with every text in it cleaned; the name of a file stays as it is."""
    if isinstance(value, str):
        return clean_text(value, limits.LOG_TEXT)
    if isinstance(value, Mapping):
        return {clean_text(str(key), limits.ERROR_NAME): clean_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean_value(item) for item in value]
    return value


def json_line(event: Event) -> str:
    """Return one line of JSON, with its time. What does not print in it, in the names of files, is escaped."""
    text = json.dumps(clean_value(_stamped(event)), ensure_ascii=False, default=_name_of_file)
    return text if text.isprintable() else _UNUSUAL.sub(lambda found: _escaped(found[0]), text)


def _stamped(event: Event) -> Event:
    """Return an event with its `time`: its own, given in seconds, or now. `verified_at` is a time, too."""
    seconds = event.get("time")
    if isinstance(verified_at := event.get("verified_at"), float):
        event = {**event, "verified_at": in_utc(verified_at)}
    stamp = in_utc(seconds if isinstance(seconds, float) else time.time())
    first = {"event": event["event"]} if "event" in event else {}
    return {**first, **event, "time": stamp}


def in_utc(seconds: float) -> str:
    """Return a time in seconds since 1970 as RFC 3339 has it: UTC, with milliseconds."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _escaped(char: str) -> str:
    if char.isprintable():
        return char
    return json.dumps(char)[1:-1] if char > "\x7f" else f"\\u{ord(char):04x}"


def _name_of_file(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"no member of an event: {type(value).__name__}")


class Printer:
    """A printer of lines that never blocks its caller.

    stdout: sys.stdout, which is None in a process that was started without one.
    as_json: one JSON object a line, and `text` is left out; otherwise lines for people.
    on_broken: called, from the thread, once, when the reader is gone (`| head`).
    on_failed: called, from the thread, once, when lines cannot be written for another reason.
    words: an event as people read it; `describe` knows a room's.
    log: with it the lines are those of a log, and have levels; `as_json` follows from it.
    """

    def __init__(
        self,
        stdout: TextIO | None,
        *,
        as_json: bool = False,
        log: LogForm | None = None,
        on_broken: Callable[[], None] = lambda: None,
        on_failed: Callable[[OSError], None] = lambda _error: None,
        words: Callable[[Event], str] | None = None,
        backlog: int = limits.LOG_BACKLOG,
    ) -> None:
        self.as_json = as_json = as_json or log is LogForm.JSON
        self._log = log
        self._words = words or describe
        self._style = Style() if as_json or log is LogForm.JOURNALD else Style.of_log(stdout)
        self._encoding = "utf-8" if as_json or stdout is None else stdout.encoding
        # Not through sys.stdout: its lock would be held at exit while a slow reader keeps us waiting. Without a stdout
        # its number may have become a socket's: then nothing is written at all.
        self._writer = Writer(
            None if stdout is None else stdout.fileno(),
            name="printer",
            missing=lambda n: self.line({"event": "lost", "n": n}),
            on_broken=on_broken,
            on_failed=on_failed,
            backlog=backlog,
        )

    def line(self, event: Event) -> bytes:
        """Return an event as it is written, with its line end."""
        if self._log is LogForm.JSON:
            return self._encode(json_line({"event": event["event"], "level": level_of(event).name.lower(), **event}))
        if self.as_json:
            return self._encode(json_line(event))
        words = clean_lines(self._words(clean_value(event)))
        if self._log is LogForm.JOURNALD:
            return self._encode(journal_mark(level_of(event)) + words)
        return self._encode(self._style.event(event, f"{time.strftime('%H:%M:%S')}  ", words))

    def put(self, line: bytes) -> None:
        """Print what `line` has made."""
        self._writer.put(line)

    def event(self, event: Event) -> None:
        """Print one event."""
        self.put(self.line(event))

    def text(self, *pieces: Piece) -> None:
        """Print lines for people; nothing when JSON is wanted."""
        if self.as_json:
            return
        lines = self._style.text(clean_pieces(pieces))
        if self._log is LogForm.JOURNALD:
            lines = "\n".join(journal_mark(Level.NOTICE) + line for line in lines.split("\n") if line)
        self.put(self._encode(lines))

    async def report(self, events: Iterable[Event], words: Callable[[Event], str], *, title: str = "") -> None:
        """Print all of a list, waiting for the reader.

        words: one of them as people read it. title: a line for people, above.
        """
        if self.as_json:
            lines = [json_line(event) for event in events]
        else:
            lines = [clean_line(title)] if title else []
            lines += [clean_lines(words(clean_value(event))) for event in events]
        await self._writer.put_all([self._encode(line) for line in lines])

    @property
    def is_idle(self) -> bool:
        """Return whether nothing waits to be written."""
        return self._writer.is_idle

    def close(self) -> None:
        """Let what waits go out, for at most `CLOSE_SECONDS`."""
        self._writer.close(CLOSE_SECONDS)

    def _encode(self, text: str) -> bytes:
        return f"{text}\n".encode(self._encoding, "replace")


def describe(event: Event) -> str:
    """Return one event in words."""
    match event:
        case {"event": "joined" | "left" as name, "id": who}:
            return f"{name:8}{who}"
        case {"event": "connected", "id": who, "address": address}:
            return f"session {who} from {address}"
        case {"event": "refused", "id": who, "address": address, "why": why}:
            return f"refused {who} from {address} ({why})"
        case {"event": "tunnel_opened", "origin": origin, "target": target}:
            return f"tunnel  {origin} → {target}"
        case {"event": "tunnel_closed", "origin": origin, "target": target, "bytes": n, "seconds": seconds}:
            return f"closed  {origin} → {target}  {amount(n)} in {seconds:.1f} s ({event.get('reason')})"
    return _describe_room(event)


def _describe_room(event: Event) -> str:
    """Return an event of the room itself in words; any other one as its members."""
    match event:
        case {"event": "lost", "n": n}:
            return f"({n} lines are missing here: the reader was too slow)"
        case {"event": "limited", "limits": counts}:
            return f"limits  reached: {_listed(counts)}"
        case {"event": "draining", "seconds": seconds, "sessions": sessions, "tunnels": tunnels}:
            return f"draining {sessions} sessions; {tunnels} tunnels may go on for {seconds:g} s"
        case {"event": "metrics_listening", "url": url}:
            return f"metrics {url}"
        case {"event": "taken_over"}:
            return "another process has taken over: it listens now"
    return _describe_state(event)


def _describe_state(event: Event) -> str:
    """Return in words what happens to a room itself."""
    match event:
        case {"event": "records_problem", "problem": problem}:
            return f"records {problem}"
        case {"event": "stalled", "seconds": seconds}:
            return f"stalled for {duration(seconds)}: the process was stopped, or the machine is too busy"
        case {"event": "clock_set", "seconds": seconds}:
            way = "forward" if seconds > 0 else "back"
            return f"clock   went {way} by {duration(abs(seconds))}: invites and sign-ins go by it"
        case {"event": "certificate_loaded", "days": days}:
            return f"certificate{_of(event)} loaded: valid for {days} days"
        case {"event": "certificate_problem", "problem": problem}:
            again = f" (tried again in {duration(event['seconds'])})" if "seconds" in event else ""
            return f"certificate{_of(event)}: {problem}{again}"
        case {"event": "skipped", "counts": counts}:
            return f"(not shown, so that the log stays short: {_listed(counts)})"
    members = "  ".join(f"{key} {value}" for key, value in event.items() if key != "event")
    return f"{event.get('event', '?'):8}{members}"


def _of(event: Event) -> str:
    return f" of {event['name']}" if "name" in event else ""


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {name}" for name, n in counts.items())


def amount(n: int) -> str:
    """Return a number of bytes for people; 1 kB is 1,000 bytes."""
    size = float(n)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


def duration(seconds: float) -> str:
    """Return a time span for people, in its two largest units: "3 d 4 h", or "10 min"."""
    whole = int(seconds)
    for unit, length, below, part in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1)):
        if whole >= length:
            rest = whole % length // part
            return f"{whole // length} {unit}" + (f" {rest} {below}" if rest else "")
    return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"

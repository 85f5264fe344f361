"""SQLite files that are ours: how one is made, opened, checked and brought up to date.

A store has numbered migrations, applied in one transaction. The number of the newest one that a file has seen is its
`user_version`. A file with a higher number than we know was written by a newer ssbfast: it is not opened, and nothing
in it is changed.

A store appears whole, under its name, or not at all. So an empty file is never a new store: it is what is left of one,
and a peer that was blocked in it must not come in because of that.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, TypeVar

from ssbfast import limits
from ssbfast.errors import BadInputError, StoreError


@dataclass(frozen=True, slots=True)
class Schema:
    """What is in a store.

    Attributes:
        migrations: Statements for each version, the oldest first.
        application: Four bytes at their place in the file's head: other programs' databases are left alone.
        content: What a store that is empty has lost, in words.
    """

    migrations: tuple[tuple[str, ...], ...]
    application: int
    content: str

    @property
    def version(self) -> int:
        """Return the number of the newest migration."""
        return len(self.migrations)


_RETRY_SECONDS: Final = 0.02
_BESIDE: Final = ("-wal", "-shm", "-journal")
"""SQLite's own files have the store's name and one of these."""


def connect(
    path: Path, schema: Schema, *, busy: float = limits.STORE_BUSY_SECONDS, create: bool = True
) -> sqlite3.Connection:
    """Open the store at `path` and bring it up to date.

    schema: what is to be in it. busy: seconds to wait for other processes. create: make a store (and its directory) if
        there is none. The connection is in autocommit mode and may be used by any thread, one at a time. The file is
        readable by its owner only.
    Raises BadInputError, in one line, for a file that is not a store of ours, of a newer version or not accessible.
    """
    with _one_line(path):
        if create and is_missing(path):
            _create(path, schema, busy)
        _look(path, schema)
        return _open(path, schema, busy)


def connect_to_read(path: Path, schema: Schema, *, busy: float = limits.STORE_BUSY_SECONDS) -> sqlite3.Connection:
    """Open the store at `path` for reading, also where nothing can be written: a full disk, a read-only file system.

    The store has to exist. Raises BadInputError, as `connect` does.
    """
    with _one_line(path):
        _look(path, schema)
        try:
            return _open(path, schema, busy)
        except sqlite3.OperationalError:
            if _has_log(path):
                raise  # a part of the store is in there; without its index it cannot be read
        return _open_immutable(path, schema)


def is_missing(path: Path) -> bool:
    """Return whether there is nothing of that name."""
    return not os.path.lexists(path)


def cause(path: Path, error: Exception) -> str:
    """Return the cause of an error of SQLite's or the system's, in a few words; its own words where none is known."""
    if isinstance(error, OSError):
        return (error.strerror or "cannot be used").lower()
    text = str(error)
    if "disk is full" in text:
        return "the disk is full"
    if "is locked" in text:
        return "another process keeps it locked"
    if "malformed" in text or "not a database" in text:
        return f"it is damaged ({text})"
    return _of_file_system(path) or text


def _of_file_system(path: Path) -> str | None:
    """Return its fault, if any: SQLite says "disk I/O error" and "unable to open" of full and read-only ones, too."""
    statvfs = getattr(os, "statvfs", None)
    if statvfs is None:
        return None
    with contextlib.suppress(OSError, ValueError):
        found = statvfs(path.parent)
        if found.f_flag & os.ST_RDONLY:
            return "the file system is read-only"
        if found.f_bavail * found.f_frsize < limits.STORE_SPACE:
            return "the disk is full"
    return None


@contextlib.contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Turn every error about the file into BadInputError."""
    try:
        yield
    except BadInputError:
        raise
    except OSError as error:
        raise BadInputError(f"{path}: {cause(path, error)}") from None
    except sqlite3.Error as error:
        raise BadInputError(f"{path} cannot be used: {cause(path, error)}") from None
    except ValueError:
        raise BadInputError("the path of the store cannot be used") from None


def newer(path: Path) -> BadInputError:
    return BadInputError(f"{path} was written by a newer version of ssbfast; nothing was changed")


def _look(path: Path, schema: Schema) -> None:
    """Check that there is a file with something in it.

    A file that exists is never opened here: closing it would drop, for the whole process, the locks that SQLite has
    on it (POSIX), and with them what protects it.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise BadInputError(f"{path} is not a file")
    if not status.st_size:
        raise BadInputError(
            f"{path} is empty: {schema.content} is lost; restore it from a copy, or remove it to begin anew"
        )


def _create(path: Path, schema: Schema, busy: float) -> None:
    """Create a new store at `path`, unless another process is quicker: then its store stays."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600))
        with contextlib.closing(sqlite3.connect(draft, timeout=busy, isolation_level=None)) as connection:
            _migrate(connection, draft, schema)
        with contextlib.suppress(FileExistsError):
            _publish(draft, path)
        _keep_name(path.parent)
    finally:
        for name in (draft, *_beside(draft)):
            name.unlink(missing_ok=True)


def _publish(draft: Path, path: Path) -> None:
    """Give the draft its name in one step that fails when the name is taken."""
    if not os.path.lexists(path):
        for left in _beside(path):
            left.unlink(missing_ok=True)  # of a store that was removed: SQLite would put its changes into the new one
    if os.name == "nt":
        draft.rename(path)  # refuses an existing target there, unlike POSIX
        return
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: two steps
        if not os.path.lexists(path):
            draft.rename(path)


def _keep_name(directory: Path) -> None:
    """Make the new name survive a power cut, where the system can do that."""
    with contextlib.suppress(OSError):
        file = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def _beside(path: Path) -> list[Path]:
    return [path.with_name(path.name + ending) for ending in _BESIDE]


def _open(path: Path, schema: Schema, busy: float) -> sqlite3.Connection:
    if _has_log(path):
        _check_log(path, schema, busy)
    # Not "rwc": a store that is removed in this very moment must not come back as an empty file.
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=busy, isolation_level=None, check_same_thread=False
    )
    try:
        _check(connection, path, schema)
        if os.name == "posix" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            path.chmod(0o600)
        _use_wal(connection, busy)
        connection.execute("PRAGMA synchronous = FULL")  # a block that was confirmed survives a power cut
        _migrate(connection, path, schema)
    except BaseException:
        connection.close()
        raise
    return connection


def _open_immutable(path: Path, schema: Schema) -> sqlite3.Connection:
    """Open a store as immutable: SQLite writes nothing, not even locks. None are needed: no other process can write."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?immutable=1", uri=True, isolation_level=None, check_same_thread=False
    )
    try:
        _check(connection, path, schema)
        if version_of(connection) != schema.version:
            raise BadInputError(f"{path} is of an older version of ssbfast, and it cannot be written")
    except BaseException:
        connection.close()
        raise
    return connection


def damage(connection: sqlite3.Connection) -> str | None:
    """Return what SQLite finds wrong with the file's structure: one line; None for a good one. Raises sqlite3.Error."""
    found = connection.execute("PRAGMA quick_check(1)").fetchone()
    text = "" if found is None else str(found[0])
    return None if text == "ok" else " ".join(text.split())


def _check(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    """Check, read only, that the file is ours and one that we understand."""
    alone = not connection.in_transaction
    if alone:
        connection.execute("BEGIN")  # one moment for all three: another process may be making it just now
    try:
        version = version_of(connection)
        application = int(connection.execute("PRAGMA application_id").fetchone()[0])
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    finally:
        if alone:
            roll_back(connection)
    if application != schema.application:
        raise BadInputError(f"{path} is another program's database")
    if version > schema.version:
        raise newer(path)


def _has_log(path: Path) -> bool:
    log = path.with_name(path.name + "-wal")
    with contextlib.suppress(OSError):
        return log.stat().st_size > 0
    return False


def _check_log(path: Path, schema: Schema, busy: float) -> None:
    """Check the write-ahead log. A writer folds it into the file when it closes; a reader leaves both as they are."""
    reader = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=busy, isolation_level=None)
    with contextlib.closing(reader):
        _check(reader, path, schema)


def version_of(connection: sqlite3.Connection) -> int:
    """Return the number of the newest migration that the file has seen."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _use_wal(connection: sqlite3.Connection, busy: float) -> None:
    """Use a write-ahead log: readers never wait. A file system without it keeps SQLite's older way, which is safe."""
    until = time.monotonic() + busy
    while True:
        try:
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            # Two processes that do this at once: SQLite does not wait here by itself.
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(_RETRY_SECONDS)


def _migrate(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    if version_of(connection) == schema.version:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        if version_of(connection):
            _check(connection, path, schema)  # again: another process may have been quicker
        for statements in schema.migrations[version_of(connection) :]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {schema.application}")
        connection.execute(f"PRAGMA user_version = {schema.version}")
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise


def roll_back(connection: sqlite3.Connection) -> None:
    """End a transaction that failed. SQLite may have ended it already; what went wrong before is what counts."""
    with contextlib.suppress(sqlite3.Error):
        connection.execute("ROLLBACK")


@contextlib.contextmanager
def decoding() -> Iterator[None]:
    """Make our error of values that no ssbfast has written."""
    try:
        yield
    except (ValueError, TypeError, KeyError):
        raise StoreError("the store cannot be used: it is damaged (there are values that cannot be)") from None


class Place(NamedTuple):
    """The file that a name stood for when we looked. file: another one for another file. change: its last write."""

    file: tuple[int, int]
    change: tuple[int, int]


Self = TypeVar("Self", bound="StoreFile")


class StoreFile:
    """A connection to a store, for any thread, one at a time: the frame of the stores.

    The file may be exchanged while we have it open. Each use looks at the name first: the file that is there now is
    believed, and where there is none, or something that is no store, every method raises StoreError until there is one.

    Methods read within `_using`, read several things at one moment within `_transaction`, and change something within
    `_writing`.

    Args:
        path: The store. It is made if it is missing.
        schema: What is in it.
        name: What errors call it.
        busy: Seconds that a write waits for other processes.
        now: The clock.
        reading: Only to read, from a store that exists; then it may be on a full disk, or where nothing can be written.

    Attributes:
        path: The store.

    Raises:
        BadInputError: In one line, for a store that cannot be used, e.g. one of a newer version (which is left as it
            is). Every method raises StoreError when the store cannot be read or written just now.
    """

    def __init__(
        self, path: Path, schema: Schema, name: str, *, busy: float, now: Callable[[], float], reading: bool
    ) -> None:
        self.path = path
        self._schema = schema
        self._name = name
        self._busy = busy
        self._now = now
        self._reading = reading
        self._lock = threading.RLock()
        self._closed = False
        before = None if is_missing(path) else self._look()
        self._connection = self._connect(create=not reading)
        self._place = self._last = before or self._look()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}>"

    def close(self) -> None:
        """Close the connection. Harmless when it is closed."""
        with self._lock:
            self._closed = True
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()

    def check(self) -> None:
        """Read all that decides over admission. Raises BadInputError, in one line, for a store that is damaged."""
        try:
            with self._using():
                problem = damage(self._connection)
            self._read_all()
        except StoreError as error:
            raise BadInputError(f"{self.path}: {error}") from None
        if problem is not None:
            raise BadInputError(f"{self.path} is damaged: {problem}")

    # ------------------------------------------------------------ what a kind of store has of its own

    def _read_all(self) -> None:
        """Read what decides over admission. Raises StoreError."""
        raise NotImplementedError

    def _is_current(self, place: Place) -> bool:
        """Return whether what has our name now is what we have open."""
        return self._place is not None and place.file == self._place.file

    def _on_opened(self, is_other: bool) -> None:
        """Take note that the connection is a new one. is_other: to another file. Raises StoreError to refuse it."""

    # ------------------------------------------------------------ the file

    def _connect(self, *, create: bool) -> sqlite3.Connection:
        if self._reading:
            return connect_to_read(self.path, self._schema, busy=self._busy)
        return connect(self.path, self._schema, busy=self._busy, create=create)

    def _unusable(self, error: Exception) -> StoreError:
        return StoreError(f"the {self._name} cannot be used: {cause(self.path, error)}")

    def _look(self) -> Place | None:
        """Return what has our name; None when there is nothing."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from None
        return Place((found.st_dev, found.st_ino), (found.st_mtime_ns, found.st_size))

    def _removed(self) -> StoreError:
        return StoreError(f"the {self._name} {self.path} was removed")

    def _follow_name(self) -> None:
        """Open what has our name now, unless that is what we have open."""
        place = self._look()
        if place is not None and self._is_current(place):
            return
        self._place = None
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        if place is None:
            raise self._removed()
        try:
            self._connection = self._connect(create=False)
        except BadInputError as error:
            raise StoreError(str(error)) from None
        try:
            self._on_opened(self._last is None or place.file != self._last.file)
        except StoreError:
            self._connection.close()
            raise
        self._place = self._last = place

    # ------------------------------------------------------------ transactions

    @contextlib.contextmanager
    def _using(self) -> Iterator[None]:
        """Hold the connection for us alone, to the store that is there now, and make our errors of SQLite's."""
        with self._lock:
            try:
                if self._closed:
                    raise StoreError("the store is closed")
                if not (self._place and self._connection.in_transaction):
                    self._follow_name()
                yield
            except sqlite3.Error as error:
                raise self._unusable(error) from None

    @contextlib.contextmanager
    def _transaction(self, begin: str = "BEGIN") -> Iterator[None]:
        """Run all or nothing, on any interruption; inside another transaction, a part of that."""
        with self._using():
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute(begin)
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                roll_back(self._connection)
                raise

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Run a transaction that may change something."""
        with self._transaction("BEGIN IMMEDIATE"):
            if version_of(self._connection) != self._schema.version:
                raise StoreError("a newer version of ssbfast has changed the store: restart this one")
            yield

    def _run(self, statement: str, *values: object) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)

    def _all(self, statement: str, *values: object) -> list[Any]:
        return self._run(statement, *values).fetchall()

    def _one(self, statement: str, *values: object) -> Any:
        """Return the first column of the first row; None when there is none."""
        row = self._run(statement, *values).fetchone()
        return None if row is None else row[0]

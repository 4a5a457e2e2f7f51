"""What outlives the daemon, in SQLite (write-ahead log, synchronised at each change)."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from vxnet.errors import HostError
from vxnet.host.base import Row

__all__ = ["SCHEMA_VERSION", "SqliteStore", "open_store"]

SCHEMA_VERSION = 1
LOCK_PATIENCE_S = 5.0

T = TypeVar("T")


class SqliteStore:
    """One file and one thread, so that writing to disk never holds up the event loop."""

    def __init__(self, path: Path) -> None:
        """Use `open_store`, which also checks what is in the file."""
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open or create the file. Raises HostError where it is not ours to use."""
        await self._run(self._open)

    async def rows(self, table: str) -> Sequence[Row]:
        return await self._run(
            lambda: self._db.execute(
                "SELECT key, value FROM item WHERE kind = ? ORDER BY key", (table,)
            ).fetchall()
        )

    async def put(self, table: str, key: str, value: bytes) -> None:
        await self._run(
            lambda: self._db.execute(
                "INSERT INTO item (kind, key, value) VALUES (?, ?, ?) "
                "ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value",
                (table, key, value),
            )
        )

    async def delete(self, table: str, key: str) -> None:
        await self._run(
            lambda: self._db.execute("DELETE FROM item WHERE kind = ? AND key = ?", (table, key))
        )

    async def close(self) -> None:
        if self._connection is not None:
            await self._run(self._db.close)
            self._connection = None
        self._thread.shutdown(wait=False)

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise HostError(f"{self._path} is not open")
        return self._connection

    def _open(self) -> None:
        try:
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            raise HostError(
                f"{self._path.parent} cannot be made: {error.strerror}; "
                "choose another node.state_dir"
            ) from None
        self._connection = sqlite3.connect(
            self._path, timeout=LOCK_PATIENCE_S, isolation_level=None, check_same_thread=False
        )
        # A power cut loses nothing that was answered for: the log is on disk before we answer.
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise HostError(
                f"{self._path} was written by a newer vxnet (schema {version}, this one knows "
                f"{SCHEMA_VERSION}); install that version again, or choose another node.state_dir"
            )
        with self._db:
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS item "
                "(kind TEXT, key TEXT, value BLOB NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID"
            )
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as error:
            raise HostError(self._explain(error)) from error

    def _explain(self, error: sqlite3.Error) -> str:
        """SQLite's error as a sentence with the mend."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return f"{self._path} is locked by another process; end it, or choose another state_dir"
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return (
                f"{self._path} is damaged ({error}); move it away and start again: networks come "
                "back from the other hosts, this host's endpoints have to be attached anew"
            )
        if code == sqlite3.SQLITE_FULL:
            return f"{self._path} cannot grow: the disk is full; make room and try again"
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            return f"{self._path} cannot be opened for writing ({error}); check who owns it"
        return f"{self._path}: {error}"


async def open_store(path: Path) -> SqliteStore:
    """A store in this file, made if it is missing. Raises HostError where it cannot be used."""
    store = SqliteStore(path)
    try:
        await store.open()
    except HostError:
        await store.close()
        raise
    return store

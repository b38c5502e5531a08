"""Computed answers, kept: one SQLite file per model, shared by its arms and by processes that run at the same time."""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_SCHEMA = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL, checksum INTEGER NOT NULL)"

_BUSY_SECONDS = 60

_KEYS_PER_QUERY = 500


def prompt_key(settings: Mapping[str, Any], prompt_ids: Sequence[int]) -> str:
    """What an answer depends on, as a hex digest.

    Args:
        settings: model revision, adapter digest, decoding settings, dtype, quantization, code digest; JSON values.
        prompt_ids: the prompt as the model sees it.
    """
    return hashlib.sha256(json.dumps([settings, list(prompt_ids)], sort_keys=True).encode()).hexdigest()


class PredictionCache:
    """A key-value store of JSON objects that survives kills and several writers.

    A file that SQLite cannot read is renamed to `NAME.damaged` with a warning, and an empty one takes its place.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = _open(self.path)
        except sqlite3.DatabaseError as error:
            if _is_busy(error):
                raise
            self._connection = self._set_aside(error)

    def get(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The stored answers among `keys`. An answer whose checksum does not fit is left out, so it is made again."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, dict[str, Any]] = {}
        try:
            for start in range(0, len(wanted), _KEYS_PER_QUERY):
                found.update(self._get(wanted[start : start + _KEYS_PER_QUERY]))
        except sqlite3.DatabaseError as error:
            if _is_busy(error):
                raise
            self._connection.close()
            self._connection = self._set_aside(error)
            return {}
        return found

    def put(self, answers: Mapping[str, dict[str, Any]]) -> None:
        """Store answers in one transaction; they are on disk when this returns."""
        rows = []
        for key, answer in answers.items():
            text = json.dumps(answer, ensure_ascii=False, allow_nan=False, sort_keys=True)
            rows.append((key, text, zlib.crc32(text.encode())))
        try:
            with self._connection:
                self._connection.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", rows)
        except sqlite3.DatabaseError as error:
            if _is_busy(error):
                raise
            self._connection.close()
            self._connection = self._set_aside(error)
            with self._connection:
                self._connection.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", rows)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> PredictionCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _get(self, keys: list[str]) -> dict[str, dict[str, Any]]:
        marks = ",".join("?" * len(keys))
        rows = self._connection.execute(f"SELECT key, answer, checksum FROM answers WHERE key IN ({marks})", keys)
        found = {}
        for key, text, checksum in rows:
            if zlib.crc32(text.encode()) == checksum:
                found[key] = json.loads(text)
            else:
                log.warning("%s: the answer %s is damaged and will be computed again", self.path, key[:12])
        return found

    def _set_aside(self, error: Exception) -> sqlite3.Connection:
        aside = _free_name(self.path)
        log.warning("%s is damaged (%s): set aside as %s, starting an empty one", self.path, error, aside.name)
        self.path.rename(aside)
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        return _open(self.path)


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS)
    try:
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous=NORMAL")
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        with connection:
            connection.execute(_SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Readers and one writer at once. SQLite refuses it while another process writes, whatever its time-out: wait."""
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.02)


def _is_busy(error: sqlite3.DatabaseError) -> bool:
    """Whether another process or the file system is in the way, which no fresh file would fix."""
    return isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error)


def _free_name(path: Path) -> Path:
    number = 0
    while True:
        name = path.with_name(f"{path.name}.damaged" + (f".{number}" if number else ""))
        if not name.exists():
            return name
        number += 1

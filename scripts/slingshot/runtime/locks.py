"""Locks between processes of one machine, held by open files and so given back by any death."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from slingshot.core.errors import StudyError

log = logging.getLogger(__name__)


# One folder for all users of the machine; tests and containers that share a GPU may name another.
LOCK_FOLDER = "/tmp/slingshot-locks"

LOCK_FOLDER_VARIABLE = "SLINGSHOT_LOCKS"


@contextmanager
def alone(path: Path | str, holder: str, while_waiting: Callable[[], None] = lambda: None) -> Iterator[int]:
    """Be the only process of this machine that writes `path`; yields the descriptor of the lock."""
    name = hashlib.sha256(str(Path(path).absolute()).encode()).hexdigest()[:32]
    waits = Patience(f"{holder}: another process still writes {path}")
    while (descriptor := try_lock(f"file-{name}", holder)) is None:
        waits.a_moment(while_waiting)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class Patience:
    """Waits in short, uneven moments, and says now and then what for."""

    def __init__(self, reason: str, seconds_between_lines: float = 60) -> None:
        self._reason, self._every, self._said = reason, seconds_between_lines, -float("inf")

    def a_moment(self, while_waiting: Callable[[], None], detail: str = "") -> None:
        while_waiting()
        if time.monotonic() - self._said >= self._every:
            self._said = time.monotonic()
            log.info("%s%s", self._reason, detail and f" ({detail})")
        time.sleep(random.uniform(0.1, 0.5))


def try_lock(name: str, holder: str) -> int | None:
    """The descriptor of a lock now held, or None where another process holds it.

    flock by hand and not by filelock: its locks belong to one process, these pass to the child.
    """
    descriptor = os.open(_lock_file(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()}, {holder}".encode())
    return descriptor


def holder_of(name: str) -> str:
    try:
        return f"{name.removeprefix('device-')} held by {_lock_file(name).read_text(encoding='utf-8')}"
    except OSError:
        return f"{name.removeprefix('device-')} held"


def _lock_file(name: str) -> Path:
    """A lock's file, open to every user of the machine."""
    folder = Path(os.environ.get(LOCK_FOLDER_VARIABLE) or LOCK_FOLDER)
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o777)  # not sticky: there Linux lets nobody open another user's file for writing
        path = folder / f"{name.replace('/', '_')}.lock"
        if not path.exists():
            path.touch()
            path.chmod(0o666)
    except OSError as error:
        raise StudyError(
            f"cannot keep locks in {folder}: {error.strerror}; name another folder in {LOCK_FOLDER_VARIABLE}"
        ) from None
    return path

"""Locks between processes of one machine, held by open files and so given back by any death."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import random
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from slingshot.core.errors import StudyError

log = logging.getLogger(__name__)

# Names another folder than the user's own, e.g. one that several containers share. It must belong to this user, too:
# whoever may write there could hold a lock for ever, or put a link in a lock's place.
LOCK_FOLDER_VARIABLE = "SLINGSHOT_LOCKS"


@contextmanager
def exclusive_lock(path: Path | str, holder: str, while_waiting: Callable[[], None] = lambda: None) -> Iterator[int]:
    """Be the only process of this machine that writes `path`; yields the descriptor of the lock."""
    name = hashlib.sha256(str(Path(path).absolute()).encode()).hexdigest()[:32]
    waits = Patience(f"{holder}: another process still writes {path}")
    while (descriptor := try_lock(f"file-{name}", holder)) is None:
        waits.wait(while_waiting)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class Patience:
    """Sleeps for short random times, and logs the reason once per `seconds_between_lines`."""

    def __init__(self, reason: str, seconds_between_lines: float = 60) -> None:
        self._reason, self._every, self._said = reason, seconds_between_lines, -float("inf")

    def wait(self, while_waiting: Callable[[], None], detail: str = "") -> None:
        while_waiting()
        if time.monotonic() - self._said >= self._every:
            self._said = time.monotonic()
            log.info("%s%s", self._reason, detail and f" ({detail})")
        time.sleep(random.uniform(0.1, 0.5))


def try_lock(name: str, holder: str) -> int | None:
    """The descriptor of a lock now held, or None where another process holds it.

    flock by hand and not by filelock: its locks belong to one process, these pass to the child.

    Raises:
        StudyError: the folder of locks, or what stands in a lock's place, is not this user's alone.
    """
    descriptor = _open_lock(name)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()}, {holder}".encode())
    return descriptor


def holder_of(name: str) -> str:
    """Who holds a lock, in words."""
    held = f"{name.removeprefix('device-')} held"
    descriptor = _open_lock(name)
    try:
        words = os.read(descriptor, 500).decode(errors="replace")
    finally:
        os.close(descriptor)
    return f"{held} by {words}" if words else held


def lock_folder() -> Path:
    """The user's folder of locks: they keep one user's processes apart, and nobody else's can touch them."""
    named = os.environ.get(LOCK_FOLDER_VARIABLE)
    return Path(named) if named else Path(f"/tmp/slingshot-locks-{os.geteuid()}")


def _open_lock(name: str) -> int:
    """Open a lock's file, made where it is missing; nothing is followed, emptied or changed before it is known."""
    folder = lock_folder()
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        inside = _open_folder(folder)
        try:
            descriptor = os.open(f"{name.replace('/', '_')}.lock", flags, 0o600, dir_fd=inside)
        finally:
            os.close(inside)
    except OSError as error:
        raise StudyError(
            f"cannot keep locks in {folder}: {error.strerror}; name another folder in {LOCK_FOLDER_VARIABLE}"
        ) from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink != 1:
        os.close(descriptor)
        raise StudyError(f"{folder}/{name}.lock is no plain file of yours: remove it")
    return descriptor


def _open_folder(folder: Path) -> int:
    """Open the folder of locks, made where it is missing and closed to all other users.

    Raises:
        OSError: it can't be made or opened.
        StudyError: it is a link, or belongs to another user.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if folder.is_symlink():
        raise StudyError(f"{folder} is a link, and locks are kept in a real folder: remove it")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid():
        os.close(descriptor)
        raise StudyError(
            f"the folder of locks {folder} belongs to another user (id {status.st_uid}): have it removed, or name a "
            f"folder of your own in {LOCK_FOLDER_VARIABLE}"
        )
    if status.st_mode & 0o077:
        os.fchmod(descriptor, 0o700)
    return descriptor

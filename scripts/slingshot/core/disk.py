"""Errors that mean a full disk, whichever library raises them, as one sentence: the folder, what is free and needed."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

from slingshot.core.errors import StudyError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)

# How libraries that hide the system's error number say it: safetensors and Rust, SQLite, NumPy, pyarrow.
_FULL_IN_WORDS = re.compile(
    r"No space left on device|Disk quota exceeded|File too large|disk is full|problem writing element|"
    r"requested and \d+ written|os error (28|122|27)\b"
)


def is_full_disk(error: BaseException) -> bool:
    """Whether an error of any library says that there is no room on a disk."""
    return getattr(error, "errno", None) in _FULL or bool(_FULL_IN_WORDS.search(str(error)))


def no_room(path: Path, error: BaseException, needs: int = 0, is_known: bool = True, name: str = "") -> str:
    """One sentence on a file that has no room: where, how much is free and how much is needed.

    Args:
        name: of the file, where it is not its path.
        needs: bytes; 0: not known at all.
        is_known: False where they are what was written until the disk was full.
    """
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:120]
    folder = next((each for each in (path.parent, *path.parent.parents) if each.exists()), Path())
    start = f"{name or path} can't be written: {reason} in {folder.absolute()}"
    if getattr(error, "errno", None) == errno.EROFS:
        return f"{start}; write to another folder (a whole study: copy it there)"
    wanted = f", and {'' if is_known else 'more than '}{needs / 1e9:,.3f} GB are needed" if needs else ""
    return (
        f"{start}, where {shutil.disk_usage(folder).free / 1e9:,.3f} GB are free{wanted}; free space there "
        "(`snakemake clean_cache` removes what is kept only to save time), then run the same command again"
    )


def require_room(folder: Path, needs: int) -> None:
    """Refuse to begin what a folder's disk has no room for.

    Args:
        needs: bytes that will be written.

    Raises:
        StudyError: fewer are free.
    """
    there = next((each for each in (folder, *folder.parents) if each.exists()), Path())
    if shutil.disk_usage(there).free < needs:
        raise StudyError(no_room(folder, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), needs))

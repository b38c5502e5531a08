"""Time stamps of the future, as a clock leaves them that was set back: Snakemake would remove what a step just wrote.

After a job Snakemake compares its output's time with that of its input, and takes an older output for a fault of the
clock: the job fails, and its fresh output is removed.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

log = logging.getLogger("launch")


def bring_to_present(folder: Path) -> int:
    """Set time stamps of the future, of all files and folders inside `folder`, to the present; returns how many.

    What is linked is left alone. Content, and so what reruns, does not change: the profile compares by content.
    """
    present = time.time()
    changed, refused = [], []
    for where, _, names in os.walk(folder):
        for path in (Path(where), *(Path(where, name) for name in names)):
            try:
                if path.lstat().st_mtime <= present or path.is_symlink():
                    continue
                os.utime(path, (present, present))
                changed.append(path)
            except FileNotFoundError:
                continue  # another step removed it meanwhile
            except OSError as error:
                refused.append(f"{path} ({error.strerror})")
    if changed:
        log.warning(
            "%d files in %s, e.g. %s, had time stamps of the future, as after a clock was set back: they have the "
            "present now",
            *(len(changed), folder, changed[0]),
        )
    if refused:
        log.error(
            "%d files in %s have time stamps of the future, for which Snakemake removes what is made from them, and "
            "can't be changed, e.g. %s: run `find %s -newermt now -exec touch {} +` as their owner",
            *(len(refused), folder, refused[0], folder),
        )
    return len(changed)

"""Digests of local inputs by content, remembered so that a large file is read once, not at every dry run."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from slingshot.core.errors import StudyError
from slingshot.core.files import write_json
from slingshot.core.hashing import digest_of_file, digest_of_text

DIGEST_MEMORY = ".snakemake/slingshot/digests.json"  # in the study's folder

CODE_MEMORY = ".snakemake/slingshot/code.json"


def fingerprint(path: Path, what: str, memory: Path) -> str:
    """SHA-256 over the content of a file, or over names and contents of a folder's files, as hex.

    Digests are remembered in `memory` by path, size and times of change: that of the content, which a copy may bring
    along, and that of the file, which only the system sets.

    Raises:
        StudyError: there is nothing at `path`; `what` names the config key to correct.
    """
    if not path.exists():
        raise StudyError(f"{what}: {path} is missing; correct the path (it counts from the study's folder)")
    if path.is_file():
        return digests_of_files([path], memory)[path]
    if not path.is_dir():
        raise StudyError(f"{what}: {path} is a pipe or a device, which may never end; name a file or a folder")
    digests = digests_of_files(sorted(file for file in path.rglob("*") if file.is_file()), memory)
    return digest_of_text("".join(f"{file.relative_to(path)}:{digest}\n" for file, digest in digests.items()))


def digests_of_files(files: Sequence[Path], memory: Path) -> dict[Path, str]:
    """SHA-256 of each file, in their order. Those that `memory` does not know are read in threads."""
    known = _remembered(memory)
    keys = {file: _key(file) for file in files}
    unknown = {key: file for file, key in keys.items() if key not in known}
    if unknown:
        with ThreadPoolExecutor(os.cpu_count()) as threads:  # hashlib lets go of the interpreter's lock
            known |= zip(unknown, threads.map(digest_of_file, unknown.values()), strict=True)
        write_json(memory, known)
    return {file: known[key] for file, key in keys.items()}


def _key(file: Path) -> str:
    status = file.stat()
    return f"{file.resolve()}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def _remembered(memory: Path) -> dict[str, str]:
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}

"""Digests of local inputs by content, remembered so that a large file is read once, not at every dry run."""

from __future__ import annotations

import json
from pathlib import Path

from slingshot.errors import StudyError
from slingshot.files import digest_of_file, digest_of_text, write_json


def fingerprint(path: Path, what: str, memory: Path) -> str:
    """SHA-256 over the content of a file, or over names and contents of a folder's files, as hex.

    Digests are remembered in `memory` by path, size and time of change.

    Raises:
        StudyError: there is nothing at `path`; `what` names the config key to correct.
    """
    if not path.exists():
        raise StudyError(f"{what}: {path} is missing; correct the path (it counts from the study's folder)")
    known = _remembered(memory)
    fresh: dict[str, str] = {}
    if path.is_file():
        digest = _digest(path, known, fresh)
    else:
        files = sorted(file for file in path.rglob("*") if file.is_file())
        digest = digest_of_text("".join(f"{file.relative_to(path)}:{_digest(file, known, fresh)}\n" for file in files))
    if fresh:
        write_json(memory, {**known, **fresh})
    return digest


def _digest(file: Path, known: dict[str, str], fresh: dict[str, str]) -> str:
    status = file.stat()
    key = f"{file.resolve()}:{status.st_size}:{status.st_mtime_ns}"
    if key not in known and key not in fresh:
        fresh[key] = digest_of_file(file)
    return known.get(key) or fresh[key]


def _remembered(memory: Path) -> dict[str, str]:
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}

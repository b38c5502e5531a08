"""Writing files so that a reader never sees half of one, and telling files apart by content."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slingshot.core.disk import is_full_disk, no_room
from slingshot.core.errors import MissingFileError, StudyError


def read_bytes(path: Path | str, missing: str = "correct its path", most_bytes: int | None = None) -> bytes:
    """The bytes of a regular file: a pipe or a device, which may never end, is refused before it is opened.

    Args:
        missing: what to do where there is no such file.
        most_bytes: a larger file is refused.

    Raises:
        StudyError: it is missing, no regular file, too large, or can't be read.
    """
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise StudyError(f"{path} is not a regular file but {_kind_of(status.st_mode)}: name a file")
        if most_bytes is not None and status.st_size > most_bytes:
            raise StudyError(f"{path} has {status.st_size:,} bytes, and at most {most_bytes:,} are read: shorten it")
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise MissingFileError(f"{path} is missing: {missing}", str(path)) from None
    except OSError as error:
        raise StudyError(f"{path} can't be read: {error.strerror}; correct its path or its permissions") from None


def read_text(path: Path | str, missing: str = "correct its path", most_bytes: int | None = None) -> str:
    """The text of a regular UTF-8 file, without a byte order mark.

    Raises:
        StudyError: as read_bytes, or it is not UTF-8.
    """
    content = read_bytes(path, missing, most_bytes)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise StudyError(f"{path}, line {line} is not UTF-8: save the file as UTF-8") from None


def _kind_of(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def require_folders(*paths: str) -> None:
    """Refuse a study's folders, as far as they are there, that are none or that nothing can be written to.

    Raises:
        StudyError: names the first.
    """
    for path in map(Path, paths):
        if path.is_dir() and not os.access(path, os.W_OK | os.X_OK):
            raise StudyError(
                f"{path.absolute()} cannot be written to, and even a dry run writes there: correct its permissions, or "
                "copy the study to a folder of your own"
            )
        if path.is_symlink() and not path.exists():
            raise StudyError(f"{path.absolute()} is a link to {path.readlink()}, which is missing: make that folder")
        if path.exists() and not path.is_dir():
            raise StudyError(f"{path.absolute()} must be a folder, and it is a file: move it away")


@contextmanager
def replacing(path: Path | str, needs: int | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is renamed to `path`, on failure removed.

    Args:
        needs: bytes that will be written, for the sentence where they have no room.

    Raises:
        StudyError: the disk is full, or the folder can't be written to.
    """
    path = Path(path)
    written = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            let_others_read(temporary)  # mkstemp makes it private
            with temporary.open("rb") as content:
                os.fsync(content.fileno())
            temporary.replace(path)
        finally:
            written = temporary.stat().st_size if temporary.exists() else 0
            temporary.unlink(missing_ok=True)
    except Exception as error:
        if is_full_disk(error):
            raise StudyError(no_room(path, error, needs or written, needs is not None)) from None
        if isinstance(error, PermissionError | FileExistsError | NotADirectoryError | IsADirectoryError):
            words = f"{path} can't be written: {error.strerror}; correct the permissions of {path.parent}"
            raise StudyError(words) from None
        raise


def require_suffix(path: Path, *suffixes: str) -> None:
    """Refuse a file to write whose name promises another format.

    Raises:
        StudyError: names the suffixes that are right.
    """
    if not path.name.endswith(suffixes):
        raise StudyError(f"{path}: the name must end in {' or '.join(suffixes)}")


def let_others_read(path: Path) -> None:
    """Give a file, or all files of a folder, the permissions that the umask leaves: results are to be shared."""
    umask = os.umask(0)
    os.umask(umask)
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file() and not file.is_symlink():
            file.chmod(0o666 & ~umask)


def write_text(path: Path | str, text: str) -> None:
    content = text.encode()
    with replacing(path, len(content)) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path | str, value: Any) -> None:
    """Write strict JSON with sorted keys: the same value gives the same bytes. NaN is refused."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """The value of a strict JSON file.

    Raises:
        MissingFileError: it is not there.
        StudyError: it can't be read, is cut, binary, not JSON, or holds NaN or infinity.
    """
    return _parsed(read_bytes(path, MAKE_IT), str(path))


def read_json_with(path: Path | str, *keys: str) -> dict[str, Any]:
    """The object of a JSON file that must hold these keys; raises as read_json, and where one is not there."""
    value = read_json(path)
    lacking = [key for key in keys if not isinstance(value, dict) or key not in value]
    if lacking:
        raise StudyError(f"{path} lacks {', '.join(lacking)}: {AGAIN}")
    return dict(value)


def write_jsonl(path: Path | str, rows: Iterable[dict[str, Any]]) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def read_jsonl(path: Path | str) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file; raises as read_json."""
    content = read_bytes(path, MAKE_IT)
    rows = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            row = _parsed(line, f"{path}, line {number}")
            if not isinstance(row, dict):
                raise StudyError(f"{path}, line {number} is no JSON object: {AGAIN}")
            rows.append(row)
    return rows


MAKE_IT = "run the step that makes it, or correct its path"

AGAIN = "it was cut, edited or written by another version; delete it and run the same command again"


def _parsed(content: bytes, where: str) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(f"it holds {constant}")

    try:
        return json.loads(content.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)[:120]
        raise StudyError(f"{where} is no JSON ({reason}): {AGAIN}") from None


def without_formula(cell: Any) -> Any:
    """A cell of a CSV that no spreadsheet takes for a formula: a text that begins like one gets an apostrophe."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell

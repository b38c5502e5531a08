"""The one exception that a user is meant to read."""

from __future__ import annotations


class StudyError(Exception):
    """A fault that the user can fix.

    The message is one sentence or a short list: what is wrong, where (file, key, row), and the fix.
    A program prints it without a traceback and exits with 1.
    """


class MissingFileError(StudyError, FileNotFoundError):
    """A file that should be there is not; `filename` is its path."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message)
        self.filename = path

    def __str__(self) -> str:
        return str(self.args[0])

"""Digests of files and texts, and seeded random numbers that are the same on every machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slingshot.core.errors import MissingFileError, StudyError


def mix(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer (Steele, Lea and Flood 2014) on uint64."""
    with np.errstate(over="ignore"):
        values = (values + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def digest_of_file(path: Path | str) -> str:
    """SHA-256 of a file's bytes, as hex.

    Raises:
        MissingFileError: it is not there.
        StudyError: it can't be read.
    """
    try:
        with Path(path).open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except FileNotFoundError:
        raise MissingFileError(
            f"{path} is missing: run the step that makes it, or correct its path", str(path)
        ) from None
    except OSError as error:
        raise StudyError(f"{path} can't be read: {error.strerror}; correct its path or its permissions") from None


def digest_of_text(text: str) -> str:
    """SHA-256 of a text's UTF-8 bytes, as hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def seeded(keys: NDArray[np.uint64], seed: int, purpose: str) -> NDArray[np.uint64]:
    """Hash 64-bit keys with a seed: pseudo-random, one to one, the same on every machine (splitmix64)."""
    salt = hashlib.blake2b(f"{purpose}\0{seed}".encode(), digest_size=8).digest()
    return mix(keys.astype(np.uint64) ^ np.frombuffer(salt, "<u8")[0])


def digest_of_bytes(content: bytes) -> str:
    """SHA-256 of bytes, as hex."""
    return hashlib.sha256(content).hexdigest()

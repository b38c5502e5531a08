"""A model's size, as its name or its record says it, and whether that makes it a large one."""

from __future__ import annotations

import re

from slingshot.config.models import parameters_of
from slingshot.core.errors import StudyError

SMALLEST_LLM = 7_000_000_000  # parameters: 7B and 8B are large, 3B is small, as the earlier pipeline had it

_SIZE = re.compile(r"(?<![0-9A-Za-z.])(\d+(?:\.\d+)?)([MB])(?![0-9A-Za-z])", re.IGNORECASE)  # 4k is a context


def size_of(name: str, stated: str | None = None, remedy: str = "write it as a record with a `size`") -> str:
    """A model's size as people say it, e.g. 8B: as stated, else the last one that its name holds.

    Raises:
        StudyError: neither says a size.
    """
    found = _SIZE.findall(stated or "") or _SIZE.findall(name.rsplit("/", maxsplit=1)[-1])
    if not found:
        raise StudyError(f"{name}: its name holds no size such as 8B, so it is neither LLM nor SLM; {remedy}")
    number, unit = found[-1]
    return f"{number}{unit.upper()}"


def is_large(size: str) -> bool:
    """Whether a model of this size is an LLM here: from 7B on."""
    return parameters_of(size) >= SMALLEST_LLM

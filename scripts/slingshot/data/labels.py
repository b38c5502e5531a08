"""Labels: how they are written in sources, what they mean in the study, and the study's label set."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from slingshot.artifacts.labels import Label
from slingshot.config.base import LabelSystem, Level
from slingshot.data import icd10

NO_LABEL = "no label"

SEVERAL = "several labels in one row"

NOT_IN_CODE_SET = "code not in the code set"

FROM_LIST = "label taken out of a list"

FROM_FLOAT = "label written as a float"

CODE_FORM = "code written with dots, spaces or small letters"

_LIST = re.compile(r"""^\[\s*(.*?)\s*,?\s*\]$""", re.DOTALL)

_QUOTED = re.compile(r"""^(['"])(.*)\1$""", re.DOTALL)

_FLOAT = re.compile(r"^(-?\d+)\.0+$")


@dataclass(frozen=True)
class Target:
    """What a row is to be answered with: the label, and where the row's own code stands in the tree."""

    label: str
    code: str
    category: str | None = None
    block: str | None = None
    chapter: str | None = None


def plain_value(value: Any) -> tuple[str | None, list[str]]:
    """A cell as one stripped text, or None where it is empty, and what had to be changed for that.

    A list of one is its element, whether a list or written as `['A047']`; a whole number is written without `.0`.

    Raises:
        ValueError: several labels stand in the cell.
    """
    changes = []
    if isinstance(value, list | tuple):
        value, several = _only(list(value))
        changes.append(FROM_LIST)
    elif isinstance(value, str) and (match := _LIST.match(value.strip())):
        parts = [part for part in re.split(r"\s*,\s*(?=['\"])", match[1]) if part]
        value, several = _only([_QUOTED.sub(r"\2", part) for part in parts])
        changes.append(FROM_LIST)
    else:
        several = False
    if several:
        raise ValueError(SEVERAL)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None, []
    text = str(value).strip()
    if match := _FLOAT.match(text):
        text = match[1]
        changes.append(FROM_FLOAT)
    return text or None, changes


def _only(values: list[Any]) -> tuple[Any, bool]:
    """The one distinct value of a list, and whether there are several."""
    values = list(dict.fromkeys(str(value).strip() for value in values if value is not None))
    return (values[0] if values else None), len(values) > 1


@lru_cache(maxsize=200_000)
def target(text: str, system: LabelSystem, level: Level) -> tuple[Target | None, str | None]:
    """What a label as written stands for, or None where the code set lacks it; and what its form was changed from.

    A code that the code set no longer holds has no target; above the level of codes it has its category's, if that
    is still there.
    """
    if system == "plain":
        return Target(label=text, code=text), None
    code = icd10.normalize(text)
    found = icd10.find(code)
    if found is None and level != "code":
        found = icd10.find(code[: icd10.CATEGORY_LENGTH])
    if found is None:
        return None, None
    change = CODE_FORM if code != text else None
    return Target(found.at(level), code, found.category, found.block, found.chapter), change


def label_of(target: Target, system: LabelSystem, level: Level, description: str | None, train_samples: int) -> Label:
    """A target's label as labels.json holds it; the code set describes what the data does not."""
    if system == "plain":
        return Label(label=target.label, description=description, train_samples=train_samples)
    found = icd10.find(target.label) if level in ("code", "category") else None
    return Label(
        label=target.label,
        description=description if description and level == "code" else icd10.describe(target.label, level),
        category=target.category if level in ("code", "category") else None,
        block=target.block if level != "chapter" else None,
        chapter=target.chapter,
        billable=found.billable if found else None,
        train_samples=train_samples,
    )

"""Labels that look like numbers: whether `.0` is part of a code or was added to it, and whether zeros were lost.

pandas writes 1 as `1.0` where a column has gaps. But `401.0` beside `401.9` is a code of ICD-9-CM, and `250.10` that
was kept as a number is `250.1`, another code.
"""

from __future__ import annotations

import re
from typing import Any

from slingshot.config.base import LabelSystem
from slingshot.data.code_trees import tree_of

LOST_ZEROS = "code kept as a number, whose last zeros may be lost (250.10 becomes 250.1): write codes as text"

_DECIMALS = re.compile(r"-?\d+\.(\d*[1-9]\d*|\d{2,})|[A-Z]\d+\.\d+")


def has_decimals(label: str) -> bool:
    """Whether a label has decimals that no program adds to a whole number: `401.9`, `250.00`, `E849.0`, not `1.0`."""
    return _DECIMALS.fullmatch(label) is not None


def zeros_are_lost(cell: Any, system: LabelSystem) -> bool:
    """Whether a number may stand for several codes of the tree, which differ by zeros at their end."""
    tree = tree_of(system)
    if tree is None or isinstance(cell, bool) or not isinstance(cell, int | float):
        return False
    whole, _, decimals = str(cell).partition(".")
    decimals = decimals.rstrip("0")
    ways = [whole, f"{whole}.0", f"{whole}.00"] if not decimals else [f"{whole}.{decimals}", f"{whole}.{decimals}0"]
    return len({code for way in ways if tree.is_valid(code := tree.normalize(way))}) > 1

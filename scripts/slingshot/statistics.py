"""Intervals, tests and power: pure functions over arrays, seeded, vectorized."""

from __future__ import annotations

from typing import Literal

from slingshot.records import Record


class Difference(Record):
    """A paired difference of two scores over the same n samples, with its interval; `low <= value <= high`."""

    value: float
    low: float
    high: float
    n: int
    method: Literal["bootstrap", "agresti-min"]

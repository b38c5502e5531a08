"""How numbers are written for people: percent, intervals, seconds, bytes. A missing number is a dash, never a guess."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

MISSING = "–"

MINUS = "−"


class Interval(Protocol):
    """A score or a difference: an estimate and its interval, as shares."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


def sentence_case(text: str) -> str:
    """A text as a sentence begins; its other letters stay: `micro F1` is `Micro F1`."""
    return text[:1].upper() + text[1:]


def percent(share: float | None, digits: int = 1) -> str:
    """A share in percent, without the sign: 0.5123 is 51.2."""
    return MISSING if share is None else f"{100 * share:.{digits}f}".replace("-", MINUS)


def level(confidence: float) -> str:
    """A confidence level in percent: 0.95 is 95%."""
    return f"{100 * confidence:g}%"


def points(share: float | None, digits: int = 1) -> str:
    """A difference of shares in percentage points, with its sign: 0.042 is +4.2; none where it is exactly 0."""
    return MISSING if share is None else f"{100 * share:{'+' if share else ''}.{digits}f}".replace("-", MINUS)


def interval(score: Interval | None) -> str:
    """The interval of a score in percent: [48.7, 53.7]."""
    return MISSING if score is None else f"[{percent(score.low)}, {percent(score.high)}]"


def signed_interval(difference: Interval | None) -> str:
    """The interval of a difference in percentage points: [+1.0, +7.3]."""
    return MISSING if difference is None else f"[{points(difference.low)}, {points(difference.high)}]"


def with_interval(score: Interval | None) -> str:
    """A score in percent and its interval: 51.2 [48.7, 53.7]."""
    return MISSING if score is None else f"{percent(score.value)} {interval(score)}"


def difference(value: Interval | None) -> str:
    """A difference in percentage points and its interval: +4.2 [+1.0, +7.3]."""
    return MISSING if value is None else f"{points(value.value)} {signed_interval(value)}"


def p_value(p: float | None) -> str:
    """Three digits after the point, or `< 0.001`."""
    if p is None:
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def p_in_words(p: float) -> str:
    """`p = 0.004` or `p < 0.001`."""
    found = p_value(p)
    return f"p {found}" if found.startswith("<") else f"p = {found}"


def number(value: float | None, digits: int = 3) -> str:
    """N significant digits, thousands marked, no exponent: 12345.6 is 12,346 and 0.01234 is 0.0123."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(decimals, 6)}f}".replace("-", MINUS)


def count(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.0f}".replace("-", MINUS)


def gibibytes(size: int | None) -> str:
    """Bytes as GiB, two digits after the point."""
    return MISSING if size is None else f"{size / 2**30:,.2f}".replace("-", MINUS)


def spelled_out(value: Any) -> str:
    """A value of the config or a record in words: `hub: a; revision: b`, a list with commas; null is a dash."""
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {spelled_out(each)}" for key, each in value.items()) or MISSING
    if isinstance(value, list | tuple):
        return ", ".join(map(spelled_out, value)) or MISSING
    return (
        MISSING
        if value is None
        else {True: "yes", False: "no"}.get(value, str(value))
        if isinstance(value, bool)
        else str(value)
    )

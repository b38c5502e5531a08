"""No pattern of ours takes longer than linear time: a cell of `[` and 1,000 blanks once took 164 s."""

from __future__ import annotations

import importlib
import pkgutil
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

import slingshot.data

SIZE = 20_000
SECONDS = 2.0  # a linear pattern takes some milliseconds, a quadratic one of this size minutes

FILLS = (" ", "\t", "\n", "a", "A", "0", "_", "#", "*", "[", "]", "'", '"', ",", ".", "-", ":", "a ", "# ", "[ ", "a_",
         "```", "' ", "\n ")  # fmt: skip
STARTS = ("", "[", '"', "A00", "#", "001 ")


def patterns() -> dict[str, re.Pattern[str]]:
    """Every pattern that a module of data/ holds, by its place: texts of any length meet these."""
    found: dict[str, re.Pattern[str]] = {}
    for module in pkgutil.iter_modules(slingshot.data.__path__, "slingshot.data."):
        for name, value in vars(importlib.import_module(module.name)).items():
            for number, each in enumerate(inside(value)):
                found.setdefault(f"{module.name.removeprefix('slingshot.')}.{name}.{number}", each)
    return found


def inside(value: object) -> Iterator[re.Pattern[str]]:
    if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from inside(each)


@contextmanager
def stopped_after(seconds: float) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("fill", FILLS)
def test_no_pattern_of_data_backtracks_far(fill: str) -> None:
    slow = {}
    for name, pattern in patterns().items():
        for start in STARTS:
            text = start + fill * (SIZE // len(fill)) + "!"
            try:
                with stopped_after(SECONDS):
                    pattern.sub("", text)
                    pattern.fullmatch(text)
            except TimeoutError:
                slow[name] = f"{pattern.pattern[:60]} on {start!r} and many {fill!r}"
                break
    assert not slow

"""No pattern of ours takes much longer than linear time: a cell of `[` and 1,000 blanks once took 164 s.

Cells of data meet the patterns as they are, answers of models after `plain_form`, which cuts long blanks.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, ModuleType

import pytest

import slingshot.data
import slingshot.endpoints
import slingshot.prompting
from slingshot.prompting.denials import LONGEST_LINK
from slingshot.prompting.mentions import plain_form

SIZE = 20_000
SECONDS = 5.0  # on a slow machine a linear pattern takes milliseconds, a quadratic one of this size minutes

FILLS = (" ", "\t", "\n", "a", "A", "0", "_", "#", "*", "[", "]", "'", '"', ",", ".", "-", ":", "a ", "# ", "[ ", "a_",
         "```", "' ", "\n ")  # fmt: skip
STARTS = ("", "[", '"', "A00", "#", "001 ")
OF_ANSWERS = (
    *("{", "(", "not ", "icd-10 ", "answer(", "boxed{", "<|channel|>", "no a ", "A00 - ", "__", "**", "1) "),
    "\n\n ",
)
CUT_BEFORE = {"prompting.denials._JOINED.0": LONGEST_LINK}  # what the pattern never sees more of


def patterns(package: ModuleType) -> dict[str, re.Pattern[str]]:
    """Every pattern that a module of a package holds, by its place: texts of any length meet these."""
    found: dict[str, re.Pattern[str]] = {}
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
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


def slow_ones(package: ModuleType, texts: Iterable[str]) -> dict[str, str]:
    slow = {}
    for name, pattern in patterns(package).items():
        for text in texts:
            try:
                with stopped_after(SECONDS):
                    pattern.sub("", text[: CUT_BEFORE.get(name)])
                    pattern.fullmatch(text[: CUT_BEFORE.get(name)])
            except TimeoutError:
                slow[name] = f"{pattern.pattern[:60]} on {text[:30]!r} and so on"
                break
    return slow


def hostile(fill: str) -> list[str]:
    return [start + fill * (SIZE // len(fill)) + "!" for start in STARTS]


@pytest.mark.parametrize("fill", FILLS)
def test_no_pattern_of_data_backtracks_far(fill: str) -> None:
    assert not slow_ones(slingshot.data, hostile(fill))


@pytest.mark.parametrize("fill", (*FILLS, *OF_ANSWERS))
def test_no_pattern_of_answers_backtracks_far(fill: str) -> None:
    texts = [plain_form(text) for text in hostile(fill)]
    assert not slow_ones(slingshot.prompting, texts)
    assert not slow_ones(slingshot.endpoints, texts)


def test_long_blanks_are_cut_and_short_ones_stay() -> None:
    assert plain_form(f"a{' ' * 9}b{' ' * 8}c{chr(10) * 20}d") == f"a b{' ' * 8}c\n\nd"

"""Progress that people can read: a bar on a terminal, else plain lines, many in the log and few on the terminal."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from slingshot.core.terminal import STEP_VARIABLE, show

log = logging.getLogger(__name__)

# The terminal shows a first line after some seconds, then few enough that several steps at once stay readable.
SECONDS_TO_FIRST_SHOWN, SECONDS_BETWEEN_SHOWN = 10.0, 60.0


class Meter:
    """Counts `unit`s done out of `total`, with tokens on the side."""

    def __init__(
        self, title: str, total: int, unit: str, bar: Progress | None, seconds_between_lines: float, done: int = 0
    ) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done, self.tokens = done, 0
        self._before = done
        self._bar = bar
        self._task = bar.add_task(title, total=total, completed=done, rate="") if bar else None
        self._every = seconds_between_lines
        self._start = self._said = time.monotonic()
        self._shown: float | None = None

    def advance(self, done: int, tokens: int = 0, note: str = "") -> None:
        """Say that `done` more units, made of `tokens` tokens, are finished."""
        self.done += done
        self.tokens += tokens
        now = time.monotonic()
        rate = self._rate(now) + (f", {note}" if note else "")
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self.done, rate=rate)
        else:
            self._write(now, rate)

    def _write(self, now: float, rate: str) -> None:
        """One line for the log where it is time, and for the terminal that a launcher left this process."""
        elapsed = now - self._start
        left = timedelta(seconds=round(elapsed / max(self.done - self._before, 1) * (self.total - self.done)))
        is_last = self.done >= self.total
        line = f"{self.done}/{self.total} {self.unit}, {rate}, {left} left"
        if now - self._said >= self._every or is_last:
            self._said = now
            log.info("%s: %s", self.title, line)
        waited = now - (self._start if self._shown is None else self._shown)
        due = waited >= (SECONDS_TO_FIRST_SHOWN if self._shown is None else SECONDS_BETWEEN_SHOWN)
        if due or (is_last and self._shown is not None):
            self._shown = now
            show(line if self.title == os.environ.get(STEP_VARIABLE) else f"{self.title}: {line}")

    def _rate(self, now: float) -> str:
        elapsed = max(now - self._start, 1e-9)
        per_second = (self.done - self._before) / elapsed
        slow = 0 < per_second < 0.95
        rate = (
            f"{1 / per_second:,.1f} s per {self.unit.removesuffix('s')}" if slow else f"{per_second:,.1f} {self.unit}/s"
        )
        return f"{rate}, {self.tokens / elapsed:,.0f} tokens/s" if self.tokens else rate


@contextmanager
def progress(title: str, total: int, unit: str, seconds_between_lines: float = 10, done: int = 0) -> Iterator[Meter]:
    """Show progress on standard error: a bar on a terminal, else a line every `seconds_between_lines`.

    `done` units were finished by an earlier run: they count for how far it is, not for how fast.
    A step whose output a launcher sends to a log also shows a line on the launcher's terminal now and then.
    """
    if not sys.stderr.isatty():
        yield Meter(title, total, unit, None, seconds_between_lines, done)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield Meter(title, total, unit, bar, seconds_between_lines, done)

"""Progress that people can read: a bar on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)


class Meter:
    """Counts `unit`s done out of `total`, with tokens on the side."""

    def __init__(self, title: str, total: int, unit: str, bar: Progress | None, seconds_between_lines: float) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done = self.tokens = 0
        self._bar = bar
        self._task = bar.add_task(title, total=total, rate="") if bar else None
        self._every = seconds_between_lines
        self._start = self._said = time.monotonic()

    def advance(self, done: int, tokens: int = 0, note: str = "") -> None:
        """Say that `done` more units, made of `tokens` tokens, are finished."""
        self.done += done
        self.tokens += tokens
        now = time.monotonic()
        rate = self._rate(now) + (f", {note}" if note else "")
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self.done, rate=rate)
        elif now - self._said >= self._every or self.done >= self.total:
            self._said = now
            elapsed = now - self._start
            left = timedelta(seconds=round(elapsed / max(self.done, 1) * (self.total - self.done)))
            log.info("%s: %d/%d %s, %s, %s left", self.title, self.done, self.total, self.unit, rate, left)

    def _rate(self, now: float) -> str:
        elapsed = max(now - self._start, 1e-9)
        rate = f"{self.done / elapsed:,.1f} {self.unit}/s"
        return f"{rate}, {self.tokens / elapsed:,.0f} tokens/s" if self.tokens else rate


@contextmanager
def progress(title: str, total: int, unit: str, seconds_between_lines: float = 10) -> Iterator[Meter]:
    """Show progress on standard error: a bar on a terminal, else a line every `seconds_between_lines`."""
    if not sys.stderr.isatty():
        yield Meter(title, total, unit, None, seconds_between_lines)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield Meter(title, total, unit, bar, seconds_between_lines)

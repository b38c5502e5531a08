"""How fast requests may follow one another, and how long to wait after one that failed."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0  # seconds before the first and the last repetitions

LONGEST_ASKED_WAIT = 600.0  # seconds; an endpoint that asks for more is not waited for


class Pace:
    """Spreads requests over time. Many threads share one."""

    def __init__(self, per_minute: int | None, tokens_per_minute: int | None) -> None:
        self._per_minute, self._tokens_per_minute = per_minute, tokens_per_minute
        self._lock = threading.Lock()
        self._next = 0.0  # a time of time.monotonic

    def wait_turn(self, tokens: int, stopped: threading.Event) -> None:
        """Wait until a request of about `tokens` tokens may go out, or until `stopped`."""
        gap = max(
            60 / self._per_minute if self._per_minute else 0.0,
            60 * tokens / self._tokens_per_minute if self._tokens_per_minute else 0.0,
        )
        with self._lock:
            turn = max(self._next, time.monotonic())
            self._next = turn + gap
        stopped.wait(max(turn - time.monotonic(), 0))

    def hold(self, seconds: float) -> None:
        """Let no further request out for that long: the endpoint said that it is too many."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


def wait_after(attempt: int, headers: Mapping[str, str] | None = None) -> float:
    """Seconds to wait after the failure of attempt 0, 1 …: what the endpoint asks for, else twice as long each time.

    A random part of it, so that requests that failed together don't come back together ("full jitter" cut at a half).
    """
    asked = _asked_wait(headers or {})
    if asked is not None:
        return min(asked, LONGEST_ASKED_WAIT)
    longest = min(FIRST_WAIT * 2**attempt, LONGEST_WAIT)
    return longest * random.uniform(0.5, 1)


def _asked_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds by the header Retry-After (seconds or a date) or retry-after-ms; None where there is none."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            return max(float(value) * scale, 0.0)
        except ValueError:
            pass
        try:
            return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
        except (ValueError, TypeError):
            continue
    return None

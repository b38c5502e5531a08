"""The report's figures as SVG files for a paper, drawn by Plotly in a headless Chromium."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import plotly.graph_objects as go

from slingshot.core.files import replacing, write_text
from slingshot.core.time_limit import time_limit
from slingshot.report.figures.style import INK, PAPER, Figure

log = logging.getLogger(__name__)

for talkative in ("choreographer", "kaleido"):
    logging.getLogger(talkative).setLevel(logging.WARNING)

WIDTH = 760  # pixels

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def write_figures(figures: Sequence[Figure], folder: Path | str) -> list[Path]:
    """Write each figure as SVG, all in one run of Chromium; without Chromium say so and write none.

    The files hold no time and no random number: the same figures give the same bytes with the same Chromium.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        log.info("%s: no SVG files, as they need Chromium and none is on PATH; the report itself is complete", folder)
        return []
    before = set(_descendants(os.getpid()))
    try:
        with time_limit(SECONDS):
            return _drawn_by(browser, figures, folder)
    except Exception as error:  # a browser fails in its own ways, and the page is written already
        words = " ".join(str(error).split())[:200] or type(error).__name__
        log.warning("%s: no SVG files, as %s failed (%s); the report itself is complete", folder, browser, words)
        for process in set(_descendants(os.getpid())) - before:  # a browser that hangs ignores a SIGTERM
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return []


def _descendants(process: int) -> Iterator[int]:
    """Ids of the processes that one started, and of those that they started; none where the system lists no tasks."""
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, children.read_text(encoding="utf-8").split()):
                yield child
                yield from _descendants(child)


SECONDS = 180  # for all figures; half a second each is usual


def _drawn_by(browser: str, figures: Sequence[Figure], folder: Path) -> list[Path]:
    import kaleido  # late, as a report without Chromium does not need it

    written = []
    with tempfile.TemporaryDirectory() as scratch:
        jobs = [
            {
                "fig": _for_paper(figure.plot),
                "path": f"{scratch}/{figure.name}.{kind}",
                "opts": {"format": kind, "width": WIDTH, "height": figure.plot.layout.height},
            }
            for figure in figures
            for kind in ("svg", "pdf")
        ]
        kaleido.write_fig_from_object_sync(jobs, kopts={"mathjax": False, "path": browser})
        for figure in figures:
            drawn = Path(scratch, f"{figure.name}.svg").read_text(encoding="utf-8")
            write_text(folder / f"{figure.name}.svg", _without_random_ids(drawn))
            written.append(folder / f"{figure.name}.svg")
            page = Path(scratch, f"{figure.name}.pdf").read_bytes()
            with replacing(folder / f"{figure.name}.pdf") as temporary:
                temporary.write_bytes(_without_time(page))
            written.append(folder / f"{figure.name}.pdf")
    return written


def _without_time(pdf: bytes) -> bytes:
    """A PDF whose dates are zeros of the same length, as its parts are found by their places."""
    return re.sub(rb"(?<=Date \(D:)\d{14}", b"20000101000000", pdf)


def _for_paper(plot: go.Figure) -> dict[str, Any]:
    """Dark ink on white paper."""
    copy = go.Figure(plot)
    copy.update_layout(paper_bgcolor=PAPER, plot_bgcolor=PAPER, font={"color": INK})
    return cast(dict[str, Any], copy.to_dict())


def _without_random_ids(svg: str) -> str:
    """Plotly names a drawing's clip paths and gradients after random numbers: name them after their order."""
    names = dict.fromkeys(re.findall(r'id="(?:clip|defs-|topdefs-)([0-9a-f]{6})', svg))
    for number, name in enumerate(names):
        svg = svg.replace(name, f"x{number:05d}")
    return svg

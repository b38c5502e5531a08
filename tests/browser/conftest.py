"""A headless Chromium, and the report of a simulated study in it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from slingshot.config.reporting import Report
from slingshot.report.figures.export import BROWSERS
from slingshot.report.page import write_report
from slingshot.report.results import read_results
from tests import results_tree
from tests.results_tree import finish

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser; skips where it or Playwright is absent."""
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium on PATH: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


def until(page: Any, condition: str, seconds: float = 60) -> None:
    """Wait until a JavaScript expression holds. Playwright's own way needs eval, which the page's policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"still not so after {seconds} s: {condition}"
        page.wait_for_timeout(50)


@dataclass
class Opened:
    """A page of the report, with everything that it complained of or asked for."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> results_tree.Tree:
    """A study of five arms and 200 samples, one of which holds hostile texts."""
    report = Report(title=f"Can size… {results_tree.HOSTILE}", note="The dialogues are simulated.")
    tree = results_tree.build(tmp_path_factory.mktemp("study") / "results", hostile=True, report=report)
    finish(tree, results_tree.CONTENDERS)
    write_report(tree.folder / "report.html", None, read_results(tree.folder), tree.spec)
    return tree


@pytest.fixture
def open_report(chromium: Any, tree: results_tree.Tree) -> Iterator[Any]:
    """A function that opens a study's report from the disk, in a fresh profile; keywords are those of a context."""
    contexts = []

    def open_(shown: results_tree.Tree = tree, **settings: Any) -> Opened:
        context = chromium.new_context(**({"viewport": {"width": 1280, "height": 900}} | settings))
        contexts.append(context)
        opened = Opened(context.new_page())
        opened.page.on("console", lambda message: opened.complaints.append(f"{message.type}: {message.text}"))
        opened.page.on("pageerror", lambda error: opened.complaints.append(f"error: {error}"))
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.goto((shown.folder / "report.html").as_uri())
        until(opened.page, "document.documentElement.dataset.figures === 'drawn'")
        until(opened.page, "document.documentElement.dataset.samples === 'shown'")
        return opened

    yield open_
    for context in contexts:
        context.close()

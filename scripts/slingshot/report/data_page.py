"""data.html: what dataset.json and examples.json say, to be looked at before any model runs.

One file without scripts that opens from the disk. Every text is escaped by Jinja.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from slingshot.artifacts.dataset import read_dataset
from slingshot.artifacts.layout import DataFiles
from slingshot.artifacts.splits import SPLITS
from slingshot.core.files import read_json, write_text
from slingshot.data.summary import warnings_of

log = logging.getLogger(__name__)

TEMPLATE = Path(__file__).parent / "template"

MOST_LABELS = 200  # rows of the table of labels

BUCKETS = ((1, 1), (2, 4), (5, 9), (10, 49), (50, 10**9))


def write_data_page(files: DataFiles) -> None:
    """Write data.html beside dataset.json and log what leaks."""
    dataset, examples = read_dataset(files.dataset), read_json(files.examples)
    write_text(files.page, render_data_page(dataset, examples))
    warnings = warnings_of(dataset)
    for line in warnings:
        log.warning(line)
    log.info(
        "%s: look at it before a model runs%s", files.page, "" if warnings else "; nothing leaks between the splits"
    )


def render_data_page(dataset: dict[str, Any], examples: dict[str, Any]) -> str:
    """The page as HTML.

    Args:
        dataset: what dataset.json holds
        examples: what examples.json holds
    """
    environment = Environment(loader=FileSystemLoader(TEMPLATE), autoescape=True, undefined=StrictUndefined)
    environment.filters["share"] = lambda value: f"{100 * value:.1f}%"
    environment.filters["count"] = lambda value: f"{value:,.0f}"
    return environment.get_template("data.html").render(
        dataset=dataset,
        examples=examples,
        warnings=warnings_of(dataset),
        labels=label_rows(dataset),
        most_labels=MOST_LABELS,
        frequencies=frequencies(dataset),
        set_sizes=sorted({size for name in SPLITS for size in dataset["splits"][name].get("set_sizes", {})}, key=int),
        splits=SPLITS,
        css=(TEMPLATE / "data.css").read_text("utf-8"),
    )


def label_rows(dataset: dict[str, Any]) -> list[tuple[str, list[int], float]]:
    """Each label with its samples in each split and its bar's length from 0 to 100; the commonest first."""
    counts = [dataset["splits"][name]["label_counts"] for name in SPLITS]
    names = sorted({label for split in counts for label in split})
    rows = [(label, [split.get(label, 0) for split in counts]) for label in names]
    rows.sort(key=lambda row: (-sum(row[1]), row[0]))
    most = sum(rows[0][1]) if rows else 1
    return [(label, row, 100 * sum(row) / most) for label, row in rows]


def frequencies(dataset: dict[str, Any]) -> list[tuple[str, int, int, int]]:
    """How many labels have N samples in train, for each N; then the samples of these labels in train and test."""
    train, test = (dataset["splits"][name]["label_counts"] for name in ("train", "test"))
    found = [("0", [label for label in test if label not in train])]
    for low, high in BUCKETS:
        name = f"{low}" if low == high else f"{low} to {high}" if high < 10**9 else f"{low} and more"
        found.append((name, [label for label, count in train.items() if low <= count <= high]))
    return [
        (
            name,
            len(members),
            sum(train.get(label, 0) for label in members),
            sum(test.get(label, 0) for label in members),
        )
        for name, members in found
    ]

"""Rows per second and peak memory of prepare_data, for growing sources, beside the speed of merely reading them.

    python benchmarks/data.py                        # 10 thousand, 100 thousand, 1 million rows
    python benchmarks/data.py --rows 10000 --words 900 --format csv

Rows are in MedSynth's shape: 2,000 codes, turns in brackets, words by Zipf's law, one row in fifty a near-duplicate of
another. Every measurement is a process of its own; its peak is what the system counted (ru_maxrss). The physical limit
is stated beside it: the same file read once, column by column, by pyarrow, and its bytes read from the page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))

from slingshot.data import icd10  # noqa: E402 (needs the path above)

CODES = 2000
VOCABULARY = 20_000
ROWS_PER_BLOCK = 5000
TWINS = 50  # one row in N


def blocks(rows: int, words: int) -> Iterator[pyarrow.Table]:
    """Blocks of made-up dialogues of about N words."""
    rng = np.random.default_rng(0)
    codes = np.array([code for code in icd10.all_labels("code") if len(code) > 4][:: 98_000 // CODES][:CODES])
    vocabulary = np.array([f"{'aeiou'[n % 5]}{np.base_repr(n + 1296, 36).lower()}" for n in range(VOCABULARY)])
    for start in range(0, rows, ROWS_PER_BLOCK):
        count = min(ROWS_PER_BLOCK, rows - start)
        texts = [_dialogue(rng, vocabulary, words) for _ in range(count)]
        for number in range(1, count, TWINS):
            texts[number] = texts[number - 1].replace("hello", "good morning", 1)
        label = codes[rng.integers(0, len(codes), count)]
        columns = {"Dialogue": texts, "ICD10": label, "ICD10_desc": [f"DISEASE {code}" for code in label]}
        yield pyarrow.table(columns)


def _dialogue(rng: np.random.Generator, vocabulary: np.ndarray, words: int) -> str:
    length = max(8, int(rng.normal(words, words / 5)))
    chosen = vocabulary[np.minimum(rng.zipf(1.2, length) - 1 + rng.integers(0, 50, length), VOCABULARY - 1)]
    turns = np.array_split(chosen, max(1, length // 15))
    return "[doctor] hello " + "\n".join(
        f"[{'patient' if number % 2 else 'doctor'}] {' '.join(turn)}." for number, turn in enumerate(turns)
    )


def write_source(path: Path, rows: int, words: int) -> None:
    """Write a source as Parquet or CSV, a block at a time."""
    writer = None
    for table in blocks(rows, words):
        if writer is None:
            kind = pyarrow.parquet.ParquetWriter if path.suffix == ".parquet" else pyarrow.csv.CSVWriter
            writer = kind(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def prepare(path: Path, folder: Path) -> tuple[float, int, dict[str, int]]:
    """Seconds, peak bytes and row counts of one run of prepare_data."""
    spec = {
        "source_digest": None,
        "data": {
            "source": {"path": path.name},
            "columns": {"text": "Dialogue", "label": "ICD10", "description": "ICD10_desc"},
        },
    }
    command = [
        sys.executable,
        str(SCRIPTS / "prepare_data.py"),
        "--spec",
        json.dumps(spec),
        "--study",
        str(path.parent),
        "--data",
        str(folder),
    ]
    start = time.perf_counter()
    pid = subprocess.Popen(command, stderr=subprocess.DEVNULL).pid
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - start
    if status:
        sys.exit(f"prepare_data failed on {path}")
    return seconds, usage.ru_maxrss * 1024, json.loads((folder / "dataset.json").read_text())["rows"]


def read_only(path: Path) -> tuple[float, float]:
    """Seconds to read the source into Arrow a batch at a time, and to read its bytes: what no program can beat."""
    start = time.perf_counter()
    if path.suffix == ".parquet":
        with pyarrow.parquet.ParquetFile(path) as table:
            for _ in table.iter_batches(1024):
                pass
    else:
        options = pyarrow.csv.ParseOptions(newlines_in_values=True)
        for _ in pyarrow.csv.open_csv(path, parse_options=options):
            pass
    arrow = time.perf_counter() - start
    start = time.perf_counter()
    with path.open("rb", buffering=0) as content:
        while content.read(2**22):
            pass
    return arrow, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--words", type=int, default=100, help="mean words per dialogue; MedSynth has some 900")
    parser.add_argument("--format", choices=("parquet", "csv"), default="parquet")
    parser.add_argument("--folder", type=Path, help="for the sources and outputs (default: a temporary one)")
    given = parser.parse_args()
    print(f"{given.words} words per dialogue, {given.format}, {os.cpu_count()} cores, one used")
    print("rows | file MB | seconds | rows/s | peak MB | samples | Arrow alone s | bytes alone s | times Arrow")
    print("---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---:")
    for rows in given.rows:
        with tempfile.TemporaryDirectory(dir=given.folder) as name:
            path = Path(name) / f"source.{given.format}"
            write_source(path, rows, given.words)
            seconds, peak, counts = prepare(path, Path(name) / "out")
            arrow, content = read_only(path)
            size = path.stat().st_size
            print(
                f"{rows:,} | {size / 1e6:,.0f} | {seconds:,.1f} | {rows / seconds:,.0f} | {peak / 1e6:,.0f} | "
                f"{counts['samples']:,} | {arrow:.2f} | {content:.2f} | {seconds / arrow:,.0f}",
                flush=True,
            )
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"(this benchmark itself: {own / 1e6:,.0f} MB)")


if __name__ == "__main__":
    main()

"""Write a study for your own texts: `new_study.py studies/mine texts.csv --text Dialogue --label Diagnosis`.

It reads the file's columns and labels and looks for a GPU; `make study NAME=... DATA=... TEXT=... LABEL=...` calls it.
"""

from __future__ import annotations

from pathlib import Path

from slingshot.core.gpus import has_gpu
from slingshot.runtime import cli
from slingshot.study.new_study import write_study


def main() -> None:
    parser = cli.make_parser(__doc__)
    parser.add_argument("folder", type=Path, help="the study's folder, which is made")
    parser.add_argument("data", type=Path, help="a CSV, TSV, JSON Lines, Parquet or Excel file, or a folder of them")
    parser.add_argument("--text", required=True, help="the column of the texts")
    parser.add_argument("--label", required=True, help="the column of the labels")
    given = parser.parse_args()
    print(write_study(given.folder, given.data, given.text, given.label, has_gpu()))


if __name__ == "__main__":
    cli.run(main)

"""Prepare a study's data: clean, deduplicate, group, split, count.

Writes train, validation, test and the further test sets as Parquet, the label set, dataset.json and examples.json, all
or none. Its last lines say what leaks.
"""

from __future__ import annotations

from pathlib import Path

from slingshot.artifacts.layout import DataFiles
from slingshot.config.specs import PrepareDataSpec, parse_spec
from slingshot.data.prepare import prepare
from slingshot.data.summary import log_report
from slingshot.runtime import cli


def main() -> None:
    arguments = cli.make_parser(__doc__)
    cli.add_spec(arguments, "PrepareDataSpec")
    arguments.add_argument("--study", type=Path, required=True, help="folder that local sources are relative to")
    arguments.add_argument("--data", type=Path, required=True, help="folder that the results go to")
    given = arguments.parse_args()
    spec = parse_spec(PrepareDataSpec, given.spec)
    log_report(prepare(spec, given.study, DataFiles(given.data)))


if __name__ == "__main__":
    cli.run(main)

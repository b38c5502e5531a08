"""Prepare a study's data: clean, deduplicate, group, split, count.

Writes train, validation and test as Parquet, the label set and dataset.json, all or none.
"""

from __future__ import annotations

import logging
from pathlib import Path

from slingshot.config.specs import PrepareDataSpec, parse_spec
from slingshot.data.prepare import prepare
from slingshot.runtime import cli

log = logging.getLogger("prepare_data")
OUTPUTS = ("train", "validation", "test", "labels", "dataset")


def main() -> None:
    arguments = cli.parser(__doc__)
    cli.add_spec(arguments, "PrepareDataSpec")
    arguments.add_argument("--study", type=Path, required=True, help="folder that local sources are relative to")
    for name in OUTPUTS:
        arguments.add_argument(f"--{name}", type=Path, required=True, help=f"write {name} here")
    given = arguments.parse_args()
    spec = parse_spec(PrepareDataSpec, given.spec)
    report = prepare(spec, given.study, {name: getattr(given, name) for name in OUTPUTS})
    rows = report["rows"]
    log.info("%d rows read, %d dropped, %d samples", rows["read"], rows["dropped"], rows["samples"])
    for kind in ("dropped", "changed"):
        for reason, entry in report[kind].items():
            log.info("%s: %d rows, %s (e.g. %s)", kind, entry["rows"], reason, ", ".join(entry["examples"][:2]))
    for name, split in report["splits"].items():
        log.info("%s: %d samples, %d labels, %d groups", name, split["samples"], split["labels"], split["groups"])


if __name__ == "__main__":
    cli.run(main)

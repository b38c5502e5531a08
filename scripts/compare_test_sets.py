"""Compare the arms on the further test sets: the drop from the study's own test split, the verdict's pairs there."""

from __future__ import annotations

from pathlib import Path

from slingshot.analysis.test_sets import compare_test_sets
from slingshot.artifacts.layout import ResultFiles
from slingshot.config.specs import CompareTestSetsSpec, parse_spec
from slingshot.runtime import cli


def main() -> None:
    parser = cli.make_parser(__doc__)
    cli.add_spec(parser, "CompareTestSetsSpec")
    parser.add_argument("--results", type=Path, required=True, help="results/, where data and arms are")
    parser.add_argument("--test-sets", type=Path, required=True, help="results/test_sets.json, written")
    given = parser.parse_args()
    spec = parse_spec(CompareTestSetsSpec, given.spec)
    compare_test_sets(spec, ResultFiles(given.results)).write(given.test_sets)


if __name__ == "__main__":
    cli.run(main)

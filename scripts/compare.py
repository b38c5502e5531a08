"""Compare the arms on the same test samples: differences, tests, costs, ensembles, and the verdict."""

from __future__ import annotations

from pathlib import Path

from slingshot.analysis.compare import compare, original_results
from slingshot.analysis.outcomes import read_outcomes
from slingshot.artifacts.labels import read_labels
from slingshot.artifacts.layout import ResultFiles
from slingshot.artifacts.splits import read_split
from slingshot.config.specs import CompareSpec, parse_spec
from slingshot.core.files import write_json
from slingshot.core.terminal import say
from slingshot.runtime import cli


def main() -> None:
    parser = cli.parser(__doc__)
    cli.add_spec(parser, "CompareSpec")
    parser.add_argument("--results", type=Path, required=True, help="results/, where data and arms are")
    parser.add_argument("--comparison", type=Path, required=True, help="results/comparison.json, written")
    parser.add_argument("--results-json", type=Path, required=True, help="results/results.json, written")
    parser.add_argument("--allow-missing", action="store_true", help="list arms without results instead of stopping")
    given = parser.parse_args()
    spec = parse_spec(CompareSpec, given.spec)
    files = ResultFiles(given.results)
    outcomes, missing = read_outcomes(spec, given.results, given.allow_missing)
    test = read_split(files.data.test)
    labels = read_labels(files.data.labels)
    comparison = compare(spec, outcomes, missing, test, labels)
    comparison.write(given.comparison)
    write_json(given.results_json, original_results(spec, outcomes))
    say(comparison.verdict.sentence)


if __name__ == "__main__":
    cli.run(main)

"""Compare the arms on the same test samples: differences, tests, costs, ensembles, and the verdict."""

from __future__ import annotations

from pathlib import Path

from slingshot.analysis.compare import compare_results
from slingshot.artifacts.layout import ResultFiles
from slingshot.config.specs import CompareSpec, parse_spec
from slingshot.runtime import cli


def main() -> None:
    parser = cli.make_parser(__doc__)
    cli.add_spec(parser, "CompareSpec")
    parser.add_argument("--results", type=Path, required=True, help="results/, where data and arms are")
    parser.add_argument("--comparison", type=Path, required=True, help="results/comparison.json, written")
    parser.add_argument("--results-json", type=Path, required=True, help="results/results.json, written")
    parser.add_argument("--allow-missing", action="store_true", help="list arms without results instead of stopping")
    given = parser.parse_args()
    spec = parse_spec(CompareSpec, given.spec)
    compare_results(spec, ResultFiles(given.results), given.comparison, given.results_json, given.allow_missing)


if __name__ == "__main__":
    cli.run(main)

"""Choose the candidate of a sweep that does best on validation, and make its adapter the arm's own.

The arm's record counts what all candidates cost: a sweep is paid for as a whole. The test split is not read.
"""

from __future__ import annotations

from pathlib import Path

from slingshot.analysis.sweep import choose
from slingshot.artifacts.layout import ResultFiles
from slingshot.config.specs import ChooseSpec, parse_spec
from slingshot.runtime import cli


def main() -> None:
    parser = cli.make_parser(__doc__)
    cli.add_spec(parser, "ChooseSpec")
    parser.add_argument("--arm", required=True, help="e.g. slm/qwen3b/best")
    parser.add_argument("--results", type=Path, required=True, help="results/, where the candidates' folders are")
    given = parser.parse_args()
    spec = parse_spec(ChooseSpec, given.spec)
    choose(spec, ResultFiles(given.results), given.arm)


if __name__ == "__main__":
    cli.run(main)

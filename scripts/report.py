"""Write a study's report: one HTML file that opens offline, and its figures as SVG.

Reads results/comparison.json, each arm's metrics, predictions, training log and records, the models' cards and the
data's own report. The SVG files need Chromium; without it the report is written all the same.
"""

from __future__ import annotations

from pathlib import Path

from slingshot.config.specs import ReportSpec, parse_spec
from slingshot.core.errors import StudyError
from slingshot.report.page import write_report
from slingshot.report.results import read_results
from slingshot.runtime import cli


def main() -> None:
    arguments = cli.make_parser(__doc__)
    cli.add_spec(arguments, "ReportSpec")
    arguments.add_argument("--results", type=Path, required=True, help="the study's results folder")
    arguments.add_argument("--study", type=Path, required=True, help="the study's folder")
    arguments.add_argument(
        "--dag", type=Path, help="what `snakemake --dag mermaid-js` printed; else drawn from the arms"
    )
    arguments.add_argument("--report", type=Path, required=True, help="HTML file to write")
    arguments.add_argument("--figures", type=Path, help="folder for the figures as SVG")
    given = arguments.parse_args()
    spec = parse_spec(ReportSpec, given.spec)
    write_report(given.report, given.figures, read_results(given.results), spec, _mermaid(given.dag))


def _mermaid(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise StudyError(f"--dag: cannot read {path}: {error.strerror}") from None


if __name__ == "__main__":
    cli.run(main)

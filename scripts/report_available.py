"""Compare and report the arms whose results are there and belong to the study as it stands; say which are missing.

For a study of which one arm failed, or is still running. Nothing that the full report is made of is touched: the
page lies in a folder of its own, beside links to the arms that it shows.
"""

from __future__ import annotations

from pathlib import Path

from slingshot.report.available import report_available
from slingshot.runtime import cli


def main() -> None:
    parser = cli.make_parser(__doc__)
    parser.add_argument("--study", type=Path, required=True, help="the study's folder, with its config.yaml")
    parser.add_argument("--results", type=Path, required=True, help="the study's results folder")
    parser.add_argument("--available", type=Path, required=True, help="folder for the report; its content is lost")
    given = parser.parse_args()
    report_available(given.study, given.results, given.available)


if __name__ == "__main__":
    cli.run(main)
